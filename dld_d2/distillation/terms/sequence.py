"""L_seq: the student shall find probable what the teacher finds most probable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from detectron2.config import CfgNode
from torch import Tensor

from dld_d2.distillation.terms.term import Term, register_term
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.allowed import Rule, whole
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["SequenceTerm", "sequence_loss"]


def sequence_loss(log_probability: Tensor, present: Tensor) -> Tensor:
    """L_seq = -log sum_{j<=K} p(yhat_j | student), averaged over the words (equation 9).

    Probabilities of sequences are far below what a float holds, so their logarithms are added.

    Args:
        log_probability: (N, K), of the teacher's most probable sequences yhat_j by the student;
            gets a gradient.
        present: (N, K) bool, whether there is such a sequence; a word without any does not count.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no sequence.
    """
    log_probability = log_probability.to(torch.promote_types(log_probability.dtype, torch.float32))
    counts = present.any(dim=1)
    # Rows that do not count keep finite numbers, for the sake of the gradient.
    absent = ~present & counts[:, None]
    total = log_probability.masked_fill(absent, float("-inf")).logsumexp(dim=1)
    return -total.masked_fill(~counts, 0).sum() / counts.sum().clamp(min=1)


@register_term("sequence")
class SequenceTerm(Term):
    """L_seq.

    Args:
        weight: of the loss, eta 2.
        num_sequences: K.
        beam_width: of the teacher's search.
        max_length: characters of the longest word.
    """

    allowed: ClassVar[Mapping[str, Rule]] = {
        "NUM_SEQUENCES": whole(1, 1000),
        "BEAM_WIDTH": whole(1, 1000),
    }

    def __init__(
        self,
        *,
        weight: float = 1.0,
        num_sequences: int = 1,
        beam_width: int = 5,
        max_length: int = 32,
    ) -> None:
        super().__init__(weight=weight)
        if not 1 <= num_sequences <= beam_width:
            raise ValueError(
                f"MODEL.DISTILL.SEQUENCE.NUM_SEQUENCES is {num_sequences}; it must be at least 1 "
                f"and at most BEAM_WIDTH, {beam_width}"
            )
        self.num_sequences = num_sequences
        self.beam_width = beam_width
        self.max_length = max_length

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        # Weight of L_seq, eta 2 of the paper.
        node.WEIGHT = 1.0
        # Sequences K of the teacher's search that are taught, and the width of the search.
        node.NUM_SEQUENCES = 1
        node.BEAM_WIDTH = 5

    @classmethod
    def conflicts(cls, cfg: CfgNode) -> Iterator[tuple[str, str]]:
        node = cfg.MODEL.DISTILL.SEQUENCE
        if node.NUM_SEQUENCES > node.BEAM_WIDTH:
            yield (
                "MODEL.DISTILL.SEQUENCE.NUM_SEQUENCES",
                f"at most MODEL.DISTILL.SEQUENCE.BEAM_WIDTH ({node.BEAM_WIDTH})",
            )

    @classmethod
    def from_config(cls, node: CfgNode, student: Spotter, teacher: Spotter) -> SequenceTerm:
        return cls(
            weight=node.WEIGHT,
            num_sequences=node.NUM_SEQUENCES,
            beam_width=node.BEAM_WIDTH,
            max_length=teacher.max_length,
        )

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        found = teacher.k_best(
            num_sequences=self.num_sequences,
            width=self.beam_width,
            max_length=self.max_length,
        )
        present = (found.sequences != Vocabulary.PADDING).any(dim=2)
        log_probability = student.log_probability(found.sequences)
        return {"loss_seq": self.weight * sequence_loss(log_probability, present)}
