"""MANGO by its networks. The weights are random; thresholds are set such that words are found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from dld_d2.deployment import TextSpotter
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotters.mango.voting import vote

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from dld_d2.deployment.onnx_check import differences
from dld_d2.deployment.onnx_export import save_onnx
from dld_d2.deployment.runtime import OnnxSpotter, mango

CONFIG = Path(__file__).resolve().parents[2] / "configs/mango/tiny/Base-tiny.yaml"


@pytest.fixture(scope="module", params=[("image", True), ("padded", False)])
def exported(request, tmp_path_factory):
    over, local = request.param
    torch.manual_seed(0)
    opts = ["MODEL.MANGO.GRID_OVER", over, "MODEL.MANGO.ATTENTION.LOCAL", str(local)]
    cfg = setup_cfg(str(CONFIG), [*opts, "INPUT.MIN_SIZE_TEST", "160", "MODEL.WEIGHTS", ""])
    model = build_model(cfg).eval()
    last = model.reader.decoder.layers[-1]
    torch.nn.init.normal_(last.weight)
    image = torch.randn(1, 3, 160, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        level = model.backbone(image)[model.in_feature]
        lines = model.center_line(level).sigmoid()
    model.options.center_threshold = lines.quantile(0.8).item()
    model.options.category_threshold = 0.0
    folder = tmp_path_factory.mktemp("mango")
    save_onnx(cfg, model, folder)
    return TextSpotter(cfg, model=model), OnnxSpotter(folder)


@pytest.mark.parametrize("size", [(150, 210), (230, 160), (97, 120)])
def test_words_are_the_same(exported, size, monkeypatch):
    spotter, runtime = exported
    image = np.random.default_rng(size[0]).integers(0, 255, (*size, 3), dtype=np.uint8)
    expected = spotter(image)
    assert len(expected) > 1 and any(word.text for word in expected)
    for elements in (2**24, 1):
        monkeypatch.setattr(mango, "_MOST_ELEMENTS", elements)
        found = runtime(image)
        assert not differences(expected, found)
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.score == pytest.approx(theirs.score, abs=1e-3)
            assert mine.detection_score == pytest.approx(theirs.detection_score, abs=1e-4)


def test_a_threshold_and_no_words(exported):
    spotter, runtime = exported
    image = np.random.default_rng(0).integers(0, 255, (150, 210, 3), dtype=np.uint8)
    try:
        spotter.score_threshold = runtime.score_threshold = 1.0
        assert len(spotter(image)) == len(runtime(image)) == 0
    finally:
        spotter.score_threshold = runtime.score_threshold = 0.0


@pytest.mark.parametrize("seed", range(5))
def test_votes_are_counted_alike(seed):
    rng = np.random.default_rng(seed)
    words, end = 4, 5
    word = np.sort(np.concatenate([np.arange(words), rng.integers(0, words, 8)]))
    weight = rng.uniform(0.1, 1, len(word)).astype(np.float32)
    weight /= np.bincount(word, weight)[word].astype(np.float32)
    logits = torch.from_numpy(rng.normal(size=(len(word), 7, 7)).astype(np.float32)) * 3
    classes, scores = vote(logits, *map(torch.from_numpy, (word, weight)), words, end)
    probability, best = logits.softmax(dim=-1).max(dim=-1)
    found, found_scores = mango.vote(best.numpy(), probability.numpy(), word, weight, end)
    assert found.tolist() == classes.tolist()
    np.testing.assert_allclose(found_scores, scores.numpy(), rtol=1e-5)
