"""What an evaluation returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dld_d2.evaluation.breakdown import Failures
from dld_d2.evaluation.curves import Curve
from dld_d2.evaluation.protocol import Counts, Match, Rates, Truth, rates
from dld_d2.structures.word import Word


@dataclass(slots=True, eq=False)
class ImageResult:
    """One image under one case: what `--details` writes and draws.

    Attributes:
        truth: ground truth after the text rules of the task.
        match: which detection belongs to which ground truth.
        correct: (M,) bool, for the pairs of `match`.
        det_texts: readings after the lexicon, without commas.
    """

    truth: Truth
    match: Match
    correct: np.ndarray
    det_texts: list[str]


@dataclass(slots=True, eq=False)
class Case:
    """Scores of one task under one lexicon at one threshold.

    Attributes:
        task: "end_to_end" or "word_spotting".
        lexicon: its name.
        iou: the threshold.
        counts: sums over the set.
        failures: what became of the words.
        image_counts: (I, 5) int64, a row of `Counts` for each image.
        images: image id -> details; the order of `image_counts`.
        intervals: {"det_hmean": (low, high), "spot_hmean": ...} where a bootstrap was asked for.
        curve: rates over the confidence threshold where all detections have scores.
    """

    task: str
    lexicon: str
    iou: float
    counts: Counts
    failures: Failures
    image_counts: np.ndarray
    images: dict[str, ImageResult]
    intervals: dict[str, tuple[float, float]] | None = None
    curve: Curve | None = None

    @property
    def detection(self) -> Rates:
        """Rates of finding words."""
        counts = self.counts
        return rates(counts.num_matched, counts.num_gt_care, counts.num_det_care)

    @property
    def spotting(self) -> Rates:
        """Rates of finding and reading words."""
        counts = self.counts
        return rates(counts.num_correct, counts.num_gt_care, counts.num_det_care)

    def to_dict(self) -> dict[str, object]:
        """JSON-ready, floats in full precision."""
        row: dict[str, object] = {
            "task": self.task,
            "lexicon": self.lexicon,
            "iou": self.iou,
            "num_gt_care": self.counts.num_gt_care,
            "num_det": self.counts.num_det,
        }
        for prefix, values in (("det", self.detection), ("spot", self.spotting)):
            row.update({f"{prefix}_{name}": value for name, value in values._asdict().items()})
        row["num_det_care"] = self.counts.num_det_care
        row["num_matched"] = self.counts.num_matched
        row["num_correct"] = self.counts.num_correct
        row["failures"] = self.failures._asdict()
        if self.intervals is not None:
            row["intervals"] = {key: list(value) for key, value in self.intervals.items()}
        if self.curve is not None:
            row["best_threshold"] = self.curve.best()
        return row


@dataclass(slots=True, eq=False)
class Report:
    """Scores of a submission; printing it gives a table.

    Attributes:
        cases: ordered by IoU threshold, lexicon and task, each as asked for.
        ground_truth, detections: image id -> words, as read.
        missing_images: ids for which the submission holds nothing; they count as no detections.
    """

    cases: list[Case]
    ground_truth: dict[str, list[Word]]
    detections: dict[str, list[Word]]
    missing_images: list[str]

    @property
    def num_images(self) -> int:
        """Images of the ground truth."""
        return len(self.ground_truth)

    def case(
        self, task: str | None = None, lexicon: str | None = None, iou: float | None = None
    ) -> Case:
        """The one case with these properties; leave out what leaves no choice.

        Raises:
            KeyError: no such case, or several.
        """
        found = [
            case
            for case in self.cases
            if task in (None, case.task)
            and lexicon in (None, case.lexicon)
            and iou in (None, case.iou)
        ]
        if len(found) != 1:
            raise KeyError(
                f"{len(found)} cases with task={task!r}, lexicon={lexicon!r}, iou={iou!r} among "
                + ", ".join(f"({case.task}, {case.lexicon}, {case.iou:g})" for case in self.cases)
            )
        return found[0]

    def to_dict(self) -> dict[str, object]:
        """JSON-ready: {"cases": [...], "num_images", "missing_images"}."""
        return {
            "cases": [case.to_dict() for case in self.cases],
            "num_images": self.num_images,
            "missing_images": list(self.missing_images),
        }

    def __str__(self) -> str:
        header = (
            f"{'task':<14}{'lexicon':<9}{'IoU':>5}{'gt':>7}{'det':>7}"
            f"{'det R':>8}{'det P':>8}{'det H':>8}{'spot R':>8}{'spot P':>8}{'spot H':>8}"
        )
        lines = [header]
        for case in self.cases:
            numbers = "".join(f"{100 * value:8.2f}" for value in (*case.detection, *case.spotting))
            lines.append(
                f"{case.task:<14}{case.lexicon:<9}{case.iou:>5g}{case.counts.num_gt_care:>7}"
                f"{case.counts.num_det:>7}{numbers}"
            )
        if self.missing_images:
            lines.append(missing_note(self))
        return "\n".join(lines)


def missing_note(report: Report) -> str:
    """One line on the images that the submission leaves out."""
    some = ", ".join(report.missing_images[:5])
    dots = ", ..." if len(report.missing_images) > 5 else ""
    return (
        f"{len(report.missing_images)} of {report.num_images} images have no results and count as "
        f"no detections: {some}{dots}"
    )
