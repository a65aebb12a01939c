"""The three-call contract, on a spotter small enough for a test."""

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_proposal_generator
from detectron2.utils.events import EventStorage
from fvcore.nn import FlopCountAnalysis
from tiny_spotter import CONFIGS, make_input, tiny_cfg, tiny_spotter

from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.backbones.narrow_resnet import build_narrow_resnet_fpn_backbone
from dld_d2.modeling.backbones.single_level import single_level_features
from dld_d2.modeling.recognition.regions import jitter_targets
from dld_d2.modeling.spotters.attention_text_head import recognition_loss
from dld_d2.structures.vocabulary import Vocabulary

FIRST = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("naïve", (10, 40, 60, 52))]
SECOND = [("x" * 33, (5, 60, 80, 75)), ("to", (90, 10, 110, 22)), ("be", (120, 10, 150, 22))]


@pytest.fixture(scope="module")
def spotter():
    return tiny_spotter()


@pytest.fixture
def storage():
    with EventStorage(0) as storage:
        yield storage


def roi_features(reading):
    return reading.features["roi"]


def test_regions_are_jittered_where_a_step_asks_for_it(spotter, storage, monkeypatch):
    spotter.train()
    monkeypatch.setattr(spotter.roi_heads.text_head, "jitter", 0.3)
    images, targets = spotter.preprocess([make_input(FIRST)])
    exact = [roi_features(spotter.recognize(images, targets, ("roi",))) for _ in range(2)]
    torch.testing.assert_close(*exact)
    assert not targets[0].has("gt_jitter")
    jittered = spotter.losses(images, spotter.perturb(targets), ("roi",))[1]
    assert (roi_features(jittered) - exact[0]).abs().max() > 1e-3
    # A training step of the spotter alone does ask.
    seen = []
    monkeypatch.setattr(spotter, "losses", lambda images, targets: (seen.append(targets) or {}, 0))
    spotter([make_input(FIRST)])
    assert 0 < seen[0][0].gt_jitter.abs().max() <= 0.3


@pytest.mark.parametrize("amount", [-0.1, 0.5])
def test_a_jitter_that_turns_boxes_inside_out_is_refused(amount):
    with pytest.raises(ValueError, match=rf"ROI_TEXT_HEAD\.JITTER is {amount}.*below 0\.5"):
        tiny_spotter(MODEL__ROI_TEXT_HEAD__JITTER=amount)


def test_regions_that_come_jittered_are_taken_as_they_are(spotter, storage, monkeypatch):
    monkeypatch.setattr(spotter.roi_heads.text_head, "jitter", 0.3)
    images, exact = spotter.preprocess([make_input(FIRST)])
    targets = jitter_targets(exact, 0.1)
    want = ("roi",)
    outputs = [spotter.train().losses(images, targets, want)[1] for _ in range(2)]
    torch.testing.assert_close(*map(roi_features, outputs))
    seen = roi_features(spotter.recognize(images, targets, want))
    torch.testing.assert_close(seen, roi_features(outputs[0]))
    assert (seen - roi_features(spotter.recognize(images, exact, want))).abs().max() > 1e-3


def test_losses_and_recognition_of_one_pass(spotter, storage):
    spotter.train()
    images, targets = spotter.preprocess([make_input(FIRST)])
    losses, output = spotter.losses(images, targets)
    assert set(losses) == {
        *("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"),
        *("loss_rec", "loss_ctc"),
    }
    assert all(torch.isfinite(loss) for loss in losses.values())
    texts = torch.tensor([Vocabulary().encode("Hello", 5)])
    torch.testing.assert_close(losses["loss_rec"], recognition_loss(output.logits, texts))


def test_words_that_train_detection_only_are_counted(spotter, storage):
    spotter.train()
    spotter([make_input(FIRST), make_input(SECOND, seed=1)])
    assert storage.latest()["recognition/num_words"][0] == 5
    assert storage.latest()["recognition/num_unreadable"][0] == 2


def test_inference_gives_words_in_pixels_of_the_original_image():
    spotter = tiny_spotter(MODEL__ROI_HEADS__SCORE_THRESH_TEST=0.0).eval()
    inputs = [make_input(FIRST), make_input([], seed=1)]
    twice = [{**x, "height": 2 * x["height"], "width": 3 * x["width"]} for x in inputs]
    for once, scaled in zip(spotter(inputs), spotter(twice), strict=True):
        once, scaled = once["instances"], scaled["instances"]
        assert len(once) > 0
        assert scaled.image_size == (192, 480)
        factor = torch.tensor([3.0, 2.0, 3.0, 2.0])
        torch.testing.assert_close(
            scaled.pred_boxes.tensor, once.pred_boxes.tensor * factor, rtol=1e-4, atol=1e-3
        )
        for small, large in zip(once.pred_polygons, scaled.pred_polygons, strict=True):
            np.testing.assert_allclose(large, small * (3, 2), rtol=1e-4, atol=1e-3)
        assert len(once.pred_texts) == len(once) and all(len(t) <= 32 for t in once.pred_texts)
        assert ((once.text_scores >= 0) & (once.text_scores <= 1)).all()


