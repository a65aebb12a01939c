"""Small files that once took minutes, gigabytes or a traceback, and lines read in a wrong way."""

import os
import random
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from dld_d2.evaluation import EvaluationInputError, evaluate, read_lexicon
from dld_d2.evaluation.cli import main
from dld_d2.evaluation.drawing import draw_image
from dld_d2.evaluation.geometry import compute_overlaps

QUAD = "0,0,100,0,100,100,0,100,"


def random_polygon(points, seed=0):
    rng = random.Random(seed)
    return ",".join(str(rng.randint(0, 1000)) for _ in range(2 * points))


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command on a ground truth and a submission of one image; what it says on failure."""

    def command(gt, submission, *more):
        for name, member, content in (
            ("gt.zip", "gt_img_1.txt", gt),
            ("sub.zip", "img_1.txt", submission),
        ):
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr(member, content)
        paths = ["--gt", str(tmp_path / "gt.zip"), "--submission", str(tmp_path / "sub.zip")]
        status = main([*paths, *map(str, more)])
        error = capsys.readouterr().err.strip()
        assert "\n" not in error and len(error) < 500
        return error.removeprefix("error: ") if status == 2 else None

    return command


BEYOND = [
    (f"{random_polygon(1000)},a", "line 2: the polygon crosses itself .* more than 100; are its"),
    (f"{random_polygon(2000)},a", "line 2: the polygon has 2000 points, more than 1000; simplify"),
    (f"{random_polygon(64)},a", "line 2: the polygon crosses itself 5.. times"),
    (QUAD + "a" * 4_000_000, "line 2: the transcription has 4000000 characters, more than 1000"),
    ("0,0,1e300,0,5,5,0,5,a", "line 2: coordinate 3 is 1e300, beyond 1000000 pixels"),
    ("0,0," + "1" * 400 + ",0,5,5,0,5,a", r"line 2: field 3 \(?is 1+\.\.\.; only finite"),
    ((QUAD + "a\n") * 30_000, "line 20001: an image has at most 20000 words"),
]


@pytest.mark.parametrize(("line", "message"), BEYOND)
@pytest.mark.parametrize("hostile", ["gt", "sub"])
def test_what_no_data_set_holds_is_refused_with_its_line(run, line, message, hostile):
    good, bad = QUAD + "a\n", f"{QUAD}a\n{line}\n"
    error = run(*((bad, good) if hostile == "gt" else (good, bad)))
    assert error is not None and re.search(f"{hostile}.zip: .*img_1.txt, {message}", error), error


def test_words_in_memory_have_the_same_limits():
    def score(polygon, text="a"):
        return evaluate({1: [([(0, 0), (9, 0), (9, 9)], "a")]}, {1: [(polygon, text)]})

    circle = np.linspace(0, 6.28, 1001)
    with pytest.raises(EvaluationInputError, match=r"submission, image 1, word 1: .* 1001 points"):
        score(500 + 99 * np.stack([np.cos(circle), np.sin(circle)], axis=1))
    with pytest.raises(EvaluationInputError, match=r"image 1, word 1: .* beyond 1000000 pixels"):
        score([(0, 0), (1e300, 0), (5, 5)])
    with pytest.raises(EvaluationInputError, match=r"image 1, word 1: .* 5000 characters"):
        score([(0, 0), (9, 0), (9, 9)], "a" * 5000)
    word = (np.array([(0, 0), (9, 0), (9, 9)]), "a")
    with pytest.raises(EvaluationInputError, match="submission, image 1: has 20001 words"):
        evaluate({1: []}, {1: [word] * 20_001})


@pytest.mark.parametrize(
    ("gts", "dets"),
    [
        ([random_polygon(4)] * 2000, [random_polygon(4)] * 2000),
        ([random_polygon(15, i) for i in range(99)], [random_polygon(15, -i) for i in range(101)]),
    ],
)
def test_thousands_of_words_on_one_spot_are_refused(run, gts, dets):
    error = run("".join(f"{p},a\n" for p in gts), "".join(f"{p},a\n" for p in dets))
    assert "image 1: too many of its polygons lie upon each other" in error


def test_as_many_words_side_by_side_are_scored():
    square = np.array([(0, 0), (9, 0), (9, 9), (0, 9)])
    squares = [square + np.array((10 * (i % 100), 10 * (i // 100))) for i in range(2000)]
    (overlaps,) = compute_overlaps([squares], [squares])
    assert overlaps.gt_index.tolist() == overlaps.det_index.tolist() == list(range(2000))


def test_a_lexicon_of_one_endless_word(tmp_path):
    (tmp_path / "words.txt").write_text("ABC\n" + "A" * 4_000_000)
    with pytest.raises(EvaluationInputError, match=r"words.txt, line 2: a word of 4000000 charact"):
        read_lexicon(tmp_path / "words.txt")


@pytest.mark.parametrize("side", ["gt", "submission"])
@pytest.mark.parametrize("place", ["x", "x/img_1.txt"])
def test_pipes_are_not_waited_for(tmp_path, side, place):
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "1.txt").touch()
    if "/" in place:
        (tmp_path / "x").mkdir()
    os.mkfifo(tmp_path / place)
    paths = {"gt": tmp_path / "good", "submission": tmp_path / "good"} | {side: tmp_path / "x"}
    with pytest.raises(EvaluationInputError, match=r"x: (is neither a file|holds 'img_1.txt', wh)"):
        evaluate(**paths)


def test_a_pipe_as_lexicon(tmp_path):
    for name in ("words.txt", "strong.zip"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(EvaluationInputError, match=f"{name}: is n"):
            read_lexicon(tmp_path / name)


# --- one line, two readings


def test_each_file_has_its_own_number_of_points(run, tmp_path, capsys):
    gt = "".join(f"{20 * i},0,{20 * i + 15},0,{20 * i + 15},9,{20 * i},9,w,x\n" for i in range(5))
    six = "{0},0,{1},0,{2},0,{2},9,{1},9,{0},9,0.9,wx\n"
    submission = "".join(six.format(20 * i, 20 * i + 7, 20 * i + 15) for i in range(5))
    assert run(gt, submission, "--gt-points", 4, "--scores", "--json", tmp_path / "out") is None
    assert '"spot_hmean": 1.0' in (tmp_path / "out").read_text()
    error = run(gt, submission, "--points", 4, "--scores")
    assert error.startswith("--points was for both files; say --gt-points 4, --det-points 4")


READINGS = [
    # Options, a line of a submission, what is said about it; None where it is accepted.
    (["--scores"], QUAD + "312,a", r"field 9 \(312\) is no confidence, which is in \[0, 1\]"),
    (["--scores"], QUAD + "-0.1,a", r"field 9 \(-0.1\) is no confidence"),
    (["--scores"], QUAD + "1,a", None),
    (["--scores", "--det-points", 4], QUAD + "1.5,a", r"field 9 \(1.5\) is no confidence"),
    (["--scores", "--det-points", 4], "0,0,9,0,9,9,8,9,0,5,0,4,0.9,a", "has 6 points .* not 4"),
    (["--scores", "--det-points", 4], QUAD + "0.5,1,000", None),
    (["--det-points", 4], QUAD + "-2,50,a", "the line has 5 points x,y .* not 4"),
    (["--det-points", 4], "500,500,600,500,600,540,500,540,1,000,000", None),  # a million
    (["--det-points", 4], "500,500,600,500,600,540,500,540,3,2,1,go", None),
    (["--det-points", 4], QUAD + "0.93,a", r"field 9 \(0.93\) comes after 4 points and reads as"),
    (["--det-points", 4], QUAD + "9.99,a", None),
    (["--det-points", 2000], QUAD + "a", r"number of points is 2000 \(--det-points\)"),
    (["--gt-points", 2], QUAD + "a", r"gt.zip: number of points is 2 \(--gt-points\)"),
]


@pytest.mark.parametrize(("options", "line", "message"), READINGS)
def test_a_line_that_fits_another_reading_is_refused(run, options, line, message):
    error = run(QUAD + "a\n", line + "\n", *options)
    if message is None:
        assert error is None
    else:
        assert error is not None and re.search(message, error), error
        assert ".zip: " in error


# --- pictures


def record(words):
    detections = [
        {"polygon": [(x, y), (x + 20, y), (x, y + 9)], "corrected": text, "outcome": "false"}
        for x, y, text in words
    ]
    return {"ground_truth": [], "detections": detections}


def test_a_picture_of_more_words_than_labels(tmp_path, monkeypatch):
    monkeypatch.setattr("dld_d2.evaluation.drawing.MAX_LABELS", 20)
    Image.new("RGB", (1280, 720)).save(tmp_path / "x.png")
    words = [(i % 1000, i // 10, "w" * 90) for i in range(60)]
    picture = draw_image(tmp_path / "x.png", record(words))
    monkeypatch.setattr("dld_d2.evaluation.drawing.MAX_LABELS", 60)
    whole = draw_image(tmp_path / "x.png", record(words))
    assert (np.asarray(picture)[:1080] != np.asarray(whole)[:1080]).any()
    bright = [(np.asarray(image)[-20:].min(axis=-1) > 200).sum() for image in (picture, whole)]
    assert bright[0] > bright[1]  # the legend ends with a note on the labels


def test_photographs_that_are_none_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "text.png").write_text("no image")
    Image.new("1", (200, 200)).save(tmp_path / "bomb.png")
    for name, reason in (("pipe", "is a pipe"), ("text", "cannot identify"), ("bomb", "bomb")):
        message = f"{name}.png: cannot be drawn on .*{reason}"
        with pytest.raises(EvaluationInputError, match=message):
            draw_image(tmp_path / f"{name}.png", record([]))
