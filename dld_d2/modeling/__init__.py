"""Models; importing this package registers them with Detectron2."""

from . import detection, recognition, spotters
from .spotters import MaskRCNNSpotter, Spotter

__all__ = ["MaskRCNNSpotter", "Spotter", "detection", "recognition", "spotters"]
