"""Data sets that a command line names."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld_d2.commands.errors import UsageError
from dld_d2.data import EVALUATOR_TYPE, TextDataset, register_configured_datasets

__all__ = ["open_text_dataset"]


def open_text_dataset(cfg: CfgNode, name: str) -> TextDataset:
    """A data set of images with words, of those that come with this package or are configured.

    Raises:
        UsageError: if there is none of that name; the message lists those that there are; or if it
            has no images.
    """
    register_configured_datasets(cfg)
    known = [
        n for n in DatasetCatalog if MetadataCatalog.get(n).get("evaluator_type") == EVALUATOR_TYPE
    ]
    if name not in known:
        raise UsageError(
            f"there is no text data set {name!r}; registered are: {', '.join(sorted(known))}"
        )
    dataset = DatasetCatalog.get(name)
    if not len(dataset):
        raise UsageError(f"data set {name!r} has no images")
    return dataset
