"""Dynamic Low-resolution Distillation: a teacher, a student, and what chooses the scale."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from dld_d2.modeling.recognition import RecognitionOutput, beam_search, jitter_targets
from dld_d2.modeling.spotters import Spotter
from dld_d2.modeling.spotters.postprocess import rescale_instances
from dld_d2.modeling.spotters.word_counts import log_words

from .alignment import FeatureAligner, resample_context
from .build import build_distillation_parts
from .losses import (
    accuracy_loss,
    best_scale_loss,
    context_loss,
    cross_entropy_accuracy_loss,
    flops_loss,
    image_divergence,
    roi_loss,
    sequence_loss,
)
from .policy import ScalePolicy
from .settings import DistillationSettings
from .views import scale_images, scale_targets

__all__ = ["DynamicResolutionDistiller"]


@META_ARCH_REGISTRY.register()
class DynamicResolutionDistiller(nn.Module):
    """Distils a spotter that reads every image at a scale of its own.

    Knows spotters through `dld_d2.modeling.spotters.Spotter` only. Gradients: the teacher gets
    none; L_DRS reaches the policy alone; the losses of the student's pass at the chosen scales, and
    L_SKD, reach the student alone. The student's batch statistics move in that pass only, if at
    all (`DistillationSettings.freeze_statistics`). With `DistillationSettings.freeze_student` there
    is no such pass, and L_DRS is the only loss.

    Args:
        student: the spotter that is trained and used.
        policy: chooses scales.
        scales: the k candidates, in (0, 1].
        relative_cost: (k,) forward cost of each in units of the full resolution's.
        settings: of the losses.
        aligner: brings the student's RoI features to the size of a teacher's that are twice as
            large; None if both are of one size.
    """

    @configurable
    def __init__(
        self,
        *,
        student: Spotter,
        policy: ScalePolicy,
        scales: tuple[float, ...],
        relative_cost: Tensor,
        settings: DistillationSettings,
        aligner: FeatureAligner | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.policy = policy
        self.scales = tuple(scales)
        self.settings = settings
        self.aligner = aligner
        self.register_buffer("relative_cost", relative_cost, persistent=False)
        if settings.freeze_student:
            student.requires_grad_(False)
            if aligner is not None:
                aligner.requires_grad_(False)
        self._teacher: tuple[Spotter, ...] = ()
        if hasattr(student, "read_targets"):
            # Evaluation asks for it, and does without where a model lacks it.
            self.read_regions = self._read_regions

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return build_distillation_parts(cfg)

    @property
    def selector(self) -> nn.Module | None:
        """The network that chooses scales, None if the policy has none."""
        return getattr(self.policy, "selector", None)

    @property
    def teacher(self) -> Spotter:
        """The frozen spotter.

        Raises:
            RuntimeError: if none was attached.
        """
        if not self._teacher:
            raise RuntimeError("there is no teacher to learn from; see attach_teacher")
        return self._teacher[0]

    def train(self, mode: bool = True) -> DynamicResolutionDistiller:
        """As for any module, but that what is frozen stays as it is used."""
        super().train(mode)
        if self.settings.freeze_student:
            self.student.eval()
        if self.settings.freeze_statistics:
            for module in self.student.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def attach_teacher(self, teacher: Spotter) -> None:
        """Learn from `teacher`, which is frozen; what is only used needs none.

        It stays out of this module's parameters and state: it is neither trained nor saved.
        """
        self._teacher = (teacher.requires_grad_(False).eval(),)

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's interface.

        Args:
            batched_inputs: what `dld_d2.data.TextDatasetMapper` gives, at full resolution.

        Returns:
            In training the losses. Else, per input, `{"instances", "scale", "relative_cost"}`:
            what the student found, in pixels of the input's original "height" and "width", the
            scale it looked at and what that cost, the full resolution being 1.
        """
        if self.training:
            log_words([x["instances"] for x in batched_inputs])
        images, targets = self.student.preprocess(batched_inputs)
        if self.training:
            return self.losses(images, targets)
        choice = self.policy.choose(images)
        instances = self._infer(images, choice)
        return [
            {
                "instances": rescale_instances(found, (x["height"], x["width"])),
                "scale": self.scales[i],
                "relative_cost": cost,
            }
            for found, x, i, cost in zip(
                instances,
                batched_inputs,
                choice.tolist(),
                self.relative_cost[choice].tolist(),
                strict=True,
            )
        ]

    @torch.no_grad()
    def _read_regions(self, batched_inputs: list[dict]) -> list[list[str]]:
        """Texts of all ground-truth regions that are not don't-care, per input in target order,
        each image read at the scale that is chosen for it."""
        images, targets = self.student.preprocess(batched_inputs)
        scales = [self.scales[i] for i in self.policy.choose(images).tolist()]
        return self.student.read_targets(*self._view(images, targets, scales))

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """All losses of a training step.

        Args:
            images: at full resolution, normalised and padded.
            targets: their ground truth.
        """
        settings = self.settings
        if settings.region_jitter > 0:
            # Drawn once: teacher, candidates and student look at the same regions.
            targets = jitter_targets(targets, settings.region_jitter)
        taught = self._teach(images, targets)
        if settings.estimator == "best_scale":
            h, logits = self.policy.sample_with_logits(images)  # B, k
        else:
            h, logits = self.policy.sample(images), None
        choice = h.detach().argmax(dim=1)
        self._log_choice(choice)

        rows = _image_of_each_row(targets)
        # Before the selected pass, whose graph would be held in memory beside theirs.
        chooses = self.policy.learned and settings.drs_weight > 0
        drs_losses = self._drs_losses(h, logits, images, targets, taught, rows) if chooses else {}
        if settings.freeze_student:
            return drs_losses

        view, view_targets = self._view(images, targets, [self.scales[i] for i in choice.tolist()])
        losses, learnt = self.student.losses(view, view_targets)
        if settings.skd_weight > 0:
            losses |= self._skd_losses(
                learnt,
                taught,
                any_words=len(rows) > 0,
                max_length=targets[0].gt_texts.shape[1] - 1,
            )
        return losses | drs_losses

    def _teach(self, images: ImageList, targets: list[Instances]) -> RecognitionOutput | None:
        """What the teacher sees at full resolution; None if no loss asks for it."""
        settings = self.settings
        chooses = self.policy.learned and settings.drs_weight > 0
        distils = settings.skd_weight > 0 and not settings.freeze_student
        if not distils and not (chooses and settings.accuracy_target == "teacher"):
            return None
        with self._without_gradient():
            return self.teacher.recognize(images, targets)

    def _skd_losses(
        self,
        learnt: RecognitionOutput,
        taught: RecognitionOutput,
        *,
        any_words: bool,
        max_length: int,
    ) -> dict[str, Tensor]:
        """L_SKD. A batch without words has one row that stands for nothing: its loss is 0."""
        settings = self.settings
        weight = settings.skd_weight * any_words
        losses = {}
        if settings.roi_weight > 0 and learnt.roi_features is not None:
            features = learnt.roi_features
            if self.aligner is not None:
                features = self.aligner(features)
            distance = roi_loss(features, taught.roi_features)
            losses["loss_roi"] = weight * settings.roi_weight * distance
        if settings.context_weight > 0:
            context = taught.context
            if self.aligner is not None:
                # The sequence encoder makes a row of 4 rows, and one fewer of several.
                rows = taught.roi_features.shape[2] // 4 - 1
                context = resample_context(context, rows=rows, length=learnt.context.shape[1])
            distance = context_loss(learnt.context, context)
            losses["loss_con"] = weight * settings.context_weight * distance
        if settings.sequence_weight > 0:
            with self._without_gradient():
                found = beam_search(
                    taught.decoder,
                    taught.context,
                    width=settings.beam_width,
                    num_sequences=settings.num_sequences,
                    max_length=max_length,
                )
            n, k, t = found.sequences.shape
            context = learnt.context.repeat_interleave(k, dim=0)
            logits = learnt.decoder(context, found.sequences.view(n * k, t))
            distance = sequence_loss(logits.view(n, k, t, -1), found.sequences)
            losses["loss_seq"] = weight * settings.sequence_weight * distance
        return losses

    def _drs_losses(
        self,
        h: Tensor,
        logits: Tensor | None,
        images: ImageList,
        targets: list[Instances],
        taught: RecognitionOutput | None,
        rows: Tensor,
    ) -> dict[str, Tensor]:
        """L_DRS = L_acc + gamma L_flops, of the batch's first images, into the policy alone."""
        settings = self.settings
        count = max(1, round(settings.drs_batch_fraction * len(images)))
        images = ImageList(images.tensor[:count], images.image_sizes[:count])
        targets, rows = targets[:count], rows[rows < count]
        h, logits = h[:count], None if logits is None else logits[:count]
        teacher_logits = None
        if len(rows) > 0:
            candidates = self._candidate_logits(images, targets)
            # All end with their longest word, which another image of the batch may exceed.
            length = candidates.shape[2]
            texts = torch.cat([t.gt_texts[t.gt_readable] for t in targets])[:, :length]
            if settings.accuracy_target == "teacher":
                teacher_logits = taught.logits[: len(rows), :length]
        if settings.estimator == "best_scale":
            costs = settings.gamma * self.relative_cost.expand(len(images), -1)
            if len(rows) > 0:
                costs = costs + image_divergence(
                    candidates, teacher_logits, texts, rows, len(images)
                )
            loss = best_scale_loss(
                logits, costs, settings.target_temperature, settings.regret_power
            )
            return {"loss_scale": settings.drs_weight * loss}
        cost = settings.drs_weight * settings.gamma * flops_loss(h, self.relative_cost)
        if len(rows) == 0:
            return {"loss_flops": cost, "loss_acc": 0 * h.sum()}
        if teacher_logits is not None:
            distance = accuracy_loss(h, candidates, teacher_logits, texts, rows)
        else:
            distance = cross_entropy_accuracy_loss(h, candidates, texts, rows)
        return {"loss_flops": cost, "loss_acc": settings.drs_weight * distance}

    def _candidate_logits(self, images: ImageList, targets: list[Instances]) -> Tensor:
        """(k, N, T, V): what the student reads at each scale, as it would at inference."""
        logits = []
        with self._without_gradient(), _evaluating(self.student):
            for scale in self.scales:
                view = self._view(images, targets, [scale] * len(images))
                logits.append(self.student.recognize(*view).logits.float())
        return torch.stack(logits)

    def _view(
        self, images: ImageList, targets: list[Instances], scales: list[float]
    ) -> tuple[ImageList, list[Instances]]:
        view = scale_images(images, scales, size_divisibility=self.student.size_divisibility)
        return view, scale_targets(targets, view.image_sizes)

    @torch.no_grad()
    def _infer(self, images: ImageList, choice: Tensor) -> list[Instances]:
        """Images of equal scale together; results in pixels of `images`, in their order."""
        groups: dict[int, list[int]] = {}
        for image, candidate in enumerate(choice.tolist()):
            groups.setdefault(candidate, []).append(image)
        results: list[Instances | None] = [None] * len(images)
        for candidate, members in groups.items():
            view = scale_images(
                [images[i] for i in members],
                [self.scales[candidate]] * len(members),
                size_divisibility=self.student.size_divisibility,
            )
            for i, found in zip(members, self.student.inference(view), strict=True):
                results[i] = rescale_instances(found, images.image_sizes[i])
        return results

    @contextlib.contextmanager
    def _without_gradient(self) -> Iterator[None]:
        precision = self.settings.no_grad_precision
        device = self.relative_cost.device.type
        with (
            torch.no_grad(),
            contextlib.nullcontext()
            if precision == torch.float32
            else torch.autocast(device, dtype=precision),
        ):
            yield

    def _log_choice(self, choice: Tensor) -> None:
        if not has_event_storage():
            return
        storage = get_event_storage()
        share = torch.bincount(choice, minlength=len(self.scales)) / len(choice)
        values = torch.cat([share, self.relative_cost[choice].mean()[None]]).tolist()
        for scale, value in zip(self.scales, values, strict=False):
            storage.put_scalar(f"scale/{scale:g}", value)
        storage.put_scalar("scale/mean_relative_cost", values[-1])


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


def _image_of_each_row(targets: list[Instances]) -> Tensor:
    """(N,) int64: which image each row of a `RecognitionOutput` belongs to, N >= 0."""
    return torch.cat(
        [torch.full_like(t.gt_classes[t.gt_readable], i) for i, t in enumerate(targets)]
    )
