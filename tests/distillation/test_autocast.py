"""A training step in mixed precision: all parts learn, and what they learn in single precision."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from distiller_to_train import make_batch, tiny_distiller
from lower_precision import lstms_in_lower_precision

from dld_d2.distillation.learning.learning import Choice

SEED = 11
CHOICE = [5, 1, 3]
READING = ("loss_rec", "loss_ctc", "loss_roi", "loss_con", "loss_seq")
STEADY = {
    # Regions are not drawn, but all taken: which ones would depend on the precision.
    "MODEL__RPN__BATCH_SIZE_PER_IMAGE": 1_000_000,
    "MODEL__ROI_HEADS__BATCH_SIZE_PER_IMAGE": 1_000_000,
}
# Statistics of a few small maps, of random weights, would amplify every rounding.
FROZEN = {"MODEL__DISTILL__FREEZE_STATISTICS": True}


@pytest.fixture(autouse=True, scope="module")
def any_cpu():
    with lstms_in_lower_precision():
        yield


def draw(policy, images):
    """The same scales whatever the logits are, with the gradient of these."""
    logits = policy.logits(images).float()
    soft = logits.softmax(dim=1)
    index = torch.tensor(CHOICE)
    hard = torch.nn.functional.one_hot(index, soft.shape[1])
    return Choice(index, hard + soft - soft.detach(), logits)


def gradients(autocast, inputs=None, **changes):
    """Of a training step, as `dld_d2.engine.trainer` runs it on a CPU: losses alone in autocast."""
    distiller = tiny_distiller(**STEADY, **changes)
    distiller.learning.draw = draw
    torch.manual_seed(SEED)
    with EventStorage(0), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        losses = distiller(make_batch() if inputs is None else inputs)
    sum(losses.values()).backward()
    return {name: p.grad for name, p in distiller.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module", params=["gumbel", "best_scale"])
def learning(request):
    """The key's value, and what a step gives in single precision throughout."""
    changes = {"MODEL__DISTILL__SELECTOR__LEARNING": request.param, **FROZEN}
    return changes, gradients(False, **changes)


@pytest.mark.parametrize("without_gradient", ["float32", "bfloat16"])
def test_a_step_learns_what_it_learns_in_single_precision(learning, without_gradient):
    changes, expected = learning
    found = gradients(True, MODEL__DISTILL__NO_GRAD_PRECISION=without_gradient, **changes)
    assert_all_learn(found, expected)
    for part in ("student.spotter.", "student.policy."):
        names = [name for name in found if name.startswith(part)]
        assert cosine(found, expected, names) > 0.95, part


def test_batch_statistics_do_not_keep_anything_from_learning():
    assert_all_learn(*(gradients(autocast) for autocast in (True, False)))


def test_without_words_every_gradient_is_there():
    found = gradients(True, make_batch([[], [], []]))
    assert [name for name, gradient in found.items() if gradient is None] == []
    assert all(gradient.isfinite().all() for gradient in found.values())
    reading = [name for name in found if ".text_head." in name]
    assert len(reading) > 20 and all(found[name].abs().sum() == 0 for name in reading)


def assert_all_learn(found, expected):
    assert found.keys() == expected.keys() and len(found) > 150
    assert [name for name, gradient in found.items() if gradient is None] == []
    learnt = [name for name, gradient in expected.items() if gradient.abs().sum() > 0]
    assert len(learnt) > 150
    assert [name for name in learnt if found[name].abs().sum() == 0] == []
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32 and gradient.isfinite().all(), name


def cosine(found, expected, names):
    a, b = (torch.cat([each[name].flatten() for name in names]) for each in (found, expected))
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()
