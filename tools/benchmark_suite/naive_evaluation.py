"""The rules of the evaluation as one writes them first, as a reference for speed and for counts.

Loops over images, pairs of polygons and lexicon words, which does everything anew for each case, as
the scripts in circulation do; its edit distance is a compiled one all the same.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import shapely
from rapidfuzz.distance import Levenshtein

from dld_d2.evaluation import read_ground_truth, read_submission
from dld_d2.evaluation.geometry import even_odd_regions, truncate
from dld_d2.evaluation.protocol import TASKS, prepare_truth
from dld_d2.structures.word import Word

__all__ = ["count_naively"]

Counts = tuple[int, int, int, int]
Words = Mapping[str, Sequence[Word]]


def count_naively(
    gt: Path, submission: Path, lexicons: Mapping[str, Path | None], iou: float
) -> dict[tuple[str, str], Counts]:
    """By lexicon and task: words that count, detections that count, found, and read as well.

    Args:
        gt: zip or folder of the ground truth.
        submission: zip or folder of the results.
        lexicons: kind -> file, None without lexicon.
        iou: that a match must exceed.
    """
    truths, detections = read_ground_truth(gt), read_submission(submission)
    counts = {}
    for kind, path in lexicons.items():
        texts = {key: [word.text for word in words] for key, words in detections.items()}
        if path is not None:
            shared = None if kind == "strong" else _read_words(path)
            strong = _read_strong(path) if kind == "strong" else None
            for key, some in texts.items():
                words = shared if strong is None else strong[key]
                texts[key] = [_nearest_word(text, words) for text in some]
        for task in TASKS:
            counts[kind, task] = _score(truths, detections, texts, task, iou)
    return counts


def _nearest_word(text: str, words: list[str]) -> str:
    """The rule of `Lexicon.correct`."""
    if len(text) < 3 or "+" in text or any(character.isdigit() for character in text):
        return text
    query = text.upper()
    best, smallest = text, None
    for word in words:
        distance = Levenshtein.distance(query, word.upper())
        if smallest is None or distance < smallest:
            best, smallest = word, distance
    return best


def _score(
    truths: Words, detections: Words, texts: Mapping[str, list[str]], task: str, iou: float
) -> Counts:
    totals = [0, 0, 0, 0]
    for key, words in truths.items():
        truth = prepare_truth([word.text for word in words], task)
        gt_rings = [truncate(word.polygon).tolist() for word in words]
        det_rings = [truncate(word.polygon).tolist() for word in detections.get(key, [])]
        gts = [even_odd_regions([truncate(ring)])[0] for ring in gt_rings]
        dets = [even_odd_regions([truncate(ring)])[0] for ring in det_rings]
        gt_areas, det_areas = list(map(_shoelace, gt_rings)), list(map(_shoelace, det_rings))
        ignored = set()
        for d, det in enumerate(dets):
            for g, gt in enumerate(gts):
                if truth.dont_care[g] and det_areas[d]:
                    inside = shapely.area(shapely.intersection(gt, det))
                    if inside / det_areas[d] > iou:
                        ignored.add(d)
                        break
        taken = set()
        for g, gt in enumerate(gts):
            if truth.dont_care[g]:
                continue
            totals[0] += 1
            for d, det in enumerate(dets):
                if d in taken or d in ignored:
                    continue
                shared = shapely.area(shapely.intersection(gt, det))
                union = gt_areas[g] + det_areas[d] - shared
                if union and shared / union > iou:
                    taken.add(d)
                    totals[2] += 1
                    totals[3] += texts[key][d].upper() in truth.readings[g]
                    break
        totals[1] += len(dets) - len(ignored)
    return tuple(totals)


def _shoelace(ring: list[list[float]]) -> float:
    total = 0.0
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        total += (x0 + x1) * (y1 - y0)
    return abs(total) / 2


def _read_words(path: Path) -> list[str]:
    """One word a line."""
    return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def _read_strong(path: Path) -> dict[str, list[str]]:
    """Image id -> words, from a zip of voc_img_N.txt."""
    with zipfile.ZipFile(path) as archive:
        return {
            Path(name).stem.removeprefix("voc_img_"): archive.read(name).decode("utf-8").split()
            for name in archive.namelist()
            if name.endswith(".txt")
        }
