"""What a term of the distillation loss is, and how terms are found by name."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor, nn

from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.allowed import Rule

__all__ = [
    "Term",
    "aligned_width",
    "find_term",
    "known_terms",
    "mean_of_steps",
    "mean_squared_distance",
    "reads_by_position",
    "register_term",
]

_TERMS: dict[str, type[Term]] = {}


class Term(nn.Module, ABC):
    """A loss between what the student and what the teacher read of the same regions.

    A term is one file: a pure function of tensors, this thin module around it, and its keys, which
    are those of `MODEL.DISTILL.<NAME>` in the configuration. An adapter that brings the student's
    features to the teacher's size is a part of the module; it is trained with the student and is
    left behind when the student is deployed.

    Rows of both readings are the same words. There may be none: every loss must then be 0 and still
    give each parameter of the term a gradient, which sums over no rows do.

    Attributes:
        name: in `MODEL.DISTILL.TERMS`; in capitals, of its section.
        needs: features that both readings must hold, see `Reading`.
        allowed: what its keys may be, beyond WEIGHT, by their names in its section.
    """

    name: str
    needs: frozenset[str] = frozenset()
    allowed: ClassVar[Mapping[str, Rule]] = {}

    def __init__(self, *, weight: float) -> None:
        super().__init__()
        if not weight > 0:
            raise ValueError(
                f"MODEL.DISTILL.{self.name.upper()}.WEIGHT is {weight}; a weight is above 0. To "
                f'leave the term out, take "{self.name}" out of MODEL.DISTILL.TERMS'
            )
        self.weight = weight

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        """Add the term's keys, with defaults and meaning, to its section of the configuration."""
        # Factor of the term in the sum of all losses.
        node.WEIGHT = 1.0

    @classmethod
    def conflicts(cls, cfg: CfgNode) -> Iterator[tuple[str, str]]:
        """Keys, anywhere in a configuration that asks for the term, whose value it cannot do with,
        and what is expected."""
        return iter(())

    @classmethod
    def from_config(cls, node: CfgNode, student: Spotter, teacher: Spotter) -> Term:
        """Build the term of its section.

        Raises:
            ValueError: naming the key, for a value that cannot be used or sizes that cannot be
                brought together.
        """
        return cls(weight=node.WEIGHT)

    @abstractmethod
    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        """Weighted losses by name; only the student's reading has a gradient."""


def register_term(name: str) -> Callable[[type[Term]], type[Term]]:
    """Make a term known under a name."""

    def register(term: type[Term]) -> type[Term]:
        known = _TERMS.setdefault(name, term)
        if (known.__module__, known.__qualname__) != (term.__module__, term.__qualname__):
            raise ValueError(f"there is a term {name!r} already: {known.__qualname__}")
        term.name = name
        _TERMS[name] = term
        return term

    return register


def known_terms() -> dict[str, type[Term]]:
    """All terms by name: those of this package, each of its modules being one, and those that were
    registered elsewhere."""
    package = importlib.import_module("dld_d2.distillation.terms")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    return dict(_TERMS)


def find_term(word: str) -> type[Term]:
    """The term that a word of `MODEL.DISTILL.TERMS` means: its name; or, for one that lies outside
    of this package, its module, which is imported, a dot, and its name.

    Raises:
        ValueError: if there is no such term; the message lists those that there are.
    """
    module, _, name = word.rpartition(".")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"MODEL.DISTILL.TERMS: {word}: {error}") from None
    known = known_terms()
    if name not in known or (module and known[name].__module__ != module):
        raise ValueError(
            f"MODEL.DISTILL.TERMS: there is no term {word!r}; registered are "
            f"{', '.join(sorted(known))}"
        )
    return known[name]


def aligned_width(
    student: tuple[int, ...] | None, teacher: tuple[int, ...] | None, device: torch.device
) -> nn.Linear | None:
    """What brings the last dimension of the student's features to the width of the teacher's.

    Args:
        student, teacher: shapes of a row, see `Spotter.feature_shapes`.
        device: of the layer.

    Returns:
        A linear layer, a 1 x 1 convolution over a sequence; None if both are equally wide, or their
        shapes are not known.
    """
    if student is None or teacher is None or student[-1] == teacher[-1]:
        return None
    return nn.Linear(student[-1], teacher[-1]).to(device)


def reads_by_position(spotter: Spotter) -> bool:
    """Whether a spotter has an element of its sequences for each character, as MANGO has, and not
    for each place in the word: such sequences cannot be resampled."""
    roi = spotter.feature_shapes.get("roi")
    return roi is not None and roi[1] == 1


def mean_of_steps(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the M steps of all words that are judged, their characters and ends.

    Args:
        values: (N, T) float, N >= 0.
        valid: (N, T) bool. What stands elsewhere may be anything that is finite.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no such step.
    """
    return values.masked_fill(~valid, 0).sum() / valid.sum().clamp(min=1)


def mean_squared_distance(student: Tensor, teacher: Tensor, what: str) -> Tensor:
    """Mean of the squared differences; 0 (with a gradient of 0) of no elements.

    Args:
        student: of any shape; gets a gradient.
        teacher: of the same.
        what: name of the features, for the message.

    Raises:
        ValueError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's {what} are {tuple(student.shape)}, the teacher's "
            f"{tuple(teacher.shape)}; they cannot be compared"
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    total = F.mse_loss(student.to(dtype), teacher.detach().to(dtype), reduction="sum")
    return total / max(1, student.numel())
