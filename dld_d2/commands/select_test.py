"""Compare an engine at the scales that a selector chooses, or on the parts of images that a look
finds, with the engine at fixed scales.

    dld-d2 select test --engine rapidocr --selector selector.onnx --images others/ \\
        --readings others.jsonl --gt gt/
    dld-d2 select test --engine rapidocr --focus photo_focus.onnx --images others/ \\
        --readings others.jsonl --gt gt/

Use photographs that the selector has not learnt from. Each is read at all scales in turn, and
looked at by the selector in between; one thread. Choosing takes the time of the reading at the
scale that was chosen, and that of the look. With --focus each is also read in those parts that the
look finds, in turn with the others. What was read is kept in --readings, and with --focus in a file
beside it, so that the command can be stopped and goes on. Without --gt, right is what agrees with
the reading at the reference scale. Neither PyTorch nor Detectron2 is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from dld_d2.commands.arguments import add_images, described_parser
from dld_d2.commands.console import console, messages, progress, table
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.select_arguments import (
    add_engine,
    add_truth,
    engine_and_sides,
    scale,
    truth_of,
)
from dld_d2.data.images import as_bgr
from dld_d2.deployment.any_engine.collecting import collect, cpu_time
from dld_d2.deployment.any_engine.comparison import (
    Interval,
    Measured,
    against_fixed,
    measure,
    oracle,
    ratio,
)
from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.deployment.image_paths import find_images
from dld_d2.deployment.runtime.engines import Engine, NamedEngine, Sides
from dld_d2.deployment.runtime.focus import Focus
from dld_d2.deployment.runtime.focused import Focused
from dld_d2.deployment.runtime.scale_selector import ScaleSelector

__all__ = ["main"]

_LOOKS = 3  # at each image; the fastest counts, since a look is short


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    cv2.setNumThreads(1)
    wall = arguments.clock == "wall"
    engine, sides = engine_and_sides(arguments)
    selector = arguments.selector and ScaleSelector(arguments.selector)
    own = selector_scales(selector, engine, sides, arguments) if selector else []
    scales = sorted({*own, *arguments.scales, arguments.reference})
    files = find_images(arguments.images)
    file = ReadingsFile(arguments.readings, engine.name, sides)
    readings = [(engine.read, scales, file)]
    if arguments.focus is not None:
        readings.append(focused(engine, sides, arguments))
    logits, looks, images, failed = {}, {}, [], 0
    turns = zip(*(collect(read, files, at, into) for read, at, into in readings), strict=True)
    try:
        for one in progress(turns, "Reading", len(files)):
            if errors := [error for error in one if isinstance(error, Exception)]:
                failed += 1
                messages.print(str(errors[0]), style="red")
                continue
            images.append(one[0])
            if selector:
                logits[one[0]], looks[one[0]] = look(selector, one[0], wall=wall)
    finally:
        for _, _, into in readings:
            into.close()
    if not images:
        raise UsageError(f"none of the {len(files)} images could be read")
    truth = truth_of(file, images, arguments)
    measured = measure(file, images, scales, truth, wall=wall)
    choices = {}
    biases = (arguments.cost_bias or [selector.card.cost_bias]) if selector else []
    for bias in biases:
        index = [scales.index(own[selector.choose(logits[image], bias)]) for image in images]
        extra = np.array([looks[image] for image in images])
        choices[f"chosen, bias {bias:.4g}"] = measured.chosen(np.array(index), extra)
    if arguments.focus is not None:
        parts = measure(readings[1][2], images, [arguments.reference], truth, wall=wall)
        name = f"parts, by {arguments.focus.name}"
        choices[name] = parts.chosen(np.zeros(len(images), dtype=int))
    reference = scales.index(arguments.reference)
    look_seconds = np.mean(list(looks.values())) if looks else 0.0
    found = compared(measured, scales, reference, choices, look_seconds)
    show(found, len(images), arguments)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    add_engine(parser)
    add = parser.add_argument
    add("--selector", type=Path, metavar="FILE", help="of `dld-d2 select train`")
    add(
        "--focus",
        type=Path,
        metavar="FILE",
        help="a network that looks first where there is text, such as that of photo_student; "
        "either of the two, or both",
    )
    add(
        "--focus-threshold",
        type=float,
        metavar="P",
        help="probability of text above which a place is read (default: as in the file)",
    )
    add(
        "--text-height",
        type=float,
        metavar="PIXELS",
        help="to which the smallest words of a part are shrunk at most (default: as in the file)",
    )
    add(
        "--together",
        action="store_true",
        help="lay the parts of an image side by side and read them at once, for an engine that "
        "takes long to begin",
    )
    add_images(parser, "--images")
    add("--readings", type=Path, required=True, metavar="FILE", help="JSON lines, kept and used")
    add(
        "--scales",
        nargs="+",
        type=scale,
        default=[],
        metavar="S",
        help="fixed scales to compare with, beside the reference and the selector's",
    )
    add(
        "--cost-bias",
        nargs="+",
        type=float,
        metavar="B",
        help="words that a reading at the reference scale may cost (default: as trained)",
    )
    add_truth(parser)
    add("--output", type=Path, metavar="FILE", help="the figures as JSON")
    arguments = parser.parse_args(argv)
    if not arguments.images:
        parser.error("--images: name the images to read, or folders of them")
    if arguments.selector is None and arguments.focus is None:
        parser.error("name a --selector, or a --focus, to compare with fixed scales")
    of_focus = arguments.focus_threshold, arguments.text_height, arguments.together or None
    if arguments.focus is None and any(value is not None for value in of_focus):
        parser.error("--focus-threshold, --text-height and --together are of a --focus")
    if arguments.selector is None and arguments.cost_bias:
        parser.error("--cost-bias is of a --selector")
    return arguments


def selector_scales(
    selector: ScaleSelector, engine: NamedEngine, sides: Sides, arguments: argparse.Namespace
) -> list[float]:
    """The scales of a selector, if it is for this engine."""
    card = selector.card
    if engine.name != card.engine or sides != card.sides:
        raise UsageError(
            f"{arguments.selector}: is for the engine {card.engine} with --min-side "
            f"{card.sides.min_side} --max-side {card.sides.max_side}"
        )
    if arguments.reference not in card.scales:
        known = ", ".join(f"{one:g}" for one in card.scales)
        raise UsageError(f"--reference {arguments.reference:g} is none of its scales, {known}")
    return list(card.scales)


def focused(
    engine: NamedEngine, sides: Sides, arguments: argparse.Namespace
) -> tuple[Engine, list[float], ReadingsFile]:
    """The engine shown parts of an image alone, the scale at which it sees them, and the file of
    what it reads."""
    focus = Focus(arguments.focus)
    try:
        if arguments.focus_threshold is not None:
            focus.threshold = arguments.focus_threshold
        if arguments.text_height is not None:
            focus.text_height = arguments.text_height
    except ValueError as error:
        raise UsageError(f"--focus: {error}") from None
    digest = hashlib.sha256(arguments.focus.read_bytes()).hexdigest()[:8]
    mark = f"{digest}-{focus.threshold:g}-{focus.text_height:g}"
    if arguments.together:
        mark += "-together"
    # Another look, or another rule, has a file of its own.
    readings = arguments.readings
    file = readings.with_name(f"{readings.stem}.focus-{mark}{readings.suffix}")
    reader = Focused(engine.read, focus, together=arguments.together)
    named = f"{engine.name} on parts by {mark}"
    return reader, [arguments.reference], ReadingsFile(file, named, sides)


def look(selector: ScaleSelector, image: str, *, wall: bool) -> tuple[np.ndarray, float]:
    """The selector's logits for an image in a file, and the seconds that they take."""
    array = as_bgr(image)
    clock = time.perf_counter if wall else cpu_time
    seconds = []
    for _ in range(_LOOKS):
        start = clock()
        logits = selector.logits(array)
        seconds.append(clock() - start)
    return logits, min(seconds)


