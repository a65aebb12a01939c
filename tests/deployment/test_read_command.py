"""`dld-d2 read`, with a model that finds one bright block."""

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from bright_block_spotter import picture, save

from dld_d2.commands import read
from dld_d2.deployment import model_file
from dld_d2.deployment.pretrained import DEFAULT, weights_file
from dld_d2.evaluation import cli, write_submission


@pytest.fixture(autouse=True)
def untouched_loggers(monkeypatch):
    # Detectron2's handlers would stay on the loggers for all tests that follow.
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda **_: None)


@pytest.fixture
def run(config_file, tmp_path, capsys):
    def run(*inputs, more=()):
        output = tmp_path / "out"
        code = read.main(
            ["--config-file", config_file, "--output", str(output), "--input", *inputs, *more]
        )
        results = output / "results.json"
        whole = json.loads(results.read_text(encoding="utf-8")) if results.exists() else None
        return code, whole, capsys.readouterr().err

    return run


def test_writes_results_and_pictures(run, tmp_path):
    first = save(tmp_path / "in", "one.png")
    save(tmp_path / "in", "two.png", picture(block=None))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    code, whole, messages = run(str(tmp_path / "in"))
    assert code == 0 and "1 words in 2 images" in messages
    assert whole["failed"] == []
    assert [image["file"] for image in whole["images"]] == [first, first.replace("one", "two")]
    one, two = whole["images"]
    assert (one["width"], one["height"]) == (300, 200)
    assert (one["scale"], one["relative_cost"]) == (1.0, 1.0)
    (word,) = one["words"]
    assert word["text"] == "é7 150x100" and word["score"] == 0.5
    assert word["detection_score"] == 0.75 and len(word["polygon"]) == 4
    assert two["words"] == []
    drawn = cv2.imread(str(tmp_path / "out" / one["picture"]))
    assert drawn.shape[0] > 1067 and drawn.shape[1] == 1600  # enlarged, and a legend below
    assert (tmp_path / "out" / two["picture"]).exists()


def test_names_what_it_cannot_read_and_goes_on(run, tmp_path):
    good = save(tmp_path / "in", "good.png")
    bad = tmp_path / "in" / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff not a jpeg")
    missing = str(tmp_path / "in" / "missing.jpg")
    code, whole, messages = run(str(bad), missing, good, more=["--batch-size", "4"])
    assert code == 1
    assert [image["file"] for image in whole["images"]] == [good]
    assert [entry["file"] for entry in whole["failed"]] == [str(bad), missing]
    assert "bad.jpg" in messages and "missing.jpg" in messages
    assert "2 could not be read" in messages


@pytest.mark.parametrize("more", [[], ["--batch-size", "4"], ["--tiles", "64"]])
def test_goes_on_after_what_is_no_photograph(run, tmp_path, more):
    """A pipe that nobody writes to, an endless device, a folder with the name of an image, and an
    image of which nothing is left at the size to read at."""
    folder = tmp_path / "in"
    save(folder, "good.png")
    save(folder, "thin.png", np.zeros((1, 5000, 3), np.uint8))
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "folder.png").mkdir()
    code, whole, messages = run(str(folder), more=more)
    assert code == 1
    assert [Path(image["file"]).name for image in whole["images"]] == ["good.png"]
    failed = {Path(entry["file"]).name: entry["error"] for entry in whole["failed"]}
    assert failed.keys() == {"thin.png", "pipe.png", "device.png", "folder.png"}
    for name, error in failed.items():
        assert error.startswith(str(folder / name)) and "\n" not in error
    assert "5000 x 1 pixels is too long and thin" in failed["thin.png"]
    assert "is a pipe" in failed["pipe.png"]
    assert "4 could not be read" in messages


def test_words_are_printed_where_no_folder_is_named(tmp_path, config_file, capsys):
    for name, image in (("a.png", picture()), ("b.png", picture(None)), ("c.png", picture())):
        save(tmp_path / "in", name, image)
    bad = tmp_path / "in" / "0.png"
    bad.write_bytes(b"nothing")
    folder = str(tmp_path / "in")
    assert read.main([folder, "--config-file", config_file]) == 1
    streams = capsys.readouterr()
    names = [os.path.join(folder, name) for name in ("a.png", "b.png", "c.png")]
    assert streams.out == f"{names[0]}\né7 150x100\n\n{names[1]}\n\n{names[2]}\né7 150x100\n"
    assert str(bad) in streams.err
    assert {path.name for path in tmp_path.iterdir()} == {"in", "config.yaml", "weights.pth"}


