import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dld_d2.engine.launch import check_gpus, launch
from dld_d2.engine.setup import ConfigError, setup_cfg

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpus(monkeypatch):
    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("available", "asked", "used"),
    [(0, None, 0), (0, 0, 0), (4, None, 1), (4, 0, 0), (4, 3, 3), (4, 4, 4)],
)
def test_uses_what_was_asked_for(gpus, available, asked, used):
    gpus(available)
    assert check_gpus(asked) == used


@pytest.mark.parametrize(
    ("available", "asked", "message"),
    [
        (0, 8, "--num-gpus is 8.*no GPU.*leave the option out"),
        (0, 1, "--num-gpus is 1.*no GPU"),
        (2, 8, r"--num-gpus is 8.*2 GPU\(s\)"),
        (2, -1, "--num-gpus is -1"),
    ],
)
def test_says_what_there_is_if_it_is_less(gpus, available, asked, message):
    gpus(available)
    with pytest.raises(ConfigError, match=message):
        check_gpus(asked)


def test_one_process_is_this_one():
    calls = []
    cfg = setup_cfg("", ["MODEL.DEVICE", "cpu"])
    launch(lambda *args: calls.append(args), cfg, (1, 2))
    assert calls == [(cfg, 1, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"), [({}, "torchrun"), ({"num_gpus": 2}, "--dist-url")]
)
def test_several_machines_need_a_meeting_point(arguments, message):
    with pytest.raises(ConfigError, match=message):
        launch(print, setup_cfg(""), num_machines=2, **arguments)


def test_torchrun_processes_that_outnumber_the_gpus(gpus, monkeypatch):
    gpus(1)
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ConfigError, match=r"torchrun started 2 processes.*1 GPU\(s\)"):
        launch(print, setup_cfg(""))


def test_the_command_ends_in_one_line_on_a_wrong_key(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("SOLVER:\n  MAX_ITR: 3\n")
    done = subprocess.run(
        [sys.executable, "train_net.py", "--config-file", str(file)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {file}: ")
    assert "SOLVER.MAX_ITER" in last
    assert "Traceback" not in done.stderr
