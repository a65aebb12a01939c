"""Maps to be learnt, against shapely, cell by cell; and words put together of perfect maps."""

import numpy as np
import pytest
import shapely
import torch
from perceptron import scenes
from tiny_spotter import sided_input

from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.modeling.spotters.text_perceptron.cells import RULES
from dld_d2.modeling.spotters.text_perceptron.found_words import Cells, find_words
from dld_d2.modeling.spotters.text_perceptron.targets import draw_targets
from dld_d2.structures.polygons import Polygons

SIZE = (96, 160)


def curved(x0, x1, y, height, bend):
    """(14, 2) sides, equidistant along the arc well enough."""
    x = np.linspace(x0, x1, 7)
    middle, half = (x0 + x1) / 2, (x1 - x0) / 2
    upper = y + bend * ((x - middle) / half) ** 2
    return np.concatenate([np.stack([x, upper], 1), np.stack([x, upper + height], 1)])


def target_of(sides, ignored=(), size=SIZE):
    """Targets with words of these sides, and don't-care boxes."""
    item = sided_input([("to", (0, 0, 1, 1))] * len(sides) + [("###", b) for b in ignored])
    target = item["instances"]
    scale = torch.tensor([size[1], size[0]])
    for row, side in enumerate(sides):
        target.gt_sides[row] = torch.from_numpy(np.asarray(side)) / scale
    polygons = [np.concatenate([s[:7], s[:6:-1]]) for s in map(np.asarray, sides)]
    polygons += [np.array([(a, b), (c, b), (c, d), (a, d)]) for a, b, c, d in ignored]
    target.gt_masks = Polygons.from_arrays(polygons)
    target.gt_boxes = target.gt_masks.get_bounding_boxes()
    return target


def naive(sides, at=2.0):
    """Labels and offsets of each cell, drawn on the cell grid, word after word."""
    rows, columns = SIZE[0] // 4, SIZE[1] // 4
    labels, offsets = np.zeros((rows, columns), int), np.zeros((12, rows, columns))
    valid = np.zeros((12, rows, columns), bool)
    for side in sides:
        upper, lower = np.asarray(side)[:7], np.asarray(side)[7:]
        word = shapely.Polygon(np.concatenate([upper, lower[::-1]]))
        lines = [shapely.LineString(upper), shapely.LineString(lower)]
        m = min(
            lines[0].length,
            lines[1].length,
            np.linalg.norm(upper[0] - lower[0]),
            np.linalg.norm(upper[6] - lower[6]),
        )
        e = max(0.25 * max(m, 12), 4)
        half = 2 * max(1, round(min(max(0.09 * m, 3), 12) / 4))

        def end(distance, line, first, last):
            places = [line[0].interpolate(distance), line[1].interpolate(distance)]
            inner = [(p.x, p.y) for p in places]
            return shapely.Polygon([first, inner[0], inner[1], last])

        head, tail = end(e, lines, upper[0], lower[0]), end(-e, lines, upper[6], lower[6])
        for i in range(rows):
            for j in range(columns):
                x, y = 4 * j + at, 4 * i + at
                point = shapely.Point(x, y)
                label = int(word.contains(point))
                label = 2 if head.contains(point) else label
                label = 3 if tail.contains(point) else label
                label = 4 if min(line.distance(point) for line in lines) <= half else label
                if not label:
                    continue
                labels[i, j], offsets[:, i, j], valid[:, i, j] = label, 0, False
                if label in (2, 3):
                    corners = (upper[0], lower[0]) if label == 2 else (upper[6], lower[6])
                    part = slice(0, 4) if label == 2 else slice(4, 8)
                    offsets[part, i, j] = [d for c in corners for d in (x - c[0], y - c[1])]
                    valid[part, i, j] = True
                if label == 1:
                    for axis, ray in enumerate([((-999, y), (999, y)), ((x, -999), (x, 999))]):
                        crossed = shapely.get_coordinates(
                            shapely.LineString(ray).intersection(word.exterior)
                        )[:, axis]
                        own = (x, y)[axis]
                        before, after = crossed[crossed <= own], crossed[crossed > own]
                        offsets[8 + axis, i, j] = own - before.max()
                        offsets[10 + axis, i, j] = own - after.min()
                        valid[[8 + axis, 10 + axis], i, j] = True
    return labels, offsets / 32, valid


WORDS = [
    curved(12.3, 90.7, 10.2, 21.3, 9.1),
    curved(60.4, 150.2, 30.6, 17.9, -6.3),  # over the first
    [
        (x, y)
        for x, y in np.stack(
            [120.3 - curved(0, 40, 8, 14, 3)[:, 1], 52.3 + np.tile(np.linspace(0, 40, 7), 2)], 1
        )
    ],
]
# No vertex of the third lies in a row or column of cells' points: shapely counts a touch of the
# outline there as a crossing, and what lies on an edge as neither inside nor in the neighbour. Nor
# does it reach the second, which else would take its head for its own.


def test_cells_are_drawn_as_word_by_word():
    target = target_of(WORDS)
    drawn = draw_targets([target], (24, 40), RULES["cells"])
    labels, offsets, valid = naive(WORDS)
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(drawn.labels[0].numpy(), labels)
    np.testing.assert_array_equal(drawn.offset_valid[0].numpy(), valid)
    np.testing.assert_allclose(drawn.offsets[0].numpy(), offsets, atol=1e-4)
    assert drawn.weight.all()


