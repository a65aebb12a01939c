"""The words that a model finds, as several evaluators collect them."""

from __future__ import annotations

from typing import Any

from dld_d2.engine.evaluation.part import PartEvaluator
from dld_d2.structures.word import Word

__all__ = ["WordsEvaluator", "words_found"]


class WordsEvaluator(PartEvaluator):
    """One that goes by words: what a process has seen is image id -> words."""

    def reset(self) -> None:
        self._words: dict[str, list[Word]] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: with `image_id`.
            outputs: for each, "instances" with `pred_polygons`, `pred_texts` and `scores`.
        """
        for item, output in zip(inputs, outputs, strict=True):
            self._words.setdefault(str(item["image_id"]), words_found(output))

    def seen(self) -> dict[str, list[Word]]:
        return self._words


def words_found(output: dict[str, Any]) -> list[Word]:
    """The words of a model's output for an image, ranked by the score of their detection."""
    found = output["instances"]
    words = zip(found.pred_polygons, found.pred_texts, found.scores.tolist(), strict=True)
    return [Word(*word) for word in words]
