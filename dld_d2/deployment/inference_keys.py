"""Which configuration keys a deployed model is built of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from dld_d2.engine.config_sources import ConfigError
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["inference_config", "keys_of"]


def keys_of(cfg: CfgNode) -> tuple[str, ...]:
    """Patterns of the keys of which the configured model is built.

    Raises:
        ConfigError: if it is neither a registered `Spotter` nor a `DynamicSpotter`.
    """
    model, dynamic = _registered(cfg.MODEL.META_ARCHITECTURE), ()
    if issubclass(model, DynamicSpotter):
        model, dynamic = _registered(cfg.MODEL.DYNAMIC.SPOTTER), model.inference_keys
    if not issubclass(model, Spotter):
        raise ConfigError(
            f"its meta-architecture {model.__name__!r} is not registered as a spotter, but as "
            "something else"
        )
    return (*model.inference_keys, *dynamic)


def inference_config(keys: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """Those of the keys, by their full names, that a pattern fits."""
    return {
        key: value
        for key, value in keys.items()
        if any(fnmatchcase(key, pattern) for pattern in patterns)
    }


def _registered(name: str) -> type:
    found = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    if not isinstance(found, type):
        raise ConfigError(
            f"its meta-architecture {name!r} is not registered as a spotter; import the module "
            "that registers it first"
        )
    return found
