"""What came of a check, as one file for people."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence

import detectron2
import torch

import dld_d2
from gpu_checks.steps import Outcome, Step

__all__ = ["describe_machine", "report"]

_LINES = 60


def describe_machine() -> str:
    """Versions, and the GPUs that there are, a line each."""
    lines = [
        f"- dld_d2 {dld_d2.__version__}, PyTorch {torch.__version__}, Detectron2 "
        f"{detectron2.__version__}, Python {platform.python_version()}",
        f"- CUDA {torch.version.cuda or '(PyTorch is built without)'}",
    ]
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        lines.append(
            f"- GPU {index}: {found.name}, {found.total_memory / 2**30:.0f} GiB, compute "
            f"capability {found.major}.{found.minor}"
        )
    return "\n".join(lines)


def report(
    machine: str, outcomes: Sequence[Outcome], waiting: Sequence[Step], *, rehearsed: bool
) -> str:
    """Markdown.

    Args:
        machine: as `describe_machine` gives it.
        outcomes: of the steps that are done.
        waiting: steps that are not.
        rehearsed: whether it was on the CPU.
    """
    title = "Rehearsal on the CPU: says nothing of a GPU" if rehearsed else "Check on a GPU"
    rows = [f"| {o.step.name} | {_result(o)} | {o.seconds:.0f} |" for o in outcomes]
    rows += [f"| {step.name} | not run | |" for step in waiting]
    parts = [
        f"# {title}",
        machine,
        "| step | result | seconds |\n|---|---|---|\n" + "\n".join(rows),
    ]
    for outcome in outcomes:
        lines = outcome.output.rstrip().splitlines()
        left_out = f"({len(lines) - _LINES} lines before)\n" if len(lines) > _LINES else ""
        shown = "\n".join(lines[-_LINES:])
        command = shlex.join(["python", *outcome.step.command])
        parts.append(f"## {outcome.step.name}\n\n`{command}`\n\n```\n{left_out}{shown}\n```")
    return "\n\n".join(parts) + "\n"


def _result(outcome: Outcome) -> str:
    if outcome.status is None:
        return "stopped: its time was over"
    return "passed" if outcome.passed else f"FAILED, status {outcome.status}"
