"""Pictures that commands draw words on, and write."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dld_d2.analysis.visualization import DrawnWord
from dld_d2.deployment.result import SpottingResult

__all__ = ["enlargement", "frames_of", "write_picture"]


def enlargement(image: np.ndarray) -> float:
    """How much to enlarge an image for drawing words on it: labels have a least size in pixels, at
    which they would hide the words of a small one."""
    return max(1.0, 1600 / max(image.shape[:2]))


def frames_of(result: SpottingResult) -> list[DrawnWord]:
    """Gray frames around the parts that were read, if a look found them, else none."""
    if not result.focused:
        return []
    boxes = [np.array(tile.box)[[0, 1, 2, 1, 2, 3, 0, 3]] for tile in result.tiles]
    return [DrawnWord(box.reshape(4, 2), color="grey") for box in boxes]


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 picture in BGR, in the format that the name ends in.

    Raises:
        OSError: if it cannot be written, with the reason: OpenCV's own writing fails without one,
            and on some file names.
    """
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
