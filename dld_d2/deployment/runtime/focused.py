"""Any engine, shown those parts of an image alone in which there is text."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from dld_d2.data.images import ImageLike, as_bgr, describe_image
from dld_d2.deployment.parts import parts_of_chips
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.runtime.canvas import lay_out, part_of
from dld_d2.deployment.runtime.engines import Engine, Sides, read_at
from dld_d2.deployment.runtime.focus import Focus
from dld_d2.deployment.runtime.resizing import resize_by_area
from dld_d2.structures.word import Word

__all__ = ["Focused"]


class Focused:
    """Finds and transcribes the words of images by an engine that reads the parts with text.

        reader = Focused(rapidocr(), "photo_focus.onnx", sides=Sides(736, 2000))
        for word in reader("photograph.jpg"):
            print(word.text)

    Args:
        engine: a callable from an image to its words, see `dld_d2.deployment.runtime.engines`.
        focus: what looks first, or its file.
        sides: what the full size of an image is; None for its own.
        together: lay the parts side by side and let the engine read them as one image. For one that
            takes long to begin, as a program that is started anew each time. That image is larger
            than all parts together, by the gaps between them; an engine that shrinks what is larger
            than it likes reads worse.
        threads: within the network that looks, where a file is given.

    Raises:
        FileNotFoundError, ValueError: as `Focus`.
    """

    def __init__(
        self,
        engine: Engine,
        focus: Focus | str | os.PathLike[str],
        *,
        sides: Sides | None = None,
        together: bool = False,
        threads: int = 1,
    ) -> None:
        if not callable(engine):
            raise TypeError(f"an engine is called with an image; a {type(engine).__name__} cannot")
        self.engine = engine
        self.focus = focus if isinstance(focus, Focus) else Focus(focus, threads=threads)
        self.sides = Sides() if sides is None else sides
        self.together = together

    def __call__(self, image: ImageLike) -> SpottingResult:
        """Read an image.

        Args:
            image: see `dld_d2.data.images.as_bgr`.

        Returns:
            The words, polygons in pixels of the image, and the parts that were read, as `tiles`;
            `relative_cost` is the share of pixels that was read, without the look.

        Raises:
            OSError: naming the file, if it cannot be read as an image.
            ValueError: for an array of another shape or type, and for anything else; and for what
                is no list of words from the engine.
            TypeError: for several images.
        """
        if isinstance(image, list | tuple):
            raise TypeError(f"one image is read at a time, got a {describe_image(image)}")
        array = as_bgr(image)
        full = self.sides.full(array.shape[:2])
        parts = parts_of_chips(self.focus.chips(array, full), array.shape[:2], full)
        cuts = [np.ascontiguousarray(array[y0:y1, x0:x1]) for (x0, y0, x1, y1), _ in parts.parts]
        sizes = [part.size for part in parts.parts]
        read = self._as_one if self.together and len(cuts) > 1 else self._one_by_one
        words = read(cuts, sizes)
        return parts.together(
            [
                SpottingResult(tuple(found), cut.shape[:2], size)
                for found, cut, size in zip(words, cuts, sizes, strict=True)
            ]
        )

    def _one_by_one(
        self, cuts: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]
    ) -> list[list[Word]]:
        """The words of each part, in its pixels."""
        return [read_at(self.engine, cut, size) for cut, size in zip(cuts, sizes, strict=True)]

    def _as_one(
        self, cuts: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]
    ) -> list[list[Word]]:
        """As `_one_by_one`, by one call of the engine."""
        shown = [resize_by_area(cut, size) for cut, size in zip(cuts, sizes, strict=True)]
        canvas, places = lay_out(shown)
        words: list[list[Word]] = [[] for _ in cuts]
        for word in read_at(self.engine, canvas, canvas.shape[:2]):
            index = part_of(word.polygon, places, sizes)
            if index is None:
                continue
            ratio = np.array(cuts[index].shape[1::-1]) / np.array(sizes[index][::-1])
            polygon = (np.asarray(word.polygon) - places[index]) * ratio
            words[index].append(Word(polygon, word.text, word.score, word.detection_score))
        return words
