"""Checkpoints that are safe to load and whole at any moment."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

import safetensors.torch
import torch
from detectron2.checkpoint import DetectionCheckpointer

from dld_d2.modeling.old_names import current_names

__all__ = ["SpotterCheckpointer", "read_weights", "write_whole"]

_PLAIN = (bool, int, float, str, bytes, type(None), torch.Tensor)


class SpotterCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, with three promises more.

    * Loading never runs code from a file: `.pth` and `.pt` are read with
      `torch.load(weights_only=True)`, `.safetensors` with its own library. Pickles are refused.
    * A checkpoint is written beside its final name and renamed when it is whole, and
      `last_checkpoint` likewise, after it. A process killed at any moment leaves a directory from
      which training resumes.
    * Weights that are not finite are never saved, nor anything that the safe loader would refuse.

    A path may be local, `https://...` or `detectron2://...`, with `?matching_heuristics=True` to
    match parameters by their names' endings, as upstream.
    """

    _exact = False
    _prefix = ""

    def load(self, path: str, *args, **kwargs) -> dict[str, Any]:
        """Load a checkpoint; parameters that do not match the model are reported in the log.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: for a format that cannot be read safely, a damaged file, or one without a
                single parameter of this model.
        """
        if path:
            # Detectron2 itself reports a missing file by an assertion.
            plain = urlparse(path)._replace(query="").geturl()
            if not os.path.isfile(self.path_manager.get_local_path(plain)):
                raise FileNotFoundError(f"there are no weights at {path!r}")
        try:
            return super().load(path, *args, **kwargs)
        finally:
            self._parsed_url_during_load = None

    def load_exactly(self, path: str, *, prefix: str = "", **kwargs: Any) -> dict[str, Any]:
        """As `load`, for a checkpoint that must have this model's parameters, all and no others.

        Args:
            path: of the file.
            prefix: if the names of some parameters in the file begin with it, these are this
                model's, without it, and it was a part of the model in the file; such as "spotter."
            **kwargs: of `load`.

        Raises:
            ValueError: as `load`, and naming the parameters that differ.
        """
        self._exact, self._prefix = True, prefix
        try:
            return self.load(path, **kwargs)
        finally:
            self._exact, self._prefix = False, ""

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Load the last checkpoint of `save_dir` with all its states if `resume` and there is one,
        else the weights at `path` alone.

        Raises:
            ValueError: as `load`; and if the last checkpoint is of another model than this one.
        """
        if resume and self.has_checkpoint():
            return self.load_exactly(self.get_checkpoint_file())
        return super().resume_or_load(path, resume=False)

    def save(self, name: str, **kwargs: Any) -> None:
        """Save the model, all that was registered, and `kwargs` as `name`.pth in `save_dir`.

        Raises:
            FloatingPointError: naming the parameter, if a weight is infinite or NaN.
            TypeError: if something is not made of tensors and plain Python values.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data |= {key: item.state_dict() for key, item in self.checkpointables.items()}
        data |= kwargs
        self._write(name, data)
        self.tag_last_checkpoint(f"{name}.pth")

    def save_weights(self, name: str) -> None:
        """Save the model alone; training does not resume from it. Raises as `save`."""
        if not self.save_dir or not self.save_to_disk:
            return
        self._write(name, {"model": self.model.state_dict()})

    def forget_last_checkpoint(self) -> None:
        """Make the directory one that training does not resume from; its files stay."""
        if self.save_to_disk:
            (Path(self.save_dir) / "last_checkpoint").unlink(missing_ok=True)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint that training resumes from."""
        file = Path(self.save_dir) / "last_checkpoint"
        write_whole(file, last_filename_basename.encode())

    def _write(self, name: str, data: dict[str, Any]) -> None:
        _check_finite(data["model"])
        _check_plain(data)
        file = Path(self.save_dir) / f"{name}.pth"
        self.logger.info(f"Saving checkpoint to {file}")
        write_whole(file, lambda stream: torch.save(data, stream))

    def _log_incompatible_keys(self, incompatible) -> None:
        shapes = {key: (a, b) for key, a, b in incompatible.incorrect_shapes}
        missing = [key for key in incompatible.missing_keys if key not in shapes]
        wrong = [
            *(f"{key} is {a} in the file, {b} in the model" for key, (a, b) in shapes.items()),
            *(f"{key} is not in the model" for key in incompatible.unexpected_keys),
            *(f"{key} is not in the file" for key in missing),
        ]
        if self._exact and wrong:
            raise ValueError(
                f"the weights are of another model than the configured one: {'; '.join(wrong[:5])}"
                + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
            )
        super()._log_incompatible_keys(incompatible)

    def _load_file(self, filename: str) -> dict[str, Any]:
        _check_suffix(filename)
        return super()._load_file(filename)

    def _torch_load(self, filename: str) -> dict[str, Any]:
        return _load(filename)

    def _load_model(self, checkpoint: dict[str, Any]):
        if self._prefix:
            state, prefix = checkpoint["model"], self._prefix
            part = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
            checkpoint["model"] = part or state
        offered = len(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        # Keys of the cell anchors, which Detectron2 drops from the report, are buffers of old
        # checkpoints; a file of nothing else is not a model either.
        unused = len(incompatible.unexpected_keys) + len(incompatible.incorrect_shapes)
        if unused >= offered:
            raise ValueError(
                f"not one of the {offered} parameters in the weights file belongs to this model"
            )
        return incompatible


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint or in an exported model, by name, on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a format that cannot be read safely, and for a damaged file.
    """
    filename = os.fspath(path)
    if not os.path.isfile(filename):
        raise FileNotFoundError(f"there are no weights at {filename!r}")
    _check_suffix(filename)
    loaded = _load(filename)
    weights = loaded.get("model", loaded)
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{filename}: {name} is no tensor; this is no file of weights")
    return weights


