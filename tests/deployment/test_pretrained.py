"""The models that come with the package, and their cards."""

import hashlib
from pathlib import Path

import cv2
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from dld_d2.deployment import TextSpotter
from dld_d2.deployment.pretrained import (
    DEFAULT,
    card,
    find_model,
    focus_file,
    names,
    reads,
    weights_file,
)
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.setup import setup_cfg

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
TINY = ["tiny_dld", "tiny_dld_gamma0.3", "tiny_teacher", "tiny_text_perceptron"]
PHOTO = ["photo_teacher"]
LOOKS_FIRST = ["photo_student"]
EXPECTED = PHOTO + TINY


def test_what_there_is_and_how_large():
    assert names() == LOOKS_FIRST + EXPECTED
    files = {weights_file(name) for name in names()} | {focus_file(name) for name in LOOKS_FIRST}
    assert sum(file.stat().st_size for file in files) < 60e6
    folder = next(iter(files)).parent
    assert files == {f for f in folder.iterdir() if f.suffix in (".safetensors", ".onnx")}
    assert sum(weights_file(name).stat().st_size for name in PHOTO) < 25e6
    with pytest.raises(
        ValueError, match=r"no model 'tiny'; there are photo_student, .*tiny_teacher"
    ):
        weights_file("tiny")


def test_a_model_is_found_by_its_name_or_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_dld").mkdir()  # such as the output of a training
    assert find_model("tiny_dld") == weights_file("tiny_dld")
    file = tmp_path / "student.pth"
    file.touch()
    assert find_model("student.pth") == Path("student.pth") and find_model(file) == file
    with pytest.raises(FileNotFoundError, match=r"no spotter at 'tiny'.*there are photo_student, "):
        find_model("tiny")
    assert DEFAULT == "photo_student"
    assert TextSpotter.pretrained(tiles="auto").tiles == "auto"


def test_one_that_looks_first_is_the_model_that_reads_and_its_look():
    assert weights_file("photo_student") == weights_file("photo_teacher")
    assert reads("photo_student") == reads("photo_teacher") == "photo_teacher"
    assert focus_file("photo_teacher") is None and focus_file("some.pth") is None
    found = card("photo_student")
    digest = hashlib.sha256(focus_file("photo_student").read_bytes()).hexdigest()
    assert found["name"] == "photo_student" and found["sha256"] == digest
    assert {"what", "limits", "license", "training"} <= set(found)
    spotter = TextSpotter.pretrained()
    assert spotter.focus.rule.threshold == 0.1 and spotter.focus.rule.text_height == 48
    assert TextSpotter.pretrained("photo_student", focus=None).focus is None
    assert TextSpotter.pretrained("photo_student", tiles="auto").focus is None
    assert TextSpotter.pretrained("photo_teacher").focus is None


