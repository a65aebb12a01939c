"""What a spotter says of regions that are given to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dld_d2.modeling.recognition.decoding import BestSequences, Decoder
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["Pyramid", "Reading", "ScoreMap", "Transcripts"]

# Features of whole images; all others have a row for each region.
_PER_IMAGE = ("pyramid", "score_map", "detection_loss")


class Pyramid(NamedTuple):
    """Feature maps of a batch.

    Attributes:
        levels: by the name of the level, finest first, (B, C, h, w) each.
        strides: of the levels, in pixels of the images.
        sizes: (height, width) in pixels of each image without padding.
    """

    levels: Mapping[str, Tensor]
    strides: Mapping[str, int]
    sizes: list[tuple[int, int]]


class ScoreMap(NamedTuple):
    """Where text is, by a detector that segments.

    Attributes:
        logits: (B, C, h, w), of C kinds of regions, independent of each other.
        sizes: (height, width) of what is no padding in the map of each image; it may be a
            fraction.
    """

    logits: Tensor
    sizes: list[tuple[float, float]]


@dataclass(frozen=True)
class Transcripts:
    """Texts of N regions with their (N,) scores in [0, 1]."""

    texts: list[str]
    scores: Tensor


@dataclass(frozen=True)
class Reading:
    """N >= 0 ground-truth regions of a batch, read along their texts; rows in target order.

    Attributes:
        logits: (N, P, V) of V classes at P positions, see `Decoder.forward`.
        texts: (N, T) int64 as `Vocabulary.encode` gives them, T the length of the longest.
        image_index: (N,) int64, the image of each row.
        context: (N, L, C), what the decoder reads.
        decoder: what made the logits out of the context.
        features: what was asked for, by name. The names in use are
            `roi`, (N, C, H, W), pooled features of the regions (a spotter that pools none gives its
            features per character as (N, C, 1, L));
            `context`, (N, L, C);
            `attention`, (N, P, L), and `glimpses`, (N, P, C), where the decoder looked at each
            position and what it saw there;
            `pyramid`, a `Pyramid`;
            `score_map`, a `ScoreMap`, of a detection by segmentation;
            `detection_loss`, (B,), how badly words are found in each image, by the ground truth;
            comparable between scales of an image.
    """

    logits: Tensor
    texts: Tensor
    image_index: Tensor
    context: Tensor
    decoder: Decoder
    features: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def valid(self) -> Tensor:
        """(N, P) bool, see `Decoder.valid`."""
        return self.decoder.valid(self.logits, self.texts)

    def negative_log_likelihood(self, logits: Tensor | None = None) -> Tensor:
        """(N,) -log p(text), by other logits of these rows if any are given."""
        return self.decoder.negative_log_likelihood(
            self.logits if logits is None else logits, self.texts
        )

    def k_best(self, **kwargs: int) -> BestSequences:
        """The most probable texts, see `Decoder.k_best`; of no rows (0, K, 1) sequences."""
        if len(self) == 0:
            num_sequences = kwargs["num_sequences"]
            return BestSequences(
                self.texts.new_full((0, num_sequences, 1), Vocabulary.PADDING),
                self.logits.new_zeros(0, num_sequences),
            )
        return self.decoder.k_best(self.context, **kwargs)

    def log_probability(self, sequences: Tensor) -> Tensor:
        """(N, K), see `Decoder.log_probability`."""
        return self.decoder.log_probability(self.context, sequences)

    def with_feature(self, name: str, value: Any) -> Reading:
        """The same with a further feature."""
        return replace(self, features={**self.features, name: value})

    def without_rows(self) -> Reading:
        """Nothing of what was read, yet connected to all that took part in it: whatever is summed
        over these no rows is 0, with a gradient of 0 for every parameter, as distributed training
        needs it."""
        features = {
            name: value if name in _PER_IMAGE else value[:0]
            for name, value in self.features.items()
        }
        return replace(self._rows(0), features=features)

    def of_first_images(self, count: int) -> Reading:
        """The rows of the batch's first images, without features."""
        return self._rows(int((self.image_index < count).sum()))

    def float(self) -> Reading:
        """In float32 where it came in half precision."""

        def at_least(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: at_least(item) for name, item in value.items()}
            if isinstance(value, ScoreMap):
                return value._replace(logits=at_least(value.logits))
            if isinstance(value, Pyramid):
                return value._replace(levels=at_least(value.levels))
            if not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            return value.to(torch.promote_types(value.dtype, torch.float32))

        return replace(
            self,
            logits=at_least(self.logits),
            context=at_least(self.context),
            features=at_least(self.features),
        )

    def _rows(self, count: int) -> Reading:
        return Reading(
            self.logits[:count],
            self.texts[:count],
            self.image_index[:count],
            self.context[:count],
            self.decoder,
        )
