"""Engines that are built in, the full size, and reading at another size."""

import shutil

import cv2
import numpy as np
import pytest

from dld_d2.deployment.runtime.engines import Sides, find_engine, read_at, tesseract
from dld_d2.structures.errors import UsageError
from dld_d2.structures.word import Word


def page():
    """(400, 700, 3) uint8 with a word in large letters."""
    image = np.full((400, 700, 3), 255, dtype=np.uint8)
    cv2.putText(image, "HARBOUR", (80, 230), cv2.FONT_HERSHEY_SIMPLEX, 4, (0, 0, 0), 9)
    return image


@pytest.mark.parametrize(
    ("sides", "size", "full"),
    [
        (Sides(), (480, 640), (480, 640)),
        (Sides(736, 2000), (720, 1280), (736, 1308)),
        (Sides(736, 2000), (900, 1200), (900, 1200)),
        (Sides(736, 2000), (3000, 4000), (1500, 2000)),
        # The longest side goes before the shortest.
        (Sides(736, 2000), (100, 1000), (200, 2000)),
        (Sides(0, 10), (1, 10_000), (1, 10)),
    ],
)
def test_full_size(sides, size, full):
    assert sides.full(size) == full


@pytest.mark.parametrize("sides", [(-1, 0), (0, -1), (10, 9)])
def test_sides_that_cannot_be(sides):
    with pytest.raises(ValueError, match="they must be 0 or more"):
        Sides(*sides)


def test_words_come_back_in_pixels_of_the_image():
    seen = []

    def engine(image):
        seen.append(image.shape)
        corner = [[10, 20], [30, 20], [30, 40]]
        return [Word(np.array(corner), "a", 0.5, 0.6), (corner, "b"), (corner, "c", None)]

    words = read_at(engine, np.zeros((100, 200, 3), dtype=np.uint8), (50, 400))
    assert seen == [(50, 400, 3)]
    assert [(w.text, w.score, w.detection_score) for w in words] == [
        ("a", 0.5, 0.6),
        ("b", None, None),
        ("c", None, None),
    ]
    for word in words:
        assert word.polygon.tolist() == [[5, 40], [15, 40], [15, 80]]


@pytest.mark.parametrize(
    "found", [None, 3, "words", [("a",)], [([[0, 0], [1, 1]], "a")], [([[0, 0]] * 3, 5)]]
)
def test_what_is_no_list_of_words_is_refused(found):
    with pytest.raises(ValueError, match="is no list of words"):
        read_at(lambda image: found, np.zeros((9, 9, 3), dtype=np.uint8), (9, 9))


def test_rapidocr_reads_at_the_size_that_it_is_given():
    pytest.importorskip("rapidocr")
    engine = find_engine("rapidocr")
    assert engine.sides == Sides(736, 2000)
    for size in ((400, 700), (120, 210)):
        (word,) = read_at(engine.read, page(), size)
        assert word.text == "HARBOUR" and 0.9 < word.score <= 1
        low, high = word.polygon.min(axis=0), word.polygon.max(axis=0)
        assert 40 < low[0] < 110 and 560 < high[0] < 680 and 90 < low[1] < 160 < high[1] < 290
    # By itself it would enlarge this to 736 pixels.
    assert [word.text for word in read_at(engine.read, page(), (12, 21))] != ["HARBOUR"]
    assert engine.read(np.full((64, 64, 3), 255, dtype=np.uint8)) == []


def test_tesseract():
    pytest.importorskip("pytesseract")
    if shutil.which("tesseract") is None:
        with pytest.raises(UsageError, match="apt install tesseract-ocr"):
            tesseract()
        pytest.skip("there is no tesseract")
    (word,) = read_at(find_engine("tesseract").read, page(), (200, 350))
    assert word.text == "HARBOUR" and 0.5 <= word.score <= 1
    assert 60 < word.polygon[0, 0] < 110 and word.polygon[:, 0].max() < 680
