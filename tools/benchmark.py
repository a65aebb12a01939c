#!/usr/bin/env python3
"""How fast this project is, most of it as ratios of things measured side by side.

    python tools/benchmark.py all --config-file configs/Base-DLD-R50-FPN.yaml --size 896 1344

docs/benchmarks.md says what is measured, and what was seen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dld_d2.commands.arguments import described_parser
from dld_d2.commands.main import run_command

COMMANDS = {
    "train": ("benchmark_suite.models:train", "a training step, against the released scheme's"),
    "inference": ("benchmark_suite.models:inference", "reading, at each scale"),
    "memory": ("benchmark_suite.models:memory", "peak memory of a training step"),
    "terms": ("benchmark_suite.terms:main", "a training step with each term of distillation"),
    "all": ("benchmark_suite.models:all_three", "these three"),
    "evaluation": ("benchmark_suite.evaluation:main", "scoring, against a plain implementation"),
    "photographs": ("benchmark_suite.photographs:main", "readers of photographs, side by side"),
    "index": ("benchmark_suite.index:main", "loading an index of SynthText's size"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark that the first argument names; returns its exit status."""
    return run_command(described_parser(__doc__), COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
