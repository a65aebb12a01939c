"""Reading files of weights that may be damaged, or made to do harm.

No code from a file runs. What a file may cost is known before it is unpacked: nothing in it takes
more memory than the file itself, but for tensors that share theirs. And it must be whole: a `.pth`
file is a zip archive in which PyTorch writes a CRC-32 of every part (but does not compare it on
reading), a `.safetensors` file that this package wrote holds a SHA-256 of all its bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dld_d2.structures.errors import DamagedFileError, WeightsError
from dld_d2.structures.files import refuse_special

__all__ = [
    "DamagedFileError",
    "WeightsError",
    "check_finite",
    "check_whole",
    "kind_and_message",
    "read_pth",
    "read_safetensors",
    "safetensors_bytes",
]

_MAX_SHARED = 10
"""How many times a file's size its tensors may take together. Shared ones, as tied weights, are in
the file once but count each time; so would a number that is spread over a tensor of gigabytes."""

_SUM = "sha256"
_NO_SUM = "0" * 64
_LENGTH = 8  # bytes in which a `.safetensors` file tells the length of its header
_HEADER_LIMIT = 10_000_000  # bytes; a hundred thousand tensors need no more

# `bytearray(3_000_000_000)` is the one call that PyTorch's safe reader makes for a file and that
# takes memory at once. Nothing of ours holds one.
_BYTEARRAY = re.compile(rb"c(builtins|__builtin__)\nbytearray\n")


def read_pth(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote: tensors, on the CPU, and plain values.

    Raises:
        DamagedFileError: if it is not whole.
        WeightsError: if it holds anything else, or would take far more memory than the file.
        OSError: if it is no file that can be read.
    """
    name = os.fspath(path)
    refuse_special(name)
    pickled = _check_archive(name)
    if _BYTEARRAY.search(pickled):
        raise _not_plain(name)
    try:
        content = torch.load(name, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise _not_plain(name) from None
    except Exception as error:  # a reader of damaged bytes may raise anything
        raise _not_whole(name, error) from None
    _check_memory(name, content)
    return content


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, on the CPU, and the texts beside them.

    Raises:
        DamagedFileError: if it is not whole.
        OSError: if it is no file that can be read.
    """
    name = os.fspath(path)
    refuse_special(name)
    _check_sum(name)
    try:
        with safetensors.safe_open(name, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except Exception as error:  # as above
        raise _not_whole(name, error) from None


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A `.safetensors` file that holds the SHA-256 of itself, with 64 zeros in the sum's place."""
    content = safetensors.torch.save(dict(tensors), {**metadata, _SUM: _NO_SUM})
    entry = f'"{_SUM}":"%s"'
    digest = hashlib.sha256(content).hexdigest()
    return content.replace((entry % _NO_SUM).encode(), (entry % digest).encode(), 1)


def check_whole(path: str | os.PathLike[str]) -> None:
    """Compare a `.pth` file with its sums, without loading it.

    Raises:
        DamagedFileError: if they differ, or if there is no such archive.
        WeightsError, OSError: as `read_pth`.
    """
    name = os.fspath(path)
    refuse_special(name)
    if not _is_archive(name):
        raise DamagedFileError(f"{name}: not a whole file of weights (its begin is something else)")
    _check_archive(name)


def check_finite(path: str | os.PathLike[str], state: Mapping[str, Tensor]) -> None:
    """
    Raises:
        WeightsError: naming the file and the first tensor that is infinite or NaN somewhere.
    """
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(
                f"{os.fspath(path)}: {name} holds infinite or NaN values, with which nothing is "
                "read; take a checkpoint from before they came up"
            )


def _check_archive(name: str) -> bytes:
    """Check the archive that a `.pth` file is; returns its pickle, or that of an older PyTorch,
    which made no archives and no sums."""
    if not _is_archive(name):
        return Path(name).read_bytes()
    try:
        with zipfile.ZipFile(name) as archive:
            parts = archive.infolist()
            unpacked = sum(part.file_size for part in parts)
            if unpacked > os.path.getsize(name):
                raise WeightsError(
                    f"{name}: not loaded, because it would take {unpacked / 1e6:,.0f} MB, more "
                    "than the file: it is compressed, as PyTorch never does, or damaged"
                )
            # With set_crc32_options(False) PyTorch leaves out all sums.
            if any(part.CRC for part in parts) and (bad := archive.testzip()):
                raise DamagedFileError(
                    f"{name}: damaged: {bad} in it is not what was written (its CRC-32 differs)"
                )
            pickles = [part for part in parts if part.filename.endswith("data.pkl")]
            for part in pickles:
                part.CRC = None  # already compared
            return b"".join(archive.read(part) for part in pickles)
    except WeightsError:
        raise
    except Exception as error:  # a reader of damaged bytes may raise anything
        raise _not_whole(name, error) from None


def _is_archive(name: str) -> bool:
    """As PyTorch tells."""
    with open(name, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_sum(name: str) -> None:
    """Compare a `.safetensors` file with the sum in it, if there is one."""
    with open(name, "rb") as file:
        try:
            header = _header(file, os.path.getsize(name))
            told = json.loads(header[_LENGTH:]).get("__metadata__", {}).get(_SUM)
        except Exception as error:
            raise _not_whole(name, error) from None
        if told is None:  # of another program, or of an older version of this one
            return
        found = hashlib.sha256(header.replace(str(told).encode(), _NO_SUM.encode(), 1))
        while part := file.read(1 << 20):
            found.update(part)
    if found.hexdigest() != told:
        raise DamagedFileError(f"{name}: damaged: it is not what was written (its SHA-256 differs)")


def _header(file: BinaryIO, size: int) -> bytes:
    """Length and JSON text that a `.safetensors` file of some bytes begins with."""
    begin = file.read(_LENGTH)
    length = int.from_bytes(begin, "little")
    if len(begin) < _LENGTH or not 0 < length <= min(size - _LENGTH, _HEADER_LIMIT):
        raise ValueError("it is cut off, or something else")
    return begin + file.read(length)


def _check_memory(name: str, content: Any) -> None:
    """Refuse tensors that take far more memory than the file, once something is done to them."""
    left = [content]
    seen: set[int] = set()
    size = 0
    while left:
        value = left.pop()
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                raise _not_plain(name)
            size += value.numel() * value.element_size()
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, dict) else value
    if size > _MAX_SHARED * os.path.getsize(name):
        raise WeightsError(
            f"{name}: not loaded, because its tensors would take {size / 1e6:,.0f} MB, more than "
            f"{_MAX_SHARED} times the file"
        )


def _not_whole(name: str, error: Exception) -> DamagedFileError:
    return DamagedFileError(f"{name}: not a whole file of weights ({kind_and_message(error)})")


def _not_plain(name: str) -> WeightsError:
    return WeightsError(
        f"{name}: not loaded, because it holds something other than tensors and plain Python "
        "values, or is no file of PyTorch's at all"
    )


def kind_and_message(error: Exception, limit: int = 300) -> str:
    """Kind and message of an error, cut at some characters; what readers raise may be longer."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
