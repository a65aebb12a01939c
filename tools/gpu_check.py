#!/usr/bin/env python3
"""Whether all of this works on the GPU here, in one report and ten minutes.

    python tools/gpu_check.py --output output/gpu_check

It runs the tests marked `cuda`, `tools/benchmark.py all` with the published model, and a short
distillation on synthetic scenes, each with a part of the time. No data is needed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from gpu_checks.report import describe_machine, report
from gpu_checks.steps import Outcome, run_step, steps_of

from dld_d2.commands.arguments import at_least, described_parser
from dld_d2.commands.console import console
from dld_d2.commands.errors import UsageError, ends_in_one_line


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/gpu_check"),
        metavar="DIR",
        help="folder of report.md and of what the steps write (output/gpu_check)",
    )
    parser.add_argument(
        "--seconds", type=at_least(1), default=570, metavar="N", help="for all steps together (570)"
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="go through it in small on the CPU, which shows that the check itself works",
    )
    parser.add_argument(
        "--steps",
        nargs="+",
        choices=("tests", "benchmark", "training"),
        default=("tests", "benchmark", "training"),
        help="those to run (all)",
    )
    return parser.parse_args(argv)


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 if every step passed, 1 if not, 2 if nothing could be run."""
    arguments = parse_arguments(argv)
    if not arguments.rehearse and not torch.cuda.is_available():
        raise UsageError(
            f"PyTorch {torch.__version__} finds no GPU here; --rehearse goes through the check on "
            "the CPU"
        )
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    console.print(machine)
    steps = [s for s in steps_of(output, rehearse=arguments.rehearse) if s.name in arguments.steps]
    end = time.monotonic() + arguments.seconds
    outcomes: list[Outcome] = []
    for index, step in enumerate(steps):
        shares = sum(other.share for other in steps[index:])
        outcome = run_step(step, max(0.0, end - time.monotonic()) * step.share / shares)
        outcomes.append(outcome)
        (output / f"{step.name}.log").write_text(outcome.output, encoding="utf-8")
        # After each step, so that an interruption leaves what there is.
        text = report(machine, outcomes, steps[index + 1 :], rehearsed=arguments.rehearse)
        (output / "report.md").write_text(text, encoding="utf-8")
        result = "passed" if outcome.passed else "FAILED"
        console.print(f"{step.name}: {result} after {outcome.seconds:.0f} s")
    console.print(f"report: {output / 'report.md'}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
