"""The losses of dynamic low-resolution distillation, as pure functions of tensors.

Symbols are those of the paper (Dynamic Low-Resolution Distillation for Cost-Efficient End-to-End
Text Spotting, ECCV 2022). Below, a batch has B images with N words in total, of at most T
characters out of V classes; there are k candidate scales. `texts` is (N, T) int64 as
`Vocabulary.encode` gives them. Everything is computed in float32 at least.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dld_d2.modeling.recognition import Vocabulary, recognition_loss

__all__ = [
    "accuracy_loss",
    "best_scale_loss",
    "context_loss",
    "cross_entropy_accuracy_loss",
    "flops_loss",
    "image_divergence",
    "power_law_cost",
    "roi_loss",
    "sequence_loss",
]


def accuracy_loss(
    selection: Tensor,
    candidate_logits: Tensor,
    teacher_logits: Tensor,
    texts: Tensor,
    image_index: Tensor,
) -> Tensor:
    """L_acc = KL( sum_i h_i y_si || y ): the chosen scale's divergence from the teacher.

    The scales' *distributions* are mixed, not their logits. The divergence is averaged over all
    characters and ends of the batch, as the recognition loss is.

    Args:
        selection: h, (B, k): per image, how much each scale is chosen; >= 0 with a sum of 1. The
            only argument that gets a gradient.
        candidate_logits: of y_si, (k, N, T, V): the student's at each scale.
        teacher_logits: of y, (N, T, V).
        texts: (N, T); only tells where characters are.
        image_index: (N,) int64, the image of each word.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no character.
    """
    weights = selection[image_index].t()  # k, N
    with torch.no_grad():
        student = _log_softmax(candidate_logits)
        mixture = (weights.log()[..., None, None] + student).logsumexp(dim=0)
        ratio = mixture - _log_softmax(teacher_logits)  # N, T, V: log P/Q
        valid = texts != Vocabulary.PADDING
        expected_ratio = ((student.exp() * ratio).sum(dim=-1) * valid).sum(dim=-1)  # k, N
        length = valid.sum(dim=-1)
    # KL = sum_i h_i E_i[log P/Q], and its derivative by h_i is E_i[log P/Q] + 1, E_i being the
    # mean under y_si. Autograd through log(sum_i h_i y_si) would give the same, but NaN where a
    # probability underflows; the last term gives the 1 without changing the value.
    loss = (weights * expected_ratio).sum() + ((weights - weights.detach()) * length).sum()
    return loss / length.sum().clamp(min=1)


def cross_entropy_accuracy_loss(
    selection: Tensor, candidate_logits: Tensor, texts: Tensor, image_index: Tensor
) -> Tensor:
    """L_acc as in the authors' released code: cross-entropy to the ground truth.

    Departs from the paper in a second way: the scales' *logits* are mixed. At a one-hot selection
    the value is the chosen scale's recognition loss.

    Args and returns: as for `accuracy_loss`, which compares with the teacher instead.
    """
    weights = selection[image_index].t()[..., None, None]
    return recognition_loss((weights * candidate_logits.detach()).sum(dim=0), texts)


def image_divergence(
    candidate_logits: Tensor,
    teacher_logits: Tensor | None,
    texts: Tensor,
    image_index: Tensor,
    num_images: int,
) -> Tensor:
    """What every scale would have cost in accuracy, image by image.

    Args:
        candidate_logits: of y_si, (k, N, T, V): the student's at each scale.
        teacher_logits: of y, (N, T, V), for KL( y_si || y ) per character, as in `accuracy_loss`;
            None for the cross-entropy to the ground truth.
        texts: (N, T).
        image_index: (N,) int64, the image of each word.
        num_images: B.

    Returns:
        (B, k) without gradient, averaged over the characters and ends of each image; 0 for an image
        without words.
    """
    with torch.no_grad():
        student = _log_softmax(candidate_logits)
        valid = texts != Vocabulary.PADDING
        if teacher_logits is None:
            index = texts.clamp(min=0).expand(len(student), -1, -1)[..., None]
            distance = -student.gather(-1, index).squeeze(-1)
        else:
            distance = (student.exp() * (student - _log_softmax(teacher_logits))).sum(dim=-1)
        sums = student.new_zeros(num_images, len(student))
        sums.index_add_(0, image_index, (distance * valid).sum(dim=-1).t())
        lengths = student.new_zeros(num_images)
        lengths.index_add_(0, image_index, valid.sum(dim=-1).to(lengths.dtype))
        return sums / lengths.clamp(min=1)[:, None]


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


def flops_loss(selection: Tensor, relative_cost: Tensor) -> Tensor:
    """L_flops = sum_i h_i T_i, averaged over the images.

    Args:
        selection: h, (B, k), B >= 1; gets a gradient.
        relative_cost: T_i, (k,): average cost of a forward pass at each scale, the teacher's
            being 1.
    """
    return (selection * relative_cost).sum(dim=1).mean()


def power_law_cost(scales: Sequence[float], exponent: float = 1.5) -> Tensor:
    """T_i = s_i ** exponent, (k,) float32: the released code's stand-in for measured costs."""
    return torch.tensor([scale**exponent for scale in scales], dtype=torch.float32)


