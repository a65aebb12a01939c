"""A look at an image at a low scale, which says what of it to read, and at which scale."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace

import numpy as np

from dld_d2.deployment.runtime.network_file import checked_card, open_network
from dld_d2.deployment.runtime.resizing import resize_by_area
from dld_d2.modeling.focus.chips import STRIDE, Chip, ChipRule, chips_of
from dld_d2.structures.sizes import scaled_size

__all__ = ["Focus", "FocusCard"]

_FORMAT = "dld_d2 focus"
_VERSION = 1
_REMEDY = "export it again"
_MULTIPLE = 16  # of the sides of what the network takes
_GRAY = 127  # beside the image: the mean that is subtracted, about


@dataclass(frozen=True)
class FocusCard:
    """What a network that looks first needs to be used.

    Attributes:
        input_scale: of the full resolution, at which it looks.
        rule: how chips are cut.
        multiply_adds: per pixel that it looks at.
        made_with: version of this package.
        notice: whose work is in it.
    """

    input_scale: float
    rule: ChipRule
    multiply_adds: float
    made_with: str
    notice: str

    def to_json(self) -> str:
        """For the network's metadata."""
        return json.dumps({"format": _FORMAT, "version": _VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> FocusCard:
        """What `to_json` gave.

        Raises:
            ValueError: for anything else, without the file's name.
        """
        content = checked_card(text, _FORMAT, _VERSION, "network that looks first", _REMEDY)
        try:
            fields = {name: content[name] for name in cls.__dataclass_fields__}
            rule = {name: float(fields["rule"][name]) for name in ChipRule.__dataclass_fields__}
            fields["rule"] = ChipRule(**rule | {"multiple": int(rule["multiple"])})
            for name in ("input_scale", "multiply_adds"):
                fields[name] = float(fields[name])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"its card is incomplete ({error}); {_REMEDY}") from None
        card = cls(**fields)
        sizes = (card.input_scale, card.rule.min_scale, card.rule.threshold)
        lengths = (card.rule.text_height, card.rule.min_side, card.rule.multiple)
        others = (card.rule.margin, card.rule.overhead, card.multiply_adds)
        if not (
            all(0 < value <= 1 for value in sizes)
            and all(1 <= value <= 10_000 for value in lengths)
            and all(0 <= value < 1e9 for value in others)
        ):
            raise ValueError(f"its card holds values that cannot be; {_REMEDY}")
        return card


class Focus:
    """Finds what of an image is worth reading.

        focus = Focus("photo_focus.onnx")
        spotter = OnnxSpotter("photo_onnx", focus=focus)

    Attributes:
        card: what the file says.
        rule: how chips are cut, the card's unless set otherwise.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 1) -> None:
        """
        Args:
            path: file that `dld-d2 export` made of a `FocusMap`.
            threads: within the network.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming the file, if it is damaged or something else.
        """
        self._network, text = open_network(
            path, "network that looks first", "dld-d2 export --format onnx", threads=threads
        )
        try:
            self.card = FocusCard.from_json(text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        self.rule = self.card.rule

    @property
    def threshold(self) -> float:
        """Probability of a word above which a place is read: lower reads more, for more time.

        Raises:
            ValueError: on setting what is not in (0, 1).
        """
        return self.rule.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not 0 < value < 1:
            raise ValueError(f"the threshold of a look is a probability in (0, 1), not {value}")
        self.rule = replace(self.rule, threshold=float(value))

    @property
    def text_height(self) -> float:
        """Parts of an image are shrunk until their smallest words are so many pixels high.

        Raises:
            ValueError: on setting less than 1.
        """
        return self.rule.text_height

    @text_height.setter
    def text_height(self, value: float) -> None:
        if not 1 <= value <= 10_000:
            raise ValueError(f"the height of words is 1 to 10,000 pixels, not {value}")
        self.rule = replace(self.rule, text_height=float(value))

    def maps(self, image: np.ndarray, full: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """What the network sees.

        Args:
            image: (H, W, 3) uint8 in BGR, of any size.
            full: its height and width at the full resolution.

        Returns:
            (h, w) float32, the probability of a word at each place; the same shape, how high it is
            in pixels of what the network looks at.
        """
        view = resize_by_area(image, scaled_size(full, self.card.input_scale))
        height, width = view.shape[:2]
        below, beside = -height % _MULTIPLE, -width % _MULTIPLE
        padded = np.pad(view, ((0, below), (0, beside), (0, 0)), constant_values=_GRAY)
        text, high = self._network.run(None, {"image": padded[None]})
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        return text[0, :rows, :columns], high[0, :rows, :columns]

    def chips(self, image: np.ndarray, full: tuple[int, int]) -> list[Chip]:
        """What to read, in pixels of the full resolution; see `chips_of`.

        Args:
            image, full: as of `maps`.
        """
        return chips_of(*self.maps(image, full), full, self.card.input_scale, self.rule)

    def multiply_adds(self, full: tuple[int, int]) -> float:
        """Of a look at an image of this full resolution."""
        height, width = scaled_size(full, self.card.input_scale)
        return self.card.multiply_adds * height * width
