"""How much of a data set the recognition branch can learn from."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["RecognitionCoverage", "log_recognition_coverage", "recognition_coverage"]

logger = logging.getLogger(__name__)

# Every training begins with it, and synthetic scenes are laid out for it.
_MAX_SECONDS = 3.0


@dataclass
class RecognitionCoverage:
    """Counts of instances; each instance that is not don't-care is in one of the last four.

    Attributes:
        images: images looked at.
        total_images: images of the set.
        dont_care: don't-care regions.
        readable: words that train recognition.
        too_long: words left out because they are longer than the maximum.
        unknown: words left out because of characters outside the vocabulary (long ones aside).
        untranscribed: words left out because their transcription is empty.
        unknown_characters: how many words each character outside the vocabulary occurs in.
    """

    images: int
    total_images: int
    dont_care: int = 0
    readable: int = 0
    too_long: int = 0
    unknown: int = 0
    untranscribed: int = 0
    unknown_characters: Counter[str] = field(default_factory=Counter)

    @property
    def words(self) -> int:
        """Instances that are not don't-care."""
        return self.readable + self.too_long + self.unknown + self.untranscribed

    def summary(self, max_length: int) -> str:
        """One sentence for the log."""
        looked_at = f"{self.images} images"
        if self.images < self.total_images:
            looked_at = f"a sample of {self.images} of {self.total_images} images"
        text = (
            f"{looked_at}: {self.words} words and {self.dont_care} don't-care regions; "
            f"{self.words - self.readable} words train detection only"
        )
        reasons = []
        if self.too_long:
            reasons.append(f"{self.too_long} longer than {max_length} characters")
        if self.unknown:
            common = self.unknown_characters.most_common(10)
            shown = " ".join(f"{character!r} in {count}" for character, count in common)
            more = len(self.unknown_characters) - len(common)
            shown += f" and {more} other characters" if more else ""
            reasons.append(f"{self.unknown} with characters outside the vocabulary: {shown}")
        if self.untranscribed:
            reasons.append(f"{self.untranscribed} without transcription")
        return text + (f" ({'; '.join(reasons)})" if reasons else "")


def recognition_coverage(
    dataset: Sequence[dict[str, Any]],
    vocabulary: Vocabulary,
    max_length: int,
    max_images: int = 2_000,
    max_seconds: float = math.inf,
) -> RecognitionCoverage:
    """Count the words of a data set that recognition can and cannot learn from.

    Args:
        dataset: what `DatasetCatalog.get` returns: anything with a length whose items are
            dictionaries in Detectron2's standard form, with `text` and `ignore` in annotations.
        max_length: longest word in characters.
        max_images: of larger sets this many images are looked at, evenly spread.
        max_seconds: when these are over no further image is looked at.
    """
    indices = np.linspace(
        0, len(dataset), min(len(dataset), max_images), endpoint=False, dtype=np.int64
    )
    # So that those seen when the time is over are spread over the set, too.
    np.random.default_rng(0).shuffle(indices)
    result = RecognitionCoverage(images=0, total_images=len(dataset))
    known = set(vocabulary.characters)
    end = time.monotonic() + max_seconds
    for index in indices:
        if time.monotonic() > end:
            break
        result.images += 1
        for annotation in dataset[int(index)].get("annotations", ()):
            text = annotation["text"]
            if annotation["ignore"]:
                result.dont_care += 1
            elif vocabulary.can_encode(text, max_length):
                result.readable += 1
            elif not text:
                result.untranscribed += 1
            else:
                result.too_long += len(text) > max_length
                result.unknown += len(text) <= max_length
                result.unknown_characters.update(set(text) - known)
    return result


def log_recognition_coverage(
    name: str, dataset: Sequence[dict[str, Any]], vocabulary: Vocabulary, max_length: int
) -> RecognitionCoverage:
    """Write `recognition_coverage` of the data set `name` into the log; a warning if it is poor.

    Poor means that recognition can learn from less than half of the words, which most often is a
    vocabulary that does not fit the data.
    """
    coverage = recognition_coverage(dataset, vocabulary, max_length, max_seconds=_MAX_SECONDS)
    message = f"{name}: {coverage.summary(max_length)}"
    if coverage.readable * 2 < coverage.words:
        logger.warning(f"{message}. Does MODEL.RECOGNITION.VOCABULARY fit this data set?")
    else:
        logger.info(message)
    return coverage
