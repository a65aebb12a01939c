"""A teacher that learns at two resolutions and by a fusion of both."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from lower_precision import lstms_in_lower_precision
from tiny_spotter import make_input, tiny_cfg, tiny_spotter
from torch import nn

from dld_d2.modeling.multi_scale_teacher import MultiScaleTeacher, ScaleGate
from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter
from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.modeling.spotters.rows import Rows

WORDS = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 45, 75))]
PARTS = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc", "loss_rec"}


def teacher(**changes):
    return tiny_spotter(MODEL__META_ARCHITECTURE="MultiScaleTeacher", **changes)


def inputs(*words, size=(96, 160)):
    return [make_input(each, size, seed=i) for i, each in enumerate(words)]


def step(spotter, batch):
    torch.manual_seed(0)
    with EventStorage(0):
        return spotter(batch)


def test_losses_come_thrice():
    losses = step(teacher().train(), inputs(WORDS, []))
    for part in PARTS:
        assert {part, f"{part}_half", f"{part}_fused"} < set(losses)
    assert len(losses) == 3 * 7  # with CTC


def test_full_and_half_resolution_are_those_of_an_ordinary_spotter():
    spotter = teacher(MODEL__ROI_TEXT_HEAD__JITTER=0.0)
    # Sampled regions and statistics of batches would differ from pass to pass.
    for module in spotter.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train = lambda mode=True: None
            module.training = False
    spotter.train()
    images, targets = spotter.preprocess(inputs(WORDS, WORDS[:1]))
    with EventStorage(0):
        losses, reading = spotter.losses(images, targets)
        half = spotter._half(images)
        half_targets = scale_targets(targets, half.image_sizes)
        high, full = MaskRCNNSpotter.losses_and_rows(spotter, images, targets, Rows.of(targets), ())
        low, _ = MaskRCNNSpotter.losses_and_rows(
            spotter, half, half_targets, Rows.of(half_targets), ()
        )
    assert half.image_sizes == [(48, 80)] * 2
    torch.testing.assert_close(reading.logits, full.logits)
    torch.testing.assert_close(losses["loss_rec"], high["loss_rec"])
    torch.testing.assert_close(losses["loss_rec_half"], low["loss_rec"])


def test_the_weight_of_the_fused_maps():
    one, other = (
        step(teacher(MODEL__MULTI_SCALE_TEACHER__FUSED_LOSS_WEIGHT=w).train(), inputs(WORDS))
        for w in (0.4, 1.0)
    )
    for name in one:
        factor = 0.4 if name.endswith("_fused") else 1.0
        torch.testing.assert_close(one[name], factor * other[name])


@pytest.mark.parametrize("autocast", [False, True], ids=["single", "bfloat16"])
@pytest.mark.parametrize("words", [WORDS, []], ids=["words", "no words"])
def test_every_parameter_has_a_gradient(words, autocast):
    spotter = teacher().train()
    half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast)
    with lstms_in_lower_precision(), half:
        losses = step(spotter, inputs(words, []))
    sum(losses.values()).backward()
    found = dict(spotter.named_parameters())
    assert [n for n, p in found.items() if p.grad is None or not p.grad.isfinite().all()] == []
    assert all(found[n].grad.any() for n in ("gate.layers.0.weight", "gate.layers.2.weight"))


@pytest.mark.parametrize("size", [(96, 160), (65, 97), (128, 130)], ids=str)
def test_fused_maps_have_the_grid_of_half_resolution(size):
    """Whatever the padding of either is."""
    spotter = teacher().eval()
    images, targets = spotter.preprocess(inputs(WORDS[:1], size=size))
    pyramid = spotter.recognize(images, targets, ("pyramid",)).features["pyramid"]
    low = spotter.backbone(spotter._half(images).tensor)
    assert list(pyramid.levels) == ["p3", "p4", "p5", "p6"]
    assert list(pyramid.strides.values()) == [8, 16, 32, 64]
    for fused, own in zip(pyramid.levels.values(), low.values(), strict=False):
        assert fused.shape == own.shape
    channels, *strides = spotter.feature_shapes["pyramid"]
    assert strides == [8, 16, 32, 64] and channels == pyramid.levels["p3"].shape[1]


def test_it_finds_as_a_spotter_without_gate_does():
    """And a student of such a spotter starts from all of its weights but the gate's."""
    spotter, plain = teacher(), tiny_spotter()
    plain.load_state_dict(spotter.student_state())
    batch = inputs(WORDS)
    for each in (spotter.eval(), plain.eval()):
        each.score_threshold = 0.0
    found, expected = (each(batch)[0]["instances"] for each in (spotter, plain))
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(found.scores, expected.scores)
    assert found.pred_texts == expected.pred_texts


class TestGate:
    def test_two_layers_of_the_published_size(self):
        assert sum(p.numel() for p in ScaleGate(256, 32).parameters()) == 512 * 32 + 32 * 2

    def test_against_a_loop(self):
        torch.manual_seed(0)
        gate = ScaleGate(2, 3)
        high, low = torch.randn(2, 2, 4, 5), torch.randn(2, 2, 4, 5)
        on_image = torch.zeros(2, 1, 4, 5, dtype=torch.bool)
        on_image[0, :, :4, :3] = on_image[1, :, :2, :5] = True
        found = gate(high, low, on_image)
        first, _, second = gate.layers
        for i, (h, w) in enumerate([(4, 3), (2, 5)]):
            means = torch.stack([x[i, c, :h, :w].mean() for x in (high, low) for c in range(2)])
            a, b = (second.weight @ (first.weight @ means).clamp(min=0)).softmax(0)
            torch.testing.assert_close(found[i], a * high[i] + b * low[i])

    def test_padding_is_not_looked_at(self):
        gate = ScaleGate(2, 3)
        high, low = torch.randn(1, 2, 4, 5), torch.randn(1, 2, 4, 5)
        on_image = torch.ones(1, 1, 4, 5, dtype=torch.bool)
        on_image[..., 3:] = False
        expected = gate(high, low, on_image)
        high[..., 3:] = 1e3
        torch.testing.assert_close(gate(high, low, on_image)[..., :3], expected[..., :3])


def test_a_backbone_without_a_pooled_level_is_refused():
    cfg = tiny_cfg(MODEL__META_ARCHITECTURE="MultiScaleTeacher")
    arguments = MultiScaleTeacher.from_config(cfg)
    arguments["backbone"].top_block = None
    with pytest.raises(ValueError, match=r"MODEL\.BACKBONE\.NAME: a MultiScaleTeacher fuses"):
        MultiScaleTeacher(**arguments)
