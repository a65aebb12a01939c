"""Average the weights of a model as it was at several moments of its training.

    python -m dld_d2.engine.average_weights OUT.pth output/dld/model_final.pth output/teacher.pth

A student and the teacher that it started from lie in one valley, and between them there is often a
model that reads better than either: it has learnt something new, and unlearnt less (Wortsman et
al., Robust fine-tuning of zero-shot models, 2022). The same holds for checkpoints of one training
(Izmailov et al., Averaging weights leads to wider optima, 2018). Models that were trained apart
from the start have nothing in common, and their average reads nothing. The statistics of batch
norms are averaged with the rest, which is exact only where they are the same (the student of a
training with MODEL.DISTILL.FREEZE_STATISTICS keeps its teacher's).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from dld_d2.engine.checkpoint import read_weights
from dld_d2.engine.whole_files import write_whole

__all__ = ["average_weights"]

_STUDENT = "spotter."


def average_weights(
    files: Sequence[str | Path], shares: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """Weighted mean of the weights in several files.

    Args:
        files: checkpoints or exported models, at least two. The first may be a DynamicSpotter where
            others are a spotter: those are averaged with the spotter in it, and what else it has
            stays as it is.
        shares: of the files, at least 0; they are divided by their sum. Equal by default.

    Returns:
        By the names of the first file, in its types. What counts in integers is the first file's.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: naming the file, if it cannot be read, holds weights that are infinite or NaN,
            or is of another model than the first;
            and for shares that are not one per file, negative, or all 0.
    """
    if len(files) < 2:
        raise ValueError(f"an average is of at least two files, got {len(files)}")
    shares = [1.0] * len(files) if shares is None else [float(share) for share in shares]
    if len(shares) != len(files):
        raise ValueError(f"{len(shares)} shares for {len(files)} files; each file has one")
    if not all(0 <= share < math.inf for share in shares) or sum(shares) <= 0:
        raise ValueError(f"the shares {shares} must be finite, at least 0, and not all 0")
    first = read_weights(files[0])
    total = sum(shares)
    mean = {name: shares[0] / total * value.double() for name, value in first.items()}
    for file, share in zip(files[1:], shares[1:], strict=True):
        try:
            other = _as_named_in(first, read_weights(file))
        except _OtherModelError as error:
            raise ValueError(f"{file} is of another model than {files[0]}: {error}") from None
        for name in first:
            mean[name] += share / total * other.get(name, first[name]).double()
    return {
        name: mean[name].to(value.dtype) if value.is_floating_point() else value
        for name, value in first.items()
    }


class _OtherModelError(Exception):
    pass


def _as_named_in(first: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """`other`, which is all of `first` or all of its student, by the names of `first`."""
    wanted = set(first)
    students = {name for name in first if name.startswith(_STUDENT)}
    if students and not any(name.startswith(_STUDENT) for name in other):
        wanted = students
        other = {_STUDENT + name: value for name, value in other.items()}
    elif not students and any(name.startswith(_STUDENT) for name in other):
        raise _OtherModelError("it has a student, the other one not; name it first")
    alone = sorted(wanted ^ set(other))
    if alone:
        raise _OtherModelError(f"only one of them has {alone[0]}")
    for name, value in other.items():
        if value.shape != first[name].shape:
            shapes = f"{tuple(value.shape)} and {tuple(first[name].shape)}"
            raise _OtherModelError(f"{name} is {shapes}")
    return other


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, metavar="OUT.pth", help="can be MODEL.WEIGHTS")
    parser.add_argument("files", nargs="+", metavar="IN", help="two or more files with weights")
    parser.add_argument(
        "--shares", nargs="+", type=float, metavar="S", help="of each file (equal ones)"
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.output.suffix != ".pth":
            raise ValueError(f"{arguments.output}: the result is a .pth file")
        if arguments.output.exists() and any(
            Path(file).exists() and arguments.output.samefile(file) for file in arguments.files
        ):
            raise ValueError(f"{arguments.output}: the result would overwrite what it is made of")
        weights = average_weights(arguments.files, arguments.shares)
        write_whole(arguments.output, lambda stream: torch.save({"model": weights}, stream))
    except (ValueError, OSError) as error:
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
