"""Layouts of synthetic scenes: what stands where, without a pixel drawn."""

import math

import numpy as np
import pytest
import shapely

from dld_d2.structures.vocabulary import PRINTABLE_ASCII
from dld_d2.synthetic import Population, Regime, SceneConfig, lay_out
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.fonts import scene_fonts
from dld_d2.synthetic.placement import Arc, Plane, box_corners, convex_apart
from dld_d2.synthetic.texts import TextSource, word_list

CONFIG = SceneConfig()
SEED = 11
NUMBER = 150


@pytest.fixture(scope="module")
def layouts():
    return [lay_out(CONFIG, SEED, index) for index in range(NUMBER)]


def as_tuple(layout):
    return layout.regime, [
        (word.text, word.ignore, word.letter_height, word.polygon.tobytes())
        for word in layout.words
    ]


def test_layout_depends_on_seed_and_index_only(layouts):
    for index in (140, 3, 77):  # in another order than before
        assert as_tuple(lay_out(SceneConfig(), SEED, index)) == as_tuple(layouts[index])
    assert as_tuple(lay_out(CONFIG, SEED + 1, 3)) != as_tuple(layouts[3])
    assert as_tuple(layouts[3]) != as_tuple(layouts[4])


def test_draws_are_fixed_by_their_key():
    # NumPy guarantees the bits that PCG64 gives for a seed sequence; these are its first doubles.
    state = np.random.Generator(np.random.PCG64(np.random.SeedSequence([5, 6])))
    expected = state.random(256).tolist()
    draws = Draws(5, 6)
    assert [draws.unit() for _ in range(256)] == expected[::-1]
    assert Draws(5, 7).unit() != Draws(5, 6).unit()
    draws = Draws(1)
    values = [draws.integer(2, 4) for _ in range(300)]
    assert set(values) == {2, 3, 4}
    assert {draws.pick_weighted({"a": 1, "b": 0, "c": 2}) for _ in range(100)} == {"a", "c"}
    with pytest.raises(ValueError, match="no weight"):
        draws.pick_weighted({"a": 0})


def test_words_do_not_overlap_and_polygons_are_simple(layouts):
    for layout in layouts:
        polygons = [shapely.Polygon(word.polygon) for word in layout.words]
        assert all(polygon.is_valid and polygon.area > 0 for polygon in polygons)
        for i, polygon in enumerate(polygons):
            for other in polygons[:i]:
                assert polygon.intersection(other).area == 0


def test_polygons_lie_within_the_image(layouts):
    for word in (word for layout in layouts for word in layout.words):
        assert word.polygon.dtype == np.float32 and word.polygon.min() >= 0
        assert (word.polygon <= (CONFIG.width, CONFIG.height)).all()
        assert word.ignore or len(word.polygon) in (4, 14)
        # Clockwise as images show it, like the ICDAR annotations.
        x, y = word.polygon.astype(float).T
        assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0


def test_letters_of_each_regime_have_its_heights(layouts):
    for layout in layouts:
        ranges = [p.letter_height for p in CONFIG.regimes[layout.regime].populations]
        for word in layout.words:
            if not word.ignore:
                assert any(low <= word.letter_height <= high for low, high in ranges)
    assert {layout.regime for layout in layouts} == set(CONFIG.regimes)
    small = [layout.min_letter_height for layout in layouts if layout.regime == "small"]
    large = [layout.min_letter_height for layout in layouts if layout.regime == "large"]
    assert max(small) <= 24 and min(large) >= 48


def test_mixed_images_have_large_and_small_words(layouts):
    both = [
        {word.letter_height > 30 for word in layout.words if not word.ignore} == {True, False}
        for layout in layouts
        if layout.regime == "mixed"
    ]
    assert np.mean(both) > 0.9


def test_regimes_have_their_shares(layouts):
    for name, regime in CONFIG.regimes.items():
        share = np.mean([layout.regime == name for layout in layouts])
        assert abs(share - regime.share) < 4 * math.sqrt(regime.share / NUMBER)


def test_some_words_are_dont_care_and_every_image_has_readable_ones(layouts):
    words = [word for layout in layouts for word in layout.words]
    assert 0.1 < np.mean([word.ignore for word in words]) < 0.35
    assert all((word.text == "###") == word.ignore for word in words)
    assert all(any(not word.ignore for word in layout.words) for layout in layouts)


def test_texts_can_be_encoded(layouts):
    texts = [word.text for layout in layouts for word in layout.words]
    assert all(0 < len(text) <= 25 and set(text) <= set(PRINTABLE_ASCII) for text in texts)
    assert not any(" " in text or "," in text for text in texts)
    source, draws = TextSource(CONFIG), Draws(0)
    for _ in range(2000):
        length = draws.integer(2, 20)
        assert 0 < len(source.draw(draws, source.case(draws), length)) <= length


def test_word_list_is_sorted_lower_case_and_without_repetition():
    words = word_list()
    assert list(words) == sorted(set(words)) and len(words) > 3000
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)


def test_geometries_are_all_used(layouts):
    placements = [block.placement for layout in layouts for block in layout.blocks]
    curved = [p for p in placements if isinstance(p, Arc)]
    planes = [p.matrix for p in placements if isinstance(p, Plane)]
    assert {p.radius > 0 for p in curved} == {True, False}
    straight = [np.allclose(matrix[:2, :2], np.eye(2)) for matrix in planes]
    perspective = [bool((matrix[2, :2] != 0).any()) for matrix in planes]
    assert any(straight) and any(perspective)
    assert any(not s and not p for s, p in zip(straight, perspective, strict=True))


