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
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from dld_d2.data import FORMATS, AnnotationReport, ImageRecord, read_records, write_index


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    formats = sorted(name for name, _ in FORMATS)
    parser.add_argument("--format", required=True, choices=formats)
    parser.add_argument("--image-root", required=True, type=Path, help="folder of the images")
    parser.add_argument(
        "--annotations", required=True, type=Path, help="file or folder, as the format has it"
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write, NAME.index")
    parser.add_argument("--split", help="part of the set, for formats that name parts (coco_text)")
    parser.add_argument(
        "--points", type=int, help="vertices of each polygon, where all have as many (polygon)"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out annotations and images that cannot be used and list them; without it the "
        "first one stops the conversion",
    )
    parser.add_argument(
        "--report",
        type=Path,
        help="list what was left out in this file (default: OUTPUT.skipped.tsv)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an index that is there")
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


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        report = convert(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
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
