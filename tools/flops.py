#!/usr/bin/env python3
r"""What a spotter costs: every part, at any size and scale, or on average over images.

    python tools/flops.py --config-file configs/CONFIG.yaml --dataset icdar2015_test \
        --write-cost-table icdar2015_costs.json

No weights are needed, and nothing is computed: sizes of tensors are all that counts.
docs/cost.md says what is counted and how it compares with published figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from rich.table import Table

from dld_d2.analysis.cost import measure_scale_costs
from dld_d2.commands.arguments import add_overrides, at_least, described_parser
from dld_d2.commands.console import console, table
from dld_d2.commands.datasets import open_text_dataset
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.data.image_size import IMAGE_SUFFIXES, read_image_size
from dld_d2.data.resolution import at_resolution_of
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.cost.parts import PAPER_UNIT, CostTable, PartCost, Workload
from dld_d2.modeling.cost.resizing import full_resolution_sizes
from dld_d2.modeling.cost.scale_costs import COUNTS, ScaleCosts
from dld_d2.modeling.dynamic_spotter import cost_of

# What an image holds unless said otherwise, and the size of ICDAR2015's.
DEFAULT_REGIONS = 10
DEFAULT_CHARACTERS = 10
DEFAULT_IMAGE_SIZE = (720, 1280)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="configuration (YAML)")
    images = parser.add_mutually_exclusive_group()
    images.add_argument(
        "--size",
        nargs=2,
        type=int,
        action="append",
        metavar=("H", "W"),
        help="size of the network's input before padding; more than one for their mean (default: "
        "of a 720 x 1280 image after the configured resizing)",
    )
    images.add_argument("--dataset", metavar="NAME", help="mean over a registered data set")
    images.add_argument(
        "--image-root", type=Path, metavar="DIR", help="mean over the images in this folder"
    )
    parser.add_argument(
        "--scales",
        nargs="+",
        type=float,
        metavar="S",
        help="scales to compare with full resolution (default: MODEL.DYNAMIC.SCALES)",
    )
    parser.add_argument(
        "--regions",
        type=at_least(0),
        default=DEFAULT_REGIONS,
        metavar="N",
        help=f"words per image (default {DEFAULT_REGIONS})",
    )
    parser.add_argument(
        "--characters",
        type=at_least(0),
        default=DEFAULT_CHARACTERS,
        metavar="N",
        help="decoding steps: characters of an image's longest word, and its end (default "
        f"{DEFAULT_CHARACTERS})",
    )
    parser.add_argument(
        "--proposals",
        type=at_least(0),
        metavar="N",
        help="regions that the box head sees (default: as many as testing takes at most)",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    parser.add_argument(
        "--write-cost-table", type=Path, metavar="FILE", help="write the scales' costs for training"
    )
    parser.add_argument(
        "--counts",
        choices=COUNTS,
        default="published",
        help="what the cost table counts: backbone, FPN and RPN head as the paper's FLOPs column "
        "does (default), or everything",
    )
    add_overrides(parser)
    return parser.parse_args(argv)


def find_sizes(cfg: CfgNode, arguments: argparse.Namespace) -> list[tuple[int, int]]:
    """Sizes of the network's input at full resolution, before padding."""
    if arguments.size:
        return [tuple(size) for size in arguments.size]
    if arguments.dataset:
        dataset = open_text_dataset(cfg, arguments.dataset)
        cfg = at_resolution_of(cfg, arguments.dataset)
        images = [(image["height"], image["width"]) for image in dataset]
    elif arguments.image_root:
        images = folder_sizes(arguments.image_root)
    else:
        images = [DEFAULT_IMAGE_SIZE]
    return full_resolution_sizes(images, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)


def folder_sizes(folder: Path) -> list[tuple[int, int]]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UsageError(f"there are no images in {folder}")
    sizes = []
    for file in files:
        try:
            sizes.append(read_image_size(file))
        except OSError as error:
            raise UsageError(f"{file} cannot be read as an image: {error}") from error
    return sizes


