"""Names that parameters had in version 0.1."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["current_names"]

# A distiller held its student, the reader stood beside the RoI heads, and what only training needs
# was among the model's own.
_STUDENT = re.compile(r"^student\.")
_HEAD = re.compile(r"^(spotter\.)?recognition\.")
_LEFT_OUT = re.compile(r"^aligner\.")


def current_names(state: dict[str, Any]) -> dict[str, Any]:
    """A model's state by the names of this version; one that has them already stays as it is."""
    if not any(_STUDENT.match(name) or _HEAD.match(name) for name in state):
        return state
    renamed = {}
    for name, value in state.items():
        if _LEFT_OUT.match(name):
            continue
        name = _STUDENT.sub("spotter.", name)
        renamed[_HEAD.sub(r"\1roi_heads.text_head.", name)] = value
    return renamed
