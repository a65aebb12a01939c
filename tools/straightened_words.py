#!/usr/bin/env python3
r"""Draw words that Text Perceptron found, laid straight as it lays them, and read.

    python tools/straightened_words.py --config-file configs/text_perceptron/tiny/teacher.yaml \
        --output straightened.png MODEL.WEIGHTS output/text_perceptron/tiny_teacher/model_final.pth

Of all words found in the images the most curved ones and the most upright ones are drawn, a row for
each: where it was found, and what its thin-plate spline cuts out of the image, with its reading.
Words that are read right come before others, then those of three letters or more. An annotation,
where there is one, tells how curved and how upright a word is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from detectron2.utils.logger import setup_logger

from dld_d2.analysis.straightened import bend, sides_of_outline, straighten, uprightness
from dld_d2.analysis.visualization import DrawnWord, below_each_other, draw_words, side_by_side
from dld_d2.commands.arguments import add_model, add_overrides, at_least, described_parser
from dld_d2.commands.console import messages, progress
from dld_d2.commands.datasets import open_text_dataset
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.commands.models import open_spotter
from dld_d2.commands.pictures import write_picture
from dld_d2.data.mapper import load_image
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.evaluation.geometry import compute_overlaps
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.text_perceptron.spotter import TextPerceptronSpotter
from dld_d2.structures.sides import word_sides

_SCENE = 640  # pixels of a scene's longer side in the picture
_WORD = (96, 384)  # of a word laid straight: the reader's 8 x 32 cells
_LETTERS = 3  # of fewer the bend says little


class Found(NamedTuple):
    """A word.

    Attributes:
        image: index of its image in the data set.
        polygon: (14, 2) in the image's pixels.
        text: as it was read.
        truth: as it is annotated; None where no annotation has its place.
        outline: (K, 2) as annotated there, or as found.
    """

    image: int
    polygon: np.ndarray
    text: str
    truth: str | None
    outline: np.ndarray

    @property
    def right(self) -> bool:
        return self.truth is not None and self.text.lower() == self.truth.lower()


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    add_model(parser, "its weights are MODEL.WEIGHTS")
    parser.add_argument("--output", required=True, metavar="FILE", type=Path, help=".png or .jpg")
    parser.add_argument(
        "--dataset", metavar="NAME", help="registered data set (default: first of DATASETS.TEST)"
    )
    parser.add_argument(
        "--num", type=at_least(1), default=100, metavar="N", help="images, its first (default 100)"
    )
    for kind in ("curved", "upright"):
        parser.add_argument(
            f"--{kind}", type=at_least(0), default=1, metavar="N", help=f"{kind} words (default 1)"
        )
    add_overrides(parser, "opts")
    return parser.parse_args(argv)


def find_words(spotter: TextSpotter, index: int, given: dict[str, Any]) -> Iterator[Found]:
    """The words of an image of a data set."""
    words = list(spotter(load_image(given, "BGR")))
    annotated = [a for a in given.get("annotations", []) if not a["ignore"]]
    polygons = [np.reshape(a["segmentation"][0], (-1, 2)) for a in annotated]
    (overlaps,) = compute_overlaps([polygons], [[word.polygon for word in words]])
    at = {
        number: truth
        for truth, number, iou in zip(
            overlaps.gt_index, overlaps.det_index, overlaps.ious, strict=True
        )
        if iou > 0.5
    }
    for number, word in enumerate(words):
        polygon, truth = np.asarray(word.polygon), at.get(number)
        text, outline = (
            (None, polygon) if truth is None else (annotated[truth]["text"], polygons[truth])
        )
        yield Found(index, polygon, word.text, text, outline)


def best(
    words: Sequence[Found], measure: Callable[[np.ndarray], float], number: int
) -> list[Found]:
    """The words with the largest values."""

    def rank(word: Found) -> tuple[bool, bool, float]:
        return word.right, len(word.text) >= _LETTERS, measure(word_sides(word.outline))

    return sorted(words, key=rank, reverse=True)[:number]


def draw_word(word: Found, image: np.ndarray, kind: str) -> np.ndarray:
    """A row: the scene with the word's outline, and the word laid straight."""
    scale = _SCENE / max(image.shape[:2])
    scene = draw_words(image, [DrawnWord(word.polygon, word.text)], enlarge=scale)
    straight = straighten(image, sides_of_outline(word.polygon), _WORD)
    told = f"read {word.text!r}"
    if word.truth is not None and not word.right:
        told += f", annotated {word.truth!r}"
    return side_by_side([scene, straight], [f"{kind}, found", f"laid straight, {told}"])


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    setup_logger(name="dld_d2", abbrev_name="dld_d2")
    if arguments.output.suffix not in (".png", ".jpg"):
        raise UsageError(f"--output: {arguments.output} ends neither in .png nor in .jpg")
    cfg, spotter = open_spotter(arguments.model, arguments.config_file, arguments.opts)
    model = spotter.model
    kind = type(model.spotter if isinstance(model, DynamicSpotter) else model)
    if kind is not TextPerceptronSpotter:
        raise UsageError(f"a {kind.__name__} does not lay words straight by their two sides")
    name = arguments.dataset or next(iter(cfg.DATASETS.TEST), None)
    if name is None:
        raise UsageError("DATASETS.TEST is empty: name a data set with --dataset")
    dataset = open_text_dataset(cfg, name)
    words = [
        word
        for index in progress(range(min(arguments.num, len(dataset))), "Reading")
        for word in find_words(spotter, index, dataset[index])
    ]
    if not words:
        raise UsageError("no word was found in these images")
    curved = best(words, bend, arguments.curved)
    others = [word for word in words if not any(word is taken for taken in curved)]
    upright = best(others, uprightness, arguments.upright)
    rows = [
        draw_word(word, load_image(dataset[word.image], "BGR"), kind)
        for kind, chosen in (("curved", curved), ("upright", upright))
        for word in chosen
    ]
    if not rows:
        raise UsageError("there is nothing to draw with --curved 0 --upright 0")
    write_picture(arguments.output, below_each_other(rows))
    right = sum(word.right for word in words)
    messages.print(
        f"{len(rows)} of {len(words)} found words in {arguments.output}; {right} are read right"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
