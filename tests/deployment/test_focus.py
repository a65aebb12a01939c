"""Reading what a look at the image finds, and nothing else."""

import json

import cv2
import numpy as np
import onnx
import pytest
import torch
from bright_block_spotter import picture, save
from tiny_dynamic_spotter import described
from tiny_dynamic_spotter import picture as noise

from dld_d2.commands import export, read
from dld_d2.deployment import TextSpotter
from dld_d2.deployment.focus_file import save_focus
from dld_d2.deployment.parts import parts_of_chips
from dld_d2.deployment.result import SpottingResult, Tile, Word
from dld_d2.deployment.runtime import Focus, Focused, OnnxSpotter
from dld_d2.deployment.runtime.canvas import lay_out, part_of
from dld_d2.deployment.runtime.description import FOCUS_FILE
from dld_d2.deployment.runtime.engines import Sides
from dld_d2.deployment.runtime.focus import FocusCard
from dld_d2.deployment.runtime.network_file import METADATA_KEY
from dld_d2.deployment.tiles import merge_chips
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.focus.chips import Chip
from dld_d2.modeling.focus.focus_map import FocusMap

CONFIG = "configs/photo/focus.yaml"


class Looks:
    """Finds what it was told, or the bright blocks."""

    def __init__(self, chips=None):
        self.chips_given = chips
        self.seen = []

    def chips(self, image, full):
        self.seen.append((image.shape[:2], full))
        if self.chips_given is not None:
            return self.chips_given
        rows, columns = np.where((image[:, :, 2] > 128) & (image[:, :, 1] < 64))
        if len(rows) == 0:
            return []
        ratio = full[0] / image.shape[0]
        low = np.floor(ratio * np.array([columns.min(), rows.min()])).astype(int) - 8
        high = np.ceil(ratio * np.array([columns.max() + 1, rows.max() + 1])).astype(int) + 8
        low, high = np.maximum(low, 0), np.minimum(high, full[::-1])
        return [Chip((*low.tolist(), *high.tolist()), 0.5)]

    def multiply_adds(self, full):
        return 7.0 * full[0] * full[1]


def word(text, x0, y0, x1, y1, score=0.5):
    polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    return Word(polygon, text, score, 0.8)


def blocks(config_file, **kwargs):
    return TextSpotter(setup_cfg(config_file, []), **kwargs)


def test_chips_in_pixels_of_the_image():
    found = parts_of_chips(
        [Chip((64, 32, 192, 96), 0.5), Chip((0, 0, 10, 10), 1.0)], (100, 300), (200, 600)
    )
    assert [part.box for part in found.parts] == [(32, 16, 96, 48), (0, 0, 5, 5)]
    assert [part.size for part in found.parts] == [(32, 64), (10, 10)]
    assert found.scales == (0.5, 1.0) and found.full == (200, 600)
    # Of an image that is far smaller than the full resolution something is left.
    (tiny,) = parts_of_chips([Chip((500, 100, 510, 120), 1.0)], (2, 6), (200, 600)).parts
    assert tiny.box == (5, 1, 6, 2)


def test_words_of_chips_come_once_and_cut_ones_not_at_all():
    first = Tile(
        (0, 0, 100, 60),
        SpottingResult(
            (word("whole", 20, 10, 60, 30), word("cut", 70, 10, 99, 30), word("edge", 0, 0, 15, 9)),
            (60, 100),
            (120, 200),
            1.0,
            1.0,
        ),
    )
    second = Tile(
        (10, 0, 200, 60),
        SpottingResult((word("whole", 11, 10, 51, 30, 0.9),), (60, 190), (60, 190), 0.5, 0.25),
    )
    result = merge_chips((100, 200), (200, 400), [first, second], [1.0, 0.5])
    assert sorted(w.text for w in result) == ["edge", "whole"]
    (whole,) = (w for w in result if w.text == "whole")
    assert whole.score == 0.9 and whole.polygon[0].tolist() == [21, 10]
    areas = np.array([120 * 200, 60 * 190])
    assert result.scale == pytest.approx(np.average([1.0, 0.25], weights=areas))
    assert result.relative_cost == pytest.approx((areas @ [1.0, 0.25]) / (200 * 400))
    assert result.tiles == (first, second)
    assert (result.image_size, result.input_size) == ((100, 200), (200, 400))


