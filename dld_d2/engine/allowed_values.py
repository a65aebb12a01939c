"""Values that cannot be meant are refused at the start, with what is allowed.

The rules stand beside the keys: those of a model, of a spotter and of distillation in the module
that adds them, as `ALLOWED`, those of data, training and testing in
`dld_d2.engine.allowed_training`. What two keys say together is looked at by the function
`conflicts` of the same modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.config import CfgNode

from dld_d2.config import config_modules
from dld_d2.engine import allowed_training
from dld_d2.engine.config_sources import ConfigError, Setting, leaves
from dld_d2.structures.allowed import Rule

__all__ = ["refuse_impossible", "rules"]

_LONGEST = 100  # characters of a value that a message shows

# The order of a norm may be infinite.
_ALSO_INFINITE = {"SOLVER.CLIP_GRADIENTS.NORM_TYPE"}


def rules() -> dict[str, Rule]:
    """Full name of a key -> what it may be."""
    found: dict[str, Rule] = {}
    for module in (allowed_training, *config_modules()):
        found |= getattr(module, "ALLOWED", {})
    return found


def refuse_impossible(settings: Sequence[Setting], cfg: CfgNode) -> None:
    """Refuse values with which nothing can be built, trained or tested.

    Args:
        settings: as `read_settings` gives them, for where a value comes from.
        cfg: what has come of them.

    Raises:
        ConfigError: naming source, key and value, and what is allowed.
    """
    sources = {setting.key: setting.source for setting in settings}
    for key, expected in _complaints(cfg):
        value = dict(leaves(cfg))[key]
        shown = repr(value)
        if len(shown) > _LONGEST:
            shown = f"{shown[: _LONGEST - 3]}..."
        if key in sources:
            raise ConfigError(f"{sources[key]}: {key} is {shown}; expected {expected}")
        raise ConfigError(f"{key} is {shown}, by default; expected {expected}")


def _complaints(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Keys whose value is not allowed, and what is."""
    values = dict(leaves(cfg))
    known = rules()
    for key, value in values.items():
        rule = known.get(key)
        expected = rule(value) if rule is not None else _anything(value)
        if expected is None and key not in _ALSO_INFINITE and not _finite(value):
            expected = "finite numbers"
        if expected is not None:
            yield key, expected
    for module in (allowed_training, *config_modules()):
        yield from getattr(module, "conflicts", _none)(cfg)


def _none(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    return iter(())


def _anything(value: Any) -> str | None:
    return "a value; to have the default, take the line out" if value is None else None


def _finite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
