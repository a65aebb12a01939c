"""What the configuration in a model file may say.

Such a file may come from anywhere. Its configuration decides how much memory and time building and
using its model take, so it is looked at before, and no layer is built that the file's weights
cannot fill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from dld_d2.engine.config_sources import ConfigError

__all__ = ["check_limits", "no_larger_than"]

_MAX_LENGTH = 1000  # of a text in characters, and of a list in values
_MAX_KEYS = 1000

# By patterns of their names, the first that fits: the least and the greatest number allowed.
_LIMITS: tuple[tuple[str, float, float], ...] = (
    ("MODEL.PIXEL_MEAN", -1_000_000, 1_000_000),
    ("MODEL.PIXEL_STD", 1e-6, 1_000_000),
    ("MODEL.RECOGNITION.MAX_LENGTH", 1, 1000),
    ("INPUT.MIN_SIZE_TEST", 0, 4096),  # 0 leaves images as they are
    ("INPUT.MAX_SIZE_TEST", 1, 8192),
    ("*.NUM_*", 0, 10000),
    ("*.CONV_DIMS", -1, 100_000),  # -1: as many as come in
    ("*_CHANNELS", 1, 100_000),
    ("*_DIM", 1, 100_000),
    ("*POOLER_RESOLUTION*", 1, 512),
    ("*SAMPLING_RATIO*", 0, 64),
    ("*TOPK_TEST", 1, 1_000_000),
    ("TEST.DETECTIONS_PER_IMAGE", 1, 10_000),
    ("MODEL.ANCHOR_GENERATOR.SIZES", 1e-3, 1_000_000),
    ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", 1e-6, 1_000_000),
    ("MODEL.DYNAMIC.SCALES", 0.01, 1),
    ("*", -1_000_000, 1_000_000),
)


def check_limits(source: str, config: Mapping[str, Any]) -> None:
    """
    Args:
        source: file, for messages.
        config: values by the full names of their keys.

    Raises:
        ConfigError: naming file, key, value and what is allowed, for a number that no model has.
    """
    if len(config) > _MAX_KEYS:
        raise ConfigError(f"{source}: its configuration has {len(config)} keys, too many")
    for key, value in config.items():
        if not isinstance(key, str) or len(key) > _MAX_LENGTH:
            raise ConfigError(f"{source}: its configuration has a key that is no name of one")
        try:
            _check_value(key, value)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{source}: its configuration: {key} {error}") from None


@contextmanager
def no_larger_than(state: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Within the context no module gets far more weights than there are in `state`, in number and
    in all; none are limited if it is None.

    Memory that PyTorch sets aside for a layer is taken only when the layer is filled, which comes
    after it has been registered.

    Raises:
        ValueError: where a module would.
    """
    if state is None:
        yield
        return
    # Some of what is built may be replaced at once by something else.
    most = 4 * len(state) + 1000
    most_values = 4 * sum(value.numel() for value in state.values()) + 1_000_000
    tensors = values = 0

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal tensors, values
        tensors += 1
        values += 0 if value is None else value.numel()
        if tensors > most or values > most_values:
            raise ValueError(
                "it is of a far larger model than its weights: "
                f"{type(module).__name__} would get a {name} of shape "
                f"{() if value is None else tuple(value.shape)}"
            )

    handles = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _check_value(key: str, value: Any) -> None:
    least, most = next((low, high) for pattern, low, high in _LIMITS if fnmatchcase(key, pattern))
    if key == "INPUT.FORMAT" and value not in ("BGR", "RGB"):
        raise ValueError(f"is {str(value)[:20]!r}; allowed: BGR and RGB")
    for number, item in enumerate(_flat(value)):
        if number == _MAX_LENGTH:
            raise ValueError(f"has more than {_MAX_LENGTH} values")
        if isinstance(item, str):
            if len(item) > _MAX_LENGTH:
                raise ValueError(f"is a text of {len(item)} characters")
        elif isinstance(item, int | float):
            # What is compared with NaN is false.
            if not (least <= item <= most or isinstance(item, bool)):
                raise ValueError(f"is {_shown(item)}; allowed: {_shown(least)} to {_shown(most)}")
        elif item is not None:
            raise ValueError(f"is a {type(item).__name__}, which no key is")


def _shown(number: float) -> str:
    if abs(number) > 1e15:
        return "huge"
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _flat(value: Any, depth: int = 0) -> Iterator[Any]:
    if not isinstance(value, list | tuple):
        yield value
        return
    if depth > 5:
        raise ValueError("is nested too deep")
    for item in value:
        yield from _flat(item, depth + 1)
