"""What other packages warn of and no user can mend is silent in commands, and nothing else is."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from dld_d2.commands import third_party

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["train_net.py", "--help"],
        ["tools/flops.py", "--config-file", "configs/tiny/dld.yaml", "--size", "64", "64"],
    ],
)
def test_commands_are_silent_on_standard_error(command):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.fixture
def silenced(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        third_party.silence()
        yield caught


def warn(message, category, module):
    warnings.warn_explicit(message, category, "file.py", 1, module=module)


def test_only_the_known_warnings_are_silenced(silenced):
    warn("`torch.jit.script` is deprecated. Please", FutureWarning, "torch.jit._script")
    warn("torch.meshgrid: in an upcoming release, it", UserWarning, "torch.functional")
    assert silenced == []
    warn("`torch.jit.script` is deprecated. Please", FutureWarning, "my_project")
    warn("torch.load: another one", FutureWarning, "torch.jit._script")
    warn("torch.meshgrid: in an upcoming release, it", RuntimeWarning, "torch.functional")
    assert len(silenced) == 3


def test_only_the_known_log_lines_are_silenced(silenced, caplog, monkeypatch):
    logger = logging.getLogger("torch.utils.cpp_extension")
    # PyTorch may have cut its loggers off from the root, where caplog listens.
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    with caplog.at_level(logging.WARNING, logger=logger.name):
        logger.warning("No CUDA runtime is found, using CUDA_HOME='%s'", "/usr")
        logger.warning("The compiler is missing")
    assert [record.getMessage() for record in caplog.records] == ["The compiler is missing"]


def test_who_asks_for_warnings_gets_them(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        third_party.silence()
        warn("`torch.jit.script` is deprecated. Please", FutureWarning, "torch.jit._script")
    assert len(caught) == 1
