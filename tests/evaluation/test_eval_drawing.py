"""Any photograph can be drawn on."""

import os

import numpy as np
import pytest
from PIL import Image

from dld_d2.evaluation.drawing import draw_image
from dld_d2.evaluation.words import EvaluationInputError

NOTHING = {"ground_truth": [], "detections": []}


def test_16_bits_are_scaled_and_not_cut_off(tmp_path):
    ramp = np.repeat(np.linspace(0, 65535, 1920).astype(np.uint16)[None], 64, axis=0)
    Image.fromarray(ramp).save(tmp_path / "x.png")
    drawn = np.asarray(draw_image(tmp_path / "x.png", NOTHING))[32]
    assert np.abs(drawn - ramp[32, :, None] / 257).max() <= 0.5


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((100, 1920, 3), np.uint8)
    picture[:, :960] = 255
    Image.fromarray(picture).save(tmp_path / "x.png", exif=exif)
    drawn = draw_image(tmp_path / "x.png", NOTHING)
    assert drawn.width == 100
    assert drawn.getpixel((50, 10)) == (255, 255, 255)
    assert drawn.getpixel((50, 1900)) == (0, 0, 0)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(EvaluationInputError, match="is a pipe"):
        draw_image(tmp_path / "x.png", NOTHING)
