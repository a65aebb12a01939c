"""The built-in sets of scenes and pages. Importing this module registers them; nothing is drawn."""

from __future__ import annotations

from dld_d2.synthetic.catalog import register_synthetic_dataset
from dld_d2.synthetic.config import DENSE_REGIMES, SceneConfig
from dld_d2.synthetic.pages import register_pages

__all__ = ["SPLITS"]

# Split -> number of scenes, seed, and what they look like. The test set is frozen: tests/synthetic
# has its digest.
SPLITS: dict[str, tuple[int, int, SceneConfig]] = {
    "train": (20_000, 1, SceneConfig()),
    "val": (200, 2, SceneConfig()),
    "test": (500, 3, SceneConfig()),
    "dense": (40_000, 4, SceneConfig(regimes=DENSE_REGIMES)),
    # As few as there are photographs with labels: docs/results.md.
    "few": (300, 5, SceneConfig(regimes=DENSE_REGIMES)),
}


def _register_all() -> None:
    for split, (length, seed, config) in SPLITS.items():
        register_synthetic_dataset(
            f"synthetic_{split}", length=length, seed=seed, config=config, prefix=split
        )
    register_pages("synthetic_pages", length=400, seed=6)


_register_all()
