"""Words that a teacher is sure of, as a file of annotations that people may correct."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from dld_d2.data.formats.json_file import load_object
from dld_d2.data.report import AnnotationError
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.pseudo_labels.readings import ImageReading, Stamp
from dld_d2.engine.whole_files import write_whole
from dld_d2.structures.word import DONT_CARE, Word

__all__ = ["LabelFile", "Thresholds", "entry_of", "is_of"]


@dataclass(frozen=True)
class Thresholds:
    """What makes a reading a word to learn from; the keys of MODEL.DISTILL.PSEUDO_LABELS.

    Attributes:
        min_score: least score of the text.
        min_detection_score: least score of the detection.
    """

    min_score: float
    min_detection_score: float

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Thresholds:
        """
        Raises:
            ConfigError: naming the key, for a value that is no score.
        """
        keys = cfg.MODEL.DISTILL.PSEUDO_LABELS
        for key in ("MIN_SCORE", "MIN_DETECTION_SCORE"):
            if not 0 <= keys[key] <= 1:
                raise ConfigError(
                    f"MODEL.DISTILL.PSEUDO_LABELS.{key} is {keys[key]}; scores are between 0 and 1"
                )
        return cls(keys.MIN_SCORE, keys.MIN_DETECTION_SCORE)

    def passes(self, word: Word) -> bool:
        """Whether a reading is sure enough. One without a text tells nothing of how sure it is."""
        return (
            word.text not in ("", DONT_CARE)
            and word.score >= self.min_score
            and word.detection_score >= self.min_detection_score
        )

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class LabelFile:
    """Annotations in the format "datalist", with one image per line.

    Beside what the format asks for, an image has the size of its file (`bytes`), and words have
    what the teacher read (`readings`), how sure it was of that (`scores`), and of there being a
    word at all (`detection_scores`).

    Args:
        path: of the file.
        dataset_name: of the data set.
    """

    def __init__(self, path: Path, dataset_name: str) -> None:
        self.path = path
        self._dataset_name = dataset_name

    def load(self, known: Container[str]) -> dict[str, Any]:
        """What it holds, by the images' names; nothing if there is no such file.

        Args:
            known: names of the images in the data set.

        Raises:
            AnnotationError: if it is no JSON object, or one of other images. It is not made anew,
                since whoever corrected it by hand may have slipped.
        """
        if not self.path.exists():
            return {}
        remedy = "correct it, or remove the file, which is then made again"
        try:
            content = load_object(str(self.path))
        except AnnotationError as error:
            raise AnnotationError(f"{error}; {remedy}") from None
        if content and not any(name in known for name in content):
            raise AnnotationError(
                f"{self.path}: holds none of the images of {self._dataset_name}; {remedy}"
            )
        return content

    def write(self, content: Mapping[str, Any]) -> None:
        """Write it; at any moment it is as it was before, or whole."""
        lines = [f"{_dump(name)}: {_dump(entry)}" for name, entry in content.items()]
        write_whole(self.path, ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8"))


def entry_of(reading: ImageReading, thresholds: Thresholds) -> dict[str, Any]:
    """The entry of an image: words that pass the thresholds, all others as don't-care regions."""
    cares = [thresholds.passes(word) for word in reading.words]
    words = list(zip(reading.words, cares, strict=True))
    return {
        **reading.stamp._asdict(),
        "content_ann": {
            "bboxes": [word.polygon.ravel().tolist() for word in reading.words],
            "texts": [word.text if care else DONT_CARE for word, care in words],
            "cares": [int(care) for care in cares],
            "readings": [word.text for word in reading.words],
            "scores": [round(word.score, 4) for word in reading.words],
            "detection_scores": [round(word.detection_score, 4) for word in reading.words],
        },
    }


def is_of(entry: Any, stamp: Stamp) -> bool:
    """Whether an entry is of the image with this stamp, as far as it tells."""
    if not isinstance(entry, dict):
        return True  # What is wrong with it is for the format's reader to say.
    return all(entry.get(key, value) == value for key, value in stamp._asdict().items())


def _dump(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)
