"""What a teacher read in the images of a data set, kept in a file that grows image by image."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from dld_d2.engine.whole_files import write_whole
from dld_d2.structures.word import Word

__all__ = ["ImageReading", "Stamp", "Store", "digest", "plain"]

logger = logging.getLogger(__name__)

_KIND = "dld_d2 readings of a teacher"
_VERSION = 1


class Stamp(NamedTuple):
    """What tells a photograph from another one of its name.

    Attributes:
        height, width: pixels.
        bytes: size of its file.
    """

    height: int
    width: int
    bytes: int


@dataclass(frozen=True)
class ImageReading:
    """What was read in a photograph.

    Attributes:
        file_name: path relative to the set's image folder.
        stamp: of the photograph.
        words: all that were found, with both scores; their polygons are usable as annotations.
    """

    file_name: str
    stamp: Stamp
    words: tuple[Word, ...]


class Store:
    """Readings of one data set by one teacher.

    `FOLDER/NAME-DIGEST.readings.jsonl` holds a header that says by whom they are, and a line per
    image. Processes that read append to files of their own beside it (`...part0.jsonl`), line by
    line, so that a process which is killed loses the image that it was at. `collect` takes these
    into the first file. Later lines replace earlier ones of the same image.

    Args:
        folder: it is made when something is written.
        dataset_name: of the data set.
        origin: all that readings depend on, of JSON types; readings of another origin are not
            taken.
    """

    def __init__(self, folder: Path, dataset_name: str, origin: Mapping[str, Any]) -> None:
        self._header = {"kind": _KIND, "version": _VERSION, "origin": dict(origin)}
        self._stem = f"{plain(dataset_name)}-{digest(origin)}.readings"
        self._folder = folder
        self.file = folder / f"{self._stem}.jsonl"

    def collect(self) -> dict[str, ImageReading]:
        """All readings, by the images' names. One process alone may call it, while none appends.

        What is damaged or of another origin is left out with a warning, and forgotten.
        """
        pattern = re.compile(re.escape(self._stem) + r"\.part[0-9]+\.jsonl")
        found = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        parts = [file for file in found if pattern.fullmatch(file.name)]
        readings: dict[str, ImageReading] = {}
        whole = True
        for file in [self.file, *parts]:
            if file.exists():
                whole &= self._read(file, readings)
        if parts or not whole:
            lines = [self._header, *(_to_json(reading) for reading in readings.values())]
            write_whole(self.file, "".join(map(_line, lines)).encode("utf-8"))
        # Only now that what they hold is elsewhere.
        for part in parts:
            part.unlink()
        return readings

    @contextmanager
    def appending(self, rank: int) -> Iterator[Callable[[ImageReading], None]]:
        """Gives a function that appends a reading, for one process of those that read together."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{self._stem}.part{rank}.jsonl").open("w", encoding="utf-8") as file:
            _append(file, self._header)
            yield lambda reading: _append(file, _to_json(reading))

    def _read(self, file: Path, readings: dict[str, ImageReading]) -> bool:
        """Add what a file holds; whether that was all."""
        header, *lines = file.read_bytes().rstrip(b"\n").split(b"\n")
        if _json(header) != _json(_line(self._header)):
            logger.warning(
                f"{file}: holds no readings of this teacher at this resolution, or is damaged; its "
                "images are read again"
            )
            return False
        damaged = 0
        for line in lines:
            try:
                reading = _from_json(json.loads(line))
            except (ValueError, TypeError, KeyError):
                damaged += 1
            else:
                readings[reading.file_name] = reading
        if damaged:
            logger.warning(
                f"{file}: lines that are damaged: {damaged}; their images are read again"
            )
        return damaged == 0


def digest(content: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of what is of JSON types."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def plain(name: str) -> str:
    """The name of a data set as part of a file's name."""
    return re.sub(r"[^\w.-]", "_", name)


def _append(file: TextIO, content: Mapping[str, Any]) -> None:
    file.write(_line(content))
    file.flush()


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


def _json(line: str | bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _to_json(reading: ImageReading) -> dict[str, Any]:
    words = [
        {
            "polygon": word.polygon.ravel().tolist(),
            "text": word.text,
            "score": word.score,
            "detection_score": word.detection_score,
        }
        for word in reading.words
    ]
    return {"image": reading.file_name, **reading.stamp._asdict(), "words": words}


def _from_json(content: dict[str, Any]) -> ImageReading:
    """
    Raises:
        ValueError, TypeError, KeyError: if it is not of the form that `_to_json` gives.
    """
    words = tuple(
        Word(
            np.array(word["polygon"], dtype=np.float64).reshape(-1, 2),
            word["text"],
            float(word["score"]),
            float(word["detection_score"]),
        )
        for word in content["words"]
    )
    if not all(isinstance(text, str) for text in (content["image"], *(w.text for w in words))):
        raise TypeError("names and texts are strings")
    stamp = Stamp(*(int(content[field]) for field in Stamp._fields))
    return ImageReading(content["image"], stamp, words)
