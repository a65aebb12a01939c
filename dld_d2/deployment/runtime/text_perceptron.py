"""Text Perceptron by its networks; `TextPerceptronSpotter.find` without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime

from dld_d2.deployment.runtime.attention_decoder import read_words
from dld_d2.modeling.spotters.text_perceptron.cells import RULES
from dld_d2.modeling.spotters.text_perceptron.found_words import outlines_of, words_of_cells
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["TextPerceptronReader"]


class TextPerceptronReader:
    """Finds and reads the words of an image.

    Args:
        networks: "detector", "encoder" and "decoder", see
            `dld_d2.modeling.spotters.text_perceptron.onnx_graphs`.
        settings: of the spotter, see `TextPerceptronSpotter.onnx`.
        characters: of the vocabulary.

    Attributes:
        score_threshold: see `OnnxSpotter.score_threshold`.
    """

    def __init__(
        self,
        networks: Mapping[str, onnxruntime.InferenceSession],
        settings: Mapping[str, Any],
        characters: str,
    ) -> None:
        self._networks = networks
        self.score_threshold = settings["score_threshold"]
        self._rule = RULES[settings["targets"]]
        self._bond_threshold = settings["bond_threshold"]
        self._max_words = settings["max_words"]
        self._max_length = settings["max_length"]
        self._vocabulary = Vocabulary(characters)

    def __call__(
        self, image: np.ndarray, size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, str, float, float]]:
        """
        Args:
            image: (1, 3, H, W) float32, normalised and padded.
            size: height and width without padding.

        Yields:
            For each word its polygon (14, 2) in pixels, its text, the confidence of that, and the
            confidence that there is text.
        """
        cells, feature = self._networks["detector"].run(None, {"image": image})
        words = words_of_cells(
            cells.astype(np.float64),
            size,
            self._rule,
            self._bond_threshold,
            self.score_threshold,
            self._max_words,
        )
        if not len(words.scores):
            return
        memory = self._networks["encoder"].run(None, {"feature": feature, "sides": words.sides})
        texts, scores = read_words(
            self._networks["decoder"], *memory, self._vocabulary, self._max_length
        )
        yield from zip(outlines_of(words, size), texts, scores, words.scores.tolist(), strict=True)
