"""Writing an index, image by image, whatever the size of the set."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dld_d2 import __version__
from dld_d2.data.index import COLUMNS, INDEX_KIND, INDEX_VERSION, OFFSETS, pack
from dld_d2.data.records import ImageRecord
from dld_d2.data.report import AnnotationError

__all__ = ["write_index"]

_BATCH = 4096  # records in memory at a time


class _ArrayFile:
    """A `.npy` file that grows along its first axis."""

    def __init__(self, file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._file, self._dtype, self._shape = file, dtype, shape
        self.length = 0
        # The final header must take exactly this place; NumPy pads for growth of the first axis.
        self._write_header()
        self._start = file.tell()

    def _write_header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.length, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, array: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(array, dtype=self._dtype).tobytes())
        self.length += len(array)

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._start:
            raise RuntimeError(f"the header of {self._file.name} outgrew its place")


def write_index(
    folder: str | Path,
    records: Iterable[ImageRecord],
    *,
    source: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write an index folder. It appears whole or not at all.

    Args:
        folder: where to; by convention `NAME.index`.
        records: one per image, consumed as they come.
        source: where the annotations come from, kept in `index.json` (JSON types). Read after the
            last record, so that the maker of the records may fill it meanwhile.
        overwrite: replace an index that is there. Anything but an index is never replaced.

    Returns:
        What `index.json` says.

    Raises:
        AnnotationError: if `folder` exists and is not to be, or must not be, replaced.
    """
    folder = Path(folder).resolve()
    _check_replaceable(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        lengths = _write_arrays(temporary, records)
        info = {
            "kind": INDEX_KIND,
            "version": INDEX_VERSION,
            "images": lengths["sizes"],
            "words": lengths["ignore"],
            "vertices": lengths["vertices"],
            "source": dict(source or {}),
            "written_by": f"dld_d2 {__version__}",
        }
        text = json.dumps(info, indent=2, ensure_ascii=False)
        (temporary / "index.json").write_text(text + "\n", encoding="utf-8")
        temporary.chmod(0o777 & ~_umask())
        _move(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return info


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not (folder / "index.json").is_file():
        raise AnnotationError(f"{folder}: exists and is no index; choose another name")
    if not overwrite:
        raise AnnotationError(f"{folder}: exists; remove it, or overwrite it (--overwrite)")


def _write_arrays(folder: Path, records: Iterable[ImageRecord]) -> dict[str, int]:
    """Write all arrays, return their lengths."""
    records = iter(records)
    with ExitStack() as stack:
        files = {
            name: _ArrayFile(stack.enter_context(open(folder / f"{name}.npy", "wb")), dtype, shape)
            for name, (dtype, shape) in COLUMNS.items()
        }
        for name in OFFSETS:
            files[name].append(np.zeros(1, dtype=np.int64))
        while batch := list(islice(records, _BATCH)):
            arrays = pack(batch)
            # Offsets count from the batch's start; bases are the lengths before it.
            bases = {name: files[target].length for name, (_, target) in OFFSETS.items()}
            for name, array in arrays.items():
                files[name].append(array[1:] + bases[name] if name in bases else array)
        for file in files.values():
            file.finish()
        return {name: file.length for name, file in files.items()}


def _move(temporary: Path, folder: Path) -> None:
    """Put the new index in place; the old one is only deleted when the new one is there."""
    old = temporary.with_name(f"{temporary.name}.old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
