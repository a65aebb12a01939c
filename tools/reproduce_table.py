#!/usr/bin/env python3
"""Tables of the paper in miniature: train, evaluate and compare on synthetic scenes.

    python tools/reproduce_table.py                            # all of it: a day on a small CPU
    python tools/reproduce_table.py --rows table curve         # without the sweep over gamma
    python tools/reproduce_table.py --rows dld --processes 2   # one row, and what it needs
    python tools/reproduce_table.py --shipped --rows table3    # other ways to distil
    python tools/reproduce_table.py --shipped --rows vanilla_h vanilla_l dld dld_gamma0.3 curve
    python tools/reproduce_table.py --shipped --table8 text_perceptron

What is trained or evaluated already in the output folder is taken as it is, and a training that was
cut off goes on. docs/results.md shows what came out.
"""

from __future__ import annotations

import dld_d2.commands  # noqa: F401 (first: it silences what others warn of when they are loaded)

# isort: split
import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog
from table_reproduction.measured import Measured
from table_reproduction.plots import write_plots
from table_reproduction.rows import (
    MULTI_SCALE_TEACHER,
    ROWS,
    SELECTOR,
    TEACHER,
    TEXT_PERCEPTRON,
    Row,
    find_rows,
)
from table_reproduction.runs import Runs
from table_reproduction.table import effects, markdown, rich_tables, table_cells
from table_reproduction.table8 import TABLES, Table8, table8_cells, table8_effects, table8_rich
from table_reproduction.timing import milliseconds_per_image

from dld_d2.commands.arguments import add_overrides, at_least, described_parser
from dld_d2.commands.console import console
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.deployment.pretrained import weights_file
from dld_d2.synthetic import SPLITS

_SHIPPED = {
    TEACHER: "tiny_teacher",
    "dld": "tiny_dld",
    "dld_gamma0.3": "tiny_dld_gamma0.3",
    TEXT_PERCEPTRON: "tiny_text_perceptron",
}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--rows",
        nargs="+",
        default=["table", "curve", "sweep"],
        metavar="ROW",
        help="rows, or groups of them: "
        + ", ".join(row.name for row in ROWS)
        + "; table, table3 (other ways to distil), curve (the teacher at other scales), sweep "
        "(other gammas)",
    )
    which.add_argument(
        "--table8",
        choices=TABLES,
        help="the paper's Table 8 of one spotter instead, as far as there are weights for its rows",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("output/table"), metavar="DIR", help="(output/table)"
    )
    parser.add_argument(
        "--dataset",
        default="synthetic_test",
        metavar="NAME",
        help="synthetic set to evaluate on (synthetic_test); synthetic_val is smaller",
    )
    parser.add_argument(
        "--shipped",
        action="store_true",
        help="take the weights that come with this package for the rows that have some",
    )
    parser.add_argument(
        "--weights",
        nargs=2,
        action="append",
        default=[],
        metavar=("ROW", "FILE"),
        help="take these weights for a row instead of training it; may be repeated",
    )
    parser.add_argument(
        "--processes",
        type=at_least(1),
        default=1,
        metavar="N",
        help="that share a training on a CPU (1)",
    )
    parser.add_argument(
        "--timed-images",
        type=at_least(0),
        default=60,
        metavar="N",
        help="images, spread over the set and read one at a time by all rows in turn, for ms per "
        "image (60); 0: none",
    )
    add_overrides(parser, of="of the configuration for all rows")
    return parser.parse_args(argv)


def with_needed(rows: list[Row]) -> list[Row]:
    """The rows, and those whose weights theirs start from, in an order to train them in."""
    names = {row.name for row in rows}
    for row in rows:
        names |= {name for name in (row.weights_of, row.starts_from, row.cost_of) if name}
    names |= {row.teacher for row in ROWS if row.name in names and row.distils}
    if any(row.distils or row.name == MULTI_SCALE_TEACHER for row in ROWS if row.name in names):
        names.add(TEACHER)
    if any(row.chooses for row in ROWS if row.name in names):
        names.add(SELECTOR)
    return [row for row in ROWS if row.name in names]


