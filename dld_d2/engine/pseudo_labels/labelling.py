"""From a set of photographs without annotations to one with what its teacher reads in them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from dld_d2.data.catalog import policy_of
from dld_d2.data.formats.datalist import entry_words
from dld_d2.data.index import TextIndex
from dld_d2.data.records import record_of_size
from dld_d2.data.report import AnnotationError, AnnotationReport
from dld_d2.data.resolution import at_resolution_of
from dld_d2.data.text_dataset import TextDataset
from dld_d2.engine.config_sources import ConfigError, leaves
from dld_d2.engine.pseudo_labels.label_file import LabelFile, Thresholds, entry_of, is_of
from dld_d2.engine.pseudo_labels.readings import ImageReading, Store, digest, plain
from dld_d2.engine.pseudo_labels.teacher_pass import Photograph, photographs, readings_of
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["FOLDER", "label_images"]

logger = logging.getLogger(__name__)

FOLDER = "pseudo_labels"
"""In OUTPUT_DIR."""

# How long processes read before they tell one another how far they are. None of them waits much
# longer for the others, however slow these are, so that no exchange runs into its time limit.
_ROUND_SECONDS = 30.0

T = TypeVar("T")


def label_images(
    name: str, teacher: Spotter, sha256: str, cfg: CfgNode, teacher_cfg: CfgNode
) -> TextDataset:
    """The images of a registered set with words that the teacher reads in them.

    Each image is read once: readings are kept in OUTPUT_DIR/pseudo_labels, where an interrupted or
    a second training finds them. What the teacher is sure of, by MODEL.DISTILL.PSEUDO_LABELS, is a
    word, all else that it finds is don't-care. These annotations are in a file there, which is
    taken as it stands if somebody has corrected it.

    All processes must call this together; they share the images. If it fails in one of them, it
    raises in all.

    Args:
        name: of a set without annotations.
        teacher: frozen, in evaluation mode.
        sha256: of the file of its weights.
        cfg: of the training.
        teacher_cfg: of which the teacher was built.

    Raises:
        ConfigError: for thresholds that are no scores.
        AnnotationError: for an image that cannot be read, if the set's policy is to raise, and for
            a file of annotations that cannot be used.
    """
    thresholds = Thresholds.from_config(cfg)
    dataset = DatasetCatalog.get(name)
    images = photographs(dataset)
    cfg = _reading_cfg(at_resolution_of(cfg, name), teacher_cfg)
    folder = Path(cfg.OUTPUT_DIR) / FOLDER
    origin = _origin(name, teacher, sha256, cfg)
    store = Store(folder, name, origin)
    key = digest(origin | thresholds.to_dict())
    labels = LabelFile(folder / f"{plain(name)}-{key}.json", name)

    pending = _of_main(lambda: _pending(name, images, store, labels))
    if pending:
        _read(name, teacher, [images[index] for index in pending], cfg, store)
    _of_main(lambda: _complete(images, store, labels, thresholds))
    index = _index(name, images, labels)
    empty = sum(not record.texts for record in index)
    logger.info(
        f"{name}: {len(index)} images with {index.num_words - index.num_ignored} words that the "
        f"teacher is sure of and {index.num_ignored} don't-care regions; {empty} images have "
        f"neither ({labels.path})"
    )
    return TextDataset(index, dataset.image_root)


def _reading_cfg(cfg: CfgNode, teacher_cfg: CfgNode) -> CfgNode:
    """The teacher's configuration, at what is full resolution of the set in this training."""
    reading = teacher_cfg.clone()
    reading.defrost()
    reading.OUTPUT_DIR = cfg.OUTPUT_DIR
    reading.INPUT.MIN_SIZE_TEST = cfg.INPUT.MIN_SIZE_TEST
    reading.INPUT.MAX_SIZE_TEST = cfg.INPUT.MAX_SIZE_TEST
    reading.DATALOADER.NUM_WORKERS = cfg.DATALOADER.NUM_WORKERS
    reading.freeze()
    return reading


def _origin(name: str, teacher: Spotter, sha256: str, cfg: CfgNode) -> dict[str, Any]:
    """All that readings depend on, but for the images."""
    patterns = set(teacher.inference_keys) - {"MODEL.DEVICE", "MODEL.META_ARCHITECTURE"}
    return {
        "dataset": name,
        "spotter": type(teacher).__name__,
        "teacher": sha256,
        "keys": {
            key: value
            for key, value in leaves(cfg)
            if any(fnmatchcase(key, pattern) for pattern in patterns)
        },
    }


