"""Dynamic Low-resolution Distillation: one training step, as in figure 2 of the paper."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from dld_d2.data.augmentation import varies
from dld_d2.distillation.learning.learning import (
    Candidate,
    ScaleLearning,
    Unlearned,
    find_learning,
)
from dld_d2.distillation.spotting_errors import spotting_errors
from dld_d2.distillation.terms.term import Term, find_term
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.selection.policies import DynamicScale
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.modeling.spotters.word_counts import log_words

__all__ = ["Distiller"]

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Distiller(nn.Module):
    """Trains a `DynamicSpotter` by what a frozen teacher sees at full resolution.

    It knows spotters through their contract, losses as a list of terms, and the way in which the
    selector learns by its interface. Gradients: the teacher gets none; the losses of choosing reach
    the policy alone; those of the student's pass at the chosen scales, and the terms, reach the
    student's spotter and the terms' adapters alone. The student's batch statistics move in that
    pass only, if at all.

    Args:
        student: what is trained; the spotter in it should start from the teacher's weights.
        teacher: frozen; it stays out of this module's parameters and state.
        terms: of the distillation loss.
        learning: draws the scales, and says what the selector learns from them.
        freeze_statistics: whether the student's batch norms keep the statistics that they have.
        freeze_student: whether the selector learns alone, beside a student that stays as it is.
        remember: whether what the candidates make of an image is found out once, and remembered by
            the image's name. It takes a frozen student, images that are the same each time, and a
            learning that knows its accuracy image by image; else nothing is remembered.
        no_grad_precision: type of the passes without gradient.
        match_iou: overlap that a found word needs to count, for a learning that looks at that.

    Raises:
        ValueError: if a term needs what one of the spotters does not offer, if they read other
            vocabularies, or if there is nothing to learn.
    """

    @configurable
    def __init__(
        self,
        *,
        student: DynamicSpotter,
        teacher: Spotter,
        terms: Sequence[Term],
        learning: ScaleLearning,
        freeze_statistics: bool = False,
        freeze_student: bool = False,
        remember: bool = False,
        no_grad_precision: torch.dtype = torch.float32,
        match_iou: float = 0.5,
    ) -> None:
        super().__init__()
        if freeze_student and learning.num_images(1) == 0:
            raise ValueError(
                "MODEL.DISTILL.FREEZE_STUDENT leaves nothing to learn where no selector does; "
                'MODEL.DYNAMIC.POLICY must be "selector"'
            )
        _check_teacher(student.spotter, teacher, terms)
        missing = sorted(set(learning.needs) - set(student.spotter.feature_shapes))
        if missing:
            raise ValueError(
                f"MODEL.DISTILL.SELECTOR.DETECTION_WEIGHT: a {type(student.spotter).__name__} does "
                f"not tell its {', '.join(missing)}; set it to 0"
            )
        self.student = student
        self.terms = nn.ModuleList(terms)
        self.learning = learning
        self.freeze_statistics = freeze_statistics
        self.freeze_student = freeze_student
        self.no_grad_precision = no_grad_precision
        self.match_iou = match_iou
        self._remembered: dict[str, Tensor] | None = None
        if remember and freeze_student and learning.by_image:
            self._remembered = {}
        # Features of the teacher's and the student's reading.
        self.want = frozenset().union(*(term.needs for term in terms if not freeze_student))
        if freeze_student:
            student.spotter.requires_grad_(False)
            self.terms.requires_grad_(False)
        # In a tuple, so that it is no submodule.
        self._teacher = (teacher.requires_grad_(False).eval(),)

    @classmethod
    def from_config(cls, cfg: CfgNode, student: DynamicSpotter, teacher: Spotter) -> dict:
        distill = cfg.MODEL.DISTILL
        if distill.NO_GRAD_PRECISION not in _PRECISIONS:
            raise ValueError(
                f"MODEL.DISTILL.NO_GRAD_PRECISION: {distill.NO_GRAD_PRECISION!r} is not one of "
                f"{', '.join(_PRECISIONS)}"
            )
        found = [find_term(word) for word in distill.TERMS]
        names = [term.name for term in found]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"MODEL.DISTILL.TERMS: {name} occurs twice")
        _check_teacher(student.spotter, teacher, found)
        learning: ScaleLearning = Unlearned()
        if isinstance(student.policy, DynamicScale):
            learning = find_learning(distill.SELECTOR.LEARNING).from_config(cfg)
        return {
            "student": student,
            "teacher": teacher,
            "terms": [
                term.from_config(distill[term.name.upper()], student.spotter, teacher)
                for term in found
            ],
            "learning": learning,
            "freeze_statistics": distill.FREEZE_STATISTICS,
            "freeze_student": distill.FREEZE_STUDENT,
            "remember": distill.FREEZE_STUDENT and not varies(cfg),
            "no_grad_precision": _PRECISIONS[distill.NO_GRAD_PRECISION],
            "match_iou": cfg.TEST.MATCH_IOU,
        }

    @property
    def teacher(self) -> Spotter:
        return self._teacher[0]

    def train(self, mode: bool = True) -> Distiller:
        """As for any module, but that what is frozen stays as it is used."""
        super().train(mode)
        if self.freeze_student:
            self.student.spotter.eval()
        if self.freeze_statistics:
            for module in self.student.spotter.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's interface.

        Args:
            batched_inputs: what `dld_d2.data.mapper.TextDatasetMapper` gives, at full resolution.

        Returns:
            In training the losses. Else what the student returns.
        """
        if not self.training:
            return self.student(batched_inputs)
        images, targets = self.student.spotter.preprocess(batched_inputs)
        log_words(targets)
        if self._remembered is not None:
            names = [item["file_name"] for item in batched_inputs]
            return self._remembering_losses(images, targets, names)
        return self.losses(images, targets)

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """All losses of a training step.

        Args:
            images: at full resolution, normalised and padded.
            targets: their ground truth.
        """
        # Drawn once: teacher, candidates and student look at the same regions.
        targets = self.student.spotter.perturb(targets)
        taught = self._teach(images, targets)
        choice = self.learning.draw(self.student.policy, images)
        self._log_choice(choice.index)

        losses = {}
        # Before the selected pass, whose graph would be held in memory beside theirs.
        count = self.learning.num_images(len(images))
        if count > 0:
            first = ImageList(images.tensor[:count], images.image_sizes[:count])
            losses |= self.learning.losses(
                choice.of_first_images(count),
                self._candidates(first, targets[:count]),
                taught.of_first_images(count) if self.learning.needs_teacher else None,
                self.student.relative_cost,
            )
        if self.freeze_student:
            return losses

        view, view_targets = self.student.view_with_targets(images, targets, choice.index.tolist())
        own, learnt = self.student.spotter.losses(view, view_targets, self.want)
        return _together([own, losses, *(term(learnt, taught) for term in self.terms)])

    def _remembering_losses(
        self, images: ImageList, targets: list[Instances], names: Sequence[str]
    ) -> dict[str, Tensor]:
        """Losses of the selector alone; candidates are passed for images not seen before."""
        choice = self.learning.draw(self.student.policy, images)
        self._log_choice(choice.index)
        names = names[: self.learning.num_images(len(images))]
        for index, name in enumerate(names):
            if name not in self._remembered:
                image = self.student.spotter.batch([images[index]])
                target = self.student.spotter.perturb(targets[index : index + 1])
                accuracy = self.learning.accuracy(
                    self._candidates(image, target), self._teach(image, target), 1
                )
                self._remembered[name] = accuracy[0]
        accuracy = torch.stack([self._remembered[name] for name in names])
        choice = choice.of_first_images(len(names))
        return self.learning.losses_of(choice, accuracy, self.student.relative_cost)

    def _teach(self, images: ImageList, targets: list[Instances]) -> Reading | None:
        """What the teacher sees at full resolution; None if nothing asks for it."""
        distils = len(self.terms) > 0 and not self.freeze_student
        if not distils and not self.learning.needs_teacher:
            return None
        with self._without_gradient():
            return self.teacher.recognize(images, targets, self.want).float()

    def _candidates(self, images: ImageList, targets: list[Instances]) -> list[Candidate]:
        """What the student makes of images at each scale, as it would at inference."""
        candidates, spotter, learning = [], self.student.spotter, self.learning
        with self._without_gradient(), _evaluating(spotter):
            for index in range(len(self.student.scales)):
                view = self.student.view_with_targets(images, targets, [index] * len(images))
                reading = errors = None
                if learning.reads:
                    reading = spotter.recognize(*view, learning.needs).float()
                if learning.by_spotting:
                    found = spotter.inference(view[0])
                    errors = spotting_errors(found, targets, spotter.vocabulary, self.match_iou)
                candidates.append(Candidate(reading, errors))
        return candidates

    @contextlib.contextmanager
    def _without_gradient(self) -> Iterator[None]:
        """Within it nothing is differentiated, in the precision of such passes.

        Autocast keeps a copy of each weight in the lower precision, and hands out the same copy
        until its outermost context ends. A copy that was made here has no graph: the student's pass
        with gradient, within the trainer's autocast, would take it and train nothing of its
        convolutions and linear layers. So copies are dropped at both ends.
        """
        precision = self.no_grad_precision
        device = self.student.relative_cost.device.type
        lower = (
            contextlib.nullcontext()
            if precision == torch.float32
            else torch.autocast(device, dtype=precision)
        )
        torch.clear_autocast_cache()
        try:
            with torch.no_grad(), lower:
                yield
        finally:
            torch.clear_autocast_cache()

    def _log_choice(self, choice: Tensor) -> None:
        if not has_event_storage():
            return
        storage = get_event_storage()
        scales, cost = self.student.scales, self.student.relative_cost
        share = torch.bincount(choice, minlength=len(scales)) / len(choice)
        values = torch.cat([share, cost[choice].mean()[None]]).tolist()
        for scale, value in zip(scales, values, strict=False):
            storage.put_scalar(f"scale/{scale:g}", value)
        storage.put_scalar("scale/mean_relative_cost", values[-1])


def _together(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    together: dict[str, Tensor] = {}
    for part in parts:
        if twice := together.keys() & part.keys():
            raise ValueError(f"two losses are called {', '.join(sorted(twice))}")
        together |= part
    return together


def _check_teacher(student: Spotter, teacher: Spotter, terms: Sequence) -> None:
    if student.vocabulary.characters != teacher.vocabulary.characters:
        raise ValueError(
            "teacher and student read other characters; MODEL.RECOGNITION.VOCABULARY must be the "
            "same for both"
        )
    for term in terms:
        for who, spotter in (("student", student), ("teacher", teacher)):
            missing = sorted(set(term.needs) - set(spotter.feature_shapes))
            if missing:
                raise ValueError(
                    f"MODEL.DISTILL.TERMS: {term.name} needs the features {', '.join(missing)}, "
                    f"which the {who}, a {type(spotter).__name__}, does not offer; it offers "
                    f"{', '.join(sorted(spotter.feature_shapes)) or 'none'}"
                )


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Within the context all submodules are in eval mode; then each is as it was before."""
    was_training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in was_training:
            m.training = True
