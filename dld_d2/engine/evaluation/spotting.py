"""The ICDAR protocols: words found, words read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dld_d2.engine.evaluation.found_words import WordsEvaluator
from dld_d2.engine.evaluation.part import Summary
from dld_d2.engine.evaluation.truth import rrc_names
from dld_d2.evaluation.lexicon import ImageLexicons, Lexicon
from dld_d2.evaluation.protocol import Counts
from dld_d2.evaluation.report import Report
from dld_d2.evaluation.scoring import evaluate
from dld_d2.evaluation.submission import write_submission
from dld_d2.structures.word import Word

__all__ = ["SpottingEvaluator"]

_TASKS = {"e2e": "end_to_end", "ws": "word_spotting"}
_PREFIXES = {task: prefix for prefix, task in _TASKS.items()}


class SpottingEvaluator(WordsEvaluator):
    """Scores words by the ICDAR protocols, and writes them as the RRC takes them.

    Metrics, fractions of 1: `det_recall`, `det_precision`, `det_hmean`, finding words, whatever
    they say; `e2e_<lexicon>_recall`, `..._precision`, `..._hmean`, and `ws_...`, end-to-end and
    word spotting.

    Args:
        dataset_name: for messages.
        truth: image id -> words; needed in the main process.
        lexicons: by name; likewise.
        match_iou: overlap that a match needs to exceed.
        output_dir: where `submission.zip` goes.
    """

    def __init__(
        self,
        dataset_name: str,
        truth: Mapping[str, Sequence[Word]],
        lexicons: Mapping[str, Lexicon | ImageLexicons | None],
        *,
        match_iou: float,
        output_dir: Path,
    ) -> None:
        self._name = dataset_name
        self._truth = truth
        self._lexicons = lexicons
        self._match_iou = match_iou
        self._output_dir = output_dir
        self.reset()

    def summarize(self, seen: Sequence[dict[str, list[Word]]]) -> Summary:
        """
        Raises:
            ValueError: if an image of the data set was not processed.
        """
        words = {name: found for part in reversed(seen) for name, found in part.items()}
        missing = [name for name in self._truth if name not in words]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(self._truth)} images of {self._name} were not evaluated, "
                f"the first is {missing[0]}"
            )
        names = rrc_names(self._truth)
        words = {names[name]: words[name] for name in self._truth}
        truth = {names[name]: found for name, found in self._truth.items()}
        report = evaluate(truth, words, ious=self._match_iou, lexicons=self._lexicons)
        self._output_dir.mkdir(parents=True, exist_ok=True)
        numbered = all(name.isdigit() for name in words)
        pattern = "res_img_{}.txt" if numbered else "res_{}.txt"
        write_submission(self._output_dir / "submission.zip", words, name=pattern)
        return Summary(
            metrics=_metrics(report, list(self._lexicons)),
            images=self._image_rows(report, words, names),
            document={**report.to_dict(), "count_names": Counts._fields},
            table=str(report),
        )

    def _image_rows(
        self, report: Report, words: Mapping[str, Sequence[Word]], names: Mapping[str, str]
    ) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {
            name: {"num_words": len(words[names[name]]), "counts": {}} for name in self._truth
        }
        for case in report.cases:
            key = f"{_PREFIXES[case.task]}_{case.lexicon}"
            for row, counts in zip(rows.values(), case.image_counts.tolist(), strict=True):
                row["counts"][key] = counts
        return rows


def _metrics(report: Report, lexicons: list[str]) -> dict[str, float]:
    detection = report.case("end_to_end", lexicons[0]).detection
    metrics = {f"det_{key}": value for key, value in detection._asdict().items()}
    for prefix, task in _TASKS.items():
        for lexicon in lexicons:
            rates = report.case(task, lexicon).spotting._asdict()
            metrics |= {f"{prefix}_{lexicon}_{key}": value for key, value in rates.items()}
    return metrics
