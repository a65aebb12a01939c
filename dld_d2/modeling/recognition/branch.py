"""The recognition branch: from a feature map and regions to texts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from .decoder import AttentionDecoder
from .encoder import ContextEncoder, SequenceEncoder
from .regions import Regions
from .roi_masking import RoIMasking
from .vocabulary import Vocabulary

__all__ = ["Reading", "RecognitionBranch", "RecognitionOutput", "recognition_loss"]


@dataclass(frozen=True)
class RecognitionOutput:
    """What a spotter knows about N regions; rows in target order.

    Attributes:
        logits: (N, T, V) characters, decoded along the ground-truth texts.
        roi_features: (N, C, H, W) pooled features, or None for a spotter that pools none.
        context: (N, L, C) contextual features.
        decoder: what made the logits out of the contextual features.
    """

    logits: Tensor
    roi_features: Tensor | None
    context: Tensor
    decoder: AttentionDecoder


@dataclass(frozen=True)
class Reading:
    """Texts of N regions with their (N,) scores in [0, 1]."""

    texts: list[str]
    scores: Tensor


def recognition_loss(logits: Tensor, texts: Tensor) -> Tensor:
    """Cross-entropy per character, averaged over all characters and ends; padding ignored.

    Args:
        logits: (N, T, V).
        texts: (N, T) int64 as `Vocabulary.encode` gives them, N >= 1.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no character.
    """
    characters = (texts != Vocabulary.PADDING).sum()
    loss = F.cross_entropy(
        logits.float().flatten(0, 1),
        texts.flatten(),
        ignore_index=Vocabulary.PADDING,
        reduction="sum",
    )
    return loss / characters.clamp(min=1)


class RecognitionBranch(nn.Module):
    """RoI masking, sequence encoder, context encoder and attention decoder in a row.

    Args:
        vocabulary: what can be read.
        max_length: longest word in characters.
        roi_masking, encoder, context, decoder: the four stages.
        in_feature: name of the feature map that the branch reads.
        ctc: whether training may ask for `ctc_loss`, which needs one more layer.
    """

    @configurable
    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        max_length: int,
        roi_masking: RoIMasking,
        encoder: SequenceEncoder,
        context: ContextEncoder,
        decoder: AttentionDecoder,
        in_feature: str,
        ctc: bool = False,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.in_feature = in_feature
        self.roi_masking = roi_masking
        self.encoder = encoder
        self.context = context
        self.decoder = decoder
        # One class more than characters: the blank.
        self.ctc = nn.Linear(context.channels, len(vocabulary.characters) + 1) if ctc else None

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        rec = cfg.MODEL.RECOGNITION
        shape = input_shape[rec.IN_FEATURE]
        vocabulary = Vocabulary.from_config(rec.VOCABULARY)
        channels = rec.ENCODER.CONV_DIM
        return {
            "vocabulary": vocabulary,
            "max_length": rec.MAX_LENGTH,
            "in_feature": rec.IN_FEATURE,
            "roi_masking": RoIMasking(
                in_channels=shape.channels,
                out_channels=rec.ROI.CONV_DIM,
                size=rec.ROI.SIZE,
                stride=shape.stride,
                enlarge=rec.ROI.ENLARGE,
                transpose_ratio=rec.ROI.TRANSPOSE_RATIO,
                conv_on=rec.ROI.CONV_ON,
                norm=rec.NORM,
            ),
            "encoder": SequenceEncoder(
                in_channels=rec.ROI.CONV_DIM,
                channels=channels,
                num_conv=rec.ENCODER.NUM_CONV,
                norm=rec.NORM,
            ),
            "context": ContextEncoder(
                channels=channels,
                hidden_dim=rec.CONTEXT.HIDDEN_DIM,
                num_layers=rec.CONTEXT.NUM_LAYERS,
            ),
            "decoder": AttentionDecoder(
                channels=channels,
                hidden_dim=rec.DECODER.HIDDEN_DIM,
                vocabulary=vocabulary,
            ),
            "ctc": rec.CTC_WEIGHT > 0,
        }

    def encode(self, features: dict[str, Tensor], regions: Regions) -> tuple[Tensor, Tensor]:
        """RoI features (N, C, H, W) and contextual features (N, L, C) of N >= 1 regions."""
        crops = self.roi_masking(features[self.in_feature], regions)
        return crops, self.context(self.encoder(crops))

    def forward(
        self, features: dict[str, Tensor], regions: Regions, texts: Tensor
    ) -> RecognitionOutput:
        """Decode N >= 1 regions along their texts.

        Args:
            features: maps (B, C, H, W) by name.
            regions: N regions.
            texts: (N, T) int64 as `Vocabulary.encode` gives them.
        """
        crops, context = self.encode(features, regions)
        return RecognitionOutput(self.decoder(context, texts), crops, context, self.decoder)

    def ctc_loss(self, context: Tensor, texts: Tensor) -> Tensor:
        """Connectionist temporal classification of the contextual features (Graves et al., 2006).

        It tells every position what it shows, where the decoder's attention has to find out by
        itself where to look: learnt together, reading begins many times sooner (Watanabe et al.,
        2017). Reading itself does not use it.

        Args:
            context: (N, L, C).
            texts: (N, T) int64 as `Vocabulary.encode` gives them.

        Returns:
            A scalar: negative log-likelihood over the number of characters, words without any left
            out, and those that L positions cannot hold.

        Raises:
            RuntimeError: if the branch was built without `ctc`.
        """
        if self.ctc is None:
            raise RuntimeError("this branch has no CTC layer; set MODEL.RECOGNITION.CTC_WEIGHT")
        blank = self.ctc.out_features - 1
        log_probability = self.ctc(context).float().log_softmax(dim=-1).transpose(0, 1)
        # All but the end, which every text has.
        lengths = ((texts != Vocabulary.PADDING).sum(dim=1) - 1).clamp(min=0)
        losses = F.ctc_loss(
            log_probability,
            texts.clamp(min=0),
            torch.full_like(lengths, context.shape[1]),
            lengths,
            blank=blank,
            reduction="none",
            zero_infinity=True,
        )
        return (losses * (lengths > 0)).sum() / lengths.sum().clamp(min=1)

    @torch.no_grad()
    def read(self, features: dict[str, Tensor], regions: Regions) -> Reading:
        """Read N >= 0 regions."""
        if len(regions) == 0:
            return Reading([], regions.boxes.new_zeros(0))
        _, context = self.encode(features, regions)
        classes, scores = self.decoder.greedy(context, self.max_length)
        return Reading([self.vocabulary.decode(row) for row in classes.tolist()], scores)
