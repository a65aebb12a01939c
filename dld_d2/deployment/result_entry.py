"""What was found in an image as plain values, for JSON."""

from __future__ import annotations

from typing import Any

from dld_d2.deployment.result import SpottingResult
from dld_d2.structures.word import Word

__all__ = ["result_entry", "word_entry"]


def result_entry(result: SpottingResult) -> dict[str, Any]:
    """The image's "width" and "height" in pixels; "scale" and "relative_cost"; "tiles", their
    number, if it was read in tiles, or in parts that a look found; and "words", see
    `word_entry`."""
    height, width = result.image_size
    return {
        "width": width,
        "height": height,
        "scale": round(result.scale, 6),
        "relative_cost": round(result.relative_cost, 6),
        **({"tiles": len(result.tiles)} if result.tiles or result.focused else {}),
        "words": [word_entry(word) for word in result],
    }


def word_entry(word: Word) -> dict[str, Any]:
    """ "text", "score", "detection_score", and "polygon", a list of x, y in pixels."""
    return {
        "text": word.text,
        "score": round(word.score, 4),
        "detection_score": round(word.detection_score, 4),
        "polygon": [[round(float(x), 2), round(float(y), 2)] for x, y in word.polygon],
    }
