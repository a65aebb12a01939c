"""Mask R-CNN by its networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

import dld_d2.synthetic.builtin  # noqa: F401 (which registers)
from dld_d2.deployment import TextSpotter, onnx_check
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.pretrained import weights_file
from dld_d2.deployment.result import SpottingResult
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.recognition.regions import BoxMasks, Regions
from dld_d2.modeling.recognition.weighted_rows import weighted_rows
from dld_d2.structures.word import Word

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from dld_d2.deployment.onnx_check import compare_networks, differences, export_networks
from dld_d2.deployment.onnx_export import save_onnx
from dld_d2.deployment.runtime import OnnxSpotter

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "tiny" / "Base-tiny.yaml"


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The shipped student, by PyTorch and by its networks."""
    cfg, model = load_spotter(weights_file("tiny_dld"))
    folder = tmp_path_factory.mktemp("student")
    save_onnx(cfg, model, folder)
    return cfg, model, folder


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    """A spotter of random weights that convolves the whole map before it cuts words out."""
    torch.manual_seed(0)
    opts = ["MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", "map", "INPUT.MIN_SIZE_TEST", "128"]
    cfg = setup_cfg(str(CONFIG), [*opts, "MODEL.WEIGHTS", ""])
    model = build_model(cfg).eval()
    # Scores and texts that are not all alike.
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight)
    torch.nn.init.normal_(model.roi_heads.text_head.decoder.classifier.weight)
    folder = tmp_path_factory.mktemp("random")
    save_onnx(cfg, model, folder)
    return cfg, model, folder


def scene(number, rows, columns):
    image = DatasetCatalog.get("synthetic_test")[number]["read_image"]("BGR")
    return np.ascontiguousarray(image[:rows, :columns])


@pytest.mark.parametrize("size", [(512, 512), (300, 512), (512, 201), (260, 270)])
def test_words_are_the_same(student, size):
    cfg, model, folder = student
    spotter, runtime = TextSpotter(cfg, model=model), OnnxSpotter(folder)
    image = scene(11, *size)
    expected, found = spotter(image), runtime(image)
    assert len(expected) > 0
    assert (found.scale, found.input_size) == (expected.scale, expected.input_size)
    assert [word.text for word in found] == [word.text for word in expected]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.polygon, theirs.polygon, atol=0.1)
        assert mine.score == pytest.approx(theirs.score, abs=1e-3)
        assert mine.detection_score == pytest.approx(theirs.detection_score, abs=1e-3)
    assert found.words[0].polygon.dtype == np.float32


def test_no_words_and_thresholds(student):
    cfg, model, folder = student
    spotter, runtime = TextSpotter(cfg, model=model), OnnxSpotter(folder)
    empty = np.full((200, 300, 3), 128, np.uint8)
    assert len(spotter(empty)) == len(runtime(empty)) == 0
    image, threshold = scene(11, 512, 512), runtime.score_threshold
    assert threshold == spotter.score_threshold
    try:
        for value in (0.05, 0.99):
            spotter.score_threshold = runtime.score_threshold = value
            assert not differences(spotter(image), runtime(image), [value])
    finally:
        spotter.score_threshold = threshold


