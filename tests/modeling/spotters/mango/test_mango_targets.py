"""What the one-stage spotter learns, against drawing by loops."""

import math

import numpy as np
import pytest
import shapely
import torch
from mango_spotter import FIRST, SECOND, scenes, targets_and_grid
from tiny_spotter import sided_input

from dld_d2.modeling.spotters.mango.cell_rows import one_cell_each, several_cells
from dld_d2.modeling.spotters.mango.character_slices import along_sides, slices_of
from dld_d2.modeling.spotters.mango.rasterize import rasterize
from dld_d2.modeling.spotters.mango.targets import (
    NOBODY,
    center_line_targets,
    sides_of_targets,
    word_cells,
)
from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.modeling.spotters.rows import Rows


def draw(polygon, size):
    """{(row, column)} of the elements whose middle is in a polygon."""
    shape = shapely.Polygon(polygon)
    return {
        (i, j)
        for i in range(size[0])
        for j in range(size[1])
        if shape.contains(shapely.Point(j + 0.5, i + 0.5))
    }


def test_elements_in_polygons():
    polygons = torch.tensor(
        [
            [[1.2, 1.1], [6.3, 2.0], [5.1, 6.8], [0.7, 4.4]],
            [[-3.0, -2.0], [4.4, -1.0], [2.2, 3.3], [-1.0, 9.0]],  # reaches out
            [[2.0, 2.0], [2.3, 2.0], [2.3, 2.3], [2.3, 2.3]],  # holds no middle
            [[20.0, 1.0], [25.0, 1.0], [25.0, 5.0], [20.0, 5.0]],  # outside
        ]
    )
    found = rasterize(polygons, (7, 9))
    assert found.owner.tolist() == sorted(found.owner.tolist())
    for number, polygon in enumerate(polygons.tolist()):
        own = found.owner == number
        elements = list(zip(found.row[own].tolist(), found.column[own].tolist(), strict=True))
        assert len(set(elements)) == len(elements)
        assert set(elements) == draw(polygon, (7, 9))


def test_no_polygons_at_all():
    assert len(rasterize(torch.zeros(0, 4, 2), (7, 9)).owner) == 0


def test_center_lines_are_shrunk_polygons():
    # No edge goes through the middle of a pixel.
    words = [("Hello", (10, 10, 60, 26)), ("###", (91, 51, 151, 79)), ("to", (20, 60, 50, 75))]
    targets, grid = targets_and_grid([sided_input(words)])
    found = center_line_targets(targets, grid, 0.4)
    wanted = set()
    for (text, _), vertices in zip(words, targets[0].gt_masks.vertices.numpy(), strict=True):
        if text != "###":
            polygon = shapely.Polygon(vertices)
            line = polygon.buffer(-polygon.area * (1 - 0.4**2) / polygon.length)
            wanted |= draw(np.array(line.exterior.coords) / 4, grid.shape)
    assert wanted and set(map(tuple, found.wanted[0].nonzero().tolist())) == wanted
    ignored = draw(targets[0].gt_masks.vertices[1].numpy() / 4, grid.shape)
    assert set(map(tuple, (~found.counts[0]).nonzero().tolist())) == ignored


def test_padding_does_not_count():
    items = [sided_input(FIRST), sided_input(SECOND, size=(64, 220))]
    targets, grid = targets_and_grid(items)
    counts = center_line_targets(targets, grid, 0.4).counts
    assert grid.shape == (24, 56)
    assert counts[0, :, 40:].sum() == counts[1, 16:].sum() == counts[1, :, 55:].sum() == 0
    assert counts[1, :16, :55].all()


def naive_cells(sides, size, side):
    """Cells of one word, from a fine drawing; sides (14, 2) as fractions."""
    width, height = size[1], size[0]
    points = sides.numpy() * (width, height)
    ends = [np.linalg.norm(points[i] - points[i + 7]) for i in (0, 6)]
    cells = set()
    for u in np.linspace(0.4, 0.6, 400) * 6:
        i = min(int(u), 5)
        upper = points[i] + (u - i) * (points[i + 1] - points[i])
        lower = points[7 + i] + (u - i) * (points[8 + i] - points[7 + i])
        down = (lower - upper) / np.linalg.norm(lower - upper)
        for v in np.linspace(-0.5, 0.5, 40) * 0.2 * min(ends):
            x, y = (upper + lower) / 2 + v * down
            cells.add((math.floor(y / height * side), math.floor(x / width * side)))
    return cells


