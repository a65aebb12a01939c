"""A trained spotter as one file, with all that using it needs.

The file holds the weights (of a distiller: student and scale policy, neither teacher nor what only
training needs), the whole configuration as YAML, the characters of the vocabulary and the relative
costs of the scales. It is made of tensors and plain values, and is read without running code from
it.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import Tensor, nn

import dld_d2
from dld_d2.modeling.distillation import DynamicResolutionDistiller, DynamicScale
from dld_d2.modeling.recognition import Vocabulary

from .checkpoint import SpotterCheckpointer, write_whole
from .setup import ConfigError, setup_cfg

__all__ = ["SUFFIXES", "export_spotter", "load_spotter", "save_spotter"]

SUFFIXES = (".pth", ".safetensors")
_FORMAT = "dld_d2 spotter"
_VERSION = 1
_REMEDY = "make it again with tools/export_student.py"
# What was of one training or of its machine, and what it is replaced by.
_LEFT_BEHIND = {
    "MODEL.WEIGHTS": "",
    "MODEL.DISTILL.TEACHER_WEIGHTS": "",
    "MODEL.DISTILL.TEACHER_OPTS": (),
    "MODEL.DISTILL.SELECTOR.WEIGHTS": "",
    "MODEL.DISTILL.FREEZE_STUDENT": False,
    "MODEL.RECOGNITION.VOCABULARY": "",
    "DATASETS.REGISTER": "",
    "OUTPUT_DIR": "./output",
}


@dataclass(frozen=True)
class _Header:
    """What is in the file beside the weights.

    Attributes:
        config: YAML text of the whole configuration.
        vocabulary: the characters in order.
        relative_cost: of the candidate scales, in their order; empty for a spotter that always
            looks at the full resolution.
        made_with: version of this package.
    """

    config: str
    vocabulary: str
    relative_cost: list[float]
    made_with: str
    format: str = _FORMAT
    version: int = _VERSION


def export_spotter(
    cfg: CfgNode, output: str | os.PathLike[str], *, half: bool = False
) -> nn.Module:
    """Write the model of a configuration with its weights, MODEL.WEIGHTS.

    Args:
        cfg: of a spotter or a distiller; a distiller's teacher is not needed.
        output: `.pth` or `.safetensors` file.
        half: see `save_spotter`.

    Returns:
        The model.

    Raises:
        ConfigError: without weights, or if `output` has another ending or is the weights' file.
        FileNotFoundError: if there is no such file of weights.
        ValueError: if the weights are of another model than the configured one, or not finite.
    """
    weights, output = cfg.MODEL.WEIGHTS, Path(output)
    if not weights:
        raise ConfigError("there are no weights to export: name their file")
    if output.exists() and os.path.exists(weights) and output.samefile(weights):
        raise ConfigError(f"{output}: the result would overwrite the weights it is made of")
    _check_suffix(output)
    model = build_model(cfg).eval()
    SpotterCheckpointer(model).load_exactly(weights, checkpointables=[])
    save_spotter(cfg, model, output, half=half)
    return model


def save_spotter(
    cfg: CfgNode, model: nn.Module, output: str | os.PathLike[str], *, half: bool = False
) -> None:
    """Write a model as it is.

    Args:
        cfg: that the model was built of. The files it names must still be there.
        model: a spotter or a distiller.
        output: `.pth` or `.safetensors` file; it appears when it is whole.
        half: store matrices and kernels in float16, so that the file is half as large. What loads
            it computes in float32 as ever. Biases and norms' statistics stay as they are.

    Raises:
        ConfigError: if `output` has another ending.
        ValueError: naming a weight that is infinite or NaN, or too large for `half`.
    """
    output = Path(output)
    _check_suffix(output)
    state = {name: value.detach().cpu().contiguous() for name, value in _weights(model).items()}
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name} holds infinite or NaN values; such a model is not exported")
    if half:
        state = {name: _halved(name, value) for name, value in state.items()}
    cost = getattr(model, "relative_cost", None)
    header = asdict(
        _Header(
            config=_portable(cfg).dump(),
            vocabulary=Vocabulary.from_config(cfg.MODEL.RECOGNITION.VOCABULARY).characters,
            relative_cost=[] if cost is None else cost.tolist(),
            made_with=dld_d2.__version__,
        )
    )
    if output.suffix == ".safetensors":
        write_whole(output, safetensors.torch.save(state, {_FORMAT: json.dumps(header)}))
    else:
        write_whole(output, lambda stream: torch.save(header | {"model": state}, stream))


def load_spotter(
    path: str | os.PathLike[str], opts: Sequence[str] = ()
) -> tuple[CfgNode, nn.Module]:
    """Read what `save_spotter` wrote. Nothing else is needed.

    Args:
        path: the file.
        opts: overrides of its configuration as alternating keys and values.

    Returns:
        The configuration, with an empty MODEL.RECOGNITION.VOCABULARY since the model holds the
        characters, and the model in evaluation mode on MODEL.DEVICE, which is "cpu" on a machine
        without CUDA.

    Raises:
        FileNotFoundError: if there is no such file.
        ConfigError: for overrides that cannot be used, and for a configuration that this version
            of the package does not understand.
        ValueError: naming the file, if it is damaged, no such file, of a later version, or if its
            weights do not fit the configuration.
    """
    path = Path(path)
    header, state = _read(path)
    with tempfile.TemporaryDirectory(prefix="dld_d2_") as folder:
        cfg = _configure(path, header, Path(folder), opts)
        model = _build(path, cfg)
    _set_relative_cost(path, cfg, model, header.relative_cost)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: its weights do not fit its configuration"
            + (f" with the overrides {' '.join(opts)}" if opts else "")
            + f": {error}"
        ) from None
    cfg.defrost()
    cfg.MODEL.RECOGNITION.VOCABULARY = ""
    cfg.freeze()
    return cfg, model.eval()


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: a spotter's file ends in {' or '.join(SUFFIXES)}")


def _weights(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict()
    if not isinstance(model, DynamicResolutionDistiller):
        return state
    # The aligner fits features to the teacher's, in training only.
    return {name: value for name, value in state.items() if not name.startswith("aligner.")}


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or value.ndim < 2:
        return value
    halved = value.half()
    if not torch.isfinite(halved).all():
        raise ValueError(f"{name} holds values beyond the range of float16; export in full")
    return halved


def _portable(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list([part for item in _LEFT_BEHIND.items() for part in item])
    if cfg.MODEL.DISTILL.SELECTOR.COST not in ("measured", "power"):
        cfg.MODEL.DISTILL.SELECTOR.COST = "measured"
    return cfg


def _read(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no spotter at {str(path)!r}")
    _check_suffix(path)
    try:
        read = _read_safetensors if path.suffix == ".safetensors" else _read_pth
        content, state = read(path)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path}: not loaded, because it holds something other than tensors and plain Python "
            "values, or is no file of PyTorch's at all"
        ) from None
    except Exception as error:  # a reader of damaged bytes may raise anything
        raise ValueError(f"{path}: not a whole file ({error!r}); {_REMEDY}") from None
    header = _header(path, content)
    if not isinstance(state, dict):
        raise ValueError(f"{path}: its weights are missing; {_REMEDY}")
    return header, state


def _read_pth(path: Path) -> tuple[Any, Any]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    return content, content.get("model") if isinstance(content, dict) else None


def _read_safetensors(path: Path) -> tuple[Any, dict[str, Tensor]]:
    with safetensors.safe_open(path, framework="pt") as file:
        content = json.loads((file.metadata() or {}).get(_FORMAT, "null"))
        return content, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _header(path: Path, content: Any) -> _Header:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(
            f"{path}: not an exported spotter; to make one of a training's weights, run "
            f"tools/export_student.py --config-file CONFIG --weights {path} --output FILE"
        )
    version = content.get("version")
    if type(version) is not int or version > _VERSION:
        raise ValueError(
            f"{path}: is of format version {version}, and this dld_d2 {dld_d2.__version__} reads "
            f"versions up to {_VERSION}; update dld_d2"
        )
    fields = {name: content.get(name) for name in _Header.__dataclass_fields__}
    for name in ("config", "vocabulary", "made_with"):
        if not isinstance(fields[name], str):
            raise ValueError(f"{path}: its {name} is missing or no text; {_REMEDY}")
    cost = fields["relative_cost"]
    if not isinstance(cost, list) or not all(type(c) is float for c in cost):
        raise ValueError(f"{path}: its relative_cost is missing or no list of numbers; {_REMEDY}")
    return _Header(**fields)


def _configure(path: Path, header: _Header, folder: Path, opts: Sequence[str]) -> CfgNode:
    """The configuration as models take it: the vocabulary in a file of its own."""
    config_file, vocabulary = folder / "config.yaml", folder / "vocabulary.txt"
    config_file.write_text(header.config, encoding="utf-8")
    vocabulary.write_text(header.vocabulary, encoding="utf-8")
    opts = [
        *("MODEL.RECOGNITION.VOCABULARY", str(vocabulary)),
        # Building must not measure what the file tells.
        *("MODEL.DISTILL.SELECTOR.COST", "power"),
        *opts,
    ]
    try:
        if "_BASE_" in (yaml.safe_load(header.config) or ()):
            raise ConfigError(f"{config_file}: it refers to another file by _BASE_")
        return setup_cfg(str(config_file), opts)
    except (ConfigError, yaml.YAMLError) as error:
        message = str(error)
        if isinstance(error, ConfigError) and str(config_file) not in message:
            raise
        message = message.replace(str(config_file), "its configuration")
        if header.made_with != dld_d2.__version__:
            message += (
                f" (made with dld_d2 {header.made_with}, this is {dld_d2.__version__}: use that "
                "version, or a later one)"
            )
        raise ConfigError(f"{path}: {message}") from None


def _build(path: Path, cfg: CfgNode) -> nn.Module:
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY:
        raise ValueError(
            f"{path}: its meta-architecture {name!r} is not registered; import the module that "
            "registers it first"
        )
    return build_model(cfg)


def _set_relative_cost(path: Path, cfg: CfgNode, model: nn.Module, cost: list[float]) -> None:
    if not isinstance(model, DynamicResolutionDistiller):
        return
    if len(cost) != len(model.scales):
        raise ValueError(
            f"{path}: it has costs of {len(cost)} scales, but the configuration has "
            f"{len(model.scales)}, MODEL.DISTILL.SCALES; {_REMEDY}"
        )
    if cfg.MODEL.DISTILL.SELECTOR.COST == "power":  # unless overridden
        model.relative_cost.copy_(torch.tensor(cost))
        if isinstance(model.policy, DynamicScale):
            model.policy.relative_cost.copy_(torch.tensor(cost))
