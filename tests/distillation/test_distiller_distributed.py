"""Two processes learn what one would."""

import pytest
import torch
import torch.multiprocessing as mp
from detectron2.engine import create_ddp_model
from detectron2.utils.events import EventStorage
from distiller_to_train import make_batch, selector_of, tiny_distiller
from lower_precision import lstms_in_lower_precision
from torch import distributed as dist

from dld_d2.distillation.learning.learning import Choice
from dld_d2.engine.precision import autocast_in_training

# Frozen statistics, since those of a batch depend on what is in it.
FROZEN = {
    "MODEL__RESNETS__NORM": "FrozenBN",
    "MODEL__ROI_TEXT_HEAD__NORM": "FrozenBN",
    "MODEL__DYNAMIC__SELECTOR__NORM": "",
    # Regions are not drawn, but all taken.
    "MODEL__RPN__BATCH_SIZE_PER_IMAGE": 1_000_000,
    "MODEL__ROI_HEADS__BATCH_SIZE_PER_IMAGE": 1_000_000,
}
# Each process has as many words and characters as the other, for means to be means of means.
EVEN = [
    [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 45, 75))],
    [("Water", (15, 40, 110, 66)), ("be", (100, 10, 140, 35)), ("naïve", (10, 10, 60, 22))],
]
UNEVEN = [[("Hello", (10, 10, 60, 26)), ("to", (20, 60, 45, 75))], [("###", (90, 50, 150, 80))]]
NONE = [[], [("###", (90, 50, 150, 80))]]
BATCHES = {"even": EVEN, "uneven": UNEVEN, "none": NONE}
LEARNINGS = ("gumbel", "best_scale")
SETTINGS = {
    "dld": {},
    "skd only": {"MODEL__DYNAMIC__POLICY": "fixed"},
    # With adapters.
    "other terms": {
        "MODEL__DYNAMIC__POLICY": "fixed",
        "MODEL__DISTILL__TERMS": ("logits", "hint", "attention", "affinity", "pyramid"),
        "teacher": {
            "MODEL__FPN__OUT_CHANNELS": 24,
            "MODEL__ROI_TEXT_HEAD__ENCODER__CONV_DIM": 20,
        },
    },
}


def make_distiller(changes):
    distiller = tiny_distiller(**FROZEN, **changes)
    if selector_of(distiller) is not None:
        distiller.learning.draw = argmax_straight_through
    return distiller


def argmax_straight_through(policy, images):
    """The selector's draw without its noise."""
    logits = policy.logits(images)
    soft = logits.softmax(dim=1)
    index = soft.argmax(dim=1)
    hard = torch.nn.functional.one_hot(index, soft.shape[1])
    return Choice(index, hard + soft - soft.detach(), logits)


def gradients(distiller):
    return {n: p.grad.clone() for n, p in distiller.named_parameters() if p.requires_grad}


def add_up(losses, only_words):
    """All losses, or those of words: means over other regions, and over the cells of maps, depend
    on how many of them there were."""
    others = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    others |= {"loss_pyramid"}
    return sum(0 * x if only_words and name in others else x for name, x in losses.items())


def run_process(rank, file, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    try:
        for setting, changes in SETTINGS.items():
            for batch, words in BATCHES.items():
                for only_words in (True, False):
                    distiller = make_distiller(changes)
                    model = create_ddp_model(distiller, broadcast_buffers=False, device_ids=None)
                    with EventStorage(0):
                        losses = model([make_batch(words)[rank]])
                    add_up(losses, only_words).backward()
                    if rank == 0:
                        name = f"{setting}, {batch}, {only_words}"
                        torch.save(gradients(distiller), f"{results}/{name}.pth")
        for learning in LEARNINGS:
            _step_under_autocast(rank, learning, results)
    finally:
        dist.destroy_process_group()


def _step_under_autocast(rank, learning, results):
    distiller = make_distiller({"MODEL__DISTILL__SELECTOR__LEARNING": learning})
    model = create_ddp_model(distiller, broadcast_buffers=False, device_ids=None)
    # The trainer's wrapper of a model that is distributed already, see `SpotterTrainer`.
    autocast_in_training(model, "cpu")
    for words in (EVEN, NONE):
        distiller.zero_grad()
        with EventStorage(0), lstms_in_lower_precision():
            sum(model([make_batch(words)[rank]]).values()).backward()
        if rank == 0:
            name = "words" if words is EVEN else "no words"
            torch.save(gradients(distiller), f"{results}/autocast, {learning}, {name}.pth")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Averaged gradients of two processes with one image each."""
    folder = tmp_path_factory.mktemp("distributed")
    mp.spawn(run_process, (str(folder / "meeting"), str(folder)), nprocs=2)
    return folder


def assert_same(found, expected):
    assert found.keys() == expected.keys() and len(found) > 50
    for name, gradient in found.items():
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(
            gradient, expected[name], rtol=0, atol=1e-3 * scale + 1e-6, msg=name
        )


@pytest.mark.parametrize("setting", SETTINGS)
def test_two_processes_equal_one_with_the_whole_batch(results, setting):
    """What regions of words give, and the selector, on halves of equal length."""
    distiller = make_distiller(SETTINGS[setting])
    with EventStorage(0):
        add_up(distiller(make_batch(EVEN)), True).backward()
    assert_same(torch.load(results / f"{setting}, even, True.pth"), gradients(distiller))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_two_processes_equal_the_mean_of_both_halves(results, setting, batch):
    """All losses, each normalised in its half as everywhere in Detectron2; also where one half, or
    both, have nothing to read."""
    distiller = make_distiller(SETTINGS[setting])
    with EventStorage(0):
        for x in make_batch(BATCHES[batch]):
            (add_up(distiller([x]), False) / 2).backward()
    assert_same(torch.load(results / f"{setting}, {batch}, False.pth"), gradients(distiller))


@pytest.mark.parametrize("learning", LEARNINGS)
def test_two_processes_learn_under_autocast(results, learning):
    """A parameter without gradient would have left the processes waiting for it."""
    distiller = make_distiller({"MODEL__DISTILL__SELECTOR__LEARNING": learning})
    with EventStorage(0):
        sum(distiller(make_batch(EVEN)).values()).backward()
    expected = gradients(distiller)
    found = torch.load(results / f"autocast, {learning}, words.pth")
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert gradient.isfinite().all(), name
        assert gradient.abs().sum() > 0 or expected[name].abs().sum() == 0, name
    nothing = torch.load(results / f"autocast, {learning}, no words.pth")
    assert nothing.keys() == expected.keys()
    assert all(gradient.isfinite().all() for gradient in nothing.values())
