"""Which parts of an image are read."""

import numpy as np
import pytest

from dld_d2.modeling.focus.chips import STRIDE, Chip, ChipRule, chips_of

SIZE = (736, 1308)
SCALE = 0.3
PLACE = STRIDE / SCALE  # pixels of the full resolution
RULE = ChipRule()


def maps(*words, size=SIZE):
    """Of words (row, column, rows, columns, height in pixels of the full resolution)."""
    shape = [-(-round(side * SCALE) // STRIDE) for side in size]
    text, height = np.full(shape, 0.01, np.float32), np.full(shape, 5.0, np.float32)
    for row, column, rows, columns, high in words:
        window = slice(row, row + rows), slice(column, column + columns)
        text[window], height[window] = 0.9, high * SCALE
    return text, height


def cost(chips, rule=RULE):
    sides = [((x1 - x0) * s, (y1 - y0) * s) for (x0, y0, x1, y1), s in chips]
    return sum(width * height + rule.overhead for width, height in sides)


def covers(chip, row, column, rows, columns):
    x0, y0, x1, y1 = chip.box
    low, high = PLACE * np.array([column, row]), PLACE * np.array([column + columns, row + rows])
    return (low >= (x0, y0)).all() and (high <= (x1 + 1, y1 + 1)).all()


def test_without_text_nothing_is_read():
    assert chips_of(*maps(), SIZE, SCALE, RULE) == []


def test_a_word_gets_a_margin_and_sides_that_are_not_padded():
    (chip,) = chips_of(*maps((10, 20, 1, 4, 20)), SIZE, SCALE, RULE)
    assert chip.scale == 1.0 and covers(chip, 10, 20, 1, 4)
    x0, y0, x1, y1 = chip.box
    assert (x1 - x0) % 32 == 0 and (y1 - y0) % 32 == 0 and min(x1 - x0, y1 - y0) >= 128
    assert x0 <= 20 * PLACE - 31 and x1 >= 24 * PLACE + 31
    assert cost([chip]) < 0.05 * SIZE[0] * SIZE[1]


@pytest.mark.parametrize("row", [0, 26])
@pytest.mark.parametrize("column", [0, 45])
def test_at_the_images_border_chips_end_with_it(row, column):
    (chip,) = chips_of(*maps((row, column, 1, 3, 20)), SIZE, SCALE, RULE)
    x0, y0, x1, y1 = chip.box
    assert x0 >= 0 and y0 >= 0 and x1 <= SIZE[1] and y1 <= SIZE[0]
    assert x1 - x0 >= 128 and y1 - y0 >= 128 and covers(chip, row, column, 1, 3)


def test_large_words_are_read_at_lower_scales():
    small, large = (2, 2, 1, 3, 16), (14, 25, 6, 20, 160)
    first, second = chips_of(*maps(small, large), SIZE, SCALE, RULE)
    assert first.scale == 1.0 and covers(first, *small[:4])
    assert second.scale == pytest.approx(32 / 160, abs=0.06) and covers(second, *large[:4])
    # The margin is one of the chip as it is read.
    assert second.box[0] <= 25 * PLACE - 31 / second.scale
    x0, _, x1, _ = second.box
    assert round((x1 - x0) * second.scale) % 32 == 0 or x1 == SIZE[1]
    finest = chips_of(*maps(large), SIZE, SCALE, ChipRule(text_height=1))
    assert finest[0].scale == 0.25  # the least


def test_the_smallest_words_of_a_piece_say_its_scale():
    (chip,) = chips_of(*maps((10, 10, 4, 6, 100), (14, 10, 1, 6, 40)), SIZE, SCALE, RULE)
    assert chip.scale == pytest.approx(32 / 40, rel=1e-5)


def test_pieces_are_put_together_where_that_is_cheaper():
    near, far = (10, 10, 1, 3, 20), (10, 40, 1, 3, 20)
    together = chips_of(*maps(near, (10, 15, 1, 3, 20)), SIZE, SCALE, RULE)
    assert len(together) == 1
    assert all(covers(together[0], *one) for one in [near[:4], (10, 15, 1, 3)])
    apart = chips_of(*maps(near, far), SIZE, SCALE, RULE)
    assert len(apart) == 2
    dear = ChipRule(overhead=10.0**7)
    assert len(chips_of(*maps(near, far), SIZE, SCALE, dear)) == 1


def test_putting_together_is_never_dearer_and_loses_nothing():
    generator = np.random.default_rng(0)
    for _ in range(30):
        words = [
            (
                *generator.integers(0, (24, 40)),
                1,
                generator.integers(2, 5),
                generator.uniform(10, 90),
            )
            for _ in range(generator.integers(2, 9))
        ]
        alone = [chip for word in words for chip in chips_of(*maps(word), SIZE, SCALE, RULE)]
        chips = chips_of(*maps(*words), SIZE, SCALE, RULE)
        # Sides are rounded up, at most to the next multiple on either side.
        slack = sum(32 * (x1 - x0 + y1 - y0 + 32) for (x0, y0, x1, y1), _ in chips)
        assert cost(chips) <= cost(alone) + slack
        for row, column, rows, columns, _ in words:
            rows, columns = min(rows, 27 - row), min(columns, 49 - column)
            assert any(covers(chip, row, column, rows, columns) for chip in chips)


def test_where_text_is_everywhere_the_image_is_read_as_a_whole():
    full = [(row, 0, 1, 49, 20) for row in range(0, 27, 2)]
    assert chips_of(*maps(*full), SIZE, SCALE, RULE) == [Chip((0, 0, SIZE[1], SIZE[0]), 1.0)]
    huge = [(0, 0, 27, 49, 300)]
    (chip,) = chips_of(*maps(*huge), SIZE, SCALE, RULE)
    assert chip.box == (0, 0, SIZE[1], SIZE[0]) and chip.scale == 0.25


def test_a_page_of_hundreds_of_pieces_takes_no_time():
    size = (3000, 3000)
    text, height = maps(size=size)
    text[::2, ::2] = 0.9
    assert chips_of(text, height, size, SCALE, RULE) == [Chip((0, 0, 3000, 3000), 1.0)]
    (large,) = chips_of(text, np.full_like(height, 64 * SCALE), size, SCALE, RULE)
    assert large.scale == pytest.approx(0.5)


def test_an_image_smaller_than_a_chip_is_one():
    (chip,) = chips_of(*maps((0, 0, 1, 2, 20), size=(60, 100)), (60, 100), SCALE, RULE)
    assert chip == Chip((0, 0, 100, 60), 1.0)
