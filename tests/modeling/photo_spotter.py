"""The spotter of photographs with random weights."""

import torch
from detectron2.modeling import build_model
from tiny_spotter import CONFIGS

from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotters.pp_ocr.score_map_targets import batch_targets

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


def sure_photo(spotter):
    """With weights such that different words look different."""
    with torch.no_grad():
        for module in spotter.recogniser.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(2)


def perfect_photo(monkeypatch, spotter, images, targets):
    """Let the detector see what it is to learn, and the reader the letter "x" in every line."""
    drawn = batch_targets(targets, tuple(images.tensor.shape[-2:]), **spotter.target_rule)
    monkeypatch.setattr(spotter.detector, "forward", lambda images: 20.0 * drawn.shrunk - 10)
    letter, blank = spotter.vocabulary.encode("x", 1)[0], spotter.decoder.blank

    def read(context):
        logits = torch.full((*context.shape[:2], blank + 1), -10.0)
        logits[..., blank] = 0.0
        logits[:, 0, letter] = 10.0
        return logits

    monkeypatch.setattr(spotter.decoder, "forward", read)
