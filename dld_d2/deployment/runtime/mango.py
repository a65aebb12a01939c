"""MANGO by its networks; `MANGOSpotter.find` without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dld_d2.deployment.runtime.network_reader import NetworkReader
from dld_d2.modeling.spotters.mango.found_words import find_words, visible_part

__all__ = ["MANGOReader"]

# Elements of attention (cells x positions x pixels) that are held at once.
_MOST_ELEMENTS = 2**24


class MANGOReader(NetworkReader):
    """By "detector" and "reader"; see `onnx_graphs` of the spotter."""

    def __call__(
        self, image: np.ndarray, size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, str, float, float]]:
        inputs = {"image": image, "size": np.array(size, dtype=np.int64)}
        lines, category, extent, *maps = self._networks["detector"].run(None, inputs)
        rule = {key: value for key, value in self._settings.items() if key != "length"}
        rows, columns = visible_part(size, rule["stride"])
        words = find_words(
            lines[:rows, :columns],
            category,
            extent=tuple(extent),
            **rule,
        ).at_least(self.score_threshold)
        if not len(words.scores):
            return
        classes, probability = self._read(words.cells, maps)
        classes, scores = vote(classes, probability, words.word, words.weight, self._vocabulary.end)
        polygons = np.clip(words.polygons, 0, np.array(size[::-1], dtype=np.float32))
        texts = [self._vocabulary.decode(row) for row in classes.tolist()]
        yield from zip(polygons, texts, scores.tolist(), words.scores.tolist(), strict=True)

    def _read(self, cells: np.ndarray, maps: list[np.ndarray]) -> list[np.ndarray]:
        """Classes and probabilities (K, L) of K cells."""
        names = ("cells", "masks", "values", "coordinates", "seen")
        # Cells that do not attend around a place take no coordinates.
        taken = {one.name for one in self._networks["reader"].get_inputs()}
        inputs = {n: one for n, one in zip(names, maps, strict=True) if n in taken}
        chunk = max(1, _MOST_ELEMENTS // (self._settings["length"] * inputs["masks"].shape[1]))
        parts = [
            self._networks["reader"].run(None, {"number": cells[start : start + chunk], **inputs})
            for start in range(0, len(cells), chunk)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def vote(
    classes: np.ndarray, probability: np.ndarray, word: np.ndarray, weight: np.ndarray, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """`dld_d2.modeling.spotters.mango.voting.vote`, by the most probable classes of K cells.

    Args:
        classes, probability: (K, L).
        word: (K,) int64, whose they are; every word has one.
        weight: (K,) of the votes.
        end: the class of a word's end.

    Returns:
        (W, L) int64 and (W,) float.
    """
    classes = np.where((classes == end).cumsum(axis=1) > 0, end, classes)
    shape = word.max() + 1, classes.shape[1], max(end, classes.max()) + 1
    place = word[:, None], np.arange(classes.shape[1])[None], classes
    shares, sure = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    np.add.at(shares, place, np.broadcast_to(weight[:, None], classes.shape))
    np.add.at(sure, place, weight[:, None] * probability)
    winner = shares.argmax(axis=2)
    certainty = np.take_along_axis(sure, winner[..., None], axis=2)[..., 0].clip(1e-12, 1)
    ended = (winner == end).cumsum(axis=1) > 0
    counts = ~ended | (ended.cumsum(axis=1) == 1)
    total = np.where(counts, np.log(certainty), 0).sum(axis=1)
    return np.where(ended, end, winner), np.exp(total / counts.sum(axis=1))
