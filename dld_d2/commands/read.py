r"""Read the words in photographs: print them, or write files of all results and pictures of them.
Of documents (PDF, TIFF) all pages are read, of videos the frames that differ.

    dld-d2 read photo.jpg more/*.png
    dld-d2 read PHOTOS --output DIR --format json,csv,rrc
    dld-d2 read PHOTOS --output DIR --model student.pth
    dld-d2 read PHOTOS --output DIR --config-file configs/CONFIG.yaml \
        --opts MODEL.WEIGHTS weights.pth

Without --output the words of each image are printed in reading order, line by line, below its name.
With it the folder gets pictures/ with the words drawn in, and for each format a file: results.json;
results.csv, a row for each word; and for rrc submission.zip, which `dld-d2 evaluate` scores, with
polygons as they were found, in a file res_NAME.txt for the image NAME.jpg.

Exit status: 0 if all images were read, 1 if some could not be (they are named), 2 if nothing
could be done at all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dld_d2.analysis.visualization import DrawnWord, LegendEntry, add_legend, draw_words
from dld_d2.commands.arguments import (
    IMAGES,
    add_images,
    add_model,
    add_overrides,
    at_least,
    described_parser,
)
from dld_d2.commands.console import messages, progress
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.models import open_reader
from dld_d2.commands.pictures import enlargement, frames_of, write_picture
from dld_d2.commands.results import FORMATS, Reading, UniqueStems, write_results
from dld_d2.data.images import as_bgr
from dld_d2.deployment.image_paths import find_images
from dld_d2.deployment.image_reader import ImageReader
from dld_d2.deployment.pretrained import DEFAULT
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.sources import Source, find_sources, images_of, read_sources
from dld_d2.deployment.tiles import check_tiles
from dld_d2.deployment.video import is_video

__all__ = ["main"]


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    if arguments.output is None:
        return print_words(arguments)
    return write_words(arguments)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    parser.add_argument(
        "images", nargs="*", metavar="PATH", help=f"{IMAGES}; PDF and TIFF files; videos"
    )
    add_images(parser, "--input")
    add_model(parser, "the weights are those that its MODEL.WEIGHTS names", default=DEFAULT)
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="folder for files (default: print the words)"
    )
    parser.add_argument(
        "--format",
        type=formats,
        metavar="NAMES",
        help=f"files in --output: one or more of {','.join(FORMATS)} (default json)",
    )
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        metavar="SCORE",
        help="leave out regions with a lower detection score (default: as configured)",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--cost-bias",
        type=float,
        metavar="B",
        help="how much cost weighs in choosing scales: above 0 cheaper, below 0 more accurate than "
        "trained (default: as configured)",
    )
    budget.add_argument(
        "--target-cost",
        type=float,
        metavar="C",
        help="take the cost bias with which these images cost this much on average, relative to "
        "the full resolution; they are looked at twice",
    )
    parser.add_argument(
        "--tiles",
        type=tiles,
        metavar="SIDE",
        help="read large images in tiles as well, for small words, at a multiple of the cost: auto "
        "for images that would be read at less than half their size, a number for those that are "
        "longer, into tiles of that many pixels, or off (default off)",
    )
    parser.add_argument(
        "--focus",
        metavar="FILE",
        help="look first where there is text, by this network (`dld-d2 export` makes one), and "
        "read nothing else; off reads all (default: as the model does; photo_student looks first)",
    )
    parser.add_argument(
        "--batch-size",
        type=at_least(1),
        default=1,
        metavar="N",
        help="images that run together, faster on a GPU (default 1)",
    )
    parser.add_argument(
        "--frames-per-second",
        type=above_0,
        default=2.0,
        metavar="N",
        help="of a video, that are looked at; those that hardly differ from the last one are not "
        "read again (default %(default).3g)",
    )
    parser.add_argument(
        "--threads",
        type=at_least(1),
        metavar="N",
        help="on the CPU (default: as many as it has cores)",
    )
    parser.add_argument("--no-pictures", action="store_true", help="write no pictures")
    add_overrides(parser)
    # With plain parsing no path could follow an option that follows a path.
    arguments = parser.parse_intermixed_args(argv)
    arguments.images += arguments.input
    threshold = arguments.confidence_threshold
    if not arguments.images:
        parser.error("name the images to read, or folders of them")
    if threshold is not None and not 0 <= threshold <= 1:
        parser.error(f"--confidence-threshold must be between 0 and 1, got {threshold}")
    if arguments.format and arguments.output is None:
        parser.error("--format is of the files in --output DIR, which is missing")
    if arguments.tiles is not None and arguments.target_cost is not None:
        parser.error("--target-cost is for images that are read as a whole, not with --tiles")
    if arguments.tiles is not None and arguments.focus not in (None, "off"):
        parser.error("--focus reads parts of an image, and --tiles all of it and more: not both")
    if not (arguments.model or arguments.config_file):
        arguments.model = DEFAULT
    return arguments


def formats(text: str) -> list[str]:
    """The type of --format."""
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise argparse.ArgumentTypeError(f"there is no format {name!r}; there are {known}")
    return names


def above_0(text: str) -> float:
    """The type of --frames-per-second."""
    value = float(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"must be above 0, and at most 1000, not {text}")
    return value


def tiles(text: str) -> int | str | None:
    """The type of --tiles."""
    if text == "off":
        return None
    try:
        return check_tiles(int(text) if text.lstrip("-").isdigit() else text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"auto, off, or a number of pixels of at least 64, not {text!r}"
        ) from None


def print_words(arguments: argparse.Namespace) -> int:
    """Read all images and print what is written in them; returns the exit status."""
    sources = find_sources(find_images(arguments.images))
    spotter = prepared_spotter(arguments, sources)
    failed = 0
    found = read_sources(spotter, sources, arguments.batch_size, arguments.frames_per_second)
    for number, (source, _, result) in enumerate(found):
        if isinstance(result, Exception):
            failed += 1
            messages.print(str(result), style="red")
            continue
        before = [""] if number > failed else []
        lines = before + [source.name] + ([result.text] if result.text else [])
        print(printable("\n".join(lines)), flush=True)
    return 1 if failed else 0


def printable(text: str) -> str:
    """Text with escapes for what standard output cannot show, as names that are not Unicode."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def write_words(arguments: argparse.Namespace) -> int:
    """Read all images and write what was found; returns the exit status."""
    sources = find_sources(find_images(arguments.images))
    pictures = arguments.output / "pictures"
    try:
        (arguments.output if arguments.no_pictures else pictures).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{arguments.output} cannot be made into a folder: {error}") from error
    spotter = prepared_spotter(arguments, sources)
    readings: list[Reading] = []
    failed: list[dict[str, Any]] = []

    def fail(source: Source, error: Exception) -> None:
        failed.append({"file": source.file, **source.place, "error": str(error)})
        messages.print(str(error), style="red")

    unique = UniqueStems()
    found = read_sources(spotter, sources, arguments.batch_size, arguments.frames_per_second)
    # How many moments a video has is known when it is over.
    total = None if any(is_video(source.file) for source in sources) else len(sources)
    try:
        for source, image, result in progress(found, "Reading", total):
            stem = unique(source.stem)
            if isinstance(result, Exception):
                fail(source, result)
                continue
            picture = None
            try:
                if not arguments.no_pictures:
                    picture = f"{pictures.name}/{stem}.jpg"
                    drawn = draw_result(as_bgr(image), result)
                    write_picture(arguments.output / picture, drawn)
            except OSError as error:
                fail(source, error)
                continue
            readings.append(Reading(source.file, stem, result, picture, source.place))
    finally:
        # An interrupted run keeps what it has.
        source = {"model": arguments.model, "config_file": arguments.config_file}
        if arguments.focus is not None:
            source["focus"] = arguments.focus
        kinds = arguments.format or ["json"]
        written = write_results(arguments.output, kinds, readings, failed, source)

    number = sum(len(one.result) for one in readings)
    messages.print(
        f"{number} words in {len(readings)} images: {', '.join(map(str, written))}"
        + (f"; {len(failed)} could not be read" if failed else "")
    )
    return 1 if failed else 0