def test_only_the_chip_is_read_at_its_scale(config_file):
    looks = Looks()
    image = picture((150, 60, 210, 90))
    result = blocks(config_file, focus=looks)(image)
    # The full resolution is half the image's size.
    assert looks.seen == [((200, 300), (100, 150))]
    (tile,) = result.tiles
    assert tile.box == (134, 44, 226, 106) and result.scale == 0.5
    height, width = tile.result.input_size
    assert (height, width) == (round(31 * 0.5), round(46 * 0.5))
    assert result[0].text == f"é7 {width}x{height}"
    np.testing.assert_allclose(result[0].polygon[[0, 2]], [[150, 60], [210, 90]], atol=6)
    assert result.relative_cost == pytest.approx(height * width / (100 * 150))


def test_where_nothing_is_found_nothing_is_read(config_file):
    spotter = blocks(config_file, focus=Looks())
    result = spotter(picture(None))
    assert list(result) == [] and result.tiles == () and result.relative_cost == 0
    assert result.input_size == (100, 150) and result.text == ""


@pytest.mark.parametrize("batch_size", [1, 3])
def test_many_images_with_and_without_text_and_broken_ones(config_file, tmp_path, batch_size):
    files = [
        save(tmp_path, "empty.png", picture(None)),
        save(tmp_path, "one.png", picture((20, 20, 60, 40))),
        str(tmp_path / "missing.png"),
        save(tmp_path, "none.png", picture(None)),
        save(tmp_path, "two.png", picture((100, 100, 190, 140))),
        save(tmp_path, "last.png", picture(None)),
    ]
    spotter = blocks(config_file, focus=Looks())
    results = list(spotter.predict_many(files, batch_size))
    assert isinstance(results[2], OSError) and "missing.png" in str(results[2])
    for file, result in zip(files, results, strict=True):
        if not isinstance(result, OSError):
            assert described(result) == described(spotter(file))
    assert [len(r) for r in results if not isinstance(r, OSError)] == [0, 1, 0, 1, 0]


def test_an_image_without_text_does_not_wait_for_one_with_some(config_file):
    pulled = []

    def images():
        for number in range(20):
            pulled.append(number)
            yield picture(None)

    spotter = blocks(config_file, focus=Looks())
    results = spotter.predict_many(images(), batch_size=1)
    assert list(next(results)) == [] and len(pulled) == 1
    assert len(list(results)) == 19


def test_words_in_images_that_are_far_smaller_than_the_full_resolution_are_not_cut():
    # A chip of 40 x 40 pixels in an image of 60 x 60 that is read at 600 x 600.
    found = SpottingResult((word("small", 3, 3, 37, 37),), (40, 40), (400, 400))
    result = merge_chips((60, 60), (600, 600), [Tile((10, 10, 50, 50), found)], [1.0])
    assert [w.text for w in result] == ["small"]


def test_the_whole_image_as_one_chip_is_what_is_read_without(student):
    image = np.hstack([noise(seed) for seed in range(3)])
    plain = TextSpotter.from_file(student)
    expected = plain(image)
    height, width = expected.input_size
    spotter = TextSpotter.from_file(student, focus=Looks([Chip((0, 0, width, height), 1.0)]))
    found = spotter(image)
    assert [w.text for w in found] == [w.text for w in expected]
    assert (found.scale, found.relative_cost) == (
        expected.scale,
        pytest.approx(expected.relative_cost),
    )
    assert found.input_size == expected.input_size


def test_what_it_costs(student):
    image = np.hstack([noise(seed) for seed in range(3)])
    looks = Looks([Chip((0, 0, 64, 64), 1.0), Chip((96, 0, 160, 64), 0.5)])
    spotter = TextSpotter.from_file(student, focus=looks)
    result = spotter(image)
    table = spotter.cost(result)
    parts = {part.name: part.per_image for part in table.parts}
    assert parts.pop("focus") == 7.0 * result.input_size[0] * result.input_size[1]
    plain = TextSpotter.from_file(student)
    expected = [plain.cost(tile.result) for tile in result.tiles]
    assert sum(parts.values()) == pytest.approx(sum(table.total for table in expected))
    looks.chips_given = []
    empty = spotter(image)
    assert spotter.cost(empty).total == looks.multiply_adds(result.input_size)
    # What a result cost does not depend on what the reader does later.
    whole = plain(image)
    assert spotter.cost(whole).total == plain.cost(whole).total > 0
    assert plain.cost(empty).total == 0


