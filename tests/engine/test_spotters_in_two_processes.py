"""Spotters that segment are distilled in two processes that are killed, and go on."""

import os
import signal
import socket

import pytest
import torch
import torch.multiprocessing as mp
from all_spotters import SPOTTERS
from runs import KillAt, assert_same, load, run_training
from tiny_distillation import SMALL, SPOTTER, make_cfg

from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.launch import launch
from dld_d2.modeling.build import build_spotter

TERMS = "('roi','context','sequence','score_map')"


def distilling(name, data, output_dir):
    make_cfg(data, output_dir)  # registers the images
    settings = {key: value for key, value in SMALL.items() if key not in SPOTTER}
    settings |= {
        "MODEL.DYNAMIC.SPOTTER": SPOTTERS[name].cfg().MODEL.META_ARCHITECTURE,
        "MODEL.DISTILL.TERMS": TERMS,
        "MODEL.DISTILL.TEACHER_WEIGHTS": data / f"{name}.pth",
        "OUTPUT_DIR": output_dir,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 5,
        "SOLVER.STEPS": (4,),
        "SOLVER.CHECKPOINT_PERIOD": 2,
    }
    return SPOTTERS[name].cfg(**{key.replace(".", "__"): v for key, v in settings.items()})


def train(cfg, resume, hooks):
    run_training(DistillTrainer(cfg), resume, *hooks)


def one_of_two(rank, port, cfg, resume, killed_at):
    """A process of a run, as torchrun starts it."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    hooks = [KillAt(killed_at)] if killed_at is not None and rank == 1 else []
    launch(train, cfg, (resume, hooks))


def run_two(cfg, resume=False, killed_at=None):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    arguments = (port, cfg, resume, killed_at)
    mp.start_processes(one_of_two, arguments, nprocs=2, start_method="fork")


@pytest.mark.parametrize("name", ["Text Perceptron", "MANGO"])
def test_two_processes_that_are_killed_go_on_to_the_same_state(name, data, tmp_path):
    whole, disturbed = (distilling(name, data, tmp_path / part) for part in ("whole", "disturbed"))
    torch.manual_seed(0)
    torch.save({"model": build_spotter(whole).state_dict()}, data / f"{name}.pth")
    run_two(whole)
    with pytest.raises(mp.ProcessExitedException) as ended:
        run_two(disturbed, killed_at=3)
    assert ended.value.signal_name == signal.SIGKILL.name
    assert (tmp_path / "disturbed" / "last_checkpoint").read_text() == "model_0000001.pth"
    run_two(disturbed, resume=True)
    expected, found = load(tmp_path / "whole"), load(tmp_path / "disturbed")
    assert found["iteration"] == 4
    assert_same(expected, found)
    metrics = (tmp_path / "whole" / "metrics.json").read_text()
    for loss in ("loss_rec", "loss_map", "loss_seq", "loss_acc"):
        assert loss in metrics
