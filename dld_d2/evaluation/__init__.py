"""Scoring text spotters by the ICDAR protocols: exact, fast, on its own.

>>> from dld_d2.evaluation import evaluate
>>> report = evaluate("gt.zip", "submission.zip")  # doctest: +SKIP
>>> print(report)  # doctest: +SKIP

Needs neither PyTorch nor Detectron2; `dld_d2.engine.evaluation` is the hook into Detectron2's loop.
The names below are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "lexicon": ["ImageLexicons", "Lexicon", "read_lexicon"],
        "report": ["Case", "Report"],
        "scoring": ["evaluate"],
        "submission": ["read_ground_truth", "read_submission", "write_submission"],
        "words": ["DONT_CARE", "EvaluationInputError", "EvaluationWarning", "Word"],
    },
)
