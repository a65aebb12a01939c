#!/usr/bin/env python3
"""Time the evaluation against a straightforward implementation of the same rules, and at scale.

    python tools/benchmark_evaluation.py --gt gt.zip --submission submission.zip --lexicons DIR

The baseline loops over images, pairs of polygons and lexicon words, and does everything anew for
each case, as the scripts in circulation do; its edit distance is a compiled one all the same. Both
must count alike, or the benchmark fails.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

import shapely
from rapidfuzz.distance import Levenshtein

from dld_d2.evaluation import evaluate, read_ground_truth, read_lexicon, read_submission
from dld_d2.evaluation.geometry import even_odd_regions, truncate
from dld_d2.evaluation.lexicon_choice import choose_lexicons
from dld_d2.evaluation.protocol import TASKS, prepare_truth

KINDS = "none,strong,weak,generic"


def nearest_word(text: str, words: list[str]) -> str:
    """The rule of `Lexicon.correct` as one writes it first."""
    if len(text) < 3 or "+" in text or any(character.isdigit() for character in text):
        return text
    query = text.upper()
    best, smallest = text, None
    for word in words:
        distance = Levenshtein.distance(query, word.upper())
        if smallest is None or distance < smallest:
            best, smallest = word, distance
    return best


def shoelace(ring) -> float:
    """Area by a loop."""
    total = 0.0
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        total += (x0 + x1) * (y1 - y0)
    return abs(total) / 2


def score_naively(truths, detections, texts, task: str, iou: float) -> tuple[int, int, int, int]:
    """(gt_care, det_care, matched, correct) by plain loops over all pairs."""
    totals = [0, 0, 0, 0]
    for key, words in truths.items():
        truth = prepare_truth([word.text for word in words], task)
        gt_rings = [truncate(word.polygon).tolist() for word in words]
        det_rings = [truncate(word.polygon).tolist() for word in detections.get(key, [])]
        gts = [even_odd_regions([truncate(ring)])[0] for ring in gt_rings]
        dets = [even_odd_regions([truncate(ring)])[0] for ring in det_rings]
        gt_areas, det_areas = list(map(shoelace, gt_rings)), list(map(shoelace, det_rings))
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


class Stopwatch:
    """Wall and CPU seconds since it was made; a busy machine stretches only the former."""

    def __init__(self):
        self._started = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """(wall, CPU) seconds."""
        wall, cpu = self._started
        return time.perf_counter() - wall, time.process_time() - cpu


def run_baseline(args, lexicon_paths) -> tuple[tuple[float, float], dict]:
    """Seconds, and counts of each (lexicon, task)."""
    watch = Stopwatch()
    truths, detections = read_ground_truth(args.gt), read_submission(args.submission)
    counts = {}
    for kind, path in lexicon_paths.items():
        texts = {key: [word.text for word in words] for key, words in detections.items()}
        if path is not None:
            shared = None if kind == "strong" else read_words(path)
            strong = read_strong(path) if kind == "strong" else None
            for key, some in texts.items():
                words = shared if strong is None else strong[key]
                texts[key] = [nearest_word(text, words) for text in some]
        for task in TASKS:
            counts[kind, task] = score_naively(truths, detections, texts, task, args.iou)
    return watch.read(), counts


def read_words(path: Path) -> list[str]:
    """One word a line."""
    return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def read_strong(path: Path) -> dict[str, list[str]]:
    """Image id -> words, from a zip of voc_img_N.txt."""
    with zipfile.ZipFile(path) as archive:
        return {
            Path(name).stem.removeprefix("voc_img_"): archive.read(name).decode("utf-8").split()
            for name in archive.namelist()
            if name.endswith(".txt")
        }


def run_ours(args, lexicon_paths) -> tuple[tuple[float, float], dict]:
    """Seconds, files and lexicons included, and counts of each (lexicon, task)."""
    watch = Stopwatch()
    report = evaluate(args.gt, args.submission, ious=args.iou, lexicons=lexicon_paths)
    seconds = watch.read()
    return seconds, {
        (case.lexicon, case.task): (
            case.counts.num_gt_care,
            case.counts.num_det_care,
            case.counts.num_matched,
            case.counts.num_correct,
        )
        for case in report.cases
    }


def replicate(source: Path, target: Path, images: int) -> None:
    """Repeat the files of a zip under running numbers until there are `images`."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
        for number in range(images):
            name = names[number % len(names)]
            stem = Path(name).name.rstrip("0123456789.tx")
            copy.writestr(f"{stem}{number}.txt", archive.read(name), zipfile.ZIP_DEFLATED)


