"""The ICDAR protocols in Detectron2's evaluation loop.

The one module of `dld_d2.evaluation` that needs PyTorch and Detectron2.
"""

from __future__ import annotations

import json
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dld_d2.data.mapper import load_image
from dld_d2.engine.image_costs import (
    SeenImage,
    can_measure,
    decoding_steps,
    image_costs,
    mean_costs,
)
from dld_d2.engine.timing import ForwardTimer, Timing
from dld_d2.visualization import DrawnWord, LegendEntry, add_legend, draw_words, side_by_side

from .lexicon import ImageLexicons, Lexicon, read_lexicon
from .protocol import Counts
from .report import ImageResult, Report
from .scoring import evaluate
from .submission import write_submission
from .words import DONT_CARE, Word

__all__ = ["LEXICONS", "TextSpottingEvaluator"]

LEXICONS = ("none", "strong", "weak", "generic", "full")
_TASKS = {"e2e": "end_to_end", "ws": "word_spotting"}
_PREFIXES = {task: prefix for prefix, task in _TASKS.items()}

logger = logging.getLogger(__name__)


class TextSpottingEvaluator(DatasetEvaluator):
    """Scores a spotter on a registered data set.

    It writes `results.json`, the table `results.txt`, `submission.zip` in the form that the RRC
    takes, and pictures, and returns the metrics, fractions of 1 unless said:

    * `det_recall`, `det_precision`, `det_hmean`: finding words, whatever they say;
    * `e2e_<lexicon>_recall`, `..._precision`, `..._hmean`, and `ws_...`: end-to-end and word
      spotting, for each lexicon of the data set and for "none";
    * `rec_accuracy`, `rec_accuracy_ci`: ground-truth regions (don't-care ones and those without
      transcription left out) that the model reads as they are, with case and without;
    * `fps`, `seconds_per_image`: of the model's forward pass on one device, without loading and
      evaluation;
    * `mean_scale`, `mean_relative_cost`, `share_scale_<scale>`: of the scales that a model chose
      for the images;
    * `cost_published`, `cost_whole`: mean cost of an image in 2^30 multiply-adds, of backbone, FPN
      and RPN head as the paper's FLOPs column counts, and of everything.

    What the last two are means of is in `results.json` image by image.
    """

    @configurable
    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | Path,
        match_iou: float = 0.5,
        lexicons: Sequence[str] = (),
        num_pictures: int = 0,
        model: nn.Module | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a registered data set whose annotations have `text` and `ignore`.
            output_dir: where the files go.
            match_iou: overlap that a match needs to exceed.
            lexicons: names out of `LEXICONS`; those that the data set lacks are left out. Empty:
                all that the data set has.
            num_pictures: images, the first of the data set, of which pictures are written.
            model: what will be evaluated; speed and cost need it, and accuracy on ground-truth
                regions its method `read_regions(inputs)`, which gives for each image the texts of
                the instances that are not don't-care, in order.

        Raises:
            ValueError: for unknown lexicons or none that the data set has, and for images with
                equal ids.
        """
        self._name = dataset_name
        self._output_dir = Path(output_dir)
        self._match_iou = match_iou
        self._num_pictures = num_pictures
        self._model = model
        self._timer: ForwardTimer | None = None
        if comm.is_main_process():
            self._lexicons = _read_lexicons(dataset_name, lexicons)
            self._truth, self._pictured = _read_truth(dataset_name, num_pictures)
        self.reset()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, *, model: nn.Module | None = None
    ) -> dict[str, Any]:
        return {
            "dataset_name": dataset_name,
            "output_dir": Path(cfg.OUTPUT_DIR) / "inference" / dataset_name,
            "match_iou": cfg.TEST.MATCH_IOU,
            "lexicons": cfg.TEST.LEXICONS,
            "num_pictures": cfg.TEST.NUM_PICTURES,
            "model": model,
        }

    def reset(self) -> None:
        self._words: dict[str, list[Word]] = {}
        self._seen: dict[str, SeenImage] = {}
        self._regions = np.zeros(3, dtype=np.int64)
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._model is not None:
            self._timer = ForwardTimer(self._model)

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Take the words of one batch; an image that came before is left out.

        Args:
            inputs: as the mapper gives them in testing.
            outputs: for each, "instances" with `pred_polygons`, `pred_texts` and `scores`; and
                "scale" and "relative_cost" if the model chooses scales.
        """
        new = [str(item["image_id"]) not in self._words for item in inputs]
        for item, output in zip(inputs, outputs, strict=True):
            found = output["instances"]
            words = zip(found.pred_polygons, found.pred_texts, found.scores.tolist(), strict=True)
            self._words.setdefault(str(item["image_id"]), [Word(*word) for word in words])
            self._seen.setdefault(str(item["image_id"]), _seen_image(item, output))
        self._read_regions([item for item, is_new in zip(inputs, new, strict=True) if is_new])

    def evaluate(self) -> OrderedDict[str, OrderedDict[str, float]]:
        """Score what all processes have seen.

        Returns:
            {"text_spotting": metrics} in the main process, nothing in the others.

        Raises:
            ValueError: if an image of the data set was not processed.
        """
        timing = self._timer.stop() if self._timer is not None else Timing(0, 0.0)
        self._timer = None
        gathered = comm.gather((self._words, self._regions, timing, self._seen))
        if not comm.is_main_process():
            return OrderedDict()
        words = {name: found for part in reversed(gathered) for name, found in part[0].items()}
        missing = [name for name in self._truth if name not in words]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(self._truth)} images of {self._name} were not evaluated, "
                f"the first is {missing[0]}"
            )
        seen = {name: image for part in reversed(gathered) for name, image in part[3].items()}
        costs = self._measure({name: seen[name] for name in self._truth})
        names = _rrc_names(self._truth)
        words = {names[name]: words[name] for name in self._truth}
        truth = {names[name]: found for name, found in self._truth.items()}
        report = evaluate(truth, words, ious=self._match_iou, lexicons=self._lexicons)

        metrics = _spotting_metrics(report, list(self._lexicons))
        metrics |= _region_metrics(sum(part[1] for part in gathered))
        timings = [part[2] for part in gathered]
        metrics |= _speed_metrics(sum(t.images for t in timings), sum(t.seconds for t in timings))
        metrics |= mean_costs(costs.values(), getattr(self._plain_model(), "scales", ()))
        self._write(report, metrics, words, costs)
        for name, item in self._pictured.items():
            result = report.case("end_to_end", next(iter(self._lexicons))).images[names[name]]
            self._draw(names[name], item, truth[names[name]], words[names[name]], result)
        return OrderedDict(text_spotting=metrics)

    def _plain_model(self) -> nn.Module | None:
        ddp = isinstance(self._model, DistributedDataParallel)
        return self._model.module if ddp else self._model

    def _measure(self, seen: dict[str, SeenImage]) -> dict[str, dict]:
        model = self._plain_model()
        if model is not None and not can_measure(model):
            logger.info(f"No costs: the parts of a {type(model).__name__} are not known")
        return image_costs(seen, model)

    def _read_regions(self, inputs: list[dict]) -> None:
        model = self._plain_model()
        if not inputs or not hasattr(model, "read_regions"):
            return
        for item, texts in zip(inputs, model.read_regions(inputs), strict=True):
            ignored = item["instances"].gt_ignore.tolist()
            wanted = [t for t, ignore in zip(item["texts"], ignored, strict=True) if not ignore]
            for want, text in zip(wanted, texts, strict=True):
                if want:  # some data sets have legible words that nobody transcribed
                    self._regions += (1, text == want, text.lower() == want.lower())

    def _write(
        self,
        report: Report,
        metrics: dict[str, float],
        words: dict[str, list[Word]],
        costs: dict[str, dict],
    ) -> None:
        self._output_dir.mkdir(parents=True, exist_ok=True)
        numbered = all(name.isdigit() for name in words)
        pattern = "res_img_{}.txt" if numbered else "res_{}.txt"
        write_submission(self._output_dir / "submission.zip", words, name=pattern)
        lines = [f"{self._name}, in %:", str(report)]
        lines += [
            f"{key} {value:.4f}" + (f" {_UNITS[key]}" if key in _UNITS else "")
            for key, value in metrics.items()
            if key.startswith(_BESIDE_TABLE)
        ]
        table = "\n".join(lines)
        (self._output_dir / "results.txt").write_text(table + "\n", encoding="utf-8")
        images = {name: row | {"counts": {}} for name, row in costs.items()}
        for case in report.cases:
            key = f"{_PREFIXES[case.task]}_{case.lexicon}"
            for row, counts in zip(images.values(), case.image_counts.tolist(), strict=True):
                row["counts"][key] = counts
        results = {
            "dataset": self._name,
            "metrics": metrics,
            **report.to_dict(),
            "count_names": Counts._fields,
            "images": images,
        }
        (self._output_dir / "results.json").write_text(json.dumps(results, indent=1))
        logger.info(f"Evaluation of {table}\nFiles are in {self._output_dir}")

    def _draw(
        self,
        name: str,
        item: dict[str, Any],
        truth: list[Word],
        words: list[Word],
        result: ImageResult,
    ) -> None:
        image = load_image(item, "BGR")
        colors = np.full(len(words), "vermilion", dtype=object)
        colors[result.match.det_dont_care] = "grey"
        colors[result.match.det_index] = np.where(result.correct, "green", "orange")
        wanted = [
            DrawnWord(w.polygon, "", None, "grey", hatched=True)
            if w.text == DONT_CARE
            else DrawnWord(w.polygon, w.text, None, "sky")
            for w in truth
        ]
        found = [
            DrawnWord(w.polygon, w.text, w.score, color)
            for w, color in zip(words, colors, strict=True)
        ]
        picture = side_by_side(
            [draw_words(image, wanted), draw_words(image, found)], ["ground truth", "result"]
        )
        folder = self._output_dir / "pictures"
        folder.mkdir(exist_ok=True)
        path = str(folder / f"{name}.jpg")
        if not cv2.imwrite(path, add_legend(picture, _LEGEND)):
            raise OSError(f"{path}: cannot be written")


