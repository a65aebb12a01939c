"""Pictures of what was found, beside the ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dld_d2.analysis.visualization import (
    DrawnWord,
    LegendEntry,
    add_legend,
    draw_words,
    side_by_side,
)
from dld_d2.data.mapper import load_image
from dld_d2.engine.evaluation.found_words import words_found
from dld_d2.engine.evaluation.part import PartEvaluator, Summary
from dld_d2.evaluation.lexicon import ImageLexicons, Lexicon
from dld_d2.evaluation.scoring import evaluate
from dld_d2.structures.word import DONT_CARE, Word

__all__ = ["PictureEvaluator"]

_LEGEND = [
    LegendEntry("ground truth", "sky"),
    LegendEntry("don't care", "grey", hatched=True),
    LegendEntry("found and read", "green"),
    LegendEntry("found, misread", "orange"),
    LegendEntry("no word there", "vermilion"),
    LegendEntry("numbers: detection scores, by which results are ranked"),
]


class PictureEvaluator(PartEvaluator):
    """Draws some images of a data set; it has no metrics.

    Args:
        images: dictionaries of the data set, by image id.
        truth: words of these images, by image id.
        names: file names without ending, by image id.
        lexicon: by which reading is judged, as (name, lexicon).
        match_iou: overlap that a match needs to exceed.
        folder: where the pictures go.
    """

    def __init__(
        self,
        images: Mapping[str, dict[str, Any]],
        truth: Mapping[str, Sequence[Word]],
        names: Mapping[str, str],
        *,
        lexicon: tuple[str, Lexicon | ImageLexicons | None],
        match_iou: float,
        folder: Path,
    ) -> None:
        self._images = images
        self._truth = {names[name]: truth[name] for name in images}
        self._names = names
        self._lexicon = lexicon
        self._match_iou = match_iou
        self._folder = folder
        self.reset()

    def reset(self) -> None:
        self._words: dict[str, list[Word]] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for item, output in zip(inputs, outputs, strict=True):
            self._words.setdefault(str(item["image_id"]), words_found(output))

    def seen(self) -> dict[str, list[Word]]:
        # Which images are drawn is known in the main process alone.
        return self._words

    def summarize(self, seen: Sequence[dict[str, list[Word]]]) -> Summary:
        found = {name: words for part in reversed(seen) for name, words in part.items()}
        words = {self._names[name]: found.get(name, []) for name in self._images}
        name, lexicon = self._lexicon
        report = evaluate(self._truth, words, ious=self._match_iou, lexicons={name: lexicon})
        results = report.case("end_to_end", name).images
        self._folder.mkdir(parents=True, exist_ok=True)
        for image_id, item in self._images.items():
            image = self._names[image_id]
            match, correct = results[image].match, results[image].correct
            colors = np.full(len(words[image]), "vermilion", dtype=object)
            colors[match.det_dont_care] = "grey"
            colors[match.det_index] = np.where(correct, "green", "orange")
            self._draw(image, item, words[image], colors.tolist())
        return Summary()

    def _draw(self, name: str, item: dict, words: Sequence[Word], colors: Sequence[str]) -> None:
        image = load_image(item, "BGR")
        wanted = [
            DrawnWord(w.polygon, "", None, "grey", hatched=True)
            if w.text == DONT_CARE
            else DrawnWord(w.polygon, w.text, None, "sky")
            for w in self._truth[name]
        ]
        found = [
            DrawnWord(w.polygon, w.text, w.score, color)
            for w, color in zip(words, colors, strict=True)
        ]
        picture = side_by_side(
            [draw_words(image, wanted), draw_words(image, found)], ["ground truth", "result"]
        )
        path = str(self._folder / f"{name}.jpg")
        if not cv2.imwrite(path, add_legend(picture, _LEGEND)):
            raise OSError(f"{path}: cannot be written")
