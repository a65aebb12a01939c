"""Read the words of photographs with ONNX Runtime."""

from __future__ import annotations

import os
from importlib import import_module
from math import floor, isfinite
from pathlib import Path

import numpy as np
import onnxruntime

from dld_d2.data.images import ImageLike, as_bgr, describe_image
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.runtime.description import Description
from dld_d2.deployment.runtime.resizing import full_size, resize, resize_uint8
from dld_d2.deployment.scale_prior import check_scale_prior
from dld_d2.structures.sizes import scaled_size
from dld_d2.structures.word import Word

__all__ = ["OnnxSpotter"]

_KINDS = {"pp_ocr": "PPOCRReader"}


class OnnxSpotter:
    """Finds and transcribes the words of images, as `TextSpotter` does.

        spotter = OnnxSpotter("student_onnx")
        for word in spotter("photograph.jpg"):
            print(word.text)

    Attributes:
        description: what the folder says of the model.
        cost_bias: times a scale's relative cost, what is subtracted from the selector's logits:
            above 0 the spotter becomes cheaper, below 0 more accurate.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        threads: int = 1,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        """
        Args:
            folder: that `dld_d2.deployment.onnx_export.save_onnx` wrote.
            threads: within a network.
            providers: of ONNX Runtime, in the order in which they are tried.

        Raises:
            FileNotFoundError: if there is no such folder, or a network is missing.
            ValueError: naming the file, if one is damaged or of a later version.
        """
        folder = Path(folder)
        self.description = Description.load(folder)
        if self.description.kind not in _KINDS:
            raise ValueError(
                f"{folder}: a spotter of the kind {self.description.kind!r} is not known to this "
                "dld_d2; update it"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Else a plan of the memory would be kept for every size of image and number of words.
        options.enable_mem_pattern = False
        networks = {
            name: _session(folder / f"{name}.onnx", options, providers)
            for name in self.description.graphs
        }
        self._selector = networks.pop("selector", None)
        kind = self.description.kind
        module = import_module(f"dld_d2.deployment.runtime.{kind}")
        self._reader = getattr(module, _KINDS[kind])(
            networks, self.description.settings, self.description.characters
        )
        choice = self.description.choice
        self.cost_bias = choice.cost_bias if choice else 0.0
        self._prior: np.ndarray | None = None
        self._mean = np.array(self.description.pixel_mean, dtype=np.float32)[:, None, None]
        self._std = np.array(self.description.pixel_std, dtype=np.float32)[:, None, None]

    def __call__(self, image: ImageLike) -> SpottingResult:
        """Read an image, see `TextSpotter.__call__`.

        Raises:
            OSError: naming the file, if it cannot be read as an image.
            ValueError: for an array of another shape or type, and for anything else.
            TypeError: for several images.
        """
        if isinstance(image, list | tuple):
            raise TypeError(f"one image is read at a time, got a {describe_image(image)}")
        array = as_bgr(image)
        size = array.shape[:2]
        full = self._prepare(array)
        index = self._choose(full)
        scale, cost, view = 1.0, 1.0, full
        if index is not None:
            choice = self.description.choice
            scale, cost = choice.scales[index], choice.relative_cost[index]
            view = resize(full, scaled_size(full.shape[1:], scale))
        ratio = size[1] / view.shape[2], size[0] / view.shape[1]
        words = tuple(
            Word((polygon * ratio).astype(np.float32), text, score, detection_score)
            for polygon, text, score, detection_score in self._reader(
                self._padded(view), view.shape[1:]
            )
        )
        return SpottingResult(words, size, full.shape[1:], scale, cost)

    @property
    def scales(self) -> tuple[float, ...]:
        """See `TextSpotter`."""
        choice = self.description.choice
        return (1.0,) if choice is None else choice.scales

    @property
    def scale_prior(self) -> np.ndarray | None:
        """See `TextSpotter`."""
        if self._selector is None:
            raise ValueError("this model has no resolution selector")
        return self._prior

    @scale_prior.setter
    def scale_prior(self, value: np.ndarray | None) -> None:
        if self._selector is None:
            raise ValueError("this model has no resolution selector")
        self._prior = check_scale_prior(value, len(self.scales))

    def scale_logits(self, image: ImageLike) -> np.ndarray:
        """What the selector thinks of an image's scales, (k,) float32, without a cost bias.

        Raises:
            ValueError: if the model has no selector, and as `__call__`.
        """
        if self._selector is None:
            raise ValueError("this model has no resolution selector")
        return self._logits(self._prepare(as_bgr(image)))

    def _prepare(self, bgr: np.ndarray) -> np.ndarray:
        """(3, H, W) float32, normalised, at the full resolution."""
        description = self.description
        size = full_size(bgr.shape[:2], description.short_side, description.long_side)
        image = bgr if description.image_format == "BGR" else bgr[:, :, ::-1]
        image = resize_uint8(np.ascontiguousarray(image), size)
        image = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32)
        return (image - self._mean) / self._std

    def _padded(self, image: np.ndarray) -> np.ndarray:
        """(1, 3, H, W), both sides multiples of what the networks take; the padding is 0."""
        more = [-side % self.description.multiple for side in image.shape[1:]]
        return np.pad(image, ((0, 0), (0, more[0]), (0, more[1])))[None]

    def _choose(self, full: np.ndarray) -> int | None:
        choice = self.description.choice
        if choice is None or choice.fixed is not None:
            return None if choice is None else choice.fixed
        if not isfinite(self.cost_bias):
            raise ValueError(f"a cost bias must be a finite number, got {self.cost_bias}")
        logits = self._logits(full)
        if self._prior is not None:
            logits = logits + self._prior
        return int((logits - self.cost_bias * np.array(choice.relative_cost)).argmax())

    def _logits(self, full: np.ndarray) -> np.ndarray:
        scale = self.description.choice.input_scale
        size = tuple(max(1, floor(side * scale)) for side in full.shape[1:])
        (logits,) = self._selector.run(None, {"image": resize(full, size, scale)[None]})
        return logits[0]


def _session(
    path: Path, options: onnxruntime.SessionOptions, providers: tuple[str, ...]
) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise FileNotFoundError(f"there is no network at {str(path)!r}; export the model again")
    try:
        return onnxruntime.InferenceSession(path, options, providers=list(providers))
    except Exception as error:  # its errors have no common class
        raise ValueError(f"{path}: ONNX Runtime does not take it: {error}") from None
