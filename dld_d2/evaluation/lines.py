"""One line of a ground truth or submission: `x1,y1,...,xn,yn[,confidence],transcription`."""

from __future__ import annotations

import re

import numpy as np

from dld_d2.evaluation.words import EvaluationInputError
from dld_d2.structures.limits import FEW_VERTICES, MAX_COORDINATE, check_polygon, check_text
from dld_d2.structures.word import Word

_NUMBER = re.compile(
    r"\s*[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf|infinity)\s*",
    re.IGNORECASE,
)
_PLAIN_INTEGERS = re.compile(r"-?[0-9]{1,6}(?:,-?[0-9]{1,6}){5,}")
_FRACTION_OF_ONE = re.compile(r"\s*(?:0?\.[0-9]+|1\.0*|0\.|[0-9.]+e-[0-9]+)\s*", re.IGNORECASE)
# A line of no more numbers and characters is within all limits.
_SURELY_FEW = 2 * FEW_VERTICES
# Without a fixed number of points, this many coordinates must precede a transcription that holds
# commas: fewer, and a mistyped coordinate would pass for text.
_MIN_COORDINATES_BEFORE_COMMAS = 8


def parse_line(line: str, points: int | None = None, scores: bool = False) -> tuple[Word, bool]:
    """Read one line.

    The last field is the transcription; all before are coordinates, and with `scores` the one
    right before the transcription is the confidence. A transcription that holds commas is told
    from the coordinates by its first field that is no number, or, safely, by `points`.

    Args:
        line: without its end.
        points: number of vertices of every polygon; None finds it out.
        scores: whether a confidence in [0, 1] precedes the transcription.

    Returns:
        The word, and whether its transcription was *guessed* to hold commas.

    Raises:
        EvaluationInputError: without file and line, which the caller knows.
    """
    if points is None and not scores:
        head, _, text = line.rpartition(",")
        if _PLAIN_INTEGERS.fullmatch(head):
            numbers = list(map(int, head.split(",")))
            if len(numbers) % 2 == 0 and len(numbers) <= _SURELY_FEW and len(text) <= _SURELY_FEW:
                return Word(np.array(numbers, dtype=np.float64).reshape(-1, 2), text), False

    fields = line.split(",")
    guessed = False
    if points is None:
        count = _count_numbers(fields)
        guessed = count < len(fields) - 1
        _check_count(fields, count, scores, guessed)
    else:
        count = 2 * points + scores
        if len(fields) <= count:
            raise EvaluationInputError(
                f"{len(fields)} fields; expected {2 * points} coordinates"
                f"{', a confidence' if scores else ''} and a transcription"
            )
    numbers = [_to_number(number, field) for number, field in enumerate(fields[:count], 1)]
    if points is not None:
        _check_other_readings(fields, count, points, scores, numbers)
    score = numbers.pop() if scores else None
    if score is not None and not 0.0 <= score <= 1.0:
        raise EvaluationInputError(
            f"field {count} ({_short(fields[count - 1].strip())}) is no confidence, which is in "
            "[0, 1]; if it is a coordinate, leave --scores out or fix the number of points "
            "(--det-points)"
        )
    for number, value in enumerate(numbers, 1):
        if abs(value) > MAX_COORDINATE:
            raise EvaluationInputError(
                f"coordinate {number} is {_short(fields[number - 1].strip())}, beyond "
                f"{MAX_COORDINATE} pixels"
            )
    return _checked_word(numbers, ",".join(fields[count:]), score), guessed


def _checked_word(numbers: list[float], text: str, score: float | None = None) -> Word:
    """A word within the limits, of numbers that are known not to exceed `MAX_COORDINATE`."""
    polygon = np.array(numbers, dtype=np.float64).reshape(-1, 2)
    try:
        if len(polygon) > FEW_VERTICES:
            check_polygon(np.trunc(polygon))  # as it is compared
        check_text(text)
    except ValueError as error:
        raise EvaluationInputError(str(error)) from None
    return Word(polygon, text, score)


