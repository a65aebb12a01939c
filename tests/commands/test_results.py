"""Files of what was read."""

import csv
import json
import zipfile

import numpy as np
import pytest

from dld_d2.commands.results import FORMATS, Reading, UniqueStems, write_results
from dld_d2.deployment.result import SpottingResult, Tile, Word
from dld_d2.evaluation import read_submission

POLYGON = np.float32([[1.256, 2], [30, 2.5], [30, 12], [15, 13], [-1.25, 12]])
WORDS = (Word(POLYGON, 'say "a, b"', 0.98765, 0.5), Word(POLYGON + 40, "é", 1.0, 0.25))
SOURCE = {"model": "some"}


def result(*words, tiles=()):
    return SpottingResult(words, (100, 200), (50, 100), 0.1 + 0.2, 0.3, tiles)


def test_files_hold_all_words(tmp_path):
    readings = [
        Reading("in/a.png", "a", result(*WORDS), "pictures/a.jpg"),
        Reading("in/b.png", "b", result()),
    ]
    failed = [{"file": "c.png", "error": "no"}]
    files = write_results(tmp_path, list(FORMATS), readings, failed, SOURCE)
    assert [file.name for file in files] == ["results.json", "results.csv", "submission.zip"]

    whole = json.loads(files[0].read_text(encoding="utf-8"))
    assert whole["model"] == "some" and whole["failed"] == failed
    first, second = whole["images"]
    assert (first["width"], first["height"], first["scale"]) == (200, 100, 0.3)
    assert first["picture"] == "pictures/a.jpg" and "picture" not in second
    assert first["words"][0]["score"] == 0.9877 and first["words"][0]["polygon"][0] == [1.26, 2]
    assert second["words"] == []

    with files[1].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["file"], row["word"], row["text"]) for row in rows] == [
        ("in/a.png", "0", 'say "a, b"'),
        ("in/a.png", "1", "é"),
    ]
    assert rows[0]["polygon"] == "1.26 2 30 2.5 30 12 15 13 -1.25 12"
    assert (rows[0]["score"], rows[0]["detection_score"]) == ("0.9877", "0.5")

    words = read_submission(files[2], pattern=r"res_(.+)\.txt")
    assert list(words) == ["a", "b"] and words["b"] == []
    # The protocol takes whole pixels and no commas; polygons keep all their points.
    assert words["a"][0].polygon.tolist() == np.trunc(POLYGON).tolist()
    assert [word.text for word in words["a"]] == ['say "a b"', "é"]


def test_places_of_pages_and_moments(tmp_path):
    readings = [
        Reading("a.pdf", "a_page2", result(*WORDS), place={"page": 2}),
        Reading("b.png", "b", result(*WORDS)),
        Reading("c.mp4", "c_0.50s", result(*WORDS), place={"start": 0.5, "end": 1.25}),
    ]
    files = write_results(tmp_path, ["json", "csv"], readings, [], SOURCE)
    images = json.loads(files[0].read_text())["images"]
    assert images[0]["page"] == 2 and "page" not in images[1]
    assert (images[2]["start"], images[2]["end"]) == (0.5, 1.25)
    with files[1].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))[::2]
    places = [(row["page"], row["start"], row["end"]) for row in rows]
    assert places == [("2", "", ""), ("", "", ""), ("", "0.5", "1.25")]


def test_tiles_are_counted(tmp_path):
    tiles = tuple(Tile((0, 0, 200, 100), result()) for _ in range(5))
    readings = [Reading("a.png", "a", result(tiles=tiles)), Reading("b.png", "b", result())]
    (file,) = write_results(tmp_path, ["json"], readings, [], SOURCE)
    first, second = json.loads(file.read_text())["images"]
    assert first["tiles"] == 5 and "tiles" not in second


@pytest.mark.parametrize("name", ["caf\udce9", "back\\slash", "café"])
def test_names_that_files_and_archives_cannot_hold(tmp_path, name):
    readings = [Reading(f"{name}.png", name, result(*WORDS))]
    files = write_results(tmp_path, list(FORMATS), readings, [], SOURCE)
    expected = {"caf\udce9": "caf_udce9", "back\\slash": "back_slash"}.get(name, name)
    with zipfile.ZipFile(files[2]) as archive:
        assert archive.namelist() == [f"res_{expected}.txt"]
    assert json.loads(files[0].read_text(encoding="utf-8"))["images"][0]["file"] == f"{name}.png"
    assert len(files[1].read_text(encoding="utf-8").splitlines()) == 3


def test_equal_names_get_numbers():
    unique = UniqueStems()
    stems = [unique(stem) for stem in ("x", "x", "X", "x_2", "y.tar")]
    assert stems[:3] == ["x", "x_2", "X_3"] and stems[4] == "y.tar"
    assert len({stem.casefold() for stem in stems}) == 5
