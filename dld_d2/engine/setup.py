"""From a config file and command-line overrides to a frozen configuration."""

from __future__ import annotations

import argparse
import difflib
import logging
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng

from dld_d2.config import add_dld_config
from dld_d2.distillation.config import add_term_config
from dld_d2.distillation.terms.term import find_term
from dld_d2.engine.allowed_values import refuse_impossible
from dld_d2.engine.config_sources import ConfigError, Setting, leaves, read_settings
from dld_d2.engine.ignored_keys import refuse_ignored
from dld_d2.engine.logs import log_to_file_only, set_up_logs
from dld_d2.engine.renamed_keys import GONE, RENAMED

__all__ = [
    "ConfigError",
    "default_cfg",
    "on_possible_device",
    "prepare_run",
    "set_key",
    "setup_cfg",
    "with_seed",
]

logger = logging.getLogger(__name__)

_SHORT_SIDES = "DATASETS.SHORT_SIDES"


def default_cfg() -> CfgNode:
    """Detectron2's keys and this project's, all with their defaults. All models and data sets are
    registered."""
    cfg = get_cfg()
    add_dld_config(cfg)
    return cfg


def setup_cfg(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Build the configuration of a run.

    A configured CUDA device becomes "cpu", with a warning, on a machine without one.

    Args:
        config_file: YAML file; `_BASE_` in it names a file to start from, relative to it. Empty:
            the defaults alone.
        opts: overrides as alternating keys and values, `["SOLVER.BASE_LR", "1e-4"]`.

    Returns:
        A frozen configuration with Detectron2's keys and those of `add_dld_config`.

    Raises:
        ConfigError: for a file that is missing or not plain YAML; for a key that does not exist,
            has a value of another type than its default or one that cannot be meant, or would have
            no effect.
    """
    cfg = default_cfg()
    settings = read_settings(config_file, list(opts))
    _add_foreign_terms(cfg, settings)
    for setting in settings:
        set_key(cfg, setting.key, setting.value, setting.source)
    refuse_ignored(settings, cfg)
    if cfg.MODEL.META_ARCHITECTURE == "DynamicResolutionDistiller":
        raise ConfigError(
            "MODEL.META_ARCHITECTURE: DynamicResolutionDistiller is called DynamicSpotter now; "
            "training distils it"
        )
    refuse_impossible(settings, cfg)
    on_possible_device(cfg)
    cfg.freeze()
    return cfg


def on_possible_device(cfg: CfgNode) -> None:
    """On a machine without CUDA, turn a configured CUDA device into "cpu", in place, and say so."""
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("No CUDA device is available: running on the CPU (MODEL.DEVICE: cpu).")
        cfg.MODEL.DEVICE = "cpu"


def prepare_run(cfg: CfgNode, args: argparse.Namespace | None) -> CfgNode:
    """Set up the logs of a process of a run, its generators, and OUTPUT_DIR.

    All processes must call this together. It does what Detectron2's `default_setup` does, but that
    the whole configuration and the environment go to log.txt alone.

    Args:
        cfg: as `setup_cfg` gives it.
        args: command line, for the log.

    Returns:
        The configuration with SEED drawn if it was negative.

    Raises:
        ConfigError: if OUTPUT_DIR cannot be made or written to.
    """
    cfg = with_seed(cfg)
    rank, folder = comm.get_rank(), Path(cfg.OUTPUT_DIR)
    whole = cfg.dump()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if comm.is_main_process():
            (folder / "config.yaml").write_text(whole, encoding="utf-8")
        set_up_logs(cfg.OUTPUT_DIR, rank)
    except OSError as error:
        raise ConfigError(
            f"OUTPUT_DIR is {cfg.OUTPUT_DIR!r}, where nothing can be written "
            f"({error.strerror}: {error.filename}); name another folder"
        ) from None
    log_to_file_only(f"Environment:\n{collect_env_info()}")
    log_to_file_only(f"Command line: {args}")
    log_to_file_only(f"Configuration:\n{whole}")
    if comm.is_main_process():
        logger.info(f"The whole configuration is in {folder / 'config.yaml'}")
    reason = "" if torch.cuda.is_available() else " (PyTorch finds no GPU)"
    logger.info(
        f"Running on {cfg.MODEL.DEVICE}{reason}, process {rank + 1} of {comm.get_world_size()}, "
        f"seed {cfg.SEED}"
    )
    seed_all_rng(cfg.SEED + rank)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not getattr(args, "eval_only", False)
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


def _add_foreign_terms(cfg: CfgNode, settings: Sequence[Setting]) -> None:
    """Sections of the terms that lie outside of this package, before their keys are set."""
    for setting in settings:
        if setting.key != "MODEL.DISTILL.TERMS":
            continue
        words = CfgNode._decode_cfg_value(setting.value)
        for word in words if isinstance(words, list | tuple) else ():
            try:
                add_term_config(cfg, find_term(str(word)))
            except ValueError as error:
                raise ConfigError(f"{setting.source}: {error}") from None


def set_key(cfg: CfgNode, key: str, value: Any, source: str) -> None:
    """Set a key, in place.

    Raises:
        ConfigError: naming the source and the key, if there is no such key, or the value is of
            another type than its default.
    """
    defaults = dict(leaves(cfg))
    if key == _SHORT_SIDES or key.startswith(f"{_SHORT_SIDES}."):
        _set_short_side(cfg, key, value, source)
        return
    if key not in defaults:
        if key in RENAMED:
            raise ConfigError(f"{source}: {key} is called {RENAMED[key]} now")
        if key in GONE:
            raise ConfigError(f"{source}: there is no {key} any more; {GONE[key]}")
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
            f"{source}: {key} is {reprlib.repr(decoded)}, which is {_kind_of(decoded)}; expected "
            f"{_kind_of(defaults[key])} such as {defaults[key]!r}"
        ) from None


def _set_short_side(cfg: CfgNode, key: str, value: Any, source: str) -> None:
    """Set a key whose last part is the name of a data set."""
    name = key[len(_SHORT_SIDES) + 1 :]
    side = CfgNode._decode_cfg_value(value)
    if not name or type(side) is not int or side < 1:
        raise ConfigError(
            f"{source}: {key} is {value!r}; expected pixels by the name of a data set, such as "
            f"{_SHORT_SIDES}.my_test 896"
        )
    cfg.DATASETS.SHORT_SIDES[name] = side


def _kind_of(value: Any) -> str:
    """A value's kind, as one speaks of it."""
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    names |= {list: "a list", tuple: "a list", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")
