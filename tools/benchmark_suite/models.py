"""How fast training and reading are, as ratios of things measured side by side.

    python tools/benchmark.py all --config-file configs/Base-DLD-R50-FPN.yaml --size 896 1344

No weights, data or GPU are needed. docs/benchmarks.md says what is measured, and what was seen.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmark_suite import report
from benchmark_suite.inference import measure_inference, measure_selector
from benchmark_suite.machine import processor_name
from benchmark_suite.memory import measure_memory
from benchmark_suite.training import compare_losses, measure_training
from benchmark_suite.workload import Workload
from dld_d2.commands.arguments import add_overrides, at_least, described_parser
from dld_d2.commands.console import console
from dld_d2.commands.errors import ends_in_one_line

__all__ = ["all_three", "inference", "machine", "memory", "parse_arguments", "train"]


@ends_in_one_line()
def main(measurements: Sequence[str], argv: Sequence[str] | None) -> int:
    """Run a command; returns the exit status.

    Args:
        measurements: what it measures, of "train", "inference" and "memory".
        argv: its arguments.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(arguments.threads)
    figures = measure(measurements, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


train = functools.partial(main, ("train",))
inference = functools.partial(main, ("inference",))
memory = functools.partial(main, ("memory",))
all_three = functools.partial(main, ("train", "inference", "memory"))


def parse_arguments(
    argv: Sequence[str] | None, description: str | None = __doc__
) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(description)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="configuration (YAML)")
    parser.add_argument(
        "--size",
        nargs=2,
        type=at_least(64),
        default=(512, 896),
        metavar=("H", "W"),
        help="full resolution in pixels (default: 512 896)",
    )
    for option, default, unit in (
        ("batch", 2, "photographs per training step"),
        ("words", 10, "words per photograph in training"),
        ("repeats", 5, "rounds that count, after one that does not"),
        ("threads", 1, "CPU threads"),
    ):
        parser.add_argument(
            f"--{option}",
            type=at_least(1),
            default=default,
            metavar="N",
            help=f"{unit} ({default})",
        )
    parser.add_argument(
        "--scale", type=float, default=0.5, metavar="S", help="of the student in training (0.5)"
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: time that this process had on a CPU, for a machine with other work (with one "
        "thread and no GPU)",
    )
    parser.add_argument(
        "--precision",
        choices=("bfloat16", "float16"),
        help="measure training steps of reduced precision, too",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    add_overrides(parser)
    arguments = parser.parse_args(argv)
    if arguments.clock == "cpu" and arguments.threads > 1:
        parser.error("--clock cpu adds up the time of all threads; take --threads 1")
    return arguments


def measure(measurements: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for and print it.

    Returns:
        All figures.
    """
    workload = Workload(
        size=tuple(arguments.size),
        batch=arguments.batch,
        words=arguments.words,
        scale=arguments.scale,
        repeats=arguments.repeats,
    )
    what = (arguments.config_file, arguments.opts, workload)
    figures: dict[str, Any] = {"machine": machine(arguments), "workload": vars(workload)}
    console.print(f"{figures['machine']}\n{workload}")
    if "train" in measurements:
        precision = arguments.precision and getattr(torch, arguments.precision)
        figures["losses"] = compare_losses(*what)
        report.print_losses(figures["losses"])
        figures["train"] = measure_training(*what, clock=arguments.clock, precision=precision)
        report.print_training(figures["train"])
    if "inference" in measurements:
        figures["inference"] = measure_inference(*what, clock=arguments.clock)
        report.print_inference(figures["inference"])
        figures["selector"] = measure_selector(*what, clock=arguments.clock)
        report.print_selector(figures["selector"])
    if "memory" in measurements:
        figures["memory"] = measure_memory(*what, threads=arguments.threads)
        report.print_memory(figures["memory"])
    return figures


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": processor_name(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": arguments.threads,
        "clock": arguments.clock,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
