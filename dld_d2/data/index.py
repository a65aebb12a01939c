"""The compact index: annotations of a whole set as a few flat arrays.

An index is a folder of `.npy` files and an `index.json`. The arrays are mapped into memory, so
that a set of any size loads at once and all loader workers share its pages. With I images, W words
and V vertices:

    sizes             (I, 2) int32     height and width in pixels
    word_offsets      (I + 1,) int64   image i has the words word_offsets[i] : word_offsets[i + 1]
    vertex_offsets    (W + 1,) int64   likewise the vertices of a word
    vertices          (V, 2) float32   x and y in pixels
    ignore            (W,) bool        don't-care regions
    text_offsets      (W + 1,) int64   bytes of a word's transcription
    text_bytes        (...,) uint8     UTF-8
    name_offsets      (I + 1,) int64   bytes of an image's name
    name_bytes        (...,) uint8     UTF-8, path relative to the image folder
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dld_d2.data.records import ImageRecord
from dld_d2.data.report import AnnotationError
from dld_d2.structures.files import check_regular_file

__all__ = ["COLUMNS", "INDEX_KIND", "INDEX_VERSION", "OFFSETS", "TextIndex", "pack"]

INDEX_KIND = "dld_d2 text index"
INDEX_VERSION = 1

# Name of an array -> its dtype and the shape of one element.
COLUMNS: Mapping[str, tuple[np.dtype, tuple[int, ...]]] = {
    "sizes": (np.dtype(np.int32), (2,)),
    "word_offsets": (np.dtype(np.int64), ()),
    "vertex_offsets": (np.dtype(np.int64), ()),
    "vertices": (np.dtype(np.float32), (2,)),
    "ignore": (np.dtype(np.bool_), ()),
    "text_offsets": (np.dtype(np.int64), ()),
    "text_bytes": (np.dtype(np.uint8), ()),
    "name_offsets": (np.dtype(np.int64), ()),
    "name_bytes": (np.dtype(np.uint8), ()),
}

# Array of offsets -> (array whose elements have one range each, array that it points into).
OFFSETS: Mapping[str, tuple[str, str]] = {
    "word_offsets": ("sizes", "ignore"),
    "vertex_offsets": ("ignore", "vertices"),
    "text_offsets": ("ignore", "text_bytes"),
    "name_offsets": ("sizes", "name_bytes"),
}


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def pack(records: Sequence[ImageRecord]) -> dict[str, np.ndarray]:
    """The arrays of an index for these records."""
    polygons = [polygon for record in records for polygon in record.polygons]
    texts = [text.encode("utf-8") for record in records for text in record.texts]
    names = [record.file_name.encode("utf-8") for record in records]
    no_vertices = np.empty((0, 2), dtype=np.float32)
    no_flags = np.empty(0, dtype=np.bool_)
    return {
        "sizes": np.array([(r.height, r.width) for r in records], dtype=np.int32).reshape(-1, 2),
        "word_offsets": _offsets([len(record.polygons) for record in records]),
        "vertex_offsets": _offsets([len(polygon) for polygon in polygons]),
        "vertices": np.concatenate([no_vertices, *polygons]),
        "ignore": np.concatenate([no_flags, *(record.ignore for record in records)]),
        "text_offsets": _offsets([len(text) for text in texts]),
        "text_bytes": np.frombuffer(b"".join(texts), dtype=np.uint8),
        "name_offsets": _offsets([len(name) for name in names]),
        "name_bytes": np.frombuffer(b"".join(names), dtype=np.uint8),
    }


class TextIndex:
    """Annotations of a set, as flat arrays in memory or mapped from a folder.

    Pickling an index that was loaded from a folder stores the folder's path only, so that it
    costs nothing to send it to a worker process.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], folder: Path | None = None) -> None:
        """Wrap arrays that `pack` made, or that `load` found in `folder`.

        Raises:
            AnnotationError: if the arrays do not fit each other.
        """
        self._arrays = dict(arrays)
        self._folder = folder
        self._check()

    @classmethod
    def from_records(cls, records: Iterable[ImageRecord]) -> TextIndex:
        """An index in memory."""
        return cls(pack(list(records)))

    @classmethod
    def load(cls, folder: str | Path) -> TextIndex:
        """Map an index that `write_index` wrote.

        Raises:
            AnnotationError: naming the file and the fix, if there is no index, one of another
                version, or a damaged one.
        """
        folder = Path(folder).resolve()
        read_info(folder)
        arrays = {}
        for name in COLUMNS:
            path = folder / f"{name}.npy"
            try:
                arrays[name] = _map_array(path)
            except (OSError, ValueError, EOFError, MemoryError, RecursionError) as error:
                raise AnnotationError(f"{path}: {error}; {_MAKE_AGAIN}") from None
        return cls(arrays, folder)

    def _check(self) -> None:
        where = self._folder or "index"
        for name, (dtype, shape) in COLUMNS.items():
            array = self._arrays.get(name)
            if array is None or array.dtype != dtype or array.shape[1:] != shape or not array.ndim:
                found = None if array is None else (array.dtype.name, array.shape)
                raise AnnotationError(
                    f"{where}: array {name} should be {dtype.name} of shape {('n', *shape)}, "
                    f"found {found}; {_MAKE_AGAIN}"
                )
        for name, (owner, target) in OFFSETS.items():
            offsets = self._arrays[name]
            if (
                len(offsets) != len(self._arrays[owner]) + 1
                or offsets[0] != 0
                or offsets[-1] != len(self._arrays[target])
            ):
                raise AnnotationError(
                    f"{where}: array {name} fits neither {owner} nor {target}; {_MAKE_AGAIN}"
                )

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        if self._folder is not None:
            return TextIndex.load, (str(self._folder),)
        return TextIndex, (self._arrays,)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._arrays["sizes"])

    @property
    def num_words(self) -> int:
        """Number of words and don't-care regions of all images."""
        return len(self._arrays["ignore"])

    @property
    def num_ignored(self) -> int:
        """Number of don't-care regions of all images."""
        return int(np.count_nonzero(self._arrays["ignore"]))

    def __getitem__(self, index: int) -> ImageRecord:
        """Annotations of one image; the arrays in it are copies.

        Raises:
            IndexError: if there is no such image.
            AnnotationError: if the index is damaged there.
        """
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"image {index} of {count}")
        index %= count
        arrays = self._arrays
        start, stop = self._offsets(index, "word_offsets", index, index + 1)
        vertex = self._offsets(index, "vertex_offsets", start, stop)
        text = self._offsets(index, "text_offsets", start, stop)
        vertices = np.array(arrays["vertices"][vertex[0] : vertex[-1]])
        characters = arrays["text_bytes"][text[0] : text[-1]].tobytes()
        height, width = arrays["sizes"][index].tolist()
        name_start, name_stop = self._offsets(index, "name_offsets", index, index + 1)
        if min(height, width) < 1:
            raise self._damaged(index, f"its height x width is {height} x {width}")
        try:
            name = arrays["name_bytes"][name_start:name_stop].tobytes().decode("utf-8")
            texts = [
                characters[a - text[0] : b - text[0]].decode("utf-8") for a, b in _ranges(text)
            ]
        except UnicodeDecodeError as error:
            raise self._damaged(index, str(error)) from None
        if not np.isfinite(vertices).all():
            raise self._damaged(index, "a coordinate is NaN or infinite")
        return ImageRecord(
            name,
            height,
            width,
            [vertices[a - vertex[0] : b - vertex[0]] for a, b in _ranges(vertex)],
            texts,
            np.array(arrays["ignore"][start:stop]),
        )

    def _offsets(self, index: int, name: str, start: int, stop: int) -> list[int]:
        """Some offsets of an image. They are looked at here and not when the index is loaded, which
        would read arrays of any size."""
        offsets = self._arrays[name][start : stop + 1].tolist()
        length = len(self._arrays[OFFSETS[name][1]])
        if offsets[0] < 0 or offsets[-1] > length or any(a > b for a, b in pairwise(offsets)):
            raise self._damaged(index, f"{name} point nowhere")
        return offsets

    def _damaged(self, index: int, reason: str) -> AnnotationError:
        where = self._folder or "index"
        return AnnotationError(f"{where}, image number {index}: {reason}; {_MAKE_AGAIN}")

    def __iter__(self) -> Iterator[ImageRecord]:
        return (self[i] for i in range(len(self)))


