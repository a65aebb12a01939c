"""The authors' released scheme of a distillation step, as a reference for speed.

Independent of `Distiller`: it takes its networks and the losses of what they read, nothing else.
What the released code does (Dynamic Low-Resolution Distillation for Cost-Efficient End-to-End Text
Spotting, ECCV 2022):

- candidates are read one image and one scale at a time, through all outputs of the FPN;
- words' masks are bitmaps of the whole image, resized for every scale on the CPU, each in turn;
- RoI masking's convolution runs over the whole p2 map, then words are cropped, masked and resized
  in a loop;
- the decoder makes max_length + 1 steps whatever there is to read;
- teacher and candidates skip proposals, box and mask heads, as here; the selected pass is batched.

Whatever changes a loss is as in `Distiller` instead: the losses themselves, the beam search (which
the released code does word by word in Python), anti-aliased resizing, and candidates in evaluation
mode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.modeling import StandardROIHeads
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.learning.learning import Candidate
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.recognition.roi_masking import RoIMasking
from dld_d2.modeling.selection.views import scale_images
from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter
from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.structures import Polygons

__all__ = ["ReleasedScheme", "bitmaps"]


@dataclass(frozen=True)
class _View:
    """A batch at some scales; `masks` are (N_i, H, W) uint8 per image, on the p2 map's grid."""

    images: ImageList
    targets: list[Instances]
    masks: list[np.ndarray]


class ReleasedScheme:
    """A training step on the networks of a distiller.

    Args:
        distiller: its selector must learn from whole batches.
    """

    def __init__(self, distiller: Distiller) -> None:
        self.distiller = distiller
        self.scales = distiller.student.scales
        self.student: MaskRCNNSpotter = distiller.student.spotter
        self.teacher: MaskRCNNSpotter = distiller.teacher

    def losses(
        self, images: ImageList, targets: list[Instances], masks: list[np.ndarray]
    ) -> dict[str, Tensor]:
        """As `Distiller.losses`; `masks` are what `bitmaps` makes of targets."""
        distiller = self.distiller
        with torch.no_grad():
            taught = self._recognize(self.teacher, self._view(images, targets, masks, None))
        choice = distiller.learning.draw(distiller.student.policy, images)
        chosen = [self.scales[i] for i in choice.index.tolist()]

        candidates = self._candidates(images, targets, masks)
        losses, learnt = self._selected(self._view(images, targets, masks, chosen))
        for term in distiller.terms:
            losses |= term(learnt, taught)
        cost = distiller.student.relative_cost
        return losses | distiller.learning.losses(choice, candidates, taught, cost)

    @torch.no_grad()
    def _candidates(
        self, images: ImageList, targets: list[Instances], masks: list[np.ndarray]
    ) -> list[Candidate]:
        """Of the batch at each scale, read one image and one scale at a time."""
        readings: list[list[Reading]] = [[] for _ in self.scales]
        with _evaluating(self.student):
            for i in range(len(images)):
                image = ImageList.from_tensors([images[i]])
                for scale, of_scale in zip(self.scales, readings, strict=True):
                    view = self._view(image, [targets[i]], [masks[i]], [scale])
                    of_scale.append(self._recognize(self.student, view))
        return [Candidate(_together(of_scale)) for of_scale in readings]

    def _selected(self, view: _View) -> tuple[dict[str, Tensor], Reading]:
        student, images, targets = self.student, view.images, view.targets
        features = student.backbone(images.tensor)
        proposals, losses = student.proposal_generator(images, features, targets)
        contiguous = {name: feature.contiguous() for name, feature in features.items()}
        # Without the reading of `TextROIHeads`.
        _, of_heads = StandardROIHeads.forward(
            student.roi_heads, images, contiguous, proposals, targets
        )
        reading = _read(student, features, view)
        return {**losses, **of_heads, **student.roi_heads.text_head.losses(reading)}, reading

    def _recognize(self, spotter: MaskRCNNSpotter, view: _View) -> Reading:
        return _read(spotter, spotter.backbone(view.images.tensor), view)

    def _view(
        self,
        images: ImageList,
        targets: list[Instances],
        masks: list[np.ndarray],
        scales: Sequence[float] | None,
    ) -> _View:
        full_sizes = images.image_sizes
        if scales is not None:
            images = self.student.batch(scale_images(images, scales))
            targets = scale_targets(targets, images.image_sizes)
        stride = self.student.roi_heads.text_head.roi_masking.stride
        grid = tuple(side // stride for side in images.tensor.shape[-2:])
        resized = [
            _resize_bitmaps(mask, full, size, grid, stride)
            for mask, full, size in zip(masks, full_sizes, images.image_sizes, strict=True)
        ]
        return _View(images, targets, resized)


def _together(readings: list[Reading]) -> Reading:
    """Readings of single images as one of the batch."""
    counts = torch.tensor([len(reading) for reading in readings])
    return Reading(
        logits=torch.cat([reading.logits for reading in readings]),
        texts=torch.cat([reading.texts for reading in readings]),
        image_index=torch.arange(len(readings))
        .repeat_interleave(counts)
        .to(readings[0].texts.device),
        context=torch.cat([reading.context for reading in readings]),
        decoder=readings[0].decoder,
    )


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


def _read(spotter: MaskRCNNSpotter, features: dict[str, Tensor], view: _View) -> Reading:
    head = spotter.roi_heads.text_head
    crops = _crop_each(head.roi_masking, features[head.in_feature], view)
    context = head.context(head.encoder(crops))
    texts = torch.cat([t.gt_texts for t in view.targets])
    return Reading(
        logits=head.decoder(context, texts),
        texts=texts,
        image_index=torch.cat(
            [torch.full_like(t.gt_classes, i) for i, t in enumerate(view.targets)]
        ),
        context=context,
        decoder=head.decoder,
        features={"roi": crops, "context": context},
    )


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
    was_training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in was_training:
            m.training = True
