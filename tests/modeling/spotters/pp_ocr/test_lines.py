"""Lines fall apart into words."""

import pytest

from dld_d2.modeling.spotters.pp_ocr.lines import parts_of_line

CHARACTERS = " abc"


def test_a_line_falls_apart_at_its_spaces():
    line = [1, 2, 0, 3, -100], [1.0, 2, 4, 6, 0], [0.5, 1, 1, 0.25, 0]
    first, second = parts_of_line(*line, CHARACTERS, 10)
    assert (first.text, second.text) == ("ab", "c")
    assert (first.start, first.stop) == (0.0, pytest.approx(0.3))
    assert (second.start, second.stop) == (pytest.approx(0.5), 1.0)
    assert (first.score, second.score) == (0.75, 0.25)


def test_spaces_at_the_ends_and_side_by_side():
    line = [0, 1, 0, 0, 2], [0.5, 2, 4, 6, 8], [1, 0.5, 1, 1, 0.75]
    parts = parts_of_line(*line, CHARACTERS, 10)
    assert [part.text for part in parts] == ["a", "b"]
    assert parts[0].start == pytest.approx(0.125)


def test_a_line_without_spaces_is_one_word():
    line = [1, -100, -100], [5.0, 0, 0], [1, 0, 0]
    assert parts_of_line(*line, CHARACTERS, 10) == [("a", 0.0, 1.0, 1.0)]
    assert parts_of_line([], [], [], CHARACTERS, 10) == []
