"""Words found in an image, as users get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dld_d2.deployment.reading_order import reading_order
from dld_d2.structures.word import Word

if TYPE_CHECKING:
    from detectron2.structures import Instances

__all__ = ["SpottingResult", "Tile", "Word", "words_of"]


class Tile(NamedTuple):
    """A part of an image that was read by itself.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the image.
        result: what was found there, in pixels of the part.
    """

    box: tuple[int, int, int, int]
    result: SpottingResult


@dataclass(frozen=True, eq=False)
class SpottingResult(Sequence[Word]):
    """What was found in an image: a sequence of words, most confident detection first.

    Attributes:
        words: the same as a tuple.
        image_size: height and width of the image in pixels.
        input_size: its height and width after resizing, the full resolution for the network.
        scale: of the full resolution at which the words were looked for; 1 for a model that does
            not choose.
        relative_cost: what that scale costs on average, the full resolution's cost being 1 and the
            choice itself not counted. `TextSpotter.cost` counts for this very image.
        tiles: the image as a whole and its tiles, if it was read in tiles; else nothing. Words are
            then those of all tiles, each once; `input_size` is that of the whole image at the full
            resolution of the tiles; `scale` and `relative_cost` are means over the tiles, which
            choose for themselves, weighted by their pixels.
        focused: whether a look at the image said what of it to read (`ImageReader.focus`). `tiles`
            then has the parts that were read, and nothing else, or none at all; `scale` is their
            mean, of the full resolution, and 1 without any; `relative_cost` is what their pixels
            cost.
    """

    words: tuple[Word, ...]
    image_size: tuple[int, int]
    input_size: tuple[int, int]
    scale: float = 1.0
    relative_cost: float = 1.0
    tiles: tuple[Tile, ...] = ()
    focused: bool = False

    @cached_property
    def lines(self) -> tuple[tuple[Word, ...], ...]:
        """The words as people read them: line by line, from left to right.

        Lines come from top to bottom; of columns that stand side by side, or signs, all of the left
        one come first. The image may be rotated by up to some 40 degrees, and lines may be bent. A
        gap that is wider than one and a half times the height of its words begins a new line.
        """
        order = reading_order([word.polygon for word in self.words])
        return tuple(tuple(self.words[i] for i in line) for line in order)

    @property
    def text(self) -> str:
        """What is written in the image, as `lines` has it: a space between words, a line break
        between lines. Words of which nothing was read are left out."""
        lines = (" ".join(word.text for word in line if word.text) for line in self.lines)
        return "\n".join(line for line in lines if line)

    def __getitem__(self, index: Any) -> Any:
        return self.words[index]

    def __len__(self) -> int:
        return len(self.words)


def words_of(instances: Instances) -> tuple[Word, ...]:
    """What a spotter found, as words.

    Args:
        instances: as `Spotter.inference` returns them.

    Returns:
        For each instance a `Word`: `polygon` is float32, `score` the confidence of the
        transcription and `detection_score` the confidence that there is text, both in [0, 1].
    """
    instances = instances.to("cpu")
    return tuple(
        Word(np.asarray(polygon, dtype=np.float32).reshape(-1, 2), text, score, detection_score)
        for polygon, text, score, detection_score in zip(
            instances.pred_polygons,
            instances.pred_texts,
            instances.text_scores.tolist(),
            instances.scores.tolist(),
            strict=True,
        )
    )
