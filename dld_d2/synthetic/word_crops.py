"""Pictures of real words, to be pasted into scenes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from dld_d2.data.image_size import read_image_size
from dld_d2.data.report import AnnotationError

__all__ = ["LABELS", "WordCrop", "read_word_crops"]

LABELS = "labels.tsv"
_MIN_HEIGHT = 8  # pixels; what is lower is no use as texture


@dataclass(frozen=True)
class WordCrop:
    """The picture of one word.

    Attributes:
        path: of the picture.
        text: what it says.
        height, width: in pixels.
        readable: whether `text` can be the transcription of a readable word: up to 25 characters
            of printable ASCII without space and comma. Others are pasted as don't-care.
    """

    path: str
    text: str
    height: int
    width: int
    readable: bool


@lru_cache(maxsize=4)
def read_word_crops(folder: str) -> tuple[WordCrop, ...]:
    """Read `labels.tsv` of a folder: file name, tab, transcription, one picture a line.

    Pictures that are much higher than wide (1.25 times), or lower than 8 pixels, are left out.

    Raises:
        AnnotationError: naming file and line, for a line of another form or a picture that cannot
            be read; or if nothing is left.
    """
    labels = Path(folder) / LABELS
    try:
        lines = labels.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise AnnotationError(
            f"{labels}: does not exist; a folder of word pictures needs this file, with a file "
            "name, a tab and a transcription on each line"
        ) from None
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{labels}: is not UTF-8 ({error}); convert it") from None
    crops = []
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r")
        if not line:
            continue
        name, tab, text = line.partition("\t")
        if not tab or not name:
            raise AnnotationError(
                f"{labels}:{number}: expected a file name, a tab and a transcription, found "
                f"{line!r}"
            )
        path = os.path.join(folder, name)
        try:
            height, width = read_image_size(path)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise AnnotationError(
                f"{labels}:{number}: the picture {path} cannot be read ({error})"
            ) from None
        if height >= _MIN_HEIGHT and width >= 0.8 * height:
            crops.append(WordCrop(path, text, height, width, _is_readable(text)))
    if not crops:
        raise AnnotationError(
            f"{labels}: names no picture of a lying word of at least {_MIN_HEIGHT} pixels"
        )
    return tuple(crops)


def _is_readable(text: str) -> bool:
    return 0 < len(text) <= 25 and all("!" <= c <= "~" and c != "," for c in text) and text != "###"
