"""A synthetic scene: a picture and its words."""

from __future__ import annotations

import numpy as np

from dld_d2.synthetic.background import make_background
from dld_d2.synthetic.camera import photograph
from dld_d2.synthetic.config import SceneConfig
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.ink import draw_block
from dld_d2.synthetic.layout import SceneLayout, lay_out

__all__ = ["draw_scene"]

_PICTURE_STREAM = 1


def draw_scene(
    config: SceneConfig, seed: int, index: int, layout: SceneLayout | None = None
) -> np.ndarray:
    """The picture of scene `index`, a function of the first three arguments alone.

    The same versions of NumPy, OpenCV, Pillow and the fonts give the same bits; others may differ
    a little in how edges are smoothed. Annotations do not depend on them.

    Args:
        layout: what `lay_out` gives for these arguments, if it is at hand.

    Returns:
        (height, width, 3) uint8 BGR.

    Raises:
        AnnotationError: if a configured folder cannot be used.
    """
    if layout is None:
        layout = lay_out(config, seed, index)
    draws = Draws(seed, index, _PICTURE_STREAM)
    canvas = make_background(config, draws)
    for placed in layout.blocks:
        draw_block(canvas, placed, config, draws)
    return photograph(canvas, config, layout.min_letter_height, draws)
