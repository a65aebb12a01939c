"""Trainings that are killed and go on, each in a process forked from this one.

python tests/engine/killed_training.py [SEED]

kills a training twenty times, ten times at random moments and ten times while it writes a
checkpoint, damages its last checkpoint and fills its disk in between (which takes root, for a
small file system of its own), and compares what it reaches with an undisturbed one.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from runs import assert_same, load
from tiny_training import tiny_cfg, train

from dld_d2.engine import whole_files

STAGES = ("half", "written", "named", "recorded", "tagged", "removing")
"""Where a checkpoint may be when its process is killed: half of it is written; all of it, but not
under its name; under its name; in the record; named as the last one; an older one is to go."""


def start(cfg, stage=None, iteration=None, resume=True):
    """Go on with a training in a process of its own, which may be killed at a stage of the
    checkpoint after an iteration; returns the process's number."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            # What it would tell is not for the parent's ears.
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            if stage is not None:
                kill_at(stage, f"model_{iteration:07d}.pth")
            train(cfg, resume)
            status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    return process


def end_of(process):
    """Exit status of a process, or the negative of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_at(stage, name):
    """Let this process kill itself when the checkpoint of a name is at a stage."""
    replace, save, unlink = os.replace, torch.save, Path.unlink
    written = [False]

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def half(data, stream):
        if not stream.name.endswith(f".{name}.part"):
            save(data, stream)
            return
        with tempfile.TemporaryFile() as whole:
            save(data, whole)
            whole.seek(0)
            content = whole.read()
        stream.write(content[: len(content) // 2])
        stream.flush()
        kill()

    def rename(part, file):
        this = Path(file).name
        if stage == "written" and this == name:
            kill()
        replace(part, file)
        written[0] |= this == name
        after = {"named": name, "recorded": "checkpoints.json", "tagged": "last_checkpoint"}
        if written[0] and after.get(stage) == this:
            kill()

    def remove(self, missing_ok=False):
        if stage == "removing" and written[0] and self.name.startswith("model_"):
            kill()
        unlink(self, missing_ok=missing_ok)

    if stage == "half":
        torch.save = half
    whole_files.os.replace = rename
    Path.unlink = remove


def damage(file):
    """Flip a bit of each of 64 bytes in the middle."""
    content = bytearray(file.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 64):
        content[place] ^= 4
    file.write_bytes(content)


class SmallDisk:
    """A file system of some kilobytes, mounted at a folder."""

    def __init__(self, folder, kilobytes):
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        subprocess.run(command, check=True)

    def fill(self):
        """Leave no room at all."""
        with open(self.folder / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"0" * 4096)
            except OSError:
                return

    def empty(self):
        (self.folder / "filler").unlink()

    def unmount(self):
        # Loader workers of a killed process may still be about to end.
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


def main(seed):
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        length, period = 400, 10
        opts = ["SOLVER.MAX_ITER", str(length), "SOLVER.CHECKPOINT_PERIOD", str(period)]
        begin = time.time()
        assert end_of(start(tiny_cfg(folder / "whole", *opts), resume=False)) == 0
        took = time.time() - begin
        print(f"undisturbed: {length} iterations in {took:.1f} s", flush=True)
        disk = SmallDisk(folder / "disturbed", 8000)
        try:
            disturbed(draw, disk, opts, length, took)
            final = load(folder / "disturbed")
            assert_same(load(folder / "whole"), final)
            left = sorted(path.name for path in disk.folder.glob("*.pth"))
            parts = list(disk.folder.glob(".*.part"))
            print(f"final weights equal, bit for bit; there are {', '.join(left)}; {parts=}")
        finally:
            disk.unmount()


def disturbed(draw, disk, opts, length, took):
    kinds = ["random"] * 10 + [STAGES[i % len(STAGES)] for i in range(10)]
    draw.shuffle(kinds)
    kills = full = damaged = 0
    while kinds:
        workers = ["DATALOADER.NUM_WORKERS", str(draw.choice([0, 0, 2]))]
        cfg = tiny_cfg(disk.folder, *opts, *workers)
        last = disk.folder / "last_checkpoint"
        done = int(last.read_text()[6:13]) + 1 if last.exists() else 0
        kind = kinds.pop()
        if kind == "random":
            process = start(cfg)
            time.sleep(draw.uniform(0.02, 0.12) * took)
            os.kill(process, signal.SIGKILL)
        else:
            process = start(cfg, kind, done + 10 * draw.randint(1, 2) - 1)
        status = end_of(process)
        assert status == -signal.SIGKILL, (kind, status)
        kills += 1
        now = last.read_text() if last.exists() else "nothing"
        print(f"kill {kills} ({kind}): from {done}, left {now}", flush=True)
        if kills % 5 == 0:
            damage(disk.folder / now)
            damaged += 1
        if kills % 7 == 0:
            disk.fill()
            status = end_of(start(cfg))
            assert status == 28, status  # ENOSPC
            full += 1
            disk.empty()
    print(f"{kills} kills, {damaged} damaged last checkpoints, {full} times a full disk")
    assert end_of(start(tiny_cfg(disk.folder, *opts))) == 0


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
