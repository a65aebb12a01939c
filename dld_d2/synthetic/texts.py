"""What the words of a scene say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dld_d2.synthetic.config import SceneConfig
from dld_d2.synthetic.draws import Draws

__all__ = ["TextSource", "word_list"]

_CASES = {"upper": 0.42, "title": 0.33, "lower": 0.20, "mixed": 0.05}

_ONSETS = (
    *"bcdfghjklmnprstvwz",
    *("br", "cr", "dr", "fr", "gr", "kr", "pr", "tr", "bl", "cl", "fl", "gl", "pl", "sl"),
    *("sh", "ch", "st", "sp", "th", "qu"),
)
_VOWELS = (*"aeiouaeio", "ai", "ea", "ee", "oo", "ou")
_CODAS = ("", "", "", *"nrlstxm", "ck", "nd", "rt", "st", "ss", "ng")


@lru_cache(maxsize=1)
def word_list() -> tuple[str, ...]:
    """The built-in list, sorted: some 3,200 English words in lower case, many from signs."""
    path = Path(__file__).with_name("words.txt")
    return tuple(path.read_text(encoding="ascii").split())


@lru_cache(maxsize=32)
def _words_up_to(length: int) -> tuple[str, ...]:
    return tuple(word for word in word_list() if len(word) <= length)


@dataclass(frozen=True)
class TextSource:
    """Draws texts as `SceneConfig` describes them. No text holds a space or a comma."""

    config: SceneConfig

    def case(self, draws: Draws) -> str:
        """A way to write words, kept within a block."""
        return draws.pick_weighted(_CASES)

    def draw(self, draws: Draws, case: str, max_length: int) -> str:
        """A text of 1 to `max_length` (at least 2) characters of printable ASCII."""
        config = self.config
        max_length = min(max_length, config.max_text_length)
        kind = draws.unit()
        if kind < config.numbers:
            return _number(draws, max_length)
        if kind < config.numbers + config.names:
            return _cased(_name(draws, max_length), case, draws)
        word = draws.pick(_words_up_to(max_length))
        if kind < config.numbers + config.names + config.marked:
            return _marked(draws, _cased(word, case, draws), max_length)
        return _cased(word, case, draws)


def _cased(word: str, case: str, draws: Draws) -> str:
    if case == "upper":
        return word.upper()
    if case == "title":
        return word.capitalize()
    if case == "mixed" and len(word) > 3:
        place = draws.integer(2, len(word) - 2)
        return word[:place].capitalize() + word[place:].capitalize()
    return word


def _digits(draws: Draws, count: int) -> str:
    return str(draws.integer(1, 9)) + "".join(str(draws.integer(0, 9)) for _ in range(count - 1))


def _number(draws: Draws, max_length: int) -> str:
    digits = _digits(draws, 4)
    two = f"{draws.integer(0, 59):02d}"
    forms = (
        digits[:1],
        digits[:2],
        digits[:3],
        digits,
        str(draws.integer(1880, 2029)),
        f"{digits[:2]}%",
        f"-{digits[0]}0%",
        f"${digits[:2]}",
        f"${digits[0]}.99",
        f"{digits[:2]}.{two}",
        f"{draws.integer(0, 23)}:{two}",
        f"{digits[:2]}km",
        f"{digits[0]}{draws.pick('ABCDEFGHKLMNPRSTX')}",
        f"{draws.pick('ABCDEFHJKLMN')}{digits[:2]}",
        f"No.{digits[:2]}",
        f"{_digits(draws, 3)}-{_digits(draws, 4)}",
        f"({_digits(draws, 3)})",
        f"{_digits(draws, 2)}/{_digits(draws, 2)}",
        f"+{_digits(draws, 2)}-{_digits(draws, 3)}-{_digits(draws, 3)}",
    )
    return draws.pick([form for form in forms if len(form) <= max_length])


def _name(draws: Draws, max_length: int) -> str:
    name = ""
    for _ in range(draws.integer(1, 3)):
        longer = name + draws.pick(_ONSETS) + draws.pick(_VOWELS) + draws.pick(_CODAS)
        if len(longer) > max_length:
            break
        name = longer
    if len(name) >= 2:
        return name
    return draws.pick("bdfgklmnprst") + draws.pick("aeiou")


def _marked(draws: Draws, word: str, max_length: int) -> str:
    number = str(draws.integer(1, 99))
    forms = (
        f"{word}!",
        f"{word}.",
        f"{word}:",
        f"{word}?",
        f"O'{word}",
        f'"{word}"',
        f"({word})",
        f"{word}-{number}",
        f"#{word}",
        f"@{word}",
        f"{word}&{draws.pick(('Co', 'Son', 'Sons', 'Bar'))}",
        f"{word}/{draws.pick(_words_up_to(4))}",
        f"{word}.com",
    )
    fitting = [form for form in forms if len(form) <= max_length]
    return draws.pick(fitting) if fitting else word
