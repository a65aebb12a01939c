"""What a value may be: rules for the keys of a configuration, to be written down beside them.

A rule is a function of a value. It returns None if the value is allowed, else what is: the end of a
sentence that begins with "expected".
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Rule", "each", "empty_or", "file", "name_of", "number", "one_of", "whole"]

Rule = Callable[[Any], str | None]


def number(
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    note: str = "",
) -> Rule:
    """A finite number within limits.

    Args:
        least, most: limits that are allowed themselves.
        above, below: limits that are not.
        note: what a reader should know of these numbers, such as the meaning of 0.
    """
    return _number(int | float, "a number", (least, most, above, below), note)


def whole(least: int | None = None, most: int | None = None, *, note: str = "") -> Rule:
    """A whole number within limits, which are allowed; see `number`."""
    return _number(int, "a whole number", (least, most, None, None), note)


def _number(kind: Any, name: str, limits: tuple[float | None, ...], note: str) -> Rule:
    least, most, above, below = limits
    words = {"of at least": least, "above": above, "below": below, "at most": most}
    told = [
        f"{word} {limit:,}" if isinstance(limit, int) else f"{word} {limit:g}"
        for word, limit in words.items()
        if limit is not None
    ]
    expected = " ".join([name, " and ".join(told)]).strip() + (f" ({note})" if note else "")

    def rule(value: Any) -> str | None:
        fits = (
            isinstance(value, kind)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )
        return None if fits else expected

    return rule


def one_of(known: Iterable[str] | Callable[[], Iterable[str]], *, note: str = "") -> Rule:
    """One of some names.

    Args:
        known: the names; a function is asked each time, for what can still be registered.
        note: see `number`.
    """

    def rule(value: Any) -> str | None:
        names = list(known() if callable(known) else known)
        if value in names:
            return None
        shown = ", ".join(repr(name) for name in names) or "nothing, since there is none"
        return ("one of " if len(names) > 1 else "") + shown + (f" ({note})" if note else "")

    return rule


def name_of(what: str) -> Rule:
    """A text that is not empty and names something."""

    def rule(value: Any) -> str | None:
        return None if isinstance(value, str) and value else f"the name of {what}"

    return rule


def each(
    rule: Rule,
    count: int | None = None,
    *,
    least: int = 0,
    rising: bool = False,
    different: bool = False,
) -> Rule:
    """A list or tuple whose every value is allowed.

    Args:
        rule: of the values.
        count: how many there must be.
        least: how many there must be at least.
        rising: each must be above the one before it.
        different: none may occur twice.
    """

    def rule_of_all(values: Any) -> str | None:
        if not isinstance(values, list | tuple):
            return "a list"
        expected = next((told for value in values if (told := rule(value)) is not None), None)
        if expected is not None:
            return f"a list, each value in it {expected}"
        if count is not None and len(values) != count:
            return f"a list of {count} values"
        if len(values) < least:
            return f"a list of at least {least} value{'s' * (least > 1)}"
        if rising and any(b <= a for a, b in itertools.pairwise(values)):
            return "a list in which each number is above the one before it"
        if different and any(value in values[:i] for i, value in enumerate(values)):
            return "a list in which nothing occurs twice"
        return None

    return rule_of_all


def empty_or(rule: Rule) -> Rule:
    """What a rule allows, or the empty text."""

    def rule_or_empty(value: Any) -> str | None:
        expected = None if value == "" else rule(value)
        return None if expected is None else f'"" or {expected}'

    return rule_or_empty


def file(read: Callable[[str], Any]) -> Rule:
    """The name of a file that can be read.

    Args:
        read: reads it, or raises an OSError or ValueError.
    """

    def rule(value: Any) -> str | None:
        try:
            read(value)
        except FileNotFoundError:
            return f"a file that exists (its name is relative to {os.getcwd()})"
        except IsADirectoryError:
            return "a file, which a folder is not"
        except (OSError, ValueError) as error:
            return f"a file that can be read ({' '.join(str(error).split())})"
        return None

    return rule
