"""The settings that are compared, each with its model or its evaluations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from appendix_page.budget import Selection
from appendix_page.evaluations import Evaluation, Evaluations
from appendix_page.sources import Source, open_source
from appendix_page.study import Study
from dld_d2.commands.console import progress
from dld_d2.commands.errors import UsageError
from dld_d2.data.resolution import at_resolution_of
from dld_d2.deployment.predictor import TextSpotter

__all__ = ["Settings", "check_low_scale", "open_settings"]


@dataclass(frozen=True, eq=False)
class Settings:
    """Models by their role.

    Attributes:
        vanilla: the teacher.
        dld: students that choose.
        vanilla_low, skd_only, drs_only: None where not given.
        low: the low scale.
    """

    vanilla: Source
    dld: Sequence[Source]
    vanilla_low: Source | None
    skd_only: Source | None
    drs_only: Source | None
    low: float

    def told(self) -> list[tuple[str, str]]:
        """(role, what plays it)."""
        lines = [("vanilla", f"{self.vanilla.label}, the teacher, at full resolution")]
        if self.vanilla_low is not None:
            lines.append(("vanilla at the low scale", self.vanilla_low.label))
        elif self.vanilla.model is not None:
            lines.append(("vanilla at the low scale", f"{self.vanilla.label} at {self.low:g}"))
        if self.skd_only is not None:
            text = f"{self.skd_only.label}, a student that reads all images at one scale"
            if self._held and not self.skd_only.chooses:
                text = f"{self.skd_only.label}, with all images at {self.low:g}"
            elif self._held:
                text = (
                    f"the student of {self.skd_only.label}, whose selector is not asked: all "
                    f"images at {self.low:g}. It did not learn at that scale alone"
                )
            lines.append(("SKD-only", text))
        if self.drs_only is not None:
            lines.append(("DRS-only", f"{self.drs_only.label}, a student without distillation"))
        labels = ", ".join(source.label for source in self.dld)
        first = "; the first is looked at below" if len(self.dld) > 1 else ""
        does = "chooses the scale of each image"
        if all(source.reader is not None for source in self.dld):
            does = "looks first, and reads the parts that it marks"
        lines.append(("DLD", f"{labels}, which {does}{first}"))
        return lines

    def study(self, name: str, items: Sequence[dict], evaluations: Evaluations) -> Study:
        """A data set under all settings.

        Args:
            name, items: of the set.
            evaluations: on it.
        """
        low = self.low
        vanilla_low = None
        if self.vanilla_low is not None:
            vanilla_low = _at(evaluations.of(self.vanilla_low), low)
        elif self.vanilla.model is not None:
            vanilla_low = evaluations.of(self.vanilla, low)
        skd_only = None
        if self.skd_only is not None:
            skd_only = _at(evaluations.of(self.skd_only, low if self._held else None), low)
        drs_only = evaluations.of(self.drs_only) if self.drs_only is not None else None
        dld = [_named("DLD", evaluations.of(source)) for source in self.dld]
        if self.selection is not None:
            other = sorted({*dld[0].scales.values()} - {*self.selection.scales})
            if other:
                raise UsageError(
                    f"{self.dld[0].label}: its evaluation on {name} has the scale {other[0]:g}, "
                    "which the model does not know; evaluate it again"
                )
        return Study(
            name=name,
            items=items,
            low=low,
            vanilla=_named("vanilla", evaluations.of(self.vanilla)),
            vanilla_low=_named("vanilla", vanilla_low),
            skd_only=_named("SKD-only", skd_only),
            drs_only=_named("DRS-only", drs_only),
            dld=dld,
            logits=self._logits(name, items),
        )

    @property
    def _held(self) -> bool:
        """Whether the SKD-only student is held at the low scale, which is not its own."""
        source = self.skd_only
        return source is not None and source.model is not None and not source.keeps_scale

    @property
    def selection(self) -> Selection | None:
        """How the first student chooses; None without its model, or a selector in it."""
        first = self.dld[0]
        if not first.chooses:
            return None
        return Selection(
            first.model.scales, first.model.relative_cost.cpu(), first.model.policy.cost_bias
        )

    def _logits(self, name: str, items: Sequence[dict]) -> np.ndarray | None:
        if self.selection is None:
            return None
        first = self.dld[0]
        spotter = TextSpotter(at_resolution_of(first.cfg, name), model=first.model)
        images = (
            item["read_image"]("BGR") if "read_image" in item else item["file_name"]
            for item in items
        )
        logits = []
        for found in progress(spotter.scale_logits(images), "Selector", len(items)):
            if isinstance(found, Exception):
                raise found
            logits.append(found)
        return torch.stack(logits).numpy()


def open_settings(arguments: argparse.Namespace) -> Settings:
    """Those of the command line.

    Raises:
        UsageError: if a student of --dld does not choose, or that of --skd-only has another scale
            than the low one, and as `open_source`.
    """

    def opened(text: str | None) -> Source | None:
        return None if text is None else open_source(text, arguments.opts)

    settings = Settings(
        opened(arguments.vanilla),
        [open_source(text, arguments.opts) for text in arguments.dld],
        opened(arguments.vanilla_low),
        opened(arguments.skd_only),
        opened(arguments.drs_only),
        arguments.low_scale,
    )
    for source in settings.dld:
        if source.model is not None and not source.chooses:
            raise UsageError(
                f"--dld {source.label} has no selector: it reads every image at one scale; such a "
                "student is for --skd-only"
            )
    check_low_scale(settings.skd_only, arguments.low_scale)
    return settings


def check_low_scale(skd_only: Source | None, low: float) -> None:
    """
    Raises:
        UsageError: if a student has a scale of its own that is not the low one.
    """
    if skd_only is not None and skd_only.keeps_scale:
        scale = skd_only.model.scales[skd_only.model.policy.index]
        if scale != low:
            raise UsageError(
                f"--skd-only {skd_only.label} reads at scale {scale:g}, and the low scale is "
                f"{low:g}; say --low-scale {scale:g}"
            )


def _named(role: str, evaluation: Evaluation | None) -> Evaluation | None:
    return evaluation and replace(evaluation, label=f"{role} ({evaluation.label})")


def _at(evaluation: Evaluation, low: float) -> Evaluation:
    """The same; where it does not tell scales, all images were read at the low one."""
    if set(evaluation.scales.values()) != {1.0}:
        return evaluation
    return replace(evaluation, scales=dict.fromkeys(evaluation.scales, low))
