"""Train a selector of resolutions on what an engine read. It needs PyTorch, Detectron2 and onnx.

    dld-d2 select train --readings readings.jsonl --output selector.onnx
    dld-d2 select train --readings readings.jsonl --output selector.onnx --target-cost 0.4 --gt gt/

No labels are needed: what counts as right is what the engine reads alike at two scales, or is sure
of at the reference scale or above; or with --gt the truth. A part of the photographs is held out,
to find the cost bias on that meets the target; the table shows what comes of it, and of other
targets, there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import dld_d2
from dld_d2.commands.arguments import at_least, described_parser
from dld_d2.commands.console import console, messages, progress, table
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.select_arguments import add_truth, truth_of
from dld_d2.deployment.any_engine.comparison import Measured, measure
from dld_d2.deployment.any_engine.examples import examples_of, relative_costs
from dld_d2.deployment.any_engine.own_truth import agreed_words
from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.deployment.runtime.scale_selector import SelectorCard
from dld_d2.structures.word import Word

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["main"]

_LEAST = 20  # images
_SHOWN = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    try:
        import torch

        from dld_d2.deployment.any_engine import network, selector_file, training
    except ImportError as error:
        raise UsageError(
            f"training a selector needs PyTorch, Detectron2 and onnx ({error}); reading with one "
            "does not"
        ) from None
    file = ReadingsFile(arguments.readings)
    images, scales = file.table()
    check_enough(file, images, scales, arguments)
    reference = arguments.reference
    truth = truth_of(file, images, arguments) if arguments.gt else own_truth(file, arguments)
    wall = arguments.clock == "wall"
    cost = relative_costs(file, images, scales, reference, wall=wall)
    features = network.TextFeatures.pretrained().eval()
    examples = examples_of(file, images, scales, truth)
    views = list(
        progress(
            training.views_of(examples, features, file.sides, arguments.input_scale),
            "Looking",
            len(examples),
        )
    )
    # Every n-th: neighbours in a folder are often of one place.
    every = round(1 / arguments.hold_out)
    held = [i for i in range(len(images)) if i % every == every - 1]
    learnt = [view for i, view in enumerate(views) if i % every != every - 1]
    schedule = training.Schedule(epochs=arguments.epochs, seed=arguments.seed)
    model = training.train(learnt, cost, schedule, lambda epochs: progress(epochs, "Training"))
    logits = training.predict(model, [views[i] for i in held])
    bias = show_budgets(
        logits,
        torch.tensor(cost),
        measure(file, [images[i] for i in held], scales, truth, wall=wall),
        scales.index(reference),
        arguments.target_cost,
    )
    card = SelectorCard(
        engine=file.engine,
        scales=tuple(scales),
        relative_cost=cost,
        reference=reference,
        cost_bias=bias,
        input_scale=arguments.input_scale,
        sides=file.sides,
        made_with=dld_d2.__version__,
        notice=selector_file.NOTICE,
    )
    selector_file.save_selector(features, model, card, arguments.output)
    size = arguments.output.stat().st_size / 1e6
    console.print(
        f"{arguments.output}: {size:.2f} MB, learnt from {len(learnt)} images; cost bias {bias:.4g}"
    )
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    add = parser.add_argument
    add("--readings", type=Path, required=True, metavar="FILE", help="of `dld-d2 select read`")
    add("--output", type=Path, required=True, metavar="FILE", help="the selector, .onnx")
    add_truth(parser)
    add(
        "--target-cost",
        type=float,
        default=0.5,
        metavar="C",
        help="wanted mean cost, the reference's being 1 and the choice itself not counted "
        "(default 0.5)",
    )
    add(
        "--input-scale",
        type=float,
        default=0.3,
        metavar="S",
        help="of the full size, at which the selector looks (default 0.3)",
    )
    add("--epochs", type=at_least(1), default=60, metavar="N", help="default 60")
    add(
        "--hold-out",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of the photographs, to choose the cost bias on (default 0.2)",
    )
    add("--seed", type=int, default=0, metavar="N", help="default 0")
    arguments = parser.parse_args(argv)
    if not 0.05 <= arguments.hold_out <= 0.5:
        parser.error(f"--hold-out must be between 0.05 and 0.5, not {arguments.hold_out}")
    if not 0.05 <= arguments.input_scale <= 1:
        parser.error(f"--input-scale must be between 0.05 and 1, not {arguments.input_scale}")
    if arguments.output.suffix != ".onnx":
        parser.error(f"--output: {arguments.output} must end in .onnx")
    return arguments


def own_truth(file: ReadingsFile, arguments: argparse.Namespace) -> dict[str, list[Word]]:
    """What the engine's readings of each image agree on."""
    images, scales = file.table()
    return {
        image: agreed_words(
            [file.at(image, scale) for scale in scales], arguments.reference, arguments.min_score
        )
        for image in images
    }


def check_enough(
    file: ReadingsFile,
    images: Sequence[str],
    scales: Sequence[float],
    arguments: argparse.Namespace,
) -> None:
    """Refuse readings of which nothing can be learnt.

    Raises:
        UsageError: which says what to do.
    """
    if len(scales) < 2 or arguments.reference not in scales:
        known = ", ".join(f"{scale:g}" for scale in scales) or "none"
        raise UsageError(
            f"{file.path}: scales are {known}; a choice takes two, and one must be --reference "
            f"{arguments.reference:g}"
        )
    if len(images) < _LEAST:
        raise UsageError(
            f"{file.path}: {len(images)} images were read at all {len(scales)} scales; a selector "
            f"takes {_LEAST} at least, and some hundred to be of use"
        )
    left_out = len(file.images) - len(images)
    if left_out:
        messages.print(f"note: {left_out} images were not read at all scales, and are left out")


def show_budgets(
    logits: Tensor, cost: Tensor, measured: Measured, reference: int, target: float
) -> float:
    """Print what targets come to on images that were held out; returns the target's cost bias.

    Raises:
        ValueError: if the target is out of reach.
    """
    from dld_d2.deployment.budget import choose_cost_bias
    from dld_d2.modeling.selection.selector import select

    wanted = choose_cost_bias(logits, cost, target).cost_bias
    full = max(1, int(measured.right[:, reference].sum()))
    low, high = cost.min().item(), cost.max().item()
    targets = sorted({target, *(t for t in _SHOWN if low <= t <= high)})
    rows = table(
        f"{len(logits)} images held out; words right, of those at the reference scale",
        *("target", "cost bias", "mean cost", "words right"),
    )
    for one in targets:
        budget = choose_cost_bias(logits, cost, one)
        index = select(logits, budget.cost_bias, cost).numpy()
        right = int(measured.chosen(index).right.sum())
        rows.add_row(
            f"{one:g}", f"{budget.cost_bias:.4g}", f"{budget.mean_cost:.3f}", f"{right / full:.1%}"
        )
    console.print(rows)
    fixed = np.round(measured.right.sum(axis=0) / full, 4).tolist()
    told = (f"{c:.3f}: {r:.1%}" for c, r in zip(cost.tolist(), fixed, strict=True))
    console.print(f"fixed scales, by their cost: {', '.join(told)}")
    return wanted
