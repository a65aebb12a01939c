"""Synthetic scenes with words: deterministic, annotated, drawn while they are used.

Importing `dld_d2.synthetic.builtin` registers `synthetic_train`, `synthetic_dense`,
`synthetic_val` and `synthetic_test`. The names below are imported when they are first used.
docs/synthetic.md has examples.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "builtin": ["SPLITS"],
        "catalog": ["register_synthetic_dataset"],
        "config": ["Population", "Regime", "SceneConfig"],
        "dataset": ["SyntheticDataset"],
        "layout": ["SceneLayout", "SceneWord", "lay_out"],
        "scene": ["draw_scene"],
    },
)
