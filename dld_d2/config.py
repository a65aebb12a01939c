"""Every configuration key that `dld_d2` adds to Detectron2, its default, unit and meaning.

Keys of data, training and testing stand here; those of a model, of distillation and of each of its
terms stand beside it. Importing this module registers all models and data sets.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from detectron2.config import CfgNode

import dld_d2.data.builtin
import dld_d2.distillation.text_size
import dld_d2.modeling.backbones.narrow_resnet
import dld_d2.modeling.dynamic_spotter
import dld_d2.modeling.focus.focus_map
import dld_d2.modeling.multi_scale_teacher
import dld_d2.modeling.spotters
import dld_d2.synthetic.builtin
from dld_d2.distillation.config import add_distillation_config
from dld_d2.modeling.config import (
    add_dynamic_config,
    add_multi_scale_teacher_config,
    add_spotter_config,
)
from dld_d2.modeling.focus import config as focus_config
from dld_d2.modeling.spotters import text_head_config

__all__ = ["add_dld_config", "config_modules"]


def _spotter_modules(name: str) -> list[ModuleType]:
    """The modules of a name in the folders of `dld_d2.modeling.spotters`, one for each spotter."""
    package = dld_d2.modeling.spotters
    folders = [
        found.name
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        if found.ispkg
    ]
    return [importlib.import_module(f"{folder}.{name}") for folder in folders]


_spotter_modules("spotter")  # registers them


def config_modules() -> list[ModuleType]:
    """The modules that add keys of models and of distillation. In `ALLOWED` they may say what a key
    may be, and by `conflicts(cfg)` what keys say together, see `dld_d2.engine.allowed_values`."""
    return [
        dld_d2.modeling.config,
        text_head_config,
        *_spotter_modules("config"),
        focus_config,
        dld_d2.distillation.config,
    ]


def add_dld_config(cfg: CfgNode) -> None:
    """Add the keys of this project to a Detectron2 configuration, in place.

    Args:
        cfg: what `detectron2.config.get_cfg()` returns. Keys of Detectron2 whose default suits
            natural images but not text (one class, anchor shapes, ...) are set in
            `configs/Base-*.yaml`, where a reader of a config file sees them.
    """
    _add_data_config(cfg)
    add_spotter_config(cfg)
    text_head_config.add_config(cfg)
    for module in _spotter_modules("config"):
        module.add_config(cfg)
    add_dynamic_config(cfg)
    add_multi_scale_teacher_config(cfg)
    focus_config.add_config(cfg)
    add_distillation_config(cfg)
    _add_solver_config(cfg)
    _add_test_config(cfg)


def _add_data_config(cfg: CfgNode) -> None:
    # YAML file that describes further data sets (see datasets/README.md); a path relative to the
    # working directory. Empty: only the built-in ones.
    cfg.DATASETS.REGISTER = ""

    # What a reader does with an annotation it cannot use: "raise" names file and line and stops,
    # "skip" leaves the instance or image out and reports how many of which kind.
    cfg.DATASETS.ON_BAD_ANNOTATION = "raise"

    # Short side of a full-resolution image in pixels, by the name of a registered data set:
    # `SHORT_SIDES: {my_train: 896, my_test: 896}`, or `DATASETS.SHORT_SIDES.my_test 896` on the
    # command line. In training and testing it takes, for images of that set, the place of
    # INPUT.AUG.BASE_SHORT_SIDE and INPUT.MIN_SIZE_TEST, which hold for all others.
    cfg.DATASETS.SHORT_SIDES = CfgNode(new_allowed=True)

    cfg.INPUT.AUG = CfgNode()
    # Chance of taking a random crop that cuts no instance.
    cfg.INPUT.AUG.CROP_PROB = 0.5
    # Smallest side of such a crop as a fraction of the image's side.
    cfg.INPUT.AUG.CROP_MIN_SIZE = 0.3
    # In training the short side is scaled to BASE_SHORT_SIDE times a factor drawn from this range.
    # An interval of one value, e.g. (1.0, 1.0), turns random scaling off.
    cfg.INPUT.AUG.SCALE_RANGE = (0.3, 1.0)
    # Short side of a full-resolution image in pixels, in training (before SCALE_RANGE). Testing
    # uses INPUT.MIN_SIZE_TEST; long sides are limited by INPUT.MAX_SIZE_TRAIN / MAX_SIZE_TEST.
    # DATASETS.SHORT_SIDES sets both for one data set.
    cfg.INPUT.AUG.BASE_SHORT_SIDE = 1280
    # Rotation is drawn from [-ROTATION, ROTATION] degrees with chance ROTATION_PROB.
    cfg.INPUT.AUG.ROTATION = 15.0
    cfg.INPUT.AUG.ROTATION_PROB = 0.5
    # Colour jitter with chance COLOR_PROB: brightness in grey levels out of 255 (additive),
    # contrast and saturation as fractions (a factor in [1 - x, 1 + x]).
    cfg.INPUT.AUG.COLOR_PROB = 0.5
    cfg.INPUT.AUG.BRIGHTNESS = 32.0
    cfg.INPUT.AUG.CONTRAST = 0.5
    cfg.INPUT.AUG.SATURATION = 0.5


def _add_solver_config(cfg: CfgNode) -> None:
    # "ADAMW" (the paper's), or "SGD" with Detectron2's momentum keys.
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    # Learning rate of a spotter's backbone in units of BASE_LR: below 1 where the backbone starts
    # from trained weights, and the rest from random ones.
    cfg.SOLVER.BACKBONE_MULTIPLIER = 1.0
    # Length of training in epochs over DATASETS.TRAIN. Above 0 it overrides MAX_ITER, STEPS and
    # CHECKPOINT_PERIOD by EPOCHS, STEP_EPOCHS and CHECKPOINT_EPOCHS, and TEST.EVAL_PERIOD by
    # EVAL_EPOCHS (0: evaluate at the end only). WARMUP_ITERS stays in iterations.
    cfg.SOLVER.EPOCHS = 0
    cfg.SOLVER.STEP_EPOCHS = ()
    cfg.SOLVER.CHECKPOINT_EPOCHS = 1
    cfg.SOLVER.EVAL_EPOCHS = 0
    # The gradient norm over all parameters together is clipped at this value; 0 turns it off.
    # (Detectron2's SOLVER.CLIP_GRADIENTS "norm" clips each parameter by itself.)
    cfg.SOLVER.CLIP_TOTAL_NORM = 35.0
    # Periodic checkpoints that are kept, the latest ones over all starts of a training; 0 keeps
    # all. With 1 there is none to go back to if the last one is damaged.
    cfg.SOLVER.CHECKPOINTS_TO_KEEP = 2
    # Type of mixed-precision computations (SOLVER.AMP.ENABLED): "float16" or "bfloat16".
    cfg.SOLVER.AMP.PRECISION = "float16"

    # A batch is a function of the seed and the iteration, so that training resumes exactly.
    # Detectron2's grouping by aspect ratio, on by default there, is not.
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False


def _add_test_config(cfg: CfgNode) -> None:
    # IoU that the protocol asks of a match.
    cfg.TEST.MATCH_IOU = 0.5
    # Lexicons to score with, of those that the data set has: "none", "strong", "weak", "generic",
    # "full". Empty: all it has.
    cfg.TEST.LEXICONS = ()
    # COCO's average precision of boxes and of masks, beside the protocols of text spotting.
    cfg.TEST.AVERAGE_PRECISION = False
    # A configuration to evaluate with: training with it is refused.
    cfg.TEST.EVAL_ONLY = False
    # Write pictures of this many test images (ground truth beside result) into OUTPUT_DIR.
    cfg.TEST.NUM_PICTURES = 0
    # Metric whose best value in training saves model_best.pth, such as
    # "text_spotting/e2e_none_hmean" (with several DATASETS.TEST, the set's name and a slash before
    # it). Empty: none is saved.
    cfg.TEST.BEST_METRIC = ""
