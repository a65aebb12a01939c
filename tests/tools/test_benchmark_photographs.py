"""Readers of photographs side by side: what is compared, and what is refused."""

import json

import benchmark
import cv2
import numpy as np
import pytest
from benchmark_suite import photographs
from benchmark_suite.photographs import build_reader
from benchmark_suite.turns import take_turns

from dld_d2.structures.word import Word

SQUARE = np.array([[10, 10], [50, 10], [50, 30], [10, 30]], dtype=np.float64)
TEXTS = ("one", "two", "three", "four")


@pytest.fixture
def data(tmp_path):
    """Four images of one word each."""
    for folder in ("images", "gt"):
        (tmp_path / folder).mkdir()
    for number, text in enumerate(TEXTS):
        image = np.full((60, 80, 3), 255, np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"img_{number}.png"), image)
        corners = ",".join(str(int(v)) for v in SQUARE.ravel())
        (tmp_path / "gt" / f"gt_img_{number}.txt").write_text(f"{corners},{text}\n")
    return tmp_path


def fake_reader(right):
    """Reads the word of the first `right` images."""

    def read(path):
        number = int(path.stem[-1])
        return [Word(SQUARE, TEXTS[number] if number < right else "wrong")], 0.5

    return read


def test_readers_take_turns_in_beginning():
    order = []
    readers = {n: lambda image, n=n: order.append((n, image)) or f"{n}{image}" for n in "abc"}
    found = take_turns(readers, [0, 1, 2, 3])
    assert "".join(name for name, _ in order) == "abcbcacababc"
    assert [image for _, image in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert found == {n: [f"{n}{image}" for image in range(4)] for n in "abc"}


def test_the_table_and_the_file(data, monkeypatch, capsys):
    right = {"first": 2, "second": 4}
    monkeypatch.setattr(photographs, "build_reader", lambda n: fake_reader(right[n]))
    output = data / "made" / "results.json"
    options = ["--images", str(data / "images"), "--gt", str(data / "gt")]
    options += ["--reader", "first", "second", "--output", str(output)]
    assert benchmark.main(["photographs", *options]) == 0
    shown = capsys.readouterr().out
    assert "2 of 4" in shown and "4 of 4" in shown
    assert "second - first: end-to-end +50.0 points" in shown
    results = json.loads(output.read_text())
    assert results["second"]["cases"][0]["spot_hmean"] == 1.0
    images = results["first"]["images"]  # of img_N.png
    assert [images[str(n)]["counts"][3] for n in range(4)] == [1, 1, 1, 1]  # found
    assert [images[str(n)]["counts"][4] for n in range(4)] == [1, 1, 0, 0]  # and read
    assert images["0"]["scale"] == 0.5 and images["0"]["seconds"] > 0


def test_scales_of_a_student_and_of_a_teacher(data):
    scene = np.full((300, 400, 3), 255, np.uint8)
    cv2.imwrite(str(data / "large.png"), scene)
    for name, scale in (("tiny_dld@0.5", 0.5), ("tiny_teacher@0.5", 0.5), ("tiny_teacher", 1.0)):
        words, told = build_reader(name)(data / "large.png")
        assert isinstance(words, list) and told == scale, name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tiny_dld@2", "is not one of its scales, 0.3, 0.4, "),
        ("tiny_dld@small", "is not one of its scales"),
        ("tiny_teacher@2", "is no scale"),
        ("tiny_teacher@0", "is no scale"),
    ],
)
def test_no_scale(name, why):
    with pytest.raises(ValueError, match=f"--reader {name}: .*{why}"):
        build_reader(name)


def test_an_image_that_is_not_there(data, capsys):
    (data / "images" / "img_3.png").unlink()
    options = ["--images", str(data / "images"), "--gt", str(data / "gt")]
    assert benchmark.main(["photographs", *options, "--reader", "tiny_teacher"]) == 2
    assert "there is no image of 3 in --images" in capsys.readouterr().err


def test_rapidocr_finds_nothing_where_nothing_is(data):
    pytest.importorskip("rapidocr")
    assert build_reader("rapidocr")(data / "images" / "img_0.png") == ([], 1.0)
