"""Reading words whose regions are known."""

from .beam_search import BeamResult, beam_search
from .branch import Reading, RecognitionBranch, RecognitionOutput, recognition_loss
from .decoder import AttentionDecoder
from .encoder import ContextEncoder, SequenceEncoder
from .regions import BoxMasks, Regions, jitter_targets
from .roi_masking import RoIMasking
from .vocabulary import PRINTABLE_ASCII, Vocabulary

__all__ = [
    "PRINTABLE_ASCII",
    "AttentionDecoder",
    "BeamResult",
    "BoxMasks",
    "ContextEncoder",
    "Reading",
    "RecognitionBranch",
    "RecognitionOutput",
    "Regions",
    "RoIMasking",
    "SequenceEncoder",
    "Vocabulary",
    "beam_search",
    "jitter_targets",
    "recognition_loss",
]
