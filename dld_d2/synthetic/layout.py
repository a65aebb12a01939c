"""Which words a scene has and where: all of its annotation, without a pixel drawn."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dld_d2.data.geometry import clip_to_image, region_area
from dld_d2.structures.word import DONT_CARE
from dld_d2.synthetic.compose import (
    MAX_ENLARGEMENT,
    Block,
    BlockWord,
    compose_block,
    compose_picture,
)
from dld_d2.synthetic.config import Population, SceneConfig
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.fonts import Font, scene_fonts
from dld_d2.synthetic.placement import Arc, Placement, Plane, convex_apart
from dld_d2.synthetic.word_crops import WordCrop, read_word_crops

__all__ = ["PlacedBlock", "SceneLayout", "SceneWord", "lay_out"]

_LAYOUT_STREAM = 0
_GAP = 3.0  # pixels between blocks, at least
_BORDER = 2.0  # pixels between blocks and the image's border, at least
_MIN_VISIBLE = 6.0  # square pixels; of a word that the border cuts, smaller rests are no region


@dataclass(frozen=True)
class SceneWord:
    """One annotated region.

    Attributes:
        text: transcription, `###` for don't-care.
        ignore: don't-care.
        polygon: (K, 2) float32 pixels within the image, to two decimals; K is 4, for curved words
            14, and anything for words that the border cuts.
        letter_height: of a capital letter in the middle of the word, in pixels.
    """

    text: str
    ignore: bool
    polygon: np.ndarray
    letter_height: float


@dataclass(frozen=True)
class PlacedBlock:
    """A block and where it lies; `faint` if it hardly stands out from its ground."""

    block: Block
    placement: Placement
    faint: bool


@dataclass(frozen=True)
class SceneLayout:
    """A scene before it is drawn."""

    regime: str
    blocks: tuple[PlacedBlock, ...]
    words: tuple[SceneWord, ...]

    @property
    def min_letter_height(self) -> float:
        """Of the readable words, in pixels; infinite if there are none."""
        return min((word.letter_height for word in self.words if not word.ignore), default=math.inf)


def lay_out(config: SceneConfig, seed: int, index: int) -> SceneLayout:
    """The layout of scene `index`, a function of the arguments alone.

    Raises:
        AnnotationError: if the configured folder of word pictures cannot be used.
    """
    return _Layout(config, Draws(seed, index, _LAYOUT_STREAM)).make()


class _Layout:
    """One layout as it grows."""

    def __init__(self, config: SceneConfig, draws: Draws) -> None:
        self.config, self.draws = config, draws
        self.fonts: Sequence[Font] = scene_fonts(config.use_system_fonts)
        self.crops: Sequence[WordCrop] = ()
        if config.word_crops is not None:
            self.crops = read_word_crops(os.fspath(config.word_crops))
        self.blocks: list[PlacedBlock] = []
        self.words: list[SceneWord] = []
        self.hulls: list[np.ndarray] = []

    def make(self) -> SceneLayout:
        config, draws = self.config, self.draws
        shares = {name: regime.share for name, regime in config.regimes.items()}
        regime = draws.pick_weighted(shares)
        populations = config.regimes[regime].populations
        for population in populations:
            self._add_population(population)
        if draws.chance(config.cut):
            self._add(draws.pick(populations), 3, cut=True)
        if draws.chance(config.faint):
            self._add(draws.pick(populations), draws.integer(1, 3), faint=True)
        if draws.chance(config.tiny):
            count = draws.integer(4, 14)
            self._add(Population(config.tiny_height, (count, count)), count, tiny=True)
        return SceneLayout(regime, tuple(self.blocks), tuple(self.words))

    def _add_population(self, population: Population) -> None:
        wanted = self.draws.integer(*population.words)
        failures = 0
        while wanted > 0 and failures < 5:
            # Letters that are large for the image stand alone.
            most = 6 if population.letter_height[0] < self.config.width / 20 else 2
            added = self._add(population, min(wanted, self.draws.integer(1, most)))
            wanted -= added
            failures += added == 0

    def _add(
        self,
        population: Population,
        count: int,
        *,
        cut: bool = False,
        faint: bool = False,
        tiny: bool = False,
    ) -> int:
        """Add a block of up to `count` words where there is room; how many words it has."""
        kind = self.draws.pick_weighted(self.config.geometry)
        block = self._compose(population, count, kind, picture=not (cut or faint or tiny))
        if block is None:
            return 0
        if block.crop is not None and kind == "curved":
            kind = "perspective"
        placement = self._place(block, self._pose(block, kind), cut)
        if placement is None:
            return 0
        heights = [_letter_height(word, placement) for word in block.words]
        low, high = population.letter_height
        # Perspective can take a word out of the range that it was composed in.
        if block.crop is None and not all(low <= height <= high for height in heights):
            return 0
        self.blocks.append(PlacedBlock(block, placement, faint))
        self.hulls.append(placement.hull(block.box))
        for word, height in zip(block.words, heights, strict=True):
            ignore = faint or tiny or (block.crop is not None and not block.crop.readable)
            self._annotate(word, placement, height, ignore)
        return len(block.words)

    def _compose(
        self, population: Population, count: int, kind: str, *, picture: bool
    ) -> Block | None:
        config, draws = self.config, self.draws
        if picture and self.crops and draws.chance(config.word_crop_share):
            height = draws.log_uniform(*population.letter_height)
            for _ in range(12):
                crop = draws.pick(self.crops)
                if height <= MAX_ENLARGEMENT * crop.height:
                    return compose_picture(crop, height, 0.9 * config.width)
        low, high = population.letter_height
        if kind == "perspective":
            # Room for what perspective enlarges and reduces.
            room = min(1.1, math.sqrt(high / low))
            low, high = low * room, high / room
        one_line = kind == "curved"
        return compose_block(
            draws, config, self.fonts, (low, high), min(count, 3 if one_line else count),
            one_line=one_line,
        )  # fmt: skip

    def _pose(self, block: Block, kind: str) -> Placement:
        config, draws = self.config, self.draws
        rotation = math.radians(config.max_rotation)
        if kind == "straight":
            return Plane.turned(0.0)
        if kind == "rotated":
            return Plane.turned(draws.uniform(-rotation, rotation))
        if kind == "perspective":
            yaw, pitch = math.radians(config.max_yaw), math.radians(config.max_pitch)
            return Plane.turned(
                draws.uniform(-rotation, rotation) / 2,
                draws.uniform(-yaw, yaw),
                draws.uniform(-pitch, pitch),
                focal=1.6 * max(config.height, config.width),
            )
        x0, y0, x1, y1 = block.box
        angle = math.radians(draws.uniform(*config.arc_angle))
        # A narrower arc would squeeze the letters' feet together.
        radius = max((x1 - x0) / angle, 1.8 * (y1 - y0))
        upward = draws.chance(0.7)
        return Arc(radius if upward else -radius, draws.uniform(-rotation, rotation) / 2)

    def _place(self, block: Block, pose: Placement, cut: bool) -> Placement | None:
        """Move a block to where it overlaps no other; across the image's border if `cut`."""
        hull = pose.hull(block.box)
        size = np.array([self.config.width, self.config.height], dtype=np.float64)
        low = _BORDER - hull.min(axis=0)
        high = size - _BORDER - hull.max(axis=0)
        if not cut and (low > high).any():
            return None
        for _ in range(12):
            if cut:
                x, y = self._across_border(hull, size)
            else:
                x, y = (self.draws.uniform(a, b) for a, b in zip(low, high, strict=True))
            if self._is_free(hull + np.array([x, y])):
                return pose.moved(x, y)
        return None

    def _is_free(self, hull: np.ndarray) -> bool:
        if not self.hulls:
            return True
        low, high = hull.min(axis=0), hull.max(axis=0)
        others = np.stack(self.hulls)
        # Most blocks are far apart, which their bounding boxes show at once.
        apart = (low > others.max(axis=1) + _GAP) | (high < others.min(axis=1) - _GAP)
        near = np.flatnonzero(~apart.any(axis=1))
        return all(convex_apart(hull, self.hulls[i], _GAP) for i in near)

    def _across_border(self, hull: np.ndarray, size: np.ndarray) -> tuple[float, float]:
        """A place at which a part of the hull lies outside."""
        place = [self.draws.uniform(0.1, 0.9) * side for side in size]
        axis = self.draws.integer(0, 1)
        outside = self.draws.uniform(0.1, 0.9)
        if self.draws.chance(0.5):
            place[axis] = -(hull[:, axis].min() * outside + hull[:, axis].max() * (1 - outside))
        else:
            place[axis] = size[axis] - (
                hull[:, axis].min() * (1 - outside) + hull[:, axis].max() * outside
            )
        return place[0], place[1]

    def _annotate(
        self, word: BlockWord, placement: Placement, letter_height: float, ignore: bool
    ) -> None:
        height, width = self.config.height, self.config.width
        polygon = placement.polygon(word.box)
        if (polygon < 0).any() or (polygon > (width, height)).any():
            clipped = clip_to_image(polygon, height, width)
            if clipped is None or region_area(clipped) < _MIN_VISIBLE:
                return
            polygon, ignore = clipped, True
        text = DONT_CARE if ignore else word.text
        # Hundredths of a pixel survive being written to a text file.
        polygon = np.round(polygon, 2).astype(np.float32)
        self.words.append(SceneWord(text, ignore, polygon, letter_height))


def _letter_height(word: BlockWord, placement: Placement) -> float:
    x0, y0, x1, y1 = word.box
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    ends = placement(np.array([(x, y - word.cap / 2), (x, y + word.cap / 2)]))
    return float(np.hypot(*(ends[1] - ends[0])))
