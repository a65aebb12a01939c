"""Features of a data set's words at full and at low resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from appendix_page.sources import Source
from appendix_page.study import Study
from dld_d2.analysis.appendix.features import word_distances, word_features
from dld_d2.commands.console import progress
from dld_d2.data.augmentation import build_augmentations
from dld_d2.data.mapper import TextDatasetMapper
from dld_d2.data.resolution import at_resolution_of
from dld_d2.structures.errors import UsageError

__all__ = ["FEATURES", "PAIRS", "FeatureStudy", "study_features"]

FEATURES = {"roi": "RoI", "context": "contextual"}
"""Names by the contract, and for people."""

_HIGH, _LOW = "high", "low"
PAIRS = {
    "vanilla, high and low": ("vanilla", _HIGH, "vanilla", _LOW),
    "vanilla high, student low": ("vanilla", _HIGH, "student", _LOW),
    "student, high and low": ("student", _HIGH, "student", _LOW),
}
"""What is compared: the first is what vanilla loses, the second what distillation makes smaller."""


@dataclass(eq=False)
class FeatureStudy:
    """One feature on one data set.

    Attributes:
        distances: pair of `PAIRS` -> for each image what `word_distances` gives.
        clouds: ("vanilla" or "student", "high" or "low") -> (N, D) float16, of words that were
            drawn at random, the same for all.
        no_plane: why there are no clouds; empty if there are.
    """

    distances: dict[str, list[np.ndarray]] = field(default_factory=dict)
    clouds: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)
    no_plane: str = ""


def study_features(
    study: Study,
    whole: str,
    sources: dict[str, Source],
    *,
    most: int,
    seed: int,
) -> dict[str, FeatureStudy | str]:
    """By feature what was found, or why it cannot be.

    Args:
        study: the data set.
        whole: its name, or of that which it is a part of.
        sources: "vanilla", and "student" if there is one; with models.
        most: words that are kept for a projection.
        seed: of their draw.
    """
    found: dict[str, FeatureStudy | str] = {}
    for name, title in FEATURES.items():
        lacking = [s.label for s in sources.values() if name not in s.spotter.feature_shapes]
        found[name] = f"{lacking[0]} has no {title} features" if lacking else FeatureStudy()
    mappers = {who: _mapper(source, whole) for who, source in sources.items()}
    keeper = _Keeper(most, seed)
    for item in progress(study.items, f"Features of {study.name}", len(study.items)):
        wanted = [name for name, result in found.items() if isinstance(result, FeatureStudy)]
        if not wanted:
            break
        rows = _features_of(item, study.low, sources, mappers, wanted)
        places = keeper.places(len(next(iter(rows.values()))[wanted[0]]))
        for name in wanted:
            try:
                _add(found[name], {key: row[name] for key, row in rows.items()}, places)
            except UsageError as error:
                found[name] = str(error)
    return found


class _Keeper:
    """Draws words at random out of a stream of unknown length (reservoir sampling).

    Args:
        most: words to keep.
        seed: of the draws.
    """

    def __init__(self, most: int, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._most = most
        self._seen = 0

    def places(self, number: int) -> list[tuple[int, int]]:
        """Of the next words: (which, the place where it is kept)."""
        kept = []
        for word in range(number):
            place = self._seen
            if place >= self._most:
                place = int(self._generator.integers(self._seen + 1))
            self._seen += 1
            if place < self._most:
                kept.append((word, place))
        return kept


def _features_of(
    item: dict,
    low: float,
    sources: dict[str, Source],
    mappers: dict[str, TextDatasetMapper],
    wanted: Sequence[str],
) -> dict[tuple[str, str], dict[str, Tensor]]:
    rows = {}
    for who, source in sources.items():
        inputs = [mappers[who](dict(item))]
        for resolution, scale in ((_HIGH, 1.0), (_LOW, low)):
            rows[who, resolution] = word_features(source.spotter, inputs, scale, wanted)
    return rows


def _add(
    study: FeatureStudy, rows: dict[tuple[str, str], Tensor], places: Sequence[tuple[int, int]]
) -> None:
    shapes = {tuple(row.shape) for row in rows.values()}
    if len(shapes) > 1:
        raise UsageError(
            "the models, or the two resolutions, give features of different sizes: "
            + " and ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
        )
    for pair, (first, at, second, other) in PAIRS.items():
        if (second, other) in rows and (first, at) in rows:
            distances = word_distances(rows[first, at], rows[second, other])
            study.distances.setdefault(pair, []).append(distances)
    if study.no_plane:
        return
    for key, row in rows.items():
        kept = study.clouds.setdefault(key, [])
        flat = row.flatten(1).half().numpy()
        if kept and len(flat) and kept[0].shape != flat[0].shape:
            study.clouds.clear()
            study.no_plane = "the features of words differ in size, so that no plane holds them"
            return
        for word, place in places:
            if place == len(kept):
                kept.append(flat[word])
            else:
                kept[place] = flat[word]


def _mapper(source: Source, whole: str) -> TextDatasetMapper:
    cfg = at_resolution_of(source.cfg, whole)
    # Of the model itself: the configuration of an exported one does not tell its characters.
    return TextDatasetMapper(
        is_train=False,
        augmentations=build_augmentations(cfg, is_train=False),
        image_format=cfg.INPUT.FORMAT,
        vocabulary=source.spotter.vocabulary,
        max_length=source.spotter.max_length,
    )
