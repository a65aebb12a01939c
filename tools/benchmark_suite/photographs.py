r"""Score and time readers of photographs side by side, on the same images, with one thread.

    python tools/benchmark.py photographs --images test/images --gt test/gt \
        --reader photo_teacher photo_teacher@0.5 student.pth rapidocr --output output/scores.json

A reader is the name of a model that comes with the package, the file of an exported one, or a
folder of its networks (`dld-d2 export --format onnx`), which ONNX Runtime reads by. With @S behind
it a student reads at its scale S alone, and any other model of PyTorch's at S of its size; with
+FILE it looks first by that network (`dld-d2 export` of a FocusMap), and with +off not at all.
`rapidocr` is that package with its defaults, but for one thread and boxes of words. Each image is
read by all readers in turn, the first one changing from image to image; what is measured is the
time from the file to its words.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from table_reproduction.measured import Measured, compare, vanilla_at_cost

from benchmark_suite.turns import take_turns
from dld_d2.commands.arguments import described_parser
from dld_d2.commands.console import console, table
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.deployment.image_paths import find_images
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.predictor import SpottingResult, TextSpotter
from dld_d2.deployment.pretrained import find_model, focus_file
from dld_d2.deployment.runtime import Focus, OnnxSpotter
from dld_d2.deployment.runtime.engines import rapidocr_words
from dld_d2.evaluation import Report, evaluate, read_ground_truth
from dld_d2.evaluation.bootstrap import hmean_intervals
from dld_d2.evaluation.lexicon_choice import choose_lexicons
from dld_d2.evaluation.submission import image_id
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.selection.policies import FixedScale
from dld_d2.structures.word import Word

__all__ = ["Reading", "build_reader", "main"]

RAPIDOCR = "rapidocr"
_LEXICONS = "none,strong,weak,generic"
_REPEATS = 2000
_WARM_UP = 3  # images
Reader = Callable[[Path], tuple[list[Word], float]]
"""From a file to its words, and the scale of the full resolution at which they were read."""


class Reading(NamedTuple):
    """What a reader found in an image, at which scale, and in how many seconds."""

    words: list[Word]
    scale: float
    seconds: float


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    truth = read_ground_truth(arguments.gt)
    images = {image_id(file): Path(file) for file in find_images(arguments.images)}
    if missing := sorted(set(truth) - set(images)):
        raise UsageError(f"{arguments.gt}: there is no image of {missing[0]} in --images")
    images = {name: images[name] for name in truth}
    readers = {name: build_reader(name) for name in arguments.reader}
    folders = [str(arguments.lexicons)] if arguments.lexicons else []
    lexicons = choose_lexicons([_LEXICONS if folders else "none"], folders)
    for path in list(images.values())[:_WARM_UP]:
        for read in readers.values():
            read(path)
    readings = take_turns(
        {name: partial(timed, read) for name, read in readers.items()}, list(images.values())
    )
    reports = {
        name: evaluate(
            truth,
            {image: one.words for image, one in zip(images, found, strict=True)},
            lexicons=lexicons,
        )
        for name, found in readings.items()
    }
    print_scores(reports, readings)
    print_comparisons(reports, readings, arguments.reader[0])
    if arguments.output:
        write_results(arguments.output, reports, readings)
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    parser.add_argument("--images", nargs="+", required=True, metavar="PATH")
    parser.add_argument("--gt", type=Path, required=True, help="zip or folder of ground truth")
    parser.add_argument("--lexicons", type=Path, help="folder with strong, weak and generic ones")
    parser.add_argument(
        "--reader",
        nargs="+",
        default=["photo_teacher", RAPIDOCR],
        metavar="NAME",
        help="the others are compared with the first",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON, image by image")
    return parser.parse_args(argv)


def build_reader(name: str) -> Reader:
    """A reader by its name, see this module.

    Raises:
        UsageError: for a scale that is no number in (0, 1], and for `rapidocr` where it is not
            installed.
        FileNotFoundError, ValueError: as `find_model` and `TextSpotter.from_file`.
    """
    if name == RAPIDOCR:
        return _rapidocr()
    model, plus, focus = (name, "", "") if Path(name).exists() else name.rpartition("+")
    model = model if plus else name
    if Path(model).is_dir():
        return _of_networks(model, focus)
    model, at, text = model.partition("@")
    if not plus:
        focus = focus_file(model) or ""
    file, opts = find_model(model), ["MODEL.DEVICE", "cpu"]
    cfg, spotter = load_spotter(file, opts)
    if not at:
        return _of_spotter(TextSpotter(cfg, model=spotter, focus=_focus(focus)), 1.0)
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if isinstance(spotter, DynamicSpotter) and len(spotter.scales) > 1:
        if scale not in spotter.scales:
            known = ", ".join(f"{one:g}" for one in spotter.scales)
            raise UsageError(f"--reader {name}: {text!r} is not one of its scales, {known}")
        spotter.policy = FixedScale(spotter.scales.index(scale), len(spotter.scales))
        return _of_spotter(TextSpotter(cfg, model=spotter, focus=_focus(focus)), 1.0)
    if not 0 < scale <= 1:
        raise UsageError(f"--reader {name}: {text!r} is no scale, which is above 0 and at most 1")
    for key in ("MIN_SIZE_TEST", "MAX_SIZE_TEST"):
        opts += [f"INPUT.{key}", str(round(scale * cfg.INPUT[key]))]
    cfg, spotter = load_spotter(file, opts)
    return _of_spotter(TextSpotter(cfg, model=spotter, focus=_focus(focus)), scale)


def _focus(file: str | Path) -> Focus | None:
    return None if str(file) in ("", "off") else Focus(file)


def _of_networks(folder: str, focus: str) -> Reader:
    reader = OnnxSpotter(folder)
    if focus:
        reader.focus = _focus(focus)
    return _of_spotter(reader, 1.0)


def _of_spotter(spotter: Callable[[Path], SpottingResult], scale: float) -> Reader:
    def read(path: Path) -> tuple[list[Word], float]:
        result = spotter(path)
        return [Word(word.polygon, word.text) for word in result], scale * result.scale

    return read


def _rapidocr() -> Reader:
    try:
        from rapidocr import RapidOCR
    except ImportError:
        raise UsageError("--reader rapidocr: pip install rapidocr==3.10.0 onnxruntime") from None
    threads = "EngineConfig.onnxruntime.{}_op_num_threads"
    engine = RapidOCR(
        params={
            **{threads.format(kind): 1 for kind in ("intra", "inter")},
            "Global.log_level": "error",
        }
    )

    def read(path: Path) -> tuple[list[Word], float]:
        return rapidocr_words(engine(str(path), return_word_box=True)), 1.0

    return read


def timed(read: Reader, path: Path) -> Reading:
    """What a reader finds in a file, and how long that takes."""
    start = time.perf_counter()
    words, scale = read(path)
    return Reading(words, scale, time.perf_counter() - start)


def print_scores(reports: dict[str, Report], readings: dict[str, list[Reading]]) -> None:
    """A row for each reader."""
    lexicons = list(dict.fromkeys(case.lexicon for case in next(iter(reports.values())).cases))
    columns = (
        *("reader", "detection", *(f"e2e {name}" for name in lexicons), "e2e none, 95%"),
        *(f"ws {name}" for name in lexicons),
        *("words right", "false", "mean scale", "ms mean", "median", "p95"),
    )
    rows = table("Photographs", *columns, words=("reader",))
    for name, report in reports.items():
        plain = report.case("end_to_end", "none")
        low, high = hmean_intervals(plain.image_counts, _REPEATS)["spot_hmean"]
        ms = 1000 * np.array([one.seconds for one in readings[name]])
        rows.add_row(
            name,
            _percent(plain.detection.hmean),
            *(_percent(report.case("end_to_end", kind).spotting.hmean) for kind in lexicons),
            f"{_percent(low)} to {_percent(high)}",
            *(_percent(report.case("word_spotting", kind).spotting.hmean) for kind in lexicons),
            f"{plain.counts.num_correct} of {plain.counts.num_gt_care}",
            str(plain.counts.num_det_care - plain.counts.num_matched),
            f"{np.mean([one.scale for one in readings[name]]):.2f}",
            *(f"{value:.0f}" for value in (ms.mean(), np.median(ms), np.quantile(ms, 0.95))),
        )
    console.print(rows)


def print_comparisons(
    reports: dict[str, Report], readings: dict[str, list[Reading]], first: str
) -> None:
    """How the readers differ from the first, and each student from its fixed scales at its time."""
    counts = {}
    for name, report in reports.items():
        counts[name] = report.case("end_to_end", "none").image_counts
    seconds = {name: [one.seconds for one in found] for name, found in readings.items()}
    mean = {name: float(np.mean(values)) for name, values in seconds.items()}
    for name in reports:
        if name != first:
            here, *ends = map(_signed, compare(counts[name], counts[first]))
            console.print(
                f"{name} - {first}: end-to-end {here} points, 95% {' to '.join(ends)}; "
                f"time x {mean[name] / mean[first]:.2f}"
            )
    for name in reports:
        fixed = {
            other: _as_measured(counts[other], seconds[other])
            for other in reports
            if other.startswith(f"{name}@")
        }
        mixture = fixed and vanilla_at_cost(fixed, mean[name], "e2e_none")
        if mixture:
            others, low, high = mixture
            here, *ends = compare(counts[name], others)
            console.print(
                f"{name} - its fixed scales at the same mean time ({low} and {high}): "
                f"{_signed(here)} points, 95% {' to '.join(map(_signed, ends))}"
            )


def _as_measured(counts: np.ndarray, seconds: list[float]) -> Measured:
    empty = np.zeros(len(counts))
    return Measured({}, {"e2e_none": counts.astype(float)}, np.array(seconds), empty, empty, empty)


def write_results(
    file: Path, reports: dict[str, Report], readings: dict[str, list[Reading]]
) -> None:
    """All figures as JSON."""
    results = {}
    for name, report in reports.items():
        rows = report.case("end_to_end", "none").image_counts.tolist()
        images = zip(report.ground_truth, rows, readings[name], strict=True)
        results[name] = report.to_dict() | {
            "images": {
                image: {"counts": row, "seconds": one.seconds, "scale": one.scale}
                for image, row, one in images
            }
        }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}"
