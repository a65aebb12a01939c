"""The losses of choosing, as pure functions of tensors.

Symbols are those of the paper (Dynamic Low-Resolution Distillation for Cost-Efficient End-to-End
Text Spotting, ECCV 2022). Below, a batch has B images with N >= 0 words in total, read at P
positions with V classes; there are k candidate scales. Everything is computed in float32 at least.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dld_d2.modeling.recognition.reading import Reading
from dld_d2.structures.vocabulary import Vocabulary

__all__ = [
    "accuracy_loss",
    "best_scale_loss",
    "cross_entropy_accuracy_loss",
    "expected_loss",
    "flops_loss",
    "image_divergence",
]


def accuracy_loss(
    selection: Tensor,
    candidate_logits: Tensor,
    teacher_logits: Tensor,
    valid: Tensor,
    image_index: Tensor,
) -> Tensor:
    """L_acc = KL( sum_i h_i y_si || y ): the chosen scale's divergence from the teacher.

    The scales' *distributions* are mixed, not their logits. The divergence is averaged over all
    characters and ends of the batch, as the recognition loss is.

    Args:
        selection: h, (B, k): per image, how much each scale is chosen; >= 0 with a sum of 1. The
            only argument that gets a gradient.
        candidate_logits: of y_si, (k, N, P, V): the student's at each scale.
        teacher_logits: of y, (N, P, V).
        valid: (N, P) bool, the positions that say something.
        image_index: (N,) int64, the image of each word.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no valid position.
    """
    weights = selection[image_index].t()  # k, N
    with torch.no_grad():
        student = _log_softmax(candidate_logits)
        mixture = (weights.log()[..., None, None] + student).logsumexp(dim=0)
        ratio = mixture - _log_softmax(teacher_logits)  # N, P, V: log P/Q
        expected_ratio = ((student.exp() * ratio).sum(dim=-1) * valid).sum(dim=-1)  # k, N
        length = valid.sum(dim=-1)
    # KL = sum_i h_i E_i[log P/Q], and its derivative by h_i is E_i[log P/Q] + 1, E_i being the
    # mean under y_si. Autograd through log(sum_i h_i y_si) would give the same, but NaN where a
    # probability underflows; the last term gives the 1 without changing the value.
    loss = (weights * expected_ratio).sum() + ((weights - weights.detach()) * length).sum()
    return loss / length.sum().clamp(min=1)


def cross_entropy_accuracy_loss(
    selection: Tensor, candidate_logits: Tensor, reading: Reading
) -> Tensor:
    """L_acc as in the authors' released code: cross-entropy to the ground truth.

    Departs from the paper in a second way: the scales' *logits* are mixed. At a one-hot selection
    the value is the chosen scale's recognition loss.

    Args:
        selection, candidate_logits: as of `accuracy_loss`, which compares with the teacher instead.
        reading: of these words at any scale; tells their texts.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no character.
    """
    weights = selection[reading.image_index].t()[..., None, None]
    mixed = (weights * candidate_logits.detach()).sum(dim=0)
    return reading.negative_log_likelihood(mixed).sum() / _lengths(reading).sum().clamp(min=1)


def image_divergence(
    candidates: Sequence[Reading], teacher: Reading | None, num_images: int
) -> Tensor:
    """What every scale would have cost in accuracy, image by image.

    Args:
        candidates: of the student at each scale.
        teacher: of the same words, for KL( y_si || y ) per position, as in `accuracy_loss`; None
            for the cross-entropy to the ground truth.
        num_images: B.

    Returns:
        (B, k) without gradient, averaged over the positions, or the characters and ends, of each
        image; 0 for an image without words.
    """
    first = candidates[0]
    with torch.no_grad():
        if teacher is None:
            distance = [reading.negative_log_likelihood() for reading in candidates]
            lengths = _lengths(first)
        else:
            target = _log_softmax(teacher.logits[:, : first.logits.shape[1]])
            student = [_log_softmax(reading.logits) for reading in candidates]
            distance = [
                ((s.exp() * (s - target)).sum(dim=-1) * first.valid).sum(dim=-1) for s in student
            ]
            lengths = first.valid.sum(dim=-1)
        per_row = torch.stack(distance, dim=1)  # N, k
        sums = per_row.new_zeros(num_images, len(candidates))
        sums.index_add_(0, first.image_index, per_row)
        count = per_row.new_zeros(num_images)
        count.index_add_(0, first.image_index, lengths.to(count.dtype))
        return sums / count.clamp(min=1)[:, None]


def best_scale_loss(
    logits: Tensor, scale_losses: Tensor, temperature: float, regret_power: float = 0.0
) -> Tensor:
    """Cross-entropy of the selector to the scales that would have been best.

    Ours, beside the paper's Gumbel-softmax. All candidates are passed in either case, so that the
    best one is known, and needs not be found by trial: the gradient is that of a classification,
    which does not fade where the selector is sure of a wrong scale.

    Args:
        logits: the selector's, (B, k); gets a gradient.
        scale_losses: what each scale costs in accuracy and time together, (B, k).
        temperature: above 0; scales whose losses differ by less than this are nearly as good.
        regret_power: an image counts as much as this power of the difference between its worst
            scale's loss and its best one's. At 0 all count alike; at 1, where an image may be of
            one kind or of another, the scale wins whose expected loss is the smaller one.

    Returns:
        A scalar, averaged over the images.
    """
    scale_losses = _at_least_float32(scale_losses.detach())
    target = (-scale_losses / temperature).softmax(dim=1)
    weight = (scale_losses.amax(dim=1) - scale_losses.amin(dim=1)) ** regret_power
    return -(weight * (target * _log_softmax(logits)).sum(dim=1)).mean()


def expected_loss(selection: Tensor, scale_losses: Tensor) -> Tensor:
    """What the chosen scale costs, averaged over the images.

    Ours, for what is known of detection. The paper's L_acc looks at ground-truth regions alone,
    where nothing has to be found; its text says that the scale with "the highest detection
    accuracy" shall win.

    Args:
        selection: h, (B, k); gets a gradient.
        scale_losses: what each candidate costs, (B, k).

    Returns:
        A scalar.
    """
    return (selection * _at_least_float32(scale_losses.detach())).sum(dim=1).mean()


def flops_loss(selection: Tensor, relative_cost: Tensor) -> Tensor:
    """L_flops = sum_i h_i T_i, averaged over the images.

    Args:
        selection: h, (B, k), B >= 1; gets a gradient.
        relative_cost: T_i, (k,): average cost of a forward pass at each scale, the teacher's
            being 1.
    """
    return (selection * relative_cost).sum(dim=1).mean()


def _lengths(reading: Reading) -> Tensor:
    """(N,) characters of each text, its end included."""
    return (reading.texts != Vocabulary.PADDING).sum(dim=-1)


def _log_softmax(logits: Tensor) -> Tensor:
    return _at_least_float32(logits).log_softmax(dim=-1)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
