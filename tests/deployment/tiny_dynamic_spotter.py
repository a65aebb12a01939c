"""A DynamicSpotter of a few thousand parameters, its checkpoint, and pictures, for tests."""

from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.modeling import build_model

from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.selection.policies import DynamicScale

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "tiny" / "Base-tiny.yaml")
SMALL = [
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "8"),
    *("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.RPN.CONV_DIMS", "[16]"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "32", "MODEL.ROI_MASK_HEAD.CONV_DIM", "16"),
    *("MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM", "16", "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM", "16"),
    *("MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM", "16"),
    *("MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM", "16", "MODEL.RECOGNITION.MAX_LENGTH", "5"),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "TEST.DETECTIONS_PER_IMAGE", "3"),
    *("INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "200"),
    *("MODEL.DYNAMIC.COST", "power", "MODEL.DYNAMIC.SCALES", "(0.4, 0.6, 1.0)"),
    *("MODEL.DYNAMIC.SELECTOR.CHANNELS", "(4, 8)"),
]
DYNAMIC = ["MODEL.META_ARCHITECTURE", "DynamicSpotter"]


def write_checkpoint(path, opts=(), dynamic=True):
    """Options of a model with random weights, and the file in which these are."""
    opts = [*SMALL, *(DYNAMIC if dynamic else []), *opts]
    torch.manual_seed(0)
    model = build_model(setup_cfg(CONFIG, opts)).eval()
    if dynamic and isinstance(model.policy, DynamicScale):
        _make_choosy(model)
    torch.save({"model": model.state_dict(), "iteration": 7}, path)
    return [*opts, "MODEL.WEIGHTS", str(path)]


@torch.no_grad()
def _make_choosy(model):
    """Let the selector choose every scale for some pictures."""
    for name, value in model.policy.state_dict().items():
        if name.endswith("running_var"):
            value.fill_(0.3)
    pictures = [torch.from_numpy(picture(seed).transpose(2, 0, 1).copy()) for seed in range(12)]
    images, _ = model.spotter.preprocess([{"image": image} for image in pictures])
    logits = model.policy.logits(images)
    classifier = model.policy.selector.classifier
    classifier.weight /= logits.std(dim=0)[:, None]
    classifier.bias -= logits.mean(dim=0) / logits.std(dim=0)


def picture(seed, height=96, width=128):
    """Noise of a contrast of its own, (height, width, 3) uint8."""
    generator = np.random.default_rng(seed)
    contrast = generator.uniform(5, 127)
    noise = generator.uniform(128 - contrast, 128 + contrast, (height // 8, width // 8, 3))
    size = (width, height)
    return cv2.resize(noise.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def save_pictures(folder, sizes):
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for seed, size in enumerate(sizes):
        files.append(str(folder / f"{seed}.png"))
        assert cv2.imwrite(files[-1], picture(seed, *size))
    return files


def described(result):
    """A result as what can be compared."""
    words = [(w.text, w.score, w.detection_score, w.polygon.tolist()) for w in result]
    return words, result.scale, result.relative_cost