def measure(runs: Runs, rows: list[Row]) -> dict[str, Measured]:
    full = runs.short_side(TEACHER)
    return {
        row.name: Measured.from_results(runs.evaluate(row), runs.short_side(row.name) / full)
        for row in rows
    }


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    table8 = TABLES[arguments.table8] if arguments.table8 else None
    rows = table8.rows if table8 else find_rows(arguments.rows)
    datasets = [f"synthetic_{split}" for split in SPLITS]
    if arguments.dataset not in datasets:
        raise UsageError(f"--dataset {arguments.dataset}: there are {', '.join(datasets)}")
    weights = {name: weights_file(file) for name, file in _SHIPPED.items() if arguments.shipped}
    for name, file in arguments.weights:
        own = [row.name for row in ROWS if not row.weights_of]
        if name not in own:
            raise UsageError(f"--weights {name}: rows with their own are {', '.join(own)}")
        if not Path(file).is_file():
            raise UsageError(f"--weights {name}: there is no file {file}")
        weights[name] = Path(file)
    runs = Runs(
        arguments.output,
        dataset=arguments.dataset,
        weights=weights,
        processes=arguments.processes,
        opts=arguments.opts,
    )
    if table8:
        rows = with_weights(runs, rows)
    asked_for = {row.name for row in rows}
    for row in with_needed(rows):
        if not row.weights_of and (row.name in asked_for or _is_needed(runs, row, rows)):
            runs.train(row)
    rows = [row for row in rows if row.group != "needed"]
    if not rows:
        return 0
    measured = measure(runs, rows)
    in_table = [row for row in rows if table8 or row.group in ("table", "table3")]
    milliseconds = {}
    if arguments.timed_images and in_table:
        scenes = spread(DatasetCatalog.get(arguments.dataset), arguments.timed_images)
        images = [scene["read_image"]("BGR") for scene in scenes]
        milliseconds = milliseconds_per_image(
            {row.name: runs.spotter(row) for row in in_table}, images
        )
    if table8:
        report_table8(
            arguments.output / f"table8_{arguments.table8}", table8, measured, milliseconds
        )
    else:
        report(arguments.output, rows, measured, milliseconds)
    return 0


def with_weights(runs: Runs, rows: list[Row]) -> list[Row]:
    """The rows but for those whose weights must be given and are not, which are named."""
    lacking = [row for row in rows if row.given and not runs.weights(row).exists()]
    for row in lacking:
        console.print(f"Without weights, and left out: {row.name}")
    return [row for row in rows if row not in lacking]


def spread(items: Sequence, count: int) -> list:
    """Up to `count` items at equal distances: the first hundred scenes are harder than the rest."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _is_needed(runs: Runs, row: Row, rows: list[Row]) -> bool:
    """Whether one of the rows cannot do without it, or one that is still to be trained."""
    users = with_needed(rows)
    if any(row.name in (r.name, r.weights_of, r.cost_of) for r in rows) or row.name == TEACHER:
        return True
    starts = {name for r in users if not runs.weights(r).exists() for name in _starts(r)}
    return row.name in starts


def _starts(row: Row) -> set[str]:
    """What a row's training begins with."""
    teacher = {row.teacher} if row.distils else set()
    return {row.starts_from, *teacher, *({SELECTOR} if row.chooses else ())}


def report(
    output: Path,
    rows: list[Row],
    measured: dict[str, Measured],
    milliseconds: dict[str, float],
) -> None:
    header, lines = table_cells(rows, measured, milliseconds)
    for table in rich_tables(header, lines):
        console.print(table)
    write(output / "table", header, lines, effects(measured), measured, milliseconds)
    for path in write_plots(measured, output):
        console.print(str(path))


def report_table8(
    file: Path, table8: Table8, measured: dict[str, Measured], milliseconds: dict[str, float]
) -> None:
    header, lines = table8_cells(table8, measured, milliseconds)
    for table in table8_rich(header, lines):
        console.print(table)
    write(file, header, lines, table8_effects(table8, measured), measured, milliseconds)


def write(
    file: Path,
    header: tuple[str, ...],
    lines: list[list[str]],
    sentences: list[str],
    measured: dict[str, Measured],
    milliseconds: dict[str, float],
) -> None:
    """Print the sentences, and write them below the table to the file with the ending .md, and what
    was measured to that with .json."""
    for sentence in sentences:
        console.print(sentence)
    text = markdown(header, lines) + "\n\n" + "".join(f"- {s}\n" for s in sentences)
    Path(f"{file}.md").write_text(text, encoding="utf-8")
    summary = {
        name: found.metrics | {"milliseconds": milliseconds.get(name)}
        for name, found in measured.items()
    }
    Path(f"{file}.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