def test_names_that_cannot_be_printed_are_escaped(monkeypatch):
    for encoding, shown in (("utf-8", "é\\udce9"), ("ascii", "\\xe9\\udce9"), (None, "é\\udce9")):
        monkeypatch.setattr(read.sys, "stdout", type("Stream", (), {"encoding": encoding}))
        assert read.printable("é\udce9") == shown


def test_images_are_named_with_and_without_an_option(run, tmp_path, config_file):
    files = [save(tmp_path / "in", f"{name}.png") for name in "abcd"]
    out = ["--output", str(tmp_path / "out"), "--no-pictures"]
    arguments = [files[0], *out, files[1], "--config-file", config_file, files[2]]
    assert read.main([*arguments, "--input", files[3], "--opts", "INPUT.MIN_SIZE_TEST", "50"]) == 0
    whole = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [image["file"] for image in whole["images"]] == files
    assert whole["images"][2]["words"][0]["text"] == "é7 75x50"


def test_the_model_is_the_best_that_comes_along_if_none_is_named(tmp_path, monkeypatch):
    file = save(tmp_path / "in", "a.png", np.zeros((60, 80, 3), np.uint8))
    loaded = []
    load = model_file.load_spotter
    monkeypatch.setattr(model_file, "load_spotter", lambda *a: loaded.append(a[0]) or load(*a))
    out = ["--output", str(tmp_path / "out"), "--no-pictures"]
    for arguments, name in (([], DEFAULT), (["--model", "tiny_teacher"], "tiny_teacher")):
        assert read.main([file, *out, *arguments]) == 0
        assert loaded.pop() == weights_file(name)
        assert json.loads((tmp_path / "out" / "results.json").read_text())["model"] == name


def test_every_format(run, tmp_path):
    first = save(tmp_path / "in", "img_1.png")
    second = save(tmp_path / "in", "img_2.png", picture(None))
    missing = str(tmp_path / "in" / "img_3.png")
    more = ["--format", "csv,rrc,csv", "--no-pictures"]
    code, whole, messages = run(first, second, missing, more=more)
    assert code == 1 and whole is None
    assert "results.csv, " in messages and "submission.zip; 1 could not be read" in messages
    assert sorted(os.listdir(tmp_path / "out")) == ["results.csv", "submission.zip"]
    code, whole, _ = run(first, more=["--format", "json"])
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    (word,) = whole["images"][0]["words"]
    assert (row["file"], row["word"], row["text"]) == (first, "0", word["text"])
    assert float(row["score"]) == word["score"]
    assert float(row["detection_score"]) == word["detection_score"]
    assert list(map(float, row["polygon"].split())) == np.ravel(word["polygon"]).tolist()


@pytest.mark.parametrize("names", ["img_{}", "img{}", "{}", "photo {}"])
def test_what_is_read_can_be_scored(run, tmp_path, names, capsys):
    corners = np.array([[40, 60], [120, 60], [120, 90], [40, 90]])
    files = [
        save(tmp_path / "in", f"{names.format(1)}.png"),
        save(tmp_path / "in", f"{names.format(2)}.png"),
        save(tmp_path / "in", f"{names.format(3)}.png", picture(None)),
    ]
    assert run(*files, more=["--format", "rrc", "--no-pictures"])[0] == 0
    truth = {"1": [(corners, "É7 150X100")], "2": [(corners, "other")], "3": [(corners, "missed")]}
    patterns = []
    if names == "photo {}":
        patterns = ["--det-pattern", r"res_photo (.+)\.txt"]
    write_submission(tmp_path / "gt.zip", truth, name="gt_img_{}.txt")
    files = ["--gt", str(tmp_path / "gt.zip"), "--submission", str(tmp_path / "out/submission.zip")]
    scores = tmp_path / "scores.json"
    assert cli.main([*files, "--task", "end_to_end", "--json", str(scores), *patterns]) == 0
    (case,) = json.loads(scores.read_text())["cases"]
    assert (case["num_gt_care"], case["num_det"]) == (3, 2)
    assert (case["num_matched"], case["num_correct"]) == (2, 1)


