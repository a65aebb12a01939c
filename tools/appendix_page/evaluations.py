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
from detectron2.data import DatasetCatalog

from appendix_page.sources import Source
from dld_d2.commands.console import messages, progress
from dld_d2.commands.errors import UsageError
from dld_d2.data.mapper import load_image
from dld_d2.data.resolution import at_resolution_of
from dld_d2.engine.evaluation.truth import rrc_names
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.evaluation import evaluate
from dld_d2.evaluation.details import image_records
from dld_d2.evaluation.protocol import Counts, rates
from dld_d2.evaluation.submission import read_submission, write_submission
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
        tells_scales: whether `scales` are what was chosen, and not 1 because nothing is known, or
            because parts of an image have scales of their own.
    """

    label: str
    records: Mapping[str, Mapping[str, Any]]
    scales: Mapping[str, float]
    costs: Mapping[str, float]
    short_side: int | None = None
    max_side: int | None = None
    tells_scales: bool = True

    @property
    def counts(self) -> np.ndarray:
        """(I, 5) int64, a row of `Counts` for each image."""
        rows = ([r["counts"][name] for name in Counts._fields] for r in self.records.values())
        return np.array(list(rows), dtype=np.int64).reshape(-1, len(Counts._fields))

    def at_scale(self, image_id: str) -> str:
        """In words, at which scale an image was read; "" where it is not told."""
        return f"scale {self.scales[image_id]:g}" if self.tells_scales else ""

    @property
    def mean_scale(self) -> float | None:
        """Of the images; None where it is not told."""
        return float(np.mean(list(self.scales.values()))) if self.tells_scales else None

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
        if scale is None and source.reader is not None:
            return self._looked(source)
        if source.model is None:
            raise UsageError(
                f"{source.folder}: has no evaluation on {self._whole} and no model to make one"
                + ("" if scale is None else f" at scale {scale:g}")
            )
        label = source.label if scale is None else f"{source.label} at {scale:g}"
        return self._read(source, self._evaluated(source, scale, label), label, scale)

    def _looked(self, source: Source) -> Evaluation:
        """Of a model that looks first; as of an evaluation of others, there are no scales."""
        folder = self._folder / source.label.replace(" ", "_").replace("+", "_")
        submission, told = folder / "submission.zip", folder / "evaluated.json"
        names = rrc_names(self._truth)
        identity = {
            "weights": _sha256(Path(source.weights)),
            "look": _sha256(source.look),
            "configuration": hashlib.sha256(_without_folder(source.cfg).encode()).hexdigest(),
            "truth": _fingerprint(self._truth),
        }
        if told.is_file() and json.loads(told.read_text(encoding="utf-8")) == identity:
            messages.print(f"{source.label}: taken from {folder}")
        else:
            messages.print(f"{source.label}: evaluating on {self._dataset}")
            items = DatasetCatalog.get(self._dataset)
            found = {
                names[str(item["image_id"])]: source.reader(load_image(item, "BGR")).words
                for item in progress(items, source.label, len(items))
            }
            folder.mkdir(parents=True, exist_ok=True)
            write_submission(submission, found)
            told.write_text(json.dumps(identity), encoding="utf-8")
        records = self._records(submission, names)
        return Evaluation(
            source.label,
            records,
            dict.fromkeys(self._truth, 1.0),
            {},
            source.cfg.INPUT.MIN_SIZE_TEST,
            source.cfg.INPUT.MAX_SIZE_TEST,
            tells_scales=False,
        )

    def _records(self, submission: Path, names: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """What became of the words of each image, by the words that a submission holds."""
        found = read_submission(submission, r"(?:res_img_|res_)(.+)\.txt")
        report = evaluate(
            {names[image]: words for image, words in self._truth.items()},
            {names[image]: found.get(names[image], []) for image in self._truth},
            tasks="end_to_end",
            ious=self._iou,
        )
        by_name = {record["image"]: record for record in image_records(report, report.case())}
        return {image: by_name[names[image]] for image in self._truth}

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
            "weights": _sha256(Path(source.weights)),
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
        records = self._records(folder / "submission.zip", rrc_names(images))
        for image in self._truth:
            told, number = _num_words(images[image]), records[image]["counts"]["num_gt_care"]
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
            records,
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
        return Evaluation(
            source.label, by_id, dict.fromkeys(self._truth, 1.0), {}, tells_scales=False
        )


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


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


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