def compared(
    fixed: Measured,
    scales: Sequence[float],
    reference: int,
    choices: Mapping[str, Measured],
    look_seconds: float,
) -> dict[str, object]:
    """All figures, as JSON has them."""
    full = fixed.chosen(np.full(len(fixed.seconds), reference))

    def row(name: str, one: Measured) -> dict[str, object]:
        counts = one.counts.sum(axis=0)
        return {
            "reader": name,
            "right": int(counts[4]),
            "of": int(counts[0]),
            "false": int(counts[2] - counts[3]),
            "seconds": float(one.seconds.mean()),
            "words_share": ratio(one.right, full.right),
            "time_share": ratio(one.seconds, full.seconds),
        }

    rows = [
        row(f"fixed {one:g}", fixed.chosen(np.full(len(fixed.seconds), i)))
        for i, one in enumerate(scales)
    ]
    for name, one in choices.items():
        best = oracle(fixed, float(one.seconds.mean()), look_seconds)
        rows.append(
            {
                **row(name, one),
                "words_above_fixed": against_fixed(one, fixed),
            }
        )
        rows.append(row("oracle in that time", best))
    return {"look_seconds": float(look_seconds), "readers": rows}


def show(found: Mapping[str, object], num_images: int, arguments: argparse.Namespace) -> None:
    """Print a row for each reader."""
    kind = "truth" if arguments.gt else f"its own reading at scale {arguments.reference:g}"
    rows = table(
        f"{num_images} images; right by {kind}; shares of the reference's, 95% intervals",
        *("reader", "right", "false", "s", "words", "time", "words above fixed in that time"),
        words=("reader",),
    )
    for one in found["readers"]:
        above = one.get("words_above_fixed")
        rows.add_row(
            one["reader"],
            f"{one['right']} of {one['of']}",
            str(one["false"]),
            f"{one['seconds']:.3f}",
            _shown(one["words_share"], "{:.1%}"),
            _shown(one["time_share"], "{:.1%}"),
            _shown(above, "{:+.1f}") if above else "",
        )
    console.print(rows)
    if found["look_seconds"]:
        console.print(f"a look of the selector: {1000 * found['look_seconds']:.1f} ms")


def _shown(interval: Interval, form: str) -> str:
    value, low, high = map(form.format, interval)
    return f"{value} ({low} to {high})"
