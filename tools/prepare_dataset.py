#!/usr/bin/env python
"""Convert annotations of any format into a compact index, once.

An index loads at once whatever its size, and all loader workers share its memory. Use it in a
registration as `format: index` (see datasets/README.md).

    python tools/prepare_dataset.py --format synthtext --image-root datasets/synthtext/images \\
        --annotations datasets/synthtext/gt.mat --output datasets/synthtext/synthtext.index
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from dld_d2.commands.arguments import described_parser
from dld_d2.commands.errors import ends_in_one_line
from dld_d2.data import (
    FORMATS,
    UNLABELLED,
    AnnotationReport,
    ImageRecord,
    read_records,
    write_index,
)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = described_parser(__doc__)
    add = parser.add_argument
    formats = sorted(name for name, _ in FORMATS if name != UNLABELLED)
    add("--format", required=True, choices=formats)
    add("--image-root", required=True, type=Path, help="folder of the images")
    add("--annotations", required=True, type=Path, help="file or folder, as the format has it")
    add("--output", required=True, type=Path, help="folder to write, NAME.index")
    add("--split", help="part of the set, for formats that name parts (coco_text)")
    add("--points", type=int, help="vertices of each polygon, where all have as many (polygon)")
    add(
        "--skip-bad",
        action="store_true",
        help="leave out annotations and images that cannot be used and list them; without it the "
        "first one stops the conversion",
    )
    add(
        "--report",
        type=Path,
        help="list what was left out in this file (default: OUTPUT.skipped.tsv)",
    )
    add("--overwrite", action="store_true", help="replace an index that is there")
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> AnnotationReport:
    """Write the index and print what went into it."""
    report = AnnotationReport("skip" if args.skip_bad else "raise")
    options = {key: getattr(args, key) for key in ("split", "points")}
    options = {key: value for key, value in options.items() if value is not None}
    source = {
        "format": args.format,
        "annotations": str(args.annotations),
        "image_root": str(args.image_root),
        "options": options,
    }

    def records() -> Iterator[ImageRecord]:
        ignored = 0
        found = read_records(args.format, args.image_root, args.annotations, report, **options)
        with tqdm(desc="reading", unit=" images", mininterval=0.5) as progress:
            for record in found:
                progress.total = report.expected
                progress.update()
                ignored += int(record.ignore.sum())
                yield record
        source.update(dont_care=ignored, skipped=report.counts(), notes=dict(report.notes))

    info = write_index(args.output, records(), source=source, overwrite=args.overwrite)
    print(
        f"{args.output}: {info['images']} images, {info['words'] - source['dont_care']} words, "
        f"{source['dont_care']} don't-care regions"
    )
    for what, count in report.notes.items():
        print(f"{what}: {count}")
    return report


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_arguments(argv)
    report = convert(args)
    if report.skips:
        path = args.report or args.output.with_name(f"{args.output.name}.skipped.tsv")
        report.write(path)
        counts = ", ".join(f"{reason}: {count}" for reason, count in report.counts().items())
        print(f"left out {len(report.skips)} ({counts}); {path} lists them")
    elif args.report:
        report.write(args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
