"""What no word of any data set is."""

import os
from itertools import combinations

import numpy as np
import pytest
import shapely

from dld_d2.structures.files import check_regular_file
from dld_d2.structures.limits import (
    MAX_CROSSINGS,
    MAX_TEXT_LENGTH,
    MAX_VERTICES,
    _count_crossings,
    check_polygon,
    check_text,
)
from dld_d2.structures.vocabulary import Vocabulary


def ellipse(points, radius=(200, 60)):
    angles = np.arange(points) * 2 * np.pi / points
    return 500 + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius


def zigzag(crossings):
    """A line that goes up and down, and straight back through all its slopes."""
    there = np.array([(i, i % 2) for i in range(crossings + 1)], dtype=float)
    return np.concatenate([there, [(crossings + 1, 0.5), (-1, 0.5)]])


def test_outlines_as_they_occur_are_accepted():
    check_polygon(np.array([(0, 0), (9, 0), (9, 9), (0, 9.0)]))
    check_polygon(np.array([(0, 0), (9, 9), (9, 0), (0, 9.0)]))  # a slip of the annotator
    check_polygon(ellipse(MAX_VERTICES))
    # The outline of a line of pixels runs there and back.
    line = np.array([(x, x // 3) for x in range(300)], dtype=float)
    check_polygon(np.concatenate([line, line[-2:0:-1]]))
    check_text("x" * MAX_TEXT_LENGTH)


def test_what_is_beyond_is_refused():
    with pytest.raises(ValueError, match=r"has 1001 points, more than 1000; simplify"):
        check_polygon(ellipse(MAX_VERTICES + 1))
    with pytest.raises(ValueError, match=r"beyond 1000000 pixels \(1e\+300\)"):
        check_polygon(np.array([(0, 0), (1e300, 0), (5, 5)]))
    with pytest.raises(ValueError, match="NaN"):
        check_polygon(np.array([(0, 0), (np.nan, 0), (5, 5)]))
    check_polygon(zigzag(MAX_CROSSINGS))
    with pytest.raises(ValueError, match="crosses itself 101 times, more than 100"):
        check_polygon(zigzag(MAX_CROSSINGS + 1))
    with pytest.raises(ValueError, match="1001 characters"):
        check_text("x" * (MAX_TEXT_LENGTH + 1))


@pytest.mark.parametrize("limit", [4, 1000])
def test_crossings_against_shapely(limit):
    rng = np.random.default_rng(limit)
    for _ in range(40):
        points = rng.integers(0, limit, (rng.integers(4, 12), 2)).astype(float)
        count = len(points)
        edges = [shapely.LineString([points[i], points[(i + 1) % count]]) for i in range(count)]
        expected = sum(
            edges[i].crosses(edges[j])
            and not any(shapely.Point(end).intersects(edges[i]) for end in edges[j].coords)
            and not any(shapely.Point(end).intersects(edges[j]) for end in edges[i].coords)
            for i, j in combinations(range(count), 2)
        )
        assert _count_crossings(points) == expected


def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"pipe: is a pipe, socket or device, not a file"):
        check_regular_file(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a pipe"):
        Vocabulary.from_file(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a folder, not a file"):
        check_regular_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        check_regular_file(tmp_path / "absent")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    check_regular_file(tmp_path / "link")
