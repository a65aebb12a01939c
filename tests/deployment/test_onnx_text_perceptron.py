"""Text Perceptron by its networks. The weights are random, so that cells with words are made up."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from dld_d2.deployment import TextSpotter
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotters.text_perceptron.cells import BOUNDARY, CENTRE, HEAD, TAIL
from dld_d2.modeling.spotters.text_perceptron.side_regions import SideRegions

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from dld_d2.deployment.onnx_check import differences
from dld_d2.deployment.onnx_export import save_onnx
from dld_d2.deployment.runtime import OnnxSpotter

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "text_perceptron/tiny/Base-tiny.yaml"


@pytest.fixture(scope="module", params=["crop", "map"])
def exported(request, tmp_path_factory):
    torch.manual_seed(0)
    opts = ["MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", request.param, "INPUT.MIN_SIZE_TEST", "128"]
    cfg = setup_cfg(str(CONFIG), [*opts, "MODEL.WEIGHTS", ""])
    model = build_model(cfg).eval()
    # Texts that are not all alike, and cells of all kinds.
    torch.nn.init.normal_(model.text_head.decoder.classifier.weight)
    torch.nn.init.normal_(model.head.scores.weight)
    folder = tmp_path_factory.mktemp("perceptron")
    save_onnx(cfg, model, folder)
    return cfg, model, OnnxSpotter(folder)


@pytest.mark.parametrize("size", [(96, 160), (64, 224)])
def test_cells_are_the_same(exported, size):
    _, model, runtime = exported
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        feature = model.backbone(image)[model.in_feature]
        expected = model.packed_cells(model.head(feature))[:, 1:].numpy()
    assert len(np.unique(expected[:, 2])) == 4, "cells of all four kinds"
    cells, found = runtime._reader._networks["detector"].run(None, {"image": image.numpy()})
    np.testing.assert_allclose(found, feature.numpy(), atol=1e-4)
    assert cells.shape == expected.shape
    np.testing.assert_allclose(cells, expected, atol=1e-4)


@pytest.mark.parametrize("count", [1, 4])
def test_words_are_encoded_alike(exported, count):
    _, model, runtime = exported
    head = model.text_head
    generator = torch.Generator().manual_seed(count)
    channels = model.backbone.output_shape()[model.in_feature].channels
    feature = torch.rand(1, channels, 20, 30, generator=generator)
    sides = torch.rand(count, 14, 2, generator=generator) * torch.tensor([130.0, 90]) - 5
    index = torch.zeros(count, dtype=torch.int64)
    with torch.no_grad():
        _, context = head.encode({head.in_feature: feature}, SideRegions(index, sides))
    inputs = {"feature": feature.numpy(), "sides": sides.numpy()}
    found, _ = runtime._reader._networks["encoder"].run(None, inputs)
    np.testing.assert_allclose(found, context.numpy(), atol=1e-4)


class Cells:
    """In place of the detector: its feature map, and cells of our own."""

    def __init__(self, detector, cells):
        self.detector, self.cells = detector, cells

    def run(self, names, inputs):
        return self.cells, self.detector.run(names, inputs)[1]


def words(*boxes):
    """(M, 16) cells of words in boxes of rows and columns, with ends of two columns."""
    rng = np.random.default_rng(0)
    cells = []
    for top, bottom, left, right in boxes:
        for row in range(top - 1, bottom + 1):
            for column in range(left, right):
                label = HEAD if column < left + 2 else TAIL if column >= right - 2 else CENTRE
                label = label if top <= row < bottom else BOUNDARY
                cells.append([row, column, label, rng.uniform(0.8, 1), *rng.normal(0, 0.1, 12)])
    return np.array(cells, dtype=np.float32)


def test_words_are_read_alike(exported, monkeypatch):
    cfg, model, runtime = exported
    # The last one lies outside of the image, in its padding.
    cells = words((3, 7, 2, 20), (12, 15, 5, 30), (20, 24, 3, 12), (33, 36, 2, 12))
    reader, spotter = runtime._reader, TextSpotter(cfg, model=model)
    detector = reader._networks["detector"]
    monkeypatch.setitem(reader._networks, "detector", Cells(detector, cells))
    maps = torch.zeros(1, 14, 40, 40)
    row, column = cells[:, :2].astype(int).T
    maps[0, :, row, column] = torch.from_numpy(cells[:, 2:]).T
    monkeypatch.setattr(model, "labelled_maps", lambda _: maps)
    image = np.random.default_rng(1).integers(0, 255, (125, 140, 3), dtype=np.uint8)
    expected, found = spotter(image), runtime(image)
    assert len(expected) == 3 and len({word.text for word in expected}) > 1
    assert not differences(expected, found)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.polygon, theirs.polygon, atol=1e-2)
        assert mine.score == pytest.approx(theirs.score, abs=1e-4)
        assert mine.detection_score == pytest.approx(theirs.detection_score, abs=1e-6)
    middle = sorted(word.detection_score for word in expected)[1]
    monkeypatch.setattr(reader, "score_threshold", middle)
    monkeypatch.setattr(model, "score_threshold", middle)
    assert len(runtime(image)) == len(spotter(image)) == 2


def test_no_words(exported):
    cfg, model, runtime = exported
    image = np.full((100, 150, 3), 128, np.uint8)
    assert len(TextSpotter(cfg, model=model)(image)) == len(runtime(image)) == 0
