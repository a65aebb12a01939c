"""Configuration keys of the spotter of photographs, PPOCRSpotter."""

from __future__ import annotations

from collections.abc import Mapping

from detectron2.config import CfgNode

from dld_d2.structures.allowed import Rule, each, number, one_of

__all__ = ["ALLOWED", "add_config"]


def add_config(cfg: CfgNode) -> None:
    """Add the keys, in place."""
    pp_ocr = cfg.MODEL.PP_OCR = CfgNode()
    # What learns, of "detector" and "recogniser"; they share no weights. What does not learn stays
    # as it is, and its losses are not computed.
    pp_ocr.LEARN = ("detector", "recogniser")
    # In training the sides of ground-truth regions move at random, in units of the word's height:
    # inwards by up to the first number, outwards by up to the second, so that the recogniser gets
    # used to regions as the detector finds them. In distillation all look at the same ones.
    pp_ocr.JITTER = (0.1, 0.25)

    # The core of a word, which the score map is to show, lies within its outline by
    # area * (1 - SHRINK_RATIO ** 2) / perimeter.
    pp_ocr.SHRINK_RATIO = 0.4
    # A word whose shorter side in the input is below this many pixels is neither text nor
    # background to the detector in training.
    pp_ocr.MIN_WORD_SIZE = 3.0
    # Factors of the losses: of the score map, of the border map, of both together (binarised), and
    # of reading. The first three are those of differentiable binarisation (Liao et al., 2020).
    pp_ocr.SCORE_LOSS_WEIGHT = 1.0
    pp_ocr.BORDER_LOSS_WEIGHT = 10.0
    pp_ocr.BINARY_LOSS_WEIGHT = 1.0
    pp_ocr.READING_LOSS_WEIGHT = 1.0

    # A pixel lies in the core of a word where its score exceeds the first; a region counts where
    # the mean score in it exceeds the second.
    pp_ocr.PIXEL_THRESH_TEST = 0.3
    pp_ocr.SCORE_THRESH_TEST = 0.5
    # Found cores grow by area * UNCLIP_RATIO_TEST / perimeter; 1.6 as released. 0: by what
    # SHRINK_RATIO took, which is exact for perfect maps of words, and too much for the released
    # detector and for one tuned to words, whose cores are larger (docs/results.md).
    pp_ocr.UNCLIP_RATIO_TEST = 1.6
    # Cores whose shorter side in the input is below this many pixels are left out, and words where
    # it is below two more.
    pp_ocr.MIN_SIZE_TEST = 3.0
    # Regions that are read with less confidence than this are left out.
    pp_ocr.TEXT_THRESH_TEST = 0.5


_SCORE = number(0, 1, note="a score")
_PIXELS = number(0, 1000, note="pixels")

ALLOWED: Mapping[str, Rule] = {
    "MODEL.PP_OCR.LEARN": each(one_of(("detector", "recogniser")), least=1, different=True),
    "MODEL.PP_OCR.JITTER": each(number(0, below=0.5), 2),
    "MODEL.PP_OCR.SHRINK_RATIO": number(above=0, below=1),
    "MODEL.PP_OCR.MIN_WORD_SIZE": _PIXELS,
    "MODEL.PP_OCR.SCORE_LOSS_WEIGHT": number(0),
    "MODEL.PP_OCR.BORDER_LOSS_WEIGHT": number(0),
    "MODEL.PP_OCR.BINARY_LOSS_WEIGHT": number(0),
    "MODEL.PP_OCR.READING_LOSS_WEIGHT": number(0),
    "MODEL.PP_OCR.PIXEL_THRESH_TEST": _SCORE,
    "MODEL.PP_OCR.SCORE_THRESH_TEST": _SCORE,
    "MODEL.PP_OCR.UNCLIP_RATIO_TEST": number(0, 100, note="0 undoes SHRINK_RATIO"),
    "MODEL.PP_OCR.MIN_SIZE_TEST": _PIXELS,
    "MODEL.PP_OCR.TEXT_THRESH_TEST": _SCORE,
}
"""Full name of a key -> what it may be."""
