"""Synthetic sets in Detectron2's catalogs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from dld_d2.data.catalog import EVALUATOR_TYPE
from dld_d2.evaluation.lexicon import ImageLexicons, Lexicon
from dld_d2.synthetic.config import SceneConfig
from dld_d2.synthetic.dataset import SyntheticDataset
from dld_d2.synthetic.drawn import DrawnDataset
from dld_d2.synthetic.lexicons import generic_lexicon, strong_lexicons, weak_lexicon

__all__ = ["register_drawn", "register_synthetic_dataset", "scene_lexicon"]


@dataclass
class _RegisteredScenes:
    """What `DatasetCatalog` calls."""

    length: int
    seed: int
    config: SceneConfig
    prefix: str
    _cache: list[SyntheticDataset] = field(default_factory=list, compare=False, repr=False)

    def __call__(self) -> SyntheticDataset:
        if not self._cache:
            self._cache.append(SyntheticDataset(self.length, self.seed, self.config, self.prefix))
        return self._cache[0]


def register_synthetic_dataset(
    name: str,
    *,
    length: int,
    seed: int,
    config: SceneConfig | None = None,
    prefix: str = "scene",
) -> None:
    """Make a set of synthetic scenes known to Detectron2 under a name. Nothing is drawn yet.

    `DatasetCatalog.get(name)` then returns a `SyntheticDataset`. `MetadataCatalog.get(name)` has
    `thing_classes`, `evaluator_type`, `format` ("synthetic") and `lexicons`: functions that give
    the strong, weak and generic lexicon of the set.

    Args:
        name: as used in `DATASETS.TRAIN` and `DATASETS.TEST`.
        length, seed, config, prefix: of `SyntheticDataset`.

    Raises:
        ValueError: for a name that is taken by another set (the same registration may be
            repeated), and what `SyntheticDataset` raises.
    """
    register_drawn(
        name,
        _RegisteredScenes(length, seed, config or SceneConfig(), prefix),
        lexicons={
            kind: partial(scene_lexicon, name, kind) for kind in ("strong", "weak", "generic")
        },
    )


def register_drawn(
    name: str,
    pictures: Callable[[], DrawnDataset],
    lexicons: Mapping[str, Callable[[], Lexicon | ImageLexicons]],
) -> None:
    """Make a set that is drawn while it is used known to Detectron2 under a name.

    Args:
        name: as used in `DATASETS.TRAIN` and `DATASETS.TEST`.
        pictures: gives the set; it is equal to another one that gives the same.
        lexicons: by their kinds, what gives them.

    Raises:
        ValueError: for a name that is taken by another set (the same registration may be
            repeated), and what `pictures` raises.
    """
    if name in DatasetCatalog:
        if DatasetCatalog[name] == pictures:
            return
        raise ValueError(
            f"a data set named {name!r} is registered already, with other arguments: "
            f"{DatasetCatalog[name]!r}; choose another name"
        )
    pictures()  # complains about its arguments now, not when the set is used
    DatasetCatalog.register(name, pictures)
    MetadataCatalog.get(name).set(
        thing_classes=["text"],
        evaluator_type=EVALUATOR_TYPE,
        format="synthetic",
        lexicons=dict(lexicons),
    )


@lru_cache(maxsize=8)
def scene_lexicon(name: str, kind: str) -> Lexicon | ImageLexicons:
    """A lexicon of a registered synthetic set: "strong", "weak" or "generic"."""
    dataset = DatasetCatalog.get(name)
    if kind == "strong":
        return ImageLexicons(strong_lexicons(dataset), source=f"the strong lexicons of {name}")
    words = {"weak": weak_lexicon, "generic": generic_lexicon}[kind](dataset)
    return Lexicon(words)
