"""Pictures of synthetic scenes: determinism, tight polygons, contrast, folders of pictures."""

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from dld_d2.data.report import AnnotationError
from dld_d2.synthetic import Population, Regime, SceneConfig, draw_scene, lay_out
from dld_d2.synthetic.compose import BlockWord, Style
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.fonts import scene_fonts
from dld_d2.synthetic.ink import coverage
from dld_d2.synthetic.placement import Arc, Plane
from dld_d2.synthetic.texture import color_of_luma, luma, texture
from dld_d2.synthetic.word_crops import read_word_crops

CONFIG = SceneConfig()
SHAPE = (512, 512)


def test_picture_depends_on_seed_and_index_only():
    first = [draw_scene(CONFIG, 4, index) for index in range(6)]
    assert all(image.shape == (*SHAPE, 3) and image.dtype == np.uint8 for image in first)
    for index in (5, 0, 3):
        assert np.array_equal(draw_scene(SceneConfig(), 4, index), first[index])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(draw_scene(CONFIG, 5, 0), first[0])


def test_picture_is_the_same_in_another_process():
    code = (
        "import hashlib; from dld_d2.synthetic import SceneConfig, draw_scene;"
        "print(hashlib.sha256(draw_scene(SceneConfig(), 4, 2).tobytes()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    assert other == hashlib.sha256(draw_scene(CONFIG, 4, 2).tobytes()).hexdigest()


def placements():
    return [
        Plane.turned(0.0),
        Plane.turned(0.35),
        Plane.turned(-0.2, 0.8, 0.4, focal=800),
        Arc(160, 0.1),
        Arc(-160, -0.1),
    ]


@pytest.mark.parametrize("height", [15.0, 60.0])
@pytest.mark.parametrize("number", range(5))
def test_polygon_is_tight_around_the_ink(number, height):
    """What the letters cover reaches all sides of the polygon, but for the margin, and none
    beyond it."""
    margin = 1.0
    for font in scene_fonts():
        for text in ("Hxgy4", "noon", "MIT"):
            style = Style(font, 0.05, 0.9, 0.0, False)
            size = height / font.cap_height
            ink = np.array(font.run(text, style.spacing).ink)
            ink *= (size * style.stretch, size) * 2
            centre = ((ink[0] + ink[2]) / 2, (ink[1] + ink[3]) / 2)
            box = tuple((ink - centre * 2 + (-margin, -margin, margin, margin)).tolist())
            word = BlockWord(text, -centre[0], -centre[1], size, height, box)
            placement = placements()[number].moved(256.3, 255.8)
            part, mask = coverage(word, style, placement, SHAPE, border=20)
            whole = np.zeros(SHAPE, dtype=np.uint8)
            part.of(whole)[...] = mask
            # In block coordinates, where the box is straight.
            rows, columns = np.nonzero(whole > 60)
            points = np.stack([columns, rows], axis=1) + 0.5
            if isinstance(placement, Plane):
                points = Plane(np.linalg.inv(placement.matrix))(points)
            else:
                points = placement.inverse(points)
            found = np.concatenate([points.min(axis=0), points.max(axis=0)])
            # A stroke's edge is known to about a pixel, thin ends of small letters to two.
            slack = 1.3 if height > 20 else 2.0
            tight = np.array(box) + np.array([margin, margin, -margin, -margin])
            assert np.abs(found - tight).max() < slack, (font.path, text, found - tight)


def test_letters_are_drawn_whole_and_in_order():
    font = scene_fonts()[0]
    for text in ("DANGER", "illicit", "A.j"):
        run = font.run(text, 0.1)
        mask, left, _ = font.mask(text, run)
        assert not mask[0].any() and not mask[-1].any()
        assert not mask[:, 0].any() and not mask[:, -1].any()
        # With enough space between them, each letter is a run of columns that hold ink.
        ink = np.concatenate([[False], mask.any(axis=0), [False]])
        starts = np.flatnonzero(~ink[:-1] & ink[1:])
        assert len(starts) == len(text)
        assert (starts[0] + left) / 160 == pytest.approx(run.ink[0], abs=0.02)


def test_readable_words_stand_out_from_their_ground():
    """Letters and what surrounds them differ in luma even after the camera's effects."""
    differences = []
    for index in range(40):
        layout = lay_out(CONFIG, 8, index)
        gray = cv2.cvtColor(draw_scene(CONFIG, 8, index, layout), cv2.COLOR_BGR2GRAY)
        for placed in layout.blocks:
            if placed.faint:
                continue
            for word in placed.block.words:
                polygon = placed.placement.polygon(word.box)
                if word.cap < 14 or (polygon < 0).any() or (polygon > 512).any():
                    continue
                part, mask = coverage(word, placed.block.style, placed.placement, SHAPE)
                if placed.block.style.outline or placed.block.style.shadow:
                    continue
                pixels = part.of(gray).astype(float)
                # Strokes of small letters are never covered whole: weigh by how much they are.
                ink = np.average(pixels, weights=mask.astype(float) ** 3)
                inside = np.zeros(SHAPE, dtype=np.uint8)
                cv2.fillPoly(inside, [polygon.astype(np.int32)], 1)
                ground = pixels[(part.of(inside) == 1) & (mask == 0)].mean()
                differences.append(abs(ink - ground))
    assert len(differences) > 80
    assert np.percentile(differences, 2) > 12 and np.median(differences) > 40


def test_color_of_luma_has_that_luma():
    draws = Draws(3)
    for target in (0, 10, 77.5, 200, 255):
        for _ in range(20):
            color = color_of_luma(draws, target)
            assert float(luma(color)) == pytest.approx(target, abs=0.01)
            assert color.min() >= -0.01 and color.max() <= 255.01


def test_texture_has_about_unit_variance():
    field = texture(Draws(1), 300, 400)
    assert field.shape == (300, 400) and field.dtype == np.float32
    assert 0.4 < field.std() < 1.6


def test_other_sizes():
    image = draw_scene(SceneConfig(height=300, width=700), 0, 0)
    assert image.shape == (300, 700, 3)
    assert draw_scene(SceneConfig(height=1200, width=1100), 0, 1).shape == (1200, 1100, 3)


def test_photographs_as_backgrounds(tmp_path):
    folder = tmp_path / "photographs" / "deep"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.full((400, 900, 3), (200, 20, 20), dtype=np.uint8))
    regimes = {"none": Regime(1, (Population((8, 9), (1, 1)),))}
    plain = SceneConfig(
        backgrounds=str(tmp_path),
        background_share=1,
        regimes=regimes,
        tiny=0,
        faint=0,
        cut=0,
        panel=0,
    )
    image = draw_scene(plain, 0, 0).reshape(-1, 3)
    blue, green, red = np.median(image, axis=0)
    assert blue > 100 and green < 80 and red < 80
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AnnotationError, match="holds no images"):
        draw_scene(SceneConfig(backgrounds=str(empty), background_share=1), 0, 0)
    (empty / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(AnnotationError, match=r"broken\.jpg: cannot be read"):
        draw_scene(SceneConfig(backgrounds=f"{empty}/", background_share=1), 0, 1)


def crop_folder(folder, labels):
    for name, color in (("a.png", (0, 0, 255)), ("b.png", (0, 0, 255))):
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((80, 240, 3), color, dtype=np.uint8))
    Image.new("RGB", (10, 50)).save(folder / "upright.png")
    (folder / "labels.tsv").write_text(labels, encoding="utf-8")
    return str(folder)


