"""The method in three minutes on a CPU, as `make demo` shows it.

Reads a few photographs with the spotter of photographs. Then reads synthetic scenes
with small models, a teacher and two students that choose their scale; scores and times them side by
side; distils a student for a few steps more; and writes one page that shows it all,
output/demo/index.html. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import logging
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from benchmark_suite.machine import processor_name
from benchmark_suite.turns import read_in_turn

import dld_d2
from demo_page import plots
from demo_page.fine_tune import FineTuning, FineTuningError, fine_tune
from demo_page.gallery import Exhibit, choose_scenes, compare, make_exhibit
from demo_page.measure import (
    MODELS,
    Reading,
    Scene,
    load_lexicons,
    load_models,
    load_scenes,
    read_at_every_scale,
    read_scene,
)
from demo_page.page import PageData, build_page, headline
from demo_page.photographs import read_photographs, summary
from demo_page.scores import fixed_scales, slide, table_row
from demo_page.steps import Steps
from dld_d2.commands.arguments import at_least, described_parser
from dld_d2.commands.errors import ends_in_one_line
from dld_d2.evaluation import DONT_CARE

__all__ = ["main"]

IMAGES = 100
ITERATIONS = 12
STUDENT = "dld_0.1"
_CHOOSE_NO_SCALE = ("teacher", "half")


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    sys.stdout.reconfigure(errors="replace")  # not every terminal has a gamma
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    return make_demo(output, arguments.images, arguments.iterations)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/demo"),
        metavar="DIR",
        help="where the page goes (output/demo); what an earlier demo left there is replaced",
    )
    parser.add_argument(
        "--images",
        type=at_least(1),
        default=IMAGES,
        metavar="N",
        help=f"scenes of synthetic_test to read, the first N of 500 ({IMAGES})",
    )
    parser.add_argument(
        "--iterations",
        type=at_least(1),
        default=ITERATIONS,
        metavar="N",
        help=f"of fine-tuning, with 2 images each ({ITERATIONS})",
    )
    return parser.parse_args(argv)


def make_demo(output: Path, images: int, iterations: int) -> int:
    """Measure, and write the page.

    Returns:
        The exit status: 1 if the fine-tuning failed, which the page then says.
    """
    steps = Steps(6)
    # Counting multiply-adds makes PyTorch warn of things that do not matter here.
    logging.getLogger("torch").setLevel(logging.ERROR)
    steps.begin("Reading photographs")
    photographs = read_photographs()
    for photograph in photographs:
        print(f"      {summary(photograph)}", flush=True)
    steps.done()

    steps.begin(f"Drawing {images} synthetic scenes")
    scenes = load_scenes(images)
    lexicons = load_lexicons()
    spotters = load_models(MODELS, min(scenes[0].image.shape[:2]))
    steps.done()

    steps.begin(f"Reading them with {len(spotters)} models, side by side")
    readings = read_in_turn(spotters, scenes, read_scene)
    rows = [table_row(model, scenes, readings[model.key], lexicons) for model in MODELS]
    choosing = [row for row in rows if row.model.key not in _CHOOSE_NO_SCALE]
    (shown,) = (row for row in rows if row.model.key == STUDENT)
    steps.done()

    student = spotters[STUDENT]
    steps.begin(f"Reading them at all {len(student.scales)} scales, for the curve")
    sweep = read_at_every_scale(student, scenes, readings[STUDENT])
    curve, fixed = slide(scenes, sweep), fixed_scales(scenes, sweep)
    steps.done()

    steps.begin(f"Fine-tuning the student for {iterations} iterations")
    training = _fine_tune(output / "fine_tuning", iterations)
    failed = isinstance(training, str)
    steps.done(
        "failed" if failed else "loss {:.2f} at first, {:.2f} at last".format(*training.ends)
    )

    steps.begin("Writing the page")
    page = build_page(
        PageData(
            photographs=photographs,
            rows=rows,
            student=shown,
            num_images=images,
            num_words=sum(word.text != DONT_CARE for scene in scenes for word in scene.truth),
            scales=student.scales,
            pareto=plots.plot_pareto(rows, curve, fixed, shown),
            scale_shares=plots.plot_scales(choosing, student.scales),
            training=training,
            losses=None if failed else plots.plot_losses(training.losses),
            exhibits=_exhibits(scenes, readings),
            machine=_machine(),
            versions=_versions(),
            seconds=steps.seconds,
        )
    )
    path = output / "index.html"
    path.write_text(page, encoding="utf-8")
    steps.done(f"{len(page) / 1e6:.1f} MB")

    print(f"\nDone in {steps.seconds / 60:.1f} minutes, on {images} scenes:")
    for row in choosing:
        print(f"  {headline(row, rows[0])}")
    print(f"\nOpen {path}")
    if failed:
        print(f"make_demo.py: {training}", file=sys.stderr)
    return 1 if failed else 0


def _fine_tune(folder: Path, iterations: int) -> FineTuning | str:
    """What it gave, or why it failed."""
    shutil.rmtree(folder, ignore_errors=True)
    weights = {model.key: model.weights for model in MODELS}
    try:
        return fine_tune(folder, iterations, teacher=weights["teacher"], student=weights[STUDENT])
    except FineTuningError as error:
        return str(error)


def _exhibits(scenes: Sequence[Scene], readings: dict[str, list[Reading]]) -> list[Exhibit]:
    teacher, student = readings["teacher"], readings[STUDENT]
    comparisons = [compare(*item) for item in zip(scenes, teacher, student, strict=True)]
    others = [model for model in MODELS if model.key not in (*_CHOOSE_NO_SCALE, STUDENT)]
    return [
        make_exhibit(
            scenes[i],
            teacher[i],
            student[i],
            comparisons[i],
            other_scales={model.label: readings[model.key][i].scale for model in others},
            why=why,
        )
        for i, why in choose_scenes(scenes, comparisons).items()
    ]


def _machine() -> str:
    """What was measured on, for people."""
    threads = torch.get_num_threads()
    return f"{threads} thread{'' if threads == 1 else 's'} of {processor_name()}"


def _versions() -> str:
    """What it ran with."""
    python = platform.python_version()
    return f"dld_d2 {dld_d2.__version__}, PyTorch {torch.__version__}, Python {python}"
