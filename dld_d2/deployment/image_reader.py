"""Reading images, whole or in tiles, one or many, whatever it is that finds their words.

`TextSpotter` does so by PyTorch, `dld_d2.deployment.runtime.OnnxSpotter` without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from math import ceil, isfinite
from typing import Any, Protocol

import numpy as np

from dld_d2.data.images import ImageLike, describe_image, reduced_bgr
from dld_d2.deployment.batches import check_several, run_in_batches
from dld_d2.deployment.budget import Budget, choose_cost_bias
from dld_d2.deployment.parts import (
    Looks,
    NothingToReadError,
    Part,
    PartsOfImage,
    all_together,
    parts_of_chips,
    whole_image,
)
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.runtime.resizing import resize_uint8
from dld_d2.deployment.scale_prior import check_scale_prior
from dld_d2.deployment.tiles import check_tiles, tile_boxes, tile_side
from dld_d2.structures.sizes import TooThinError, full_size

__all__ = ["ImageReader", "SelectorPolicy", "check_score_threshold"]

# A JPEG file is decoded at a reduced size that is no smaller than this many times what it is read
# at.
_LEAST_REDUCTION = 2.0

_EITHER = (
    "an image is read in tiles, for words that are too small at its full resolution, or in the "
    "parts that a look at it finds (focus), for less time; not both: set the other to None first"
)


class SelectorPolicy(Protocol):
    """What chooses scales by a selector's logits, with a prior added, and a cost bias."""

    cost_bias: float
    prior: np.ndarray | None


