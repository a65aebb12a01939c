"""Evaluate the models that come with this package and compare with what their cards say.

    dld-d2 check              # all of them, minutes on a CPU
    dld-d2 check tiny_dld

Exit status: 0 if every figure is the card's to the last digit, 1 if not, 2 if a model or its card
is missing. On other processors or libraries rounding may turn a word now and then.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from dld_d2.commands.arguments import described_parser
from dld_d2.commands.console import console, table
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.pretrained import card, names, reads, weights_file
from dld_d2.engine.trainer import SpotterTrainer

__all__ = ["main"]

DIGITS = 4
# Metrics of a card; the others depend on the machine, or follow from these.
_KEPT = ("det_", "e2e_", "ws_", "rec_", "mean_", "share_", "cost_")


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    wrong = 0
    for name in arguments.names:
        if reads(name) != name:
            raise UsageError(
                f"{name}: has the weights, and so the figures, of {reads(name)}; check that one"
            )
    for name in arguments.names or [name for name in names() if reads(name) == name]:
        console.print(f"Evaluating {name}")
        scores = {} if arguments.write else card_scores(name)
        dataset = scores.pop("dataset", "synthetic_test")
        found = evaluate(name, dataset)
        if arguments.write:
            write_scores(weights_file(name), dataset, found)
            continue
        different = differences(scores, found)
        wrong += bool(different)
        if not different:
            console.print(f"{name}: all {len(scores)} figures are the card's")
            continue
        rows = table(
            f"{name}: {len(different)} differ", "figure", "card", "evaluation", words=("figure",)
        )
        for key, values in different.items():
            rows.add_row(key, *("-" if v is None else f"{v:.{DIGITS}f}" for v in values))
        console.print(rows)
    return 1 if wrong else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
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
    """What a model's card says, and the data set that it says it of.

    Raises:
        UsageError: if it says nothing.
    """
    scores = card(name).get("scores")
    if not isinstance(scores, dict):
        raise UsageError(
            f"{weights_file(name).with_suffix('.yaml')} has no scores; --write puts them there"
        )
    return dict(scores)


def evaluate(name: str, dataset: str) -> dict[str, float]:
    """Figures of a model on a data set, measured now."""
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
