"""Reading the files of a zip or a folder, in memory and within limits.

Submissions come from strangers: nothing is ever unpacked to disk, and every size is checked before
and while it is read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dld_d2.evaluation.words import EvaluationInputError

MAX_FILES = 500_000
MAX_FILE_BYTES = 4 * 2**20
MAX_TOTAL_BYTES = 128 * 2**20


def read_members(path: str | Path, allow_folder: bool = False) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, content) of every file in a zip or folder.

    Args:
        path: a zip, or a folder whose files are read.
        allow_folder: whether the files of a zip may lie in folders (names then lose the folder).

    Raises:
        EvaluationInputError: no such path, not a zip, broken, encrypted or empty; a name that
            leaves the archive, lies in a folder or occurs twice; a size beyond the limits.
    """
    path = Path(path)
    if path.is_dir():
        members = _read_folder(path)
    elif path.is_file():
        members = _read_zip(path, allow_folder)
    else:
        what = "is neither a file nor a folder" if path.exists() else "no such file or folder"
        raise EvaluationInputError(f"{path}: {what}")
    seen = set()
    for name, content in members:
        if name in seen:
            raise EvaluationInputError(f"{path}: {name!r} occurs twice; keep one")
        seen.add(name)
        yield name, content
    if not seen:
        raise EvaluationInputError(f"{path}: holds no files")


def decode(content: bytes, where: str) -> str:
    """UTF-8 to text, without a byte-order mark; `where` names the file in the error."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EvaluationInputError(
            f"{where}, line {line}: not UTF-8 (byte {error.start} of the file is "
            f"0x{content[error.start]:02x}); save the file as UTF-8"
        ) from None


def _read_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    for entry in sorted(path.iterdir()):
        if entry.is_dir():
            raise EvaluationInputError(
                f"{path}: holds the folder {entry.name!r}; the files must lie directly in {path}"
            )
        if not entry.is_file():  # a pipe would be waited for, a device read without end
            raise EvaluationInputError(f"{path}: holds {entry.name!r}, which is no file; remove it")
        size = entry.stat().st_size
        total += size
        _check_size(path, entry.name, size, total)
        yield entry.name, entry.read_bytes()


def _read_zip(path: Path, allow_folder: bool) -> Iterator[tuple[str, bytes]]:
    if path.stat().st_size == 0:
        raise EvaluationInputError(f"{path}: is empty (0 bytes); expected a zip or a folder")
    if path.stat().st_size > MAX_TOTAL_BYTES:
        raise EvaluationInputError(f"{path}: is larger than {MAX_TOTAL_BYTES} bytes")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_FILES:
                raise EvaluationInputError(
                    f"{path}: holds {len(entries)} files, the limit is {MAX_FILES}"
                )
            names = [_member_name(path, entry, allow_folder) for entry in entries]
            total = 0
            for entry in entries:
                total += entry.file_size
                _check_size(path, entry.filename, entry.file_size, total)
            for name, entry in zip(names, entries, strict=True):
                if name is not None:
                    yield name, _read_entry(path, archive, entry)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError) as error:
        raise EvaluationInputError(f"{path}: not a readable zip: {error}") from error


def _read_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.flag_bits & 0x1:
        raise EvaluationInputError(f"{path}: {entry.filename!r} is encrypted; zip it without")
    try:
        with archive.open(entry) as member:
            content = member.read(MAX_FILE_BYTES + 1)
    except NotImplementedError as error:
        raise EvaluationInputError(f"{path}: {entry.filename!r}: {error}; zip again") from error
    _check_size(path, entry.filename, len(content), len(content))
    return content


def _member_name(path: Path, entry: zipfile.ZipInfo, allow_folder: bool) -> str | None:
    """The plain file name of an entry; None for a folder that is allowed."""
    name = entry.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name:
        raise EvaluationInputError(
            f"{path}: the name {name!r} points outside the archive (path traversal); refused"
        )
    nested = len(parts) > 1 or entry.is_dir()
    if nested and not allow_folder:
        folder = parts[0]
        raise EvaluationInputError(
            f"{path}: {name!r} lies in the folder {folder!r}; zip the files themselves: "
            f"cd {folder} && zip ../{path.name} *.txt"
        )
    return None if entry.is_dir() else parts[-1]


def _check_size(path: Path, name: str, size: int, total: int) -> None:
    if size > MAX_FILE_BYTES:
        raise EvaluationInputError(
            f"{path}: {name!r} holds {size} bytes unpacked, the limit is {MAX_FILE_BYTES} "
            "(a zip bomb?)"
        )
    if total > MAX_TOTAL_BYTES:
        raise EvaluationInputError(
            f"{path}: holds more than {MAX_TOTAL_BYTES} bytes unpacked (a zip bomb?)"
        )