def prepared_spotter(arguments: argparse.Namespace, sources: Sequence[Source]) -> ImageReader:
    """The model that was asked for, with its overrides."""
    spotter = open_reader(
        arguments.model,
        arguments.config_file,
        arguments.opts,
        cost_bias=arguments.cost_bias,
        tiles=arguments.tiles,
        focus=arguments.focus,
        threads=arguments.threads,
        # Words that are printed have standard output for themselves.
        log=arguments.output is not None,
    )
    if arguments.confidence_threshold is not None:
        spotter.score_threshold = arguments.confidence_threshold
    if arguments.target_cost is not None:
        if spotter.focus is not None and len(spotter.scales) > 1:
            raise UsageError(
                "--target-cost: is for images that are read as a whole; add --focus off"
            )
        meet_target(spotter, sources, arguments)
    return spotter


def meet_target(
    spotter: ImageReader, sources: Sequence[Source], arguments: argparse.Namespace
) -> None:
    """Set the cost bias; files that cannot be read are left for the reading to report."""
    for source in sources:
        if is_video(source.file):
            raise UsageError(
                f"{source.file}: --target-cost looks at all images first, and not at videos; give "
                "a --cost-bias"
            )
    images = (image for _, image in images_of(sources) if not isinstance(image, OSError))
    try:
        found = spotter.scale_logits(images, arguments.batch_size)
        found = progress(found, "Choosing", len(sources))
        logits = [item for item in found if not isinstance(item, Exception)]
        if not logits:
            return
        budget = spotter.set_target_cost_from_logits(logits, arguments.target_cost)
    except ValueError as error:
        raise UsageError(f"--target-cost: {error}") from error
    messages.print(f"cost bias {budget.cost_bias:.6g}: mean relative cost {budget.mean_cost:.4f}")


def draw_result(image: np.ndarray, result: SpottingResult) -> np.ndarray:
    """Picture (BGR) of the words, and below it what their numbers are; with frames around the parts
    that were read, if a look found them."""
    drawn = frames_of(result)
    drawn += [DrawnWord(word.polygon, word.text, word.score) for word in result]
    picture = draw_words(image, drawn, enlarge=enlargement(image))
    legend = [LegendEntry("numbers: confidence of the transcription (score)")]
    if result.focused:
        legend.append(LegendEntry("what was read", "grey"))
    return add_legend(picture, legend)