@pytest.mark.parametrize("side", [12, 40])
def test_cells_of_words(side):
    item = scenes(1)[0]
    targets, grid = targets_and_grid([item], side=side)
    owner = word_cells(targets, grid).owner[0].view(side, side)
    drawn = torch.full((side, side), NOBODY)
    size = targets[0].image_size
    for number, sides in enumerate(targets[0].gt_sides):
        if not targets[0].gt_ignore[number]:
            for row, column in naive_cells(sides, size, side):
                drawn[row, column] = number
    assert (owner >= 0).sum() >= (~targets[0].gt_ignore).sum() / 2
    # Samples miss corners of cells that a drawing touches by less than its step.
    assert (owner != drawn).sum() <= 0.02 * (drawn >= 0).sum() + 1


def test_dont_care_cells_do_not_count():
    targets, grid = targets_and_grid([sided_input(FIRST)])
    cells = word_cells(targets, grid)
    ignored = (~cells.counts[0]).view(12, 12).nonzero()
    # (90, 50) to (150, 80) in cells of 13.3 x 8 pixels, by their middles.
    assert ignored[:, 1].min() == 7 and ignored[:, 1].max() == 10
    assert ignored[:, 0].min() == 6 and ignored[:, 0].max() == 9
    small = [("###", (90.5, 50.5, 92, 52))]
    targets, grid = targets_and_grid([sided_input(small)])
    assert (~word_cells(targets, grid).counts).sum() == 1


def test_later_words_take_cells_from_earlier_ones():
    box = (10, 10, 60, 26)
    targets, grid = targets_and_grid([sided_input([("one", box), ("two", box)])])
    owner = word_cells(targets, grid).owner
    assert set(owner.unique().tolist()) == {NOBODY, 1}
    rows = Rows.of(targets)
    cells = one_cell_each(rows, word_cells(targets, grid), grid)
    # The first word shares the cell in its middle.
    assert cells.number.tolist() == [2 * 12 + 2] * 2


def test_a_word_whose_middle_is_taken_stands_in_its_nearest_cell():
    long, short = ("long", (0, 16, 160, 40)), ("be", (70, 22, 90, 32))
    targets, grid = targets_and_grid([sided_input([long, short])], side=24)
    owners = word_cells(targets, grid)
    cells = one_cell_each(Rows.of(targets), owners, grid)
    assert owners.owner[0, cells.number].tolist() == [0, 1]
    middle = targets[0].gt_sides[0, [3, 10]].mean(dim=0) * 24
    own = [divmod(c, 24) for c in (owners.owner[0] == 0).nonzero()[:, 0].tolist()]
    distance = {(i, j): math.hypot(i - int(middle[1]), j - int(middle[0])) for i, j in own}
    assert distance[divmod(int(cells.number[0]), 24)] == min(distance.values())


def test_rows_of_all_cells_begin_with_no_word_left_out():
    items = [sided_input(SECOND, seed=1), sided_input([]), sided_input(FIRST)]
    targets, grid = targets_and_grid(items, side=40)
    rows, owners = Rows.of(targets), word_cells(targets, grid)
    one = one_cell_each(rows, owners, grid)
    every = several_cells(rows, owners, grid, every=True)
    assert len(every) > len(one) == 3
    for name in ("number", "image_index", "texts", "sides"):
        torch.testing.assert_close(getattr(every, name)[every.first], getattr(one, name))
    assert every.image_index.tolist() == sorted(every.image_index.tolist())
    assert every.counts == torch.bincount(every.image_index, minlength=3).tolist()
    # Each cell of a readable word once, and its text; the long word cannot be read.
    readable = torch.cat([target.gt_readable for target in targets])
    texts = torch.cat([target.gt_texts for target in targets])[:, : every.texts.shape[1]]
    expected = [
        (image, cell, texts[owner].tolist())
        for image, row in enumerate(owners.owner.tolist())
        for cell, owner in enumerate(row)
        if owner >= 0 and readable[owner]
    ]
    found = zip(
        every.image_index.tolist(), every.number.tolist(), every.texts.tolist(), strict=True
    )
    assert sorted(found) == sorted(expected)


