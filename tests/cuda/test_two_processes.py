"""Two processes on two GPUs, over NCCL, with batch norm that they share."""

import pytest
import torch
import torch.multiprocessing as mp
from detectron2.engine import create_ddp_model
from detectron2.utils.events import EventStorage
from distiller_to_train import make_batch, tiny_distiller
from rehearsal import REHEARSED
from torch import distributed as dist

pytestmark = [pytest.mark.cuda, pytest.mark.two_gpus]
WORDS = [
    [("Hello", (10, 10, 60, 26)), ("to", (20, 60, 45, 75))],
    [("Water", (15, 40, 110, 66)), ("be", (100, 10, 140, 35)), ("a", (10, 10, 60, 22))],
]


def run_process(rank, folder, rehearsed):
    device = "cpu" if rehearsed else f"cuda:{rank}"
    if not rehearsed:
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "gloo" if rehearsed else "nccl",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
    )
    try:
        norm = "BN" if rehearsed else "SyncBN"
        distiller = tiny_distiller(
            MODEL__DEVICE=device,
            MODEL__RESNETS__NORM=norm,
            MODEL__ROI_TEXT_HEAD__NORM=norm,
            MODEL__DYNAMIC__SELECTOR__NORM=norm,
        )
        before = {name: value.cpu().clone() for name, value in distiller.state_dict().items()}
        ids = None if rehearsed else [rank]
        model = create_ddp_model(distiller, broadcast_buffers=False, device_ids=ids)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        with EventStorage(0):
            losses = model([make_batch(WORDS)[rank]])
            sum(losses.values()).backward()
        optimizer.step()
        after = {name: value.cpu() for name, value in distiller.state_dict().items()}
        torch.save({"before": before, "after": after}, f"{folder}/{rank}.pth")
    finally:
        dist.destroy_process_group()


def test_both_learn_the_same(tmp_path):
    mp.spawn(run_process, (str(tmp_path), REHEARSED), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1))
    moved = 0
    for name, value in first["after"].items():
        assert value.isfinite().all(), name
        if REHEARSED and name.endswith(("running_mean", "running_var")):
            continue  # of a process's own images
        assert torch.equal(value, second["after"][name]), name
        moved += not torch.equal(value, first["before"][name])
    assert moved > 100
    if not REHEARSED:
        statistics = [n for n in first["after"] if n.endswith("running_mean")]
        assert any(not torch.equal(first["after"][n], first["before"][n]) for n in statistics)
