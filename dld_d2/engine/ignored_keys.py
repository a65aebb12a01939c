"""Keys that would have no effect: a user who sets one is told so, and what has the effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from detectron2.config import CfgNode

from dld_d2.engine.config_sources import ConfigError, Setting, leaves

__all__ = ["refuse_ignored"]

# Of Detectron2: the key, or its section, and what to set instead.
_UNUSED = {
    "INPUT.CROP": "crops that cut no word are taken with the chance INPUT.AUG.CROP_PROB",
    "INPUT.MIN_SIZE_TRAIN": "images are scaled to INPUT.AUG.BASE_SHORT_SIDE times a factor drawn "
    "from INPUT.AUG.SCALE_RANGE",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "INPUT.AUG.SCALE_RANGE is an interval to draw from",
    "INPUT.RANDOM_FLIP": "text is never mirrored",
    "INPUT.MASK_FORMAT": "masks are polygons",
    "DATASETS.PROPOSAL_FILES_TRAIN": "proposals come from the model",
    "DATASETS.PROPOSAL_FILES_TEST": "proposals come from the model",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "images without words are trained on",
    "DATALOADER.REPEAT_THRESHOLD": "there is one class",
    "DATALOADER.REPEAT_SQRT": "there is one class",
    "MODEL.LOAD_PROPOSALS": "proposals come from the model",
    "TEST.AUG": "test-time augmentation is not supported",
    "VIS_PERIOD": "tools/visualize_data.py shows what a training sees",
}
# Values that say what holds anyway.
_HARMLESS = {"INPUT.RANDOM_FLIP": "none", "INPUT.MASK_FORMAT": "polygon", "VIS_PERIOD": 0}

_COUNTED_IN_EPOCHS = {
    "SOLVER.MAX_ITER": "SOLVER.EPOCHS",
    "SOLVER.STEPS": "SOLVER.STEP_EPOCHS",
    "SOLVER.CHECKPOINT_PERIOD": "SOLVER.CHECKPOINT_EPOCHS",
    "TEST.EVAL_PERIOD": "SOLVER.EVAL_EPOCHS",
}


def refuse_ignored(settings: Sequence[Setting], cfg: CfgNode) -> None:
    """Refuse what a user set in vain.

    The config.yaml that a training wrote is welcome. It holds all keys, none of them a user's wish.

    Args:
        settings: as `read_settings` gives them.
        cfg: what has come of them.

    Raises:
        ConfigError: naming source and key.
    """
    written = _written_by_trainings(settings, cfg)
    for setting in settings:
        if setting.source in written:
            continue
        for key, instead in _UNUSED.items():
            inside = setting.key == key or setting.key.startswith(f"{key}.")
            if inside and str(setting.value) != str(_HARMLESS.get(setting.key)):
                raise ConfigError(f"{setting.source}: {setting.key} has no effect here; {instead}")
    latest = {setting.key: setting for setting in settings}
    epochs = latest.get("SOLVER.EPOCHS")
    for iterations, in_epochs in _COUNTED_IN_EPOCHS.items():
        one, other = (
            setting if setting is not None and setting.source not in written else None
            for setting in (latest.get(iterations), latest.get(in_epochs))
        )
        if cfg.SOLVER.EPOCHS > 0 and one is not None and one.rank >= epochs.rank:
            raise ConfigError(
                f"{one.source}: {iterations} has no effect, because SOLVER.EPOCHS is "
                f"{cfg.SOLVER.EPOCHS} ({epochs.source}); set {in_epochs}, or SOLVER.EPOCHS 0 to "
                "count in iterations"
            )
        if cfg.SOLVER.EPOCHS == 0 and other is not None and other.key != "SOLVER.EPOCHS":
            # A base counts in epochs, and what is based on it in iterations.
            if epochs is not None and epochs.rank > other.rank:
                continue
            raise ConfigError(
                f"{other.source}: {in_epochs} has no effect, because SOLVER.EPOCHS is 0; set "
                f"{iterations}"
            )


def _written_by_trainings(settings: Sequence[Setting], cfg: CfgNode) -> set[str]:
    """Files with most of all keys, which nobody writes by hand. Other versions, of Detectron2 as
    well, have some keys more or less."""
    counts = Counter(setting.source for setting in settings)
    return {source for source, count in counts.items() if 2 * count > len(list(leaves(cfg)))}
