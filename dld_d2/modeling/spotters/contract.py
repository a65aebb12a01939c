"""What a spotter must offer, so that it can be trained, distilled, evaluated, measured and used.

A new spotter derives from `Spotter`, answers its abstract methods, and registers itself as a
meta-architecture; nothing else of the project has to know it (docs/distillation.md works one out).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from dld_d2.modeling.cost.parts import PartCost
from dld_d2.modeling.onnx_graphs import OnnxSpotter
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.rescale import rescale_instances, scale_targets
from dld_d2.modeling.spotters.rows import Rows
from dld_d2.modeling.spotters.word_counts import log_words
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["Look", "Spotter"]


class Look(NamedTuple):
    """What was computed of an image before words were sought in it.

    Attributes:
        features: what `Spotter.features` gave for its batch.
        index: of the image in that batch.
        size: its height and width there in pixels, without padding.
    """

    features: Any
    index: int
    size: tuple[int, int]


class Spotter(nn.Module, ABC):
    """A text spotter.

    Everywhere `images` is a batch as `batch` makes it (normalised, padded to one size), and
    `targets` holds, for each image, instances in pixels of that image: `gt_boxes`, `gt_classes`,
    `gt_masks` (`Polygons`), `gt_texts` (N, max_length + 1) int64 as `Vocabulary.encode` gives them,
    `gt_ignore` and `gt_readable` (N,) bool. Don't-care instances (`gt_ignore`) are neither learnt
    nor held against the spotter; those that are not `gt_readable` train detection alone.
    `gt_sides` (N, 14, 2) float32, where the mapper gives it: seven points of the upper side of each
    word and seven of the lower, both in reading order, x and y as fractions of the image's width
    and height, so that they hold at every scale; they may stick out of the image, and are 0 for
    don't-care instances.

    `want` names the features that a `Reading` shall hold, out of `feature_shapes`.

    Args:
        vocabulary: what can be read.
        max_length: characters of the longest word.
        pixel_mean, pixel_std: (3,) for the normalisation of the image.
    """

    inference_keys: tuple[str, ...] = (
        "MODEL.META_ARCHITECTURE",
        "MODEL.DEVICE",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.RECOGNITION.MAX_LENGTH",
        "INPUT.FORMAT",
        "INPUT.MIN_SIZE_TEST",
        "INPUT.MAX_SIZE_TEST",
    )
    """Patterns of the configuration keys that a deployed spotter is built of; a spotter adds its
    own. They go into a model file, others do not."""

    size_divisibility: int = 32
    """Of the sides of padded images."""

    teaches_only: bool = False
    """Whether it has parts that serve to teach others, so that it is no student itself."""

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        max_length: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments above; a spotter adds its own."""
        return {
            "vocabulary": Vocabulary.from_config(cfg.MODEL.RECOGNITION.VOCABULARY),
            "max_length": cfg.MODEL.RECOGNITION.MAX_LENGTH,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    # What a spotter offers.

    @property
    @abstractmethod
    def feature_shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        """The features that can be asked for, with the shape of a row where it is always the same:
        `roi` (C, H, W); `context` (rows, columns, C) of sequences with rows * columns elements, row
        after row; `pyramid` (C, stride, stride, ...) of maps of equal width, finest first. None for
        others."""

    @abstractmethod
    def read_rows(self, images: ImageList, rows: Rows, want: Collection[str]) -> Reading:
        """Recognise ground-truth regions, without detection."""

    @abstractmethod
    def losses_and_rows(
        self, images: ImageList, targets: list[Instances], rows: Rows, want: Collection[str]
    ) -> tuple[dict[str, Tensor], Reading]:
        """All losses of a training step, and the recognition of ground-truth regions in the same
        pass. Where `rows` are a stand-in the losses of recognition are 0."""

    @abstractmethod
    def features(self, images: ImageList) -> Any:
        """What both finding words and reading given regions begin with."""

    @abstractmethod
    def find(self, images: ImageList, features: Any) -> list[Instances]:
        """Find and read words.

        Args:
            images: a batch.
            features: what `features` gave for it.

        Returns:
            Per image, in its pixels: `pred_boxes`, `scores`, `pred_classes`, `pred_polygons` (list
            of (K, 2) float32 arrays), `pred_texts` (list of str) and `text_scores` (N,).
        """

    @abstractmethod
    def read(self, look: Look, regions: Instances) -> list[str]:
        """Read given regions of one image; `regions` are targets of the size `look.size`."""

    @abstractmethod
    def image_cost(self, image: Tensor) -> list[PartCost]:
        """What an input costs, whatever is on it, part by part.

        Args:
            image: (1, 3, H, W) on the "meta" device, padded. The spotter, too, is a copy on that
                device, see `dld_d2.modeling.cost.multiply_adds`.
        """

    @abstractmethod
    def region_cost(self) -> list[PartCost]:
        """What is paid for each proposal, word and character; the spotter is on "meta"."""

    @property
    @abstractmethod
    def score_threshold(self) -> float:
        """Words with a lower detection score are not found; it can be set."""

    @score_threshold.setter
    @abstractmethod
    def score_threshold(self, value: float) -> None: ...

    @property
    def max_proposals(self) -> int:
        """Proposals per image in testing, at most; 0 for a spotter that makes none."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """As of `detectron2.structures.ImageList.from_tensors`."""
        return {}

    def onnx(self) -> OnnxSpotter:
        """The spotter as networks that run without PyTorch.

        Raises:
            NotImplementedError: for a spotter that cannot be taken apart so.
        """
        raise NotImplementedError(f"a {type(self).__name__} is not exported to ONNX yet")

    def perturb(self, targets: list[Instances]) -> list[Instances]:
        """Ground truth with what a training step draws at random about its regions.

        It is drawn here once, so that all passes of a step, a teacher's as well, look at the same
        regions; `recognize` and `losses` draw nothing of that kind.
        """
        return targets

    def student_state(self) -> dict[str, Tensor]:
        """Weights that a student of the same model starts from: all, but for those of parts with
        which a spotter does nothing but teach."""
        return self.state_dict()

    # What all spotters share.

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's interface.

        Args:
            batched_inputs: what `dld_d2.data.mapper.TextDatasetMapper` gives.

        Returns:
            In training the losses. Else, per input, "instances" as `find` gives them, in pixels of
            the input's original "height" and "width", and for inputs with ground truth "look", by
            which `read_regions` reads it without passing the image again.
        """
        images, targets = self.preprocess(batched_inputs)
        if self.training:
            log_words(targets)
            return self.losses(images, self.perturb(targets))[0]
        return self.outputs(images, batched_inputs)

    @torch.no_grad()
    def outputs(self, images: ImageList, batched_inputs: list[dict]) -> list[dict]:
        """What `forward` returns for images that are preprocessed, at any scale."""
        features = self.features(images)
        outputs = []
        for index, (found, item) in enumerate(
            zip(self.find(images, features), batched_inputs, strict=True)
        ):
            size = images.image_sizes[index]
            output: dict[str, Any] = {
                "instances": rescale_instances(found, (item["height"], item["width"]))
            }
            if "instances" in item:
                output["look"] = Look(features, index, size)
            outputs.append(output)
        return outputs

    @torch.no_grad()
    def inference(self, images: ImageList) -> list[Instances]:
        """Find and read words, see `find`."""
        return self.find(images, self.features(images))

    @torch.no_grad()
    def read_regions(self, inputs: list[dict], outputs: list[dict]) -> list[list[str]]:
        """Texts of the ground-truth regions that are not don't-care, per input in target order.

        Args:
            inputs: with "instances".
            outputs: what `forward` gave for them.
        """
        texts = []
        for item, output in zip(inputs, outputs, strict=True):
            look, truth = output["look"], item["instances"]
            words = truth[~truth.gt_ignore].to(self.device)
            (words,) = scale_targets([words], [look.size])
            texts.append(self.read(look, words))
        return texts

    def recognize(
        self, images: ImageList, targets: list[Instances], want: Collection[str] = ()
    ) -> Reading:
        """Recognise the readable ground-truth regions, without detection."""
        rows = Rows.of(targets)
        reading = self.read_rows(images, rows, want)
        return reading.without_rows() if rows.stand_in else reading

    def losses(
        self, images: ImageList, targets: list[Instances], want: Collection[str] = ()
    ) -> tuple[dict[str, Tensor], Reading]:
        """All losses of a training step, and the recognition of ground-truth regions."""
        rows = Rows.of(targets)
        losses, reading = self.losses_and_rows(images, targets, rows, want)
        return losses, reading.without_rows() if rows.stand_in else reading

    def preprocess(self, batched_inputs: list[dict]) -> tuple[ImageList, list[Instances] | None]:
        """Images, normalised and padded, and targets if there are any, on the model's device."""
        images = [
            (x["image"].to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std
            for x in batched_inputs
        ]
        batch = self.batch(images)
        if "instances" not in batched_inputs[0]:
            return batch, None
        return batch, [x["instances"].to(self.device) for x in batched_inputs]

    def batch(self, images: Sequence[Tensor]) -> ImageList:
        """Normalised images (3, H_i, W_i) padded to one size, with channels last."""
        batch = ImageList.from_tensors(
            list(images), self.size_divisibility, padding_constraints=self.padding_constraints
        )
        batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
        return batch
