"""Data sets described in a YAML file, for users who do not want to write Python.

datasets:
  my_train:
    image_root: images/train            # relative to the YAML file
    annotations: train.json
    format: datalist
  my_test:
    image_root: images/test
    annotations: gt
    format: icdar2015
    lexicons: {generic: words.txt}      # optional
    on_bad: skip                        # optional
    options: {}                         # optional, of the format
    part: not 9/10                      # optional: all but every tenth image; 9/10 are the others
  my_photographs:
    image_root: photos
    format: unlabelled                  # the one format without annotations
"""

from __future__ import annotations

import difflib
import os
import reprlib
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

import dld_d2.data.builtin  # noqa: F401 (the names of the built-in sets are taken first)
from dld_d2.data.catalog import expand_path, register_text_dataset, set_default_policy
from dld_d2.data.formats.registry import UNLABELLED
from dld_d2.data.report import AnnotationError
from dld_d2.structures.files import check_regular_file

__all__ = ["register_configured_datasets", "register_from_yaml"]

_MAX_FILE_BYTES = 2**20  # a data set takes some hundred; YAML of a megabyte takes ten seconds
_MAX_MERGED, _MAX_KEYS = 16, 10_000
_REQUIRED = ("image_root", "annotations", "format")
_OPTIONAL = ("lexicons", "on_bad", "options", "part")


def register_configured_datasets(cfg: CfgNode) -> None:
    """Register what `DATASETS.REGISTER` names and follow `DATASETS.ON_BAD_ANNOTATION`.

    Call it once after the configuration is complete; repeating it changes nothing.

    Raises:
        AnnotationError: if the YAML file cannot be used.
        ValueError: if `DATASETS.ON_BAD_ANNOTATION` is neither "raise" nor "skip".
    """
    try:
        set_default_policy(cfg.DATASETS.ON_BAD_ANNOTATION)
    except ValueError as error:
        raise ValueError(f"DATASETS.ON_BAD_ANNOTATION: {error}") from None
    if cfg.DATASETS.REGISTER:
        register_from_yaml(cfg.DATASETS.REGISTER)


def register_from_yaml(path: str | os.PathLike[str]) -> list[str]:
    """Register all data sets that a YAML file describes.

    Paths in the file are relative to its folder, and may hold `~` and environment variables.

    Returns:
        Names of the data sets.

    Raises:
        AnnotationError: naming the file, and the data set and key where there is one, if there is
            no such file, it is no YAML, lacks a key, has an unknown one or a wrong value.
    """
    path = Path(path)
    descriptions = _load(path)
    for name, description in descriptions.items():
        where = f"{path}, data set {name!r}"
        _check_description(where, description)
        folder = path.parent
        annotations = description.get("annotations")
        try:
            register_text_dataset(
                name,
                _relative_to(folder, description["image_root"]),
                None if annotations is None else _relative_to(folder, annotations),
                description["format"],
                lexicons={
                    key: _relative_to(folder, value)
                    for key, value in (description.get("lexicons") or {}).items()
                },
                on_bad=description.get("on_bad"),
                options=description.get("options"),
                part=description.get("part", ""),
            )
        except ValueError as error:
            raise AnnotationError(f"{where}: {error}") from None
    return list(descriptions)


class _Loader(yaml.SafeLoader):
    """Refuses mappings that are merged (`<<`) out of one another until they fill the memory, which
    PyYAML before 6.0.4 does."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        merged = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
        parts = sum(len(v.value) if isinstance(v, yaml.SequenceNode) else 1 for v in merged)
        if parts <= _MAX_MERGED:
            super().flatten_mapping(node)
        if parts > _MAX_MERGED or len(node.value) > _MAX_KEYS:
            raise yaml.constructor.ConstructorError(
                None, None, "too much is merged into one mapping", node.start_mark
            )


def _load(path: Path) -> dict[str, Any]:
    try:
        check_regular_file(path)
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise AnnotationError(
                f"{path}: has {size} bytes, more than {_MAX_FILE_BYTES}; is it a description of "
                "data sets (DATASETS.REGISTER)?"
            )
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except RecursionError:
        raise AnnotationError(f"{path}: is nested too deep to describe data sets") from None
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such file (DATASETS.REGISTER)") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error})") from None
    except AnnotationError:
        raise
    # A ValueError is a date that is none, or a whole number of thousands of digits.
    except (yaml.YAMLError, ValueError) as error:
        raise AnnotationError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("datasets"), dict):
        raise AnnotationError(f"{path}: expected a mapping 'datasets' from names to descriptions")
    _check_keys(f"{path}", content, ("datasets",))
    return content["datasets"]


def _check_description(where: str, description: Any) -> None:
    if not isinstance(description, dict):
        raise AnnotationError(f"{where}: expected a mapping with {', '.join(_REQUIRED)}")
    _check_keys(where, description, _REQUIRED + _OPTIONAL)
    missing = [key for key in _REQUIRED if key not in description]
    if description.get("format") == UNLABELLED:
        missing = [key for key in missing if key != "annotations"]
    if missing:
        raise AnnotationError(f"{where}: lacks {', '.join(missing)}")
    for key in (*_REQUIRED, "on_bad", "part"):
        if key in description and not isinstance(description[key], str):
            raise AnnotationError(f"{where}: {key} is a string, not {_shown(description[key])}")
    for key in ("lexicons", "options"):
        if not isinstance(description.get(key) or {}, dict):
            raise AnnotationError(f"{where}: {key} is a mapping, not {_shown(description[key])}")
    for key, value in (description.get("lexicons") or {}).items():
        if not isinstance(value, str):
            raise AnnotationError(f"{where}: lexicon {key} is a path, not {_shown(value)}")


def _shown(value: Any) -> str:
    """A value for a message, cut short: YAML may hold a list a million times by its name."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxstring = 2, 3, 3, 100
    return short.repr(value)


def _check_keys(where: str, mapping: dict[Any, Any], known: tuple[str, ...]) -> None:
    for key in mapping:
        if key not in known:
            near = difflib.get_close_matches(_shown(key).strip("'"), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise AnnotationError(f"{where}: unknown key {_shown(key)}; {hint}")


def _relative_to(folder: Path, path: str) -> str:
    return os.path.join(folder, expand_path(path))
