"""What a user is told of processes that load data and fail."""

import os
import signal

import pytest
from tiny_training import TinyTrainer, tiny_cfg, tiny_mapper

from dld_d2.data.images import read_image
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.loader_workers import LoaderWorkerError, explaining_workers


def failing(fail):
    """A trainer whose mapper fails at every image."""

    class Failing(TinyTrainer):
        @classmethod
        def build_mapper(cls, cfg, is_train):
            return lambda image: fail() or tiny_mapper(image)

    return Failing


def train(folder, fail, workers="1"):
    trainer = failing(fail)(tiny_cfg(folder, "DATALOADER.NUM_WORKERS", workers))
    trainer.resume_or_load(resume=False)
    trainer.train()


def test_a_killed_worker_says_what_it_probably_was(tmp_path):
    with pytest.raises(LoaderWorkerError) as told:
        train(tmp_path, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert isinstance(told.value, ConfigError)
    message = str(told.value)
    assert "\n" not in message
    for part in ("out of memory", "NUM_WORKERS is 1", "--resume", "is killed by signal: Killed"):
        assert part in message


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible", "/dev/shm"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "with 0 workers the error shows"),
    ],
)
def test_other_ends_of_a_worker(said, cause):
    with pytest.raises(LoaderWorkerError, match=cause), explaining_workers(3):
        raise RuntimeError(said)


def test_other_errors_stay_as_they_are():
    for error in (RuntimeError("worker"), ValueError("Caught in the act"), OSError(28, "full")):
        with pytest.raises(type(error)) as told, explaining_workers(3):
            raise error
        assert told.value is error


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_cannot_be_read_is_named_in_one_line(tmp_path, workers):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(OSError, match=r"^[^\n]*x\.png: is a pipe") as told:
        train(tmp_path / "run", lambda: read_image(tmp_path / "x.png", "BGR"), workers)
    assert "\n" not in str(told.value)
