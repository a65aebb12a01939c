"""Maps in colours over an image."""

import numpy as np

from dld_d2.analysis.maps import character_colors, draw_maps


def test_each_map_has_its_colour_where_it_is_high():
    image = np.full((40, 80, 3), 100, dtype=np.uint8)
    maps = np.zeros((2, 10, 20), dtype=np.float32)
    maps[0, 2:8, 2:8] = 1
    maps[1, 2:8, 12:18] = 1
    drawn = draw_maps(image, maps, character_colors(2))
    assert (image == 100).all() and drawn.shape == image.shape
    background, first, second = drawn[2, 40], drawn[20, 20], drawn[20, 60]
    assert background.tolist() == [50] * 3
    # Red, then green, a quarter of the darkened image showing through.
    assert first.tolist() == [12, 12, 204] and second.tolist() == [12, 204, 12]


def test_an_image_without_maps_is_darkened_alone():
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    assert (draw_maps(image, [], []) == 50).all()


def test_neighbouring_characters_have_different_colours_which_come_again():
    colors = character_colors(7)
    assert len(set(colors[:6])) == 6 and colors[6] == colors[0] == (255, 0, 0)
