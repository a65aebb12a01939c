"""What an engine read in photographs at several scales, in a file that grows line by line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dld_d2.deployment.runtime.engines import Sides
from dld_d2.evaluation.words import as_words
from dld_d2.structures.errors import UsageError
from dld_d2.structures.word import Word

__all__ = ["Reading", "ReadingsFile"]

_FORMAT = "dld_d2 readings of an engine"
_VERSION = 1


@dataclass(frozen=True)
class Reading:
    """What an engine found in an image at one scale.

    Attributes:
        image: path of its file.
        scale: of the full size.
        size: height and width of the image.
        seconds: from the image in memory to the words.
        cpu_seconds: of all processors meanwhile, for this process and those that it started and
            that ended. On a busy machine this is what holds; a service elsewhere takes none.
        words: with polygons in pixels of the image.
    """

    image: str
    scale: float
    size: tuple[int, int]
    seconds: float
    cpu_seconds: float
    words: tuple[Word, ...]


class ReadingsFile:
    """A header, and one JSON line for each image and scale, appended as soon as it is read.

    A process that is killed loses the image and scale that it was at.

    Args:
        path: of the file; it need not exist.
        engine: name of the engine; None to take it from the file.
        sides: of the full size, likewise.

    Raises:
        FileNotFoundError: if there is no file, and no engine is given.
        UsageError: if the file holds something else, or the readings of another engine or size.
    """

    def __init__(
        self, path: str | os.PathLike[str], engine: str | None = None, sides: Sides | None = None
    ) -> None:
        self.path = Path(path)
        self._readings: dict[tuple[str, float], Reading] = {}
        if self.path.exists():
            self._load(engine, sides)
        elif engine is None:
            raise FileNotFoundError(
                f"{self.path}: there is no such file; `dld-d2 select read` makes it"
            )
        else:
            self.engine, self.sides = engine, sides or Sides()
        self._stream: Any = None

    def __iter__(self) -> Iterator[Reading]:
        return iter(self._readings.values())

    def __len__(self) -> int:
        return len(self._readings)

    def __contains__(self, key: tuple[str, float]) -> bool:
        """Whether an image, by its path, has been read at a scale."""
        return key in self._readings

    def add(self, reading: Reading) -> None:
        """Append a reading; it is on the way to the disk when this returns.

        Raises:
            OSError: if it cannot be written.
        """
        if self._stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unfinished lines end where the next begins.
            whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
            self._stream = self.path.open("a", encoding="utf-8", errors="surrogateescape")
            if self._stream.tell() == 0:
                self._stream.write(_line(self._header()))
            elif not whole:
                self._stream.write("\n")
        self._stream.write(_line(_to_json(reading)))
        self._stream.flush()
        self._readings[reading.image, reading.scale] = reading

    def close(self) -> None:
        """Nothing more is added."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    @property
    def images(self) -> list[str]:
        """All images that were read at any scale, in the order in which they came."""
        return list(dict.fromkeys(image for image, _ in self._readings))

    def table(self) -> tuple[list[str], list[float]]:
        """Images that were read at all the scales that any image was read at, and these scales in
        ascending order."""
        scales = sorted({scale for _, scale in self._readings})
        whole = [i for i in self.images if all((i, s) in self._readings for s in scales)]
        return whole, scales

    def at(self, image: str, scale: float) -> Reading:
        """The reading of an image at a scale."""
        return self._readings[image, scale]

    def _header(self) -> dict[str, Any]:
        sides = {"min_side": self.sides.min_side, "max_side": self.sides.max_side}
        return {"format": _FORMAT, "version": _VERSION, "engine": self.engine, **sides}

    def _load(self, engine: str | None, sides: Sides | None) -> None:
        first, *lines = self.path.read_bytes().split(b"\n")
        header = _json(first)
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise UsageError(f"{self.path}: holds no readings of an engine; name another file")
        if header.get("version") != _VERSION:
            raise UsageError(
                f"{self.path}: is of version {header.get('version')!r}, and this dld_d2 reads "
                f"version {_VERSION}; update it"
            )
        try:
            self.engine = str(header["engine"])
            self.sides = Sides(int(header["min_side"]), int(header["max_side"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{self.path}, line 1: {error}") from None
        if engine is not None and engine != self.engine:
            raise UsageError(
                f"{self.path}: holds readings of {self.engine}, not of {engine}; name another file"
            )
        if sides is not None and sides != self.sides:
            raise UsageError(
                f"{self.path}: holds readings with {_described(self.sides)}, not with "
                f"{_described(sides)}; name another file"
            )
        for number, line in enumerate(lines, 2):
            if not line:
                continue
            content = _json(line)
            # A process that was killed leaves a part of a line.
            if content is None:
                continue
            try:
                reading = _from_json(content)
            except (KeyError, TypeError, ValueError) as error:
                raise UsageError(
                    f"{self.path}, line {number}: is no reading ({error}); remove the line"
                ) from None
            self._readings[reading.image, reading.scale] = reading


def _described(sides: Sides) -> str:
    return f"--min-side {sides.min_side} --max-side {sides.max_side}"


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


def _json(line: bytes) -> Any:
    """What a line holds; None for what is no JSON."""
    try:
        return json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _to_json(reading: Reading) -> dict[str, Any]:
    return {
        "image": reading.image,
        "scale": reading.scale,
        "size": list(reading.size),
        "seconds": round(reading.seconds, 5),
        "cpu_seconds": round(reading.cpu_seconds, 5),
        "words": [
            [
                [[round(float(x), 1), round(float(y), 1)] for x, y in word.polygon],
                word.text,
                None if word.score is None else round(float(word.score), 4),
            ]
            for word in reading.words
        ],
    }


def _from_json(content: Mapping[str, Any]) -> Reading:
    scale, *times = (float(content[key]) for key in ("scale", "seconds", "cpu_seconds"))
    height, width = map(int, content["size"])
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"the scale is {scale}")
    if not all(math.isfinite(time) and time >= 0 for time in times):
        raise ValueError(f"the times are {times}")
    if min(height, width) < 1:
        raise ValueError(f"a size of {height} x {width}")
    words = [(np.array(polygon), text, score) for polygon, text, score in content["words"]]
    image = str(content["image"])
    checked = as_words({image: words}, "words")[image]
    return Reading(image, scale, (height, width), *times, tuple(checked))
