"""The trained models that come with this package.

Each is a file that `TextSpotter.from_file` and `MODEL.WEIGHTS` take, beside it a card in YAML: what
it is, how it was made, and what it scores. `photo_student` reads photographs: it is `photo_teacher`
with a network that looks first, which has a file of its own. The tiny ones learnt from synthetic
scenes alone, see docs/models.md.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from dld_d2.structures.errors import DamagedFileError

__all__ = ["DEFAULT", "card", "find_model", "focus_file", "names", "reads", "weights_file"]

DEFAULT = "photo_student"
"""The model that is meant for reading photographs."""

_FOLDER = Path(__file__).parents[1] / "weights"

# Models that are another one, and look first: its name, and that of the network's file.
_LOOK_FIRST = {"photo_student": ("photo_teacher", "photo_focus.onnx")}


def names() -> list[str]:
    """Of all models."""
    found = {path.stem for path in _FOLDER.glob("*.safetensors")}
    look = {
        name
        for name, (reads, file) in _LOOK_FIRST.items()
        if reads in found and (_FOLDER / file).is_file()
    }
    return sorted(found | look)


def reads(name: str) -> str:
    """The model that reads in the one of this name: itself, unless it looks first."""
    return _LOOK_FIRST.get(name, (name,))[0]


def focus_file(model: str | os.PathLike[str]) -> Path | None:
    """The file of the network that looks first, of the model of this name; None if it has none, or
    if it is no name of a model.

    Raises:
        DamagedFileError: if it is not the file that its card is of, by the SHA-256.
    """
    if model not in _LOOK_FIRST or model not in names():
        return None
    return _checked(_FOLDER / _LOOK_FIRST[model][1], model)


def weights_file(name: str) -> Path:
    """The file of a model; of one that looks first that of the model that reads.

    Raises:
        ValueError: if there is none of that name; the message lists those that there are.
        DamagedFileError: if it is not the file that its card is of, by the SHA-256.
    """
    if name not in names():
        raise ValueError(f"there is no model {name!r}; there are {', '.join(names()) or 'none'}")
    return _checked(_FOLDER / f"{reads(name)}.safetensors", reads(name))


def _checked(path: Path, name: str) -> Path:
    """The file, if it is the one that the card of that name is of."""
    if _card_file(name).is_file():
        told = card(name).get("sha256")
        if told is not None and hashlib.sha256(path.read_bytes()).hexdigest() != told:
            raise DamagedFileError(
                f"{path}: damaged: it is not what its card is of (its SHA-256 differs); install "
                "this package again"
            )
    return path


def find_model(model: str | os.PathLike[str]) -> Path:
    """The file that a user means: that of the model of this name, or else the one at this path.

    Raises:
        FileNotFoundError: if there is neither; the message lists the models that there are.
        DamagedFileError: as `weights_file`.
    """
    if model in names():
        return weights_file(model)
    path = Path(model)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no spotter at {str(path)!r}, and no model of that name comes with this "
            f"package; there are {', '.join(names()) or 'none'}"
        )
    return path


def card(name: str) -> dict[str, Any]:
    """The card of a model, see docs/models.md.

    Raises:
        ValueError: if there is no such model, or naming the file, if it is no card.
        FileNotFoundError: if the model has none.
    """
    import yaml  # which reading by networks does without

    if name not in names():
        raise ValueError(f"there is no model {name!r}; there are {', '.join(names()) or 'none'}")
    path = _card_file(name)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no card: it holds no keys, see docs/models.md")
    return found


def _card_file(name: str) -> Path:
    return _FOLDER / f"{name}.yaml"