# Beginnings of the metrics that the table does not show.
_BESIDE_TABLE = ("rec_", "fps", "seconds_", "mean_", "share_", "cost_")
_UNITS = {
    "cost_published": "x 2^30 multiply-adds per image: backbone, FPN and RPN head",
    "cost_whole": "x 2^30 multiply-adds per image: everything",
}
_LEGEND = [
    LegendEntry("ground truth", "sky"),
    LegendEntry("don't care", "grey", hatched=True),
    LegendEntry("found and read", "green"),
    LegendEntry("found, misread", "orange"),
    LegendEntry("no word there", "vermilion"),
]


def _seen_image(item: dict, output: dict) -> SeenImage:
    texts = output["instances"].pred_texts
    return SeenImage(
        size=tuple(item["image"].shape[-2:]) if "image" in item else None,
        scale=output.get("scale"),
        relative_cost=output.get("relative_cost"),
        num_words=len(texts),
        num_steps=decoding_steps(texts),
    )


def _read_truth(
    dataset_name: str, num_pictured: int
) -> tuple[dict[str, list[Word]], dict[str, dict[str, Any]]]:
    """Words of all images by id, and the dictionaries of the first ones."""
    truth: dict[str, list[Word]] = {}
    pictured: dict[str, dict[str, Any]] = {}
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
        if len(pictured) < num_pictured:
            pictured[name] = image
    return truth, pictured


