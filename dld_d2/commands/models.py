"""Models that a command line names."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode

from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.deployment.pretrained import find_model
from dld_d2.engine.setup import setup_cfg

__all__ = ["open_spotter"]


def open_spotter(
    model: str | None,
    config_file: str | None,
    opts: Sequence[str],
    *,
    cost_bias: float | None = None,
    tiles: int | str | None = None,
) -> tuple[CfgNode, TextSpotter]:
    """The model of --model, or else of --config-file, and its configuration.

    Args:
        model: what `dld-d2 export` made, or the name of a model that comes with this package.
        config_file: of a training; its MODEL.WEIGHTS names the weights.
        opts: overrides of the configuration.
        cost_bias: see `TextSpotter.cost_bias`; None leaves it as configured.
        tiles: see `TextSpotter.tiles`.

    Raises:
        ValueError, OSError: as `find_model`, `load_spotter`, `setup_cfg` and `TextSpotter` do.
    """
    if model:
        cfg, loaded = load_spotter(find_model(model), opts)
        return cfg, TextSpotter(cfg, cost_bias=cost_bias, tiles=tiles, model=loaded)
    cfg = setup_cfg(config_file, opts)
    return cfg, TextSpotter(cfg, cost_bias=cost_bias, tiles=tiles)
