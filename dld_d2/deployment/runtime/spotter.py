"""Read the words of photographs with ONNX Runtime."""

from __future__ import annotations

import os
from importlib import import_module
from math import floor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from dld_d2.deployment.budget import choose_scales
from dld_d2.deployment.image_reader import ImageReader, SelectorPolicy, check_score_threshold
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.runtime.description import FOCUS_FILE, Description
from dld_d2.deployment.runtime.focus import Focus
from dld_d2.deployment.runtime.resizing import resize
from dld_d2.structures.sizes import scaled_size
from dld_d2.structures.word import Word

__all__ = ["OnnxSpotter"]

_KINDS = {
    "mango": "MANGOReader",
    "mask_rcnn": "MaskRCNNReader",
    "pp_ocr": "PPOCRReader",
    "text_perceptron": "TextPerceptronReader",
}


class OnnxSpotter(ImageReader):
    """Finds and transcribes the words of images, as `TextSpotter` does.

        spotter = OnnxSpotter("student_onnx")
        for word in spotter("photograph.jpg"):
            print(word.text)

    Images of a batch run one after the other.

    Attributes:
        description: what the folder says of the model.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        threads: int = 1,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
        cost_bias: float | None = None,
        tiles: int | str | None = None,
        focus: Focus | None = None,
    ) -> None:
        """
        Args:
            folder: that `dld_d2.deployment.onnx_export.save_onnx` wrote.
            threads: within a network; 0 for as many as the CPU has cores.
            providers: of ONNX Runtime, in the order in which they are tried.
            cost_bias: see the property; None leaves it as exported.
            tiles: see the property.
            focus: see the property; None for that of the folder, if it holds one and `tiles` is
                None.

        Raises:
            FileNotFoundError: if there is no such folder, or a network is missing.
            ValueError: naming the file, if one is damaged or of a later version, and as `cost_bias`
                and `tiles` do.
        """
        folder = Path(folder)
        self.description = Description.load(folder)
        super().__init__(
            (self.description.short_side, self.description.long_side),
            self.description.image_format,
            tiles,
            focus,
        )
        if self.description.focuses and focus is None and tiles is None:
            self.focus = Focus(folder / FOCUS_FILE, threads=threads)
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
        self._chooses = choice is not None and choice.fixed is None
        self._bias = SimpleNamespace(cost_bias=choice.cost_bias if choice else 0.0, prior=None)
        self._mean = np.array(self.description.pixel_mean, dtype=np.float32)[:, None, None]
        self._std = np.array(self.description.pixel_std, dtype=np.float32)[:, None, None]
        if cost_bias is not None:
            self.cost_bias = cost_bias

    @property
    def scales(self) -> tuple[float, ...]:
        choice = self.description.choice
        return (1.0,) if choice is None else choice.scales

    @property
    def score_threshold(self) -> float:
        return self._reader.score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self._reader.score_threshold = check_score_threshold(value)

    def _selector_policy(self) -> SelectorPolicy | None:
        return self._bias if self._chooses else None

    def _relative_cost(self) -> np.ndarray:
        return np.array(self.description.choice.relative_cost, dtype=np.float32)

    def _spot(self, inputs: list[dict[str, Any]]) -> list[SpottingResult]:
        return [self._spot_one(item) for item in inputs]

    def _spot_one(self, item: dict[str, Any]) -> SpottingResult:
        full = self._normalised(item)
        scale, cost, view = 1.0, 1.0, full
        if (choice := self.description.choice) is not None:
            index = self._choose(full) if choice.fixed is None else choice.fixed
            scale, cost = choice.scales[index], choice.relative_cost[index]
            view = resize(full, scaled_size(full.shape[1:], scale))
        size = item["height"], item["width"]
        ratio = size[1] / view.shape[2], size[0] / view.shape[1]
        words = tuple(
            Word((polygon * ratio).astype(np.float32), text, score, detection_score)
            for polygon, text, score, detection_score in self._reader(
                self._padded(view), view.shape[1:]
            )
        )
        return SpottingResult(words, size, full.shape[1:], scale, cost)

    def _logits(self, inputs: list[dict[str, Any]]) -> list[np.ndarray]:
        return [self._logits_of(self._normalised(item)) for item in inputs]

    def _normalised(self, item: dict[str, Any]) -> np.ndarray:
        """(3, H, W) float32, at the full resolution."""
        return (np.ascontiguousarray(item["image"]).astype(np.float32) - self._mean) / self._std

    def _padded(self, image: np.ndarray) -> np.ndarray:
        """(1, 3, H, W), both sides multiples of what the networks take; the padding is 0."""
        more = [-side % self.description.multiple for side in image.shape[1:]]
        return np.pad(image, ((0, 0), (0, more[0]), (0, more[1])))[None]

    def _choose(self, full: np.ndarray) -> int:
        logits = self._logits_of(full)[None]
        if self._bias.prior is not None:
            logits = logits + self._bias.prior
        return int(choose_scales(logits, self.cost_bias, self._relative_cost())[0])

    def _logits_of(self, full: np.ndarray) -> np.ndarray:
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
