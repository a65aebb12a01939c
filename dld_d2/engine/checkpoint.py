"""Checkpoints that are safe to load and whole at any moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm

from dld_d2.engine.checkpoint_record import CheckpointRecord
from dld_d2.engine.savable import check_savable
from dld_d2.engine.weights_file import (
    DamagedFileError,
    WeightsError,
    check_finite,
    check_whole,
    read_pth,
    read_safetensors,
)
from dld_d2.engine.whole_files import clear_parts, write_whole
from dld_d2.modeling.old_names import current_names

__all__ = ["SpotterCheckpointer", "read_weights"]


class SpotterCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, with four promises more.

    * Loading never runs code from a file: `.pth` and `.pt` are read with
      `torch.load(weights_only=True)`, `.safetensors` with its own library. Pickles are refused.
    * A checkpoint is written beside its final name and renamed when it is whole, and
      `last_checkpoint` likewise, after it. A process killed at any moment leaves a directory from
      which training resumes.
    * A damaged file is noticed (`dld_d2.engine.weights_file`), and training resumes from the
      checkpoint before it.
    * Weights that are not finite are never saved nor loaded, nor is anything saved that the safe
      loader would refuse.

    A path may be local, `https://...` or `detectron2://...`, with `?matching_heuristics=True` to
    match parameters by their names' endings, as upstream.
    """

    max_to_keep: int | None = None
    """Periodic checkpoints that are kept, those of a training that was resumed counted from its
    first start; None keeps all."""

    _exact = False
    _prefix = ""
    _loading = ""

    def load(self, path: str, *args, **kwargs) -> dict[str, Any]:
        """Load a checkpoint; parameters that do not match the model are reported in the log.

        Raises:
            FileNotFoundError: if there is no such file.
            WeightsError: for a format that cannot be read safely, a damaged file, weights that are
                infinite or NaN, or a file without a single parameter of this model.
        """
        if path:
            # Detectron2 itself reports a missing file by an assertion.
            plain = urlparse(path)._replace(query="").geturl()
            if not os.path.isfile(self.path_manager.get_local_path(plain)):
                raise FileNotFoundError(f"there are no weights at {path!r}")
        self._loading = path
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
            WeightsError: as `load`, and naming the parameters that differ.
        """
        self._exact, self._prefix = True, prefix
        try:
            return self.load(path, **kwargs)
        finally:
            self._exact, self._prefix = False, ""

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Load the last whole checkpoint of `save_dir` with all its states if `resume` and there is
        one, else the weights at `path` alone.

        All processes of a run must call this together, and all take the same checkpoint.

        Raises:
            WeightsError: as `load`; if the last checkpoint is of another model than this one; and
                if there are checkpoints, but none is whole.
        """
        file = self.last_whole_checkpoint() if resume else ""
        if not file:
            return super().resume_or_load(path, resume=False)
        loaded = self._load_in_all(file)
        if self.save_to_disk:
            self._record.go_on_from(os.path.basename(file))
            self._remove_old()
        return loaded

    def last_whole_checkpoint(self) -> str:
        """The checkpoint that training resumes from: the last one, or, if it is damaged, with a
        warning the one before it, and so on. Empty if there is none to resume from.

        All processes of a run must call this together. The main one looks, and tells the others.

        Raises:
            DamagedFileError: if there are checkpoints, but none is whole.
        """
        found = self._find_whole() if comm.is_main_process() else None
        found = comm.all_gather(found)[0]
        if isinstance(found, Exception):
            raise found
        return found

    def start_anew(self) -> None:
        """Make the directory one that training does not resume from; its files stay."""
        if self.save_to_disk:
            self._record.forget()

    def clear_unfinished(self) -> None:
        """Delete what a killed process left of files that it was writing to `save_dir`."""
        if self.save_to_disk:
            clear_parts(self.save_dir)

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
        self._remove_old()

    def save_weights(self, name: str) -> None:
        """Save the model alone; training does not resume from it. Raises as `save`."""
        if not self.save_dir or not self.save_to_disk:
            return
        self._write(name, {"model": self.model.state_dict()})

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint that training resumes from."""
        self._record.add(last_filename_basename)

    @property
    def _record(self) -> CheckpointRecord:
        return CheckpointRecord(self.save_dir)

    def _remove_old(self) -> None:
        if self.max_to_keep is not None:
            self._record.remove_all_but(self.max_to_keep)

    def _load_in_all(self, file: str) -> dict[str, Any]:
        """Load a checkpoint exactly. Where one process cannot, none goes on, lest the others wait
        for it without end."""
        loaded, error = {}, None
        try:
            loaded = self.load_exactly(file)
        except Exception as caught:
            error = caught
        others = comm.all_gather(None if error is None else str(error))
        if error is not None:
            raise error
        for rank, message in enumerate(others):
            if message is not None:
                raise WeightsError(f"process {rank} cannot go on from {file}: {message}")
        return loaded

    def _find_whole(self) -> str | DamagedFileError:
        damaged = []
        for name in self._record.candidates():
            file = os.path.join(self.save_dir, name)
            try:
                check_whole(file)
            except (WeightsError, OSError) as error:
                damaged.append(str(error))
                continue
            for message in damaged:
                self.logger.warning(f"{message}. Going back to the checkpoint before it")
            return file
        if not damaged:
            return ""
        return DamagedFileError(
            f"{self.save_dir}: there is no whole checkpoint to resume from: {'; '.join(damaged)}. "
            "Without --resume the training starts anew"
        )

    def _write(self, name: str, data: dict[str, Any]) -> None:
        check_savable(data)
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
            raise WeightsError(
                f"{self._loading}: the weights are of another model than the configured one: "
                + "; ".join(wrong[:5])
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
            raise WeightsError(
                f"{self._loading}: not one of the {offered} parameters in the weights file belongs "
                "to this model"
            )
        return incompatible


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint or in an exported model, by name, on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: for a format that cannot be read safely, for a damaged file, and for weights
            that are infinite or NaN.
    """
    filename = os.fspath(path)
    if not os.path.exists(filename):
        raise FileNotFoundError(f"there are no weights at {filename!r}")
    _check_suffix(filename)
    loaded = _load(filename)
    return loaded.get("model", loaded)


def _check_suffix(filename: str) -> None:
    if not filename.endswith((".pth", ".pt", ".safetensors")):
        raise WeightsError(
            f"{filename}: weights are read from .pth, .pt and .safetensors files only, because "
            "a pickle can run any code. To use a .pkl file, convert it: "
            "python -m dld_d2.engine.convert_weights IN.pkl OUT.pth"
        )


def _load(filename: str) -> dict[str, Any]:
    if filename.endswith(".safetensors"):
        loaded, _ = read_safetensors(filename)
    else:
        loaded = read_pth(filename)
    if not isinstance(loaded, dict):
        raise WeightsError(f"{filename}: expected a state dict, found {type(loaded).__name__}")
    state = loaded.get("model", loaded)
    _check_state(filename, state)
    if state is loaded:
        return current_names(state)
    return loaded | {"model": current_names(state)}


def _check_state(filename: str, state: Any) -> None:
    if not isinstance(state, dict):
        raise WeightsError(f"{filename}: its model is a {type(state).__name__}, no state dict")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise WeightsError(
                f"{filename}: {name!s:.100} is no tensor; this is no file of weights"
            )
    check_finite(filename, state)
