"""A training that was killed, ran out of disk, or whose checkpoints were damaged goes on as if
nothing had happened, and its directory holds what it would have held."""

import errno
import json
import logging
import os
import signal

import pytest
import torch
import torch.multiprocessing as mp
from killed_training import STAGES, damage, end_of, start
from runs import StopAt, assert_same, load
from tiny_training import TinyTrainer, tiny_cfg, train
from torch import distributed as dist

from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.setup import ConfigError
from dld_d2.engine.weights_file import DamagedFileError


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    train(tiny_cfg(folder))
    return folder


def stop(folder, at, *opts, resume=True):
    with pytest.raises(KeyboardInterrupt):
        train(tiny_cfg(folder, *opts), resume, StopAt(at))


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def test_a_damaged_last_checkpoint_is_replaced_by_the_one_before(undisturbed, tmp_path, caplog):
    stop(tmp_path, 10)
    assert checkpoints(tmp_path) == ["model_0000005.pth", "model_0000008.pth"]
    damage(tmp_path / "model_0000008.pth")
    with caplog.at_level(logging.WARNING):
        trainer = train(tiny_cfg(tmp_path), True)
    assert trainer.start_iter == 6
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    (said,) = [warning for warning in warnings if "0000008" in warning]
    assert "damaged" in said and "Going back to the checkpoint before it" in said
    assert_same(load(undisturbed), load(tmp_path))
    assert checkpoints(tmp_path) == checkpoints(undisturbed)
    # The final one, as well.
    damage(tmp_path / "model_final.pth")
    assert train(tiny_cfg(tmp_path), True).start_iter == 9
    assert_same(load(undisturbed), load(tmp_path))


@pytest.mark.parametrize("content", [None, b"", b"\0" * 5000, b"PK\x03\x04 and no more"])
def test_what_else_may_have_become_of_the_last_checkpoint(undisturbed, tmp_path, content):
    """Gone, or as a file system leaves it that lost power."""
    stop(tmp_path, 10)
    file = tmp_path / "model_0000008.pth"
    file.unlink() if content is None else file.write_bytes(content)
    train(tiny_cfg(tmp_path), True)
    assert_same(load(undisturbed), load(tmp_path))


def test_without_a_whole_checkpoint_nothing_is_started(tmp_path):
    stop(tmp_path, 10)
    for name in checkpoints(tmp_path):
        damage(tmp_path / name)
    with pytest.raises(DamagedFileError) as told:
        train(tiny_cfg(tmp_path), True)
    assert isinstance(told.value, ConfigError) and "\n" not in str(told.value)
    for part in ("model_0000005.pth: damaged", "model_0000008.pth: damaged", "Without --resume"):
        assert part in str(told.value)


def test_evaluating_the_last_checkpoint_falls_back_too(tmp_path, caplog):
    stop(tmp_path, 10)
    damage(tmp_path / "model_0000008.pth")
    checkpointer = SpotterCheckpointer(torch.nn.Identity(), str(tmp_path))
    assert checkpointer.last_whole_checkpoint() == str(tmp_path / "model_0000005.pth")
    assert "Going back" in caplog.text


def test_checkpoints_of_earlier_starts_count(undisturbed, tmp_path):
    for at in (4, 5, 7, 8, 10):
        stop(tmp_path, at)
        (tmp_path / ".model_0000002.pth.part").write_bytes(b"of a process that was killed")
    assert checkpoints(tmp_path) == ["model_0000005.pth", "model_0000008.pth"]
    train(tiny_cfg(tmp_path), True)
    assert checkpoints(tmp_path) == checkpoints(undisturbed)
    assert not list(tmp_path.glob(".*.part"))
    names = ["model_0000005.pth", "model_0000008.pth", "model_final.pth"]
    assert json.loads((tmp_path / "checkpoints.json").read_text()) == names


def test_a_directory_of_an_older_version_is_put_in_order(undisturbed, tmp_path):
    """It has no record, and as many checkpoints as there were starts."""
    stop(tmp_path, 10, "SOLVER.CHECKPOINTS_TO_KEEP", "0")
    assert len(checkpoints(tmp_path)) == 3
    (tmp_path / "checkpoints.json").unlink()
    # Of another training, that went on for longer.
    (tmp_path / "model_0000099.pth").write_bytes(b"other")
    train(tiny_cfg(tmp_path), True)
    assert checkpoints(tmp_path) == sorted([*checkpoints(undisturbed), "model_0000099.pth"])
    assert_same(load(undisturbed), load(tmp_path))


