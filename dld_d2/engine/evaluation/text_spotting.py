"""All that is measured of a text spotter on a data set, in one pass and in one report."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluators
from detectron2.utils import comm
from torch import nn

from dld_d2.engine.evaluation.average_precision import AveragePrecisionEvaluator
from dld_d2.engine.evaluation.cost import CostEvaluator
from dld_d2.engine.evaluation.part import TASK, PartEvaluator
from dld_d2.engine.evaluation.pictures import PictureEvaluator
from dld_d2.engine.evaluation.regions import RegionEvaluator
from dld_d2.engine.evaluation.spotting import SpottingEvaluator
from dld_d2.engine.evaluation.timing import TimingEvaluator
from dld_d2.engine.evaluation.truth import (
    first_images,
    read_lexicons,
    read_sizes,
    read_truth,
    rrc_names,
)
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["TextSpottingEvaluator", "build_evaluator"]

logger = logging.getLogger(__name__)

# Beginnings of the metrics that the protocols' table does not show.
_BESIDE_TABLE = ("rec_", "fps", "seconds_", "mean_", "share_", "cost_")
_UNITS = {
    "cost_published": "x 2^30 multiply-adds per image: backbone, FPN and RPN head",
    "cost_released": "x 2^30 multiply-adds per image: these and the selector",
    "cost_whole": "x 2^30 multiply-adds per image: everything",
}


class TextSpottingEvaluator(DatasetEvaluators):
    """Several evaluators as one: each image is passed once, and one report is written.

    It writes `results.json`, with all metrics and what each image is, and the table `results.txt`,
    and returns the metrics of all parts.

    Args:
        dataset_name: for the report.
        parts: at least one.
        output_dir: where the files go.
    """

    def __init__(self, dataset_name: str, parts: list[PartEvaluator], output_dir: Path) -> None:
        super().__init__(parts)
        self._name = dataset_name
        self._parts = parts
        self._output_dir = output_dir

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Sum up what all processes have seen.

        Returns:
            {"text_spotting": metrics} in the main process, nothing in the others.

        Raises:
            ValueError: if an image of the data set was not processed.
        """
        gathered = comm.gather([part.seen() for part in self._parts])
        if not comm.is_main_process():
            return OrderedDict()
        metrics: OrderedDict[str, float] = OrderedDict()
        images: dict[str, dict[str, Any]] = {}
        document: dict[str, Any] = {}
        tables = []
        for part, seen in zip(self._parts, zip(*gathered, strict=True), strict=True):
            summary = part.summarize(seen)
            metrics |= summary.metrics
            document |= summary.document
            tables += [summary.table] if summary.table else []
            for name, row in summary.images.items():
                images.setdefault(name, {}).update(row)
        self._write(metrics, images, document, tables)
        return OrderedDict({TASK: metrics})

    def _write(
        self,
        metrics: dict[str, float],
        images: dict[str, dict[str, Any]],
        document: dict[str, Any],
        tables: list[str],
    ) -> None:
        lines = [f"{self._name}, in %:", *tables]
        lines += [
            f"{key} {value:.4f}" + (f" {_UNITS[key]}" if key in _UNITS else "")
            for key, value in metrics.items()
            if key.startswith(_BESIDE_TABLE)
        ]
        table = "\n".join(lines)
        self._output_dir.mkdir(parents=True, exist_ok=True)
        (self._output_dir / "results.txt").write_text(table + "\n", encoding="utf-8")
        results = {"dataset": self._name, "metrics": metrics, **document, "images": images}
        (self._output_dir / "results.json").write_text(json.dumps(results, indent=1))
        logger.info(f"Evaluation of {table}\nFiles are in {self._output_dir}")


def build_evaluator(
    cfg: CfgNode, dataset_name: str, model: nn.Module | None = None
) -> TextSpottingEvaluator:
    """All evaluators for a registered data set whose annotations have `text` and `ignore`.

    Args:
        cfg: `TEST.MATCH_IOU`, `TEST.LEXICONS`, `TEST.AVERAGE_PRECISION`, `TEST.NUM_PICTURES` and
            `OUTPUT_DIR` of it.
        dataset_name: of the data set.
        model: what will be evaluated; speed needs it, and cost and accuracy on ground-truth regions
            need a `Spotter` or a `DynamicSpotter`.

    Raises:
        ValueError: for unknown lexicons or none that the data set has, and for images with equal
            ids.
    """
    output_dir = Path(cfg.OUTPUT_DIR) / "inference" / dataset_name
    main = comm.is_main_process()
    truth = read_truth(dataset_name) if main else {}
    lexicons = read_lexicons(dataset_name, cfg.TEST.LEXICONS) if main else {}
    spotter = model if isinstance(model, Spotter | DynamicSpotter) else None
    parts: list[PartEvaluator] = [
        SpottingEvaluator(
            dataset_name, truth, lexicons, match_iou=cfg.TEST.MATCH_IOU, output_dir=output_dir
        )
    ]
    if cfg.TEST.AVERAGE_PRECISION:
        sizes = read_sizes(dataset_name) if main else {}
        parts.append(AveragePrecisionEvaluator(sizes, truth))
    if spotter is not None:
        parts.append(RegionEvaluator(spotter))
    if model is not None:
        parts.append(TimingEvaluator(model))
    parts.append(CostEvaluator(spotter))
    if cfg.TEST.NUM_PICTURES > 0:
        parts.append(
            PictureEvaluator(
                first_images(dataset_name, cfg.TEST.NUM_PICTURES) if main else {},
                truth,
                rrc_names(truth),
                lexicon=next(iter(lexicons.items()), ("none", None)),
                match_iou=cfg.TEST.MATCH_IOU,
                folder=output_dir / "pictures",
            )
        )
    return TextSpottingEvaluator(dataset_name, parts, output_dir)
