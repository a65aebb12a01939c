"""Engines that map an image to words: what they must be like, and two that are often installed.

An engine is any callable that takes an image, (H, W, 3) uint8 in BGR, and returns its words, each a
`Word`, `(polygon, text)` or `(polygon, text, score)`, polygons in pixels of that image. It must
read the image at the size at which it is given: what an engine enlarges again is not cheaper.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dld_d2.deployment.runtime.resizing import resize_by_area
from dld_d2.structures.errors import UsageError
from dld_d2.structures.sizes import scaled_size
from dld_d2.structures.word import Word

__all__ = [
    "Engine",
    "NamedEngine",
    "Sides",
    "find_engine",
    "rapidocr",
    "rapidocr_words",
    "read_at",
    "tesseract",
]

Engine = Callable[[np.ndarray], Sequence[Word | tuple]]
"""See this module."""


@dataclass(frozen=True)
class Sides:
    """What the full size of an image is, which scales are relative to.

    Attributes:
        min_side: smaller images are enlarged until their short side has so many pixels.
        max_side: no side is longer than this, in pixels; 0 for no limit. It goes before `min_side`.
    """

    min_side: int = 0
    max_side: int = 0

    def __post_init__(self) -> None:
        if self.min_side < 0 or self.max_side < 0 or 0 < self.max_side < self.min_side:
            raise ValueError(
                f"sides of {self.min_side} pixels at least and {self.max_side} at most: they must "
                "be 0 or more, and the second 0 or not below the first"
            )

    def full(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width at full size of an image of this height and width."""
        factor = max(1.0, self.min_side / min(size))
        if self.max_side:
            factor = min(factor, self.max_side / max(size))
        return scaled_size(size, factor)


@dataclass(frozen=True)
class NamedEngine:
    """An engine, and what is known of it.

    Attributes:
        name: as users give it.
        read: the engine.
        sides: the full size that it would take by itself.
    """

    name: str
    read: Engine
    sides: Sides = Sides()


def read_at(engine: Engine, image: np.ndarray, size: tuple[int, int]) -> list[Word]:
    """What an engine finds in an image at another size.

    Args:
        engine: see this module.
        image: (H, W, 3) uint8, BGR.
        size: height and width at which the engine sees it.

    Returns:
        Words with polygons (K, 2) float64 in pixels of `image`.

    Raises:
        ValueError: for what is no sequence of words.
    """
    ratio = np.array([image.shape[1] / size[1], image.shape[0] / size[0]])
    found = engine(resize_by_area(image, size))
    try:
        return [_word(one, ratio) for one in found]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the engine's result is no list of words ({error}); each must be a Word, "
            "(polygon, text) or (polygon, text, score)"
        ) from None


def _word(found: Word | tuple, ratio: np.ndarray) -> Word:
    if isinstance(found, Word):
        found = found.polygon, found.text, found.score, found.detection_score
    polygon, text, *scores = found
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"a polygon is of shape {points.shape}, not (K, 2) with K >= 3")
    if not isinstance(text, str):
        raise TypeError(f"a text is a {type(text).__name__}")
    return Word(points * ratio, text, *scores)


def find_engine(name: str) -> NamedEngine:
    """An engine by its name.

    Args:
        name: "rapidocr", "tesseract", or "MODULE:FUNCTION", where the function is the engine; the
            module may lie in the current folder.

    Raises:
        UsageError: if there is none of that name, or if what it needs is not installed.
    """
    if name in _KNOWN:
        build, sides = _KNOWN[name]
        return NamedEngine(name, build(), sides)
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise UsageError(
            f"--engine {name}: there is {', '.join(_KNOWN)}, or MODULE:FUNCTION for one of yours"
        )
    sys.path.insert(0, "")
    try:
        engine = importlib.import_module(module)
        for part in function.split("."):
            engine = getattr(engine, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--engine {name}: {error}") from None
    finally:
        sys.path.remove("")
    if not callable(engine):
        raise UsageError(f"--engine {name}: is a {type(engine).__name__}, which cannot be called")
    return NamedEngine(name, engine)


def rapidocr(threads: int = 1, **params: Any) -> Engine:
    """RapidOCR with boxes of words, at the size of what it is given.

    By itself it enlarges images to 736 pixels, so that a smaller one would not be cheaper; here
    `Sides(736, 2000)` says so instead.

    Args:
        threads: within a network.
        **params: more of its parameters, with "." as "__", such as `Det__box_thresh=0.6`.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        from rapidocr import RapidOCR
    except ImportError:
        raise UsageError("the engine rapidocr: pip install rapidocr onnxruntime") from None
    engine = RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": threads,
            "Global.log_level": "error",
            # Its networks take multiples of 32.
            "Det.limit_side_len": 32,
            **{key.replace("__", "."): value for key, value in params.items()},
        }
    )
    return lambda image: rapidocr_words(engine(image, return_word_box=True))


def rapidocr_words(result: Any) -> list[Word]:
    """The words of what `RapidOCR.__call__` returns with `return_word_box=True`."""
    # Where nothing is found its word_results are no lines, but one empty word.
    lines = () if result.txts is None else result.word_results
    return [
        Word(np.asarray(box, dtype=np.float64), text, float(score))
        for line in lines
        for text, score, box in line
        if text and box is not None
    ]


def tesseract(
    config: str = "--psm 11", min_confidence: float = 50.0, language: str | None = None
) -> Engine:
    """Tesseract by pytesseract, for words that stand anywhere.

    Args:
        config: of the program; 11 looks for as much text as possible in no order.
        min_confidence: 0 to 100; words with less are left out, most of which are none.
        language: None for the program's own.

    Raises:
        UsageError: if the package or the program is not installed.
    """
    try:
        import pytesseract

        pytesseract.get_tesseract_version()
    except ImportError:
        raise UsageError("the engine tesseract: pip install pytesseract") from None
    except OSError as error:
        raise UsageError(
            f"the engine tesseract: {error} (Debian, Ubuntu: apt install tesseract-ocr)"
        ) from None

    def read(image: np.ndarray) -> list[Word]:
        found = pytesseract.image_to_data(
            np.ascontiguousarray(image[:, :, ::-1]),
            lang=language,
            config=config,
            output_type=pytesseract.Output.DICT,
        )
        columns = (found[key] for key in ("left", "top", "width", "height", "text", "conf"))
        return [
            Word(
                np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], dtype=np.float64),
                text,
                confidence / 100,
            )
            for x, y, w, h, text, confidence in zip(*columns, strict=True)
            if text.strip() and confidence >= min_confidence
        ]

    return read


_KNOWN: dict[str, tuple[Callable[[], Engine], Sides]] = {
    "rapidocr": (rapidocr, Sides(736, 2000)),
    "tesseract": (tesseract, Sides()),
}
