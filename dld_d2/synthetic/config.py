"""What synthetic scenes look like: the distribution they are drawn from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["DENSE_REGIMES", "LAYOUT_VERSION", "Population", "Regime", "SceneConfig"]

LAYOUT_VERSION = 1
"""Raised whenever the same seed and index would give other words or polygons than before."""


@dataclass(frozen=True)
class Population:
    """Words of like size in one image.

    Attributes:
        letter_height: smallest and largest height of a capital letter in pixels, measured in the
            middle of the word, after perspective. Smaller is drawn more often (log-uniform).
        words: smallest and largest number of readable words that are tried; fewer fit sometimes.
    """

    letter_height: tuple[float, float]
    words: tuple[int, int]

    def __post_init__(self) -> None:
        low, high = self.letter_height
        if not 4 <= low <= high:
            raise ValueError(f"letter_height must be 4 <= low <= high, not {self.letter_height}")
        few, many = self.words
        if not 0 < few <= many:
            raise ValueError(f"words must be 1 <= low <= high, not {self.words}")


@dataclass(frozen=True)
class Regime:
    """A kind of image: what share of all images it is, and the words in one."""

    share: float
    populations: tuple[Population, ...]

    def __post_init__(self) -> None:
        if not self.share >= 0:
            raise ValueError(f"the share of a regime cannot be {self.share}")
        if not self.populations:
            raise ValueError("a regime needs at least one population of words")


# A network that needs letters of about 15 pixels reads "large" images at a third of their size,
# "medium" ones at a half to two thirds, and the others only at full size, or nearly so.
_REGIMES: Mapping[str, Regime] = MappingProxyType(
    {
        "large": Regime(0.30, (Population((48, 120), (1, 4)),)),
        "medium": Regime(0.20, (Population((27, 44), (3, 8)),)),
        "small": Regime(0.25, (Population((15, 24), (6, 16)),)),
        "mixed": Regime(
            0.25, (Population((48, 96), (1, 2)), Population((15, 24), (3, 9)))
        ),
    }
)  # fmt: skip

# A population ends where several blocks in a row found no room; the next one tries again.
DENSE_REGIMES: Mapping[str, Regime] = MappingProxyType(
    {
        "large": Regime(0.15, 2 * (Population((48, 120), (2, 4)),)),
        "medium": Regime(0.25, 3 * (Population((27, 44), (5, 10)),)),
        "small": Regime(0.35, 4 * (Population((15, 24), (10, 16)),)),
        "mixed": Regime(
            0.25, (Population((48, 96), (1, 3)), *3 * (Population((15, 24), (8, 12)),))
        ),
    }
)
"""As many words as fit. Reading is learned word by word, and the words of a crowded scene share the
cost of its image, so that training sees several times as many per hour."""

_GEOMETRY: Mapping[str, float] = MappingProxyType(
    {"straight": 0.30, "rotated": 0.25, "perspective": 0.30, "curved": 0.15}
)


@dataclass(frozen=True)
class SceneConfig:
    """The distribution of scenes. A scene is a function of this, a seed and an index.

    Words stand in *blocks* of one font, colour and geometry, like signs. All shares and chances
    are fractions of 1.

    Attributes:
        height, width: size of the images in pixels, at least 128.
        regimes: name -> kind of image. The name is the last part of the image's id.
        geometry: relative frequency, per block, of "straight", "rotated", "perspective" (a plane
            in space) and "curved" (on an arc).
        max_rotation: degrees, of rotated blocks.
        max_yaw, max_pitch: degrees by which planes in perspective are turned about the vertical
            and the horizontal axis; their rotation within the image is half of `max_rotation`.
        arc_angle: smallest and largest angle in degrees that a curved block spans.
        panel: chance that a block has a panel (a sign's board) behind it.
        outline: chance that a block's letters have an outline.
        shadow: chance that they cast a shadow.
        numbers, names, marked: share of texts that are numbers (prices, years, times, telephone
            numbers), invented names that no list holds, and words with punctuation. The rest is
            out of the word list.
        max_text_length: characters of the longest text.
        tiny: chance of a block of unreadable small print, annotated as don't-care.
        tiny_height: its letters' smallest and largest height in pixels.
        faint: chance of a block that hardly stands out from its ground, don't-care.
        cut: chance of a block that the border cuts; the words that it cuts are don't-care.
        contrast: smallest and largest difference in luma (0 to 255) between the letters and their
            ground, before the camera's effects, which leave nearly half of it at the least.
        low_contrast: share of blocks that are drawn from the lowest fifth of that range.
        blur: largest standard deviation of the blur, as a fraction of the smallest readable
            letter's height, so that blur never hides what is annotated as readable.
        noise: largest standard deviation of the sensor's noise, of 255.
        jpeg: chance of JPEG artefacts.
        jpeg_quality: lowest and highest quality.
        margin: what a polygon leaves around the ink, as a fraction of the height of a capital
            letter (and at least half a pixel).
        backgrounds: folder (searched with its sub-folders) of photographs to use as backgrounds.
            They should hold no text. None: procedural backgrounds only.
        background_share: share of scenes that use one, where there are any.
        word_crops: folder of pictures of single words, with `labels.tsv`: file name, tab,
            transcription. Some of the blocks then are such pictures. None: none are.
        word_crop_share: share of blocks that are pictures of words, where there are any.
        use_system_fonts: also use the fonts that are installed on this machine, so that scenes
            differ from machine to machine.
    """

    height: int = 512
    width: int = 512
    regimes: Mapping[str, Regime] = field(default_factory=lambda: dict(_REGIMES))
    geometry: Mapping[str, float] = field(default_factory=lambda: dict(_GEOMETRY))
    max_rotation: float = 28.0
    max_yaw: float = 50.0
    max_pitch: float = 30.0
    arc_angle: tuple[float, float] = (30.0, 120.0)
    panel: float = 0.55
    outline: float = 0.2
    shadow: float = 0.25
    numbers: float = 0.15
    names: float = 0.12
    marked: float = 0.10
    max_text_length: int = 20
    tiny: float = 0.3
    tiny_height: tuple[float, float] = (4.0, 6.5)
    faint: float = 0.12
    cut: float = 0.12
    contrast: tuple[float, float] = (50.0, 190.0)
    low_contrast: float = 0.2
    blur: float = 0.055
    noise: float = 9.0
    jpeg: float = 0.7
    jpeg_quality: tuple[int, int] = (40, 95)
    margin: float = 0.05
    backgrounds: str | os.PathLike[str] | None = None
    background_share: float = 0.8
    word_crops: str | os.PathLike[str] | None = None
    word_crop_share: float = 0.4
    use_system_fonts: bool = False

    def __post_init__(self) -> None:
        # Read-only mappings, as DENSE_REGIMES is one, can neither be copied nor sent to a process.
        for name in ("regimes", "geometry"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        if min(self.height, self.width) < 128:
            raise ValueError(f"scenes need 128 x 128 pixels, not {self.height} x {self.width}")
        if sum(regime.share for regime in self.regimes.values()) <= 0:
            raise ValueError("no regime has a positive share")
        known = set(_GEOMETRY)
        if not set(self.geometry) <= known or sum(self.geometry.values()) <= 0:
            raise ValueError(
                f"geometry {dict(self.geometry)}: known are {', '.join(sorted(known))}"
            )
        if self.numbers + self.names + self.marked > 1:
            raise ValueError("the shares of numbers, names and marked words exceed 1")
        if not 4 <= self.max_text_length <= 25:
            raise ValueError(f"max_text_length must be 4 to 25, not {self.max_text_length}")
        for name in self.regimes:
            if not name or "_" in name:
                raise ValueError(
                    f"regime {name!r}: its name ends the images' ids, after an underscore, and so "
                    "can hold none"
                )
        for name, least in _RANGES.items():
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise ValueError(f"{name} must be {least:g} <= low <= high, not {(low, high)}")
        if self.jpeg_quality[1] > 100:
            raise ValueError(f"jpeg_quality must be at most 100, not {self.jpeg_quality}")
        for name in _CHANCES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")


# Smallest values that can be drawn: Pillow's JPEG quality, the layout's smallest letters, ...
_RANGES = {"arc_angle": 1.0, "tiny_height": 4.0, "contrast": 1.0, "jpeg_quality": 1.0}

_CHANCES = (
    "panel",
    "outline",
    "shadow",
    "numbers",
    "names",
    "marked",
    "tiny",
    "faint",
    "cut",
    "low_contrast",
    "jpeg",
    "background_share",
    "word_crop_share",
)