def parts_table(costs: CostTable, num_images: int) -> Table:
    """Rows are parts, then sums."""
    size = "several sizes" if costs.size is None else "{} x {} with padding".format(*costs.size)
    images = "one image" if num_images == 1 else f"mean of {num_images} images"
    title = f"multiply-adds: {images}, {size}"
    rows = table(title, "part", "10^9", "2^30", "share", words=("part",))
    rows.add_column("of which")

    def add(name: str, cost: float, note: str = "") -> None:
        share = f"{cost / costs.total:.1%}"
        rows.add_row(name, f"{cost / 1e9:.3f}", f"{cost / PAPER_UNIT:.3f}", share, note)

    for part in costs.parts:
        add(part.name, part.total(costs.workload), describe_units(part, costs.workload))
    rows.add_section()
    add("as the paper counts", costs.published, "backbone, FPN, RPN head")
    if any(part.selects for part in costs.parts):
        add("as the released code counts", costs.released, "these and the selector")
    add("whole", costs.total)
    return rows


def describe_units(part: PartCost, workload: Workload) -> str:
    """How a part's cost depends on what is in the image."""
    if part.per_proposal:
        return f"{workload.num_proposals} proposals x {part.per_proposal / 1e6:.2f}e6"
    each = [f"{part.per_region / 1e6:.2f}e6"] if part.per_region else []
    if part.per_character:
        each.append(f"{workload.num_characters} steps x {part.per_character / 1e6:.2f}e6")
    if not each:
        return ""
    terms = f"({' + '.join(each)})" if len(each) > 1 else each[0]
    return f"{workload.num_regions} words x {terms}"


def scales_table(costs: dict[str, ScaleCosts]) -> Table:
    """Rows are scales."""
    title = "by scale, in units of 2^30; choosing the scale is not counted"
    columns = ("scale", "scale^2", "as the paper", "relative", "whole", "relative")
    rows = table(title, *columns)
    published, whole = costs["published"], costs["whole"]
    figures = [
        (1.0, published.full_cost, 1.0, whole.full_cost, 1.0),
        *zip(
            *(published.scales, published.cost, published.relative, whole.cost, whole.relative),
            strict=True,
        ),
    ]
    for scale, *values in figures:
        cells = (
            f"{value / PAPER_UNIT:.2f}" if index % 2 == 0 else f"{value:.4f}"
            for index, value in enumerate(values)
        )
        rows.add_row(f"{scale:g}", f"{scale**2:.4f}", *cells)
    return rows


def as_json(
    arguments: argparse.Namespace, whole: CostTable, costs: dict[str, ScaleCosts], num_images: int
) -> dict:
    return {
        "config": arguments.config_file,
        "num_images": num_images,
        "padded_size": whole.size,
        "workload": asdict(whole.workload),
        "unit": "multiply-adds",
        "paper_unit": PAPER_UNIT,
        "parts": [{**asdict(part), "total": part.total(whole.workload)} for part in whole.parts],
        "published": whole.published,
        "released": whole.released,
        "total": whole.total,
        "scales": costs["published"].scales,
        **{
            name: {"full": c.full_cost, "cost": c.cost, "relative": c.relative}
            for name, c in (
                ("published_by_scale", costs["published"]),
                ("by_scale", costs["whole"]),
            )
        },
    }


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING)
    # Neither changes the model's cost. A cost table may be configured that is to be written here.
    neutral = ["MODEL.DEVICE", "cpu", "MODEL.DYNAMIC.COST", "power"]
    cfg = setup_cfg(arguments.config_file, [*arguments.opts, *neutral])
    sizes = find_sizes(cfg, arguments)
    cost = cost_of(build_model(cfg))
    counts = {
        "num_regions": arguments.regions,
        "num_characters": arguments.characters,
        "num_proposals": arguments.proposals,
    }
    whole = cost.average(sizes, **counts)
    costs = {
        name: measure_scale_costs(
            cost,
            sizes,
            arguments.scales or cfg.MODEL.DYNAMIC.SCALES,
            counts=name,
            config=arguments.config_file,
            config_sha256=hashlib.sha256(cfg.dump().encode()).hexdigest(),
            **counts,
        )
        for name in COUNTS
    }
    console.print(parts_table(whole, len(sizes)))
    console.print(scales_table(costs))
    if arguments.json:
        figures = as_json(arguments, whole, costs, len(sizes))
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if arguments.write_cost_table:
        costs[arguments.counts].save(arguments.write_cost_table)
        console.print(f"cost table: {arguments.write_cost_table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
