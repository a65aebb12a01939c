"""The table of spotters that `spotters/test_contract.py` is run with."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from mango_spotter import mango_cfg, perfect_mango, sure_mango
from perceptron import perceptron_cfg, perfect_perceptron
from photo_spotter import perfect_photo, photo_cfg, sure_photo
from tiny_spotter import tiny_cfg


class Kind(NamedTuple):
    """A spotter under test.

    Attributes:
        cfg: makes a configuration of a small one with random weights, which reads ASCII; called
            with keys and values, "__" for dots.
        prepare: what is done to one that was built, so that different words look different to it.
        perfect: for one that finds words on maps: called with pytest's `monkeypatch`, the spotter,
            a batch, and its ground truth, it lets the spotter see what it is to learn.
        back: the IoU by which words are found then, and the share that is, at least.
    """

    cfg: Callable[..., CfgNode]
    prepare: Callable[[torch.nn.Module], object] = lambda spotter: None
    perfect: Callable[..., None] | None = None
    back: tuple[float, float] = (0.9, 1.0)


released_mango_cfg = partial(mango_cfg, MODEL__MANGO__ATTENTION__LOCAL=False)

SPOTTERS = {
    "Mask R-CNN": Kind(tiny_cfg),
    "Text Perceptron": Kind(perceptron_cfg, perfect=perfect_perceptron),
    "MANGO": Kind(mango_cfg, sure_mango, perfect_mango, (0.1, 0.98)),
    "MANGO, released": Kind(released_mango_cfg, sure_mango),
    "PP-OCR": Kind(photo_cfg, sure_photo, perfect_photo, (0.7, 0.85)),
}

# Of the words one is don't-care, one has a letter that is not known, one is too long.
FIRST = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("naïve", (10, 40, 60, 52))]
SECOND = [("x" * 33, (5, 60, 80, 75)), ("to", (90, 10, 110, 22)), ("be", (120, 30, 150, 52))]


def settled(kind, spotter):
    """With statistics of batch norms that are not those of the beginning, ready to be used."""
    generator = torch.Generator().manual_seed(1)
    for module in spotter.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1, generator=generator)
            module.running_var.uniform_(0.8, 1.25, generator=generator)
    kind.prepare(spotter)
    return spotter.eval()


def built(kind, **changes):
    """A spotter of a kind."""
    torch.manual_seed(0)
    return settled(kind, build_model(kind.cfg(**changes)))
