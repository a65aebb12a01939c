"""Scenes as files: images, annotations in several forms, lexicons."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dld_d2.data.index_writer import write_index
from dld_d2.data.records import ImageRecord, image_id
from dld_d2.synthetic.config import LAYOUT_VERSION
from dld_d2.synthetic.dataset import SyntheticDataset
from dld_d2.synthetic.lexicons import generic_lexicon, strong_lexicons, weak_lexicon

__all__ = ["write_annotations", "write_lexicons", "write_scene", "write_words"]

_JPEG_QUALITY = 95


def write_scene(dataset: SyntheticDataset, index: int, folder: Path, suffix: str = ".png") -> str:
    """Write one picture into `folder / "images"`, which must exist.

    Args:
        suffix: ".png" keeps every pixel as it is drawn, ".jpg" is smaller.

    Returns:
        The file's name.

    Raises:
        OSError: if it cannot be written.
    """
    item = dataset[index]
    image = item["read_image"]("BGR")
    name = f"{item['image_id']}{suffix}"
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else []
    path = folder / "images" / name
    path.write_bytes(cv2.imencode(suffix, image, options)[1].tobytes())
    return name


def write_annotations(dataset: SyntheticDataset, folder: Path, suffix: str = ".png") -> None:
    """Write all annotations into a folder.

    `gt/gt_ID.txt` has polygons (format `polygon`), `gt_icdar2015/gt_ID.txt` quadrilaterals
    (format `icdar2015`; of curved words the smallest rectangle around them), `scenes.index` the
    polygons again (format `index`), and `scenes.json` what the set was made from.

    Raises:
        AnnotationError: if there is an index already.
    """
    about = {
        "scenes": len(dataset),
        "seed": dataset.seed,
        "layout_version": LAYOUT_VERSION,
        "annotations_sha256": dataset.digest(),
        "config": _config(dataset),
    }
    write_index(folder / "scenes.index", _written(dataset, folder, suffix), source=about)
    text = json.dumps(about, indent=2)
    (folder / "scenes.json").write_text(text + "\n", encoding="utf-8")


def write_lexicons(dataset: SyntheticDataset, folder: Path) -> None:
    """Write the lexicons into a folder, under the names by which the RRC publishes them."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / "test_vocabulary.txt", weak_lexicon(dataset))
    _write_lines(folder / "GenericVocabulary.txt", generic_lexicon(dataset))
    with zipfile.ZipFile(folder / "strong_lexicon.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, words in strong_lexicons(dataset).items():
            archive.writestr(f"voc_img_{name}.txt", "\n".join(words) + "\n")


def write_words(path: Path, polygons: Iterable[np.ndarray], texts: Iterable[str]) -> None:
    """Write the words of one image, a line each: the vertices, then the text. It may hold commas
    where all polygons have four vertices and the file is read in the format `icdar2015`."""
    _write_lines(path, _lines(polygons, texts))


def _written(dataset: SyntheticDataset, folder: Path, suffix: str) -> Iterator[ImageRecord]:
    """The records, each of which is written to text files on its way."""
    folders = [folder / "gt", folder / "gt_icdar2015"]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    for index in range(len(dataset)):
        record = dataset.record(index, suffix)
        quadrilaterals = [_quadrilateral(polygon) for polygon in record.polygons]
        name = f"gt_{image_id(record.file_name)}.txt"
        for path, polygons in zip(folders, (record.polygons, quadrilaterals), strict=True):
            write_words(path / name, polygons, record.texts)
        yield record


def _quadrilateral(polygon: np.ndarray) -> np.ndarray:
    """(4, 2): the polygon, or the smallest rectangle around it, from its first vertex on."""
    if len(polygon) == 4:
        return polygon
    corners = cv2.boxPoints(cv2.minAreaRect(polygon))
    x, y = corners.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:
        corners = corners[::-1]
    first = int(np.square(corners - polygon[0]).sum(axis=1).argmin())
    return np.roll(corners, -first, axis=0)


def _lines(polygons: Iterable[np.ndarray], texts: Iterable[str]) -> list[str]:
    return [
        ",".join(f"{value:.2f}" for value in polygon.ravel().tolist()) + f",{text}"
        for polygon, text in zip(polygons, texts, strict=True)
    ]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _config(dataset: SyntheticDataset) -> dict[str, Any]:
    """The configuration in JSON's types."""
    config = asdict(dataset.config)
    for key in ("backgrounds", "word_crops"):
        config[key] = None if config[key] is None else str(config[key])
    return config
