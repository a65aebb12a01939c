"""Reading one YAML file of configuration keys, which may be anything at all."""

from __future__ import annotations

import itertools
import os
import stat
from typing import Any

import yaml

from dld_d2.structures.errors import ConfigError

__all__ = ["read_config_file"]

_MAX_BYTES = 2**20  # a training's config.yaml, which holds all keys, has some 10,000
_MAX_DEPTH = 16  # sections within sections; there are five
_MAX_OPEN = 100  # brackets, wherever they stand
_MAX_ALIASES = 16  # each may double what the file stands for


class _Loader(yaml.SafeLoader):
    """Plain YAML, with few aliases and each key once: of two sections of one name YAML would keep
    the last."""

    aliases = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if (key.tag, key.value) in seen:
                    raise _problem(f"the key {key.value} stands there twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > _MAX_ALIASES:
                raise _problem(
                    f"more than {_MAX_ALIASES} aliases (*name); write the values out",
                    self.peek_event().start_mark,
                )
        return super().compose_node(parent, index)


def _problem(what: str, mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, mark)


def read_config_file(file: str) -> dict[Any, Any]:
    """The keys and values of a file, nested in sections as they are written.

    Raises:
        ConfigError: if there is no such file, or if it is a folder or a pipe, cannot be read, is
            not plain YAML, or holds something else than keys.
    """
    content = _load(file, _text(file))
    if content is None:
        raise ConfigError(f"{file}: the file holds no keys; is it the right one?")
    if not isinstance(content, dict):
        kind = {"list": "a list", "str": "text"}.get(type(content).__name__, "one value")
        raise ConfigError(
            f'{file}: expected keys and values, such as "SEED: 1" on a line, found {kind}'
        )
    _check_depth(file, content)
    return content


def _text(file: str) -> str:
    try:
        status = os.stat(file)
        if stat.S_ISDIR(status.st_mode):
            raise ConfigError(f"{file}: is a folder; name a .yaml file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{file}: is no regular file")
        if status.st_size > _MAX_BYTES:
            raise ConfigError(
                f"{file}: has {status.st_size:,} bytes, more than any configuration; is it the "
                "right file?"
            )
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: not plain YAML, since byte {error.start} is no UTF-8 text; is it a .yaml "
            "file, and saved as UTF-8?"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"{file}: cannot be read ({reason})") from None


def _load(file: str, text: str) -> Any:
    # PyYAML takes time with the square of how many are open.
    steps = ({"[": 1, "{": 1, "]": -1, "}": -1}.get(letter, 0) for letter in text)
    if max(itertools.accumulate(steps), default=0) > _MAX_OPEN:
        raise _too_deep(file)
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise _too_deep(file) from None
    # A ValueError is a date that is none, or a whole number of thousands of digits.
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        what = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(f"{file}: not plain YAML{place}: {what}") from None


def _check_depth(file: str, node: Any, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise _too_deep(file)
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            _check_depth(file, value, depth + 1)


def _too_deep(file: str) -> ConfigError:
    return ConfigError(
        f"{file}: sections are nested deeper than {_MAX_DEPTH}; is it a configuration?"
    )