@pytest.mark.parametrize("radius", [180.0, -180.0])
def test_arc_inverts_and_its_polygon_holds_the_box(radius):
    arc = Arc(radius, 0.3).moved(200.0, 150.0)
    box = (-140.0, -30.0, 120.0, 12.0)
    x, y = np.meshgrid(np.linspace(box[0], box[2], 60), np.linspace(box[1], box[3], 20))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    np.testing.assert_allclose(arc.inverse(arc(points)), points, atol=1e-9)
    # Lengths along y = 0 and across it stay what they are.
    on_line = arc(np.array([(0.0, 0.0), (0.01, 0.0), (0.0, 10.0)]))
    assert np.hypot(*(on_line[1] - on_line[0])) == pytest.approx(0.01)
    assert np.hypot(*(on_line[2] - on_line[0])) == pytest.approx(10)
    polygon = shapely.Polygon(arc.polygon(box))
    assert polygon.buffer(1e-6).covers(shapely.MultiPoint(arc(points)))
    assert polygon.area < 1.1 * (box[2] - box[0]) * (box[3] - box[1])
    assert shapely.Polygon(arc.hull(box)).buffer(1e-6).covers(polygon)
    middle, end = arc(np.array([(0.0, 0.0), (100.0, 0.0)])) - (200, 150)
    turned_back = -math.sin(0.3) * (end - middle)[0] + math.cos(0.3) * (end - middle)[1]
    assert (turned_back > 0) == (radius > 0)  # ends go down on an arch, up on a smile


def test_plane_keeps_scale_at_its_origin():
    plane = Plane.turned(0.2, 0.7, -0.4, focal=800).moved(50, 60)
    assert plane(np.zeros((1, 2)))[0] == pytest.approx((50, 60))
    flat = Plane.turned(0.5)
    moved = flat(np.array([(3.0, 4.0)]))[0]
    assert np.hypot(*moved) == pytest.approx(5)
    # By hand: yaw turns x out of the image, so that a point at x comes to x cos / (1 - x sin / f).
    yawed = Plane.turned(0.0, 0.6, 0.0, focal=500)(np.array([(100.0, 0.0)]))[0]
    expected = 100 * math.cos(0.6) / (1 - 100 * math.sin(0.6) / 500)
    assert yawed == pytest.approx((expected, 0))


def test_convex_apart_agrees_with_shapely():
    generator = np.random.default_rng(0)
    for _ in range(400):
        a, b = (
            Plane.turned(generator.uniform(0, 3)).moved(*generator.uniform(0, 60, 2))
            for _ in range(2)
        )
        a, b = (p(box_corners(-w, -5, w, 5)) for p, w in ((a, 20.0), (b, 12.0)))
        apart = not shapely.Polygon(a).intersects(shapely.Polygon(b))
        assert convex_apart(a, b) == apart
        if convex_apart(a, b, 4.0):
            assert shapely.Polygon(a).distance(shapely.Polygon(b)) >= 4


def test_fonts_measure_like_freetype():
    from PIL import ImageFont

    for font in scene_fonts():
        big = ImageFont.truetype(font.path, 2000, layout_engine=ImageFont.Layout.BASIC)
        box = big.getmask("H", mode="L").getbbox()
        assert font.cap_height * 2000 == pytest.approx(box[3] - box[1], abs=3)
        x0, _, x1, _ = font.run("H").ink
        assert (x1 - x0) * 2000 == pytest.approx(box[2] - box[0], abs=3)
        assert font.run("HH").origins[1] * 2000 == pytest.approx(big.getlength("H"), abs=3)


def test_custom_distribution_and_bad_values():
    config = SceneConfig(
        height=256,
        width=384,
        regimes={"one": Regime(1, (Population((30, 40), (1, 1)),))},
        geometry={"curved": 1},
        tiny=0,
        faint=0,
        cut=0,
    )
    layouts = [lay_out(config, 0, index) for index in range(10)]
    assert all(len(layout.words) == 1 and layout.regime == "one" for layout in layouts)
    assert all(len(layout.words[0].polygon) == 14 for layout in layouts)
    for bad, message in (
        ({"height": 64}, "128 x 128"),
        ({"panel": 1.5}, "panel must be between 0 and 1"),
        ({"geometry": {"spiral": 1}}, "spiral"),
        ({"numbers": 0.9, "names": 0.9}, "exceed 1"),
        ({"max_text_length": 40}, "max_text_length"),
        ({"regimes": {}}, "no regime"),
        ({"regimes": {"very_small": Regime(1, (Population((15, 24), (1, 2)),))}}, "very_small"),
        ({"tiny_height": (3, 6)}, "tiny_height must be 4 <= low"),
        ({"arc_angle": (0, 0)}, "arc_angle must be 1 <= low"),
        ({"contrast": (90, 50)}, "contrast must be"),
        ({"jpeg_quality": (40, 120)}, "jpeg_quality must be at most 100"),
    ):
        with pytest.raises(ValueError, match=message):
            SceneConfig(**bad)
    with pytest.raises(ValueError, match="letter_height"):
        Population((30, 20), (1, 2))
    with pytest.raises(ValueError, match="words"):
        Population((20, 30), (3, 2))
    with pytest.raises(ValueError, match="population"):
        Regime(1, ())