def test_tiles_and_chips_are_not_for_one_reader(config_file, tmp_path):
    spotter = blocks(config_file, focus=Looks())
    with pytest.raises(ValueError, match=r"tiles, .* or in the parts .*not both"):
        spotter.tiles = "auto"
    spotter.focus = None
    spotter.tiles = "auto"
    with pytest.raises(ValueError, match="not both"):
        spotter.focus = Looks()
    with pytest.raises(SystemExit):
        read.main([save(tmp_path, "a.png"), "--tiles", "auto", "--focus", "x.onnx"])


@pytest.fixture(scope="module")
def looking():
    """A network that looks first, with weights that mark something."""
    torch.manual_seed(3)
    model = FocusMap(setup_cfg(CONFIG, ["MODEL.DEVICE", "cpu"])).eval()
    torch.nn.init.normal_(model.network.output.weight, std=1.0)
    return model


@pytest.fixture(scope="module")
def file(looking, tmp_path_factory):
    path = tmp_path_factory.mktemp("focus") / "focus.onnx"
    save_focus(looking, path, image_format="BGR")
    return path


@pytest.mark.parametrize("size", [(300, 400), (311, 533), (40, 900)])
def test_the_file_sees_what_the_model_sees(looking, file, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    focus = Focus(file)
    # What it looks at is as large as the image, so that shrinking, which differs, does not count.
    text, height = focus.maps(image, tuple(round(side / 0.3) for side in size))
    assert text.shape == height.shape == tuple(-(-side // 8) for side in size)
    padded = np.pad(image, ((0, -size[0] % 16), (0, -size[1] % 16), (0, 0)), constant_values=127)
    with torch.no_grad():
        pixels = torch.from_numpy(padded).permute(2, 0, 1).float()
        expected = looking.network(((pixels - looking.pixel_mean) / looking.pixel_std)[None])
    rows, columns = text.shape
    np.testing.assert_allclose(text, expected[0].sigmoid()[0, :rows, :columns], atol=1e-4)
    np.testing.assert_allclose(height, expected[1][0, :rows, :columns], rtol=1e-3, atol=1e-3)


def test_a_card_keeps_what_it_was_made_with(looking, file, tmp_path):
    focus = Focus(file)
    assert focus.card.input_scale == 0.3 and focus.rule == looking.rule
    assert FocusCard.from_json(focus.card.to_json()) == focus.card
    # Counted for the whole image, it is the model's own count.
    assert focus.multiply_adds((1000, 2000)) == focus.card.multiply_adds * 300 * 600
    half = tmp_path / "half.onnx"
    save_focus(looking, half, image_format="BGR", half=True)
    assert half.stat().st_size < 0.6 * file.stat().st_size
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    for mine, theirs in zip(
        Focus(half).maps(image, (400, 600)), focus.maps(image, (400, 600)), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=0.1, atol=0.02)


def test_thresholds_can_be_set_and_are_checked(file):
    focus = Focus(file)
    focus.threshold, focus.text_height = 0.7, 20
    assert (focus.rule.threshold, focus.rule.text_height) == (0.7, 20.0)
    for value in (0, 1, -1, 2):
        with pytest.raises(ValueError, match="probability"):
            focus.threshold = value
    with pytest.raises(ValueError, match="pixels"):
        focus.text_height = 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "is no network that looks first"),
        ({"version": 9}, "is of version 9, .* reads 1"),
        ({"rule": {}}, "card is incomplete"),
        ({"input_scale": "x"}, "card is incomplete"),
        ({"input_scale": 0}, "values that cannot be"),
        ({"multiply_adds": float("nan")}, "values that cannot be"),
    ],
)
def test_files_of_something_else_are_named(file, tmp_path, changes, message):
    network = onnx.load(file)
    card = json.loads(Focus(file).card.to_json()) | changes
    onnx.helper.set_model_props(network, {METADATA_KEY: json.dumps(card)})
    other = tmp_path / "other.onnx"
    onnx.save(network, other)
    with pytest.raises(ValueError, match=rf"other\.onnx: .*{message}"):
        Focus(other)