def write_whole(file: Path, content: bytes | Callable[[BinaryIO], Any]) -> None:
    """Write a file so that it is, at any moment, either as it was before or whole.

    Args:
        file: its directory is made if need be.
        content: its bytes, or a function that writes them to an open file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with part.open("wb") as stream:
        if callable(content):
            content(stream)
        else:
            stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, file)


def _check_suffix(filename: str) -> None:
    if not filename.endswith((".pth", ".pt", ".safetensors")):
        raise ValueError(
            f"{filename}: weights are read from .pth, .pt and .safetensors files only, because "
            "a pickle can run any code. To use a .pkl file, convert it: "
            "python -m dld_d2.engine.convert_weights IN.pkl OUT.pth"
        )


def _load(filename: str) -> dict[str, Any]:
    try:
        if filename.endswith(".safetensors"):
            return current_names(safetensors.torch.load_file(filename))
        loaded = torch.load(filename, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{filename}: not loaded, because it holds something other than tensors and plain "
            "Python values, or is not a checkpoint at all"
        ) from None
    except Exception as error:  # a reader of damaged bytes may raise anything
        raise ValueError(f"{filename}: not a whole checkpoint file ({error!r})") from None
    if not isinstance(loaded, dict):
        raise ValueError(f"{filename}: expected a state dict, found {type(loaded).__name__}")
    if isinstance(loaded.get("model"), dict):
        return loaded | {"model": current_names(loaded["model"])}
    return current_names(loaded)


def _check_finite(state: dict[str, torch.Tensor]) -> None:
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise FloatingPointError(
                f"{name} holds infinite or NaN values; this model is not saved, the last "
                "checkpoint stays"
            )


def _check_plain(data: Any, name: str = "checkpoint") -> None:
    if isinstance(data, dict):
        for key, value in data.items():
            _check_plain(value, f"{name}.{key}")
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            _check_plain(value, f"{name}[{number}]")
    elif type(data) not in _PLAIN and not isinstance(data, torch.Tensor):
        raise TypeError(f"{name} is a {type(data).__name__}, which a safe load would refuse")
