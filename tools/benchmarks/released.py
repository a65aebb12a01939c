"""The authors' released scheme of a distillation step, as a reference for speed.

Independent of `DynamicResolutionDistiller`: it takes its networks and the loss functions, nothing
else. What the released code does (Dynamic Low-Resolution Distillation for Cost-Efficient End-to-End
Text Spotting, ECCV 2022):

- candidates are read one image and one scale at a time, through all outputs of the FPN;
- words' masks are bitmaps of the whole image, resized for every scale on the CPU, each in turn;
- RoI masking's convolution runs over the whole p2 map, then words are cropped, masked and resized
  in a loop;
- the decoder makes max_length + 1 steps whatever there is to read;
- teacher and candidates skip proposals, box and mask heads, as here; the selected pass is batched.

Whatever changes a loss is as in `DynamicResolutionDistiller` instead: the losses themselves, the
beam search (which the released code does word by word in Python), anti-aliased resizing, and
candidates in evaluation mode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from dld_d2.modeling.distillation import (
    DynamicResolutionDistiller,
    accuracy_loss,
    context_loss,
    flops_loss,
    roi_loss,
    scale_images,
    scale_targets,
    sequence_loss,
)
from dld_d2.modeling.recognition import (
    RecognitionOutput,
    RoIMasking,
    beam_search,
    recognition_loss,
)
from dld_d2.modeling.spotters import MaskRCNNSpotter
from dld_d2.structures import Polygons

__all__ = ["ReleasedScheme", "bitmaps"]


@dataclass(frozen=True)
class _View:
    """A batch at some scales; `masks` are (N_i, H, W) uint8 per image, on the p2 map's grid."""

    images: ImageList
    targets: list[Instances]
    masks: list[np.ndarray]


