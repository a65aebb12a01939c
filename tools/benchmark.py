#!/usr/bin/env python3
"""How fast training and reading are, as ratios of things measured side by side.

    python tools/benchmark.py all --config-file configs/Base-DLD-R50-FPN.yaml --size 896 1344

No weights, data or GPU are needed. docs/benchmarks.md says what is measured, and what was seen.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks import report
from benchmarks.inference import measure_inference, measure_selector
from benchmarks.memory import SETTINGS, measure_memory, peak_memory
from benchmarks.training import compare_losses, measure_training
from benchmarks.workload import Workload
from rich.console import Console

MEASUREMENTS = ("train", "inference", "memory", "all")
console = Console(soft_wrap=True, highlight=False)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ratios of speed and memory, side by side.")
    # "peak" is one process of "memory".
    parser.add_argument(
        "measurement", choices=(*MEASUREMENTS, "peak"), metavar="{" + ",".join(MEASUREMENTS) + "}"
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="configuration (YAML)")
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
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
            f"--{option}", type=int, default=default, metavar="N", help=f"{unit} ({default})"
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
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overrides of the configuration; must come last",
    )
    arguments = parser.parse_args(argv)
    for option in ("batch", "words", "repeats", "threads"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option} must be at least 1")
    if min(arguments.size) < 64:
        parser.error("--size must be at least 64 64")
    if arguments.clock == "cpu" and arguments.threads > 1:
        parser.error("--clock cpu adds up the time of all threads; take --threads 1")
    return arguments


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": arguments.threads,
        "clock": arguments.clock,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def make_workload(arguments: argparse.Namespace) -> Workload:
    return Workload(
        size=tuple(arguments.size),
        batch=arguments.batch,
        words=arguments.words,
        scale=arguments.scale,
        repeats=arguments.repeats,
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for and print it.

    Returns:
        All figures.
    """
    what = (arguments.config_file, arguments.opts, workload := make_workload(arguments))
    figures: dict[str, Any] = {"machine": machine(arguments), "workload": vars(workload)}
    console.print(f"{figures['machine']}\n{workload}", markup=False)

    def wanted(measurement: str) -> bool:
        return arguments.measurement in (measurement, "all")

    if wanted("train"):
        precision = arguments.precision and getattr(torch, arguments.precision)
        figures["losses"] = compare_losses(*what)
        report.print_losses(console, figures["losses"])
        figures["train"] = measure_training(*what, clock=arguments.clock, precision=precision)
        report.print_training(console, figures["train"])
    if wanted("inference"):
        figures["inference"] = measure_inference(*what, clock=arguments.clock)
        report.print_inference(console, figures["inference"])
        figures["selector"] = measure_selector(*what, clock=arguments.clock)
        report.print_selector(console, figures["selector"])
    if wanted("memory"):
        figures["memory"] = measure_memory(_process_arguments(arguments), what[1])
        report.print_memory(console, figures["memory"])
    return figures


def _process_arguments(arguments: argparse.Namespace) -> list[str]:
    named = ("batch", "words", "threads", "scale")
    options = [word for n in named for word in (f"--{n}", str(getattr(arguments, n)))]
    size = [str(side) for side in arguments.size]
    return ["--config-file", arguments.config_file, "--size", *size, *options]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(arguments.threads)
    try:
        if arguments.measurement == "peak":
            workload = make_workload(arguments)
            peak = peak_memory(arguments.config_file, arguments.opts, workload, arguments.setting)
            print(json.dumps({"bytes": peak}))
            return 0
        figures = run(arguments)
    except (ValueError, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False)
        return 2
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