def test_another_cell_of_each_word_is_drawn():
    items = [sided_input(SECOND, seed=1), sided_input([]), sided_input(FIRST)]
    targets, grid = targets_and_grid(items, side=40)
    rows, owners = Rows.of(targets), word_cells(targets, grid)
    one = one_cell_each(rows, owners, grid)
    torch.manual_seed(0)
    drawn = set()
    for _ in range(40):
        cells = several_cells(rows, owners, grid, every=False)
        assert cells.number[cells.first].equal(one.number)
        places = list(zip(cells.image_index.tolist(), cells.number.tolist(), strict=True))
        assert len(set(places)) == len(places) <= 2 * len(one)
        words = [owners.owner[place].item() for place in places]
        assert max(words.count(word) for word in words) <= 2
        drawn |= set(places)
    every = several_cells(rows, owners, grid, every=True)
    assert drawn == set(zip(every.image_index.tolist(), every.number.tolist(), strict=True))


@pytest.mark.parametrize("scale", [0.83, 0.5, 0.31])
def test_cells_are_the_same_at_every_scale(scale):
    items = [sided_input(FIRST, size=(93, 155)), sided_input(SECOND, size=(96, 160))]
    targets, grid = targets_and_grid(items, side=40)
    sizes = [tuple(round(scale * side) for side in target.image_size) for target in targets]
    smaller = scale_targets(targets, sizes)
    views = [
        {"image": torch.zeros(3, *size), "instances": target}
        for size, target in zip(sizes, smaller, strict=True)
    ]
    _, small_grid = targets_and_grid(views, side=40)
    cells = [
        one_cell_each(Rows.of(t), word_cells(t, g), g).number
        for t, g in ((targets, grid), (smaller, small_grid))
    ]
    assert torch.equal(*cells)
    # Over the padded image they are not.
    padded = [g._replace(extent=torch.tensor([[160.0, 96.0]] * 2)) for g in (grid, small_grid)]
    cells = [
        one_cell_each(Rows.of(t), word_cells(t, g), g).number
        for t, g in zip((targets, smaller), padded, strict=True)
    ]
    assert not torch.equal(*cells)


def test_places_along_sides():
    x = torch.linspace(0, 6, 7)
    sides = torch.stack([torch.stack([x, x**2], 1), torch.stack([x, x**2 + 10], 1)]).view(1, 14, 2)
    found = along_sides(sides, torch.tensor([[0.0, 0.25, 1.0]]))
    # A quarter is half way from the second point, (1, 1), to the third, (2, 4).
    expected = torch.tensor([[0.0, 0.0], [1.5, 2.5], [6.0, 36.0]])
    torch.testing.assert_close(found[0, 0], expected)
    torch.testing.assert_close(found[0, 1], expected + torch.tensor([0.0, 10.0]))


def test_words_are_cut_into_slices():
    words = [("four", (8, 8, 72, 24)), ("i", (100, 40, 101, 41))]
    targets, grid = targets_and_grid([sided_input([]), sided_input(words)])
    rows = Rows.of(targets)
    slices = slices_of(sides_of_targets(targets), rows.texts, rows.image_index, grid)
    seen = torch.zeros(2, 5, 24 * 40)
    seen.view(-1)[slices.flat(24 * 40, 5)] += 1
    expected = torch.zeros(2, 5, 24, 40)
    for c in range(4):
        expected[0, c, 2:6, 2 + 4 * c : 6 + 4 * c] = 1
    expected[1, 0, 10, 25] = 1  # too small for any pixel's middle
    torch.testing.assert_close(seen.view_as(expected), expected)
    assert slices.counts(2, 5).tolist() == [[16] * 4 + [0], [1, 0, 0, 0, 0]]
    assert slices.stops == [64, 65]
    second = slices.of_rows(1, 2)
    assert second.flat(960, 5).tolist() == [10 * 40 + 25] and second.stops == [1]
