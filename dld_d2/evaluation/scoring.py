"""The one call that scores a submission."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dld_d2.evaluation.bootstrap import hmean_intervals
from dld_d2.evaluation.breakdown import Failures, break_down
from dld_d2.evaluation.curves import image_steps, score_curve
from dld_d2.evaluation.geometry import Overlaps, compute_overlaps
from dld_d2.evaluation.lexicon import ImageLexicons, Lexicon, correct_images, read_lexicon
from dld_d2.evaluation.protocol import (
    TASKS,
    Counts,
    Match,
    Truth,
    add_counts,
    correct_pairs,
    count_image,
    match_image,
    prepare_truth,
)
from dld_d2.evaluation.report import Case, ImageResult, Report
from dld_d2.evaluation.submission import read_ground_truth, read_submission
from dld_d2.evaluation.words import EvaluationInputError, Images, as_words
from dld_d2.structures.word import Word

LexiconSource = None | str | Path | Lexicon | ImageLexicons

_IMAGES_AT_ONCE = 512  # bounds the memory of shapely geometries


def evaluate(
    gt: str | Path | Images,
    submission: str | Path | Images,
    *,
    tasks: str | Sequence[str] = "both",
    ious: float | Sequence[float] = 0.5,
    lexicons: Mapping[str, LexiconSource] | None = None,
    gt_pattern: str | None = None,
    det_pattern: str | None = None,
    gt_points: int | None = None,
    det_points: int | None = None,
    scores: bool = False,
    bootstrap: int = 0,
    seed: int = 0,
) -> Report:
    """Score a spotter's results by the ICDAR protocols.

    Args:
        gt: ground truth: a zip or folder (see `read_ground_truth`), or words in memory:
            image id -> `Word`, `(polygon, text)` or `(polygon, text, score)`.
        submission: results, likewise. Images it lacks count as without detections, and the report
            names them.
        tasks: "end_to_end", "word_spotting", "both", or a sequence of the two.
        ious: threshold or thresholds, each 0 <= iou < 1.
        lexicons: name -> None (no correction), a path for `read_lexicon`, or a lexicon.
            None stands for {"none": None}.
        gt_pattern, det_pattern: patterns of the file names, where not the usual ones.
        gt_points, det_points: number of vertices of every polygon in the files of each, for
            transcriptions with commas.
        scores: whether the submission's files hold confidences, in [0, 1].
        bootstrap: number of resampled test sets for 95% intervals of the hmeans; 0 for none.
        seed: of the bootstrap.

    Raises:
        EvaluationInputError: anything wrong with the input, with file and line; an unknown task;
            a threshold or number out of range.
    """
    tasks = _check_tasks(tasks)
    ious = _check_ious(ious)
    if bootstrap < 0:
        raise EvaluationInputError(f"bootstrap is {bootstrap}; a number of repeats, or 0 for none")
    if lexicons is not None and not isinstance(lexicons, Mapping):
        raise EvaluationInputError(
            f"lexicons is a {type(lexicons).__name__}; give a mapping, such as "
            '{"strong": "strong_lexicon.zip"}'
        )
    lexicons = {
        str(name): read_lexicon(source) if isinstance(source, str | Path) else source
        for name, source in (lexicons or {"none": None}).items()
    }
    truth_words = (
        read_ground_truth(gt, gt_pattern, gt_points)
        if isinstance(gt, str | Path)
        else as_words(gt, "ground truth")
    )
    det_words = (
        read_submission(submission, det_pattern, det_points, scores)
        if isinstance(submission, str | Path)
        else as_words(submission, "submission")
    )
    _check_images(truth_words, det_words)
    missing = [key for key in truth_words if key not in det_words]
    det_words = {key: det_words.get(key, []) for key in truth_words}

    overlaps = dict(zip(truth_words, _all_overlaps(truth_words, det_words), strict=True))
    det_scores = _scores(det_words)
    raw_texts = {key: [word.text for word in words] for key, words in det_words.items()}
    texts = {name: correct_images(lexicon, raw_texts) for name, lexicon in lexicons.items()}
    truths = {
        task: {
            key: prepare_truth([word.text for word in words], task)
            for key, words in truth_words.items()
        }
        for task in tasks
    }
    cases = []
    for iou in ious:
        matches = {
            task: {
                key: match_image(overlaps[key], truth.dont_care, iou)
                for key, truth in truths[task].items()
            }
            for task in tasks
        }
        for name in lexicons:
            for task in tasks:
                case = _score_case(
                    task, name, iou, overlaps, truths[task], matches[task], texts[name], det_scores
                )
                if bootstrap:
                    case.intervals = hmean_intervals(case.image_counts, bootstrap, seed)
                cases.append(case)
    return Report(cases, truth_words, det_words, missing)


def _score_case(
    task: str,
    lexicon: str,
    iou: float,
    overlaps: Mapping[str, Overlaps],
    truths: Mapping[str, Truth],
    matches: Mapping[str, Match],
    texts: Mapping[str, list[str]],
    det_scores: Mapping[str, np.ndarray] | None,
) -> Case:
    images: dict[str, ImageResult] = {}
    counts, failures, steps = [], [], []
    for key, truth in truths.items():
        match, det_texts = matches[key], texts[key]
        correct = correct_pairs(match, truth, det_texts)
        images[key] = ImageResult(truth, match, correct, det_texts)
        counts.append(count_image(match, truth, correct))
        failures.append(break_down(overlaps[key], truth, match, correct, det_texts))
        if det_scores is not None:
            steps.append(image_steps(overlaps[key], truth, iou, det_scores[key], det_texts))
    image_counts = np.array(counts, dtype=np.int64).reshape(-1, len(Counts._fields))
    totals = add_counts(image_counts)
    return Case(
        task,
        lexicon,
        iou,
        totals,
        Failures(*np.array(failures).sum(axis=0).tolist()),
        image_counts,
        images,
        curve=None if det_scores is None else score_curve(steps, totals.num_gt_care),
    )


def _all_overlaps(
    truth_words: Mapping[str, list[Word]], det_words: Mapping[str, list[Word]]
) -> Iterator[Overlaps]:
    keys = list(truth_words)
    for start in range(0, len(keys), _IMAGES_AT_ONCE):
        some = keys[start : start + _IMAGES_AT_ONCE]
        yield from compute_overlaps(
            [[word.polygon for word in truth_words[key]] for key in some],
            [[word.polygon for word in det_words[key]] for key in some],
            names=some,
        )


def _scores(det_words: Mapping[str, list[Word]]) -> dict[str, np.ndarray] | None:
    """Scores of every image, or None where the submission has none."""
    total = sum(len(words) for words in det_words.values())
    scored = sum(word.score is not None for words in det_words.values() for word in words)
    if scored == 0:
        return None
    if scored < total:
        raise EvaluationInputError(
            f"submission: {scored} of {total} words have a score; give all or none"
        )
    return {
        key: np.array([word.score for word in words], dtype=np.float64)
        for key, words in det_words.items()
    }


def _check_tasks(tasks: str | Sequence[str]) -> list[str]:
    if isinstance(tasks, str):
        tasks = TASKS if tasks == "both" else [tasks]
    for task in tasks:
        if task not in TASKS:
            raise EvaluationInputError(f"task {task!r}; choose from {', '.join(TASKS)} or both")
    return list(dict.fromkeys(tasks))


def _check_ious(ious: float | Sequence[float]) -> list[float]:
    thresholds = [float(iou) for iou in np.atleast_1d(np.asarray(ious, dtype=np.float64))]
    for iou in thresholds:
        if not 0.0 <= iou < 1.0:
            raise EvaluationInputError(f"IoU threshold {iou:g}; it must be in [0, 1)")
    return list(dict.fromkeys(thresholds))


def _check_images(
    truth_words: Mapping[str, list[Word]], det_words: Mapping[str, list[Word]]
) -> None:
    if not truth_words:
        raise EvaluationInputError("the ground truth has no images")
    unknown = [key for key in det_words if key not in truth_words]
    if unknown:
        raise EvaluationInputError(
            f"the submission has results for {len(unknown)} images that the ground truth lacks: "
            + ", ".join(unknown[:5])
            + (", ..." if len(unknown) > 5 else "")
        )
