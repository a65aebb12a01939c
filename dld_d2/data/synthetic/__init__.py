"""Synthetic scenes with words: deterministic, annotated, drawn while they are used.

Importing this package registers `synthetic_train`, `synthetic_dense`, `synthetic_val` and
`synthetic_test`.
docs/synthetic.md has examples.
"""

from .catalog import SPLITS, register_synthetic_dataset
from .config import Population, Regime, SceneConfig
from .dataset import SyntheticDataset
from .layout import SceneLayout, SceneWord, lay_out
from .scene import draw_scene

__all__ = [
    "SPLITS",
    "Population",
    "Regime",
    "SceneConfig",
    "SceneLayout",
    "SceneWord",
    "SyntheticDataset",
    "draw_scene",
    "lay_out",
    "register_synthetic_dataset",
]