def test_word_crops_are_pasted_with_their_labels(tmp_path):
    folder = crop_folder(tmp_path / "crops", "a.png\tHello\nb.png\ttwo words\nupright.png\tno\n")
    config = SceneConfig(
        word_crops=folder, word_crop_share=1, tiny=0, faint=0, cut=0, jpeg=0, blur=0, noise=0
    )
    seen = set()
    for index in range(12):
        layout = lay_out(config, 0, index)
        image = draw_scene(config, 0, index, layout).astype(int)
        for word in layout.words:
            seen.add((word.text, word.ignore))
            x, y = word.polygon.mean(axis=0).astype(int)
            blue, green, red = image[y, x]
            assert red > green + 60 and red > blue + 60
    assert seen == {("Hello", False), ("###", True)}


def test_bad_word_crops(tmp_path):
    with pytest.raises(AnnotationError, match=r"labels\.tsv: does not exist"):
        read_word_crops(str(tmp_path))
    for name, labels, message in (
        ("one", "a.png Hello\n", r"labels\.tsv:1: expected a file name"),
        ("two", "a.png\tHello\nmissing.png\tx\n", r"labels\.tsv:2: the picture .*missing"),
        ("three", "upright.png\tx\n", "names no picture"),
    ):
        with pytest.raises(AnnotationError, match=message):
            read_word_crops(crop_folder(tmp_path / name, labels))
