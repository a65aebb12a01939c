"""Which checkpoints of a directory belong to the training that was last in it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from dld_d2.engine.whole_files import write_whole

__all__ = ["CheckpointRecord"]

_TAG = "last_checkpoint"  # as Detectron2 has it: the name of the file to resume from, nothing else
_RECORD = "checkpoints.json"
_PERIODIC = re.compile(r"model_(\d{7})\.pth")


class CheckpointRecord:
    """The names of a training's checkpoints, oldest first, in `checkpoints.json`, and the last one
    in `last_checkpoint`.

    A directory of an older version has no `checkpoints.json`. Its periodic checkpoints count as far
    as their numbers are below that of the last one.

    Args:
        folder: of the checkpoints.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def candidates(self) -> list[str]:
        """Names of the checkpoints that training can go on from, the one to prefer first; they may
        be damaged or gone. Empty if there is no training to go on with."""
        try:
            last = (self._folder / _TAG).read_text(errors="replace").strip()
        except OSError:
            return []
        earlier = [name for name in reversed(self._recorded(last)) if name != last]
        return [last, *earlier]

    def add(self, name: str) -> None:
        """Note a checkpoint that has been written as the last one."""
        names = [known for known in self._recorded(name) if known != name]
        self._write([*names, name])
        write_whole(self._folder / _TAG, name.encode())

    def go_on_from(self, name: str) -> None:
        """Training goes on from this checkpoint: those that came after it will be written anew, so
        they are the first that may go."""
        names = self._recorded(name)
        place = names.index(name) + 1 if name in names else len(names)
        self._write([*names[place:], *names[:place]])
        write_whole(self._folder / _TAG, name.encode())

    def forget(self) -> None:
        """There is no training to go on with; all checkpoints stay."""
        for file in (_TAG, _RECORD):
            (self._folder / file).unlink(missing_ok=True)

    def remove_all_but(self, number: int) -> None:
        """Delete all periodic checkpoints but the last ones; others, as the final one, stay."""
        names = self._recorded("")
        periodic = [name for name in names if _PERIODIC.fullmatch(name)]
        gone = periodic[: max(len(periodic) - number, 0)]
        if not gone:
            return
        for name in gone:
            (self._folder / name).unlink(missing_ok=True)
        self._write([name for name in names if name not in gone])

    def _recorded(self, last: str) -> list[str]:
        """Oldest first.

        Args:
            last: name of the last checkpoint, for a directory without a record.
        """
        try:
            names = json.loads((self._folder / _RECORD).read_text())
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                # A name with a folder in it is not ours.
                return [name for name in names if name == Path(name).name]
        except (OSError, ValueError, RecursionError):
            pass
        limit = _number(last)
        names = sorted(path.name for path in self._folder.glob("model_*.pth"))
        numbers = {name: _number(name) for name in names if _number(name) is not None}
        return [name for name, number in numbers.items() if limit is None or number <= limit]

    def _write(self, names: Sequence[str]) -> None:
        write_whole(self._folder / _RECORD, json.dumps(list(names)).encode())


def _number(name: str) -> int | None:
    """The iteration in the name of a periodic checkpoint."""
    found = _PERIODIC.fullmatch(name)
    return int(found[1]) if found else None
