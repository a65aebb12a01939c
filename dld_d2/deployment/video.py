"""Reading videos: frames some time apart, and of these only such as differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import floor, log
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from dld_d2.deployment.result import SpottingResult
from dld_d2.structures.files import require_file

__all__ = ["Moment", "VideoReader", "is_still", "is_video", "read_frames", "read_video"]

_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
_MAX_PIXELS = 40_000_000  # of a frame; 8K video has 33 million

# A frame is still if in a gray copy of this many pixels no pixel differs by more gray levels than
# that. Each is the mean over a hundred and more of the frame's, so that noise hardly shows.
_COPY_SIDE, _MOST_DIFFERENCE = 96, 10

# How likely a frame that differs from the last one is read best at the same scale.
_STAYS = 0.75


class Moment(NamedTuple):
    """A part of a video in which the picture stands still.

    Attributes:
        start, end: in seconds from the beginning; it ends where the next one starts, the last one
            with the last frame that was looked at.
        image: (H, W, 3) uint8 in BGR, its first frame.
        result: the words in it.
    """

    start: float
    end: float
    image: np.ndarray
    result: SpottingResult


class VideoReader(Protocol):
    """What reads frames, such as `TextSpotter` and `OnnxSpotter`.

    Attributes:
        scales: the candidates.
        scale_prior: (k,), added to the selector's logits; None for nothing. Raises ValueError where
            there is no selector.
    """

    scales: tuple[float, ...]
    scale_prior: np.ndarray | None

    def __call__(self, image: np.ndarray) -> SpottingResult: ...


def is_video(file: str) -> bool:
    """Whether a file's name is that of a video."""
    return Path(file).suffix.lower() in _SUFFIXES


def read_video(reader: VideoReader, file: str, frames_per_second: float = 2.0) -> Iterator[Moment]:
    """The words of a video.

    A frame that hardly differs from the last one that was read is not read again: its words are
    the same. For one that is, the scale of the last one counts as likely: a selector that hardly
    prefers another one stays.

    Args:
        reader: of the frames.
        file: the video.
        frames_per_second: that are looked at.

    Yields:
        Moments in order, each when it is over.

    Raises:
        OSError: naming the file, as `read_frames`.
    """
    start, last, copy, result = 0.0, None, None, None
    time = 0.0
    with _prior_reset(reader) as chooses:
        for time, image in read_frames(file, frames_per_second):
            small = _small_copy(image)
            if copy is not None and is_still(copy, small):
                continue
            if result is not None:
                yield Moment(start, time, last, result)
                if chooses:
                    _expect(reader, result)
            start, last, copy, result = time, image, small, reader(image)
    if result is None:
        raise OSError(f"{file}: holds no frame that can be decoded")
    yield Moment(start, time, last, result)


def read_frames(file: str, frames_per_second: float) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of a video, at equal distances as far as it has them.

    Args:
        file: the video.
        frames_per_second: at most; in between, frames are decoded, but not converted.

    Yields:
        Seconds from the beginning, and (H, W, 3) uint8 in BGR, upright.

    Raises:
        OSError: naming the file, if there is none, it is no video, or its frames are too large.
    """
    require_file(file)
    # Other backends take a name with digits for one of a series of images.
    capture = cv2.VideoCapture(file, cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise OSError(f"{file}: cannot be read as a video")
        width, height = (
            int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > _MAX_PIXELS:
            raise OSError(
                f"{file}: its frames have {width} x {height} pixels, more than {_MAX_PIXELS}"
            )
        due, number = 0.0, -1
        while capture.grab():
            number += 1
            time = _time(capture, number)
            if time < due:
                continue
            good, image = capture.retrieve()
            if good:
                yield time, image
                due = (floor(time * frames_per_second + 1e-6) + 1) / frames_per_second - 1e-6
    finally:
        capture.release()


def is_still(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two small gray copies (H, W) uint8 show the same."""
    if first.shape != second.shape:
        return False
    return int(cv2.absdiff(first, second).max()) <= _MOST_DIFFERENCE


def _small_copy(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    factor = min(1.0, _COPY_SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)


def _time(capture: cv2.VideoCapture, number: int) -> float:
    """Of the frame that was grabbed, in seconds; some files have no times but a rate."""
    milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
    if milliseconds > 0 or number == 0:
        return max(0.0, milliseconds / 1000)
    rate = capture.get(cv2.CAP_PROP_FPS)
    return number / (rate if rate > 0 else 25.0)


@contextmanager
def _prior_reset(reader: VideoReader) -> Iterator[bool]:
    """The reader without a prior before and after a video; whether it can have one."""
    try:
        before = reader.scale_prior
    except ValueError:
        yield False
        return
    try:
        reader.scale_prior = None
        yield True
    finally:
        reader.scale_prior = before


def _expect(reader: VideoReader, result: SpottingResult) -> None:
    """Take the scale of a result for likely."""
    # In tiles, or in parts that a look found, it is a mean of several.
    if result.focused or result.scale not in reader.scales:
        return
    number = len(reader.scales)
    prior = np.zeros(number, dtype=np.float32)
    # The logarithm of how much likelier it is than each of the others.
    prior[reader.scales.index(result.scale)] = log(_STAYS / (1 - _STAYS) * max(1, number - 1))
    reader.scale_prior = prior
