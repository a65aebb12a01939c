"""Collages: what is cut out of images lies where the polygons say, and says what it said."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld_d2.data import AnnotationReport, read_records
from dld_d2.synthetic.collage import cut_words, make_collage
from dld_d2.synthetic.draws import Draws

GROUND, INK = 40, 220


def item(words, size=(120, 240)):
    """An image whose words are bright parallelograms, as a data set gives it."""
    image = np.full((*size, 3), GROUND, dtype=np.uint8)
    annotations = []
    for text, polygon in words:
        cv2.fillPoly(image, [np.array(polygon, dtype=np.int32)], (INK,) * 3)
        flat = np.array(polygon, dtype=float).ravel().tolist()
        annotations.append({"segmentation": [flat], "text": text, "ignore": text == "###"})
    return {"annotations": annotations, "read_image": lambda _: image}


def square(left, top, width, height, lean=0):
    return [
        (left, top),
        (left + width, top + lean),
        (left + width, top + height + lean),
        (left, top + height),
    ]


def decoded(word):
    return cv2.imdecode(np.frombuffer(word.picture, np.uint8), cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize("lean", [0, 30])
def test_a_word_is_cut_out_straight_with_its_surroundings(lean):
    (word,) = cut_words([item([("a,b", square(50, 30, 100, 24, lean))])])
    assert word.text == "a,b"
    picture = decoded(word)
    x0, y0, x1, y1 = (round(value) for value in word.box)
    assert picture[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].min() > INK - 20
    outside = np.ones_like(picture, dtype=bool)
    outside[y0 - 2 : y1 + 3, x0 - 2 : x1 + 3] = False
    assert outside.any() and picture[outside].max() < GROUND + 20


def test_what_cannot_be_read_is_not_cut_out():
    words = [
        ("###", square(10, 10, 60, 20)),
        ("", square(10, 40, 60, 20)),
        ("low", square(10, 70, 60, 5)),
        ("tall", square(100, 10, 20, 90)),
        ("steep", [(90, 10), (95, 60), (80, 62), (75, 12)]),
        ("I", square(130, 10, 24, 40)),
        ("kept", square(160, 10, 60, 20)),
    ]
    assert [word.text for word in cut_words([item(words)])] == ["I", "kept"]


def test_large_words_are_kept_small():
    (word,) = cut_words([item([("big", square(10, 10, 400, 200))], size=(240, 480))])
    x0, y0, x1, y1 = word.box
    assert (y1 - y0, x1 - x0) == pytest.approx((64, 128), rel=0.05)


@pytest.fixture(scope="module")
def sources():
    images = [item([(f"w{i}", square(40, 30, 60 + 10 * i, 24, i))]) for i in range(6)]
    other = [item([("other", square(40, 30, 90, 20))])]
    return [list(cut_words(images)), list(cut_words(other))]


def test_words_of_a_collage_lie_within_it_beside_each_other(sources):
    collage = make_collage(sources, [1, 1], Draws(1, 0), size=(256, 320), heights=(12, 24))
    assert collage.image.shape == (256, 320, 3) and collage.image.dtype == np.uint8
    assert len(collage.polygons) == len(collage.texts) > 15
    assert set(collage.texts) == {"other", *(f"w{i}" for i in range(6))}
    taken = np.zeros((256, 320), dtype=int)
    for polygon in collage.polygons:
        assert (polygon >= 0).all() and (polygon <= (320, 256)).all()
        one = np.zeros_like(taken, dtype=np.uint8)
        cv2.fillPoly(one, [np.round(polygon).astype(np.int32)], 1)
        taken += one
        edge = np.roll(polygon, -1, axis=0) - polygon
        assert 8 < np.linalg.norm(edge[1]) < 30 and edge[0, 0] > abs(edge[0, 1])
    assert taken.max() == 1


def test_a_word_differs_from_what_is_around_it(sources):
    collage = make_collage(sources, [1, 0], Draws(2, 0), size=(256, 256), heights=(16, 30))
    gray = collage.image.mean(axis=2)
    differences = []
    for polygon in collage.polygons:
        inside = np.zeros(gray.shape, dtype=np.uint8)
        cv2.fillPoly(inside, [np.round(polygon).astype(np.int32)], 1)
        around = cv2.dilate(inside, np.ones((5, 5), np.uint8)) - inside
        kernel = np.ones((5, 5), np.uint8)
        core = cv2.erode(inside, kernel) > 0
        differences.append(abs(gray[core].mean() - gray[around > 0].mean()))
    # Letters were bright on a dark ground, 180 apart, before contrast was varied.
    assert np.median(differences) > 50


def test_collages_follow_their_seed_and_shares(sources):
    first, again, other = (
        make_collage(sources, [1, 1], Draws(seed, 0), size=(200, 200)) for seed in (5, 5, 6)
    )
    assert np.array_equal(first.image, again.image) and first.texts == again.texts
    assert not np.array_equal(first.image, other.image)
    assert "other" not in make_collage(sources, [1, 0], Draws(5, 0)).texts
    with pytest.raises(ValueError, match="no readable words"):
        make_collage([sources[0], []], [1, 1], Draws(5, 0))


@pytest.fixture
def run_tool():
    path = Path(__file__).parents[2] / "tools" / "make_collages.py"
    spec = importlib.util.spec_from_file_location("make_collages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture
def described(tmp_path):
    """A description of a data set with one photograph, whose word has a comma."""
    (tmp_path / "gt").mkdir()
    picture = item([("1,50", square(40, 30, 90, 24))])["read_image"]("BGR")
    cv2.imwrite(str(tmp_path / "one.png"), picture)
    (tmp_path / "gt" / "gt_one.txt").write_text("40,30,130,30,130,54,40,54,1,50\n")
    about = {"image_root": ".", "annotations": "gt", "format": "icdar2015"}
    name = f"photos_{tmp_path.name}"
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"datasets": {name: about}}))
    yield tmp_path / "my.yaml", name
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_tool_writes_what_can_be_registered(tmp_path, run_tool, described):
    register, name = described
    output = tmp_path / "collages"
    size = ("--size", 128, 256)
    assert (
        run_tool(
            "--register", register, "--dataset", name, 2, "--num", 2, *size, "--output", output
        )
        == 0
    )
    about = yaml.safe_load((output / "collages.yaml").read_text())["datasets"]["collages"]
    records = list(
        read_records(about["format"], output / "images", output / "gt", AnnotationReport("raise"))
    )
    assert [(r.height, r.width) for r in records] == [(128, 256)] * 2
    assert {text for record in records for text in record.texts} == {"1,50"}


def test_tool_says_what_is_wrong(tmp_path, run_tool, described, capsys):
    register, name = described
    output = tmp_path / "collages"
    for arguments, said in (
        (("--dataset", "nowhere"), "there is no text data set 'nowhere'"),
        (("--dataset", 2, name), "must be a positive share"),
        (("--dataset", name, 0), "must be a positive share"),
        (("--dataset", name, name), "occurs twice"),
        (("--dataset", name, "--heights", 9, 5), "must be 4 <= LOW <= HIGH"),
    ):
        assert run_tool("--register", register, *arguments, "--output", output) == 2
        assert said in capsys.readouterr().err
    assert run_tool("--register", register, "--dataset", name, "--output", tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err
