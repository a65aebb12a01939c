"""From a config file and command-line overrides to a frozen configuration."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
from collections.abc import Iterator
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from dld_d2.config import add_dld_config

__all__ = ["ConfigError", "prepare_run", "setup_cfg", "with_seed"]

logger = logging.getLogger(__name__)


class ConfigError(ValueError):
    """A configuration that cannot be used. The message names the file or key, and the remedy."""


def setup_cfg(config_file: str, opts: list[str] | None = None) -> CfgNode:
    """Build the configuration of a run.

    A configured CUDA device becomes "cpu", with a warning, on a machine without one.

    Args:
        config_file: YAML file; `_BASE_` in it names a file to start from, relative to it. Empty:
            the defaults alone.
        opts: overrides as alternating keys and values, `["SOLVER.BASE_LR", "1e-4"]`.

    Returns:
        A frozen configuration with Detectron2's keys and those of `add_dld_config`.

    Raises:
        ConfigError: for a file that is missing or not plain YAML, and for a key that does not
            exist or has a value of another type than its default.
    """
    cfg = get_cfg()
    add_dld_config(cfg)
    if config_file:
        _merge_file(cfg, config_file)
    _merge_opts(cfg, list(opts or []))
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("No CUDA device is available: running on the CPU (MODEL.DEVICE: cpu).")
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    return cfg


def prepare_run(cfg: CfgNode, args: argparse.Namespace) -> CfgNode:
    """Set up the logs of a process of a run, its generators, and OUTPUT_DIR.

    All processes must call this together.

    Args:
        cfg: as `setup_cfg` gives it.
        args: command line, for the log.

    Returns:
        The configuration with SEED drawn if it was negative.
    """
    cfg = with_seed(cfg)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="dld_d2")
    default_setup(cfg, args)
    reason = "" if torch.cuda.is_available() else " (PyTorch finds no GPU)"
    logger.info(
        f"Running on {cfg.MODEL.DEVICE}{reason}, process {comm.get_rank() + 1} of "
        f"{comm.get_world_size()}, seed {cfg.SEED}"
    )
    return cfg


def with_seed(cfg: CfgNode) -> CfgNode:
    """The configuration with SEED drawn, the same in all processes, if it is negative.

    All processes must call this together.
    """
    if cfg.SEED >= 0:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEED = comm.shared_random_seed()
    cfg.freeze()
    return cfg


def _merge_file(cfg: CfgNode, config_file: str) -> None:
    if not os.path.isfile(config_file):
        raise ConfigError(f"config file {config_file!r} does not exist")
    try:
        loaded = CfgNode.load_yaml_with_base(config_file, allow_unsafe=False)
    except FileNotFoundError as error:
        raise ConfigError(f"{config_file}: its _BASE_ {error.filename!r} does not exist") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{config_file}: not plain YAML: {error}") from None
    except TypeError:
        raise ConfigError(f"{config_file}: the file or its _BASE_ holds no keys") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{config_file}: expected keys and values, found a {_type_of(loaded)}")
    for key, value in _leaves(loaded):
        _set(cfg, key, value, source=config_file)


def _merge_opts(cfg: CfgNode, opts: list[str]) -> None:
    if len(opts) % 2:
        raise ConfigError(
            f"overrides must be pairs of key and value, found {len(opts)} words: {' '.join(opts)}"
        )
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        _set(cfg, key, value, source="command line")


def _leaves(node: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names and values of the leaves of nested dictionaries."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _set(cfg: CfgNode, key: str, value: Any, source: str) -> None:
    defaults = dict(_leaves(cfg))
    if key not in defaults:
        if any(name.startswith(f"{key}.") for name in defaults):
            raise ConfigError(f"{source}: {key} is a section of keys, not a key")
        close = difflib.get_close_matches(key, defaults, n=3, cutoff=0.75)
        # A key under the wrong section still has the right last word.
        last = key.rpartition(".")[2]
        close += [name for name in defaults if name.endswith(f".{last}") and name not in close]
        hint = f"; did you mean {' or '.join(close[:3])}?" if close else ""
        raise ConfigError(f"{source}: there is no configuration key {key}{hint}")
    decoded = cfg._decode_cfg_value(value)
    if isinstance(defaults[key], float) and type(decoded) is int:
        value = float(decoded)
    elif isinstance(defaults[key], str) and isinstance(value, str):
        value = repr(value)  # a file named 2024 stays a string
    try:
        cfg.merge_from_list([key, value])
    except ValueError:
        raise ConfigError(
            f"{source}: {key} is {value!r}, a {_type_of(decoded)}; expected a "
            f"{_type_of(defaults[key])} such as {defaults[key]!r}"
        ) from None


def _type_of(value: Any) -> str:
    return type(value).__name__
