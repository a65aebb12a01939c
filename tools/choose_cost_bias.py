#!/usr/bin/env python3
r"""Find the cost bias with which a student costs what you want, on images like yours.

    python tools/choose_cost_bias.py --model student.pth --images PHOTOS --target-cost 0.4
    python tools/choose_cost_bias.py --config-file configs/dld_mixed.yaml \
        --weights model_final.pth --dataset totaltext_train --target-cost 0.2 0.3 0.4

Only the selector runs, once per image, whatever the number of targets. The bias goes into
`--cost-bias` of tools/demo.py and tools/export_student.py, `cost_bias=` of `TextSpotter`, or
`MODEL.DYNAMIC.COST_BIAS` for train_net.py. docs/deployment.md tells more.

Exit status: 0 if there is a bias for every target, 1 if some images could not be read (they are
named, and do not count), 2 if there is none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

import torch
from detectron2.data import DatasetCatalog
from rich.table import Table

from dld_d2.commands.arguments import add_images, add_model, add_overrides, described_parser
from dld_d2.commands.console import console, messages, progress, table
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.models import open_spotter
from dld_d2.data.registration_file import register_configured_datasets
from dld_d2.deployment.budget import Budget
from dld_d2.deployment.image_paths import find_images
from dld_d2.deployment.predictor import ImageLike, TextSpotter


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    add_model(parser, "needs --weights")
    parser.add_argument("--weights", metavar="FILE", help="checkpoint, with --config-file")
    images = parser.add_mutually_exclusive_group(required=True)
    add_images(images, "--images")
    images.add_argument("--dataset", metavar="NAME", help="a registered data set")
    parser.add_argument(
        "--target-cost",
        required=True,
        nargs="+",
        type=float,
        metavar="C",
        help="wanted mean cost relative to the full resolution's",
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="default 8")
    add_overrides(parser)
    arguments = parser.parse_args(argv)
    if bool(arguments.config_file) != bool(arguments.weights):
        parser.error("--config-file and --weights go together")
    return arguments


def build(arguments: argparse.Namespace) -> tuple[TextSpotter, Iterable[ImageLike], int]:
    """The spotter, the images and their number."""
    weights = ["MODEL.WEIGHTS", arguments.weights] if arguments.weights else []
    opts = [*arguments.opts, *weights]
    cfg, spotter = open_spotter(arguments.model, arguments.config_file, opts)
    if arguments.images:
        files = find_images(arguments.images)
        return spotter, files, len(files)
    register_configured_datasets(cfg)
    name = arguments.dataset
    if name not in DatasetCatalog.list():
        known = ", ".join(sorted(DatasetCatalog.list()))
        raise UsageError(f"--dataset: {name!r} is not registered; registered are {known}")
    if name in cfg.DATASETS.TEST:
        messages.print(
            f"note: {name} is in DATASETS.TEST; scores on a set that the bias was chosen on do not "
            "tell how it does on other images",
            style="yellow",
        )
    dataset = DatasetCatalog.get(name)
    # Synthetic scenes are in no file: each is drawn when its turn comes.
    images = (
        item["read_image"]("BGR") if "read_image" in item else item["file_name"] for item in dataset
    )
    return spotter, images, len(dataset)


def budget_table(budgets: dict[float, Budget], scales: Sequence[float], num_images: int) -> Table:
    """Rows are targets."""
    columns = ("target", "cost bias", "mean cost", *(f"{scale:g}" for scale in scales))
    rows = table(f"{num_images} images; share of images at each scale", *columns)
    for target, budget in budgets.items():
        shares = (f"{share:.1%}" for share in budget.shares)
        rows.add_row(f"{target:g}", f"{budget.cost_bias:.6g}", f"{budget.mean_cost:.4f}", *shares)
    return rows


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    spotter, images, num_images = build(arguments)
    logits: list[torch.Tensor] = []
    found = spotter.scale_logits(images, arguments.batch_size)
    for item in progress(found, "Looking", num_images):
        if isinstance(item, Exception):
            messages.print(str(item), style="red")
        else:
            logits.append(item)
    failed = num_images - len(logits)
    if not logits:
        raise UsageError(f"none of the {num_images} images could be read")
    budgets = {
        target: spotter.set_target_cost_from_logits(logits, target)
        for target in arguments.target_cost
    }
    console.print(budget_table(budgets, spotter.scales, len(logits)))
    if failed:
        messages.print(f"{failed} images could not be read and do not count", style="red")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
