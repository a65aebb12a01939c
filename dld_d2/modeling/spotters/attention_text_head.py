"""The published text head: it attends to a word's features, character by character."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from torch import Tensor, nn

from dld_d2.modeling.cost.multiply_adds import module_cost
from dld_d2.modeling.cost.parts import PartCost
from dld_d2.modeling.recognition.ctc import ctc_loss
from dld_d2.modeling.recognition.decoder import AttentionDecoder
from dld_d2.modeling.recognition.encoder import ContextEncoder, SequenceEncoder
from dld_d2.modeling.recognition.reading import Reading, Transcripts
from dld_d2.modeling.recognition.regions import Regions, jitter_targets
from dld_d2.modeling.recognition.roi_masking import RoIMasking
from dld_d2.modeling.spotters.text_head import ROI_TEXT_HEAD_REGISTRY, ROITextHead
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["AttentionTextHead", "recognition_loss"]


def recognition_loss(logits: Tensor, texts: Tensor) -> Tensor:
    """Cross-entropy per character, averaged over all characters and ends; padding ignored.

    Args:
        logits: (N, T, V).
        texts: (N, T) int64 as `Vocabulary.encode` gives them.

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


@ROI_TEXT_HEAD_REGISTRY.register()
class AttentionTextHead(ROITextHead):
    """The published head: RoI masking, sequence encoder, context encoder and attention decoder.

    Args:
        vocabulary: what can be read.
        max_length: longest word in characters.
        roi_masking, encoder, context, decoder: the four stages.
        in_feature: name of the feature map that is read.
        loss_weight: factor of the recognition loss, lambda 1.
        ctc_weight: factor of a CTC loss of the contextual features, which has a layer of its own;
            0 leaves both out.
        jitter: of the regions that are read in training, see `jitter_targets`.

    Raises:
        ValueError: if `jitter` is not in [0, 0.5).
    """

    first_stage_name = "RoI masking"

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
        loss_weight: float = 1.0,
        ctc_weight: float = 0.0,
        jitter: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= jitter < 0.5:
            raise ValueError(
                f"MODEL.ROI_TEXT_HEAD.JITTER is {jitter}; it must be in [0, 0.5), so that opposite "
                "sides of a box cannot meet"
            )
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.roi_masking = roi_masking
        self.encoder = encoder
        self.context = context
        self.decoder = decoder
        self.loss_weight = loss_weight
        self.ctc_weight = ctc_weight
        self.jitter = jitter
        self._in_feature = in_feature
        # One class more than characters: the blank.
        self.ctc = (
            nn.Linear(context.channels, len(vocabulary.characters) + 1) if ctc_weight > 0 else None
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        head = cfg.MODEL.ROI_TEXT_HEAD
        in_feature = cls.in_feature_of(cfg)
        shape = input_shape[in_feature]
        vocabulary = Vocabulary.from_config(cfg.MODEL.RECOGNITION.VOCABULARY)
        channels = head.ENCODER.CONV_DIM
        return {
            "vocabulary": vocabulary,
            "max_length": cfg.MODEL.RECOGNITION.MAX_LENGTH,
            "in_feature": in_feature,
            "roi_masking": cls.first_stage(cfg, shape),
            "encoder": SequenceEncoder(
                in_channels=head.POOLER_CONV_DIM,
                channels=channels,
                num_conv=head.ENCODER.NUM_CONV,
                norm=head.NORM,
            ),
            "context": ContextEncoder(
                channels=channels,
                hidden_dim=head.CONTEXT.HIDDEN_DIM,
                num_layers=head.CONTEXT.NUM_LAYERS,
            ),
            "decoder": AttentionDecoder(
                channels=channels,
                hidden_dim=head.DECODER.HIDDEN_DIM,
                vocabulary=vocabulary,
            ),
            "loss_weight": head.LOSS_WEIGHT,
            "ctc_weight": head.CTC_WEIGHT,
            "jitter": head.JITTER,
        }

    @classmethod
    def in_feature_of(cls, cfg: CfgNode) -> str:
        """Name of the feature map that a head of this configuration reads."""
        return cfg.MODEL.ROI_TEXT_HEAD.IN_FEATURE

    @classmethod
    def first_stage(cls, cfg: CfgNode, shape: ShapeSpec) -> nn.Module:
        """What lays regions of a feature map down in a fixed size, with `RoIMasking`'s call and its
        attributes `size`, `conv` and `conv_on`."""
        head = cfg.MODEL.ROI_TEXT_HEAD
        return RoIMasking(
            in_channels=shape.channels,
            out_channels=head.POOLER_CONV_DIM,
            size=head.POOLER_RESOLUTION,
            stride=shape.stride,
            enlarge=head.POOLER_ENLARGE,
            transpose_ratio=head.POOLER_TRANSPOSE_RATIO,
            conv_on=head.POOLER_CONV_ON,
            norm=head.NORM,
        )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # Only training uses the CTC layer: model files lack it, and a head without it takes the
        # weights of one with it.
        layer = f"{prefix}ctc."
        if self.ctc is None:
            for name in [name for name in state_dict if name.startswith(layer)]:
                del state_dict[name]
        else:
            for name, value in self.ctc.state_dict().items():
                state_dict.setdefault(f"{layer}{name}", value)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def feature_shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        height, width = self.roi_masking.size
        rows, columns = self.encoder.output_size(height, width)
        return {
            "roi": (self.roi_masking.conv.out_channels, height, width),
            "context": (rows, columns, self.context.channels),
            "attention": None,
            "glimpses": None,
        }

    @property
    def in_feature(self) -> str:
        return self._in_feature

    def encode(self, features: dict[str, Tensor], regions: Regions) -> tuple[Tensor, Tensor]:
        """RoI features (N, C, H, W) and contextual features (N, L, C) of N >= 1 regions."""
        crops = self.roi_masking(features[self.in_feature], regions)
        return crops, self.context(self.encoder(crops))

    def forward(
        self,
        features: dict[str, Tensor],
        regions: Regions,
        texts: Tensor,
        want: Collection[str] = (),
    ) -> Reading:
        crops, context = self.encode(features, regions)
        trace = self.decoder.trace(context, texts)
        known = {
            "roi": crops,
            "context": context,
            "attention": trace.attention,
            "glimpses": trace.glimpses,
        }
        return Reading(
            logits=trace.logits,
            texts=texts,
            image_index=regions.image_index,
            context=context,
            decoder=self.decoder,
            features={name: value for name, value in known.items() if name in want},
        )

    def losses(self, reading: Reading) -> dict[str, Tensor]:
        loss = recognition_loss(reading.logits, reading.texts)
        losses = {"loss_rec": self.loss_weight * loss}
        if self.ctc is not None:
            loss = ctc_loss(self.ctc(reading.context), reading.texts)
            losses["loss_ctc"] = self.ctc_weight * loss
        return losses

    @torch.no_grad()
    def read(self, features: dict[str, Tensor], regions: Regions) -> Transcripts:
        if len(regions) == 0:
            return Transcripts([], regions.boxes.new_zeros(0))
        _, context = self.encode(features, regions)
        classes, scores = self.decoder.greedy(context, self.max_length)
        return Transcripts([self.vocabulary.decode(row) for row in classes.tolist()], scores)

    def perturb(self, targets: list[Instances]) -> list[Instances]:
        return jitter_targets(targets, self.jitter) if self.jitter > 0 else targets

    def map_cost(self, feature: Tensor) -> list[PartCost]:
        if self.roi_masking.conv_on == "crop":
            return []
        cost = module_cost(self.roi_masking.conv, feature)
        return [PartCost(f"{self.first_stage_name}, conv on map", per_image=cost)]

    def region_cost(self) -> list[PartCost]:
        height, width = self.roi_masking.size
        conv = self.roi_masking.conv
        parts = []
        if self.roi_masking.conv_on == "crop":
            halo = torch.empty(1, conv.in_channels, height + 2, width + 2, device="meta")
            cost = module_cost(conv, halo)
            name = f"{self.first_stage_name}, conv on crops"
            parts.append(PartCost(name, per_region=cost))
        crops = torch.empty(1, conv.out_channels, height, width, device="meta")
        sequence = self.encoder(crops)
        memory = self.decoder.memory(sequence)
        previous = torch.empty(1, dtype=torch.int64, device="meta")
        state = self.decoder.initial_state(sequence)
        step = module_cost(self.decoder.step, memory, previous, state)
        once = module_cost(self.decoder.memory, sequence)
        return [
            *parts,
            PartCost("encoder", per_region=module_cost(self.encoder, crops)),
            PartCost("context", per_region=module_cost(self.context, sequence)),
            PartCost("decoder", per_region=once, per_character=step),
        ]