def test_large_images_in_tiles(run, tmp_path):
    large = save(tmp_path / "in", "large.png", picture((40, 60, 120, 90), 600, 900))
    small = save(tmp_path / "in", "small.png")
    for tiles, number in (("auto", 25), ("400", 7), ("off", None)):
        code, whole, _ = run(large, small, more=["--tiles", tiles, "--no-pictures"])
        assert code == 0
        first, second = whole["images"]
        assert first.get("tiles") == number and "tiles" not in second
        (word,) = first["words"]
        off = np.abs(np.subtract(word["polygon"], [[40, 60], [120, 60], [120, 90], [40, 90]])).max()
        assert off <= (6 if number is None else 4)


def test_patterns_repeats_and_equal_names(run, tmp_path):
    save(tmp_path / "a", "x.png")
    save(tmp_path / "b", "x.png")
    save(tmp_path / "b", "X.bmp.png")
    code, whole, _ = run(str(tmp_path / "*" / "*.png"), str(tmp_path / "a"))
    assert code == 0 and len(whole["images"]) == 3
    pictures = [image["picture"] for image in whole["images"]]
    assert len(set(pictures)) == 3
    assert all((tmp_path / "out" / name).exists() for name in pictures)


def test_threshold_and_overrides(run, tmp_path):
    file = save(tmp_path / "in", "a.png")
    _, low, _ = run(file, more=["--confidence-threshold", "0.7"])
    _, high, _ = run(file, more=["--confidence-threshold", "0.8", "--no-pictures"])
    assert [len(r["images"][0]["words"]) for r in (low, high)] == [1, 0]
    assert "picture" not in high["images"][0]
    _, scaled, _ = run(file, more=["--opts", "INPUT.MIN_SIZE_TEST", "50"])
    assert scaled["images"][0]["words"][0]["text"] == "é7 75x50"


def test_writes_file_names_that_are_not_unicode(run, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        file = save(tmp_path / "in", name)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    code, whole, _ = run(file)
    assert code == 0
    assert whole["images"][0]["file"] == file
    assert (tmp_path / "out" / whole["images"][0]["picture"]).exists()


def test_says_what_is_wrong(run, tmp_path, config_file, capsys):
    file = save(tmp_path / "in", "a.png")
    (tmp_path / "empty").mkdir()
    for inputs, more, message in (
        ([str(tmp_path / "empty")], [], "there are no images in"),
        ([file], ["--opts", "MODEL.WEIGHTS", ""], "MODEL.WEIGHTS is empty"),
        ([file], ["--opts", "MODEL.WEIGHTS", "nowhere.pth"], "nowhere.pth"),
        ([file], ["--opts", "MODEL.WEIGTHS", "a.pth"], "MODEL.WEIGHTS"),
        ([file], ["--target-cost", "0.5"], "--target-cost: this model has no resolution selector"),
        ([file], ["--cost-bias", "0.5"], "this model has no resolution selector"),
    ):
        code, whole, messages = run(*inputs, more=more)
        assert (code, whole) == (2, None)
        assert f"error: {message}" in messages or message in messages
        assert "Traceback" not in messages
    with pytest.raises(SystemExit) as stop:
        run(file, more=["--confidence-threshold", "1.5"])
    assert stop.value.code == 2
    assert "between 0 and 1" in capsys.readouterr().err
    for more, message in (
        (["--batch-size", "0"], "--batch-size: must be at least 1, not 0"),
        (["--format", "json,xml"], "there is no format 'xml'; there are json, csv, rrc"),
        (["--tiles", "60"], "auto, off, or a number of pixels of at least 64, not '60'"),
        (["--tiles", "1.5"], "auto, off, or a number of pixels of at least 64, not '1.5'"),
        (["--tiles", "auto", "--target-cost", "0.5"], "read as a whole, not with --tiles"),
    ):
        with pytest.raises(SystemExit):
            run(file, more=more)
        assert message in capsys.readouterr().err
    for arguments, message in (
        ([], "name the images to read"),
        ([file, "--format", "csv"], "--format is of the files in --output DIR, which is missing"),
    ):
        with pytest.raises(SystemExit):
            read.main(arguments)
        assert message in capsys.readouterr().err
    assert read.main([file, "--model", "tiny"]) == 2
    assert "no spotter at 'tiny', and no model of that name comes" in capsys.readouterr().err
    code = read.main(
        ["--config-file", config_file, "--output", str(tmp_path / "in" / "a.png"), "--input", file]
    )
    assert code == 2 and "cannot be made into a folder" in capsys.readouterr().err
