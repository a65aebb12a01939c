"""Words in the order in which people read them."""

import itertools
import random

import numpy as np
import pytest

from dld_d2.deployment.reading_order import reading_order
from dld_d2.deployment.result import SpottingResult, Word

HEIGHT = 30


def box(x, y, width, height=HEIGHT):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)


def turned(polygon, degrees, about=(300, 300)):
    """Counted clockwise as one sees it."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return (polygon - about) @ np.array([[cos, sin], [-sin, cos]]) + about


def paragraph(text, x=0, y=0, height=HEIGHT, degrees=0):
    """Word -> polygon; lines are a bit more than their height apart."""
    found = {}
    for row, line in enumerate(text.split("/")):
        left = x
        for word in line.split():
            width = 0.6 * height * len(word)
            found[word] = turned(box(left, y + 1.5 * height * row, width, height), degrees)
            left += width + 0.4 * height
    return found


def read(words, seed=0):
    """The text, of words that come in any order."""
    names = list(words)
    random.Random(seed).shuffle(names)
    lines = reading_order([words[name] for name in names])
    assert sorted(itertools.chain(*lines)) == list(range(len(names)))
    return "/".join(" ".join(names[i] for i in line) for line in lines)


@pytest.mark.parametrize("degrees", [0, 3, -10, 20, -35, 40])
@pytest.mark.parametrize("seed", range(3))
def test_lines_of_a_rotated_page(degrees, seed):
    text = "the first line a/b of it/and one that is by far longer than others/c"
    assert read(paragraph(text, degrees=degrees), seed) == text


def test_vertices_may_go_either_way_and_be_many():
    text = "some words/on two lines"
    words = {}
    for name, polygon in paragraph(text, degrees=5).items():
        steps = np.linspace(0, 1, 4, endpoint=False)[:, None]
        points = [
            a + steps * (b - a) for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True)
        ]
        words[name] = np.roll(np.concatenate(points)[::-1], 5, axis=0)
    assert read(words) == text


@pytest.mark.parametrize("degrees", [0, 8, -8])
def test_columns_are_read_one_after_the_other(degrees):
    left = paragraph("a left column/with three lines/of its own", degrees=degrees)
    right = paragraph("and the right/whose rows/are level", x=400, degrees=degrees)
    title = paragraph("TITLEABOVETHEMBOTH", x=60, y=-120, height=60, degrees=degrees)
    foot = paragraph("footofthewholepageandallthatisonit", y=180, degrees=degrees)
    assert read(left | right | title | foot) == (
        "TITLEABOVETHEMBOTH/a left column/with three lines/of its own/"
        "and the right/whose rows/are level/footofthewholepageandallthatisonit"
    )


def test_signs_are_read_from_top_to_bottom_and_from_left_to_right_side_by_side():
    upper_right = paragraph("HIGH UP", x=700, y=0)
    lower_left = paragraph("further down", x=0, y=400, height=20)
    beside_it = paragraph("AND HERE", x=500, y=380, height=50)
    assert read(upper_right | lower_left | beside_it) == "HIGH UP/further down/AND HERE"


def test_lines_that_are_bent():
    """Along an arc each word has a direction of its own."""
    words = {}
    for name, radius in (("outer", 600), ("inner", 500)):
        for number, angle in enumerate(range(-40, 41, 10)):
            at_top = box(300 - 35, 300 - radius - 20, 70, 40)
            words[f"{name}{number}"] = turned(at_top, angle)
    lines = [" ".join(f"{name}{number}" for number in range(9)) for name in ("outer", "inner")]
    assert read(words) == "/".join(lines)


def test_words_in_perspective():
    """Lines that meet at a point far to the right."""
    words = paragraph("the upper line falls/its middle is level here/and lower one rises")
    middle, vanishing = 1.5 * HEIGHT + HEIGHT / 2, 2500

    def seen(polygon):
        x, y = polygon.T
        return np.stack([x, middle + (y - middle) * 3 * (1 - x / vanishing)], axis=1)

    words = {name: seen(polygon) for name, polygon in words.items()}
    assert read(words) == "the upper line falls/its middle is level here/and lower one rises"


def test_a_wide_gap_and_other_sizes_end_a_line_but_not_the_order():
    words = {"OPEN": box(0, 0, 100), "24h": box(220, 0, 60), "daily": box(0, 60, 250)}
    assert read(words) == "OPEN/24h/daily"
    words = {"SALE": box(0, 0, 300, 100), "now": box(310, 40, 60, 20)}
    assert read(words) == "SALE/now"


def test_words_upright_beside_lines():
    text = "next to it/are two lines"
    words = paragraph(text, x=100) | {"UPRIGHT": box(0, 0, 30, 120)}
    assert read(words) == f"UPRIGHT/{text}"


def test_few_words_and_degenerate_ones():
    assert reading_order([]) == []
    assert reading_order([box(0, 0, 5, 5)]) == [[0]]
    flat = [np.zeros((4, 2)), box(3, 3, 0, 0), box(5, 5, 40, 0), box(0, 0, 20)]
    assert sorted(itertools.chain(*reading_order(flat))) == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(20))
def test_any_words_come_once(seed):
    generator = np.random.default_rng(seed)
    polygons = [
        turned(box(*generator.uniform(0, 300, 2), *generator.uniform(1, 80, 2)), angle)
        for angle in generator.uniform(-180, 180, 60)
    ]
    lines = reading_order(polygons)
    assert sorted(itertools.chain(*lines)) == list(range(60))


def test_results_tell_lines_and_text():
    words = paragraph("Hello there/second line", degrees=4)
    found = [Word(words[name], name, 0.5, 0.5) for name in ("line", "there", "second", "Hello")]
    unread = Word(box(0, 500, 50), "", 0.5, 0.5)
    result = SpottingResult((*found, unread), (600, 600), (600, 600))
    line, there, second, hello = found
    assert result.lines == ((hello, there), (second, line), (unread,))
    assert result.text == "Hello there\nsecond line"
    assert result.words == (*found, unread)
    empty = SpottingResult((), (600, 600), (600, 600))
    assert empty.lines == () and empty.text == ""