def _check_other_readings(
    fields: list[str], count: int, points: int, scores: bool, numbers: list[float]
) -> None:
    """Refuse a line that more likely has other polygons, or a confidence, than it is said to.

    A transcription may begin with numbers, as `1,000,000` does. They are coordinates where they
    come in pairs, all of which lie beside the first `points` vertices.
    """
    further = _count_numbers(fields) - count
    if not scores and further >= 1 and _FRACTION_OF_ONE.fullmatch(fields[count]):
        raise EvaluationInputError(
            f"field {count + 1} ({_short(fields[count].strip())}) comes after {points} points and "
            "reads as a confidence; say that the submission has them (--scores), or remove the "
            "commas of the transcription"
        )
    if further < 2 or further % 2:
        return
    # With confidences, the field taken for one would be the first of the further coordinates.
    extra = np.array(list(map(float, fields[2 * points : 2 * points + further])), dtype=np.float64)
    extra = extra.reshape(-1, 2)
    polygon = np.array(numbers[: 2 * points], dtype=np.float64).reshape(-1, 2)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    reach = 2 * (high - low).max()
    if ((extra >= low - reach) & (extra <= high + reach)).all():
        number = points + further // 2
        raise EvaluationInputError(
            f"the line has {number} points x,y before its transcription, not {points} "
            "(--gt-points, --det-points); if the last of them belong to the transcription, remove "
            "its commas"
        )


def _count_numbers(fields: list[str]) -> int:
    """How many leading fields are numbers, the last field being text whatever it holds."""
    for index, field in enumerate(fields[:-1]):
        if not _NUMBER.fullmatch(field):
            return index
    return len(fields) - 1


def _check_count(fields: list[str], count: int, scores: bool, guessed: bool) -> None:
    coordinates = count - scores
    if guessed and (coordinates % 2 or coordinates < _MIN_COORDINATES_BEFORE_COMMAS):
        raise EvaluationInputError(
            f"field {count + 1} ({_short(fields[count])!r}) is not a number; where it belongs to "
            "the transcription, remove the commas of the transcription or fix the number of points "
            "(--gt-points 4, --det-points 4 for quadrilaterals)"
        )
    if coordinates % 2:
        hint = (
            "a confidence must precede the transcription"
            if scores
            else "where the last is a confidence, say so (--scores); where it belongs to the "
            "transcription, remove the commas of the transcription or fix the number of points "
            "(--gt-points 4, --det-points 4)"
        )
        raise EvaluationInputError(f"{coordinates} coordinates, an odd number; {hint}")
    if coordinates < 6:
        hint = (
            "; write left,top,right,bottom as the four corners x1,y1,...,x4,y4"
            if coordinates == 4
            else ""
        )
        raise EvaluationInputError(
            f"{max(coordinates, 0)} coordinates; a polygon needs at least 3 points, 6 "
            f"coordinates, before the transcription{hint}"
        )


def _to_number(number: int, field: str) -> float:
    if not _NUMBER.fullmatch(field):
        raise EvaluationInputError(f"field {number} ({_short(field)!r}) is not a number")
    value = float(field)
    if not np.isfinite(value):
        raise EvaluationInputError(
            f"field {number} is {_short(field.strip())}; only finite numbers"
        )
    return value


def _short(field: str) -> str:
    """A field as a message can show it."""
    return field if len(field) <= 40 else field[:37] + "..."


def format_line(word: Word, scores: bool = False) -> str:
    """The line of a word: whole pixels, commas removed, without a line end.

    Raises:
        EvaluationInputError: a line break in the text, a text UTF-8 cannot hold, or no score in
            [0, 1] where `scores` asks for one.
    """
    if "\n" in word.text or "\r" in word.text:
        raise EvaluationInputError(f"the text {word.text!r} holds a line break")
    fields = [str(int(value)) for value in np.trunc(word.polygon).ravel()]
    if scores:
        if word.score is None:
            raise EvaluationInputError("the word has no score to write")
        if not 0.0 <= word.score <= 1.0:
            raise EvaluationInputError(f"the score {word.score} is no confidence in [0, 1]")
        fields.append(repr(float(word.score)))
    try:
        word.text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EvaluationInputError(f"the text {word.text!r} is no valid Unicode") from error
    return ",".join([*fields, word.text.replace(",", "")])
