"""What became of each word under two spotters (Table A3 of the DLD paper)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest

from dld_d2.evaluation.details import CORRECT, DONT_CARE, MISREAD, MISSED
from dld_d2.structures.errors import UsageError

__all__ = ["OutcomeTable", "WordPair", "count_outcomes", "join_words", "mcnemar"]

Records = Mapping[str, Mapping[str, Any]]
"""Image id -> its record, as `dld_d2.evaluation.details.image_records` gives it."""


class WordPair(NamedTuple):
    """A ground-truth word that counts, as two spotters took it.

    Attributes:
        image: id.
        index: of the word among the image's ground truth.
        text: transcription.
        polygon: (K, 2) float64, pixels.
        outcomes: of the first and of the second spotter: "correct", "misread" or "missed".
        readings: what they read; None where they did not find it.
    """

    image: str
    index: int
    text: str
    polygon: np.ndarray
    outcomes: tuple[str, str]
    readings: tuple[str | None, str | None]

    @property
    def right(self) -> tuple[bool, bool]:
        """Whether each read it correctly."""
        return self.outcomes[0] == CORRECT, self.outcomes[1] == CORRECT


class OutcomeTable(NamedTuple):
    """Numbers of words.

    Attributes:
        both: right with both.
        first_only, second_only: right with one.
        missed_by_both: found by neither.
        misread_by_both: found by both, and misread by both.
        one_misread: right with neither, and found by one.
    """

    both: int
    first_only: int
    second_only: int
    missed_by_both: int
    misread_by_both: int
    one_misread: int

    @property
    def neither(self) -> int:
        return self.missed_by_both + self.misread_by_both + self.one_misread

    @property
    def total(self) -> int:
        return sum(self)

    def percentages(self) -> tuple[float, float, float, float]:
        """Both, first only, second only and neither, in % of all words; 0 without words."""
        counts = self.both, self.first_only, self.second_only, self.neither
        return tuple(100 * count / max(self.total, 1) for count in counts)

    def p_value(self) -> float:
        """Of McNemar's test, that both spotters lose as many words to each other."""
        return mcnemar(self.first_only, self.second_only)


def join_words(first: Records, second: Records) -> list[WordPair]:
    """The words that count, each with its outcome under both spotters.

    Args:
        first, second: of the same images, scored with the same ground truth.

    Returns:
        In the order of the first one's images, and of the words in each.

    Raises:
        UsageError: if they are of other images or words.
    """
    if set(first) != set(second):
        odd = sorted(set(first) ^ set(second))[0]
        raise UsageError(
            f"two evaluations are of different images: only one has {odd!r}; evaluate both on the "
            "same data set"
        )
    pairs = []
    for image, record in first.items():
        truths = record["ground_truth"], second[image]["ground_truth"]
        texts = [[(word["text"], word["outcome"] == DONT_CARE) for word in t] for t in truths]
        if texts[0] != texts[1]:
            raise UsageError(
                f"two evaluations differ in the ground truth of image {image!r}; evaluate both "
                "again on the same data set, at the same task"
            )
        for index, words in enumerate(zip(*truths, strict=True)):
            if words[0]["outcome"] == DONT_CARE:
                continue
            readings = (
                _reading(words[0], record["detections"]),
                _reading(words[1], second[image]["detections"]),
            )
            pairs.append(
                WordPair(
                    image,
                    index,
                    words[0]["text"],
                    np.asarray(words[0]["polygon"], dtype=np.float64),
                    (words[0]["outcome"], words[1]["outcome"]),
                    readings,
                )
            )
    return pairs


def count_outcomes(pairs: Iterable[WordPair]) -> OutcomeTable:
    """How many words there are of each kind."""
    counts = dict.fromkeys(OutcomeTable._fields, 0)
    for pair in pairs:
        counts[_kind(pair)] += 1
    return OutcomeTable(**counts)


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided p-value of McNemar's test (Psychometrika 12, 1947): of two spotters that are
    equally good each word on which they differ is as likely either's."""
    discordant = first_only + second_only
    return 1.0 if discordant == 0 else float(binomtest(first_only, discordant).pvalue)


def _kind(pair: WordPair) -> str:
    right = pair.right
    if any(right):
        return "both" if all(right) else ("first_only" if right[0] else "second_only")
    if pair.outcomes == (MISSED, MISSED):
        return "missed_by_both"
    return "misread_by_both" if pair.outcomes == (MISREAD, MISREAD) else "one_misread"


def _reading(word: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> str | None:
    return None if word["detection"] is None else detections[word["detection"]]["corrected"]
