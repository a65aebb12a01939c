"""A Text Perceptron of a few thousand parameters."""

from functools import lru_cache

import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from tiny_spotter import CONFIGS, SMALL

from dld_d2.data.mapper import TextDatasetMapper
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotters.text_perceptron.head import DetectionMaps
from dld_d2.modeling.spotters.text_perceptron.targets import STRIDE, draw_targets

CONFIG = str(CONFIGS / "text_perceptron" / "tiny" / "Base-tiny.yaml")
FIRST = [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("naïve", (10, 40, 60, 52))]
SECOND = [("x" * 33, (5, 60, 80, 75)), ("to", (90, 10, 110, 22)), ("be", (120, 10, 150, 22))]


def perceptron_options(**changes):
    """Keys and values; of `changes` with "__" for dots."""
    settings = {
        **{key: value for key, value in SMALL.items() if "MODEL.RO" not in key},
        **{key: value for key, value in SMALL.items() if "ROI_TEXT_HEAD" in key},
        "MODEL.TEXT_PERCEPTRON.HEAD.CONV_DIM": 16,
        "MODEL.WEIGHTS": "",
    }
    settings.pop("MODEL.RPN.CONV_DIMS")
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    return [str(part) for item in settings.items() for part in item]


def perceptron_cfg(**changes):
    """The small configuration made smaller still."""
    return setup_cfg(CONFIG, perceptron_options(**changes))


def perceptron(**changes):
    torch.manual_seed(0)
    return build_model(perceptron_cfg(**changes))


@lru_cache(maxsize=1)
def scenes(count=20):
    """Ground truth of the first test scenes, as the mapper gives it in testing."""
    mapper = TextDatasetMapper(perceptron_cfg(), is_train=False)
    dataset = DatasetCatalog.get("synthetic_test")
    return [mapper(dataset[index])["instances"] for index in range(count)]


def perfect_perceptron(monkeypatch, spotter, images, targets):
    """Let the head see what it is to learn."""
    size = tuple(side // STRIDE for side in images.tensor.shape[-2:])
    drawn = draw_targets(targets, size, spotter.rule)
    maps = DetectionMaps(20 * drawn.kinds() - 10, drawn.offsets)
    monkeypatch.setattr(spotter.head, "forward", lambda feature: maps)
