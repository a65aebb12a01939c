"""`dld-d2 select` from photographs to a selector and its comparison, and bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dld_d2.commands.main import main
from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.deployment.focus_file import save_focus
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.focus.focus_map import FocusMap

ROOT = Path(__file__).resolve().parents[3]
ENGINE = ["--engine", "block_engine:read"]


def run(*words):
    return main(["select", *map(str, words)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photographs):
    """Photographs, readings of them at two scales, and a selector."""
    folder = tmp_path_factory.mktemp("commands")
    images = folder / "photos"
    shutil.copytree(Path(photographs[0]).parent, images)
    readings, selector = folder / "readings.jsonl", folder / "selector.onnx"
    words = ["read", *ENGINE, "--images", images, "--scales", 0.5, 1, "--output", readings]
    assert run(*words) == 0
    words = ["train", "--readings", readings, "--output", selector, "--input-scale", 0.5]
    assert run(*words, "--epochs", 12, "--target-cost", 0.7) == 0
    return folder


def test_from_photographs_to_a_comparison(folder, tmp_path, capsys):
    words = ["--selector", folder / "selector.onnx", "--images", folder / "photos"]
    words += ["--readings", tmp_path / "test.jsonl", "--scales", 0.7, "--cost-bias", -99, 1, 99]
    assert run("test", *ENGINE, *words, "--output", tmp_path / "figures.json") == 0
    assert "30 images; right by its own reading at scale 1" in capsys.readouterr().out
    assert ReadingsFile(tmp_path / "test.jsonl").table()[1] == [0.5, 0.7, 1.0]
    rows = json.loads((tmp_path / "figures.json").read_text())["readers"]
    found = {row["reader"]: row for row in rows}
    assert found["fixed 1"]["right"] == found["fixed 1"]["of"] == 180
    assert found["fixed 0.5"]["right"] == found["chosen, bias 99"]["right"] == 90
    assert found["chosen, bias -99"]["right"] == found["chosen, bias 1"]["right"] == 180
    assert found["fixed 1"]["words_share"] == [1.0, 1.0, 1.0]


def test_with_truth(folder, tmp_path, photographs, capsys):
    """Labels are found by the images' names; these say that nothing is written anywhere."""
    truth = tmp_path / "gt"
    truth.mkdir()
    for number in range(len(photographs)):
        (truth / f"gt_img_{number}.txt").write_text("")
    words = [
        "--readings",
        folder / "readings.jsonl",
        "--output",
        tmp_path / "s.onnx",
        "--gt",
        truth,
    ]
    assert run("train", *words, "--epochs", 1, "--target-cost", 0.7) == 0
    (truth / "gt_img_3.txt").unlink()
    assert run("train", *words) == 2
    assert "has no truth of" in capsys.readouterr().err


def test_images_that_cannot_be_read_are_named(tmp_path, photographs, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"no")
    words = ["--images", tmp_path / "bad.jpg", photographs[0], "--output", tmp_path / "r.jsonl"]
    assert run("read", *ENGINE, *words) == 1
    assert "bad.jpg: cannot be read as an image" in capsys.readouterr().err
    assert run("read", *ENGINE, *words[:2], "--output", tmp_path / "other.jsonl") == 2
    assert "none of the 1 images could be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reference", "2"], "one must be --reference 2"),
        (["--target-cost", "7"], "out of reach"),
        (["--readings", "no.jsonl"], "select read` makes it"),
        (["--hold-out", "0.9"], "--hold-out must be"),
        (["--input-scale", "0"], "--input-scale must be"),
        (["--output", "a.pth"], "must end in .onnx"),
    ],
)
def test_trainings_that_cannot_be(folder, tmp_path, words, message, capsys):
    readings = ["--readings", folder / "readings.jsonl", "--output", tmp_path / "s.onnx"]
    try:
        status = run("train", *readings, "--epochs", 1, *words)
    except SystemExit as end:
        status = end.code
    assert status == 2 and message in capsys.readouterr().err


