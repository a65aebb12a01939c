"""Registration of text data sets in Detectron2's catalogs."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from dld_d2.data.formats.registry import (
    UNLABELLED,
    check_annotations,
    check_options,
    get_reader,
    read_records,
)
from dld_d2.data.index import TextIndex
from dld_d2.data.report import AnnotationError, AnnotationReport, BadAnnotationPolicy, check_policy
from dld_d2.data.text_dataset import TextDataset
from dld_d2.structures.lexicons import LEXICONS

__all__ = [
    "EVALUATOR_TYPE",
    "INDEX_FORMAT",
    "LEXICON_NAMES",
    "expand_path",
    "is_labelled",
    "policy_of",
    "register_text_dataset",
    "set_default_policy",
]

EVALUATOR_TYPE = "text_spotting"
INDEX_FORMAT = "index"
LEXICON_NAMES = tuple(name for name in LEXICONS if name != "none")

# Where Detectron2, too, looks for data sets when the variable is not set.
_DEFAULT_VARIABLES = {"DETECTRON2_DATASETS": "datasets"}

_default_policy: BadAnnotationPolicy = "raise"


def set_default_policy(policy: str) -> None:
    """Set what sets without an `on_bad` of their own do with bad annotations, from now on.

    Raises:
        ValueError: for anything but "raise" and "skip".
    """
    global _default_policy
    _default_policy = check_policy(policy)


@dataclass
class _RegisteredDataset:
    """What `DatasetCatalog` calls: reads the set when first asked, keeps it afterwards."""

    name: str
    image_root: str
    annotations: str | None
    format: str
    lexicons: dict[str, str]
    on_bad: BadAnnotationPolicy | None
    options: dict[str, Any]
    part: str = ""
    _cache: dict[str, TextDataset] = field(default_factory=dict, compare=False, repr=False)

    @property
    def policy(self) -> BadAnnotationPolicy:
        return self.on_bad or _default_policy

    def __call__(self) -> TextDataset:
        policy = self.policy
        if policy not in self._cache:
            self._cache[policy] = TextDataset(self._read(policy), self.image_root)
        return self._cache[policy]

    def _read(self, policy: BadAnnotationPolicy) -> TextIndex:
        logger = logging.getLogger(__name__)
        report = AnnotationReport(policy)
        try:
            if self.format == INDEX_FORMAT:
                index = TextIndex.load(self.annotations)
                if not os.path.isdir(self.image_root):
                    raise AnnotationError(f"{self.image_root}: is no folder of images")
            else:
                index = TextIndex.from_records(
                    read_records(
                        self.format, self.image_root, self.annotations, report, **self.options
                    )
                )
            if self.part:
                index = _part_of(index, self.part)
        except AnnotationError as error:
            raise AnnotationError(f"data set {self.name!r}: {error}") from None
        report.log(self.name, logger)
        counts = (
            "without annotations"
            if self.annotations is None
            else f"with {index.num_words - index.num_ignored} words and {index.num_ignored} "
            "don't-care regions"
        )
        logger.info(f"{self.name}: {len(index)} images {counts}")
        return index


def register_text_dataset(
    name: str,
    image_root: str | os.PathLike[str],
    annotations: str | os.PathLike[str] | None,
    format: str,
    *,
    lexicons: Mapping[str, str | os.PathLike[str]] | None = None,
    on_bad: str | None = None,
    options: Mapping[str, Any] | None = None,
    part: str = "",
) -> None:
    """Make a data set known to Detectron2 under a name. Nothing is read until it is used.

    `DatasetCatalog.get(name)` then returns a `TextDataset`. `MetadataCatalog.get(name)` has
    `thing_classes`, `evaluator_type`, `image_root`, `ground_truth` (the annotations' path),
    `format`, `lexicons` (a dict of paths) and `labelled` (whether there are annotations).

    Args:
        name: as used in `DATASETS.TRAIN` and `DATASETS.TEST`.
        image_root: folder of the images. Paths may hold `~` and environment variables.
        annotations: file or folder, as the format has it; None for "unlabelled", which has none.
        format: a name in `FORMATS`, or "index" for a folder that `tools/prepare_dataset.py` made.
        lexicons: paths of word lists for evaluation, by "strong" (folder or zip with one list per
            image), "weak", "generic" or "full".
        on_bad: "raise" stops at an annotation that cannot be used and names its place, "skip"
            leaves it out and lists it in the log. None follows `DATASETS.ON_BAD_ANNOTATION`.
        options: of the format, e.g. `{"split": "train"}`.
        part: which images of the set are taken: "9/10" for every tenth, those whose place in its
            order, counted from 0, leaves 9 when divided by 10; "not 9/10" for all others, so that
            some can be kept apart for choosing checkpoints and thresholds. Empty for all.

    Raises:
        ValueError: for a name that is taken by a set with other arguments (the same registration
            may be repeated), an unknown format, lexicon, policy, option or part, annotations or
            lexicons where the format has none, and an environment variable that is not set.
    """
    options = dict(options or {})
    if format == INDEX_FORMAT:
        if options:
            raise ValueError(f"data set {name!r}: format {INDEX_FORMAT!r} has no options")
    else:
        get_reader(format)
        check_options(format, options)
    check_annotations(format, annotations)
    lexicons = dict(lexicons or {})
    if format == UNLABELLED and lexicons:
        raise ValueError(
            f"data set {name!r}: nothing is evaluated on images without annotations; leave "
            "lexicons out"
        )
    unknown = sorted(set(lexicons) - set(LEXICON_NAMES))
    if unknown:
        raise ValueError(
            f"data set {name!r}: unknown lexicon {', '.join(unknown)}; known are "
            f"{', '.join(LEXICON_NAMES)}"
        )
    if part:
        _parse_part(part)
    dataset = _RegisteredDataset(
        name=name,
        image_root=expand_path(image_root),
        annotations=None if annotations is None else expand_path(annotations),
        format=format,
        lexicons={key: expand_path(path) for key, path in lexicons.items()},
        on_bad=None if on_bad is None else check_policy(on_bad),
        options=options,
        part=part,
    )
    if name in DatasetCatalog:
        if DatasetCatalog[name] == dataset:
            return
        raise ValueError(
            f"a data set named {name!r} is registered already, with other arguments: "
            f"{DatasetCatalog[name]!r}; choose another name"
        )
    DatasetCatalog.register(name, dataset)
    MetadataCatalog.get(name).set(
        thing_classes=["text"],
        evaluator_type=EVALUATOR_TYPE,
        image_root=dataset.image_root,
        ground_truth=dataset.annotations,
        format=format,
        lexicons=dataset.lexicons,
        labelled=format != UNLABELLED,
    )


def _parse_part(part: str) -> tuple[bool, int, int]:
    """Whether all others are meant, which place, and of how many."""
    found = re.fullmatch(r"(not )?(\d+)/(\d+)", part)
    if found is None or int(found[2]) >= int(found[3]):
        raise ValueError(
            f'part is {part!r}; it is "9/10" for images 9, 19, 29, ..., or "not 9/10" for the '
            "others"
        )
    return found[1] is not None, int(found[2]), int(found[3])


def _part_of(index: TextIndex, part: str) -> TextIndex:
    others, place, count = _parse_part(part)
    taken = [i for i in range(len(index)) if (i % count == place) != others]
    if not taken:
        raise AnnotationError(f"of {len(index)} images none is in the part {part!r}")
    return TextIndex.from_records(index[i] for i in taken)


def is_labelled(name: str) -> bool:
    """Whether a data set has annotations. All have, but those of the format "unlabelled"."""
    # Detectron2 would make metadata for any name that it is asked for.
    return name not in DatasetCatalog or MetadataCatalog.get(name).get("labelled", True)


def policy_of(name: str) -> BadAnnotationPolicy:
    """What a registered data set does, by now, with images and annotations that cannot be used."""
    dataset = DatasetCatalog[name]
    return dataset.policy if isinstance(dataset, _RegisteredDataset) else _default_policy


def expand_path(path: str | os.PathLike[str]) -> str:
    """Replace `~` and environment variables; DETECTRON2_DATASETS is "datasets" if not set.

    Raises:
        ValueError: naming a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        variable = match[1] or match[2]
        found = os.environ.get(variable, _DEFAULT_VARIABLES.get(variable))
        if found is None:
            raise ValueError(f"{path}: environment variable {variable} is not set")
        return found

    expanded = re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, os.fspath(path))
    return os.path.expanduser(expanded)
