"""COCO's average precision of what was found, whatever it says."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dld_d2.engine.evaluation.found_words import WordsEvaluator
from dld_d2.engine.evaluation.part import Summary
from dld_d2.structures.word import DONT_CARE, Word

__all__ = ["AveragePrecisionEvaluator"]

_KINDS = {"box": "bbox", "mask": "segm"}
# Places in COCOeval.stats.
_NAMES = {"ap": 0, "ap50": 1, "ap75": 2, "ap_small": 3, "ap_medium": 4, "ap_large": 5}


class AveragePrecisionEvaluator(WordsEvaluator):
    """Average precision of boxes and of masks by the protocol of COCO, by pycocotools.

    Metrics, fractions of 1: `box_ap`, over the IoU thresholds 0.5 to 0.95, `box_ap50` and
    `box_ap75` at one of them, `box_ap_small`, `..._medium` and `..._large` of words of less than
    32 x 32 pixels, up to 96 x 96, and more; `mask_ap` and so on. Where there is no word of a size
    the metric is left out. Don't-care regions are what COCO calls crowds: what lies in them counts
    for nothing. At most 100 words of an image count, those with the best scores.

    A mask is the polygon of a word, filled, and a box is its bounding box.

    Args:
        sizes: image id -> height and width in pixels; needed in the main process.
        truth: image id -> words; likewise.
    """

    def __init__(
        self, sizes: Mapping[str, tuple[int, int]], truth: Mapping[str, Sequence[Word]]
    ) -> None:
        self._sizes = sizes
        self._truth = truth
        self.reset()

    def summarize(self, seen: Sequence[dict[str, list[Word]]]) -> Summary:
        found = {name: words for part in reversed(seen) for name, words in part.items()}
        metrics: dict[str, float] = {}
        for name, kind in _KINDS.items():
            metrics |= _metrics(name, self._coco(self._truth, True), self._coco(found, False), kind)
        return Summary(metrics=metrics, table=_table(metrics))

    def _coco(self, words: Mapping[str, Sequence[Word]], annotated: bool) -> COCO:
        """Words as COCO's files have them. A result that reads like don't-care is none."""
        annotations: list[dict[str, Any]] = []
        for number, (image, size) in enumerate(self._sizes.items(), start=1):
            for word in words.get(image, ()):
                polygon = np.asarray(word.polygon, dtype=np.float64)
                low, high = polygon.min(axis=0), polygon.max(axis=0)
                (mask,) = rle.frPyObjects([polygon.ravel().tolist()], *size)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": 1,
                        "bbox": [*low, *(high - low)],
                        "segmentation": mask,
                        "area": float(rle.area(mask)),
                        "iscrowd": int(annotated and word.text == DONT_CARE),
                        "score": 1.0 if word.score is None else float(word.score),
                    }
                )
        images = [
            {"id": number, "height": height, "width": width}
            for number, (height, width) in enumerate(self._sizes.values(), start=1)
        ]
        coco = COCO()
        coco.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "text"}],
        }
        with _silence():
            coco.createIndex()
        return coco


def _silence() -> contextlib.redirect_stdout:
    """pycocotools prints what it does."""
    return contextlib.redirect_stdout(io.StringIO())


def _metrics(name: str, truth: COCO, detections: COCO, kind: str) -> dict[str, float]:
    with _silence():
        evaluation = COCOeval(truth, detections, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = {f"{name}_{key}": float(evaluation.stats[place]) for key, place in _NAMES.items()}
    # -1 stands for "there is none to be found".
    return {key: value for key, value in values.items() if value >= 0}


def _table(metrics: Mapping[str, float]) -> str:
    lines = []
    for name in _KINDS:
        values = [
            f"{key.removeprefix(name + '_')} {100 * value:.1f}"
            for key, value in metrics.items()
            if key.startswith(f"{name}_")
        ]
        lines.append(f"COCO, {name}: {', '.join(values) or 'no words to find'}")
    return "\n".join(lines)
