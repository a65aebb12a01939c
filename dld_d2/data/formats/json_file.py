"""JSON files, with messages for users."""

from __future__ import annotations

import json
from typing import Any

from dld_d2.data.report import AnnotationError
from dld_d2.structures.files import check_regular_file

__all__ = ["load_object"]


def load_object(path: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        AnnotationError: naming file and line or key, if there is no file, it is no JSON, is nested
            too deep, holds no object, or an object in it has a key twice (which plain JSON readers
            silently merge).
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise AnnotationError(
                f"{path}, key {twice!r}: occurs twice in one object; remove one of them"
            )
        return content

    try:
        check_regular_file(path)
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"{path}:{error.lineno}: is no JSON there ({error.msg}, column {error.colno})"
        ) from None
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not UTF-8 text ({error}); convert the file") from None
    except RecursionError:
        raise AnnotationError(
            f"{path}: is nested too deep, lists in lists or objects in objects, to be annotations"
        ) from None
    except AnnotationError:
        raise
    except ValueError as error:  # a whole number of thousands of digits
        raise AnnotationError(f"{path}: holds what is no annotation ({error})") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content
