"""The data sets of the paper, under `$DETECTRON2_DATASETS` (see datasets/README.md).

Importing this module registers them; no file is touched.
"""

from __future__ import annotations

from typing import Any

from dld_d2.data.catalog import register_text_dataset

__all__ = ["BUILTIN_DATASETS"]


def _per_image(folder: str, format: str) -> dict[str, str]:
    """Arguments for a set with one annotation file per image."""
    return {"image_root": f"{folder}/images", "annotations": f"{folder}/gt", "format": format}


def _icdar_lexicons(folder: str, challenge: str) -> dict[str, str]:
    """Lexicons as the Robust Reading Competition names them."""
    return {
        "strong": f"{folder}/{challenge}_test_vocabularies_per_image.zip",
        "weak": f"{folder}/{challenge}_test_vocabulary.txt",
        "generic": f"{folder}/GenericVocabulary.txt",
    }


_COCO_TEXT = {
    "image_root": "coco/train2014",
    "annotations": "cocotext/cocotext.v2.json",
    "format": "coco_text",
}

_LATIN = {"scripts": ["Latin"]}

# Name -> arguments of `register_text_dataset`, paths relative to $DETECTRON2_DATASETS.
BUILTIN_DATASETS: dict[str, dict[str, Any]] = {
    "icdar2013_train": _per_image("icdar2013/train", "icdar2013"),
    "icdar2013_test": {
        **_per_image("icdar2013/test", "icdar2013"),
        "lexicons": _icdar_lexicons("icdar2013/lexicons", "ch2"),
    },
    "icdar2015_train": _per_image("icdar2015/train", "icdar2015"),
    # The same in two parts, the second one for choosing checkpoints and thresholds.
    "icdar2015_fit": {**_per_image("icdar2015/train", "icdar2015"), "part": "not 9/10"},
    "icdar2015_val": {**_per_image("icdar2015/train", "icdar2015"), "part": "9/10"},
    "icdar2015_test": {
        **_per_image("icdar2015/test", "icdar2015"),
        "lexicons": _icdar_lexicons("icdar2015/lexicons", "ch4"),
    },
    "mlt2017_train": _per_image("mlt2017/train", "mlt2017"),
    "mlt2017_val": _per_image("mlt2017/val", "mlt2017"),
    # For models that read ASCII, as the published ones: photographs with Latin words.
    "mlt2017_latin_train": {**_per_image("mlt2017/train", "mlt2017"), "options": _LATIN},
    "mlt2017_latin_val": {**_per_image("mlt2017/val", "mlt2017"), "options": _LATIN},
    "totaltext_train": _per_image("totaltext/train", "totaltext"),
    "totaltext_test": {
        **_per_image("totaltext/test", "totaltext"),
        "lexicons": {"full": "totaltext/lexicons/full_lexicons.txt"},
    },
    # gt.mat itself takes minutes and many gigabytes to read, in every process of a training.
    "synthtext_train": {
        "image_root": "synthtext/images",
        "annotations": "synthtext/synthtext.index",
        "format": "index",
    },
    "cocotext_train": {**_COCO_TEXT, "options": {"split": "train"}},
    "cocotext_val": {**_COCO_TEXT, "options": {"split": "val"}},
}


def _register_all() -> None:
    root = "$DETECTRON2_DATASETS"
    for name, arguments in BUILTIN_DATASETS.items():
        arguments = dict(arguments)
        lexicons = arguments.pop("lexicons", {})
        register_text_dataset(
            name,
            f"{root}/{arguments.pop('image_root')}",
            f"{root}/{arguments.pop('annotations')}",
            lexicons={key: f"{root}/{path}" for key, path in lexicons.items()},
            **arguments,
        )


_register_all()
