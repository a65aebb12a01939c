"""Drawing of words: places, colours, labels that stay readable, clear errors."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from dld_d2.analysis.visualization import (
    PALETTE,
    DrawnWord,
    LegendEntry,
    _place_labels,
    add_legend,
    as_seen,
    below_each_other,
    draw_words,
    side_by_side,
)

SQUARE = np.array([[20.0, 40.0], [80.0, 40.0], [80.0, 70.0], [20.0, 70.0]])


def blank(height=120, width=160, value=200):
    return np.full((height, width, 3), value, dtype=np.uint8)


def has_color(image, name):
    return bool((image == np.array(PALETTE[name][::-1])).all(axis=-1).any())


def test_outline_lies_on_the_polygon_and_the_input_stays_as_it_was():
    image = blank()
    drawn = draw_words(image, [DrawnWord(SQUARE, color="blue")])
    assert (image == 200).all()
    changed = (drawn != image).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert abs(columns.min() + 0.5 - 20) <= 4.5 and abs(columns.max() + 0.5 - 80) <= 4.5
    assert abs(rows.min() + 0.5 - 40) <= 4.5 and abs(rows.max() + 0.5 - 70) <= 4.5
    assert not changed[46:64, 26:74].any()  # the word itself stays visible
    assert has_color(drawn, "blue")


def test_outline_is_centred_to_half_a_pixel():
    image = blank(100, 100, 0)
    whole = draw_words(image, [DrawnWord(np.array([[20, 20], [80, 20], [80, 80], [20, 80.0]]))])
    rows, columns = np.nonzero(whole.any(axis=-1))
    assert columns.mean() + 0.5 == pytest.approx(50, abs=0.5)
    assert rows.mean() + 0.5 == pytest.approx(50, abs=0.5)


def test_hatching_marks_the_inside_only():
    image = blank()
    drawn = draw_words(image, [DrawnWord(SQUARE, color="grey", hatched=True)])
    inside = (drawn != image).any(axis=-1)[46:64, 26:74]
    assert 0.1 < inside.mean() < 0.6
    assert not (drawn != image).any(axis=-1)[80:].any()


@pytest.mark.parametrize(
    "polygon",
    [
        SQUARE - 60,  # partly outside
        SQUARE + 1000,  # wholly outside
        SQUARE[:1],  # a point
        np.array([[0.0, 0.0], [160.0, 120.0]]),
    ],
)
def test_any_polygon_is_drawn_without_failing(polygon):
    word = DrawnWord(polygon, "word", 0.5, hatched=True)
    assert draw_words(blank(), [word]).shape == (120, 160, 3)


def test_enlarging_scales_image_and_polygons():
    drawn = draw_words(blank(), [DrawnWord(SQUARE, color="blue")], enlarge=3)
    assert drawn.shape == (360, 480, 3)
    rows, columns = np.nonzero((drawn != 200).any(axis=-1))
    assert abs(columns.min() - 60) <= 5 and abs(rows.max() - 210) <= 5


def test_labels():
    assert DrawnWord(SQUARE, "Café", 0.876).label == "Café 0.88"
    assert DrawnWord(SQUARE, "Café").label == "Café"
    assert DrawnWord(SQUARE, "", 0.5).label == "0.50"
    assert DrawnWord(SQUARE, "a\nb\x00").label == "a\ufffdb\ufffd"
    plain = draw_words(blank(), [DrawnWord(SQUARE)])
    for text in ("word", "Ωμέγα", "日本", "a\nb", "w" * 400):
        assert (draw_words(blank(), [DrawnWord(SQUARE, text)]) != plain).any()


def test_labels_stay_within_the_image_and_apart():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, (560, 380), (12, 2))
    extents = np.concatenate([low, low + rng.uniform(10, 60, (12, 2))], axis=1)
    extents[1] = extents[0]  # two words in one place
    sizes = np.tile([50.0, 14.0], (12, 1))
    places = _place_labels(extents, sizes, 640, 480)
    assert (places >= 0).all() and (places + sizes <= [640, 480]).all()
    for i in range(12):
        for j in range(i):
            apart = np.abs(places[i] - places[j])
            assert apart[0] >= 50 or apart[1] >= 14


def test_a_line_leads_from_a_far_label_to_its_word():
    image = blank(300, 400)
    word = np.array([[180.0, 140], [220, 140], [220, 160], [180, 160]])
    near = draw_words(image, [DrawnWord(word, "text", color="blue")])
    # The first labels take the places beside the word.
    many = draw_words(image, [DrawnWord(word, "text", color="blue")] * 10)
    line = np.array(PALETTE["blue"][::-1])
    assert (many == line).all(axis=-1).sum() > (near == line).all(axis=-1).sum()


def test_letters_contrast_with_every_colour():
    for name, rgb in PALETTE.items():
        drawn = draw_words(blank(value=128), [DrawnWord(SQUARE, "MMM", color=name)])
        dark_letters = np.dot(rgb, (0.299, 0.587, 0.114)) > 110
        grey = cv2.cvtColor(drawn, cv2.COLOR_BGR2GRAY)[18:39, 20:70]
        assert (grey < 20).sum() > 10 if dark_letters else (grey > 235).sum() > 10, name


def test_legend_is_appended_and_wraps():
    image = blank(200, 150)
    entries = [LegendEntry("word", "sky"), LegendEntry("ignored", "grey", hatched=True)]
    one = add_legend(image, entries[:1])
    assert (one[:200] == image).all() and has_color(one[200:], "sky")
    many = add_legend(image, entries * 4)
    assert many.shape[1] == 150 and many.shape[0] > one.shape[0]
    assert has_color(many[200:], "grey")


def test_side_by_side():
    joined = side_by_side([blank(50, 40), blank(80, 30)], ["left", "right"])
    plain = side_by_side([blank(50, 40), blank(80, 30)])
    assert plain.shape == (80, 78, 3)
    assert joined.shape[0] > 80 and joined.shape[1] == 78
    assert (plain[:50, :40] == 200).all() and (plain[50:, :40] == 255).all()


def test_titles_are_of_one_height_beside_a_large_image():
    joined = side_by_side([blank(1200, 1600), blank(100, 300)], ["large", "small"])
    assert joined.shape[0] > 1200 and joined.shape[1] == 1908


def test_below_each_other():
    joined = below_each_other([blank(50, 40), blank(30, 80)])
    assert joined.shape == (50 + 8 + 30 + 8, 80, 3)
    assert (joined[:50, :40] == 200).all() and (joined[:58, 40:] == 255).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="BGR"):
        draw_words(np.zeros((4, 4), dtype=np.uint8), [])
    with pytest.raises(ValueError, match="float64"):
        draw_words(np.zeros((4, 4, 3)), [])
    with pytest.raises(ValueError, match=r"pink.*orange"):
        draw_words(blank(), [DrawnWord(SQUARE, color="pink")])
    with pytest.raises(ValueError, match="at least one"):
        side_by_side([])
    with pytest.raises(ValueError, match="1 titles for 2"):
        side_by_side([blank(), blank()], ["one"])


def test_needs_neither_torch_nor_detectron2():
    code = (
        "import sys, dld_d2.analysis.visualization; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'detectron2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_image_as_seen_keeps_its_size_and_loses_what_is_small():
    stripes = np.zeros((40, 60, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    half = as_seen(stripes, 0.5)
    assert half.shape == stripes.shape
    assert np.abs(half.astype(int) - 127).max() <= 1
    assert as_seen(stripes, 1.2) is stripes
    assert as_seen(stripes, 0.001).shape == stripes.shape
