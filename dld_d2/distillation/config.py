"""Configuration keys of distillation; those of a term stand beside the term."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode

from dld_d2.distillation.learning.learning import known_learnings
from dld_d2.distillation.terms.term import Term, find_term, known_terms
from dld_d2.structures.allowed import Rule, number, one_of

__all__ = ["ALLOWED", "add_distillation_config", "add_term_config", "conflicts"]


def add_distillation_config(cfg: CfgNode) -> None:
    """Add the keys, in place, with a section for each registered term."""
    distill = cfg.MODEL.DISTILL = CfgNode()
    # The frozen teacher's weights; training needs them. The student's spotter starts from them
    # unless MODEL.WEIGHTS says otherwise. A student may teach: of its file the spotter is taken.
    distill.TEACHER_WEIGHTS = ""
    # Config file of the teacher where it is another model than the student's spotter; relative to
    # the working directory. Empty: it is the same model.
    distill.TEACHER_CONFIG = ""
    # Weights that the student's spotter starts from where it is another model than the teacher: of
    # such a spotter that was trained by itself, or of a student. MODEL.WEIGHTS goes before it.
    distill.STUDENT_WEIGHTS = ""
    # Losses between teacher and student, each with a section of its own below. A term that lies
    # outside of this package is named by its module and its name: "my_project.my_module.my_term".
    # Empty: nothing is distilled (DRS-only).
    distill.TERMS = ("roi", "context", "sequence")
    # Keep the statistics that the student's batch norms start with. Those of a few images at
    # different scales, padded to one size, are not what it meets at inference.
    distill.FREEZE_STATISTICS = False
    # Train the selector alone, for another GAMMA, say, in minutes. The student stays as it is, that
    # of MODEL.WEIGHTS or, without any, the teacher's. Without augmentations, and by "best_scale",
    # candidates are passed once for each image: what they cost there is remembered.
    distill.FREEZE_STUDENT = False
    # Type of the passes without gradient (teacher, candidates): "float32", "bfloat16" or
    # "float16". Half the width doubles their speed where the hardware has it.
    distill.NO_GRAD_PRECISION = "float32"

    # What the teacher reads in those sets of DATASETS.TRAIN that have no annotations (format
    # "unlabelled"). A word of which it is sure is learnt; any other is a don't-care region.
    pseudo = distill.PSEUDO_LABELS = CfgNode()
    # Least score of the text, in [0, 1]. Wrong texts are learnt like right ones: raise it for a
    # teacher that is sure of its mistakes.
    pseudo.MIN_SCORE = 0.9
    # Least score of the detection, in [0, 1]: the probability of text for Mask R-CNN, the mean of
    # the map within the word for a detector by segmentation. Both are 0.5 where text is as likely
    # as background, and most detectors leave out by themselves what lies below; whether a region
    # holds a word, the score of its text tells better than much more of this one.
    pseudo.MIN_DETECTION_SCORE = 0.5

    # How the selector learns, where MODEL.DYNAMIC.POLICY is "selector".
    selector = distill.SELECTOR = CfgNode()
    # "gumbel": by the gradient of the scale that was drawn, as published, in hundreds of epochs; or
    # "best_scale": by classification, in hundreds of steps (docs/distillation.md).
    selector.LEARNING = "gumbel"
    # Weight of its loss, L_DRS = L_acc + GAMMA * L_flops, in the sum: lambda 2 of the paper.
    selector.LOSS_WEIGHT = 1.0
    # Weight of the cost. 0.1 favours accuracy, 0.3 cost.
    selector.GAMMA = 0.1
    # What L_acc is: how far the student's reading of given regions is from that of the "teacher"
    # (KL divergence, the paper) or from the "ground_truth" (cross-entropy, the released code); or
    # "spotting", how many words go wrong where they have to be found as well (ours; GAMMA is in
    # words then, and every candidate is passed as at inference).
    selector.ACCURACY_TARGET = "teacher"
    # Weight in L_acc of a candidate's detection loss, for spotters that tell one: finding words is
    # what resolution buys in photographs. 0: reading of ground-truth regions alone, the paper.
    selector.DETECTION_WEIGHT = 0.0
    # Temperature of the Gumbel-softmax: TAU_INIT * TAU_DECAY ** epoch. Without SOLVER.EPOCHS an
    # epoch is a pass over DATASETS.TRAIN all the same.
    selector.TAU_INIT = 5.0
    selector.TAU_DECAY = 0.965
    # Fraction of a batch's images, at least one, from which the selector learns. Passing all
    # candidates is about a third of a training step; published is 1.
    selector.BATCH_FRACTION = 1.0
    # Its learning rate in units of SOLVER.BASE_LR: unlike the student it starts from nothing.
    selector.LR_FACTOR = 1.0
    # Checkpoint of a training of the meta-architecture TextSizeEstimator, from which the selector
    # takes all but its last layer. Empty: random weights, as published.
    selector.WEIGHTS = ""

    for name, learning in known_learnings().items():
        node = CfgNode()
        learning.add_config(node)
        if node:
            distill[name.upper()] = node
    for term in known_terms().values():
        add_term_config(cfg, term)


def add_term_config(cfg: CfgNode, term: type[Term]) -> None:
    """Add the section of a term, in place, if it is not there."""
    section = term.name.upper()
    if section not in cfg.MODEL.DISTILL:
        cfg.MODEL.DISTILL[section] = CfgNode()
        term.add_config(cfg.MODEL.DISTILL[section])


def _learnings() -> list[str]:
    return sorted(known_learnings())


ALLOWED: Mapping[str, Rule] = {
    "MODEL.DISTILL.NO_GRAD_PRECISION": one_of(("float32", "bfloat16", "float16")),
    "MODEL.DISTILL.PSEUDO_LABELS.MIN_SCORE": number(0, 1, note="a score"),
    "MODEL.DISTILL.PSEUDO_LABELS.MIN_DETECTION_SCORE": number(0, 1, note="a score"),
    "MODEL.DISTILL.SELECTOR.LEARNING": one_of(_learnings),
    "MODEL.DISTILL.SELECTOR.LOSS_WEIGHT": number(above=0),
    "MODEL.DISTILL.SELECTOR.GAMMA": number(0),
    "MODEL.DISTILL.SELECTOR.ACCURACY_TARGET": one_of(("teacher", "ground_truth", "spotting")),
    "MODEL.DISTILL.SELECTOR.DETECTION_WEIGHT": number(0, note="0 leaves it out"),
    "MODEL.DISTILL.SELECTOR.TAU_INIT": number(above=0),
    "MODEL.DISTILL.SELECTOR.TAU_DECAY": number(
        above=0, most=1, note="the temperature is multiplied by it after each epoch"
    ),
    "MODEL.DISTILL.SELECTOR.BATCH_FRACTION": number(above=0, most=1),
    "MODEL.DISTILL.SELECTOR.LR_FACTOR": number(above=0),
    "MODEL.DISTILL.BEST_SCALE.TARGET_TEMPERATURE": number(above=0),
    "MODEL.DISTILL.BEST_SCALE.REGRET_POWER": number(0, 1),
}
"""Full name of a key -> what it may be."""


def conflicts(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Keys whose value does not go with that of another one, and what is expected."""
    distill = cfg.MODEL.DISTILL
    if len(set(distill.TERMS)) < len(distill.TERMS):
        yield "MODEL.DISTILL.TERMS", "each term once"
    for word in distill.TERMS:
        term = find_term(word)
        section = term.name.upper()
        expected = number(above=0)(distill[section].get("WEIGHT", 1.0))
        if expected is not None:
            yield (
                f"MODEL.DISTILL.{section}.WEIGHT",
                f"{expected}; to leave the term out, take {word!r} out of MODEL.DISTILL.TERMS",
            )
        yield from term.conflicts(cfg)
    for term in known_terms().values():
        section = term.name.upper()
        for key, rule in term.allowed.items():
            expected = rule(distill[section][key]) if section in distill else None
            if expected is not None:
                yield f"MODEL.DISTILL.{section}.{key}", expected
