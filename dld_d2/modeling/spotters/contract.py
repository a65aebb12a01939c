"""The three calls through which a spotter can be trained, distilled and used.

The distiller knows nothing else of a spotter, so that any architecture that answers them can be
distilled.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from detectron2.structures import ImageList, Instances
from torch import Tensor

from dld_d2.modeling.recognition import RecognitionOutput

__all__ = ["Spotter"]


@runtime_checkable
class Spotter(Protocol):
    """What a text spotter offers.

    Everywhere `images` is a batch as `preprocess` returns it (normalised, padded to one size) and
    `targets` holds, for each image, instances in pixels of that image: `gt_boxes`, `gt_classes`,
    `gt_masks` (`dld_d2.structures.Polygons`), `gt_texts` (N, max_length + 1) int64, `gt_ignore`
    and `gt_readable` (N,) bool. Where they have a `gt_jitter` too, the regions that are recognised
    are off by it (`dld_d2.modeling.recognition.jitter_targets`), those that are detected not. The
    rows of a `RecognitionOutput` are the readable instances of
    the batch in target order; a batch without any has one row that stands for nothing, so that
    every parameter still takes part in the loss.

    Attributes:
        size_divisibility: of the sides of padded images.
    """

    size_divisibility: int

    def preprocess(self, batched_inputs: list[dict]) -> tuple[ImageList, list[Instances] | None]:
        """Images and targets, on the model's device, of what the mapper gives."""

    def recognize(self, images: ImageList, targets: list[Instances]) -> RecognitionOutput:
        """Recognise ground-truth regions, without detection."""

    def losses(
        self, images: ImageList, targets: list[Instances]
    ) -> tuple[dict[str, Tensor], RecognitionOutput]:
        """All losses of a training step, and the recognition of ground-truth regions."""

    def inference(self, images: ImageList) -> list[Instances]:
        """Find and read words.

        Returns:
            Per image, in its pixels: `pred_boxes`, `scores`, `pred_classes`, `pred_polygons` (list
            of (K, 2) float32 arrays), `pred_texts` (list of str) and `text_scores` (N,).
        """