def test_missing_and_damaged_files(tmp_path, file):
    with pytest.raises(FileNotFoundError, match="no network that looks first at"):
        Focus(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"broken\.onnx: ONNX Runtime does not take it"):
        Focus(broken)


def test_only_bgr_is_exported(looking, tmp_path):
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT: RGB"):
        save_focus(looking, tmp_path / "f.onnx", image_format="RGB")


@pytest.fixture(scope="module")
def checkpoint(looking, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model_final.pth"
    torch.save({"model": looking.state_dict(), "iteration": 1}, path)
    return str(path)


def test_the_command_exports_it(checkpoint, tmp_path, file, capsys):
    of = ["--config-file", CONFIG, "--weights", checkpoint]
    out = tmp_path / "new" / "focus.onnx"
    assert export.main([*of, "--format", "onnx", "--output", str(out)]) == 0
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    for mine, theirs in zip(
        Focus(out).maps(image, (400, 600)), Focus(file).maps(image, (400, 600)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    for wrong in (
        ["--output", str(tmp_path / "f.pth")],
        ["--format", "onnx", "--output", str(tmp_path / "folder")],
    ):
        assert export.main([*of, *wrong]) == 2
        assert "onnx" in capsys.readouterr().err


def test_a_look_that_cannot_be_used_leaves_the_folder_as_it_is(file, tmp_path, capsys):
    folder = tmp_path / "photo"
    folder.mkdir()
    (folder / "detector.onnx").write_bytes(b"earlier")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no")
    command = ["--model", "photo_teacher", "--format", "onnx", "--output", str(folder)]
    assert export.main([*command, "--focus", str(broken)]) == 2
    assert "broken.onnx" in capsys.readouterr().err
    assert [f.name for f in folder.iterdir()] == ["detector.onnx"]
    assert (folder / "detector.onnx").read_bytes() == b"earlier"


def test_a_folder_of_networks_looks_first(file, tmp_path):
    folder = tmp_path / "photo"
    opts = ["--opts", "INPUT.MIN_SIZE_TEST", "352"]
    command = ["--model", "photo_teacher", "--format", "onnx", "--output", str(folder)]
    assert export.main([*command, "--focus", str(file), *opts]) == 0
    assert (folder / FOCUS_FILE).read_bytes() == file.read_bytes()
    reader = OnnxSpotter(folder)
    assert reader.focus.rule == Focus(file).rule
    assert OnnxSpotter(folder, tiles="auto").focus is None
    # Exported again without one, into the same folder, it does not look.
    assert export.main([*command, *opts]) == 0
    assert not (folder / FOCUS_FILE).exists() and OnnxSpotter(folder).focus is None


def test_by_pytorch_and_by_networks_chips_are_read_alike(tmp_path):
    from test_onnx import page, same

    folder = tmp_path / "photo"
    command = ["--model", "photo_teacher", "--format", "onnx", "--output", str(folder)]
    assert export.main([*command, "--opts", "INPUT.MIN_SIZE_TEST", "352"]) == 0
    looks = Looks([Chip((0, 0, 400, 160), 1.0), Chip((0, 128, 400, 352), 0.75)])
    mine = OnnxSpotter(folder, focus=looks)(page())
    spotter = TextSpotter.pretrained(
        "photo_teacher", focus=looks, opts=["INPUT.MIN_SIZE_TEST", "352"]
    )
    expected = spotter(page())
    assert "HOTEL" in expected.text and len(expected.tiles) == 2
    same(mine, expected)


def test_any_engine_reads_the_chips(file):
    seen = []

    def engine(image):
        seen.append(image.shape[:2])
        rows, columns = np.where((image[:, :, 2] > 128) & (image[:, :, 1] < 64))
        if len(rows) == 0:
            return []
        x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        return [([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "block", 0.9)]

    reader = Focused(engine, Focus(file), sides=Sides(400))
    reader.focus = Looks()
    result = reader(picture((150, 60, 210, 90)))
    assert [w.text for w in result] == ["block"] and result.input_size == (400, 600)
    np.testing.assert_allclose(result[0].polygon[[0, 2]], [[150, 60], [210, 90]], atol=3)
    assert seen == [tuple(result.tiles[0].result.input_size)]
    assert result.relative_cost == pytest.approx(seen[0][0] * seen[0][1] / (400 * 600))
    assert list(reader(picture(None))) == [] and len(seen) == 1
    with pytest.raises(TypeError, match="one image is read at a time"):
        reader([picture()])
    with pytest.raises(TypeError, match="cannot"):
        Focused("engine", Focus(file))
    with pytest.raises(ValueError, match="no list of words"):
        Focused(lambda image: 3, Focus(file)).__class__(lambda image: [3], _always())(picture())


def _always():
    class Always(Focus):
        def __init__(self):
            pass

        def chips(self, image, full):
            return [Chip((0, 0, full[1], full[0]), 1.0)]

    return Always()


def test_the_command_reads_and_draws_the_parts(file, config_file, tmp_path, monkeypatch):
    image = save(tmp_path / "images", "a.png", picture((150, 60, 210, 90)))
    monkeypatch.setattr("dld_d2.deployment.runtime.Focus", lambda *_, **__: Looks())
    words = [image, "--config-file", config_file, "--output", str(tmp_path / "out")]
    assert read.main([*words, "--focus", str(file)]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    (found,) = results["images"]
    assert found["tiles"] == 1 and found["relative_cost"] < 0.1 and len(found["words"]) == 1
    framed = (tmp_path / "out" / "pictures" / "a.jpg").read_bytes()
    assert read.main([*words, "--focus", "off"]) == 0
    (found,) = json.loads((tmp_path / "out" / "results.json").read_text())["images"]
    assert "tiles" not in found and found["relative_cost"] == 1
    assert (tmp_path / "out" / "pictures" / "a.jpg").read_bytes() != framed


def test_parts_that_are_read_as_one_image_give_the_words_of_parts_that_are_read_alone(file):
    blocks = [(10, 10, 40, 24), (200, 30, 270, 60), (60, 120, 100, 140), (220, 150, 290, 170)]
    image = picture(None)
    for x0, y0, x1, y1 in blocks:
        image[y0:y1, x0:x1] = (0, 0, 255)
    seen = []

    def engine(image):
        seen.append(image.shape[:2])
        mask = ((image[:, :, 2] > 128) & (image[:, :, 1] < 64)).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        return [
            ([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], f"{round(w / h, 1)}", 0.9)
            for x, y, w, h, _ in stats[1:count].tolist()
        ]

    looks = Looks(
        [
            Chip((2 * x0 - 20, 2 * y0 - 20, 2 * x1 + 20, 2 * y1 + 20), scale)
            for (x0, y0, x1, y1), scale in zip(blocks, (1.0, 0.5, 1.0, 0.5), strict=True)
        ]
    )
    found = []
    for together in (False, True):
        reader = Focused(engine, Focus(file), sides=Sides(400), together=together)
        reader.focus = looks
        result = reader(image)
        found.append(sorted((w.polygon.min(axis=0).round().tolist(), w.text) for w in result))
    assert len(seen) == 4 + 1 and len(found[0]) == 4
    for (mine, text), (theirs, other) in zip(*found, strict=True):
        assert text == other
        np.testing.assert_allclose(mine, theirs, atol=2)
    height, width = seen[-1]
    parts = sum(h * w for h, w in seen[:4])
    assert height * width < 4 * parts + 40_000


def test_a_canvas_holds_all_parts_apart():
    generator = np.random.default_rng(0)
    for number in (1, 2, 7, 30):
        parts = [
            np.full((*generator.integers(20, 200, 2), 3), value, np.uint8)
            for value in range(1, number + 1)
        ]
        canvas, places = lay_out(parts)
        covered = np.zeros(canvas.shape[:2], int)
        for part, (x, y) in zip(parts, places, strict=True):
            height, width = part.shape[:2]
            assert (canvas[y : y + height, x : x + width] == part).all()
            covered[y : y + height, x : x + width] += 1
        assert covered.max() == 1 and (canvas[covered == 0] == 127).all()
        corners = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
        sizes = [part.shape[:2] for part in parts]
        for index, place in enumerate(places):
            assert part_of(corners + place, places, sizes) == index
        assert part_of(corners, places, sizes) is None
