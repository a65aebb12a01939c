"""Model files of format version 1, of dld_d2 0.1: a whole configuration as YAML text, and costs of
the scales beside the weights."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from dld_d2.deployment.inference_keys import inference_config, keys_of
from dld_d2.engine.config_sources import ConfigError, leaves
from dld_d2.engine.renamed_keys import current_leaves
from dld_d2.engine.setup import default_cfg, set_key
from dld_d2.engine.weights_file import WeightsError
from dld_d2.modeling.old_names import current_names

__all__ = ["REMEDY", "from_version_1"]

REMEDY = "make it again with tools/export_student.py"

_MAX_TEXT = 200_000  # characters; Detectron2's keys and this project's take some 20,000
_MAX_KEYS = 5000


def from_version_1(
    path: Path, content: dict[str, Any], state: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file of version 1 as one of this version."""
    cost = content.get("relative_cost")
    if not isinstance(cost, list) or not all(type(c) is float for c in cost):
        raise WeightsError(f"{path}: its relative_cost is missing or no list of numbers; {REMEDY}")
    if not isinstance(content.get("config"), str):
        raise WeightsError(f"{path}: its config is missing or no text; {REMEDY}")
    if len(content["config"]) > _MAX_TEXT:
        raise ConfigError(f"{path}: its configuration is longer than {_MAX_TEXT} characters")
    try:
        config = yaml.safe_load(content["config"])
        if not isinstance(config, dict):
            raise ConfigError(f"{path}: its configuration holds no keys")
        # Of a few lines YAML can make more keys than there is time to count.
        found = dict(islice(leaves(config), _MAX_KEYS + 1))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: its configuration is not plain YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: its configuration is nested too deep") from None
    if len(found) > _MAX_KEYS:
        raise ConfigError(f"{path}: its configuration has more than {_MAX_KEYS} keys")
    keys = current_leaves(found)
    cfg = default_cfg()
    for key in ("MODEL.META_ARCHITECTURE", "MODEL.DYNAMIC.SPOTTER"):
        if key in keys:
            set_key(cfg, key, keys[key], f"{path}: its configuration")
    try:
        patterns = keys_of(cfg)
    except ConfigError as error:
        raise WeightsError(f"{path}: {error}") from None
    state = dict(current_names(state))
    if cost:
        state["relative_cost"] = torch.tensor(cost)
    return content | {"config": inference_config(keys, patterns)}, state