def test_too_few_photographs(tmp_path, photographs, capsys):
    readings = tmp_path / "r.jsonl"
    words = ["--images", *photographs[:3], "--scales", 0.5, 1, "--output", readings]
    assert run("read", *ENGINE, *words) == 0
    assert run("train", "--readings", readings, "--output", tmp_path / "s.onnx") == 2
    assert "a selector takes 20 at least" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "there is rapidocr, tesseract, or MODULE:FUNCTION"),
        ("no_such_module:read", "No module named"),
        ("block_engine:write", "has no attribute 'write'"),
        ("block_engine:LEAST_HEIGHT", "is a int, which cannot be called"),
    ],
)
def test_engines_that_there_are_not(tmp_path, photographs, name, message, capsys):
    words = ["--images", photographs[0], "--output", tmp_path / "r.jsonl"]
    assert run("read", "--engine", name, *words) == 2
    assert message in capsys.readouterr().err


def test_a_selector_is_for_its_engine_and_size(folder, tmp_path, capsys):
    words = ["--selector", folder / "selector.onnx", "--images", folder / "photos"]
    words += ["--readings", tmp_path / "r.jsonl", "--min-side", 99]
    assert run("test", *ENGINE, *words) == 2
    assert "is for the engine block_engine:read with --min-side 0" in capsys.readouterr().err
    assert run("test", *ENGINE, *words[:-1], 0, "--max-side", 3, "--min-side", 9) == 2
    assert "9 pixels at least and 3 at most" in capsys.readouterr().err


@pytest.mark.parametrize(
    "module",
    [
        "dld_d2.deployment.runtime.dynamic",
        "dld_d2.deployment.runtime.focused",
        "dld_d2.commands.select",
        "dld_d2.commands.select_read",
        "dld_d2.commands.select_test",
    ],
)
def test_reading_loads_neither_torch_nor_detectron2(module):
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "torchvision", "detectron2"} & set(done.stdout.split())


def test_parts_of_images_are_compared_with_fixed_scales(folder, tmp_path, photographs, capsys):
    """By a network that has learnt nothing, which marks whatever it marks."""
    torch.manual_seed(3)
    model = FocusMap(setup_cfg(str(ROOT / "configs/photo/focus.yaml"), ["MODEL.DEVICE", "cpu"]))
    torch.nn.init.zeros_(model.network.output.weight)
    model.network.output.bias.data = torch.tensor([3.0, 0.0])  # text, a few pixels high
    save_focus(model.eval(), tmp_path / "focus.onnx", image_format="BGR")
    words = [*ENGINE, "--images", *photographs[:6], "--readings", tmp_path / "r.jsonl"]
    figures = tmp_path / "figures.json"
    look = ["--focus", tmp_path / "focus.onnx", "--scales", 0.5, "--output", figures]
    assert run("test", *words, *look) == 0
    # It marks all places, so that images are read as they are.
    found = {one["reader"]: one for one in json.loads(figures.read_text())["readers"]}
    whole, parts = found["fixed 1"], found["parts, by focus.onnx"]
    assert (parts["right"], parts["of"]) == (whole["right"], whole["of"]) and whole["right"] > 0
    assert "words_above_fixed" in parts and "oracle in that time" in found
    # What was read so is kept apart, for each rule by itself.
    assert len(list(tmp_path.glob("r.focus-*.jsonl"))) == 1
    assert run("test", *words, *look, "--focus-threshold", 0.5, "--together") == 0
    assert len(list(tmp_path.glob("r.focus-*.jsonl"))) == 2
    capsys.readouterr()
    assert run("test", *words, "--focus", tmp_path / "no.onnx") == 2
    for wrong in ([], ["--together"], ["--focus", "f.onnx", "--cost-bias", 1]):
        with pytest.raises(SystemExit):
            run("test", *words, *wrong)
    assert "no network that looks first" in capsys.readouterr().err
