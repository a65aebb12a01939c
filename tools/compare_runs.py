#!/usr/bin/env python
r"""Compare recipes by several runs of each: scores of all seeds, and differences with intervals.

    python tools/compare_runs.py --dataset synthetic_test \
        --row fine-tuned output/fine_tuned_1 output/fine_tuned_2 output/fine_tuned_3 \
        --row SKD-only output/skd_only_1 output/skd_only_2 output/skd_only_3

A run is the OUTPUT_DIR of a training, or of `train_net.py --eval-only`, that was evaluated on the
data set. Each row is compared with the first one: the difference of the means over its runs, with a
95% interval by a paired bootstrap over images, which tells of other images of the kind. How much
chance there is in a training, the runs themselves tell. docs/results.md has an example.
"""

from __future__ import annotations

import dld_d2.commands  # noqa: F401 (first: it silences what others warn of when they are loaded)

# isort: split
import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from table_reproduction.measured import REPEATS, Measured
from table_reproduction.table import markdown, some_columns

from dld_d2.commands.arguments import described_parser
from dld_d2.commands.console import console
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.evaluation.bootstrap import mean_spotting_difference


@dataclass(frozen=True)
class Row:
    """A recipe.

    Attributes:
        title: of it.
        runs: at least one.
    """

    title: str
    runs: Sequence[Measured]


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    add = parser.add_argument
    add("--dataset", required=True, metavar="NAME", help="that all runs were evaluated on")
    add(
        "--row",
        action="append",
        nargs="+",
        required=True,
        metavar=("TITLE", "DIR"),
        help="a recipe and its runs; the first row is what others are compared with",
    )
    add(
        "--case",
        nargs="+",
        default=["e2e_none", "e2e_strong"],
        metavar="CASE",
        help="tasks and lexicons, as in results.json (e2e_none e2e_strong)",
    )
    add("--output", type=Path, metavar="FILE", help="write the table as Markdown, too")
    return parser.parse_args(argv)


def open_rows(arguments: argparse.Namespace) -> list[Row]:
    """The rows with their runs.

    Raises:
        UsageError: naming the folder, for a run that was not evaluated on the data set, on other
            images than the first one, or not in a wanted case.
    """
    rows, images = [], None
    for title, *folders in arguments.row:
        if not folders:
            raise UsageError(f"--row {title}: needs the folder of at least one run")
        runs = []
        for folder in folders:
            file = Path(folder) / "inference" / arguments.dataset / "results.json"
            if not file.is_file():
                raise UsageError(
                    f"--row {title}: {folder} was not evaluated on {arguments.dataset}: there is "
                    f"no file {file}"
                )
            results = json.loads(file.read_text(encoding="utf-8"))
            images = list(results["images"]) if images is None else images
            if list(results["images"]) != images:
                raise UsageError(f"--row {title}: {file} is of other images than the first run")
            runs.append(Measured.from_results(results))
            for case in arguments.case:
                if case not in runs[-1].counts:
                    raise UsageError(
                        f"--case {case}: {file} has {', '.join(sorted(runs[-1].counts))}"
                    )
        rows.append(Row(title, runs))
    return rows


def difference(row: Row, other: Row, case: str) -> str:
    """Of the mean hmeans, in points, with its interval."""
    counts = ([run.counts[case] for run in one.runs] for one in (row, other))
    value, low, high = (100 * v for v in mean_spotting_difference(*counts, REPEATS))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def cells(rows: Sequence[Row], cases: Sequence[str]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and cells: hmean in % of each run, the difference of the mean from the first row's
    with its interval, cost and scale."""
    header = ["row"]
    for case in cases:
        header += [case, f"{case}, difference"]
    lines = []
    for row in rows:
        line = [row.title]
        for case in cases:
            line.append(", ".join(f"{100 * run.hmean(case):.1f}" for run in row.runs))
            line.append("-" if row is rows[0] else difference(row, rows[0], case))
        line.append(f"{np.mean([run.cost.mean() for run in row.runs]):.2f}")
        line.append(f"{np.mean([run.scale.mean() for run in row.runs]):.2f}")
        lines.append(line)
    return (*header, "GFLOPs, all parts", "mean scale"), lines


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    header, lines = cells(open_rows(arguments), arguments.case)
    for place, case in enumerate(arguments.case):
        columns = [2 * place + 1, 2 * place + 2]
        title = f"{arguments.dataset}, hmean of each run in %"
        console.print(some_columns(title, header, lines, columns, prefix=f"{case}, "))
    costs = [len(header) - 2, len(header) - 1]
    console.print(some_columns("2^30 multiply-adds per image", header, lines, costs))
    if arguments.output is not None:
        arguments.output.write_text(markdown(header, lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
