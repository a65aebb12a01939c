#!/usr/bin/env python3
"""The method in three minutes on a CPU, as `make demo` shows it.

Reads synthetic scenes with the small models that come with this project, a teacher and two students
that choose their scale; scores and times them side by side; distils a student for a few steps more;
and writes one page that shows it all, output/demo/index.html. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

# Threads that wait without spinning: a demo is often not alone on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

IMAGES = 100
ITERATIONS = 12
STUDENT = "dld_0.1"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/demo"),
        metavar="DIR",
        help="where the page goes (output/demo); what an earlier demo left there is replaced",
    )
    parser.add_argument(
        "--images",
        type=_at_least(1),
        default=IMAGES,
        metavar="N",
        help=f"scenes of synthetic_test to read, the first N of 500 ({IMAGES})",
    )
    parser.add_argument(
        "--iterations",
        type=_at_least(1),
        default=ITERATIONS,
        metavar="N",
        help=f"of fine-tuning, with 2 images each ({ITERATIONS})",
    )
    return parser.parse_args()


def _at_least(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, not {value}")
        return value

    parse.__name__ = "whole number"
    return parse


class Progress:
    """Says what goes on, and how long it took."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._number = 0
        self._start = self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._start

    def step(self, title: str) -> None:
        self._number += 1
        self._begun = time.monotonic()
        print(f"[{self._number}/{self._steps}] {title}", flush=True)

    def done(self, text: str = "") -> None:
        seconds = time.monotonic() - self._begun
        print(f"      {text + ', ' if text else ''}{seconds:.0f} s", flush=True)

    def counter(self, total: int) -> Callable[[int], None]:
        """Shows a count where a terminal can overwrite its line."""

        def show(done: int) -> None:
            if sys.stdout.isatty():
                end = "\n" if done == total else ""
                print(f"\r      {done}/{total}", end=end, flush=True)

        return show


def make_demo(output: Path, images: int, iterations: int) -> int:
    """Measure, and write the page.

    Returns:
        The exit status: 1 if the fine-tuning failed, which the page then says.
    """
    from demo_page import plots
    from demo_page.fine_tune import FineTuningError, fine_tune
    from demo_page.gallery import choose_scenes, compare, make_exhibit
    from demo_page.measure import (
        MODELS,
        load_lexicons,
        load_models,
        load_scenes,
        read_at_every_scale,
        read_in_turn,
    )
    from demo_page.page import PageData, build_page, headline
    from demo_page.scores import fixed_scales, slide, table_row

    from dld_d2.evaluation import DONT_CARE

    progress = Progress(5)
    progress.step(f"Drawing {images} synthetic scenes")
    scenes = load_scenes(images)
    # Counting multiply-adds makes PyTorch warn of things that do not matter here.
    logging.getLogger("torch").setLevel(logging.ERROR)
    lexicons = load_lexicons()
    spotters = load_models(MODELS, min(scenes[0].image.shape[:2]))
    progress.done()

    progress.step(f"Reading them with {len(spotters)} models, side by side")
    readings = read_in_turn(spotters, scenes, progress.counter(images))
    rows = [table_row(model, scenes, readings[model.key], lexicons) for model in MODELS]
    by_key = {row.model.key: row for row in rows}
    progress.done()

    student = spotters[STUDENT]
    progress.step(f"Reading them at all {len(student.scales)} scales, for the curve")
    sweep = read_at_every_scale(student, scenes, readings[STUDENT], progress.counter(images))
    curve, fixed = slide(scenes, sweep), fixed_scales(scenes, sweep)
    progress.done()

    progress.step(f"Fine-tuning the student for {iterations} iterations")
    folder = output / "fine_tuning"
    shutil.rmtree(folder, ignore_errors=True)
    names = {model.key: model.weights for model in MODELS}
    failure, losses = "", None
    try:
        training = fine_tune(folder, iterations, teacher=names["teacher"], student=names[STUDENT])
        losses = plots.plot_losses(training.losses)
        first, last, _ = training.ends
        progress.done(f"loss {first:.2f} at first, {last:.2f} at last")
    except FineTuningError as error:
        training = failure = str(error)
        progress.done("failed")

    progress.step("Writing the page")
    comparisons = [
        compare(*item) for item in zip(scenes, readings["teacher"], readings[STUDENT], strict=True)
    ]
    others = [row.model for row in rows if row.model.key not in ("teacher", "half", STUDENT)]
    exhibits = [
        make_exhibit(
            scenes[i],
            readings["teacher"][i],
            readings[STUDENT][i],
            comparisons[i],
            other_scales={model.label: readings[model.key][i].scale for model in others},
            why=why,
        )
        for i, why in choose_scenes(scenes, comparisons).items()
    ]
    choosing = [row for row in rows if row.model.key not in ("teacher", "half")]
    page = build_page(
        PageData(
            rows=rows,
            student=by_key[STUDENT],
            num_images=images,
            num_words=sum(word.text != DONT_CARE for scene in scenes for word in scene.truth),
            scales=student.scales,
            pareto=plots.plot_pareto(rows, curve, fixed, by_key[STUDENT]),
            scale_shares=plots.plot_scales(choosing, student.scales),
            training=training,
            losses=losses,
            exhibits=exhibits,
            machine=machine(),
            versions=versions(),
            seconds=progress.seconds,
        )
    )
    path = output / "index.html"
    path.write_text(page, encoding="utf-8")
    progress.done(f"{len(page) / 1e6:.1f} MB")

    print(f"\nDone in {progress.seconds / 60:.1f} minutes, on {images} scenes:")
    for row in choosing:
        print(f"  {headline(row, rows[0])}")
    print(f"\nOpen {path}")
    if failure:
        print(f"make_demo.py: {failure}", file=sys.stderr)
    return 1 if failure else 0


def machine() -> str:
    """What was measured on, for people."""
    import torch

    name = platform.processor() or platform.machine()
    # Other systems than Linux have no such file, and not every CPU has a name.
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    threads = torch.get_num_threads()
    return f"{threads} thread{'' if threads == 1 else 's'} of {name}"


def versions() -> str:
    """What it ran with."""
    import torch

    import dld_d2

    return f"dld_d2 {dld_d2.__version__}, PyTorch {torch.__version__}, Python " + (
        platform.python_version()
    )


def main() -> int:
    arguments = parse_arguments()
    sys.stdout.reconfigure(errors="replace")  # not every terminal has a gamma
    warnings.filterwarnings("ignore")
    output = arguments.output.resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
        return make_demo(output, arguments.images, arguments.iterations)
    except ImportError as error:
        print(f"make_demo.py: {error}; `make demo` sets up what is needed", file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f"make_demo.py: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
