"""Trainings in this process and in others, and comparing what they leave."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from detectron2.engine import HookBase

ROOT = Path(__file__).parents[2]
# As the processes of `spawn`: sums over threads are not the same to the last bit.
torch.set_num_threads(1)


def run_training(trainer, resume=False, *hooks):
    trainer.register_hooks(list(hooks))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


class KillAt(HookBase):
    """Kills its own process before an iteration, as nothing can prevent."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_step(self):
        if self.trainer.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


class StopAt(HookBase):
    """Ends a training before an iteration, as a user does."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_step(self):
        if self.trainer.iter == self.iteration:
            raise KeyboardInterrupt


def spawn(*command):
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def load(folder, name="model_final.pth"):
    return torch.load(Path(folder) / name, weights_only=True)


def tensors(state, name=""):
    """All tensors of a checkpoint by their place in it."""
    if isinstance(state, torch.Tensor):
        return {name: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    found = {}
    for key, value in items:
        if isinstance(value, torch.Tensor | dict | list | tuple):
            found |= tensors(value, f"{name}.{key}")
    return found


def assert_same(a, b):
    """Two checkpoints hold the same tensors, bit for bit."""
    a, b = tensors(a), tensors(b)
    assert a.keys() == b.keys() and len(a) > 10
    for name in a:
        assert torch.equal(a[name], b[name]), name