def test_without_its_files_there_is_no_model_that_looks_first(tmp_path, monkeypatch):
    for file in focus_file("photo_student").parent.glob("photo_teacher.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("dld_d2.deployment.pretrained._FOLDER", tmp_path)
    assert names() == ["photo_teacher"] and focus_file("photo_student") is None
    with pytest.raises(ValueError, match="no model 'photo_student'; there are photo_teacher"):
        weights_file("photo_student")


def test_a_damaged_look_is_noticed(tmp_path, monkeypatch):
    for file in focus_file("photo_student").parent.iterdir():
        if file.stem.startswith("photo_"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("dld_d2.deployment.pretrained._FOLDER", tmp_path)
    assert focus_file("photo_student").parent == tmp_path
    content = bytearray((tmp_path / "photo_focus.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "photo_focus.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"photo_focus\.onnx: damaged: .*SHA-256 differs"):
        TextSpotter.pretrained()


@pytest.mark.parametrize("name", EXPECTED)
def test_cards_are_of_these_files_and_complete(name):
    found = card(name)
    assert found["name"] == name
    digest = hashlib.sha256(weights_file(name).read_bytes()).hexdigest()
    assert found["sha256"] == digest, "the weights have changed: write the card anew"
    assert {"what", "limits", "training", "scores"} <= set(found)
    assert {"commands", "seed", "iterations", "hours", "data"} <= set(found["training"])
    scores = found["scores"]
    assert scores["dataset"] == "synthetic_test"
    for key in ("det_hmean", "e2e_none_hmean", "ws_none_hmean", "rec_accuracy", "cost_whole"):
        assert scores[key] > 0, key
    assert ("mean_scale" in scores) == (not name.endswith("teacher"))
    if name in PHOTO:
        assert "Apache-2.0" in found["license"]
        assert weights_file(name).with_name("NOTICE-PP-OCR.md").is_file()


def test_a_damaged_file_is_noticed(tmp_path, monkeypatch):
    content = bytearray(weights_file("tiny_dld").read_bytes())
    (tmp_path / "tiny_dld.yaml").write_bytes(
        weights_file("tiny_dld").with_suffix(".yaml").read_bytes()
    )
    (tmp_path / "tiny_dld.safetensors").write_bytes(content)
    monkeypatch.setattr("dld_d2.deployment.pretrained._FOLDER", tmp_path)
    assert weights_file("tiny_dld").parent == tmp_path
    content[len(content) // 2] ^= 1
    (tmp_path / "tiny_dld.safetensors").write_bytes(content)
    for load in (TextSpotter.pretrained, find_model):
        with pytest.raises(ValueError, match=r"tiny_dld\.safetensors: damaged: .*SHA-256 differs"):
            load("tiny_dld")


@pytest.mark.parametrize("name", EXPECTED)
def test_they_read(name):
    """Large words on a scene of the test set; the whole set takes tools/check_weights.py."""
    scenes = DatasetCatalog.get("synthetic_test")
    index = next(i for i in range(20) if scenes.record(i).file_name.endswith("_large.png"))
    wanted = {
        text.lower()
        for text, ignore in zip(
            scenes.record(index).texts, scenes.record(index).ignore, strict=True
        )
        if not ignore
    }
    image = scenes[index]["read_image"]("BGR")
    spotter = TextSpotter.pretrained(name)
    found = spotter(image)
    assert wanted & {word.text.lower() for word in found}
    assert found.scale == 1 if name.endswith("teacher") else found.scale in spotter.scales
    assert cv2.contourArea(found[0].polygon) > 100


@pytest.mark.parametrize("name", PHOTO + LOOKS_FIRST)
def test_those_of_photographs_read_a_photograph(name):
    file = ROOT / "tools" / "demo_page" / "photographs" / "scenetext01.jpg"
    found = TextSpotter.pretrained(name)(file)
    wanted = ["notice", "double", "parking", "prohibited", "at", "all", "times"]
    assert found.text.lower().split()[: len(wanted)] == wanted


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("tiny_dld", "tiny/shipped/dld_selector.yaml"),
        ("tiny_dld_gamma0.3", "tiny/shipped/dld_gamma0.3_selector.yaml"),
        ("tiny_teacher", "tiny/shipped/teacher_round3.yaml"),
        ("tiny_text_perceptron", "text_perceptron/tiny/dld.yaml"),
        ("photo_teacher", "photo/teacher.yaml"),
    ],
)
def test_they_are_weights_for_their_configurations(name, config, monkeypatch):
    """Exactly: evaluation and distillation take nothing less."""
    monkeypatch.chdir(ROOT)  # of the vocabulary's file
    cfg = setup_cfg(str(CONFIGS / config), ["MODEL.DYNAMIC.COST", "power"])
    model = build_model(cfg).eval()
    SpotterCheckpointer(model).load_exactly(str(weights_file(name)), checkpointables=[])
    state = model.state_dict()
    for key, value in TextSpotter.pretrained(name).model.state_dict().items():
        # Costs are the configuration's: files of version 1 hold them beside the weights.
        assert key == "relative_cost" or torch.equal(value, state[key]), key


@pytest.mark.parametrize(
    ("text", "message"),
    [("scores: [1", r"some\.yaml is no YAML"), ("just words", r"some\.yaml is no card")],
)
def test_what_is_no_card_is_named(tmp_path, monkeypatch, text, message):
    (tmp_path / "some.safetensors").touch()
    (tmp_path / "some.yaml").write_text(text)
    monkeypatch.setattr("dld_d2.deployment.pretrained._FOLDER", tmp_path)
    with pytest.raises(ValueError, match=message):
        card("some")
