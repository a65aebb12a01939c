"""Evaluations that are finished, or made now."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from appendix_page.sources import Source
from dld_d2.commands.console import messages
from dld_d2.commands.errors import UsageError
from dld_d2.data.resolution import at_resolution_of
from dld_d2.engine.evaluation.truth import rrc_names
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.evaluation import evaluate
from dld_d2.evaluation.details import image_records
from dld_d2.evaluation.protocol import Counts, rates
from dld_d2.evaluation.submission import read_submission
from dld_d2.evaluation.words import Word
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.selection.policies import FixedScale

__all__ = ["Evaluation", "Evaluations", "hmean"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model on a data set.

    Attributes:
        label: what the page calls it.
        records: image id -> as `dld_d2.evaluation.details.image_records` gives it, end-to-end,
            without lexicon.
        scales: image id -> scale of its sides at which it was read, full resolution being 1.
        costs: image id -> 2^30 multiply-adds as the paper counts; empty where not known.
        short_side: of images at full resolution, pixels; None where not known.
        max_side: limit of the long side; likewise.
    """

    label: str
    records: Mapping[str, Mapping[str, Any]]
    scales: Mapping[str, float]
    costs: Mapping[str, float]
    short_side: int | None = None
    max_side: int | None = None

    @property
    def counts(self) -> np.ndarray:
        """(I, 5) int64, a row of `Counts` for each image."""
        rows = ([r["counts"][name] for name in Counts._fields] for r in self.records.values())
        return np.array(list(rows), dtype=np.int64).reshape(-1, len(Counts._fields))

    @property
    def hmean(self) -> float:
        """End-to-end, without lexicon."""
        return hmean(self.counts)

    @property
    def cost(self) -> float | None:
        """Mean of the images' costs."""
        return sum(self.costs.values()) / len(self.costs) if self.costs else None


