"""Models that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dld_d2.commands.errors import UsageError
from dld_d2.commands.extras import package_of, remedy
from dld_d2.deployment.image_reader import ImageReader

if TYPE_CHECKING:
    from detectron2.config import CfgNode

    from dld_d2.deployment.predictor import TextSpotter
    from dld_d2.deployment.runtime import Focus

__all__ = ["open_reader", "open_spotter"]


def open_reader(
    model: str | None,
    config_file: str | None,
    opts: Sequence[str],
    *,
    cost_bias: float | None = None,
    tiles: int | str | None = None,
    focus: str | None = None,
    threads: int | None = None,
    log: bool = False,
) -> ImageReader:
    """As `open_spotter`, and by ONNX Runtime if `model` is a folder of networks.

    Args:
        focus: file of a network that looks first, "off" for none, None for that of the model, where
            it has one and `tiles` is None.
        threads: on the CPU; None for as many as it has cores.
        log: show what is logged, which goes to standard output.

    Raises:
        UsageError: for overrides of networks, and where the model needs PyTorch and there is none.
        ValueError, OSError: as `open_spotter` and `OnnxSpotter` do.
    """
    if model and Path(model).is_dir():
        if opts:
            raise UsageError(
                f"--opts: {model} holds networks, whose configuration is fixed; export them again "
                "with the overrides"
            )
        from dld_d2.deployment.runtime import OnnxSpotter

        reader = OnnxSpotter(model, threads=threads or 0, cost_bias=cost_bias, tiles=tiles)
        if focus is not None:
            reader.focus = _focus(model, focus, tiles, threads)
        return reader
    try:
        import torch
        from detectron2.utils.logger import setup_logger

        if log:
            setup_logger(name="fvcore")
            setup_logger(name="dld_d2", abbrev_name="dld_d2")
        _, spotter = open_spotter(model, config_file, opts, cost_bias=cost_bias, tiles=tiles)
        spotter.focus = _focus(model, focus, tiles, threads)
    except ModuleNotFoundError as error:
        if remedy(error) is None:
            raise
        raise UsageError(
            f"{model or config_file}: reading by this model needs {package_of(error)}, which is "
            f"not installed: {remedy(error)}; without it, name the folder that "
            "`dld-d2 export --format onnx` made of the model"
        ) from None
    if threads is not None:
        torch.set_num_threads(threads)
    return spotter


def _focus(
    model: str | None, focus: str | None, tiles: int | str | None, threads: int | None
) -> Focus | None:
    from dld_d2.deployment.pretrained import focus_file
    from dld_d2.deployment.runtime import Focus

    if focus == "off":
        return None
    file = focus
    if focus is None and model is not None and tiles is None:
        file = focus_file(model)
    return None if file is None else Focus(file, threads=threads or 0)


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
    # PyTorch takes seconds to load, and reading by networks does without.
    from dld_d2.deployment.model_file import load_spotter
    from dld_d2.deployment.predictor import TextSpotter
    from dld_d2.deployment.pretrained import find_model
    from dld_d2.engine.setup import setup_cfg

    if model:
        cfg, loaded = load_spotter(find_model(model), opts)
        return cfg, TextSpotter(cfg, cost_bias=cost_bias, tiles=tiles, model=loaded)
    cfg = setup_cfg(config_file, opts)
    return cfg, TextSpotter(cfg, cost_bias=cost_bias, tiles=tiles)
