"""The one-stage spotter as teacher and student; what is trained is exported and used."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from mango_spotter import FIRST, SECOND, mango_cfg
from tiny_spotter import sided_input

from dld_d2.deployment import TextSpotter
from dld_d2.deployment.model_file import save_spotter
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
@pytest.mark.parametrize("learning", ["gumbel", "best_scale"])
def test_all_that_learns_gets_a_gradient(learning, words):
    changes = {"MODEL__DISTILL__SELECTOR__LEARNING": learning}
    if learning == "best_scale":
        changes["MODEL__DISTILL__SELECTOR__DETECTION_WEIGHT"] = 1.0
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


def test_two_steps_in_mixed_precision_then_exported_and_used(tmp_path):
    cfg, distiller = make_distiller(MODEL__MANGO__CENTER_THRESH_TEST=0.3)
    optimizer = torch.optim.AdamW(distiller.parameters(), lr=1e-3)
    before = distiller.student.spotter.reader.attention.kernel.weight.detach().clone()
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = distiller(batch())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    student = distiller.student.eval()
    assert not torch.equal(before, student.spotter.reader.attention.kernel.weight)
    with torch.no_grad():
        # Words are wanted, whatever two steps have taught.
        student.spotter.center_line.score.bias.zero_()
        student.spotter.category.score.bias.fill_(2.0)
    save_spotter(cfg, student, tmp_path / "student.safetensors")
    spotter = TextSpotter.from_file(tmp_path / "student.safetensors")
    states = zip(student.state_dict().items(), spotter.model.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in states)
    assert spotter.model.spotter.reader.attention.place is not None
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    image = cv2.blur(image, (9, 9))
    words = spotter(image)
    assert len(words) > 0 and words.scale in (0.5, 0.8)
    cost = spotter.cost(words)
    assert {part.name for part in cost.parts} >= {
        "resolution selector",
        "centre lines",
        "attention",
    }
