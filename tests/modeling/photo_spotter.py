"""The spotter of photographs with random weights."""

import torch
from detectron2.modeling import build_model
from tiny_spotter import CONFIGS

from dld_d2.engine.setup import setup_cfg

FIRST = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 50, 75))]
SECOND = [("x" * 33, (5, 60, 80, 75)), ("be", (100, 10, 150, 32))]


def photo_cfg(**changes):
    """The base configuration, with ASCII; keys with "__" for dots."""
    settings = {
        "MODEL.RECOGNITION.VOCABULARY": "",
        "MODEL.WEIGHTS": "",
        "MODEL.PP_OCR.UNCLIP_RATIO_TEST": 0.0,
    }
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    options = [str(part) for item in settings.items() for part in item]
    return setup_cfg(str(CONFIGS / "photo" / "Base-photo.yaml"), options)


def photo_spotter(**changes):
    torch.manual_seed(0)
    return build_model(photo_cfg(**changes))
