"""Where a setting's model, its configuration and its finished evaluations come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from dld_d2.commands.errors import UsageError
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.deployment.pretrained import find_model, focus_file
from dld_d2.deployment.runtime import Focus
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.selection.policies import DynamicScale, FixedScale
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["Source", "open_source"]


@dataclass(frozen=True, eq=False)
class Source:
    """What there is of a model.

    Attributes:
        label: what the page calls it.
        weights: the file with its weights, as named by the user or found.
        cfg: configuration; None without a model.
        model: in evaluation mode; None if there are evaluations alone.
        folder: with finished evaluations; None if it was given as a file.
        reader: a model that looks first, and reads what it marks: it has no scale of the whole
            image, and so there is no `model`.
        look: the file of the network that looks.
    """

    label: str
    weights: str
    cfg: CfgNode | None
    model: Spotter | DynamicSpotter | None
    folder: Path | None
    reader: TextSpotter | None = None
    look: Path | None = None

    @property
    def spotter(self) -> Spotter | None:
        """Without what chooses its scale."""
        return self.model.spotter if isinstance(self.model, DynamicSpotter) else self.model

    @property
    def keeps_scale(self) -> bool:
        """Whether the model, as it is, reads all images at a scale below full resolution."""
        return (
            isinstance(self.model, DynamicSpotter)
            and isinstance(self.model.policy, FixedScale)
            and self.model.scales[self.model.policy.index] < 1
        )

    @property
    def chooses(self) -> bool:
        """Whether the model has a selector."""
        return isinstance(self.model, DynamicSpotter) and isinstance(
            self.model.policy, DynamicScale
        )


def open_source(text: str, opts: Sequence[str]) -> Source:
    """Find out what a user means.

    Args:
        text: the name of a shipped model; a file that `dld-d2 export` made; `CONFIG.yaml:WEIGHTS`;
            the OUTPUT_DIR of a training or an evaluation; or a folder that holds a `matches.jsonl`.
            With `+FILE` behind a model's name or file, it looks first by that network.
        opts: overrides of the configuration.

    Raises:
        UsageError: if it is none of these, or a folder without anything of use.
        ValueError, OSError: as `load_spotter` and `setup_cfg` do.
    """
    if ".yaml:" in text:
        config, _, weights = text.partition(".yaml:")
        return _of_config(f"{config}.yaml", weights, opts, label=Path(config).stem, folder=None)
    path = Path(text)
    if not path.is_dir():
        look, label = focus_file(text), text
        if look is None and text.endswith(".onnx") and "+" in text:
            text, _, other = text.rpartition("+")
            look, label = Path(other), f"{Path(text).stem}+{Path(other).stem}"
        file = find_model(text)
        if look is not None:
            return _that_looks(file, look, label, opts)
        cfg, model = load_spotter(file, opts)
        return Source(file.stem, str(file), cfg, model, None)
    config, final = path / "config.yaml", path / "model_final.pth"
    if config.is_file() and final.is_file():
        return _of_config(str(config), str(final), opts, label=path.name, folder=path)
    if config.is_file() and not (path / "last_checkpoint").is_file():
        weights = setup_cfg(str(config), opts).MODEL.WEIGHTS  # of `--eval-only`
        if weights and Path(weights).is_file():
            return _of_config(str(config), weights, opts, label=path.name, folder=path)
    if (path / "matches.jsonl").is_file() or (path / "inference").is_dir():
        return Source(path.name, "", None, None, path)
    raise UsageError(
        f"{path} holds neither a model (config.yaml and model_final.pth) nor an evaluation "
        "(inference/, or matches.jsonl); name the OUTPUT_DIR of a training or of an evaluation"
    )


def _that_looks(file: Path, look: Path, label: str, opts: Sequence[str]) -> Source:
    cfg, model = load_spotter(file, opts)
    reader = TextSpotter(cfg, model=model, focus=Focus(look))
    return Source(label, str(file), cfg, None, None, reader, look)


def _of_config(
    config: str, weights: str, opts: Sequence[str], *, label: str, folder: Path | None
) -> Source:
    changes = ("MODEL.WEIGHTS", weights, "MODEL.DISTILL.TEACHER_WEIGHTS", "")
    cfg = setup_cfg(config, [*opts, *changes])
    return Source(label, weights, cfg, TextSpotter(cfg).model, folder)
