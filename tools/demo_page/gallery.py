"""Scenes with what teacher and student read in them, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from html_page.parts import jpeg

from demo_page.measure import Reading, Scene, by_regime
from dld_d2.analysis.visualization import DrawnWord, as_seen, draw_words
from dld_d2.commands.pictures import frames_of
from dld_d2.evaluation import DONT_CARE
from dld_d2.evaluation.geometry import compute_overlaps
from dld_d2.evaluation.protocol import END_TO_END, match_image, prepare_truth

__all__ = [
    "Comparison",
    "Disagreement",
    "Exhibit",
    "choose_scenes",
    "compare",
    "draw_reading",
    "make_exhibit",
]

_IOU = 0.5
_ALIKE, _DIFFERENT = "sky", "vermilion"


@dataclass(frozen=True)
class Disagreement:
    """A place that teacher and student read differently, or that one of them did not find.

    Attributes:
        written: what is written there; `DONT_CARE` in a don't-care region; None where there is no
            annotated word.
        teacher, student: what they read; None where they found nothing.
    """

    written: str | None
    teacher: str | None
    student: str | None

    def is_right(self, reading: str | None) -> bool | None:
        """By the rules of end-to-end recognition; None where there is nothing to be right on."""
        if self.written == DONT_CARE or (self.written is None and reading is None):
            return None
        if self.written is None or reading is None:
            return False
        (accepted,) = prepare_truth([self.written], END_TO_END).readings
        return reading.upper() in accepted


@dataclass(frozen=True)
class Comparison:
    """Two readings of a scene beside each other.

    Attributes:
        disagreements: in the order of the teacher's words, then the student's.
        alike: number of words that both found and read alike, apart from case.
        teacher_differs, student_differs: indices of the words they disagree on.
    """

    disagreements: tuple[Disagreement, ...]
    alike: int
    teacher_differs: frozenset[int]
    student_differs: frozenset[int]


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A scene of the gallery.

    Attributes:
        scene: itself.
        teacher, student: what they read.
        comparison: of the two.
        pictures: JPEG of the teacher's and of the student's words.
        other_scales: label of another student -> the scale that it chose.
        why: why it is shown.
    """

    scene: Scene
    teacher: Reading
    student: Reading
    comparison: Comparison
    pictures: tuple[bytes, bytes]
    other_scales: dict[str, float]
    why: str


def compare(scene: Scene, teacher: Reading, student: Reading) -> Comparison:
    """Tell where two readings of a scene differ.

    Two words are at one place if their polygons match as the ICDAR protocol has it, IoU > 0.5. Case
    does not matter there, and neither here.
    """
    true, taught, learnt = (
        [word.polygon for word in words] for words in (scene.truth, teacher.words, student.words)
    )
    partner = _matches(taught, learnt)
    truth_of_teacher = {det: gt for gt, det in _matches(true, taught).items()}
    truth_of_student = {det: gt for gt, det in _matches(true, learnt).items()}

    def written(teachers: int | None, students: int | None) -> str | None:
        index = truth_of_teacher.get(teachers, truth_of_student.get(students))
        return None if index is None else scene.truth[index].text

    found: list[Disagreement] = []
    differs: tuple[set[int], set[int]] = (set(), set())
    alike = 0
    for index, word in enumerate(teacher.words):
        other = partner.get(index)
        read = None if other is None else student.words[other].text
        if read is not None and read.upper() == word.text.upper():
            alike += 1
            continue
        found.append(Disagreement(written(index, other), word.text, read))
        differs[0].add(index)
        if other is not None:
            differs[1].add(other)
    for index, word in enumerate(student.words):
        if index not in partner.values():
            found.append(Disagreement(written(None, index), None, word.text))
            differs[1].add(index)
    return Comparison(tuple(found), alike, frozenset(differs[0]), frozenset(differs[1]))


def choose_scenes(
    scenes: Sequence[Scene],
    comparisons: Sequence[Comparison],
    *,
    per_regime: int = 2,
    most: int = 2,
) -> dict[int, str]:
    """Index of each scene to show -> why.

    The first scenes of each regime, which says nothing about how they were read, and of the others
    those with the most disagreements.
    """
    chosen: dict[int, str] = {}
    for regime, members in by_regime(scenes).items():
        for place, index in enumerate(members[:per_regime], 1):
            chosen[index] = f"scene {place} of {len(members)} with {regime} words"
    rest = [i for i in range(len(scenes)) if i not in chosen and comparisons[i].disagreements]
    rest.sort(key=lambda i: -len(comparisons[i].disagreements))
    for index in rest[:most]:
        regime = scenes[index].regime
        chosen[index] = f"{regime} words; among those with the most disagreements"
    return chosen


def make_exhibit(
    scene: Scene,
    teacher: Reading,
    student: Reading,
    comparison: Comparison,
    *,
    other_scales: dict[str, float],
    why: str,
) -> Exhibit:
    """Draw both readings; the student's on the scene as small as the student saw it."""
    pictures = (
        draw_reading(scene.image, teacher, comparison.teacher_differs),
        draw_reading(scene.image, student, comparison.student_differs),
    )
    return Exhibit(scene, teacher, student, comparison, pictures, other_scales, why)


def draw_reading(
    image: np.ndarray, reading: Reading, differs: frozenset[int] = frozenset()
) -> bytes:
    """JPEG of an image as it was seen, with what was read, and frames around the parts that were,
    if a look found them.

    Args:
        image: (H, W, 3) uint8, BGR.
        reading: of it.
        differs: indices of words in the colour of disagreement.
    """
    frames = [] if reading.result is None else frames_of(reading.result)
    if not frames:
        image = as_seen(image, reading.scale)
    words = frames + [
        DrawnWord(word.polygon, word.text, color=_DIFFERENT if index in differs else _ALIKE)
        for index, word in enumerate(reading.words)
    ]
    return jpeg(draw_words(image, words))


def _matches(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> dict[int, int]:
    (overlaps,) = compute_overlaps([first], [second])
    match = match_image(overlaps, np.zeros(len(first), dtype=bool), _IOU)
    return dict(zip(match.gt_index.tolist(), match.det_index.tolist(), strict=True))