class Evaluations:
    """All evaluations on one data set.

    Args:
        dataset: registered; it may be a part of another one.
        whole: name of the data set whose finished evaluations serve, too.
        truth: image id -> words.
        folder: where new evaluations go. One that is there already, of the same weights and
            configuration, is taken as it is.
        match_iou: overlap that a match needs to exceed.
    """

    def __init__(
        self,
        dataset: str,
        whole: str,
        truth: Mapping[str, list[Word]],
        folder: Path,
        match_iou: float,
    ) -> None:
        self._dataset, self._whole = dataset, whole
        self._truth = truth
        self._folder = folder
        self._iou = match_iou

    def of(self, source: Source, scale: float | None = None) -> Evaluation:
        """Of a model.

        Args:
            source: it.
            scale: at which it is to read all images; None as it is.

        Raises:
            UsageError: if there is neither a model nor a finished evaluation that serves.
        """
        if scale is None and source.folder is not None:
            if (source.folder / "matches.jsonl").is_file():
                return self._of_matches(source, source.folder / "matches.jsonl")
            finished = source.folder / "inference" / self._whole
            if (finished / "results.json").is_file():
                messages.print(f"{source.label}: taken from {finished}")
                return self._read(source, finished, source.label, None)
        if source.model is None:
            raise UsageError(
                f"{source.folder}: has no evaluation on {self._whole} and no model to make one"
                + ("" if scale is None else f" at scale {scale:g}")
            )
        label = source.label if scale is None else f"{source.label} at {scale:g}"
        return self._read(source, self._evaluated(source, scale, label), label, scale)

    def _evaluated(self, source: Source, scale: float | None, label: str) -> Path:
        folder = self._folder / label.replace(" ", "_")
        cfg = source.cfg.clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = str(folder)
        cfg.DATASETS.TEST = (self._dataset,)
        cfg.TEST.NUM_PICTURES = 0
        cfg.TEST.LEXICONS = ("none",)
        cfg.DATALOADER.NUM_WORKERS = min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)
        cfg.freeze()
        results = folder / "inference" / self._dataset
        identity = {
            "weights": hashlib.sha256(Path(source.weights).read_bytes()).hexdigest(),
            "configuration": hashlib.sha256(_without_folder(cfg).encode()).hexdigest(),
            "truth": _fingerprint(self._truth),
        }
        told = results / "evaluated.json"
        if told.is_file() and json.loads(told.read_text(encoding="utf-8")) == identity:
            messages.print(f"{label}: taken from {results}")
            return results
        messages.print(f"{label}: evaluating on {self._dataset}")
        SpotterTrainer.test(cfg, source.model if scale is None else _fixed(source, scale))
        told.write_text(json.dumps(identity), encoding="utf-8")
        return results

    def _read(self, source: Source, folder: Path, label: str, scale: float | None) -> Evaluation:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        images = results["images"]
        _check_images(folder, images, self._truth)
        names = rrc_names(images)
        found = read_submission(folder / "submission.zip", r"(?:res_img_|res_)(.+)\.txt")
        report = evaluate(
            {names[image]: words for image, words in self._truth.items()},
            {names[image]: found.get(names[image], []) for image in self._truth},
            tasks="end_to_end",
            ious=self._iou,
        )
        by_name = {record["image"]: record for record in image_records(report, report.case())}
        for image in self._truth:
            told, number = _num_words(images[image]), by_name[names[image]]["counts"]["num_gt_care"]
            if told not in (None, number):
                raise UsageError(
                    f"{folder}: was scored with {told} words in image {image!r}, and the data set "
                    f"has {number}; evaluate the model again"
                )
        sides = (None, None)
        if source.cfg is not None:
            limits = at_resolution_of(source.cfg, self._whole).INPUT
            sides = limits.MIN_SIZE_TEST, limits.MAX_SIZE_TEST
        return Evaluation(
            label,
            {image: by_name[names[image]] for image in self._truth},
            {image: images[image].get("scale", scale or 1.0) for image in self._truth},
            {
                image: images[image]["cost_published"]
                for image in self._truth
                if "cost_published" in images[image]
            },
            *sides,
        )

    def _of_matches(self, source: Source, file: Path) -> Evaluation:
        lines = file.read_text(encoding="utf-8").splitlines()
        records = {record["image"]: record for record in map(json.loads, lines)}
        names = rrc_names(self._truth)
        by_id = {image: records[names[image]] for image in self._truth if names[image] in records}
        _check_images(file, by_id, self._truth)
        return Evaluation(source.label, by_id, dict.fromkeys(self._truth, 1.0), {})


def hmean(counts: np.ndarray) -> float:
    """Of spotting, over the rows of (I, 5) counts."""
    total = Counts(*counts.sum(axis=0))
    return float(rates(total.num_correct, total.num_gt_care, total.num_det_care).hmean)


def _fixed(source: Source, scale: float) -> DynamicSpotter:
    """The model at one scale for all images."""
    return DynamicSpotter(
        spotter=source.spotter,
        policy=FixedScale(0, 1),
        scales=(scale,),
        relative_cost=torch.tensor([scale**2], device=source.spotter.device),
    ).eval()


def _num_words(image: Mapping[str, Any]) -> int | None:
    """Words that count, by `results.json`; None if it does not tell."""
    counts = next((c for k, c in image.get("counts", {}).items() if k.startswith("e2e_")), None)
    return None if counts is None else counts[Counts._fields.index("num_gt_care")]


def _without_folder(cfg: CfgNode) -> str:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = ""
    return cfg.dump()


def _fingerprint(truth: Mapping[str, list[Word]]) -> str:
    words = ((i, w.text, w.polygon.tolist()) for i, ws in truth.items() for w in ws)
    return hashlib.sha256(json.dumps([list(truth), *words]).encode()).hexdigest()


def _check_images(where: Path, has: Collection[str], wanted: Collection[str]) -> None:
    missing = [image for image in wanted if image not in has]
    if missing:
        raise UsageError(
            f"{where}: {len(missing)} images of the data set are not in it, the first is "
            f"{missing[0]!r}; evaluate the model again on this data set"
        )
