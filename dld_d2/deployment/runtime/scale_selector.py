"""The file of a selector that was trained for an engine: one ONNX network that knows its scales."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass

import numpy as np

from dld_d2.deployment.runtime.engines import Sides
from dld_d2.deployment.runtime.network_file import checked_card, open_network
from dld_d2.deployment.runtime.resizing import resize_by_area
from dld_d2.structures.sizes import scaled_size

__all__ = ["ScaleSelector", "SelectorCard"]

_FORMAT = "dld_d2 selector of an engine"
_VERSION = 1
_REMEDY = "train the selector again"


@dataclass(frozen=True)
class SelectorCard:
    """What a selector is for.

    Attributes:
        engine: name of the engine whose readings it learnt from.
        scales: the k candidates, of the full size, ascending.
        relative_cost: of each, that of the reference being 1.
        reference: the scale that is compared with.
        cost_bias: times the relative cost, what is subtracted from the logits; in words.
        input_scale: of the full size, at which the selector looks.
        sides: what the full size is.
        made_with: version of this package.
        notice: whose work is in it.
    """

    engine: str
    scales: tuple[float, ...]
    relative_cost: tuple[float, ...]
    reference: float
    cost_bias: float
    input_scale: float
    sides: Sides
    made_with: str
    notice: str

    def to_json(self) -> str:
        """For the network's metadata."""
        return json.dumps({"format": _FORMAT, "version": _VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> SelectorCard:
        """What `to_json` gave.

        Raises:
            ValueError: for anything else, without the file's name.
        """
        content = checked_card(text, _FORMAT, _VERSION, "selector of an engine", _REMEDY)
        try:
            fields = {name: content[name] for name in cls.__dataclass_fields__}
            fields["sides"] = Sides(**fields["sides"])
            for name in ("scales", "relative_cost"):
                fields[name] = tuple(map(float, fields[name]))
            for name in ("reference", "cost_bias", "input_scale"):
                fields[name] = float(fields[name])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"its card is incomplete ({error}); train it again") from None
        card = cls(**fields)
        numbers = (*card.scales, *card.relative_cost, card.reference, card.input_scale)
        if len(card.scales) != len(card.relative_cost) or not card.scales:
            raise ValueError("its card has not one cost for each scale; train it again")
        if not all(0 < number < 100 for number in numbers) or not math.isfinite(card.cost_bias):
            raise ValueError("its card holds scales or costs that cannot be; train it again")
        return card


class ScaleSelector:
    """Tells of an image how many words an engine would get wrong at each scale.

    Attributes:
        card: what it is for.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 1) -> None:
        """
        Args:
            path: file that `dld-d2 select train` wrote.
            threads: within the network.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming the file, if it is damaged or something else.
        """
        self._network, text = open_network(path, "selector", "dld-d2 select train", threads=threads)
        try:
            self.card = SelectorCard.from_json(text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def logits(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 in BGR -> (k,) float32, minus the words that go wrong at each scale."""
        full = self.card.sides.full(image.shape[:2])
        view = resize_by_area(image, scaled_size(full, self.card.input_scale))
        (logits,) = self._network.run(None, {"image": np.ascontiguousarray(view)[None]})
        return logits[0]

    def choose(self, logits: np.ndarray, cost_bias: float | None = None) -> int:
        """The index of the scale with the largest logit after the costs are subtracted.

        Args:
            logits: (k,), of `logits`.
            cost_bias: None for the card's.

        Raises:
            ValueError: for one that is not finite.
        """
        bias = self.card.cost_bias if cost_bias is None else cost_bias
        if not math.isfinite(bias):
            raise ValueError(f"a cost bias must be a finite number, got {bias}")
        return int((logits - bias * np.array(self.card.relative_cost)).argmax())
