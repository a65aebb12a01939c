"""A spotter of a few thousand parameters and targets for it, for tests."""

from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances

from dld_d2.engine.setup import setup_cfg
from dld_d2.structures.polygons import Polygons
from dld_d2.structures.sides import sides_of
from dld_d2.structures.vocabulary import Vocabulary

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = {
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    # Not 8: in the backward pass of a 1x1 convolution of stride 2 and channels last, oneDNN 3.13
    # (PyTorch 2.15 on CPUs) writes out of bounds.
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.CONV_DIMS": [16],
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM": 16,
}


def tiny_cfg(**changes) -> CfgNode:
    """The small configuration made smaller still; keys with "__" for dots."""
    settings = {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}
    options = [str(part) for item in settings.items() for part in item]
    return setup_cfg(str(CONFIGS / "tiny" / "Base-tiny.yaml"), options)


def tiny_spotter(**changes) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(tiny_cfg(**changes))


def make_input(words: list[tuple[str, tuple[float, ...]]], size=(96, 160), seed=0) -> dict:
    """An image of noise with words in boxes (x0, y0, x1, y1); "###" is a don't-care region."""
    vocabulary = Vocabulary()
    boxes = np.array([box for _, box in words], dtype=np.float32).reshape(-1, 4)
    instances = Instances(size)
    instances.gt_masks = Polygons.from_arrays(
        [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) for x0, y0, x1, y1 in boxes]
    )
    instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
    instances.gt_classes = torch.zeros(len(words), dtype=torch.int64)
    ignore = [text == "###" for text, _ in words]
    readable = [text != "###" and vocabulary.can_encode(text, 32) for text, _ in words]
    instances.gt_ignore = torch.tensor(ignore, dtype=torch.bool)
    instances.gt_readable = torch.tensor(readable, dtype=torch.bool)
    instances.gt_texts = torch.tensor(
        [
            vocabulary.encode(text, 32) if ok else [Vocabulary.PADDING] * 33
            for (text, _), ok in zip(words, readable, strict=True)
        ],
        dtype=torch.int64,
    ).view(-1, 33)
    image = torch.randint(0, 256, (3, *size), generator=torch.manual_seed(seed)).to(torch.uint8)
    return {"image": image, "instances": instances, "height": size[0], "width": size[1]}


def sided_input(words: list[tuple[str, tuple[float, ...]]], size=(96, 160), seed=0) -> dict:
    """As `make_input`, with the sides of words."""
    item = make_input(words, size, seed)
    target = item["instances"]
    sides = torch.from_numpy(sides_of(list(target.gt_masks.vertices.numpy()))).float()
    sides = sides.view(-1, 14, 2) / torch.tensor([size[1], size[0]])
    target.gt_sides = torch.where(target.gt_ignore[:, None, None], 0.0, sides)
    return item