def _pending(name: str, images: Sequence[Photograph], store: Store, labels: LabelFile) -> list[int]:
    """Indices of the images that are neither annotated nor read."""
    content = labels.load(_names(images))
    lacking = {image for image in images if not _has_entry(content, image)}
    if not lacking:
        return []
    stale = sum(image.file_name in content for image in lacking)
    if stale:
        logger.warning(
            f"{labels.path}: {stale} images are others now than those that were read; they are "
            "read again"
        )
    readings = store.collect()
    pending = [
        index
        for index, image in enumerate(images)
        if image in lacking and not _has_reading(readings, image)
    ]
    if pending:
        logger.info(f"{name}: the teacher reads {len(pending)} of {len(images)} images first")
    return pending


def _read(
    name: str, teacher: Spotter, images: Sequence[Photograph], cfg: CfgNode, store: Store
) -> None:
    """Read the images, each process its share, and keep what was read."""
    mine = images[comm.get_rank() :: comm.get_world_size()]
    report = AnnotationReport(policy_of(name))

    def work() -> Iterator[None]:
        with store.appending(comm.get_rank()) as append:
            for reading in readings_of(teacher, mine, cfg, report):
                if reading is not None:
                    append(reading)
                yield

    begin, done, finished = time.monotonic(), 0, False
    with contextlib.closing(work()) as share:
        while not finished:
            rounds = _together(lambda: _one_round(share))
            done += sum(count for count, _ in rounds)
            finished = all(ended for _, ended in rounds)
            seconds = time.monotonic() - begin
            rest = seconds / max(done, 1) * (len(images) - done)
            logger.info(
                f"{name}: the teacher has read {done} of {len(images)} images in {seconds:.0f} s"
                + ("" if finished else f", {rest:.0f} s to go")
            )
    skips = _together(lambda: report.skips)
    report.skips = [skip for share in skips for skip in share]
    report.log(name, logger)


def _one_round(share: Iterator[None]) -> tuple[int, bool]:
    """Work for a while: the number of images, and whether they were the last."""
    count, end = 0, time.monotonic() + _ROUND_SECONDS
    for _ in share:
        count += 1
        if time.monotonic() >= end:
            return count, False
    return count, True


def _complete(
    images: Sequence[Photograph], store: Store, labels: LabelFile, thresholds: Thresholds
) -> None:
    """Give the file of annotations those images that it lacks; what it has stays as it is."""
    content = labels.load(_names(images))
    lacking = [image for image in images if not _has_entry(content, image)]
    readings = store.collect() if lacking else {}
    new = {
        image.file_name: entry_of(readings[image.file_name], thresholds)
        for image in lacking
        if _has_reading(readings, image)
    }
    if new or not labels.path.exists():
        content |= new
        names = [image.file_name for image in images if image.file_name in content]
        labels.write({name: content[name] for name in names} | content)


def _index(name: str, images: Sequence[Photograph], labels: LabelFile) -> TextIndex:
    """The images with the annotations of the file, without those that have none there."""
    report = AnnotationReport(policy_of(name))
    records = []

    def read() -> None:
        if not labels.path.exists():
            raise ConfigError(
                f"{labels.path}: is not there; OUTPUT_DIR must be one folder for all processes"
            )
        content = labels.load(_names(images))
        for image in images:
            if not _has_entry(content, image):
                continue
            where = f"{labels.path}, image {image.file_name!r}"
            words = entry_words(content[image.file_name], report, where=where)
            if words is not None:
                height, width, _ = image.stamp
                records.append(record_of_size(image.file_name, height, width, words, report))

    _together(read)
    report.log(name, logger)
    return TextIndex.from_records(records)


def _names(images: Sequence[Photograph]) -> set[str]:
    return {image.file_name for image in images}


def _has_entry(content: Mapping[str, Any], image: Photograph) -> bool:
    return image.file_name in content and is_of(content[image.file_name], image.stamp)


def _has_reading(readings: Mapping[str, ImageReading], image: Photograph) -> bool:
    return image.file_name in readings and readings[image.file_name].stamp == image.stamp


def _of_main(function: Callable[[], T]) -> T:
    """What a function gives in the main process, where alone it is called, in all processes."""
    return _together(lambda: function() if comm.is_main_process() else None)[0]


def _together(function: Callable[[], T]) -> list[T]:
    """What a function gives in each process, by rank. If it raises in one, all raise, so that none
    waits for another in vain."""
    result = failure = None
    try:
        result = function()
    except Exception as error:
        failure = error
    outcomes = comm.all_gather((result, None if failure is None else _told(failure)))
    if failure is not None:
        raise failure
    for _, error in outcomes:
        if error is not None:
            raise error
    return [result for result, _ in outcomes]


def _told(error: Exception) -> Exception:
    """An error as the other processes raise it. Not all can be sent."""
    if type(error) in (AnnotationError, ConfigError):
        return error
    return RuntimeError(f"process {comm.get_rank() + 1} failed: {error!r}")
