"""Lexicons of synthetic sets, made like those of the ICDAR Robust Reading Competition."""

from __future__ import annotations

from collections.abc import Iterable

from dld_d2.data.records import image_id
from dld_d2.evaluation.transcription import MIN_DICTIONARY_WORD_LENGTH, dictionary_word
from dld_d2.synthetic.dataset import SyntheticDataset
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.texts import word_list

__all__ = ["STRONG_SIZE", "generic_lexicon", "strong_lexicons", "weak_lexicon"]

STRONG_SIZE = 100
"""Words of a strong lexicon, distractors included."""

_LEXICON_STREAM = 2


def weak_lexicon(dataset: SyntheticDataset) -> list[str]:
    """All words of a set, sorted, each once.

    As in the competition, words have at least three characters. Texts with digits or "+" are left
    out, because lexicons correct none of them.
    """
    words = (word for index in range(len(dataset)) for word in _words(dataset, index))
    return _distinct(words)


def generic_lexicon(dataset: SyntheticDataset) -> list[str]:
    """The built-in word list (not the shortest words) and all words of the set, sorted."""
    common = (word for word in word_list() if len(word) >= MIN_DICTIONARY_WORD_LENGTH)
    return _distinct([*weak_lexicon(dataset), *common])


def strong_lexicons(dataset: SyntheticDataset) -> dict[str, list[str]]:
    """For each image, by its id, its words and distractors out of the whole set, 100 in all."""
    weak = weak_lexicon(dataset)
    lexicons = {}
    for index in range(len(dataset)):
        words = {word.upper(): word for word in _words(dataset, index)}
        draws = Draws(dataset.seed, index, _LEXICON_STREAM)
        wanted = min(max(STRONG_SIZE, len(words)), len(weak))
        while len(words) < wanted:
            word = draws.pick(weak)
            words.setdefault(word.upper(), word)
        lexicons[image_id(dataset.record(index).file_name)] = _distinct(words.values())
    return lexicons


def _words(dataset: SyntheticDataset, index: int) -> list[str]:
    record = dataset.record(index)
    readable = (t for t, ignore in zip(record.texts, record.ignore, strict=True) if not ignore)
    return [word for text in readable if (word := _entry(text)) is not None]


def _entry(text: str) -> str | None:
    """What a lexicon has for a text: without the punctuation that the protocol forgives."""
    if len(text) < MIN_DICTIONARY_WORD_LENGTH or "+" in text or any(c.isdigit() for c in text):
        return None
    return dictionary_word(text) or text


def _distinct(words: Iterable[str]) -> list[str]:
    """Sorted; of words that differ in case alone, the first in order of their code points."""
    by_upper: dict[str, str] = {}
    for word in sorted(words):
        by_upper.setdefault(word.upper(), word)
    return [by_upper[key] for key in sorted(by_upper)]
