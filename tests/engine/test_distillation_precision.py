"""Distillation in mixed precision: passes without gradient must not keep weights from learning."""

import pytest
import torch
from lower_precision import lstms_in_lower_precision
from tiny_distillation import make_cfg, train

from dld_d2.engine.distill_trainer import DistillTrainer


@pytest.fixture(autouse=True)
def any_cpu():
    with lstms_in_lower_precision():
        yield


AMP = {"SOLVER__AMP__ENABLED": True, "SOLVER__AMP__PRECISION": "bfloat16"}


@pytest.mark.parametrize("without_gradient", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("learning", ["gumbel", "best_scale"])
def test_everything_that_learns_moves_in_mixed_precision(
    data, tmp_path, learning, without_gradient
):
    cfg = make_cfg(
        data,
        tmp_path,
        SOLVER__MAX_ITER=2,
        MODEL__DISTILL__NO_GRAD_PRECISION=without_gradient,
        MODEL__DISTILL__SELECTOR__LEARNING=learning,
        **AMP,
    )
    before = dict(DistillTrainer(cfg).model.student.named_parameters())
    student = train(cfg).model.student
    learns = {name: p for name, p in student.named_parameters() if p.requires_grad}
    assert len(learns) == len(before) > 100
    assert any(name.startswith("policy.selector.") for name in learns)
    stayed = [name for name, parameter in learns.items() if torch.equal(parameter, before[name])]
    assert stayed == []
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in learns.values())


def test_a_frozen_student_stays_and_its_selector_moves(data, tmp_path):
    cfg = make_cfg(data, tmp_path, SOLVER__MAX_ITER=2, MODEL__DISTILL__FREEZE_STUDENT=True, **AMP)
    before = DistillTrainer(cfg).model.student.state_dict()
    model = train(cfg).model
    after = model.student.state_dict()
    for name, value in after.items():
        if name.startswith(("spotter.", "relative_cost")):
            assert torch.equal(value, before[name]), name
    selector = dict(model.student.policy.selector.named_parameters())
    assert not any(
        torch.equal(value, before[f"policy.selector.{name}"]) for name, value in selector.items()
    )
