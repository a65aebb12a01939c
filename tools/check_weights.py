#!/usr/bin/env python3
r"""Evaluate the models that come with this package and compare with what their cards say.

    python tools/check_weights.py              # all of them, minutes on a CPU
    python tools/check_weights.py tiny_dld

Exit status: 0 if every figure is the card's to the last digit, 1 if not, 2 if a model or its card
is missing. On other processors or libraries rounding may turn a word now and then.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

import dld_d2.data.builtin
import dld_d2.modeling  # noqa: F401 (registers the models)
from dld_d2.engine.export import load_spotter
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.weights import card, names, weights_file

DIGITS = 4
# Metrics of a card; the others depend on the machine, or follow from these.
_KEPT = ("det_", "e2e_", "ws_", "rec_", "mean_", "share_", "cost_")
console = Console(soft_wrap=True, highlight=False)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a model (default: all)")
    parser.add_argument(
        "--write", action="store_true", help="write the figures into the cards instead"
    )
    return parser.parse_args(argv)


def figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those metrics that a card holds, rounded as there."""
    return {
        name: round(float(value), DIGITS)
        for name, value in metrics.items()
        if name.startswith(_KEPT)
    }


def differences(
    expected: Mapping[str, float], found: Mapping[str, float]
) -> dict[str, tuple[float | None, float | None]]:
    """Figures that differ: name -> (the card's, the evaluation's), None where one lacks it."""
    return {
        name: (expected.get(name), found.get(name))
        for name in [*expected, *(name for name in found if name not in expected)]
        if expected.get(name) != found.get(name)
    }


def card_scores(name: str) -> dict[str, float]:
    scores = card(name).get("scores")
    if not isinstance(scores, dict):
        raise ValueError(
            f"{weights_file(name).with_suffix('.yaml')} has no scores; --write puts them there"
        )
    return dict(scores)


def evaluate(name: str, dataset: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="dld_d2_") as folder:
        opts = ["DATASETS.TEST", f"('{dataset}',)", "OUTPUT_DIR", folder, "TEST.NUM_PICTURES", "0"]
        cfg, model = load_spotter(weights_file(name), opts)
        return figures(SpotterTrainer.test(cfg, model)["text_spotting"])


def write_scores(weights: Path, dataset: str, found: Mapping[str, float]) -> None:
    """Put the checksum of the weights and the scores at the end of a card, which keeps the rest as
    it was written by hand."""
    card_file = weights.with_suffix(".yaml")
    text = card_file.read_text(encoding="utf-8") if card_file.exists() else ""
    head = text.split("\nsha256:")[0].rstrip("\n")
    tail = {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "scores": {"dataset": dataset, **found},
    }
    card_file.write_text(f"{head}\n{yaml.safe_dump(tail, sort_keys=False)}", encoding="utf-8")


def run(arguments: argparse.Namespace) -> int:
    wrong = 0
    for name in arguments.names or names():
        console.print(f"Evaluating {name}", markup=False)
        scores = {} if arguments.write else card_scores(name)
        dataset = scores.pop("dataset", "synthetic_test")
        found = evaluate(name, dataset)
        if arguments.write:
            write_scores(weights_file(name), dataset, found)
            continue
        different = differences(scores, found)
        wrong += bool(different)
        if not different:
            console.print(f"{name}: all {len(scores)} figures are the card's", markup=False)
            continue
        table = Table("figure", "card", "evaluation", title=f"{name}: {len(different)} differ")
        for key, values in different.items():
            table.add_row(key, *("-" if v is None else f"{v:.{DIGITS}f}" for v in values))
        console.print(table)
    return 1 if wrong else 0


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    try:
        return run(arguments)
    except (ValueError, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False)
        return 2


if __name__ == "__main__":
    sys.exit(main())
