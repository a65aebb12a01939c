"""What a user set, key by key, and where: a config file with what it is based on, and overrides."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dld_d2.engine.config_file import read_config_file
from dld_d2.structures.errors import ConfigError

__all__ = ["ConfigError", "Setting", "leaves", "read_settings"]

_BASE = "_BASE_"


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
        ConfigError: as `read_config_file`; for a file that is based on itself, and for overrides
            that are no pairs.
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
    file, base = config_file, None
    while True:
        if not os.path.exists(file):
            raise ConfigError(
                f"{chain[-1][0]}: its _BASE_ {file!r} does not exist; the name is relative to the "
                "file that it stands in"
                if chain
                else f"config file {file!r} does not exist"
            )
        if os.path.realpath(file) in seen:
            raise ConfigError(
                f"{config_file}: it is based on itself, by the _BASE_ of {chain[-1][0]}, {base!r}; "
                "take that line out"
            )
        seen.add(os.path.realpath(file))
        content = read_config_file(file)
        base = content.pop(_BASE, None)
        chain.append((file, content))
        if base is None:
            return chain
        if not isinstance(base, str) or not base:
            raise ConfigError(f"{file}: _BASE_ must name a file, found {base!r}")
        if "://" in base:
            raise ConfigError(
                f"{file}: its _BASE_ {base!r} is an address; save the file beside this one and "
                "name that"
            )
        file = os.path.join(os.path.dirname(file), os.path.expanduser(base))


def leaves(node: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names and values of the leaves of nested dictionaries."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
