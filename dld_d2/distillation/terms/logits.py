"""L_logits: the student shall tell characters apart as the teacher does, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from dld_d2.distillation.terms.term import Term, mean_of_steps, register_term
from dld_d2.modeling.recognition.decoding import CharacterDecoder
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.allowed import Rule, number, one_of
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["LogitsTerm", "divergence_of_logits", "logits_loss", "released_logits_loss"]

FORMS = ("hinton", "released")


def divergence_of_logits(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL( softmax(teacher / tau) || softmax(student / tau) ) of each step.

    Args:
        student: (N, T, V) logits, N >= 0; get a gradient.
        teacher: (N, T, V) logits.
        temperature: tau.

    Returns:
        (N, T) float32 at least.

    Raises:
        ValueError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"L_logits: the student's logits are {tuple(student.shape)}, the teacher's "
            f"{tuple(teacher.shape)}; they cannot be compared"
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    own = (student.to(dtype) / temperature).log_softmax(dim=-1)
    seen = (teacher.detach().to(dtype) / temperature).log_softmax(dim=-1)
    return F.kl_div(own, seen, reduction="none", log_target=True).sum(dim=-1)


def logits_loss(student: Tensor, teacher: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """tau^2 times the mean divergence of the M characters and ends (Hinton et al., Distilling the
    Knowledge in a Neural Network, 2015).

    Args:
        student, teacher: see `divergence_of_logits`.
        valid: (N, T) bool, the steps that count.
        temperature: tau; by its square gradients keep their size whatever it is.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no step.
    """
    steps = divergence_of_logits(student, teacher, temperature)
    return temperature**2 * mean_of_steps(steps, valid)


def released_logits_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The mean divergence of all steps, padding included, without tau^2.

    So it stands, unused, in the code released with the paper on DLD, beside L_seq.

    Args:
        student, teacher: see `divergence_of_logits`; of as many steps as the longest word may have.
        temperature: tau.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no word.
    """
    steps = divergence_of_logits(student, teacher, temperature)
    return steps.sum() / max(1, steps.numel())


@register_term("logits")
class LogitsTerm(Term):
    """L_logits, along the ground-truth text.

    Args:
        weight: of the loss.
        temperature: tau.
        form: one of `FORMS`.
        num_steps: of the released form, the characters of the longest word and its end.
    """

    allowed: ClassVar[Mapping[str, Rule]] = {
        "FORM": one_of(FORMS),
        "TEMPERATURE": number(above=0),
    }

    def __init__(
        self,
        *,
        weight: float = 1.0,
        temperature: float = 2.0,
        form: str = "hinton",
        num_steps: int = 33,
    ) -> None:
        super().__init__(weight=weight)
        if form not in FORMS:
            raise ValueError(
                f"MODEL.DISTILL.LOGITS.FORM: {form!r} is none of {', '.join(map(repr, FORMS))}"
            )
        if not temperature > 0:
            raise ValueError(f"MODEL.DISTILL.LOGITS.TEMPERATURE is {temperature}; it is above 0")
        self.temperature = temperature
        self.form = form
        self.num_steps = num_steps

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        # Weight of L_logits.
        node.WEIGHT = 1.0
        # Temperature tau of both softmaxes. Bhunia et al. have 2 (as recalled), the code released
        # with DLD, where it stands unused, 5.
        node.TEMPERATURE = 2.0
        # "hinton": tau^2 times the mean over characters and ends; or "released": the mean over all
        # steps up to the length of the longest word, padding included, without tau^2, which makes
        # gradients 25 times smaller at tau = 5. It decodes all words once more.
        node.FORM = "hinton"

    @classmethod
    def from_config(cls, node: CfgNode, student: Spotter, teacher: Spotter) -> LogitsTerm:
        for who, spotter in (("student", student), ("teacher", teacher)):
            if not any(isinstance(module, CharacterDecoder) for module in spotter.modules()):
                raise ValueError(
                    f"L_logits: the decoder of the {who}, a {type(spotter).__name__}, has logits "
                    "for places in a word, not for its characters, so that they do not line up; "
                    'take "logits" out of MODEL.DISTILL.TERMS ("sequence" fits any decoder)'
                )
        return cls(
            weight=node.WEIGHT,
            temperature=node.TEMPERATURE,
            form=node.FORM,
            num_steps=student.max_length + 1,
        )

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        if self.form == "hinton":
            loss = logits_loss(student.logits, teacher.logits, student.valid, self.temperature)
        else:
            own = self._all_steps(student)
            with torch.no_grad():
                seen = self._all_steps(teacher)
            loss = released_logits_loss(own, seen, self.temperature)
        return {"loss_logits": self.weight * loss}

    def _all_steps(self, reading: Reading) -> Tensor:
        """Logits (N, num_steps, V) along texts that are padded to the full length."""
        missing = self.num_steps - reading.texts.shape[1]
        texts = F.pad(reading.texts, (0, missing), value=Vocabulary.PADDING)
        return reading.decoder(reading.context, texts)
