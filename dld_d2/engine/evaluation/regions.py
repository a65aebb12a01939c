"""Accuracy of reading where the regions are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dld_d2.engine.evaluation.part import PartEvaluator, Summary
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["RegionEvaluator"]


class RegionEvaluator(PartEvaluator):
    """Lets a spotter read ground-truth regions, out of what it computed to find words.

    Metrics: `rec_accuracy`, `rec_accuracy_ci`, fractions of the regions (don't-care ones and those
    without transcription left out) that are read as they are, with case and without. Of each image
    `regions`: how many of them there are, how many are read as they are, and how many but for case.

    Args:
        model: that is evaluated.
    """

    def __init__(self, model: Spotter | DynamicSpotter) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        # Image id -> regions, those read as they are, and those read so but for case.
        self._counts: dict[str, tuple[int, int, int]] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: with `image_id`, `instances` and `texts`.
            outputs: what the model gave for them.
        """
        new = [
            (item, output)
            for item, output in zip(inputs, outputs, strict=True)
            if str(item["image_id"]) not in self._counts
        ]
        if not new:
            return
        inputs, outputs = map(list, zip(*new, strict=True))
        found = self._model.read_regions(inputs, outputs)
        for item, texts in zip(inputs, found, strict=True):
            ignored = item["instances"].gt_ignore.tolist()
            wanted = [t for t, ignore in zip(item["texts"], ignored, strict=True) if not ignore]
            counts = np.zeros(3, dtype=np.int64)
            for want, text in zip(wanted, texts, strict=True):
                if want:  # some data sets have legible words that nobody transcribed
                    counts += (1, text == want, text.lower() == want.lower())
            self._counts[str(item["image_id"])] = tuple(counts.tolist())

    def seen(self) -> dict[str, tuple[int, int, int]]:
        return self._counts

    def summarize(self, seen: Sequence[dict[str, tuple[int, int, int]]]) -> Summary:
        counts = {name: found for part in seen for name, found in part.items()}
        total, exact, caseless = np.sum([*counts.values(), (0, 0, 0)], axis=0).tolist()
        if total == 0:
            return Summary()
        return Summary(
            metrics={"rec_accuracy": exact / total, "rec_accuracy_ci": caseless / total},
            images={name: {"regions": list(found)} for name, found in counts.items()},
        )
