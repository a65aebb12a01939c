"""A trained model as one file, with all that using it needs and no more.

The file holds the weights that inference uses (of a `DynamicSpotter` with the relative costs of its
scales; neither a teacher nor what only training needs), the characters of the vocabulary, and the
configuration keys of which the model is built and by which images are resized, `inference_keys` of
its spotter. It is made of tensors and plain values, and is read without running code from it; what
it can cost to read and use is limited by its size (`dld_d2.engine.weights_file`, `config_limits`).

Format version 1, of dld_d2 0.1, held a whole configuration as YAML text, and costs beside the
weights. It is read as well.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn

import dld_d2
from dld_d2.deployment.config_limits import check_limits, no_larger_than
from dld_d2.deployment.inference_keys import inference_config, keys_of
from dld_d2.deployment.model_file_v1 import REMEDY, from_version_1
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.config_sources import ConfigError, leaves, read_settings
from dld_d2.engine.setup import default_cfg, on_possible_device, set_key
from dld_d2.engine.weights_file import (
    DamagedFileError,
    WeightsError,
    check_finite,
    kind_and_message,
    read_pth,
    read_safetensors,
    safetensors_bytes,
)
from dld_d2.engine.whole_files import write_whole
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.vocabulary import PRINTABLE_ASCII, Vocabulary

__all__ = ["SUFFIXES", "configured_spotter", "export_spotter", "load_spotter", "save_spotter"]

SUFFIXES = (".pth", ".safetensors")
_FORMAT = "dld_d2 spotter"
_VERSION = 2


@dataclass(frozen=True)
class _Header:
    """What is in the file beside the weights.

    Attributes:
        config: configuration keys by their full names.
        vocabulary: the characters in order.
        made_with: version of this package.
    """

    config: dict[str, Any]
    vocabulary: str
    made_with: str
    format: str = _FORMAT
    version: int = _VERSION


def export_spotter(
    cfg: CfgNode, output: str | os.PathLike[str], *, half: bool = False
) -> Spotter | DynamicSpotter:
    """Write the model of a configuration with its weights, MODEL.WEIGHTS.

    Args:
        cfg: of a spotter or a DynamicSpotter.
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
    if output.exists() and os.path.exists(weights) and output.samefile(weights):
        raise ConfigError(f"{output}: the result would overwrite the weights it is made of")
    _check_suffix(output)
    model = configured_spotter(cfg)
    save_spotter(cfg, model, output, half=half)
    return model


