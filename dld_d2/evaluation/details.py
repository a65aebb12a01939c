"""Per-image records and pictures: where exactly a submission wins and loses."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from dld_d2.evaluation.protocol import count_image
from dld_d2.evaluation.report import Case, Report
from dld_d2.structures.word import Word

CORRECT, MISREAD, MISSED, FALSE, DONT_CARE = "correct", "misread", "missed", "false", "dont_care"
OUTCOMES = (CORRECT, MISREAD, MISSED, FALSE, DONT_CARE)


def case_name(case: Case) -> str:
    """Folder name of a case, for example `end_to_end-strong-iou0.5`."""
    return f"{case.task}-{case.lexicon}-iou{case.iou:g}"


def image_records(report: Report, case: Case) -> Iterator[dict[str, object]]:
    """One JSON-ready record for each image.

    Keys: image, counts, ground_truth and detections. Each word has its polygon, text, outcome (one
    of `OUTCOMES`) and the index of its partner in the other list or None; a detection also its
    reading after the lexicon ("corrected"), score, and IoU with its partner.
    """
    for image_id, result in case.images.items():
        match, truth = result.match, result.truth
        truths = [
            {
                **_word(word),
                "text": text,
                "outcome": DONT_CARE if dont_care else MISSED,
                "detection": None,
            }
            for word, text, dont_care in zip(
                report.ground_truth[image_id], truth.texts, truth.dont_care, strict=True
            )
        ]
        detections = [
            {
                **_word(word),
                "corrected": text,
                "score": word.score,
                "outcome": DONT_CARE if dont_care else FALSE,
                "ground_truth": None,
                "iou": None,
            }
            for word, text, dont_care in zip(
                report.detections[image_id], result.det_texts, match.det_dont_care, strict=True
            )
        ]
        for gt, det, iou, correct in zip(
            match.gt_index.tolist(),
            match.det_index.tolist(),
            match.ious.tolist(),
            result.correct.tolist(),
            strict=True,
        ):
            outcome = CORRECT if correct else MISREAD
            truths[gt].update(outcome=outcome, detection=det)
            detections[det].update(outcome=outcome, ground_truth=gt, iou=iou)
        yield {
            "image": image_id,
            "counts": count_image(match, truth, result.correct)._asdict(),
            "ground_truth": truths,
            "detections": detections,
        }


def _word(word: Word) -> dict[str, object]:
    return {"polygon": word.polygon.tolist(), "text": word.text}


def write_details(report: Report, folder: str | Path, images: str | Path | None = None) -> int:
    """Write, for each case, `matches.jsonl` and, where there are scores, `curve.csv`.

    Args:
        folder: made where missing; each case gets a folder of its own in it.
        images: folder of the photographs; with it each is drawn into `pictures/`.

    Returns:
        How many images of the ground truth have no photograph in `images`.

    Raises:
        EvaluationInputError: `images` is no folder, or two photographs fit one image.
    """
    from dld_d2.evaluation.drawing import draw_image, find_photographs

    photographs = {} if images is None else find_photographs(images, report.ground_truth)
    for case in report.cases:
        target = Path(folder) / case_name(case)
        target.mkdir(parents=True, exist_ok=True)
        if photographs:
            (target / "pictures").mkdir(exist_ok=True)
        with open(target / "matches.jsonl", "w", encoding="utf-8") as file:
            for record in image_records(report, case):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                photograph = photographs.get(record["image"])
                if photograph is not None:
                    picture = draw_image(photograph, record)
                    picture.save(target / "pictures" / f"{photograph.stem}.jpg", quality=92)
        if case.curve is not None:
            columns = case.curve.to_dict()
            with open(target / "curve.csv", "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))
    return 0 if images is None else len(report.ground_truth) - len(photographs)
