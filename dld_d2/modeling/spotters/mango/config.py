"""Configuration keys of the one-stage spotter, MANGOSpotter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode

from dld_d2.modeling.norms import NORMS
from dld_d2.structures.allowed import Rule, each, name_of, number, one_of, whole

__all__ = ["ALLOWED", "add_config", "conflicts"]


def add_config(cfg: CfgNode) -> None:
    """Add the keys, in place."""
    mango = cfg.MODEL.MANGO = CfgNode()
    # FPN level that everything looks at. The published network uses p2 only (stride 4).
    mango.IN_FEATURE = "p2"
    # Cells per side of the grid; a word is read out of the cells around its middle. Published is
    # 40, and 60 for fine-tuning on ICDAR2015, with its many small words.
    mango.GRID_SIZE = 40
    # What the grid divides: the "image" alone, so that a word lies in the same cell at every scale,
    # as distillation needs it; or the "padded" image, the released form.
    mango.GRID_OVER = "image"
    # Normalisation of all convolutions but those of the centre lines: "BN", "SyncBN", or "GN" as
    # published. A group norm's statistics are those of a whole map with its padding, so that what
    # is read depends a little on how far other images of a batch make one be padded.
    mango.NORM = "BN"

    # Where the centre lines of words are.
    line = mango.CENTER_LINE = CfgNode()
    line.CONV_DIM = 256
    # Whether there are convolutions of 1x7 beside those of 3x3, as published.
    line.WIDE = True
    # Published is none, "".
    line.NORM = ""
    # Which cells read a word.
    category = mango.CATEGORY = CfgNode()
    category.CONV_DIM = 256
    category.NUM_CONV = 2
    # Where the characters of a cell's word are.
    attention = mango.ATTENTION = CfgNode()
    attention.CONV_DIM = 256
    attention.NUM_CONV = 4
    # Whether each character is looked for around a place that its cell foretells. Ours: the
    # released form, False, has to tell places apart by two coordinate maps, and learns it slowly.
    attention.LOCAL = False
    # What is gathered there.
    fusion = mango.FUSION = CfgNode()
    fusion.CONV_DIM = 256
    fusion.NUM_CONV = 4
    # "mean" over where a character is; or the "sum", as published, which at half the scale is a
    # quarter, so that a student and its teacher have nothing alike to compare.
    fusion.POOLING = "mean"
    # From a word's characters, as gathered, to classes.
    sequence = mango.SEQUENCE = CfgNode()
    # Stacked bidirectional LSTMs and their hidden units per direction.
    sequence.NUM_LAYERS = 2
    sequence.HIDDEN_DIM = 256
    # Fully connected layers before the classes.
    sequence.FC_DIMS = (512, 512)

    # What is read in training: all "cells" of all words as published; or of each of the "words" the
    # one in its middle and another, drawn at random, which takes a fraction of memory and time.
    mango.ROWS = "cells"
    # A word's polygon is shrunk by area * (1 - SHRINK_RATIO ** 2) / perimeter to its centre line.
    mango.SHRINK_RATIO = 0.4
    # Factors of the losses.
    mango.CENTER_LINE_LOSS_WEIGHT = 1.0
    mango.CATEGORY_LOSS_WEIGHT = 1.0
    mango.READING_LOSS_WEIGHT = 1.0
    # Of where characters are: 3 in the published first stage, which learns nothing of reading, and
    # 0 in all others. The published stage takes boxes of characters; here each word is cut into as
    # many slices as it has characters.
    mango.MASK_LOSS_WEIGHT = 0.0
    # Whether that loss also wants nothing to be seen at positions after a word's end. Published is
    # False: it says nothing of those after the first.
    mango.EMPTY_AFTER_END = False
    # By chance the reader is fed what is in the slices of a word instead of what is attended to, so
    # that reading is learnt while attention is not there yet: of all words at first, of a share of
    # FORCED_MASKS_PROB after FORCED_MASKS_ITERS iterations, and linearly less between. (All at once
    # upset what was learnt.) Ours; published is (0, 0.0).
    mango.FORCED_MASKS_ITERS = 0
    mango.FORCED_MASKS_PROB = 0.0

    # A pixel lies on a centre line, and a cell reads a word, where its score reaches these; 0.1 for
    # both in the released configuration for ICDAR2013.
    mango.CENTER_THRESH_TEST = 0.5
    mango.CATEGORY_THRESH_TEST = 0.5
    # Centre lines of no more pixels of the map than this are left out.
    mango.MIN_AREA_TEST = 8
    # Rectangles of found centre lines grow by area * UNCLIP_RATIO_TEST / perimeter. 0: they stay as
    # they are, far smaller than the words, which is what is released: evaluate with TEST.MATCH_IOU
    # 0.1.
    mango.UNCLIP_RATIO_TEST = 0.0
    # Words with a lower score are left out.
    mango.SCORE_THRESH_TEST = 0.0


_CHANNELS = whole(1, 8192, note="channels")
_CONVOLUTIONS = whole(1, 100)
_UNITS = whole(1, 8192)
_PROBABILITY = number(0, 1, note="a probability")

ALLOWED: Mapping[str, Rule] = {
    "MODEL.MANGO.IN_FEATURE": name_of("a feature map"),
    "MODEL.MANGO.GRID_SIZE": whole(1, 512, note="cells per side"),
    "MODEL.MANGO.GRID_OVER": one_of(("image", "padded")),
    "MODEL.MANGO.NORM": one_of(NORMS),
    "MODEL.MANGO.CENTER_LINE.CONV_DIM": _CHANNELS,
    "MODEL.MANGO.CENTER_LINE.NORM": one_of(NORMS),
    "MODEL.MANGO.CATEGORY.CONV_DIM": _CHANNELS,
    "MODEL.MANGO.CATEGORY.NUM_CONV": _CONVOLUTIONS,
    "MODEL.MANGO.ATTENTION.CONV_DIM": _CHANNELS,
    "MODEL.MANGO.ATTENTION.NUM_CONV": _CONVOLUTIONS,
    "MODEL.MANGO.FUSION.CONV_DIM": _CHANNELS,
    "MODEL.MANGO.FUSION.NUM_CONV": _CONVOLUTIONS,
    "MODEL.MANGO.FUSION.POOLING": one_of(("mean", "sum")),
    "MODEL.MANGO.SEQUENCE.NUM_LAYERS": whole(0, 100),
    "MODEL.MANGO.SEQUENCE.HIDDEN_DIM": _UNITS,
    "MODEL.MANGO.SEQUENCE.FC_DIMS": each(_UNITS),
    "MODEL.MANGO.ROWS": one_of(("cells", "words")),
    "MODEL.MANGO.SHRINK_RATIO": number(0, 1, note="1 shrinks nothing"),
    "MODEL.MANGO.CENTER_LINE_LOSS_WEIGHT": number(0),
    "MODEL.MANGO.CATEGORY_LOSS_WEIGHT": number(0),
    "MODEL.MANGO.READING_LOSS_WEIGHT": number(0),
    "MODEL.MANGO.MASK_LOSS_WEIGHT": number(0, note="0 leaves it out"),
    "MODEL.MANGO.FORCED_MASKS_ITERS": whole(0, note="0 forces none at first"),
    "MODEL.MANGO.FORCED_MASKS_PROB": _PROBABILITY,
    "MODEL.MANGO.CENTER_THRESH_TEST": _PROBABILITY,
    "MODEL.MANGO.CATEGORY_THRESH_TEST": _PROBABILITY,
    "MODEL.MANGO.MIN_AREA_TEST": whole(0, note="pixels of the map"),
    "MODEL.MANGO.UNCLIP_RATIO_TEST": number(0, note="0 leaves rectangles as they are"),
    "MODEL.MANGO.SCORE_THRESH_TEST": number(0, 1, note="0 leaves no word out"),
}
"""Full name of a key -> what it may be."""


def conflicts(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Channels that cannot be normalised in groups."""
    mango = cfg.MODEL.MANGO
    parts = {
        "CENTER_LINE": (mango.CENTER_LINE.NORM, "CENTER_LINE.NORM"),
        **dict.fromkeys(("CATEGORY", "ATTENTION", "FUSION"), (mango.NORM, "NORM")),
    }
    for part, (norm, key) in parts.items():
        if norm == "GN" and mango[part].CONV_DIM % 32:
            yield (
                f"MODEL.MANGO.{part}.CONV_DIM",
                f'a multiple of 32, because MODEL.MANGO.{key} "GN" takes 32 groups of channels',
            )