class ImageReader(ABC):
    """Finds and transcribes the words of images.

    Args:
        sizes: to which images are scaled: `INPUT.MIN_SIZE_TEST`, or 0 for images that are left as
            they are, and `INPUT.MAX_SIZE_TEST`.
        image_format: order of the channels that the model takes, "BGR" or "RGB".
        tiles: see the property.
        focus: see the property.

    Raises:
        ValueError: as `tiles` and `focus` do.
    """

    out_of_memory: type[Exception] = MemoryError
    """What running a batch raises that the device's memory does not hold."""

    def __init__(
        self,
        sizes: tuple[int, int],
        image_format: str,
        tiles: int | str | None,
        focus: Looks | None = None,
    ) -> None:
        self._focus: Looks | None = None
        self.tiles = tiles
        self.focus = focus
        self._sizes = sizes
        self._image_format = image_format

    @property
    @abstractmethod
    def scales(self) -> tuple[float, ...]:
        """The candidate scales; 1 alone for a model that does not choose."""

    @property
    @abstractmethod
    def score_threshold(self) -> float:
        """The least detection score of words that are found, in [0, 1]; as configured until set."""

    @score_threshold.setter
    @abstractmethod
    def score_threshold(self, value: float) -> None: ...

    @property
    def cost_bias(self) -> float:
        """How much cost weighs: this times a scale's relative cost is subtracted from its logit.

        Above 0 the spotter becomes cheaper, below 0 more accurate, than it was trained to be.

        Raises:
            ValueError: if the model does not choose scales by a selector, or on setting what is
                not a finite number.
        """
        return self._policy().cost_bias

    @cost_bias.setter
    def cost_bias(self, value: float) -> None:
        if not isfinite(value):
            raise ValueError(f"a cost bias must be a finite number, got {value}")
        self._policy().cost_bias = float(value)

    @property
    def scale_prior(self) -> np.ndarray | None:
        """What is known of the scales before an image is looked at, (k,) float32: added to the
        selector's logits, so that they are log probabilities but for a constant. None for nothing.

        Raises:
            ValueError: if the model does not choose scales by a selector, or on setting another
                number of values, or such as are not finite.
        """
        return self._policy().prior

    @scale_prior.setter
    def scale_prior(self, value: np.ndarray | None) -> None:
        policy = self._policy()
        policy.prior = check_scale_prior(value, len(self.scales))

    @property
    def tiles(self) -> int | str | None:
        """Whether large images are read in tiles.

        - None: every image is read as a whole, scaled to the configured size.
        - "auto": images that would be read at less than half their size are also cut into tiles
          that are read at half of it or more.
        - a number: images that are longer than that are also cut into tiles of that side, in
          pixels.

        Tiles overlap by a quarter of their side, and each is read like an image of its own, at a
        scale of its own. The image is read as a whole, too, for words that are larger than a tile.
        Of what several of them found one is kept, and pieces of words, at the border of a tile,
        only where nothing else was found. All that multiplies the cost.

        Raises:
            ValueError: on setting what is none of the three, since a side is at least 64; and on
                setting tiles for a reader that has a `focus`.
        """
        return self._tiles

    @tiles.setter
    def tiles(self, value: int | str | None) -> None:
        value = check_tiles(value)
        if value is not None and self._focus is not None:
            raise ValueError(_EITHER)
        self._tiles = value

    @property
    def focus(self) -> Looks | None:
        """What looks at an image first and says which parts of it to read, and at which scale: a
        `dld_d2.deployment.runtime.Focus`. None: all of it is read.

        Parts, *chips*, are read like images of their own, and what a chip's border cuts is left
        out. `SpottingResult.tiles` has them. A selector, if there is one, chooses for each.

        Raises:
            ValueError: on setting one for a reader that reads in `tiles`.
        """
        return self._focus

    @focus.setter
    def focus(self, value: Looks | None) -> None:
        if value is not None and self._tiles is not None:
            raise ValueError(_EITHER)
        self._focus = value

    def __call__(self, image: ImageLike) -> SpottingResult:
        """Read an image.

        Args:
            image: a file, what it holds as bytes, a Pillow image, or an array of uint8 or uint16:
                (H, W, 3) in BGR, (H, W, 4) in BGRA, (H, W) or (H, W, 1) in gray. See
                `dld_d2.data.images.as_bgr` for what becomes of them. JPEG files that are far larger
                than they are read at are decoded at reduced size.

        Raises:
            OSError: naming the file, if it cannot be read as an image.
            ValueError: for an array of another shape or type, for anything else, and for an image
                that is so long and thin that nothing is left of its short side.
            TypeError: for several images.
        """
        if isinstance(image, list | tuple):
            raise TypeError(
                f"one image is read at a time, got a {describe_image(image)}; `predict_many` reads "
                "several"
            )
        parts: deque[PartsOfImage] = deque()
        results = [result for item in self._inputs([image], parts) for result in self._spot([item])]
        return parts.pop().together(results)

    def predict_many(
        self, images: Iterable[ImageLike], batch_size: int = 8
    ) -> Iterator[SpottingResult | Exception]:
        """Read images in batches of similar sizes; those of equal scale run together.

        Args:
            images: each as `__call__` takes it; they are read as results are asked for.
            batch_size: images, or tiles of them, that run at once, at most.

        Yields:
            For each image in order its result, or, for one that cannot be read, is no image, or
            does not fit into the device's memory even alone, the OSError, ValueError or MemoryError
            that says so. What a word at an image's border is read as may depend, by the padding, on
            the other images of its batch.

        Raises:
            ValueError: for a batch size below 1.
            TypeError: for a single image.
        """
        check_several(images)
        parts: deque[PartsOfImage] = deque()
        inputs = self._inputs(iter(images), parts, keep_errors=True)
        results = run_in_batches(self._spot, _or_raise, inputs, batch_size, self.out_of_memory)
        return all_together(parts, results)

    def scale_logits(
        self, images: Iterable[ImageLike], batch_size: int = 8
    ) -> Iterator[Any | Exception]:
        """What the selector thinks of each image's scales, without a cost bias; nothing is read.

        Images are looked at as a whole, whatever `tiles` is.

        Yields:
            For each image in order (k,) float32, a tensor on the CPU by PyTorch and an array
            without it, or an exception, as `predict_many`.

        Raises:
            ValueError: if the model has no selector, and as `predict_many`.
        """
        self._policy()
        return run_in_batches(self._logits, self._prepare, images, batch_size, self.out_of_memory)

    def set_target_cost(
        self, images: Iterable[ImageLike], target_cost: float, batch_size: int = 8
    ) -> Budget:
        """Set `cost_bias` such that these images, read as a whole, together cost what is wanted.

        Args:
            images: such as those the spotter is meant for; not those it is scored on.
            target_cost: mean of the relative cost; the nearest that is not above it is taken.
            batch_size: images that the selector sees at once.

        Raises:
            ValueError: if no bias reaches the target; the message says what can be reached.
            OSError, ValueError: for the first image that cannot be read.
        """
        logits = []
        for item in self.scale_logits(images, batch_size):
            if isinstance(item, Exception):
                raise item
            logits.append(item)
        return self.set_target_cost_from_logits(logits, target_cost)

    def set_target_cost_from_logits(self, logits: Sequence[Any], target_cost: float) -> Budget:
        """As `set_target_cost`, for images of which `scale_logits` told the logits."""
        self._policy()
        stacked = np.stack([np.asarray(row) for row in logits]) if logits else np.empty((0, 0))
        budget = choose_cost_bias(stacked, self._relative_cost(), target_cost)
        self.cost_bias = budget.cost_bias
        return budget

    # What those who derive from this do.

    @abstractmethod
    def _selector_policy(self) -> SelectorPolicy | None:
        """What chooses; None if no selector does."""

    @abstractmethod
    def _relative_cost(self) -> np.ndarray:
        """(k,) float32, of the candidate scales."""

    @abstractmethod
    def _spot(self, inputs: list[dict[str, Any]]) -> list[SpottingResult]:
        """A result for each input, see `_input`."""

    @abstractmethod
    def _logits(self, inputs: list[dict[str, Any]]) -> list[Any]:
        """See `scale_logits`."""

    def _policy(self) -> SelectorPolicy:
        policy = self._selector_policy()
        if policy is None:
            raise ValueError(
                "this model has no resolution selector (it reads every image at one scale), so "
                "that neither a cost bias nor a target cost applies to it"
            )
        return policy

    def _inputs(
        self,
        images: Iterable[ImageLike],
        parts: deque[PartsOfImage],
        *,
        keep_errors: bool = False,
    ) -> Iterator[dict[str, Any] | Exception]:
        """What the model takes for each image: one item, or one for each part that is read.

        Args:
            images: as `__call__` takes them.
            parts: gets, for each image, what part of it each item is.
            keep_errors: put an exception in the place of an image that cannot be read, and of one
                of which nothing is.
        """
        for image in images:
            try:
                name = describe_image(image)
                array, size = reduced_bgr(image, self._least_size)
                found = self._parts(array, size, name)
            except (OSError, ValueError) as error:
                if not keep_errors:
                    raise
                parts.append(whole_image((0, 0)))
                yield error
                continue
            parts.append(found)
            if keep_errors and not found.parts:
                yield NothingToReadError(name)
            for part in found.parts:
                try:
                    item = self._input_of(part, array, size, name)
                except TooThinError as error:
                    if not keep_errors:
                        raise
                    item = error
                yield item

    def _parts(self, array: np.ndarray, size: tuple[int, int], name: str) -> PartsOfImage:
        """
        Args:
            array: (h, w, 3) uint8 in BGR, the image, perhaps at a reduced size.
            size: its height and width.
            name: for messages.
        """
        if self.focus is not None:
            full = self._full(size, name)
            return parts_of_chips(self.focus.chips(array, full), size, full)
        side = tile_side(*size, self.tiles, *self._sizes)
        return whole_image(size, tile_boxes(*size, side) if side is not None else ())

    def _input_of(
        self, part: Part, array: np.ndarray, size: tuple[int, int], name: str
    ) -> dict[str, Any]:
        """The item of a part, see `_inputs` and `_parts`."""
        x0, y0, x1, y1 = part.box
        # Less than 1 where the image was decoded at a reduced size.
        ratio = np.array([array.shape[1] / size[1], array.shape[0] / size[0]] * 2)
        left, top, right, bottom = np.rint(ratio * part.box).astype(int).tolist()
        cut = array[top : max(bottom, top + 1), left : max(right, left + 1)]
        return self._input(cut, (y1 - y0, x1 - x0), name, part.size)

    def _least_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """See `reduced_bgr`."""
        if tile_side(*size, self.tiles, *self._sizes) is not None:
            return None
        try:
            full = full_size(size, *self._sizes)
        except TooThinError:
            return None
        return tuple(ceil(_LEAST_REDUCTION * side) for side in full)

    def _prepare(self, image: ImageLike) -> dict[str, Any]:
        array, size = reduced_bgr(image, self._least_size)
        return self._input(array, size, describe_image(image))

    def _input(
        self,
        image: np.ndarray,
        size: tuple[int, int],
        name: str,
        full: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """What is read of an image.

        Args:
            image: (h, w, 3) uint8 in BGR.
            size: its height and width; larger than the array's if it was decoded at reduced size.
            name: for messages.
            full: height and width that it gets; None for the full resolution.

        Returns:
            "image", (3, H, W) uint8 at that resolution, its channels in the model's order; "height"
            and "width" of `size`; "name".

        Raises:
            TooThinError: naming the image.
        """
        if full is None:
            full = self._full(size, name)
        if self._image_format == "RGB":
            image = image[:, :, ::-1]
        image = resize_uint8(np.ascontiguousarray(image), full).transpose(2, 0, 1)
        return {"image": image, "height": size[0], "width": size[1], "name": name}

    def _full(self, size: tuple[int, int], name: str) -> tuple[int, int]:
        try:
            return full_size(size, *self._sizes)
        except TooThinError as error:
            raise TooThinError(f"{name}: {error}") from None


def check_score_threshold(value: float) -> float:
    """The value, if it is one.

    Raises:
        ValueError: if it is not in [0, 1].
    """
    if not 0 <= value <= 1:
        raise ValueError(f"a detection score is in [0, 1], and so is its threshold: {value}")
    return float(value)


def _or_raise(item: dict[str, Any] | Exception) -> dict[str, Any]:
    if isinstance(item, Exception):
        raise item
    return item
