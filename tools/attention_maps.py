#!/usr/bin/env python3
r"""Draw where MANGO looks for the characters of words: a colour for each character.

    python tools/attention_maps.py --config-file configs/mango/tiny/teacher.yaml --output DIR \
        MODEL.WEIGHTS output/mango_tiny_teacher/model_final.pth

Of each image there are the ground-truth words with what is read of them, and beside them where
their cells look, at full resolution.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger

from dld_d2.analysis.attention import draw_attention
from dld_d2.analysis.visualization import DrawnWord, draw_words, side_by_side
from dld_d2.commands.arguments import add_overrides, at_least, described_parser
from dld_d2.commands.console import messages, progress
from dld_d2.commands.datasets import open_text_dataset
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.pictures import enlargement, write_picture
from dld_d2.data import TextDatasetMapper
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.mango.spotter import MANGOSpotter
from dld_d2.structures.vocabulary import Vocabulary


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


def draw_sample(
    sample: dict[str, Any], spotter: MANGOSpotter, mapper: TextDatasetMapper
) -> np.ndarray:
    """Picture (BGR) of an image's words and where they are looked for."""
    image = sample["image"].permute(1, 2, 0).numpy()
    if mapper.image_format == "RGB":
        image = image[:, :, ::-1]
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
    seen = [word[:n].cpu().numpy() for word, n in zip(attention, lengths.tolist(), strict=True)]
    enlarge = enlargement(image)
    plain = draw_words(image, drawn, enlarge=enlarge)
    where = draw_words(draw_attention(image, seen), [], enlarge=enlarge)
    return side_by_side([plain, where], ["what is read", "where"])


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
    if not isinstance(spotter, MANGOSpotter):
        raise UsageError(
            f"a {type(spotter).__name__} has no attention to characters in the image; this draws a "
            "MANGOSpotter's"
        )
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
            picture = draw_sample(mapper(given), spotter, mapper)
            write_picture(arguments.output / f"{given['image_id'].replace('/', '_')}.jpg", picture)
    messages.print(f"{number} pictures in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
