"""The steps of a check, each a command of its own with a limit of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Outcome", "Step", "run_step", "steps_of"]

ROOT = Path(__file__).resolve().parents[2]
# Parts of the whole time; what a step does not need is left for the next ones.
_SHARES = {"tests": 0.35, "benchmark": 0.35, "training": 0.3}


@dataclass(frozen=True)
class Step:
    """A command.

    Attributes:
        name: for the report, and of the log.
        command: Python's arguments.
        share: of the time that there is for all steps.
        environment: variables beside those of this process.
    """

    name: str
    command: tuple[str, ...]
    share: float
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of a step.

    Attributes:
        step: that it is of.
        status: exit status; None if the time was over.
        seconds: that it took.
        output: all that it wrote.
    """

    step: Step
    status: int | None
    seconds: float
    output: str

    @property
    def passed(self) -> bool:
        return self.status == 0


def steps_of(output: Path, *, rehearse: bool) -> list[Step]:
    """The tests marked `cuda`, the benchmark of the models, and a short distillation.

    Args:
        output: folder for what they write.
        rehearse: the same, small and on the CPU.
    """
    device = ["MODEL.DEVICE", "cpu" if rehearse else "cuda"]
    tests = ("-m", "pytest", "-m", "cuda", "-q", "-rs", "-p", "no:cacheprovider", "tests/cuda")
    benchmark = ["tools/benchmark.py", "all", "--json", str(output / "benchmark.json")]
    if rehearse:
        benchmark += ["--config-file", "configs/tiny/Base-dld.yaml", "--size", "96", "160"]
        benchmark += ["--repeats", "1", "--words", "2", "--opts", *device]
    else:
        benchmark += ["--config-file", "configs/Base-DLD-R50-FPN.yaml", "--size", "896", "1344"]
        # Weights are random here.
        benchmark += ["--batch", "3", "--precision", "bfloat16", "--threads", "4", "--opts"]
        benchmark += ["MODEL.BACKBONE.FREEZE_STATISTICS", "False", *device]
    training = [
        *("train_net.py", "--config-file", "configs/tiny/shipped/dld.yaml"),
        *(["--num-gpus", "0"] if rehearse else ["--num-gpus", "1"]),
        *("OUTPUT_DIR", str(output / "training"), "DATASETS.TEST", "()", *device),
        *("MODEL.DISTILL.SELECTOR.WEIGHTS", "", "TEST.NUM_PICTURES", "0"),
        *("SOLVER.MAX_ITER", "2" if rehearse else "100", "SOLVER.CHECKPOINT_PERIOD", "1000"),
        *("SOLVER.WARMUP_ITERS", "1" if rehearse else "50"),
    ]
    rehearsal = {"REHEARSE_CUDA_TESTS": "1"} if rehearse else {}
    return [
        Step("tests", tests, _SHARES["tests"], rehearsal),
        Step("benchmark", tuple(benchmark), _SHARES["benchmark"]),
        Step("training", tuple(training), _SHARES["training"]),
    ]


def run_step(step: Step, seconds: float) -> Outcome:
    """Run a step, with all that it starts, no longer than this."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *step.command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path} | step.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        status = None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Outcome(step, status, time.monotonic() - start, output)
