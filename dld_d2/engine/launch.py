"""Start as many processes as a run asks for, or join those that torchrun has started."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import launch as launch_gpus
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

from dld_d2.engine.config_sources import ConfigError

__all__ = ["check_gpus", "launch"]

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def check_gpus(num_gpus: int | None) -> int:
    """How many GPUs of this machine to use.

    Args:
        num_gpus: as the user asked; None: one if there is any.

    Raises:
        ConfigError: if there are fewer.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_gpus is None:
        return min(available, 1)
    if num_gpus < 0:
        raise ConfigError(f"--num-gpus is {num_gpus}; 0 means the CPU")
    if num_gpus > available:
        found = "no GPU that PyTorch can use" if available == 0 else f"{available} GPU(s)"
        remedy = "leave the option out to run on the CPU" if available == 0 else "ask for fewer"
        raise ConfigError(f"--num-gpus is {num_gpus}, but this machine has {found}; {remedy}")
    return num_gpus


def launch(
    main: Callable[..., Any],
    cfg: CfgNode,
    args: tuple = (),
    *,
    num_gpus: int = 0,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Call `main(cfg, *args)` in every process of the run.

    Under torchrun this process is one of them, whatever the other arguments say: with nccl on its
    own GPU if the configured device is CUDA, else with gloo on the CPU.

    Args:
        main: function at the top level of a module.
        cfg: configuration.
        args: further arguments of `main`.
        num_gpus: GPUs, and so processes, of this machine; up to 1 needs no other process.
        num_machines: machines of the run.
        machine_rank: which of them this one is.
        dist_url: where they meet, such as "tcp://host:port"; "auto" does for a single machine.

    Raises:
        ConfigError: for several machines without GPU or meeting point, and torchrun processes
            that outnumber the GPUs.
    """
    if all(name in os.environ for name in _TORCHRUN):
        _join_torchrun(cfg)
        try:
            main(cfg, *args)
            # Nobody leaves while others still wait for their part of the last exchange.
            comm.synchronize()
        finally:
            dist.destroy_process_group()
        return
    if num_machines > 1 and num_gpus == 0:
        raise ConfigError("several machines without GPU: start the processes with torchrun")
    if num_machines > 1 and dist_url == "auto":
        raise ConfigError("several machines need --dist-url tcp://HOST:PORT of the first")
    launch_gpus(
        main,
        max(num_gpus, 1),
        num_machines=num_machines,
        machine_rank=machine_rank,
        dist_url=dist_url,
        args=(cfg, *args),
    )


def _join_torchrun(cfg: CfgNode) -> None:
    local_rank, local_size = (int(os.environ[k]) for k in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    if on_gpu and local_size > torch.cuda.device_count():
        raise ConfigError(
            f"torchrun started {local_size} processes, but this machine has "
            f"{torch.cuda.device_count()} GPU(s); lower --nproc-per-node, or set MODEL.DEVICE cpu"
        )
    if on_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=DEFAULT_TIMEOUT)
    comm.create_local_process_group(local_size)
    # As in Detectron2's launcher: or else the first real collective may time out.
    comm.synchronize()
