"""A distiller of a few thousand parameters with a teacher, and inputs for it, for tests."""

import copy

import torch
from detectron2.modeling import build_model
from tiny_spotter import make_input, tiny_cfg

from dld_d2.modeling.distillation import DynamicResolutionDistiller, build_spotter, teacher_cfg

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
            "MODEL__META_ARCHITECTURE": "DynamicResolutionDistiller",
            "MODEL__DISTILL__SELECTOR__CHANNELS": (4, 8, 8, 8),
            # Measuring takes seconds.
            "MODEL__DISTILL__SELECTOR__COST": "power",
            "MODEL__DISTILL__BEAM_WIDTH": 3,
            "MODEL__RECOGNITION__ROI__JITTER": 0.0,
            **changes,
        }
    )


def tiny_distiller(teacher=True, **changes) -> DynamicResolutionDistiller:
    """A distiller in training mode. Student and teacher differ, and are sure of what they read."""
    torch.manual_seed(0)
    cfg = distiller_cfg(**changes)
    distiller = build_model(cfg)
    selector = distiller.selector
    if selector is not None:
        torch.nn.init.normal_(selector.classifier.weight, std=1.0)
    if teacher:
        distiller.attach_teacher(build_spotter(teacher_cfg(cfg)))
        for spotter in (distiller.student, distiller.teacher):
            with torch.no_grad():
                spotter.recognition.decoder.classifier.weight.mul_(20)
            _spread_statistics(spotter)
    return distiller.train()


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
