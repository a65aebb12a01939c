"""Ground truth and lexicons of a registered data set, as the protocol takes them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld_d2.evaluation.lexicon import ImageLexicons, Lexicon, read_lexicon
from dld_d2.structures.lexicons import LEXICONS
from dld_d2.structures.word import DONT_CARE, Word

__all__ = ["first_images", "read_lexicons", "read_sizes", "read_truth", "rrc_names"]

logger = logging.getLogger(__name__)


def read_truth(dataset_name: str) -> dict[str, list[Word]]:
    """Words of all images by id.

    Raises:
        ValueError: if two images have the same id.
    """
    truth: dict[str, list[Word]] = {}
    images = DatasetCatalog.get(dataset_name)
    for number in range(len(images)):
        image = images[number]
        name = str(image["image_id"])
        if name in truth:
            raise ValueError(f"{dataset_name}: two images have the id {name!r}")
        truth[name] = [
            Word(
                np.asarray(item["segmentation"][0], dtype=np.float64).reshape(-1, 2),
                DONT_CARE if item["ignore"] else item["text"],
            )
            for item in image["annotations"]
        ]
    return truth


def read_sizes(dataset_name: str) -> dict[str, tuple[int, int]]:
    """Height and width of all images in pixels, by id."""
    images = DatasetCatalog.get(dataset_name)
    found = (images[number] for number in range(len(images)))
    return {str(image["image_id"]): (image["height"], image["width"]) for image in found}


def first_images(dataset_name: str, count: int) -> dict[str, dict[str, Any]]:
    """The dictionaries of a data set's first images, by id."""
    images = DatasetCatalog.get(dataset_name)
    first = [images[number] for number in range(min(count, len(images)))]
    return {str(image["image_id"]): image for image in first}


def read_lexicons(
    dataset_name: str, wanted: Sequence[str]
) -> dict[str, Lexicon | ImageLexicons | None]:
    """Lexicons by name, "none" standing for no lexicon.

    Args:
        dataset_name: a registered data set.
        wanted: names out of `LEXICONS`; those that the data set lacks are left out. Empty: all that
            it has.

    Raises:
        ValueError: for unknown names, and if none is left.
    """
    unknown = sorted(set(wanted) - set(LEXICONS))
    if unknown:
        raise ValueError(f"TEST.LEXICONS: {unknown} unknown; known are {', '.join(LEXICONS)}")
    # Paths, or functions that give a lexicon which is in no file.
    sources = MetadataCatalog.get(dataset_name).get("lexicons", {})
    lexicons: dict[str, Lexicon | ImageLexicons | None] = {}
    for name in LEXICONS:
        if wanted and name not in wanted:
            continue
        if name == "none":
            lexicons[name] = None
        elif name in sources:
            source = sources[name]
            if callable(source):
                lexicons[name] = source()
                continue
            if not wanted and not Path(source).exists():
                logger.warning(
                    f"{dataset_name}: no scores with the {name} lexicon, {source} is missing"
                )
                continue
            lexicons[name] = read_lexicon(source)
    if not lexicons:
        raise ValueError(f"TEST.LEXICONS: {dataset_name} has none of {', '.join(wanted)}")
    return lexicons


def rrc_names(image_ids: Iterable[str]) -> dict[str, str]:
    """What the RRC calls the images: by number where all are named `img_N` or `imgN`."""
    matches = {name: re.fullmatch(r"img_?([0-9]+)", name) for name in image_ids}
    if all(matches.values()):
        names = {name: match.group(1) for name, match in matches.items()}
    else:
        names = {name: re.sub(r"[/\\]", "_", name) for name in matches}
    return names if len(set(names.values())) == len(names) else {name: name for name in names}