class ReleasedScheme:
    """A training step on the networks of a distiller whose settings are the paper's.

    Args:
        distiller: with a teacher; its RoI features must be the teacher's size.
    """

    def __init__(self, distiller: DynamicResolutionDistiller) -> None:
        self.distiller = distiller
        self.scales = distiller.scales
        self.student: MaskRCNNSpotter = distiller.student
        self.teacher: MaskRCNNSpotter = distiller.teacher

    def losses(
        self, images: ImageList, targets: list[Instances], masks: list[np.ndarray]
    ) -> dict[str, Tensor]:
        """As `DynamicResolutionDistiller.losses`; `masks` are what `bitmaps` makes of targets."""
        distiller, settings = self.distiller, self.distiller.settings
        with torch.no_grad():
            taught = self._recognize(self.teacher, self._view(images, targets, masks, None))
        h = distiller.policy.sample(images)
        chosen = [self.scales[i] for i in h.argmax(dim=1).tolist()]

        candidates = self._candidates(images, targets, masks)
        losses, learnt = self._selected(self._view(images, targets, masks, chosen))
        losses["loss_roi"] = settings.roi_weight * roi_loss(
            learnt.roi_features, taught.roi_features
        )
        losses["loss_con"] = settings.context_weight * context_loss(learnt.context, taught.context)
        found = beam_search(
            taught.decoder,
            taught.context,
            width=settings.beam_width,
            num_sequences=settings.num_sequences,
            max_length=targets[0].gt_texts.shape[1] - 1,
        )
        n, k, t = found.sequences.shape
        logits = learnt.decoder(
            learnt.context.repeat_interleave(k, dim=0), found.sequences.view(n * k, t)
        )
        losses["loss_seq"] = settings.sequence_weight * sequence_loss(
            logits.view(n, k, t, -1), found.sequences
        )

        rows = torch.cat([torch.full_like(t.gt_classes, i) for i, t in enumerate(targets)])
        texts = torch.cat([t.gt_texts for t in targets])
        losses["loss_acc"] = settings.drs_weight * accuracy_loss(
            h, candidates, taught.logits, texts, rows
        )
        losses["loss_flops"] = (
            settings.drs_weight * settings.gamma * flops_loss(h, distiller.relative_cost)
        )
        return losses

    @torch.no_grad()
    def _candidates(
        self, images: ImageList, targets: list[Instances], masks: list[np.ndarray]
    ) -> Tensor:
        """(k, N, T, V), one image and one scale at a time."""
        per_image = []
        with _evaluating(self.student):
            for i in range(len(images)):
                image = ImageList.from_tensors([images[i]])
                per_scale = []
                for scale in self.scales:
                    view = self._view(image, [targets[i]], [masks[i]], [scale])
                    per_scale.append(self._recognize(self.student, view).logits)
                per_image.append(torch.stack(per_scale))
        return torch.cat(per_image, dim=1)

    def _selected(self, view: _View) -> tuple[dict[str, Tensor], RecognitionOutput]:
        student, images, targets = self.student, view.images, view.targets
        features = student.backbone(images.tensor)
        proposals, rpn_losses = student.proposal_generator(images, features, targets)
        _, roi_losses = student.roi_heads(images, features, proposals, targets)
        output = _read(student, features, view)
        texts = torch.cat([t.gt_texts for t in targets])
        losses = {**rpn_losses, **roi_losses}
        losses["loss_rec"] = student.recognition_weight * recognition_loss(output.logits, texts)
        if student.ctc_weight > 0:
            ctc = student.recognition.ctc_loss(output.context, texts)
            losses["loss_ctc"] = student.ctc_weight * ctc
        return losses, output

    def _recognize(self, spotter: MaskRCNNSpotter, view: _View) -> RecognitionOutput:
        return _read(spotter, spotter.backbone(view.images.tensor), view)

    def _view(
        self,
        images: ImageList,
        targets: list[Instances],
        masks: list[np.ndarray],
        scales: Sequence[float] | None,
    ) -> _View:
        if scales is not None:
            full_sizes = images.image_sizes
            images = scale_images(images, scales, size_divisibility=self.student.size_divisibility)
            targets = scale_targets(targets, images.image_sizes)
        else:
            full_sizes = images.image_sizes
        stride = self.student.recognition.roi_masking.stride
        grid = tuple(side // stride for side in images.tensor.shape[-2:])
        resized = [
            _resize_bitmaps(mask, full, size, grid, stride)
            for mask, full, size in zip(masks, full_sizes, images.image_sizes, strict=True)
        ]
        return _View(images, targets, resized)


def bitmaps(targets: list[Instances]) -> list[np.ndarray]:
    """Words' masks on the whole image, (N, H, W) uint8 per image, as the released loader makes."""
    return [_rasterize(t.gt_masks, t.image_size) for t in targets]


def _rasterize(polygons: Polygons, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    grid = torch.stack(
        torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy"), dim=-1
    )
    masks = np.empty((len(polygons), height, width), dtype=np.uint8)
    for i in range(len(polygons)):
        polygon = polygons[i].to("cpu")
        masks[i] = polygon.contains(grid.view(1, -1, 2)).view(height, width).numpy()
    return masks


def _resize_bitmaps(
    masks: np.ndarray,
    full: tuple[int, int],
    size: tuple[int, int],
    grid: tuple[int, int],
    stride: int,
) -> np.ndarray:
    """Nearest neighbours of the centres of the p2 map's pixels, each bitmap in turn."""
    rows, columns = (
        np.floor((np.arange(n) + 0.5) * stride * (f / s)).astype(np.int64)
        for n, f, s in zip(grid, full, size, strict=True)
    )
    rows, columns = rows[rows < full[0]], columns[columns < full[1]]
    resized = np.zeros((len(masks), *grid), dtype=np.uint8)
    for target, mask in zip(resized, masks, strict=True):
        target[: len(rows), : len(columns)] = mask[np.ix_(rows, columns)]
    return resized


def _read(spotter: MaskRCNNSpotter, features: dict[str, Tensor], view: _View) -> RecognitionOutput:
    branch = spotter.recognition
    crops = _crop_each(branch.roi_masking, features[branch.in_feature], view)
    context = branch.context(branch.encoder(crops))
    texts = torch.cat([t.gt_texts for t in view.targets])
    return RecognitionOutput(branch.decoder(context, texts), crops, context, branch.decoder)


def _crop_each(masking: RoIMasking, features: Tensor, view: _View) -> Tensor:
    layer = masking.conv
    features = F.conv2d(features, layer.weight, layer.bias, padding=1)
    if layer.norm is not None:
        features = layer.norm(features)
    features = layer.activation(features)
    height, width = features.shape[-2:]
    crops = []
    for i, (targets, masks) in enumerate(zip(view.targets, view.masks, strict=True)):
        for box, mask in zip(targets.gt_boxes.tensor.tolist(), masks, strict=True):
            x0, y0 = (int(max(0, v // masking.stride - masking.enlarge)) for v in box[:2])
            x1, y1 = (int(-(-v // masking.stride) + masking.enlarge) for v in box[2:])
            x0, y0 = min(x0, width - 1), min(y0, height - 1)
            x1, y1 = max(min(x1, width), x0 + 1), max(min(y1, height), y0 + 1)
            inside = torch.from_numpy(mask[y0:y1, x0:x1].astype(np.float32)).to(features.device)
            crop = features[i : i + 1, :, y0:y1, x0:x1] * inside
            if y1 - y0 > masking.transpose_ratio * (x1 - x0):
                crop = crop.transpose(2, 3)
            crops.append(
                F.interpolate(crop, size=masking.size, mode="bilinear", align_corners=False)
            )
    return torch.cat(crops)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    module.eval()
    try:
        yield
    finally:
        module.train()
