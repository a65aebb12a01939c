#!/usr/bin/env python
r"""Cut the readable words out of data sets and lay them side by side: much to read in little room.

    python tools/make_collages.py --dataset icdar2015_train --num 2000 --output output/collages
    python tools/make_collages.py --register my.yaml --dataset my_photos 2 my_scenes 1 --output DIR

A photograph has a few readable words, a collage of its size some 250: a spotter whose text head
does not know photographs yet learns to read them sooner from both than from photographs alone
(configs/photo/mask_rcnn_teacher.yaml). The folder has `images/`, `gt/` (format `icdar2015`) and
`collages.yaml`, which registers both under the folder's name (DATASETS.REGISTER).
"""

from __future__ import annotations

import dld_d2.commands  # noqa: F401 (first: it silences what others warn of when they are loaded)

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from dld_d2.commands.arguments import at_least, described_parser
from dld_d2.commands.console import messages, progress
from dld_d2.commands.datasets import open_text_dataset
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.pictures import write_picture
from dld_d2.engine.setup import default_cfg
from dld_d2.synthetic.collage import CutWord, cut_words, make_collage
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.writer import write_words


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    add = parser.add_argument
    add(
        "--dataset",
        nargs="+",
        required=True,
        metavar="NAME [SHARE]",
        help="registered data sets; a number after one is how often its words are taken, relative "
        "to others (1)",
    )
    add(
        "--register",
        default="",
        metavar="FILE",
        help="description of data sets (DATASETS.REGISTER)",
    )
    add("--output", required=True, type=Path, metavar="DIR", help="folder to write into")
    add("--num", type=at_least(1), default=1000, metavar="N", help="collages (1000)")
    add("--seed", type=at_least(0), default=0, metavar="N", help="of what is drawn by chance (0)")
    add(
        "--size",
        type=at_least(128),
        nargs=2,
        default=(512, 512),
        metavar=("HEIGHT", "WIDTH"),
        help="in pixels (512 512)",
    )
    add(
        "--heights",
        type=float,
        nargs=2,
        default=(10.0, 44.0),
        metavar=("LOW", "HIGH"),
        help="of words in pixels (10 44)",
    )
    return parser.parse_args(argv)


def with_shares(words: Sequence[str]) -> dict[str, float]:
    """Data sets and how often each is taken.

    Raises:
        UsageError: for a share without a data set, one that is not positive, and a set named twice.
    """
    shares: dict[str, float] = {}
    name = None
    for word in words:
        try:
            share = float(word)
        except ValueError:
            if word in shares:
                raise UsageError(f"--dataset: {word} occurs twice") from None
            name = word
            shares[name] = 1.0
            continue
        if name is None or not 0 < share < float("inf"):
            raise UsageError(f"--dataset: {word} must be a positive share after a data set's name")
        shares[name] = share
        name = None
    return shares


def open_words(arguments: argparse.Namespace, names: Sequence[str]) -> list[list[CutWord]]:
    cfg = default_cfg()
    cfg.DATASETS.REGISTER = arguments.register
    words = []
    for name in names:
        dataset = open_text_dataset(cfg, name)
        items = progress(iter(dataset), f"Cutting words of {name}", len(dataset))
        words.append(list(cut_words(items)))
        messages.print(f"{name}: {len(words[-1])} words of {len(dataset)} images")
        if not words[-1]:
            raise UsageError(f"data set {name!r} has no word that could be read")
    return words


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    low, high = arguments.heights
    if not 4 <= low <= high:
        raise UsageError(f"--heights {low:g} {high:g}: must be 4 <= LOW <= HIGH")
    folder = arguments.output
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; remove it or choose another folder")
    shares = with_shares(arguments.dataset)
    words = open_words(arguments, list(shares))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "gt").mkdir(exist_ok=True)
    count = 0
    for index in progress(range(arguments.num), "Drawing", arguments.num):
        collage = make_collage(
            words,
            list(shares.values()),
            Draws(arguments.seed, index),
            size=tuple(arguments.size),
            heights=(low, high),
        )
        name = f"collage_{index:05d}"
        write_picture(folder / "images" / f"{name}.jpg", collage.image)
        write_words(folder / "gt" / f"gt_{name}.txt", collage.polygons, collage.texts)
        count += len(collage.texts)
    described = {"image_root": "images", "annotations": "gt", "format": "icdar2015"}
    (folder / "collages.yaml").write_text(
        yaml.safe_dump({"datasets": {folder.name: described}}, sort_keys=False), encoding="utf-8"
    )
    messages.print(
        f"{arguments.num} collages of {count} words in {folder}; {folder / 'collages.yaml'} "
        "registers them"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