_EMPTY_ARRAY_BYTES = 1024  # more than the header of one
_MAKE_AGAIN = "make the index again with tools/prepare_dataset.py"


def read_info(folder: Path) -> dict[str, Any]:
    """What `index.json` says: counts, source of the annotations, what was left out.

    Raises:
        AnnotationError: if there is no index of this version.
    """
    path = folder / "index.json"
    try:
        check_regular_file(path)
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnnotationError(
            f"{folder}: is no index (it has no index.json); make it with tools/prepare_dataset.py"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: cannot be read ({error}); {_MAKE_AGAIN}") from None
    if not isinstance(info, dict) or info.get("kind") != INDEX_KIND:
        raise AnnotationError(f"{path}: does not describe a text index; {_MAKE_AGAIN}")
    if info.get("version") != INDEX_VERSION:
        raise AnnotationError(
            f"{path}: is an index of version {info.get('version')}, this dld_d2 reads version "
            f"{INDEX_VERSION}; {_MAKE_AGAIN}"
        )
    return info


def _map_array(path: Path) -> np.ndarray:
    check_regular_file(path)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        # An array without elements cannot be mapped. A header that lies must not cost memory.
        if path.stat().st_size > _EMPTY_ARRAY_BYTES:
            raise
        array = np.load(path, allow_pickle=False)
        if array.size:
            raise
        return array


def _ranges(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    return pairwise(offsets)
