#!/usr/bin/env python3
r"""Draw the maps by which a spotter finds or reads words, in colours over the image.

    python tools/draw_maps.py --config-file configs/text_perceptron/tiny/teacher.yaml --output DIR \
        MODEL.WEIGHTS output/text_perceptron/tiny_teacher/model_final.pth

Of Text Perceptron: the words that it finds, as it reads them, and beside them what it takes for
centres, heads, tails and boundaries of words. Of MANGO: the ground-truth words with what is read of
them, and beside them where their cells look, a colour for each character. All at full resolution.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger

from dld_d2.analysis.maps import character_colors, draw_maps
from dld_d2.analysis.visualization import (
    PALETTE,
    DrawnWord,
    LegendEntry,
    add_legend,
    draw_words,
    side_by_side,
)
from dld_d2.commands.arguments import add_overrides, at_least, described_parser
from dld_d2.commands.console import messages, progress
from dld_d2.commands.datasets import open_text_dataset
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.pictures import enlargement, write_picture
from dld_d2.data import TextDatasetMapper
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.modeling.spotters.mango.spotter import MANGOSpotter
from dld_d2.modeling.spotters.text_perceptron.head import KINDS
from dld_d2.modeling.spotters.text_perceptron.spotter import TextPerceptronSpotter
from dld_d2.structures.vocabulary import Vocabulary

# Of centres, heads, tails and boundaries.
_KIND_COLORS = ("sky", "orange", "purple", "yellow")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="configuration (YAML)")
    parser.add_argument("--output", required=True, metavar="DIR", type=Path)
    parser.add_argument(
        "--dataset", metavar="NAME", help="registered data set (default: first of DATASETS.TEST)"
    )
    parser.add_argument(
        "--num",
        type=at_least(1),
        default=10,
        metavar="N",
        help="images, spread over the set (default 10)",
    )
    add_overrides(parser, "opts")
    return parser.parse_args(argv)


def draw_attention(sample: dict[str, Any], image: np.ndarray, spotter: MANGOSpotter) -> np.ndarray:
    """Picture of an image's words and where they are looked for."""
    images, targets = spotter.preprocess([sample])
    (attention,) = spotter.attention_maps(images, targets)
    (texts,) = spotter.read_regions([sample], spotter([sample]))
    truth = sample["instances"]
    words = truth[~truth.gt_ignore]
    drawn = [
        DrawnWord(polygon, text, color="sky")
        for polygon, text in zip(words.gt_masks.vertices.numpy(), texts, strict=True)
    ]
    lengths = (truth[truth.gt_readable].gt_texts != Vocabulary.PADDING).sum(dim=1) - 1
    maps, colors = [], []
    for word, length in zip(attention, lengths.tolist(), strict=True):
        maps += list(word[:length].cpu().numpy())
        colors += character_colors(length)
    enlarge = enlargement(image)
    plain = draw_words(image, drawn, enlarge=enlarge)
    where = draw_words(draw_maps(image, maps, colors), [], enlarge=enlarge)
    return side_by_side([plain, where], ["what is read", "where"])


def draw_score_maps(
    sample: dict[str, Any], image: np.ndarray, spotter: TextPerceptronSpotter
) -> np.ndarray:
    """Picture of the words that are found in an image, and of the maps that they come from."""
    images, _ = spotter.preprocess([sample])
    (maps,) = spotter.score_maps(images)
    (found,) = spotter.inference(images)
    drawn = [
        DrawnWord(polygon, text, color="sky")
        for polygon, text in zip(found.pred_polygons, found.pred_texts, strict=True)
    ]
    enlarge = enlargement(image)
    plain = draw_words(image, drawn, enlarge=enlarge)
    seen = draw_maps(image, list(maps.cpu().numpy()), [PALETTE[name] for name in _KIND_COLORS])
    seen = draw_words(seen, [], enlarge=enlarge)
    picture = side_by_side([plain, seen], ["what is found and read", "score maps"])
    kinds = zip(KINDS, _KIND_COLORS, strict=True)
    return add_legend(picture, [LegendEntry(kind, color) for kind, color in kinds])


_DRAWN: dict[type[Spotter], Callable[[dict[str, Any], np.ndarray, Any], np.ndarray]] = {
    MANGOSpotter: draw_attention,
    TextPerceptronSpotter: draw_score_maps,
}


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    setup_logger(name="dld_d2", abbrev_name="dld_d2")
    cfg = setup_cfg(arguments.config_file, arguments.opts)
    name = arguments.dataset or next(iter(cfg.DATASETS.TEST), None)
    if name is None:
        raise UsageError("DATASETS.TEST is empty: name a data set with --dataset")
    if not cfg.MODEL.WEIGHTS:
        raise UsageError("MODEL.WEIGHTS is empty: name the trained weights, MODEL.WEIGHTS FILE")
    model = build_model(cfg)
    spotter = model.spotter if isinstance(model, DynamicSpotter) else model
    if type(spotter) not in _DRAWN:
        known = " and ".join(kind.__name__ for kind in _DRAWN)
        raise UsageError(f"this draws the maps of {known}, not those of a {type(spotter).__name__}")
    SpotterCheckpointer(model).load_exactly(cfg.MODEL.WEIGHTS, checkpointables=[])
    model.eval()
    mapper = TextDatasetMapper(cfg, is_train=False)
    dataset = open_text_dataset(cfg, name)
    arguments.output.mkdir(parents=True, exist_ok=True)
    number = min(arguments.num, len(dataset))
    chosen = np.linspace(0, len(dataset), number, endpoint=False, dtype=np.int64)
    with torch.no_grad():
        for index in progress(chosen.tolist(), "Drawing"):
            given = dataset[index]
            sample = mapper(given)
            image = sample["image"].permute(1, 2, 0).numpy()
            image = image[:, :, ::-1] if mapper.image_format == "RGB" else image
            picture = _DRAWN[type(spotter)](sample, image, spotter)
            write_picture(arguments.output / f"{given['image_id'].replace('/', '_')}.jpg", picture)
    messages.print(f"{number} pictures in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