def test_words_of_random_weights(random):
    images = [scene(0, 200, 300), scene(1, 301, 180)]
    found = compare_networks(*random, images=images)
    assert found.images == 2 and found.words > 5 and not found.different


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("which", ["student", "random"])
def test_words_are_encoded_alike(which, count, request):
    _, model, folder = request.getfixturevalue(which)
    spotter = getattr(model, "spotter", model)
    head = spotter.roi_heads.text_head
    generator = torch.Generator().manual_seed(count)
    channels = spotter.backbone.output_shape()[head.in_feature].channels
    feature = torch.rand(1, channels, 24, 40, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * 60
    size = 4 + torch.rand(count, 2, generator=generator) * torch.tensor([60.0, 36])
    size[0] = torch.tensor([12.0, 40])  # upright
    boxes = torch.cat([corner, corner + size], dim=1)
    masks = torch.rand(count, 28, 28, generator=generator)
    index = torch.zeros(count, dtype=torch.int64)
    shape = BoxMasks(masks, boxes, spotter.roi_heads.mask_thresh)
    with torch.no_grad():
        _, context = head.encode({head.in_feature: feature}, Regions(index, boxes, shape))
    inputs = {"feature": feature, "boxes": boxes, "masks": masks}
    network = OnnxSpotter(folder)._reader._networks["encoder"]
    found, _ = network.run(None, {name: value.numpy() for name, value in inputs.items()})
    np.testing.assert_allclose(found, context.numpy(), atol=1e-4)


def test_sums_of_rows_are_the_same_in_an_export(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 3, 4, 5, generator=generator)
    pixel = torch.randint(0, 40, (7, 4), generator=generator)
    weight = torch.rand(7, 4, generator=generator)
    here = weighted_rows(features, pixel, weight)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    torch.testing.assert_close(weighted_rows(features, pixel, weight), here)
    for row in range(7):
        expected = torch.zeros(3)
        for k in range(4):
            image, rest = divmod(pixel[row, k].item(), 20)
            expected += weight[row, k] * features[image, :, rest // 5, rest % 5]
        torch.testing.assert_close(here[row], expected)


def test_networks_that_read_something_else_are_not_kept(student, tmp_path, monkeypatch):
    cfg, model, _ = student
    folder = tmp_path / "networks"
    monkeypatch.setattr(onnx_check, "_PARTS", ((1.0, 1.0),))
    description, comparison = export_networks(cfg, model, folder)
    assert {path.stem for path in folder.iterdir()} == {*description.graphs, "model"}
    assert comparison.images == 2 and not comparison.different
    before = (folder / "detector.onnx").read_bytes()

    def other(cfg, model, trial, **kwargs):
        found = save_onnx(cfg, model, trial, **kwargs)
        content = (Path(trial) / "model.json").read_text(encoding="utf-8")
        assert '"mask_threshold": 0.5' in content
        content = content.replace('"mask_threshold": 0.5', '"mask_threshold": 0.1')
        (Path(trial) / "model.json").write_text(content, encoding="utf-8")
        return found

    monkeypatch.setattr(onnx_check, "save_onnx", other)
    with pytest.raises(ConfigError, match=r"networks were not kept: on 1 of 2 images .* not found"):
        export_networks(cfg, model, folder)
    assert (folder / "detector.onnx").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["networks"]


def test_half_the_size(student, random, tmp_path):
    cfg, model, folder = student
    save_onnx(cfg, model, tmp_path / "half", half=True)
    for name in ("detector", "encoder", "decoder", "selector"):
        whole, half = ((f / f"{name}.onnx").stat().st_size for f in (folder, tmp_path / "half"))
        assert half < 0.6 * whole
    whole, half = OnnxSpotter(folder), OnnxSpotter(tmp_path / "half")
    image = scene(11, 512, 512)
    assert [word.text for word in half(image)] == [word.text for word in whole(image)]

    # Against the same weights rounded by PyTorch.
    cfg, model, _ = random
    rounded = build_model(cfg).eval()
    state = model.state_dict()
    rounded.load_state_dict({n: v.half() if v.ndim > 1 else v for n, v in state.items()})
    save_onnx(cfg, model, tmp_path / "random", half=True)
    found = compare_networks(cfg, rounded, tmp_path / "random", images=[scene(0, 200, 300)])
    assert found.words > 5 and not found.different
    with torch.no_grad():
        rounded.roi_heads.text_head.decoder.key.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match="beyond the range of float16"):
        save_onnx(cfg, rounded, tmp_path / "large", half=True)


def test_what_counts_as_a_difference():
    def result(*words, scale=1.0):
        square = np.array([[0, 0], [20, 0], [20, 8], [0, 8]], np.float32)
        found = tuple(Word(square + shift, text, score, 0.9) for text, shift, score in words)
        return SpottingResult(found, (50, 50), (50, 50), scale)

    both = result(("one", 0, 0.8), ("two", 20, 0.7))
    assert not differences(both, result(("two", 20.5, 0.7), ("one", 0, 0.8)))
    assert differences(both, result(("one", 0, 0.8))) == "not found: 'two'"
    moved = result(("one", 0, 0.8), ("two", 21.5, 0.7))
    assert differences(both, moved) == "not found: 'two'; found instead: 'two'"
    assert not differences(both, result(("one", 0, 0.8)), [0.7005])
    assert differences(both, result(("one", 0, 0.8)), [0.71])
    again = result(("one", 0, 0.8), ("one", 0, 0.8))
    assert differences(again, result(("one", 0, 0.8))) == "not found: 'one'"
    assert "at scale 0.5 instead of 1" in differences(both, result(scale=0.5))
