"""The one-stage spotter with a few thousand parameters."""

import torch
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from tiny_spotter import CONFIGS

from dld_d2.data.mapper import TextDatasetMapper
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotters.mango.grid import grid_of
from dld_d2.modeling.spotters.mango.targets import center_line_targets, word_cells
from dld_d2.synthetic.dataset import SyntheticDataset

FIRST = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 50, 75))]
SECOND = [("x" * 33, (5, 60, 80, 75)), ("be", (100, 10, 150, 32))]
SMALL = {
    "MODEL.WEIGHTS": "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    # Not 8, see `tiny_spotter`.
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RECOGNITION.MAX_LENGTH": 32,
    "MODEL.MANGO.GRID_SIZE": 12,
    "MODEL.MANGO.CENTER_LINE.CONV_DIM": 16,
    "MODEL.MANGO.CATEGORY.CONV_DIM": 16,
    "MODEL.MANGO.ATTENTION.CONV_DIM": 16,
    "MODEL.MANGO.FUSION.CONV_DIM": 16,
    "MODEL.MANGO.SEQUENCE.HIDDEN_DIM": 16,
    "MODEL.MANGO.SEQUENCE.FC_DIMS": (32,),
}


def mango_cfg(**changes):
    """The small configuration made smaller still; keys with "__" for dots."""
    settings = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    options = [str(part) for item in settings.items() for part in item]
    return setup_cfg(str(CONFIGS / "mango" / "tiny" / "Base-tiny.yaml"), options)


def mango_spotter(**changes):
    torch.manual_seed(0)
    return build_model(mango_cfg(**changes))


def targets_and_grid(items, side=12, over="image", shape=None):
    """Ground truth of inputs, and the grid over them."""
    images = ImageList.from_tensors([item["image"].float() for item in items], 32)
    height, width = images.tensor.shape[-2:]
    grid = grid_of(images, side=side, shape=shape or (height // 4, width // 4), over=over)
    return [item["instances"] for item in items], grid


def scenes(number, short_side=512):
    """Inputs of synthetic scenes, as testing loads them."""
    mapper = TextDatasetMapper(mango_cfg(INPUT__MIN_SIZE_TEST=short_side), is_train=False)
    data = SyntheticDataset(number, seed=11)
    return [mapper(data[index]) for index in range(number)]


def sure_mango(spotter):
    """With weights such that different words look different."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        spotter.reader.attention.kernel.weight.normal_(std=0.5, generator=generator)
        spotter.reader.decoder.layers[-1].weight.mul_(20)


def perfect_mango(monkeypatch, spotter, images, targets):
    """Let it see what it is to learn of where words are, on a grid that tells them apart."""
    monkeypatch.setattr(spotter.options, "grid_size", 24)
    shape = tuple(side // 4 for side in images.tensor.shape[-2:])
    grid = grid_of(images, side=24, shape=shape, over="image")
    lines = center_line_targets(targets, grid, spotter.options.shrink_ratio).wanted
    category = (word_cells(targets, grid).owner >= 0).view(-1, 24, 24)
    monkeypatch.setattr(spotter.center_line, "forward", lambda features: 20.0 * lines - 10)
    monkeypatch.setattr(spotter.category, "forward", lambda sampled: 20.0 * category - 10)
