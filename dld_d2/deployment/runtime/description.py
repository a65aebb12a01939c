"""What `model.json` says of an exported model."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["FOCUS_FILE", "Choice", "Description"]

FOCUS_FILE = "focus.onnx"
"""In the folder, the network that looks first, if there is one."""

_FORMAT = "dld_d2 onnx"
_VERSION = 1
_FILE = "model.json"


@dataclass(frozen=True)
class Choice:
    """How a model chooses the scale of an image.

    Attributes:
        scales: the k candidates.
        relative_cost: of each, the full resolution's being 1.
        fixed: index of the candidate that is always taken; None where the network "selector" says.
        cost_bias: times the relative cost, what is subtracted from the selector's logits.
        input_scale: at which the selector looks at the image.
    """

    scales: tuple[float, ...]
    relative_cost: tuple[float, ...]
    fixed: int | None = None
    cost_bias: float = 0.0
    input_scale: float = 1.0


@dataclass(frozen=True)
class Description:
    """How the networks of a folder fit together.

    Attributes:
        kind: of the spotter, a module of `dld_d2.deployment.runtime`.
        settings: of that spotter.
        graphs: names of the networks; each is in a file NAME.onnx.
        characters: class i of what is read is the i-th of them.
        image_format: order of the channels, "BGR" or "RGB".
        short_side, long_side: images are scaled such that the short side has so many pixels, and
            the long side not more than that.
        pixel_mean, pixel_std: of each channel, for the normalisation.
        multiple: to multiples of which images are padded.
        choice: None for a model that reads all images at the full resolution.
        made_with: version of this package.
        focuses: whether the folder holds a network that looks first, see `FOCUS_FILE`.
    """

    kind: str
    settings: dict[str, Any]
    graphs: tuple[str, ...]
    characters: str
    image_format: str
    short_side: int
    long_side: int
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    multiple: int
    choice: Choice | None
    made_with: str
    focuses: bool = False

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `model.json`, at once."""
        part = Path(folder) / f".{_FILE}.part"
        content = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(part, Path(folder) / _FILE)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Description:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if the folder holds no `model.json`.
            ValueError: naming the file, if it is none of ours, of a later version, or incomplete.
        """
        path = Path(folder) / _FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder}: holds no {_FILE}; `dld-d2 export --format onnx` makes such folders"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: is no JSON ({error}); export the model again") from None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"{path}: does not describe an exported model of dld_d2")
        if content.get("version") != _VERSION:
            raise ValueError(
                f"{path}: is of version {content.get('version')!r}, and this dld_d2 reads "
                f"version {_VERSION}; update dld_d2, or export the model again"
            )
        # Folders of before there were networks that look first do not say that they have none.
        content.setdefault("focuses", False)
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in content]:
            raise ValueError(f"{path}: lacks {', '.join(missing)}; export the model again")
        found = {name: content[name] for name in names}
        if not isinstance(found["focuses"], bool):
            raise ValueError(f'{path}: "focuses" is neither true nor false; export the model again')
        try:
            if found["choice"] is not None:
                choice = found["choice"]
                choice |= {
                    key: tuple(map(float, choice[key])) for key in ("scales", "relative_cost")
                }
                found["choice"] = Choice(**choice)
            for name in ("graphs", "pixel_mean", "pixel_std"):
                found[name] = tuple(found[name])
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: has another form ({error}); export it again") from None
        return cls(**found)
