"""The one-stage spotter as teacher and student; what is trained is exported and used."""

import pytest
import torch
from detectron2.modeling import build_model
from mango_spotter import FIRST, SECOND, mango_cfg
from tiny_spotter import sided_input

from dld_d2.distillation.distiller import Distiller
from dld_d2.modeling.build import build_spotter

STUDENT = {
    "MODEL__META_ARCHITECTURE": "DynamicSpotter",
    "MODEL__DYNAMIC__SPOTTER": "MANGOSpotter",
    "MODEL__DYNAMIC__SCALES": (0.5, 0.8),
    "MODEL__DYNAMIC__SELECTOR__CHANNELS": (4, 8, 8, 8),
    "MODEL__DYNAMIC__COST": "power",
    "MODEL__DISTILL__TERMS": "('roi','context','sequence','score_map')",
    "MODEL__DISTILL__SEQUENCE__BEAM_WIDTH": 3,
    "MODEL__RECOGNITION__MAX_LENGTH": 8,
    "MODEL__MANGO__ATTENTION__LOCAL": True,
}


def cut(item):
    """Texts for words of eight characters at most."""
    target = item["instances"]
    target.gt_texts = target.gt_texts[:, :9]
    return item


def make_distiller(**changes):
    torch.manual_seed(0)
    cfg = mango_cfg(**{**STUDENT, **changes})
    student, teacher = build_model(cfg), build_spotter(cfg)
    with torch.no_grad():
        # The teacher is sure of what it reads.
        teacher.reader.decoder.layers[-1].weight.mul_(10)
    return cfg, Distiller(cfg, student, teacher).train()


BATCH = [FIRST, SECOND]


def batch(words=BATCH):
    return [cut(sided_input(w, seed=i)) for i, w in enumerate(words)]


LOSSES = {"loss_roi", "loss_con", "loss_seq", "loss_map", "loss_rec", "loss_center_line"}


@pytest.mark.parametrize("words", [BATCH, [[], []]], ids=["words", "none"])
def test_all_that_learns_gets_a_gradient(words):
    changes = {
        "MODEL__DISTILL__SELECTOR__LEARNING": "best_scale",
        "MODEL__DISTILL__SELECTOR__DETECTION_WEIGHT": 1.0,
    }
    _, distiller = make_distiller(**changes)
    losses = distiller(batch(words))
    assert LOSSES | {"loss_category"} <= set(losses)
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert [n for n, p in distiller.named_parameters() if p.grad is None] == []
    assert all(p.grad is None for p in distiller.teacher.parameters())
    reading = ("loss_roi", "loss_con", "loss_seq", "loss_rec")
    assert all((losses[name] > 0) == (words is BATCH) for name in reading)


def test_words_that_go_wrong_are_told_at_the_iou_of_the_evaluation():
    """Found regions are far smaller than the words."""
    changes = {
        "MODEL__DISTILL__SELECTOR__LEARNING": "best_scale",
        "MODEL__DISTILL__SELECTOR__ACCURACY_TARGET": "spotting",
    }
    _, distiller = make_distiller(**changes)
    assert distiller.match_iou == 0.1
    seen = []

    def errors(found, targets, vocabulary, iou):
        seen.append(iou)
        return torch.zeros(len(targets))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dld_d2.distillation.distiller.spotting_errors", errors)
        losses = distiller(batch())
    assert seen == [0.1, 0.1]  # at both scales
    assert all(torch.isfinite(loss) for loss in losses.values())
