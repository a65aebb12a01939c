"""PP-OCRv6's weights in our modules, beside its own graphs in ONNX Runtime."""

import importlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from pp_ocr_weights.convert import (
    choose_characters,
    convert,
    load_detector,
    load_recogniser,
)
from pp_ocr_weights.wheel import NAME, VERSION, WeightsError, read_weights

import dld_d2.synthetic.builtin  # noqa: F401 (registers the scenes)
from dld_d2.data.images import read_image
from dld_d2.data.mapper import load_image
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotters.pp_ocr.detector import Detector
from dld_d2.modeling.spotters.pp_ocr.recogniser import Recogniser
from dld_d2.structures.vocabulary import Vocabulary

REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY.parent / "shared" / "data" / "icdar2015_sample" / "images"


@pytest.fixture(scope="module")
def weights():
    return read_weights()


def picture():
    """A photograph where there is one, else a scene; (3, 480, 640) at most, in [-1, 1]."""
    if SAMPLE.is_dir():
        image = read_image(str(SAMPLE / "img_10.jpg"), "BGR")
    else:
        image = load_image(DatasetCatalog.get("synthetic_test")[0], "BGR")
    image = image[:480, :640]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 127.5 - 1


def run(graph, images):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    return session.run(None, {name: images.numpy()})[0]


@torch.no_grad()
def test_the_detector_sees_what_the_graph_sees(weights):
    detector = Detector().eval()
    load_detector(detector, weights.detector)
    images = picture()[None]
    found = detector(images).sigmoid()
    np.testing.assert_allclose(found, run(weights.detector, images)[:, 0], atol=1e-4)
    assert found.max() > 0.5 > found.min(), "there is text in the picture"


@torch.no_grad()
def test_the_recogniser_reads_what_the_graph_reads(weights):
    recogniser = Recogniser().eval()
    characters = load_recogniser(recogniser, weights.recogniser)
    words = torch.stack([picture()[:, :48, :160], picture()[:, 100:148, 150:310]])
    context = recogniser(words).context
    probabilities = (context @ characters.weight.t() + characters.bias).softmax(dim=-1)
    np.testing.assert_allclose(probabilities, run(weights.recogniser, words), atol=1e-4)
    assert len(characters.names) == 18709


@torch.no_grad()
def test_a_vocabulary_is_cut_without_changing_what_is_read(weights):
    recogniser = Recogniser().eval()
    characters = load_recogniser(recogniser, weights.recogniser)
    ascii_only = choose_characters(characters, Vocabulary())
    everything = choose_characters(characters, Vocabulary("".join(characters.names)))
    context = torch.randn(4, 20, 120, generator=torch.manual_seed(0))
    # By the columns of its own characters and the blank, a cut classifier is the whole one.
    place = {name: index for index, name in enumerate(characters.names)}
    columns = [*(place[c] for c in Vocabulary().characters), len(characters.names)]
    torch.testing.assert_close(ascii_only(context), everything(context)[..., columns])


def test_what_it_does_not_know_is_named(weights):
    characters = load_recogniser(Recogniser(), weights.recogniser)
    with pytest.raises(ValueError, match=r"does not know these characters: \U0001f984"):
        choose_characters(characters, Vocabulary("a\U0001f984"))


def test_the_file_is_one_that_a_spotter_starts_from(weights, tmp_path):
    file = tmp_path / "pp_ocr.pth"
    convert(weights, Vocabulary(), file)
    options = ["MODEL.RECOGNITION.VOCABULARY", "", "MODEL.WEIGHTS", str(file)]
    cfg = setup_cfg(str(REPOSITORY / "configs" / "photo" / "Base-photo.yaml"), options)
    model = build_model(cfg)
    SpotterCheckpointer(model).load(str(file))
    state = torch.load(file, weights_only=True)["model"]
    assert set(state) == set(model.state_dict())
    assert all(model.state_dict()[name].equal(value) for name, value in state.items())
    assert "Apache" in file.with_suffix(".NOTICE.md").read_text(encoding="utf-8")


def test_other_weights_than_the_pinned_are_refused(tmp_path):
    wheel = tmp_path / f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for model in ("det", "rec"):
            archive.writestr(f"rapidocr/models/PP-OCRv6_{model}_small.onnx", b"other")
    with pytest.raises(WeightsError, match=r"has SHA-256 .* it was not used"):
        read_weights(wheel)
    wheel.write_bytes(b"no zip")
    with pytest.raises(WeightsError, match=r"is not the wheel of rapidocr 3\.10\.0"):
        read_weights(wheel)


def test_without_the_package_onnx_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    convert_pp_ocr = importlib.import_module("convert_pp_ocr")
    monkeypatch.delitem(sys.modules, "pp_ocr_weights.convert", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    # Python says so of a package that is not there.
    assert convert_pp_ocr.main(["--output", str(tmp_path / "out.pth")]) == 2
    assert capsys.readouterr().err.endswith("is not installed: pip install onnx\n")
