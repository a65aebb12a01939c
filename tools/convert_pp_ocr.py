#!/usr/bin/env python3
r"""Bring the weights of PP-OCRv6 small to the spotter of photographs.

    python tools/convert_pp_ocr.py --output output/pp_ocr.pth
    python tools/convert_pp_ocr.py --output output/pp_ocr.pth --vocabulary configs/photo/latin.txt

They come from the package rapidocr 3.10.0, if that is installed, from --wheel FILE, or from the
wheel that pip fetches; their SHA-256 is checked. They are PaddlePaddle's, under the Apache License
2.0; the notice of the package is written beside them. The file is one that MODEL.WEIGHTS takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pp_ocr_weights.wheel import WeightsError, read_weights

from dld_d2.commands.arguments import described_parser
from dld_d2.commands.console import console
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.structures.vocabulary import Vocabulary


@ends_in_one_line(WeightsError)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    try:
        from pp_ocr_weights.convert import convert
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise UsageError(
            "the weights are in ONNX files, and the package onnx, which reads them, is not "
            "installed: pip install onnx"
        ) from None
    vocabulary = Vocabulary.from_config(arguments.vocabulary)
    weights = read_weights(arguments.wheel)
    convert(weights, vocabulary, arguments.output)
    console.print(f"{arguments.output}: {len(vocabulary.characters)} characters")
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--vocabulary",
        default="",
        metavar="FILE",
        help="characters that shall be read, one line, out of the 18,709 of PP-OCRv6, as "
        "MODEL.RECOGNITION.VOCABULARY names them (default: printable ASCII)",
    )
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="the wheel, if it lies here already"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
