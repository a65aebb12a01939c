"""`dld-d2 read`, with a model that finds one bright block."""

import json
import os

import cv2
import pytest
from bright_block_spotter import picture, save

from dld_d2.commands import read


@pytest.fixture(autouse=True)
def untouched_loggers(monkeypatch):
    # Detectron2's handlers would stay on the loggers for all tests that follow.
    monkeypatch.setattr(read, "setup_logger", lambda **_: None)


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
    assert drawn.shape == (1067, 1600, 3)  # enlarged, for readable labels
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
    with pytest.raises(SystemExit):
        run(file, more=["--batch-size", "0"])
    assert "--batch-size: must be at least 1, not 0" in capsys.readouterr().err
    code = read.main(
        ["--config-file", config_file, "--output", str(tmp_path / "in" / "a.png"), "--input", file]
    )
    assert code == 2 and "cannot be made into a folder" in capsys.readouterr().err
