"""Any engine, read at the scale that a selector finds best for each image."""

from __future__ import annotations

import os

from dld_d2.data.images import ImageLike, as_bgr, describe_image
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.runtime.engines import Engine, read_at
from dld_d2.deployment.runtime.scale_selector import ScaleSelector
from dld_d2.structures.sizes import scaled_size

__all__ = ["Dynamic"]


class Dynamic:
    """Finds and transcribes the words of images by an engine, at a scale chosen for each.

        reader = Dynamic(rapidocr(), "selector.onnx")
        for word in reader("photograph.jpg"):
            print(word.text)

    Args:
        engine: a callable from an image to its words, see `dld_d2.deployment.runtime.engines`.
        selector: that was trained for this engine, or its file.
        cost_bias: how many words a reading at the reference scale may cost; None for what the
            selector's file says.
        threads: within the selector, where a file is given.

    Raises:
        FileNotFoundError, ValueError: as `ScaleSelector`.
    """

    def __init__(
        self,
        engine: Engine,
        selector: ScaleSelector | str | os.PathLike[str],
        *,
        cost_bias: float | None = None,
        threads: int = 1,
    ) -> None:
        if not callable(engine):
            raise TypeError(f"an engine is called with an image; a {type(engine).__name__} cannot")
        self.engine = engine
        if not isinstance(selector, ScaleSelector):
            selector = ScaleSelector(selector, threads=threads)
        self.selector = selector
        self.cost_bias = selector.card.cost_bias if cost_bias is None else cost_bias

    def __call__(self, image: ImageLike) -> SpottingResult:
        """Read an image.

        Args:
            image: see `dld_d2.data.images.as_bgr`.

        Returns:
            The words in the engine's order, polygons in pixels of the image; the scale and its
            `relative_cost`.

        Raises:
            OSError: naming the file, if it cannot be read as an image.
            ValueError: for an array of another shape or type, and for anything else; for a cost
                bias that is not finite, and for what is no list of words from the engine.
            TypeError: for several images.
        """
        if isinstance(image, list | tuple):
            raise TypeError(f"one image is read at a time, got a {describe_image(image)}")
        array = as_bgr(image)
        card = self.selector.card
        index = self.selector.choose(self.selector.logits(array), self.cost_bias)
        full = card.sides.full(array.shape[:2])
        scale = card.scales[index]
        words = read_at(self.engine, array, scaled_size(full, scale))
        return SpottingResult(tuple(words), array.shape[:2], full, scale, card.relative_cost[index])
