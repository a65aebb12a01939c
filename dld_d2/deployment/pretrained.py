"""The small trained models that come with this package.

Each is a file that `TextSpotter.from_file` and `MODEL.WEIGHTS` take, beside it a card in YAML: what
it is, how it was made, and what it scores. They learnt from synthetic scenes alone, see
docs/synthetic.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["card", "names", "weights_file"]

_FOLDER = Path(__file__).parents[1] / "weights"


def names() -> list[str]:
    """Of all models."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def weights_file(name: str) -> Path:
    """The file of a model.

    Raises:
        ValueError: if there is none of that name; the message lists those that there are.
    """
    if name not in names():
        raise ValueError(f"there is no model {name!r}; there are {', '.join(names()) or 'none'}")
    return _FOLDER / f"{name}.safetensors"


def card(name: str) -> dict[str, Any]:
    """The card of a model, see docs/models.md.

    Raises:
        ValueError: as `weights_file`, or naming the file, if it is no card.
        FileNotFoundError: if the model has none.
    """
    path = weights_file(name).with_suffix(".yaml")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no card: it holds no keys, see docs/models.md")
    return found
