"""The command line: `dld-d2 evaluate`, which tools/evaluate.py and `python -m dld_d2.evaluation`
are, too."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from dld_d2.evaluation.breakdown import Failures
from dld_d2.evaluation.details import write_details
from dld_d2.evaluation.lexicon_choice import KINDS, choose_lexicons
from dld_d2.evaluation.protocol import TASKS
from dld_d2.evaluation.report import Report, missing_note
from dld_d2.evaluation.scoring import evaluate
from dld_d2.evaluation.words import EvaluationInputError


def build_parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(
        description="Score a text spotter by the ICDAR end-to-end and word-spotting protocols."
    )
    add = parser.add_argument
    add("--gt", required=True, metavar="ZIP", help="ground truth: zip or folder")
    add("--submission", required=True, metavar="ZIP", help="results: zip or folder")
    add("--task", default="both", choices=[*TASKS, "both"], help="default: both")
    add(
        "--iou",
        action="append",
        metavar="T",
        help="IoU threshold, default 0.5; may be repeated or a comma list",
    )
    add(
        "--lexicon",
        action="append",
        metavar="KIND",
        help=f"{', '.join(KINDS)}; default none; may be repeated or a comma list",
    )
    add(
        "--lexicon-path",
        action="append",
        metavar="PATH",
        help="file of each lexicon but none, in order, or one folder that holds them all",
    )
    add("--json", metavar="OUT", help="write the scores as JSON; - for standard output")
    add("--details", metavar="DIR", help="write per-image matches (and pictures, with --images)")
    add("--images", metavar="DIR", help="folder of the photographs, for pictures in --details")
    add("--gt-pattern", metavar="REGEX", help="ground-truth file names, one group: the image id")
    add("--det-pattern", metavar="REGEX", help="result file names, one group: the image id")
    vertices = "vertices of every polygon of the {}; default: any number"
    add("--gt-points", type=int, metavar="N", help=vertices.format("ground truth"))
    add("--det-points", type=int, metavar="N", help=vertices.format("submission"))
    add("--points", help=argparse.SUPPRESS)  # one number for both, until 0.1
    add(
        "--scores",
        action="store_true",
        help="the field before each transcription of the submission is its confidence, in [0, 1]",
    )
    add("--bootstrap", type=int, default=0, metavar="N", help="95%% intervals from N resamplings")
    add("--seed", type=int, default=0, help="of the bootstrap; default 0")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for bad input."""
    args = build_parser().parse_args(argv)
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = _evaluate(args)
        for warning in caught:
            errors.print(f"warning: {warning.message}", style="yellow")
        if args.details:
            lacking = write_details(report, args.details, args.images)
            if lacking:
                errors.print(
                    f"warning: {lacking} of {report.num_images} images have no photograph in "
                    f"{args.images} and no picture",
                    style="yellow",
                )
        output = json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n"
        if args.json == "-":
            sys.stdout.write(output)
        elif args.json:
            Path(args.json).write_text(output, encoding="utf-8")
    except (EvaluationInputError, OSError) as error:
        errors.print(f"error: {error}", style="red")
        return 2
    print_report(report, Console(stderr=args.json == "-"))
    return 0


def _evaluate(args: argparse.Namespace) -> Report:
    if args.images and not args.details:
        raise EvaluationInputError("--images needs --details DIR to write the pictures to")
    if args.points is not None:
        raise EvaluationInputError(
            f"--points was for both files; say --gt-points {args.points}, --det-points "
            f"{args.points} or both"
        )
    try:
        ious = [float(iou) for some in args.iou or ["0.5"] for iou in some.split(",")]
    except ValueError:
        raise EvaluationInputError(f"--iou {','.join(args.iou)}: expected numbers") from None
    return evaluate(
        args.gt,
        args.submission,
        tasks=args.task,
        ious=ious,
        lexicons=choose_lexicons(args.lexicon or [], args.lexicon_path or []),
        gt_pattern=args.gt_pattern,
        det_pattern=args.det_pattern,
        gt_points=args.gt_points,
        det_points=args.det_points,
        scores=args.scores,
        bootstrap=args.bootstrap,
        seed=args.seed,
    )


def print_report(report: Report, console: Console) -> None:
    """Print scores in %, the failure breakdown, and what else was computed, for people."""
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a pipe has no width of its own
    rates = ("det R", "det P", "det H", "spot R", "spot P", "spot H")
    scores = _table("Scores (%)", "gt", "det", *rates)
    failures = _table(
        "What became of the words", *(name.replace("_", " ") for name in Failures._fields)
    )
    intervals = _table("95% intervals of hmean (%)", "det H", "spot H")
    thresholds = _table("Best confidence threshold", "threshold", "det H", "spot H")
    for case in report.cases:
        name = (case.task, case.lexicon, f"{case.iou:g}")
        scores.add_row(
            *name,
            str(case.counts.num_gt_care),
            str(case.counts.num_det),
            *(_percent(value) for value in (*case.detection, *case.spotting)),
        )
        failures.add_row(*name, *map(str, case.failures))
        if case.intervals is not None:
            ranges = (case.intervals["det_hmean"], case.intervals["spot_hmean"])
            intervals.add_row(
                *name, *(f"{_percent(low)}..{_percent(high)}" for low, high in ranges)
            )
        best = None if case.curve is None else case.curve.best()
        if best is not None:
            hmeans = (_percent(best["det_hmean"]), _percent(best["spot_hmean"]))
            thresholds.add_row(*name, f"{best['threshold']:.6g}", *hmeans)
    for table in (scores, failures, intervals, thresholds):
        if table.row_count:
            console.print(table)
    if report.missing_images:
        console.print(missing_note(report), style="yellow", highlight=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("task", no_wrap=True)
    table.add_column("lexicon", no_wrap=True)
    for column in ("IoU", *columns):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
