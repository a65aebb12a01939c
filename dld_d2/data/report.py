"""What happens to an annotation that cannot be used: an error, or a counted and listed skip."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from dld_d2.structures.errors import UsageError

__all__ = [
    "AnnotationError",
    "AnnotationReport",
    "BadAnnotationPolicy",
    "Skip",
    "check_policy",
    "shortened",
]

BadAnnotationPolicy = Literal["raise", "skip"]

# Log lines for single skips; the report file of tools/prepare_dataset.py has no such limit.
_MAX_LISTED = 200

_MAX_SHOWN = 1000  # characters of a place or message: a bad line may have millions


class AnnotationError(UsageError):
    """An annotation, image or index cannot be used. The message names the place and the fix."""


class Skip(NamedTuple):
    """One annotation or image that was left out.

    Attributes:
        where: file, with line number or key where the file has such.
        reason: short category, e.g. "zero area".
        message: what is wrong and how to mend it.
    """

    where: str
    reason: str
    message: str


def shortened(text: str, length: int = _MAX_SHOWN) -> str:
    """What can be shown of a text that may come from anybody: its two ends, if it is longer."""
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]} ... {text[-half:]}"


def check_policy(policy: str) -> BadAnnotationPolicy:
    """Return `policy` if it is one.

    Raises:
        ValueError: for anything but "raise" and "skip".
    """
    if policy not in get_args(BadAnnotationPolicy):
        raise ValueError(f'what to do with bad annotations is "raise" or "skip", not {policy!r}')
    return policy  # type: ignore[return-value]


class AnnotationReport:
    """Collects what a reader leaves out or changes.

    Attributes:
        on_bad: "raise" or "skip".
        skips: everything left out, in reading order.
        notes: how often something harmless was changed, e.g. "clipped to the image".
        expected: number of images that the reader is going to look at, for progress bars; None
            until it knows.
    """

    def __init__(self, on_bad: BadAnnotationPolicy = "raise") -> None:
        self.on_bad = check_policy(on_bad)
        self.skips: list[Skip] = []
        self.notes: Counter[str] = Counter()
        self.expected: int | None = None

    def bad(self, where: str, reason: str, message: str) -> None:
        """Report an annotation or image that cannot be used.

        Raises:
            AnnotationError: if the policy is "raise". Otherwise the caller leaves it out.
        """
        where, message = shortened(where), shortened(message)
        if self.on_bad == "raise":
            raise AnnotationError(
                f"{where}: {message} "
                "[to leave out what cannot be used, counted and listed: on_bad='skip', "
                "DATASETS.ON_BAD_ANNOTATION skip or --skip-bad]"
            )
        self.skips.append(Skip(where, reason, message))

    def note(self, what: str) -> None:
        """Count a harmless change."""
        self.notes[what] += 1

    def counts(self) -> dict[str, int]:
        """Number of skips by reason, most frequent first."""
        return dict(Counter(skip.reason for skip in self.skips).most_common())

    def log(self, name: str, logger: logging.Logger) -> None:
        """Write one warning with all skips, and one line about the notes, if there are any."""
        if self.notes:
            changed = ", ".join(f"{what}: {count}" for what, count in self.notes.most_common())
            logger.info(f"{name}: {changed}")
        if self.skips:
            counts = ", ".join(f"{reason}: {count}" for reason, count in self.counts().items())
            lines = [f"{name}: left out {len(self.skips)} ({counts})"]
            lines += [f"  {skip.where}: {skip.message}" for skip in self.skips[:_MAX_LISTED]]
            if len(self.skips) > _MAX_LISTED:
                rest = len(self.skips) - _MAX_LISTED
                lines.append(f"  and {rest} more; tools/prepare_dataset.py --report lists them all")
            logger.warning("\n".join(lines))

    def write(self, path: str | Path) -> None:
        """Write all skips as tab-separated lines: place, reason, message."""
        with open(path, "w", encoding="utf-8") as file:
            file.write("where\treason\tmessage\n")
            for skip in self.skips:
                file.write("\t".join(" ".join(field.split()) for field in skip) + "\n")