def _read_lexicons(
    dataset_name: str, wanted: Sequence[str]
) -> dict[str, Lexicon | ImageLexicons | None]:
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


def _rrc_names(image_ids: Iterable[str]) -> dict[str, str]:
    """What the RRC calls the images: by number where all are named `img_N` or `imgN`."""
    matches = {name: re.fullmatch(r"img_?([0-9]+)", name) for name in image_ids}
    if all(matches.values()):
        names = {name: match.group(1) for name, match in matches.items()}
    else:
        names = {name: re.sub(r"[/\\]", "_", name) for name in matches}
    return names if len(set(names.values())) == len(names) else {name: name for name in names}


def _spotting_metrics(report: Report, lexicons: list[str]) -> OrderedDict[str, float]:
    detection = report.case("end_to_end", lexicons[0]).detection
    metrics = OrderedDict((f"det_{key}", value) for key, value in detection._asdict().items())
    for prefix, task in _TASKS.items():
        for lexicon in lexicons:
            rates = report.case(task, lexicon).spotting._asdict()
            metrics |= {f"{prefix}_{lexicon}_{key}": value for key, value in rates.items()}
    return metrics


def _region_metrics(regions: np.ndarray) -> dict[str, float]:
    count, exact, caseless = regions.tolist()
    if count == 0:
        return {}
    return {"rec_accuracy": exact / count, "rec_accuracy_ci": caseless / count}


def _speed_metrics(images: int, seconds: float) -> dict[str, float]:
    if images == 0 or seconds == 0:
        return {}
    return {"fps": images / seconds, "seconds_per_image": seconds / images}
