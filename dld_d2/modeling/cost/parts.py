"""What a spotter's parts cost, as numbers to add up and to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["PAPER_UNIT", "CostTable", "PartCost", "Workload", "average_table"]

# The FLOPs column of the paper's tables counts multiply-adds in this unit. (Its 517.2 for ICDAR2015
# at short side 1280 is 555.3e9 multiply-adds.)
PAPER_UNIT = 2**30


@dataclass(frozen=True)
class Workload:
    """What an image holds besides pixels.

    Attributes:
        num_proposals: regions that the box head looks at.
        num_regions: words that are found, masked and read.
        num_characters: decoding steps per word. All words of an image are decoded together, so
            that is the length of the longest one plus one for its end.

    Raises:
        ValueError: for a negative number.
    """

    num_proposals: int = 0
    num_regions: int = 0
    num_characters: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")


@dataclass(frozen=True)
class PartCost:
    """Multiply-adds of one part.

    Attributes:
        name: for people.
        per_image: what the input's size decides.
        per_proposal: for each proposal.
        per_region: for each word.
        per_character: for each decoding step of each word.
        published: whether the part counts in the paper's FLOPs column.
        selects: whether the part chooses the resolution, and is no part of the spotter.
    """

    name: str
    per_image: float = 0
    per_proposal: float = 0
    per_region: float = 0
    per_character: float = 0
    published: bool = False
    selects: bool = False

    def total(self, workload: Workload) -> float:
        """Multiply-adds for an image with this workload."""
        return (
            self.per_image
            + workload.num_proposals * self.per_proposal
            + workload.num_regions
            * (self.per_region + workload.num_characters * self.per_character)
        )


@dataclass(frozen=True)
class CostTable:
    """Cost of one forward pass over one image, or the mean over images.

    Attributes:
        parts: in the order in which they run.
        workload: what `total` counts.
        size: height and width of the network's input with its padding; None for a mean over
            images of several sizes.
    """

    parts: tuple[PartCost, ...]
    workload: Workload
    size: tuple[int, int] | None = None

    @property
    def published(self) -> float:
        """Multiply-adds that the paper's FLOPs column counts: backbone, FPN and RPN head."""
        return sum(part.per_image for part in self.parts if part.published)

    @property
    def released(self) -> float:
        """The same with the resolution selector, which the authors' released code counts."""
        return self.published + sum(part.per_image for part in self.parts if part.selects)

    @property
    def spotter(self) -> float:
        """Multiply-adds of everything but the resolution selector."""
        return sum(part.total(self.workload) for part in self.parts if not part.selects)

    @property
    def total(self) -> float:
        """Multiply-adds of everything."""
        return sum(part.total(self.workload) for part in self.parts)


def average_table(tables: Sequence[CostTable], counts: Sequence[int]) -> CostTable:
    """Mean of tables with the same parts and workload.

    Args:
        tables: at least one.
        counts: how often each occurs; at least one more than 0.
    """
    number = sum(counts)
    first = tables[0]

    def mean_per_image(index: int) -> float:
        weighted = (c * t.parts[index].per_image for t, c in zip(tables, counts, strict=True))
        return sum(weighted) / number

    parts = tuple(
        replace(part, per_image=mean_per_image(index)) for index, part in enumerate(first.parts)
    )
    return CostTable(parts, first.workload, first.size if len(tables) == 1 else None)
