"""What a user set, key by key, and where: a config file with what it is based on, and overrides."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

__all__ = ["ConfigError", "Setting", "leaves", "read_settings"]

_BASE = "_BASE_"


class ConfigError(ValueError):
    """A configuration that cannot be used. The message names the file or key, and the remedy."""


@dataclass(frozen=True)
class Setting:
    """A key that was set.

    Attributes:
        key: its full name.
        value: as it was written.
        source: file, or "command line".
        rank: of the source; a later one overrides an earlier one.
    """

    key: str
    value: Any
    source: str
    rank: int


def read_settings(config_file: str, opts: Sequence[str]) -> list[Setting]:
    """All that was set, the strongest last.

    Args:
        config_file: YAML file; `_BASE_` in it names a file to start from, relative to it. Empty:
            none.
        opts: overrides as alternating keys and values.

    Raises:
        ConfigError: for a file that is missing, not plain YAML, or based on itself, and for
            overrides that are no pairs.
    """
    settings: list[Setting] = []
    for rank, file in enumerate(reversed(_chain(config_file)) if config_file else ()):
        name, content = file
        settings += [Setting(key, value, name, rank) for key, value in leaves(content)]
    if len(opts) % 2:
        raise ConfigError(
            f"overrides must be pairs of key and value, found {len(opts)} words: {' '.join(opts)}"
        )
    rank = settings[-1].rank + 1 if settings else 0
    pairs = zip(opts[::2], opts[1::2], strict=True)
    return settings + [Setting(key, value, "command line", rank) for key, value in pairs]


def _chain(config_file: str) -> list[tuple[str, dict[str, Any]]]:
    """A file, the one that it is based on, and so on."""
    chain: list[tuple[str, dict[str, Any]]] = []
    seen: set[str] = set()
    file = config_file
    while True:
        if not os.path.isfile(file):
            raise ConfigError(
                f"{chain[-1][0]}: its _BASE_ {file!r} does not exist"
                if chain
                else f"config file {file!r} does not exist"
            )
        if os.path.realpath(file) in seen:
            raise ConfigError(f"{config_file}: it is based on itself, by the _BASE_ of {file}")
        seen.add(os.path.realpath(file))
        content = _load(file)
        base = content.pop(_BASE, None)
        chain.append((file, content))
        if base is None:
            return chain
        if not isinstance(base, str) or not base:
            raise ConfigError(f"{file}: _BASE_ must name a file, found {base!r}")
        file = os.path.join(os.path.dirname(file), os.path.expanduser(base))


def _load(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as stream:
            content = yaml.safe_load(stream)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not plain YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(
            f"{file}: expected keys and values, found a {type(content).__name__}"
            if content is not None
            else f"{file}: the file holds no keys"
        )
    return content


def leaves(node: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names and values of the leaves of nested dictionaries."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