def roi_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_roi: mean squared distance of the pooled RoI features.

    Args:
        student: (N, C, H, W); gets a gradient.
        teacher: (N, C, H, W).

    Raises:
        ValueError: if the shapes differ.
    """
    return _mean_squared_distance(
        student,
        teacher,
        "RoI features",
        "give both the same MODEL.RECOGNITION.ROI.SIZE or align the student's with FeatureAligner",
    )


def context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_con: mean squared distance of the contextual features.

    Args:
        student: (N, L, C); gets a gradient.
        teacher: (N, L, C).

    Raises:
        ValueError: if the shapes differ.
    """
    return _mean_squared_distance(
        student,
        teacher,
        "contextual features",
        "give both the same MODEL.RECOGNITION.ROI.SIZE or bring the teacher's to the student's "
        "length with resample_context",
    )


def sequence_loss(student_logits: Tensor, sequences: Tensor) -> Tensor:
    """L_seq = -log sum_{j<=K} p(yhat_j | student), averaged over the words.

    Probabilities of sequences are far below what a float holds, so their logarithms are added.

    Args:
        student_logits: (N, K, T, V), the student decoded along the sequences; gets a gradient.
        sequences: yhat_j, (N, K, T) int64, the teacher's most probable sequences, padded with
            `Vocabulary.PADDING`. A sequence of nothing but padding is absent; a word without any
            sequence does not count.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no sequence.
    """
    known = sequences != Vocabulary.PADDING
    tokens = sequences.clamp(min=0)[..., None]
    characters = _log_softmax(student_logits).gather(-1, tokens).squeeze(-1)
    log_probability = characters.masked_fill(~known, 0).sum(dim=2)  # N, K
    present = known.any(dim=2)
    counts = present.any(dim=1)
    # Rows that do not count keep finite numbers, for the sake of the gradient.
    absent = ~present & counts[:, None]
    total = log_probability.masked_fill(absent, float("-inf")).logsumexp(dim=1)
    return -total.masked_fill(~counts, 0).sum() / counts.sum().clamp(min=1)


def _mean_squared_distance(student: Tensor, teacher: Tensor, name: str, remedy: str) -> Tensor:
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's {name} are {tuple(student.shape)}, the teacher's "
            f"{tuple(teacher.shape)}: {remedy}"
        )
    return F.mse_loss(_at_least_float32(student), _at_least_float32(teacher.detach()))


def _log_softmax(logits: Tensor) -> Tensor:
    return _at_least_float32(logits).log_softmax(dim=-1)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
