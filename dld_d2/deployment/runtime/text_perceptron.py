"""Text Perceptron by its networks; `TextPerceptronSpotter.find` without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dld_d2.deployment.runtime.attention_decoder import read_words
from dld_d2.deployment.runtime.network_reader import NetworkReader
from dld_d2.modeling.spotters.text_perceptron.cells import RULES
from dld_d2.modeling.spotters.text_perceptron.found_words import outlines_of, words_of_cells

__all__ = ["TextPerceptronReader"]


class TextPerceptronReader(NetworkReader):
    """By "detector", "encoder" and "decoder"; see `onnx_graphs` of the spotter."""

    def __call__(
        self, image: np.ndarray, size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, str, float, float]]:
        cells, feature = self._networks["detector"].run(None, {"image": image})
        words = words_of_cells(
            cells.astype(np.float64),
            size,
            RULES[self._settings["targets"]],
            self._settings["bond_threshold"],
            self.score_threshold,
            self._settings["max_words"],
        )
        if not len(words.scores):
            return
        memory = self._networks["encoder"].run(None, {"feature": feature, "sides": words.sides})
        texts, scores = read_words(
            self._networks["decoder"], *memory, self._vocabulary, self._settings["max_length"]
        )
        yield from zip(outlines_of(words, size), texts, scores, words.scores.tolist(), strict=True)
