"""Pictures of attention."""

import numpy as np

from dld_d2.analysis.attention import draw_attention


def test_each_character_has_a_colour_where_it_is_looked_for():
    image = np.full((40, 80, 3), 100, dtype=np.uint8)
    attention = np.zeros((2, 10, 20), dtype=np.float32)
    attention[0, 2:8, 2:8] = 1
    attention[1, 2:8, 12:18] = 1
    drawn = draw_attention(image, [attention])
    assert (image == 100).all() and drawn.shape == image.shape
    background, first, second = drawn[2, 40], drawn[20, 20], drawn[20, 60]
    assert background.tolist() == [50] * 3
    # Red, then green, a quarter of the darkened image showing through.
    assert first.tolist() == [12, 12, 204] and second.tolist() == [12, 204, 12]


def test_an_image_without_words_is_darkened_alone():
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    assert (draw_attention(image, []) == 50).all()
