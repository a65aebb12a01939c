"""Characters that the recognition branch can read, and their numbers."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dld_d2.structures.files import check_regular_file

__all__ = ["PRINTABLE_ASCII", "Vocabulary"]

PRINTABLE_ASCII = "".join(chr(code) for code in range(ord(" "), ord("~") + 1))
assert set(PRINTABLE_ASCII) == set(string.printable) - set("\t\n\r\x0b\x0c")


class Vocabulary:
    """A bijection between characters and class numbers, with two further classes.

    Character `characters[i]` is class `i`. Class `begin` (= number of characters) is what the
    decoder is fed before the first character, class `end` is what it predicts after the last.
    Positions after the end carry `PADDING`, which the cross-entropy ignores.

    Raises:
        ValueError: for an empty set of characters, or one that contains a character twice.
    """

    PADDING = -100  # the default `ignore_index` of torch.nn.functional.cross_entropy

    def __init__(self, characters: str = PRINTABLE_ASCII) -> None:
        if not characters:
            raise ValueError("a vocabulary needs at least one character")
        repeated = sorted(c for c, times in Counter(characters).items() if times > 1)
        if repeated:
            raise ValueError(f"characters occur twice in the vocabulary: {repeated}")
        self.characters = characters
        self._class_of = {c: i for i, c in enumerate(characters)}

    @classmethod
    def from_config(cls, path: str) -> Vocabulary:
        """The vocabulary that `MODEL.RECOGNITION.VOCABULARY` names: a file, or "" for ASCII."""
        return cls.from_file(path) if path else cls()

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """Read the characters from the first line of a UTF-8 file.

        Raises:
            FileNotFoundError: if there is no such file.
            OSError: if it is none, such as a pipe.
            ValueError: naming the file, if the line is empty, repeats a character, or is not the
                only one.
        """
        check_regular_file(path)
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        if len(lines) != 1:
            raise ValueError(
                f"{path}: a vocabulary file is one line with all characters, found {len(lines)}"
            )
        try:
            return cls(lines[0])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def __len__(self) -> int:
        """Number of classes: the characters, begin and end."""
        return len(self.characters) + 2

    @property
    def begin(self) -> int:
        return len(self.characters)

    @property
    def end(self) -> int:
        return len(self.characters) + 1

    def can_encode(self, text: str, max_length: int) -> bool:
        """Whether `text` is a word of 1 to `max_length` characters out of this vocabulary."""
        return 0 < len(text) <= max_length and all(c in self._class_of for c in text)

    def encode(self, text: str, max_length: int) -> list[int]:
        """Class numbers of `text`, then `end`, then `PADDING` up to length `max_length + 1`.

        Raises:
            ValueError: if `can_encode` is false.
        """
        if not self.can_encode(text, max_length):
            raise ValueError(f"{text!r} is not a word of 1 to {max_length} known characters")
        classes = [self._class_of[c] for c in text]
        return [*classes, self.end, *[self.PADDING] * (max_length - len(text))]

    def decode(self, classes: Sequence[int]) -> str:
        """Text of a sequence of class numbers, up to the first that is no character."""
        text = []
        for number in classes:
            if not 0 <= number < len(self.characters):
                break
            text.append(self.characters[number])
        return "".join(text)
