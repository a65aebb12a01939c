"""What can be distilled: the contract, and one file per spotter."""

from .contract import Spotter
from .mask_rcnn import MaskRCNNSpotter

__all__ = ["MaskRCNNSpotter", "Spotter"]