def test_inference_without_any_word():
    spotter = tiny_spotter(MODEL__ROI_HEADS__SCORE_THRESH_TEST=1.0).eval()
    (output,) = spotter([{k: v for k, v in make_input([]).items() if k != "instances"}])
    assert len(output["instances"]) == 0
    assert output["instances"].pred_texts == []


def test_reading_ground_truth_regions(spotter):
    spotter.eval()
    inputs = [make_input(FIRST), make_input([]), make_input(SECOND)]
    passes = []
    handle = spotter.backbone.register_forward_hook(lambda *_: passes.append(1))
    texts = spotter.read_regions(inputs, spotter(inputs))
    handle.remove()
    assert [len(t) for t in texts] == [2, 0, 3] and len(passes) == 1
    alone = [spotter.read_regions([x], spotter([x]))[0] for x in inputs]
    assert texts == alone


def test_a_taller_region_and_a_convolution_on_the_map(storage):
    spotter = tiny_spotter(
        MODEL__ROI_TEXT_HEAD__POOLER_RESOLUTION=(16, 64), MODEL__ROI_TEXT_HEAD__POOLER_CONV_ON="map"
    ).train()
    _, output = spotter.losses(*spotter.preprocess([make_input(FIRST)]), ("roi",))
    assert output.features["roi"].shape[-2:] == (16, 64)
    assert output.context.shape[1] == 3 * 65
    shapes = spotter.feature_shapes
    assert shapes["roi"] == (16, 16, 64) and shapes["context"] == (3, 65, 16)


@pytest.mark.parametrize("norm", ["GN", "FrozenBN"])
def test_other_norms(norm, storage):
    changes = {"MODEL__RESNETS__NORM": norm, "MODEL__ROI_TEXT_HEAD__NORM": norm}
    if norm == "GN":  # groups of 32
        changes |= {
            "MODEL__RESNETS__STEM_OUT_CHANNELS": 32,
            "MODEL__RESNETS__RES2_OUT_CHANNELS": 32,
            "MODEL__ROI_TEXT_HEAD__POOLER_CONV_DIM": 32,
            "MODEL__ROI_TEXT_HEAD__ENCODER__CONV_DIM": 32,
        }
    losses = tiny_spotter(**changes).train()([make_input(FIRST)])
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("depth", [18, 34])
def test_width_of_the_narrow_backbone_is_free(depth):
    cfg = tiny_cfg(MODEL__RESNETS__DEPTH=depth, MODEL__RESNETS__RES2_OUT_CHANNELS=8)
    backbone = build_narrow_resnet_fpn_backbone(cfg, ShapeSpec(channels=3))
    shapes = backbone.bottom_up.output_shape()
    assert [shapes[f"res{i}"].channels for i in range(2, 6)] == [8, 16, 32, 64]
    assert [shapes[f"res{i}"].stride for i in range(2, 6)] == [4, 8, 16, 32]
    blocks = sum(len(stage) for stage in backbone.bottom_up.stages)
    assert 2 * blocks + 2 == depth


def test_the_narrow_backbone_refuses_other_depths():
    with pytest.raises(ValueError, match=r"DEPTH is 50.*\[18, 34\]"):
        tiny_spotter(MODEL__RESNETS__DEPTH=50)


@pytest.mark.parametrize(("stride_in_1x1", "expected"), [(True, 541.7e9), (False, 517.2 * 2**30)])
def test_cost_of_the_published_architecture(stride_in_1x1, expected):
    """R50 + FPN + RPN head at 1280 x 2304 in multiply-adds.

    517.2 is what the paper's Table 1 gives for ICDAR2015 at short side 1280, in units of 2^30.
    """
    base = str(CONFIGS / "Base-MaskRCNN-Spotter-R50-FPN.yaml")
    cfg = setup_cfg(
        base,
        [
            *("MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN"),
            *("MODEL.RESNETS.STRIDE_IN_1X1", str(stride_in_1x1)),
        ],
    )

    class Part(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = build_backbone(cfg)
            self.rpn = build_proposal_generator(cfg, self.backbone.output_shape())

        def forward(self, image):
            features = self.backbone(image)
            return self.rpn.rpn_head([features[name] for name in self.rpn.in_features])

    # The cost is proportional to the area as long as all strides divide both sides; a small image
    # keeps the test fast.
    image = torch.zeros(1, 3, 128, 128)
    flops = FlopCountAnalysis(Part().eval(), image)
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    cost = flops.total() * (1280 * 2304) / (128 * 128)
    assert cost == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("level", ["p2", "p3", "p5"])
@pytest.mark.parametrize("fuse_type", ["sum", "avg"])
def test_one_level_alone_equals_that_of_the_whole_pyramid(level, fuse_type):
    spotter = tiny_spotter(MODEL__FPN__FUSE_TYPE=fuse_type).eval()
    image = torch.randn(2, 3, 64, 96, generator=torch.manual_seed(0))
    alone = single_level_features(spotter.backbone, image, level)
    assert list(alone) == [level]
    torch.testing.assert_close(alone[level], spotter.backbone(image)[level])


def test_a_level_without_lateral_convolution_is_refused(spotter):
    with pytest.raises(ValueError, match=r"'p6'.*p5"):
        single_level_features(spotter.backbone, torch.zeros(1, 3, 64, 64), "p6")