def configured_spotter(cfg: CfgNode) -> Spotter | DynamicSpotter:
    """The model of a configuration with its weights, MODEL.WEIGHTS, in evaluation mode.

    Raises:
        ConfigError: without weights.
        FileNotFoundError: if there is no such file of weights.
        ValueError: if the weights are of another model than the configured one.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("there are no weights to export: name their file")
    model = build_model(cfg).eval()
    SpotterCheckpointer(model).load_exactly(cfg.MODEL.WEIGHTS, checkpointables=[])
    return model


def save_spotter(
    cfg: CfgNode,
    model: Spotter | DynamicSpotter,
    output: str | os.PathLike[str],
    *,
    half: bool = False,
) -> None:
    """Write a model as it is.

    Args:
        cfg: that the model was built of. The files it names must still be there.
        model: what is written.
        output: `.pth` or `.safetensors` file; it appears when it is whole.
        half: store matrices and kernels in float16, so that the file is half as large. What loads
            it computes in float32 as ever. Biases, norms' statistics and costs stay as they are.

    Raises:
        ConfigError: if `output` has another ending, or if the model is neither a `Spotter` nor a
            `DynamicSpotter`.
        ValueError: naming a weight that is infinite or NaN, or too large for `half`.
    """
    output = Path(output)
    _check_suffix(output)
    header = _Header(
        config=inference_config(dict(leaves(cfg)), keys_of(cfg)),
        vocabulary=Vocabulary.from_config(cfg.MODEL.RECOGNITION.VOCABULARY).characters,
        made_with=dld_d2.__version__,
    )
    needed = _build(str(output), header, (), None)[1].state_dict()
    state = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
        if name in needed
    }
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name} holds infinite or NaN values; such a model is not exported")
    if half:
        state = {name: _halved(name, value) for name, value in state.items()}
    content = asdict(header)
    if output.suffix == ".safetensors":
        write_whole(output, safetensors_bytes(state, {_FORMAT: json.dumps(content)}))
    else:
        write_whole(output, lambda stream: torch.save(content | {"model": state}, stream))


def load_spotter(
    path: str | os.PathLike[str], opts: Sequence[str] = ()
) -> tuple[CfgNode, Spotter | DynamicSpotter]:
    """Read what `save_spotter` wrote. Nothing else is needed.

    Args:
        path: the file.
        opts: overrides of its configuration as alternating keys and values.

    Returns:
        A configuration: the file's keys, and the defaults of this version for all that only
        training needs; its MODEL.RECOGNITION.VOCABULARY is empty, since the model holds the
        characters. And the model in evaluation mode on MODEL.DEVICE, which is "cpu" on a machine
        without CUDA.

    Raises:
        FileNotFoundError: if there is no such file.
        ConfigError: for overrides that cannot be used, and for a configuration that this version
            of the package does not understand or that no model has.
        WeightsError: naming the file, if it is damaged, no such file, of a later version, or if its
            weights are not finite or do not fit the configuration.
    """
    path = Path(path)
    header, state = _read(path)
    cfg, model = _build(str(path), header, opts, state)
    if isinstance(model, DynamicSpotter) and "relative_cost" not in state:
        raise WeightsError(f"{path}: the costs of its scales are missing; {REMEDY}")
    recounted = {"MODEL.DYNAMIC.SCALES", "MODEL.DYNAMIC.COST", "MODEL.DYNAMIC.COST_EXPONENT"}
    if isinstance(model, DynamicSpotter) and recounted & set(opts[::2]):
        # Those of other scales, or counted otherwise, are not the file's.
        state["relative_cost"] = model.relative_cost
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{path}: its weights do not fit its configuration"
            + (f" with the overrides {' '.join(opts)}" if opts else "")
            + f": {kind_and_message(error, 600)}"
        ) from None
    return cfg, model.eval()


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: a spotter's file ends in {' or '.join(SUFFIXES)}")


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or value.ndim < 2:
        return value
    halved = value.half()
    if not torch.isfinite(halved).all():
        raise ValueError(f"{name} holds values beyond the range of float16; export in full")
    return halved


def _build(
    source: str, header: _Header, opts: Sequence[str], state: dict[str, Tensor] | None
) -> tuple[CfgNode, nn.Module]:
    """The configuration and the model, with random weights; a model that is far larger than `state`
    is not built."""
    check_limits(source, header.config)
    cfg = default_cfg()
    try:
        for key, value in header.config.items():
            set_key(cfg, key, value, "its configuration")
    except ConfigError as error:
        message = f"{source}: {error}"
        if header.made_with != dld_d2.__version__:
            message += (
                f" (made with dld_d2 {header.made_with[:20]}, this is {dld_d2.__version__}: use "
                "that version, or a later one)"
            )
        raise ConfigError(message) from None
    if not {"MODEL.DYNAMIC.SCALES", "MODEL.DYNAMIC.COST"} & set(opts[::2]):
        # Building must not measure what the file tells.
        cfg.MODEL.DYNAMIC.COST = "power"
    with tempfile.TemporaryDirectory(prefix="dld_d2_") as folder:
        if header.vocabulary != PRINTABLE_ASCII:
            _check_vocabulary(source, header.vocabulary)
            vocabulary = Path(folder) / "vocabulary.txt"
            vocabulary.write_text(header.vocabulary, encoding="utf-8")
            cfg.MODEL.RECOGNITION.VOCABULARY = str(vocabulary)
        for setting in read_settings("", opts):
            set_key(cfg, setting.key, setting.value, setting.source)
        _check_device(source, cfg.MODEL.DEVICE)
        on_possible_device(cfg)
        try:
            keys_of(cfg)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
        cfg.freeze()
        try:
            with no_larger_than(state):
                model = build_model(cfg)
        except Exception as error:  # what builds the parts of a model raises anything
            text = str(error) if isinstance(error, ValueError) else kind_and_message(error)
            raise ConfigError(
                f"{source}: no model can be built of its configuration"
                + (f" with the overrides {' '.join(opts)}" if opts else "")
                + f": {text}"
            ) from error
    cfg.defrost()
    cfg.MODEL.RECOGNITION.VOCABULARY = ""
    cfg.freeze()
    return cfg, model


def _read(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no spotter at {str(path)!r}")
    _check_suffix(path)
    try:
        content, state = (_read_safetensors if path.suffix == ".safetensors" else _read_pth)(path)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error}; {REMEDY}") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise WeightsError(
            f"{path}: not an exported spotter; to make one of a training's weights, run "
            f"tools/export_student.py --config-file CONFIG --weights {path} --output FILE"
        )
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"{path}: its weights are missing; {REMEDY}")
    version = content.get("version")
    if type(version) is not int or version < 1:
        raise WeightsError(
            f"{path}: its format version is missing or no whole number from 1; {REMEDY}"
        )
    if version > _VERSION:
        raise WeightsError(
            f"{path}: is of format version {version}, and this dld_d2 {dld_d2.__version__} reads "
            f"versions up to {_VERSION}; update dld_d2"
        )
    if version == 1:
        content, state = from_version_1(path, content, state)
    check_finite(path, state)
    return _header(path, content), state


def _read_pth(path: Path) -> tuple[Any, Any]:
    content = read_pth(path)
    return content, content.get("model") if isinstance(content, dict) else None


def _read_safetensors(path: Path) -> tuple[Any, dict[str, Tensor]]:
    state, texts = read_safetensors(path)
    try:
        return json.loads(texts.get(_FORMAT, "null")), state
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(
            f"{path}: its configuration is no JSON ({kind_and_message(error)})"
        ) from None


def _check_device(source: str, device: str) -> None:
    try:
        known = torch.device(device).type != "meta"
    except RuntimeError:
        known = False
    if not known:
        raise ConfigError(
            f"{source}: MODEL.DEVICE is {device[:100]!r}, which is no device to run on, such as "
            'cpu or cuda; override it (device="cpu", --opts MODEL.DEVICE cpu)'
        )


def _check_vocabulary(source: str, characters: str) -> None:
    try:
        if characters.splitlines() != [characters]:
            raise ValueError("a vocabulary is one line of characters")
        characters.encode("utf-8")
        Vocabulary(characters)
    except ValueError as error:
        raise WeightsError(f"{source}: its vocabulary: {str(error)[:200]}; {REMEDY}") from None


def _header(path: Path, content: dict[str, Any]) -> _Header:
    for name, kind in (("config", dict), ("vocabulary", str), ("made_with", str)):
        if not isinstance(content.get(name), kind):
            raise WeightsError(f"{path}: its {name} is missing or no {kind.__name__}; {REMEDY}")
    return _Header(**{name: content[name] for name in ("config", "vocabulary", "made_with")})