def test_a_training_that_starts_anew_neither_takes_nor_deletes_those_of_another(tmp_path):
    stop(tmp_path, 10, "SEED", "5", "SOLVER.CHECKPOINT_PERIOD", "2")
    before = checkpoints(tmp_path)
    assert before == ["model_0000007.pth", "model_0000009.pth"]
    stop(tmp_path, 10, resume=False)
    assert checkpoints(tmp_path) == sorted([*before, "model_0000005.pth", "model_0000008.pth"])
    for name in ("model_0000005.pth", "model_0000008.pth"):
        damage(tmp_path / name)
    with pytest.raises(DamagedFileError):
        train(tiny_cfg(tmp_path), True)


@pytest.mark.parametrize("record", [b"", b"{}", b'["../x.pth", "y.pth"]', b"[" * 10000, b"\xff"])
def test_a_damaged_record_is_no_harm(undisturbed, tmp_path, record):
    stop(tmp_path, 10)
    (tmp_path / "checkpoints.json").write_bytes(record)
    train(tiny_cfg(tmp_path), True)
    assert_same(load(undisturbed), load(tmp_path))


def resume_in_process(rank, folder, widths):
    """One of two processes of a run: what it resumed from, or why it did not."""
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = torch.nn.Linear(2, widths[rank])
    checkpointer = SpotterCheckpointer(model, str(folder))
    if rank == 1:  # as if its view of the folder were older
        checkpointer._find_whole = lambda: str(folder / "second.pth")
    try:
        told = checkpointer.resume_or_load("")["iteration"]
    except ConfigError as error:
        told = str(error)
    (folder / f"told_{rank}.json").write_text(json.dumps(told))


def resumed_by_two(folder, widths=(3, 3)):
    (folder / "rendezvous").unlink(missing_ok=True)
    mp.start_processes(resume_in_process, (folder, widths), nprocs=2, start_method="fork")
    return [json.loads((folder / f"told_{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_take_the_same_checkpoint(tmp_path):
    checkpointer = SpotterCheckpointer(torch.nn.Linear(2, 3), str(tmp_path))
    for number, name in enumerate(("first", "second")):
        checkpointer.save(name, iteration=number)
    assert resumed_by_two(tmp_path) == [1, 1]
    damage(tmp_path / "second.pth")
    assert resumed_by_two(tmp_path) == [0, 0]
    # Where one cannot go on, the other does not wait for it.
    own, other = reversed(resumed_by_two(tmp_path, widths=(3, 4)))
    assert "belongs to this model" in own and other.startswith("process 1 cannot go on from")
    damage(tmp_path / "first.pth")
    own, other = resumed_by_two(tmp_path)
    assert own == other and "there is no whole checkpoint" in own


class FullAfter:
    """An open file on a disk that is full after some bytes."""

    def __init__(self, stream, size):
        self._stream, self._left = stream, size

    def write(self, content):
        if len(content) > self._left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._left -= len(content)
        return self._stream.write(content)

    def __getattr__(self, name):
        return getattr(self._stream, name)


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_full_disk_ends_the_training_with_its_reason(undisturbed, tmp_path, monkeypatch, size):
    stop(tmp_path, 7)
    save = torch.save
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", lambda data, file: save(data, FullAfter(file, size)))
        with pytest.raises(OSError, match="No space left") as told:
            train(tiny_cfg(tmp_path), True)
    assert told.value.errno == errno.ENOSPC
    assert told.value.filename == str(tmp_path / "model_0000008.pth")
    assert "cannot be written" in str(told.value)
    assert checkpoints(tmp_path) == ["model_0000002.pth", "model_0000005.pth"]
    assert not list(tmp_path.glob(".*.part"))
    train(tiny_cfg(tmp_path), True)
    assert_same(load(undisturbed), load(tmp_path))


def test_best_weights_and_trainers_are_as_they_were(tmp_path):
    """What is saved beside the checkpoints is none of them."""
    trainer = TinyTrainer(tiny_cfg(tmp_path))
    trainer.resume_or_load(resume=False)
    trainer.checkpointer.save_weights("model_best")
    trainer.train()
    names = json.loads((tmp_path / "checkpoints.json").read_text())
    assert "model_best.pth" not in names and (tmp_path / "model_best.pth").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_while_a_checkpoint_is_written(undisturbed, tmp_path, stage):
    """`killed_training.py` does so twenty times."""
    cfg = tiny_cfg(tmp_path)
    assert end_of(start(cfg, stage, 8)) == -signal.SIGKILL
    assert end_of(start(cfg)) == 0
    assert_same(load(undisturbed), load(tmp_path))
    assert checkpoints(tmp_path) == checkpoints(undisturbed)
    assert not list(tmp_path.glob(".*.part"))
