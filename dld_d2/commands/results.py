"""Files that `dld-d2 read` writes of what was found."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.result_entry import result_entry, word_entry
from dld_d2.deployment.sources import PLACES
from dld_d2.evaluation.submission import write_submission

__all__ = ["FORMATS", "Reading", "UniqueStems", "write_results"]


@dataclass(frozen=True)
class Reading:
    """An image that was read.

    Attributes:
        file: its name as given.
        stem: its file name without folder and ending, and with its place; unlike all others.
        result: what was found.
        picture: of the words, a file name relative to the results; None if there is none.
        place: which part of the file, see `Source.place`.
    """

    file: str
    stem: str
    result: SpottingResult
    picture: str | None = None
    place: Mapping[str, int | float] = field(default_factory=dict)


def write_results(
    folder: Path,
    formats: Sequence[str],
    readings: Sequence[Reading],
    failed: Sequence[Mapping[str, str]],
    source: Mapping[str, Any],
) -> list[Path]:
    """Write what was found.

    Args:
        folder: it exists.
        formats: of `FORMATS`.
        readings: images that were read.
        failed: "file" and "error" of those that were not; JSON alone tells of them.
        source: what they were read with, for JSON.

    Returns:
        The files.

    Raises:
        OSError: if one cannot be written.
    """
    return [FORMATS[name](folder, readings, failed, source) for name in formats]


class UniqueStems:
    """Names of files; those that occur again get a number."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, stem: str) -> str:
        """The name, or with a number if it, in whatever case, was there already."""
        name, number = stem, 1
        while name.casefold() in self._seen:
            number += 1
            name = f"{stem}_{number}"
        self._seen.add(name.casefold())
        return name


def _write_json(folder: Path, readings: Sequence[Reading], failed: Any, source: Any) -> Path:
    whole = {**source, "images": [_entry(one) for one in readings], "failed": list(failed)}
    path = folder / "results.json"
    text = json.dumps(whole, ensure_ascii=False, indent=1)
    # What is not Unicode in a file name becomes an escape that JSON readers understand.
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def _write_csv(folder: Path, readings: Sequence[Reading], *_: Any) -> Path:
    path = folder / "results.csv"
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream)
        # Columns of what some images have: the page, or start and end.
        places = [name for name in PLACES if any(name in one.place for one in readings)]
        writer.writerow(["file", *places, "word", "text", "score", "detection_score", "polygon"])
        for one in readings:
            for number, word in enumerate(map(word_entry, one.result)):
                points = " ".join(f"{value:.10g}" for point in word["polygon"] for value in point)
                scores = word["score"], word["detection_score"]
                where = [one.file, *(one.place.get(name, "") for name in places)]
                writer.writerow([*where, number, word["text"], *scores, points])
    return path


def _write_rrc(folder: Path, readings: Sequence[Reading], *_: Any) -> Path:
    path = folder / "submission.zip"
    words = {_in_archive(one.stem): one.result.words for one in readings}
    write_submission(path, words, name="res_{}.txt")
    return path


def _in_archive(stem: str) -> str:
    """A name as zips can hold it: Unicode, and no part of a path."""
    return stem.encode("utf-8", "backslashreplace").decode("utf-8").replace("\\", "_")


def _entry(one: Reading) -> dict[str, Any]:
    picture = {"picture": one.picture} if one.picture else {}
    return {"file": one.file, **one.place, **result_entry(one.result), **picture}


FORMATS = {"json": _write_json, "csv": _write_csv, "rrc": _write_rrc}
"""Name -> function that writes it."""
