"""The text head is swapped as Detectron2's heads are, and Detectron2's own model can use it."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from tiny_spotter import make_input, tiny_cfg, tiny_spotter

from dld_d2.modeling.recognition.ctc import ctc_loss
from dld_d2.modeling.spotters.attention_text_head import (
    AttentionTextHead,
    recognition_loss,
)
from dld_d2.modeling.spotters.text_head import ROI_TEXT_HEAD_REGISTRY

WORDS = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 45, 75))]


@ROI_TEXT_HEAD_REGISTRY.register()
class ShoutingTextHead(AttentionTextHead):
    """A user's head."""

    def read(self, features, regions):
        found = super().read(features, regions)
        return type(found)([text.upper() + "!" for text in found.texts], found.scores)


def test_a_registered_head_is_named_in_the_configuration():
    changes = {"MODEL__ROI_HEADS__SCORE_THRESH_TEST": 0.0}
    spotter = tiny_spotter(MODEL__ROI_TEXT_HEAD__NAME="ShoutingTextHead", **changes).eval()
    assert type(spotter.roi_heads.text_head) is ShoutingTextHead
    (loud,) = spotter([make_input(WORDS)])
    (plain,) = tiny_spotter(**changes).eval()([make_input(WORDS)])
    texts = plain["instances"].pred_texts
    assert len(texts) > 0 and loud["instances"].pred_texts == [t.upper() + "!" for t in texts]


def test_an_unknown_head_names_the_known_ones():
    with pytest.raises(ValueError, match=r"NAME is 'Nobody'; expected one of 'Attention"):
        tiny_spotter(MODEL__ROI_TEXT_HEAD__NAME="Nobody")


def test_detectron2s_own_mask_rcnn_reads_with_these_heads():
    torch.manual_seed(0)
    model = build_model(
        tiny_cfg(
            MODEL__META_ARCHITECTURE="GeneralizedRCNN", MODEL__ROI_HEADS__SCORE_THRESH_TEST=0.0
        )
    )
    with EventStorage(0):
        losses = model.train()([make_input(WORDS)])
    assert {"loss_rpn_cls", "loss_cls", "loss_mask", "loss_rec", "loss_ctc"} <= set(losses)
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        first, second = model.eval()([make_input(WORDS), make_input(WORDS, seed=1)])
    for output in (first, second):
        found = output["instances"]
        assert len(found.pred_texts) == len(found) == len(found.pred_polygons) > 1
        assert all(isinstance(text, str) for text in found.pred_texts)
    # Detectron2 selects among what it found.
    found, best = first["instances"], first["instances"].scores.argmax().item()
    for picked in (
        found[best],
        found[torch.tensor([best])],
        found[found.scores == found.scores.max()],
    ):
        assert picked.pred_texts == [found.pred_texts[best]]
        assert (picked.pred_polygons[0] == found.pred_polygons[best]).all()
    assert found[1:].pred_texts == list(found.pred_texts)[1:]


def test_the_published_head_has_no_ctc():
    spotter = tiny_spotter(MODEL__ROI_TEXT_HEAD__CTC_WEIGHT=0.0).train()
    assert not any("ctc" in name for name in spotter.state_dict())
    with EventStorage(0):
        assert "loss_ctc" not in spotter([make_input(WORDS)])


def test_weights_of_its_losses():
    torch.manual_seed(0)
    spotter = tiny_spotter().train()
    images, targets = spotter.preprocess([make_input(WORDS)])
    head, reading = spotter.roi_heads.text_head, spotter.recognize(images, targets)
    plain = recognition_loss(reading.logits, reading.texts)
    head.loss_weight, head.ctc_weight = 0.25, 2.0
    losses = head.losses(reading)
    assert losses["loss_rec"].item() == pytest.approx(0.25 * plain.item())
    ctc = ctc_loss(head.ctc(reading.context), reading.texts)
    assert losses["loss_ctc"].item() == pytest.approx(2 * ctc.item())
