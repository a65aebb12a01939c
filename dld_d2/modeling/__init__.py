"""Models; importing this package registers them with Detectron2."""

from . import detection, distillation, recognition, spotters
from .distillation import DynamicResolutionDistiller
from .spotters import MaskRCNNSpotter, Spotter

__all__ = [
    "DynamicResolutionDistiller",
    "MaskRCNNSpotter",
    "Spotter",
    "detection",
    "distillation",
    "recognition",
    "spotters",
]
