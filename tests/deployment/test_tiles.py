"""Large images in tiles."""

from itertools import pairwise

import numpy as np
import pytest
from bright_block_spotter import picture
from tiny_dynamic_spotter import described
from tiny_dynamic_spotter import picture as noise

from dld_d2.deployment import TextSpotter
from dld_d2.deployment.result import SpottingResult, Tile, Word
from dld_d2.deployment.tiles import merge_tiles, tile_boxes, tile_side
from dld_d2.engine.setup import setup_cfg

SIZE = (200, 300)  # of the image in tests of merging: height, width
WHOLE = (0, 0, 300, 200)
LEFT, RIGHT = (0, 0, 180, 200), (120, 0, 300, 200)


def word(text, x0, y0, x1, y1, score=0.5):
    polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    return Word(polygon, text, score, 0.8)


def tile(box, *words, scale=1.0, input_size=None):
    """Of words in pixels of the image."""
    x0, y0, x1, y1 = box
    size = (y1 - y0, x1 - x0)
    moved = [
        Word(w.polygon - np.float32([x0, y0]), w.text, w.score, w.detection_score) for w in words
    ]
    return Tile(box, SpottingResult(tuple(moved), size, input_size or size, scale, scale**2))


def merged(*tiles):
    return sorted(found.text for found in merge_tiles(SIZE, tiles))


