"""Characters of a reading against what is written."""

from itertools import pairwise

import numpy as np
import pytest

from dld_d2.analysis.appendix.characters import GAP, mark_reading


def joined(pieces):
    return "".join(f"[{text}]" if wrong else text for text, wrong in pieces)


@pytest.mark.parametrize(
    ("written", "reading", "expected"),
    [
        ("stop", "STOP", "STOP"),
        ("stop", "st0p", "st[0]p"),
        ("stop", "xstop", "[x]stop"),
        ("stop", "sop", "s[·]op"),
        ("stop", "", "[····]"),
        ("", "x", "[x]"),
        ("Straße", "STRAßE", "STRAßE"),
    ],
)
def test_marks(written, reading, expected):
    assert joined(mark_reading(written, reading)) == expected


def naive_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def test_as_many_marks_as_edits_and_the_reading_is_kept():
    generator = np.random.default_rng(0)
    for _ in range(200):
        a, b = ("".join(generator.choice(list("abc"), generator.integers(0, 7))) for _ in "ab")
        pieces = mark_reading(a, b)
        assert "".join(text for text, _ in pieces).replace(GAP, "") == b
        assert sum(len(text) for text, wrong in pieces if wrong) == naive_distance(a, b)
        assert all(x[1] != y[1] for x, y in pairwise(pieces))
