"""What the evaluators of this project share: each measures one thing, alone or with others."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

__all__ = ["TASK", "PartEvaluator", "Summary"]

TASK = "text_spotting"
"""Name of the task that all metrics are listed under."""


@dataclass(frozen=True)
class Summary:
    """What came of a part.

    Attributes:
        metrics: name -> value.
        images: image id -> what there is to say of the image alone, ready for JSON.
        document: further entries of `results.json`.
        table: text for people; empty if there is none.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    table: str = ""


class PartEvaluator(DatasetEvaluator):
    """One of Detectron2's evaluators, split into what a process sees and what comes of it.

    So several of them exchange what they saw once, and an error in the main process leaves no other
    process waiting. Images are told apart by `str(input["image_id"])`; one that comes twice counts
    once.
    """

    @abstractmethod
    def seen(self) -> Any:
        """What this process has seen since `reset`; it can be pickled."""

    @abstractmethod
    def summarize(self, seen: Sequence[Any]) -> Summary:
        """What comes of all processes' `seen`, called in the main process."""

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """{"text_spotting": metrics} in the main process, nothing in the others."""
        gathered = comm.gather(self.seen())
        if not comm.is_main_process():
            return OrderedDict()
        return OrderedDict({TASK: self.summarize(gathered).metrics})
