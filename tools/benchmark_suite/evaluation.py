"""Time the evaluation against a straightforward implementation of the same rules, and at scale.

    python tools/benchmark.py evaluation --gt gt.zip --submission submission.zip --lexicons DIR

Both must count alike, or else the exit status is 1. At scale, the files are repeated to ever more
images.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark_suite.naive_evaluation import count_naively
from benchmark_suite.processes import in_new_process, process_memory
from benchmark_suite.timing import Elapsed, Stopwatch
from dld_d2.commands.arguments import at_least, described_parser
from dld_d2.commands.console import console, messages, table
from dld_d2.commands.errors import ends_in_one_line
from dld_d2.evaluation import evaluate, read_lexicon
from dld_d2.evaluation.lexicon_choice import choose_lexicons

__all__ = ["main"]

KINDS = "none,strong,weak,generic"
Lexicons = Mapping[str, Path | None]


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    files = (arguments.gt, arguments.submission)
    paths = [str(arguments.lexicons)] if arguments.lexicons else []
    lexicons = choose_lexicons([arguments.kinds], paths)
    for path in filter(None, lexicons.values()):
        read_lexicon(path)  # the disk's first read is nobody's merit
    if not arguments.no_baseline and not compare(*files, lexicons, arguments.iou):
        return 1
    if arguments.scale:
        measure_at_scale(*files, lexicons, arguments.iou, arguments.scale)
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    parser.add_argument("--gt", type=Path, required=True, help="zip of the ground truth")
    parser.add_argument("--submission", type=Path, required=True, help="zip of the results")
    parser.add_argument("--lexicons", type=Path, help=f"folder that holds the lexicons of {KINDS}")
    parser.add_argument("--kinds", default=KINDS, help=f"default {KINDS}")
    parser.add_argument("--iou", type=float, default=0.5)
    parser.add_argument(
        "--scale",
        type=at_least(1),
        nargs="*",
        default=[5000, 10000, 20000],
        help="numbers of images of the scale run; none to leave it out",
    )
    parser.add_argument("--no-baseline", action="store_true", help="leave out the comparison")
    return parser.parse_args(argv)


def compare(gt: Path, submission: Path, lexicons: Lexicons, iou: float) -> bool:
    """Print the times of both, files and lexicons included; tells whether they count alike."""
    watch = Stopwatch()
    report = evaluate(gt, submission, ious=iou, lexicons=lexicons)
    ours = watch.read()
    console.print(f"{len(report.cases)} cases, seconds: wall {ours.wall:.2f}, CPU {ours.cpu:.2f}")
    watch = Stopwatch()
    expected = count_naively(gt, submission, lexicons, iou)
    naive = watch.read()
    console.print(
        f"baseline, seconds: wall {naive.wall:.2f}, CPU {naive.cpu:.2f}; "
        f"{naive.wall / ours.wall:.1f} and {naive.cpu / ours.cpu:.1f} times ours"
    )
    found = {}
    for case in report.cases:
        counts = case.counts
        found[case.lexicon, case.task] = (
            *(counts.num_gt_care, counts.num_det_care),
            *(counts.num_matched, counts.num_correct),
        )
    if found != expected:
        messages.print(f"the counts differ:\n{found}\n{expected}", style="red")
    return found == expected


def measure_at_scale(
    gt: Path, submission: Path, lexicons: Lexicons, iou: float, sizes: Sequence[int]
) -> None:
    """Evaluate ever larger replicas, each in a process of its own, and print time and memory."""
    rows = table("at scale", "images", "words", "wall s", "CPU s", "CPU ms/image", "peak MB")
    for images in sizes:
        with tempfile.TemporaryDirectory() as folder:
            larger = {"gt": gt, "submission": submission}
            if lexicons.get("strong"):
                larger["strong"] = lexicons["strong"]
            for name, source in larger.items():
                larger[name] = Path(folder, f"{name}.zip")
                _replicate(source, larger[name], images)
            gts, submissions = larger.pop("gt"), larger.pop("submission")
            elapsed, words, peak = in_new_process(
                _evaluate, gts, submissions, {**lexicons, **larger}, iou
            )
        rows.add_row(
            *(str(images), str(words), f"{elapsed.wall:.2f}", f"{elapsed.cpu:.2f}"),
            *(f"{1000 * elapsed.cpu / images:.3f}", f"{peak / 2**20:.0f}"),
        )
    console.print(rows)


def _replicate(source: Path, target: Path, images: int) -> None:
    """Repeat the files of a zip under running numbers until there are `images`."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
        for number in range(images):
            name = names[number % len(names)]
            stem = Path(name).name.rstrip("0123456789.tx")
            copy.writestr(f"{stem}{number}.txt", archive.read(name), zipfile.ZIP_DEFLATED)


def _evaluate(
    gt: Path, submission: Path, lexicons: Lexicons, iou: float
) -> tuple[Elapsed, int, int]:
    """Seconds, detections, and bytes that this process had at most."""
    watch = Stopwatch()
    report = evaluate(gt, submission, ious=iou, lexicons=lexicons)
    return watch.read(), report.cases[0].counts.num_det, process_memory("VmHWM")
