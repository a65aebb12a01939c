"""Scoring text spotters by the ICDAR protocols: exact, fast, on its own.

>>> from dld_d2.evaluation import evaluate
>>> report = evaluate("gt.zip", "submission.zip")  # doctest: +SKIP
>>> print(report)  # doctest: +SKIP

Needs neither PyTorch nor Detectron2; `dld_d2.evaluation.evaluator`, the hook into Detectron2's
loop, is the one module that does, and is imported by name.
"""

from dld_d2.evaluation.lexicon import ImageLexicons, Lexicon, read_lexicon
from dld_d2.evaluation.report import Case, Report
from dld_d2.evaluation.scoring import evaluate
from dld_d2.evaluation.submission import read_ground_truth, read_submission, write_submission
from dld_d2.evaluation.words import DONT_CARE, EvaluationInputError, EvaluationWarning, Word

__all__ = [
    "DONT_CARE",
    "Case",
    "EvaluationInputError",
    "EvaluationWarning",
    "ImageLexicons",
    "Lexicon",
    "Report",
    "Word",
    "evaluate",
    "read_ground_truth",
    "read_lexicon",
    "read_submission",
    "write_submission",
]
