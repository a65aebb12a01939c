"""A distiller of a few thousand parameters with a teacher, and inputs for it, for tests."""

import copy

import torch
from detectron2.modeling import build_model
from tiny_spotter import make_input, tiny_cfg

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.learning.learning import Choice
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.selection.policies import DynamicScale

ALL_SCALES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
# Their padded sizes are equal at every candidate scale, so that batches see the same padding as
# single images do.
SIZES = [(96, 160), (93, 155), (95, 158)]
WORDS = [
    [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 45, 75))],
    [("Street", (15, 40, 110, 66)), ("naïve", (10, 10, 60, 22))],
    [("4", (70, 20, 90, 50)), ("be", (100, 55, 140, 85)), ("NOT", (10, 60, 60, 80))],
]


def distiller_cfg(**changes):
    """`tiny_cfg` of a distiller; keys with "__" for dots."""
    return tiny_cfg(
        **{
            "MODEL__META_ARCHITECTURE": "DynamicSpotter",
            "MODEL__DYNAMIC__SELECTOR__CHANNELS": (4, 8, 8, 8),
            # Measuring takes seconds.
            "MODEL__DYNAMIC__COST": "power",
            "MODEL__DISTILL__SEQUENCE__BEAM_WIDTH": 3,
            "MODEL__ROI_TEXT_HEAD__JITTER": 0.0,
            **changes,
        }
    )


def tiny_distiller(teacher=None, **changes) -> Distiller:
    """A distiller in training mode. Student and teacher differ, and are sure of what they read.

    Args:
        teacher: in what the teacher's configuration differs; keys as in `changes`.
        **changes: of the configuration.
    """
    torch.manual_seed(0)
    cfg = distiller_cfg(**changes)
    student = build_model(cfg)
    if isinstance(student.policy, DynamicScale):
        torch.nn.init.normal_(student.policy.selector.classifier.weight, std=1.0)
    taught_by = build_spotter(distiller_cfg(**{**changes, **(teacher or {})}))
    for spotter in (student.spotter, taught_by):
        with torch.no_grad():
            spotter.roi_heads.text_head.decoder.classifier.weight.mul_(20)
        _spread_statistics(spotter)
    return Distiller(cfg, student, taught_by).train()


def selector_of(distiller):
    """The network that chooses scales, None if there is none."""
    policy = distiller.student.policy
    return policy.selector if isinstance(policy, DynamicScale) else None


def aligner_of(distiller):
    """What brings the student's RoI features to the teacher's size, None if nothing must."""
    return next((term.aligner for term in distiller.terms if term.name == "roi"), None)


def force(distiller, choice):
    """Let the learning draw these candidates, straight through the selector's softmax."""
    h = torch.nn.functional.one_hot(torch.tensor(choice), len(distiller.student.scales)).float()

    def draw(policy, images):
        index = h.argmax(dim=1)[: len(images)]
        logits = policy.logits(images)
        if logits is None:
            return Choice(index)
        soft = logits.float().softmax(dim=1)
        return Choice(index, h[: len(images)] + (soft - soft.detach()), logits)

    distiller.learning.draw = draw
    return h


def _spread_statistics(spotter):
    """Running statistics that show whether a pass used or moved them."""
    for module in spotter.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.25)


def make_batch(words=WORDS):
    return [make_input(w, SIZES[i % 3], seed=i) for i, w in enumerate(words)]


def twin(distiller):
    """An independent copy, the teacher included."""
    return copy.deepcopy(distiller)
