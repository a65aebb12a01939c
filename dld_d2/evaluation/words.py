"""Words as they come in: what is accepted in place of `Word`s, and how it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dld_d2.structures.errors import UsageError
from dld_d2.structures.limits import MAX_WORDS, check_polygon, check_text
from dld_d2.structures.word import DONT_CARE, Word

__all__ = [
    "DONT_CARE",
    "EvaluationInputError",
    "EvaluationWarning",
    "Images",
    "Word",
    "as_words",
]


class EvaluationInputError(UsageError):
    """Bad input. The message names the file and line (or image and word) and says what to do."""


class EvaluationWarning(UserWarning):
    """Something in the input that changes no rule but that its author should know."""


Images = Mapping[object, Sequence[Word | tuple]]
"""Image id -> its words, each a `Word`, `(polygon, text)` or `(polygon, text, score)`."""


def as_words(images: Images, source: str) -> dict[str, list[Word]]:
    """Check words made in memory and bring them into one form.

    Args:
        images: see `Images`; polygons are anything NumPy turns into a (K, 2) array.
        source: what to call them in messages, for example "submission".

    Returns:
        str(image id) -> words, polygons as float64. `detection_score` stays as it is: no protocol
        uses it.

    Raises:
        EvaluationInputError: two ids equal as strings, a polygon that is not (K, 2) with K >= 3, a
            text that is no string, a score that is no finite number, or anything beyond the limits
            of `structures.limits`.
    """
    checked: dict[str, list[Word]] = {}
    for image_id, words in images.items():
        key = str(image_id)
        if key in checked:
            raise EvaluationInputError(f"{source}: two image ids both read {key!r} as text")
        if len(words) > MAX_WORDS:
            raise EvaluationInputError(
                f"{source}, image {key}: has {len(words)} words, more than {MAX_WORDS}"
            )
        checked[key] = [
            _as_word(word, f"{source}, image {key}, word {number}")
            for number, word in enumerate(words, 1)
        ]
    return checked


def _as_word(word: Word | tuple, where: str) -> Word:
    if isinstance(word, Word):
        polygon, text, score = word.polygon, word.text, word.score
        detection_score = word.detection_score
    else:
        detection_score = None
        try:
            polygon, text, score = word if len(word) == 3 else (*word, None)
        except (TypeError, ValueError):
            raise EvaluationInputError(
                f"{where}: expected a Word, (polygon, text) or (polygon, text, score)"
            ) from None
    try:
        points = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EvaluationInputError(f"{where}: the polygon is no array of numbers") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise EvaluationInputError(
            f"{where}: a polygon is a (K, 2) array with K >= 3, got shape {points.shape}"
        )
    if not isinstance(text, str):
        raise EvaluationInputError(f"{where}: the text is a {type(text).__name__}, not a str")
    try:
        check_polygon(np.trunc(points))  # as it is compared
        check_text(text)
    except ValueError as error:
        raise EvaluationInputError(f"{where}: {error}") from None
    if score is not None:
        try:
            score = float(score)
        except (TypeError, ValueError):
            raise EvaluationInputError(f"{where}: the score {score!r} is no number") from None
        if not np.isfinite(score):
            raise EvaluationInputError(f"{where}: the score is {score}")
    return Word(points, text, score, detection_score)
