"""Every spotter of the table of `all_spotters` as teacher and student; what is trained is used."""

import cv2
import numpy as np
import pytest
import torch
from all_spotters import FIRST, SECOND, SPOTTERS, settled
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from lower_precision import lstms_in_lower_precision
from tiny_spotter import sided_input

from dld_d2.deployment import TextSpotter
from dld_d2.deployment.model_file import save_spotter
from dld_d2.distillation.distiller import Distiller
from dld_d2.modeling.build import build_spotter

TERMS = {"roi": "loss_roi", "context": "loss_con", "sequence": "loss_seq", "score_map": "loss_map"}
DLD = {
    "MODEL__META_ARCHITECTURE": "DynamicSpotter",
    "MODEL__DYNAMIC__SCALES": (0.5, 0.8),
    "MODEL__DYNAMIC__FIXED_SCALE": 0.5,
    "MODEL__DYNAMIC__COST": "power",  # measuring takes seconds
    "MODEL__DYNAMIC__SELECTOR__CHANNELS": (4, 8, 8, 8),
    "MODEL__DISTILL__SEQUENCE__BEAM_WIDTH": 2,
    "MODEL__DISTILL__SELECTOR__LEARNING": "gumbel",
    "MODEL__DISTILL__SELECTOR__ACCURACY_TARGET": "teacher",
}
PICTURE = cv2.blur(np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8), (9, 9))


def distilled(kind):
    """A configuration, and its distiller with all terms that the spotter has features for."""
    architecture = kind.cfg().MODEL.META_ARCHITECTURE
    changes = {**DLD, "MODEL__DYNAMIC__SPOTTER": architecture}
    torch.manual_seed(0)
    teacher = settled(kind, build_spotter(kind.cfg(**changes)))
    terms = [name for name in TERMS if name in ("sequence", *teacher.feature_shapes)]
    cfg = kind.cfg(**changes, MODEL__DISTILL__TERMS=f"({', '.join(map(repr, terms))},)")
    student = build_model(cfg)
    settled(kind, student.spotter)
    return cfg, Distiller(cfg, student, teacher).train(), {TERMS[name] for name in terms}


@pytest.mark.parametrize("lower", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", SPOTTERS.values(), ids=SPOTTERS)
def test_two_steps_and_its_file_reads_alike(kind, lower, tmp_path):
    cfg, distiller, terms = distilled(kind)
    optimizer = torch.optim.SGD(distiller.student.parameters(), lr=1e-3)
    before = {name: p.detach().clone() for name, p in distiller.student.named_parameters()}
    words = [sided_input(FIRST), sided_input(SECOND, seed=1)]
    for step, inputs in enumerate([words, words, [sided_input([])]]):
        optimizer.zero_grad()
        with (
            EventStorage(0),
            lstms_in_lower_precision(),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=lower),
        ):
            losses = distiller(inputs)
        assert terms | {"loss_rec", "loss_acc", "loss_flops"} <= set(losses)
        assert all(loss.isfinite() for loss in losses.values())
        for name in {"loss_rec", "loss_acc", *terms} - {"loss_map"}:
            assert (losses[name] > 0) == (step < 2), name  # without words there is nothing to read
        sum(losses.values()).backward()
        missing = [n for n, p in distiller.student.named_parameters() if p.grad is None]
        assert missing == []
        if step < 2:
            optimizer.step()
    assert all(p.grad is None for p in distiller.teacher.parameters())
    student = distiller.student.eval()
    for part, share in (("spotter.", 0.9), ("policy.", 0.5)):
        moved = [not torch.equal(p, before[n]) for n, p in student.named_parameters() if part in n]
        assert np.mean(moved) > share

    save_spotter(cfg, student, tmp_path / "student.safetensors")
    spotter = TextSpotter.from_file(tmp_path / "student.safetensors")
    trained, kept = student.state_dict(), spotter.model.state_dict()
    assert any("decoder" in name for name in kept)
    for name, value in kept.items():
        assert torch.equal(value, trained[name]), name
    found = spotter(PICTURE)
    assert found.scale in (0.5, 0.8)
    assert "resolution selector" in {part.name for part in spotter.cost(found).parts}


def test_what_a_file_finds_is_what_was_found_before(tmp_path):
    """By a spotter that finds words, whatever it has learnt."""
    cfg, distiller, _ = distilled(SPOTTERS["MANGO"])
    student = distiller.student.eval()
    with torch.no_grad():
        student.spotter.center_line.score.bias.zero_()
        student.spotter.category.score.bias.fill_(2.0)
    save_spotter(cfg, student, tmp_path / "student.safetensors")
    torch.save({"model": student.state_dict()}, tmp_path / "student.pth")
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(tmp_path / "student.pth")
    expected = TextSpotter(cfg)(PICTURE)
    found = TextSpotter.from_file(tmp_path / "student.safetensors")(PICTURE)
    assert len(found) > 0 and found.scale == expected.scale
    for word, other in zip(found, expected, strict=True):
        assert word.text == other.text
        np.testing.assert_array_equal(word.polygon, other.polygon)