def run_scale(args, lexicon_paths) -> None:
    """Evaluate ever larger replicas, each in a process of its own, and print time and memory."""
    print(f"{'images':>8}{'words':>9}{'wall s':>9}{'CPU s':>8}{'CPU ms/image':>14}{'peak MB':>9}")
    for images in args.scale:
        with tempfile.TemporaryDirectory() as folder:
            gt, submission = Path(folder, "gt.zip"), Path(folder, "sub.zip")
            replicate(args.gt, gt, images)
            replicate(args.submission, submission, images)
            paths = dict(lexicon_paths)
            if "strong" in paths:
                paths["strong"] = Path(folder, "strong.zip")
                replicate(lexicon_paths["strong"], paths["strong"], images)
            command = [sys.executable, __file__, "--worker", "--gt", gt, "--submission", submission]
            command += ["--iou", str(args.iou), "--lexicon-json"]
            command += [json.dumps({kind: path and str(path) for kind, path in paths.items()})]
            result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            (wall, cpu), words, peak = json.loads(result.stdout)
            print(
                f"{images:>8}{words:>9}{wall:>9.2f}{cpu:>8.2f}{1000 * cpu / images:>14.3f}"
                f"{peak:>9.0f}",
                flush=True,
            )


def run_worker(args) -> None:
    """Print seconds, number of detections and peak memory in MB."""
    paths = json.loads(args.lexicon_json)
    watch = Stopwatch()
    report = evaluate(args.gt, args.submission, ious=args.iou, lexicons=paths)
    seconds = watch.read()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kB on Linux
    print(json.dumps([seconds, report.cases[0].counts.num_det, peak]))


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gt", type=Path, required=True)
    parser.add_argument("--submission", type=Path, required=True)
    parser.add_argument("--lexicons", type=Path, help=f"folder that holds the lexicons of {KINDS}")
    parser.add_argument("--kinds", default=KINDS, help=f"default {KINDS}")
    parser.add_argument("--iou", type=float, default=0.5)
    parser.add_argument(
        "--scale",
        type=int,
        nargs="*",
        default=[5000, 10000, 20000],
        help="numbers of images of the scale run; none to leave it out",
    )
    parser.add_argument("--no-baseline", action="store_true", help="leave out the comparison")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--lexicon-json", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        run_worker(args)
        return
    paths = [str(args.lexicons)] if args.lexicons else []
    lexicon_paths = choose_lexicons([args.kinds], paths)
    for path in filter(None, lexicon_paths.values()):
        read_lexicon(path)  # the disk's first read is nobody's merit
    if not args.no_baseline:
        ours, our_counts = run_ours(args, lexicon_paths)
        print(
            f"{len(our_counts)} cases, seconds: wall {ours[0]:.2f}, CPU {ours[1]:.2f}", flush=True
        )
        baseline, baseline_counts = run_baseline(args, lexicon_paths)
        print(
            f"baseline, seconds: wall {baseline[0]:.2f}, CPU {baseline[1]:.2f}; "
            f"{baseline[0] / ours[0]:.1f} and {baseline[1] / ours[1]:.1f} times ours"
        )
        if our_counts != baseline_counts:
            sys.exit(f"the counts differ:\n{our_counts}\n{baseline_counts}")
    if args.scale:
        run_scale(args, lexicon_paths)


if __name__ == "__main__":
    main()
