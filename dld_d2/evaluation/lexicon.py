"""Lexicons: correcting what a spotter read by the words it may have read.

The RRC (Robust Reading Competition) tasks come with *strong* lexicons (one for each image), *weak*
(all words of the test set) and *generic* (90k words) ones; Total-Text with a *full* one. The rule
is the same for all: see `Lexicon.correct`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from dld_d2.evaluation.archive import MAX_FILE_BYTES, decode, read_members
from dld_d2.evaluation.transcription import strip_commas
from dld_d2.evaluation.words import EvaluationInputError
from dld_d2.structures.limits import MAX_TEXT_LENGTH

MIN_CORRECTED_LENGTH = 3

_VOCABULARY_NAME = re.compile(r"voc_(?:img_?)?(.+)\.txt")
_DISTANCES_IN_MEMORY = 16_000_000


class Lexicon:
    """Words that may occur, searched by edit distance.

    Args:
        words: in order of precedence; words equal in upper case count once, the first.

    Raises:
        EvaluationInputError: no words.
    """

    def __init__(self, words: Iterable[str]):
        by_upper: dict[str, str] = {}
        for word in words:
            by_upper.setdefault(word.upper(), word)
        if not by_upper:
            raise EvaluationInputError("a lexicon needs at least one word")
        self._by_upper = by_upper
        self._upper = list(by_upper)
        self._nearest: dict[str, str] = {}  # query in upper case -> word, over all calls

    def __len__(self) -> int:
        """Number of words that differ in upper case."""
        return len(self._upper)

    def correct(self, texts: Sequence[str]) -> list[str]:
        """Replace each text by its nearest word.

        A text of at least 3 characters without a digit and without "+" becomes the word with the
        smallest Levenshtein distance between upper cases, the first such word on a tie. Other
        texts stay. Commas are removed before and after.
        """
        texts = [strip_commas(text) for text in texts]
        queries = [text.upper() if _is_corrected(text) else None for text in texts]
        unknown = dict.fromkeys(
            query for query in queries if query is not None and query not in self._nearest
        )
        self._search([query for query in unknown if not self._look_up(query)])
        return [
            text if query is None else strip_commas(self._nearest[query])
            for text, query in zip(texts, queries, strict=True)
        ]

    def _look_up(self, query: str) -> bool:
        if query not in self._by_upper:
            return False
        self._nearest[query] = self._by_upper[query]
        return True

    def _search(self, queries: list[str]) -> None:
        block = max(1, _DISTANCES_IN_MEMORY // len(self._upper))
        for start in range(0, len(queries), block):
            some = queries[start : start + block]
            distances = process.cdist(
                some, self._upper, scorer=Levenshtein.distance, dtype=np.uint16
            )
            for query, index in zip(some, distances.argmin(axis=1), strict=True):
                self._nearest[query] = self._by_upper[self._upper[index]]


def _is_corrected(text: str) -> bool:
    return (
        len(text) >= MIN_CORRECTED_LENGTH
        and "+" not in text
        and not any(character.isdigit() for character in text)
    )


class ImageLexicons:
    """Strong lexicons: one for each image.

    Args:
        lexicons: image id -> words, in order of precedence.
        source: what to call them in messages.

    Raises:
        EvaluationInputError: an image without words.
    """

    def __init__(
        self, lexicons: Mapping[object, Iterable[str]], source: str = "the strong lexicons"
    ):
        self._source = source
        # One string for each image: thousands of lexicons are kept, and each is needed once.
        self._lines: dict[str, str] = {}
        for image_id, words in lexicons.items():
            lines = "\n".join(words)
            if not lines:
                raise EvaluationInputError(f"{source}: the lexicon of image {image_id} is empty")
            self._lines[str(image_id)] = lines

    def __len__(self) -> int:
        """Number of images."""
        return len(self._lines)

    def correct(self, image_id: str, texts: Sequence[str]) -> list[str]:
        """See `Lexicon.correct`.

        Raises:
            EvaluationInputError: there are texts but no lexicon for the image.
        """
        if not texts:
            return []
        lines = self._lines.get(str(image_id))
        if lines is None:
            raise EvaluationInputError(
                f"{self._source}: no lexicon for image {image_id} (voc_img_{image_id}.txt)"
            )
        return Lexicon(lines.split("\n")).correct(texts)


def correct_images(
    lexicon: Lexicon | ImageLexicons | None, texts: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """Correct the readings of many images in one search (None only removes commas)."""
    if lexicon is None:
        return {key: [strip_commas(text) for text in some] for key, some in texts.items()}
    if isinstance(lexicon, ImageLexicons):
        return {key: lexicon.correct(key, some) for key, some in texts.items()}
    flat = lexicon.correct([text for some in texts.values() for text in some])
    corrected, start = {}, 0
    for key, some in texts.items():
        corrected[key] = flat[start : start + len(some)]
        start += len(some)
    return corrected


def read_lexicon(path: str | Path) -> Lexicon | ImageLexicons:
    """Read a lexicon: one word a line, in UTF-8.

    Args:
        path: a text file (weak, generic, full), or for strong lexicons a folder or a zip of
            `voc_img_1.txt`, which in a zip may lie in a folder.

    Raises:
        EvaluationInputError: no such path, wrong names, not UTF-8, or a file without words.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return _read_image_lexicons(path)
    if not path.is_file():
        what = "is no file" if path.exists() else "no such lexicon"
        raise EvaluationInputError(f"{path}: {what}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise EvaluationInputError(f"{path}: larger than {MAX_FILE_BYTES} bytes; is it a lexicon?")
    words = _parse_words(path.read_bytes(), str(path))
    if not words:
        raise EvaluationInputError(f"{path}: a lexicon needs at least one word")
    return Lexicon(words)


def _read_image_lexicons(path: Path) -> ImageLexicons:
    lexicons: dict[str, list[str]] = {}
    for name, content in read_members(path, allow_folder=True):
        match = _VOCABULARY_NAME.fullmatch(name)
        if match is None:
            raise EvaluationInputError(
                f"{path}: unexpected file {name!r}; strong lexicons are named voc_img_N.txt"
            )
        if match.group(1) in lexicons:
            raise EvaluationInputError(f"{path}: two lexicons for image {match.group(1)}")
        lexicons[match.group(1)] = _parse_words(content, f"{path}: {name}")
    return ImageLexicons(lexicons, source=str(path))


def _parse_words(content: bytes, where: str) -> list[str]:
    lines = [line.strip() for line in decode(content, where).split("\n")]
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_TEXT_LENGTH:
            raise EvaluationInputError(
                f"{where}, line {number}: a word of {len(line)} characters, more than "
                f"{MAX_TEXT_LENGTH}; a lexicon has one word a line"
            )
    return [line for line in lines if line]