def test_a_batch_is_drawn_as_its_images_are():
    one, two = target_of(WORDS[:1], [(100, 60, 150, 90)]), target_of(WORDS[1:])
    both = draw_targets([one, two], (28, 44), RULES["cells"])
    for index, target in enumerate((one, two)):
        alone = draw_targets([target], (24, 40), RULES["cells"])
        for found, expected in zip(both, alone, strict=True):
            assert found[index][..., :24, :40].equal(expected[0])
    assert not both.weight[:, 24:].any() and not both.weight[:, :, 40:].any()


def test_dont_care_regions_are_no_background_and_words_over_them_stay():
    drawn = draw_targets([target_of(WORDS[:1], [(80, 8, 140, 40)])], (24, 40), RULES["cells"])
    alone = draw_targets([target_of(WORDS[:1])], (24, 40), RULES["cells"])
    assert drawn.labels.equal(alone.labels)
    left_out = torch.zeros(24, 40, dtype=torch.bool)
    left_out[2:10, 20:35] = True
    assert drawn.weight[0].equal(~left_out | (alone.labels[0] > 0))


def test_nothing_is_drawn_of_no_words():
    drawn = draw_targets([target_of([])], (24, 40), RULES["cells"])
    assert not drawn.labels.any() and drawn.weight.all() and not drawn.offset_valid.any()


@pytest.mark.parametrize("rule", RULES)
def test_views_show_the_same_words(rule):
    """Larger words, for at 12 pixels everything is a matter of rounding."""
    (whole,) = [target_of([curved(10, 150, 20, 50, 6)])]
    (half,) = scale_targets([whole], [(192, 320)])
    small = draw_targets([whole], (24, 40), RULES[rule])
    large = draw_targets([half], (48, 80), RULES[rule])
    for kind in (1, 2, 3, 4):
        own, other = ((d.labels == kind).float().mean().item() for d in (small, large))
        assert own == pytest.approx(other, rel=0.6)
    # What a corner is told to be, seen from any cell, is where it is.
    for drawn, factor in ((small, 1), (large, 2)):
        row, column = (drawn.labels[0] == 2).nonzero().T
        at = RULES[rule].at
        told = 4 * column + at - 32 * drawn.offsets[0, 0, row, column]
        torch.testing.assert_close(told, torch.full_like(told, 10.0 * factor), atol=0.51, rtol=0)


def decode(target, rule, size=None):
    height, width = target.image_size
    size = (-(-height // 4), -(-width // 4))
    drawn = draw_targets([target], size, rule)
    row, column = drawn.labels[0].nonzero().T.numpy()
    cells = Cells(
        row,
        column,
        drawn.labels[0].numpy()[row, column],
        np.full(len(row), 0.75),
        drawn.offsets[0].permute(1, 2, 0).numpy()[row, column],
    )
    return find_words(cells, size, rule)


def overlaps(target, found):
    """Best IoU of each cared-for word."""
    words = shapely.polygons(np.concatenate([found.sides[:, :7], found.sides[:, :6:-1]], axis=1))
    words = shapely.make_valid(words)
    truth = target.gt_masks.vertices[~target.gt_ignore].numpy()
    truth = shapely.make_valid(shapely.polygons(truth))[:, None]
    common = shapely.area(shapely.intersection(truth, words))
    return (common / shapely.area(shapely.union(truth, words))).max(axis=1, initial=0)


@pytest.mark.parametrize(("name", "median"), [("cells", 0.99), ("pixels", 0.96)])
def test_perfect_maps_give_the_words_back(name, median):
    iou, found = [], 0
    for target in scenes():
        words = decode(target, RULES[name])
        iou.append(overlaps(target, words))
        found += len(words.sides)
    iou = np.concatenate(iou)
    assert len(iou) > 100 and iou.min() > 0.9 and np.median(iou) > median
    assert found == len(iou)  # nothing else is found


def test_what_is_found_runs_in_reading_order():
    words = [*WORDS[:2], WORDS[2]]
    found = decode(target_of(words), RULES["cells"])
    assert len(found.sides) == 3 and found.scores == pytest.approx([0.75] * 3)
    for side in map(np.asarray, words[1:]):  # the first is covered in part
        error = np.abs(found.sides - side).max(axis=(1, 2)).min()
        assert error < 1.5


def cells_of(picture):
    """Cells by letters: c centre, h head, t tail, b boundary."""
    grid = np.array([list(line) for line in picture.split()])
    row, column = np.nonzero(grid != ".")
    label = np.array(["chtb".index(letter) + 1 for letter in grid[row, column]])
    count = len(row)
    return Cells(row, column, label, np.ones(count), np.zeros((count, 12))), grid.shape


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("......... .bbbbbbb. .hcccccc. .hcccctt. .bbbbbbb. .........", 1),
        (".bbbbb. .hccct. .bbbbb.", 1),
        (".bbbb. .hcct. .bbbb.", 0),  # two cells
        (".bbbbb. .hcccb. .bbbbb.", 0),  # no tail
        (".bbbbb. .hcc.ct .bbbbb.", 0),  # not connected
        ("....... .hccct. .......", 0),  # 2 of 8 neighbours are bound
        ("..bbb.. .hccct. .......", 1),  # 5 of 8
        ("..bb... .hccct. .......", 0),  # 4 of 8
    ],
)
def test_what_makes_a_component_a_word(picture, words):
    cells, size = cells_of(picture)
    assert len(find_words(cells, size, RULES["cells"]).sides) == words


def test_no_cells_no_words():
    empty = Cells(*[np.zeros(0, int)] * 3, np.zeros(0), np.zeros((0, 12)))
    assert find_words(empty, (3, 4), RULES["cells"]).sides.shape == (0, 14, 2)