@pytest.mark.parametrize("length", [64, 65, 100, 150, 151, 999, 5000])
@pytest.mark.parametrize("side", [64, 100, 333])
def test_tiles_cover_the_image_and_overlap(length, side):
    boxes = tile_boxes(length, 50, side)
    assert {(x0, x1) for x0, _, x1, _ in boxes} == {(0, 50)}
    spans = [(y0, y1) for _, y0, _, y1 in boxes]
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert len({stop - start for start, stop in spans}) == 1 and spans[0][1] <= side
    for (_, stop), (start, _) in pairwise(spans):
        assert stop - start >= side // 4
    # One tile less would not do.
    assert len(spans) == 1 or (len(spans) - 1) * (side - side // 4) + side // 4 < length
    across = tile_boxes(50, length, side)
    assert across == [(y0, x0, y1, x1) for x0, y0, x1, y1 in boxes]


@pytest.mark.parametrize(
    ("size", "tiles", "configured", "side"),
    [
        ((4000, 3000), None, (512, 1280), None),
        ((4000, 3000), "auto", (512, 1280), 1024),
        ((1024, 1200), "auto", (512, 1280), None),
        ((1030, 1200), "auto", (512, 1280), 1024),
        ((400, 2600), "auto", (512, 1280), 1024),  # shrunk by its longer side
        ((4000, 3000), "auto", (0, 1280), None),  # read as it is
        ((4000, 3000), 700, (512, 1280), 700),
        ((500, 701), 700, (512, 1280), 700),
        ((500, 700), 700, (0, 0), None),
    ],
)
def test_which_images_are_cut(size, tiles, configured, side):
    assert tile_side(*size, tiles, *configured) == side


def test_words_of_several_tiles_come_once_in_pixels_of_the_image():
    found = word("twice", 130, 20, 170, 40)
    alone = word("alone", 10, 20, 60, 40)
    blurred = word("twlce", 128, 18, 172, 42, score=0.3)
    tiles = tile(WHOLE, blurred), tile(LEFT, found, alone), tile(RIGHT, found)
    result = merge_tiles(SIZE, tiles)
    assert sorted(w.text for w in result) == ["alone", "twice"]
    assert result.tiles == tiles and result.image_size == SIZE
    polygons = {w.text: w.polygon.tolist() for w in result}
    assert polygons == {"twice": found.polygon.tolist(), "alone": alone.polygon.tolist()}


def test_the_one_that_is_read_most_surely_stays():
    sure, unsure = word("sure", 130, 20, 170, 40, 0.9), word("sore", 131, 20, 171, 41, 0.8)
    assert merged(tile(WHOLE), tile(LEFT, unsure), tile(RIGHT, sure)) == ["sure"]
    assert merged(tile(WHOLE), tile(LEFT, sure), tile(RIGHT, unsure)) == ["sure"]
    assert merged(tile(WHOLE, sure), tile(LEFT, unsure), tile(RIGHT)) == ["sure"]


def test_pieces_at_a_border_give_way_to_the_whole_word_however_sure():
    whole = word("STATION", 100, 50, 175, 70, 0.2)
    piece = word("TION", 121, 50, 175, 70, 0.9)
    assert merged(tile(WHOLE), tile(LEFT, whole), tile(RIGHT, piece)) == ["STATION"]
    wide = word("CENTRAL STATION", 20, 50, 290, 90, 0.2)
    pieces = word("CENTRAL", 20, 50, 180, 90, 0.9), word("STATION", 122, 50, 290, 90, 0.9)
    assert merged(tile(WHOLE, wide), tile(LEFT, pieces[0]), tile(RIGHT, pieces[1])) == [
        "CENTRAL STATION"
    ]


def test_pieces_stay_where_nothing_else_was_found():
    left, right = word("CENTR", 20, 50, 180, 90), word("RAL", 121, 50, 200, 90)
    other = word("far", 250, 150, 290, 170)
    assert merged(tile(WHOLE), tile(LEFT, left), tile(RIGHT, right, other)) == ["CENTR", "far"]


def test_the_border_of_the_image_cuts_no_word_of_a_tile():
    first, last = word("first", 0, 0, 50, 30), word("last", 250, 170, 300, 200)
    better = [word("FIRST", 1, 1, 50, 30, 0.6), word("LAST", 250, 170, 299, 200, 0.6)]
    assert merged(tile(WHOLE, *better), tile(LEFT, first), tile(RIGHT, last)) == ["FIRST", "LAST"]
    # They compete by their scores, for neither is a piece.
    assert merged(tile(WHOLE, first, last), tile(LEFT, better[0]), tile(RIGHT, better[1])) == [
        "FIRST",
        "LAST",
    ]


def test_words_of_one_tile_and_neighbours_do_not_compete():
    outer, inner = word("outer", 10, 10, 90, 60), word("inner", 20, 20, 80, 40)
    assert merged(tile(WHOLE), tile(LEFT, outer, inner), tile(RIGHT)) == ["inner", "outer"]
    upper, lower = word("upper", 130, 20, 170, 41), word("lower", 130, 39, 170, 60)
    assert merged(tile(WHOLE), tile(LEFT, upper), tile(RIGHT, lower)) == ["lower", "upper"]


def test_what_a_result_of_tiles_tells():
    tiles = (
        tile(WHOLE, scale=1.0, input_size=(100, 150)),
        tile(LEFT, scale=0.5, input_size=(300, 270)),
        tile(RIGHT, scale=1.0, input_size=(300, 270)),
    )
    result = merge_tiles(SIZE, tiles)
    assert result.words == () and result.text == ""
    assert result.input_size == (300, 450)  # of the image, one and a half times its size
    pixels = np.array([100 * 150, 300 * 270, 300 * 270])
    assert result.scale == pytest.approx(np.average([1, 0.5, 1], weights=pixels))
    assert result.relative_cost == pytest.approx(np.average([1, 0.25, 1], weights=pixels))


def test_each_tile_is_read_like_an_image_of_its_own(student):
    # Twice as large as the pictures for which the selector chooses every scale.
    image = np.hstack([noise(seed) for seed in range(3)]).repeat(2, axis=0).repeat(2, axis=1)
    plain = TextSpotter.from_file(student)
    spotter = TextSpotter.from_file(student, tiles=200)
    result = spotter(image)
    assert len(result.tiles) == 1 + len(tile_boxes(192, 768, 200)) > 5
    assert result.tiles[0].box == (0, 0, 768, 192)
    for (x0, y0, x1, y1), found in result.tiles:
        assert described(found) == described(plain(image[y0:y1, x0:x1]))
    assert len({found.scale for _, found in result.tiles}) > 1
    assert min(spotter.scales) <= result.scale <= 1
    assert spotter.cost(result).total == pytest.approx(
        sum(plain.cost(found).total for _, found in result.tiles)
    )
    assert spotter.cost(result).published < spotter.cost(result).total
    spotter.tiles = None
    assert described(spotter(image)) == described(plain(image)) and spotter(image).tiles == ()


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_many_images_some_in_tiles(tmp_path, config_file, batch_size):
    spotter = TextSpotter(setup_cfg(config_file), tiles="auto")
    large = picture((40, 60, 120, 90), 600, 900)
    images = [large, picture(), tmp_path / "missing.png", picture(None, 460, 240), large[:, ::-1]]
    results = list(spotter.predict_many(images, batch_size))
    assert isinstance(results.pop(2), FileNotFoundError)
    del images[2]
    for image, result in zip(images, results, strict=True):
        assert described(result) == described(spotter(image))
        assert len(result.tiles) == len(spotter(image).tiles)
    assert [len(result.tiles) for result in results] == [25, 0, 7, 25]
    (found,) = results[0]
    # Read at half the size of the image, rather than a sixth.
    assert np.abs(found.polygon - [[40, 60], [120, 60], [120, 90], [40, 90]]).max() <= 2


def test_a_tile_that_does_not_fit_into_memory_fails_its_image(config_file, monkeypatch):
    spotter = TextSpotter(setup_cfg(config_file), tiles="auto")
    find = spotter._spot

    def spot(inputs):
        results = find(inputs)
        return [
            MemoryError("no") if item["height"] == 600 else r
            for item, r in zip(inputs, results, strict=True)
        ]

    monkeypatch.setattr(spotter, "_spot", spot)
    large, small = spotter.predict_many([picture(height=600, width=900), picture()])
    assert isinstance(large, MemoryError) and len(small) == 1


@pytest.mark.parametrize("tiles", [0, -5, 63, 200.0, "200", "all", True])
def test_what_is_no_tile_is_refused(config_file, tiles):
    with pytest.raises(ValueError, match=r'None, "auto", or .* at least 64; not '):
        TextSpotter(setup_cfg(config_file), tiles=tiles)
