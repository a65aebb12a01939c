"""Photographs as the shipped spotter of photographs reads them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
from benchmark_suite.turns import read_in_turn

from demo_page.gallery import draw_reading
from demo_page.gallery_html import picture_html
from demo_page.measure import Reading, Scene, read_scene
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.deployment.pretrained import DEFAULT

__all__ = ["FOLDER", "Photograph", "photographs_html", "read_photographs", "summary"]

FOLDER = Path(__file__).parent / "photographs"


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph with what was read in it.

    Attributes:
        scene: its name and picture; nothing is known of what is written there.
        reading: of it.
    """

    scene: Scene
    reading: Reading


def read_photographs() -> list[Photograph]:
    """Read all photographs that come with this demo."""
    spotters = {DEFAULT: TextSpotter.pretrained(device="cpu")}
    scenes = [Scene(file.stem, cv2.imread(str(file)), ()) for file in sorted(FOLDER.glob("*.jpg"))]
    found = read_in_turn(spotters, scenes, read_scene)[DEFAULT]
    return [Photograph(*pair) for pair in zip(scenes, found, strict=True)]


def summary(photograph: Photograph) -> str:
    """One line for a terminal."""
    reading = photograph.reading
    texts = " ".join(word.text for word in reading.words) or "nothing"
    return f"{photograph.scene.image_id}: {texts} ({1000 * reading.seconds:.0f} ms)"


def photographs_html(photographs: list[Photograph]) -> str:
    """An article for each, with its picture."""
    return "\n".join(
        f"<article>\n<h3>{escape(one.scene.image_id)}</h3>\n"
        f"{picture_html(draw_reading(one.scene.image, one.reading), one.reading, DEFAULT)}\n"
        "</article>"
        for one in photographs
    )
