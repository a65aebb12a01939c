"""The predictor and the demo command, with a model that finds one bright block."""

import importlib.util
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances

from dld_d2.config import add_dld_config
from dld_d2.predictor import TextSpotter

ROOT = Path(__file__).resolve().parents[1]


@META_ARCH_REGISTRY.register()
class BrightBlockSpotter(torch.nn.Module):
    """Finds the bounding box of red pixels, if any; its text names the weight and the size."""

    def __init__(self, cfg):
        super().__init__()
        self.number = torch.nn.Parameter(torch.zeros(1))
        self.red = 2 if cfg.INPUT.FORMAT == "BGR" else 0
        self.threshold = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST

    def forward(self, batched_inputs):
        assert not self.training and torch.is_inference_mode_enabled()
        return [{"instances": self._find(**inputs)} for inputs in batched_inputs]

    def _find(self, image, height, width):
        assert image.dtype == torch.uint8
        rows, columns = torch.where((image[self.red] > 128) & (image[1] < 64))
        number = int(len(rows) > 0 and self.threshold <= 0.75)
        instances = Instances((height, width))
        polygons = []
        if number:
            scale = np.array([width / image.shape[2], height / image.shape[1]])
            low = np.array([columns.min(), rows.min()]) * scale
            high = np.array([columns.max() + 1, rows.max() + 1]) * scale
            polygons = [np.array([low, [high[0], low[1]], high, [low[0], high[1]]], np.float32)]
        instances.pred_polygons = polygons
        instances.pred_boxes = Boxes(torch.zeros(number, 4))
        size = f"{image.shape[2]}x{image.shape[1]}"
        instances.pred_texts = [f"é{int(self.number)} {size}"] * number
        instances.scores = torch.full((number,), 0.75)
        instances.text_scores = torch.full((number,), 0.5)
        instances.pred_classes = torch.zeros(number, dtype=torch.int64)
        return instances


@pytest.fixture
def weights(tmp_path):
    torch.save({"model": {"number": torch.tensor([7.0])}}, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.fixture
def config_file(tmp_path, weights):
    file = tmp_path / "config.yaml"
    file.write_text(
        "MODEL:\n  META_ARCHITECTURE: BrightBlockSpotter\n  DEVICE: cpu\n"
        f"  WEIGHTS: {weights}\nINPUT:\n  MIN_SIZE_TEST: 100\n  MAX_SIZE_TEST: 300\n"
    )
    return str(file)


def make_cfg(config_file, *opts):
    cfg = get_cfg()
    add_dld_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(list(opts))
    return cfg


def picture(block=(40, 60, 120, 90), height=200, width=300):
    image = np.full((height, width, 3), 40, dtype=np.uint8)
    if block:
        x0, y0, x1, y1 = block
        image[y0:y1, x0:x1] = (0, 0, 255)
    return image


def save(folder, name, image=None):
    folder.mkdir(parents=True, exist_ok=True)
    image = picture() if image is None else image
    (folder / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return str(folder / name)


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
@pytest.mark.parametrize("kind", ["array", "str", "path"])
def test_words_come_in_pixels_of_the_given_image(tmp_path, config_file, image_format, kind):
    spotter = TextSpotter(make_cfg(config_file, "INPUT.FORMAT", image_format))
    image = picture()
    given = image if kind == "array" else save(tmp_path, "a.png", image)
    given = Path(given) if kind == "path" else given
    result = spotter(given)
    assert result.image_size == (200, 300) and result.input_size == (100, 150)
    assert (result.scale, result.relative_cost) == (1.0, 1.0)
    (word,) = result
    assert result[0] is word and result.words == (word,)
    assert word.text == "é7 150x100"  # the weights were loaded and the short side scaled
    assert word.score == 0.5 and word.detection_score == 0.75
    assert word.polygon.dtype == np.float32 and word.polygon.shape == (4, 2)
    assert np.abs(word.polygon - [[40, 60], [120, 60], [120, 90], [40, 90]]).max() <= 2
    assert (image == picture()).all()


def test_image_without_words(config_file):
    result = TextSpotter(make_cfg(config_file))(picture(block=None))
    assert list(result) == [] and len(result) == 0 and result.words == ()


def test_any_contiguity(config_file):
    spotter = TextSpotter(make_cfg(config_file))
    wide = np.zeros((200, 600, 3), dtype=np.uint8)
    wide[:, ::2] = picture()
    assert len(spotter(wide[:, ::2])) == 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((20, 20, 3)),
        np.zeros((0, 20, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(config_file, image):
    with pytest.raises(ValueError, match="BGR"):
        TextSpotter(make_cfg(config_file))(image)


def test_unreadable_files_and_weights_are_named(tmp_path, config_file, weights):
    spotter = TextSpotter(make_cfg(config_file))
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        spotter(tmp_path / "missing.png")
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        TextSpotter(make_cfg(config_file, "MODEL.WEIGHTS", ""))
    with pytest.raises(FileNotFoundError, match=r"other\.pth"):
        TextSpotter(make_cfg(config_file, "MODEL.WEIGHTS", str(tmp_path / "other.pth")))


SIZES = [(200, 300), (300, 200), (200, 302), (100, 400), (200, 290), (600, 200), (100, 100)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batches_keep_order_and_report_what_cannot_be_read(tmp_path, config_file, batch_size):
    spotter = TextSpotter(make_cfg(config_file))
    images = [picture(height=h, width=w) for h, w in SIZES]
    images[1] = save(tmp_path, "turned.png", images[1])
    images[3:3] = [tmp_path / "missing.png", None, np.zeros((5, 5), np.uint8)]
    results = list(spotter.predict_many(iter(images), batch_size=batch_size))
    assert len(results) == len(images)
    for image, result in zip(images, results, strict=True):
        if isinstance(result, Exception):
            continue
        assert [w.text for w in result] == [w.text for w in spotter(image)]
        assert [w.polygon.tolist() for w in result] == [w.polygon.tolist() for w in spotter(image)]
    missing, none, grey = results[3:6]
    assert isinstance(missing, FileNotFoundError) and "missing.png" in str(missing)
    assert isinstance(none, ValueError) and "a file name or an array, got None" in str(none)
    assert isinstance(grey, ValueError) and "BGR" in str(grey)
    assert list(spotter.predict_many([])) == []


def test_batches_are_read_when_they_are_needed(config_file):
    read = []

    def images():
        for number in range(100):
            read.append(number)
            yield picture()

    results = TextSpotter(make_cfg(config_file)).predict_many(images(), batch_size=2)
    assert read == []
    assert next(results)[0].text == "é7 150x100"
    assert len(read) < 20


def test_one_image_that_is_too_large_for_the_device(config_file, monkeypatch):
    spotter = TextSpotter(make_cfg(config_file))
    find, calls = spotter.model.forward, []

    def forward(inputs):
        calls.append(len(inputs))
        if any(item["image"].shape[2] > 200 for item in inputs):
            raise torch.cuda.OutOfMemoryError("no")
        return find(inputs)

    monkeypatch.setattr(spotter.model, "forward", forward)
    images = [picture(width=w) for w in (300, 410, 390)]
    narrow, wide, other = spotter.predict_many(images, batch_size=4)
    assert calls[0] > 1
    assert len(narrow) == len(other) == 1
    assert isinstance(wide, MemoryError) and "lower INPUT.MAX_SIZE_TEST" in str(wide)


def test_wrong_uses_of_batches_fail_at_once(config_file):
    spotter = TextSpotter(make_cfg(config_file))
    with pytest.raises(TypeError, match=r"expected several images.*photo\.jpg"):
        spotter.predict_many("photo.jpg")
    with pytest.raises(ValueError, match="batch size of 0"):
        spotter.predict_many([picture()], batch_size=0)
    for use in (
        lambda: spotter.cost_bias,
        lambda: spotter.scale_logits([]),
        lambda: spotter.set_target_cost([], 0.5),
        lambda: TextSpotter(make_cfg(config_file), cost_bias=1.0),
    ):
        with pytest.raises(ValueError, match="no resolution selector"):
            use()


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo", ROOT / "tools" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def untouched_loggers(demo, monkeypatch):
    # Detectron2's handlers would stay on the loggers for all tests that follow.
    monkeypatch.setattr(demo, "setup_logger", lambda **_: None)


@pytest.fixture
def run(demo, config_file, tmp_path, capsys):
    def run(*inputs, more=()):
        output = tmp_path / "out"
        code = demo.main(
            ["--config-file", config_file, "--output", str(output), "--input", *inputs, *more]
        )
        results = output / "results.json"
        whole = json.loads(results.read_text(encoding="utf-8")) if results.exists() else None
        return code, whole, capsys.readouterr().err

    return run


def test_demo_writes_results_and_pictures(run, tmp_path):
    first = save(tmp_path / "in", "one.png")
    save(tmp_path / "in", "two.png", picture(block=None))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    code, whole, messages = run(str(tmp_path / "in"))
    assert code == 0 and "1 words in 2 images" in messages
    assert whole["failed"] == []
    assert [image["file"] for image in whole["images"]] == [first, first.replace("one", "two")]
    one, two = whole["images"]
    assert (one["width"], one["height"]) == (300, 200)
    assert (one["scale"], one["relative_cost"]) == (1.0, 1.0)
    (word,) = one["words"]
    assert word["text"] == "é7 150x100" and word["score"] == 0.5
    assert word["detection_score"] == 0.75 and len(word["polygon"]) == 4
    assert two["words"] == []
    drawn = cv2.imread(str(tmp_path / "out" / one["picture"]))
    assert drawn.shape == (1067, 1600, 3)  # enlarged, for readable labels
    assert (tmp_path / "out" / two["picture"]).exists()


def test_demo_names_what_it_cannot_read_and_goes_on(run, tmp_path):
    good = save(tmp_path / "in", "good.png")
    bad = tmp_path / "in" / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff not a jpeg")
    missing = str(tmp_path / "in" / "missing.jpg")
    code, whole, messages = run(str(bad), missing, good, more=["--batch-size", "4"])
    assert code == 1
    assert [image["file"] for image in whole["images"]] == [good]
    assert [entry["file"] for entry in whole["failed"]] == [str(bad), missing]
    assert "bad.jpg" in messages and "missing.jpg" in messages
    assert "2 could not be read" in messages


def test_demo_patterns_repeats_and_equal_names(run, tmp_path):
    save(tmp_path / "a", "x.png")
    save(tmp_path / "b", "x.png")
    save(tmp_path / "b", "X.bmp.png")
    code, whole, _ = run(str(tmp_path / "*" / "*.png"), str(tmp_path / "a"))
    assert code == 0 and len(whole["images"]) == 3
    pictures = [image["picture"] for image in whole["images"]]
    assert len(set(pictures)) == 3
    assert all((tmp_path / "out" / name).exists() for name in pictures)


def test_demo_threshold_and_overrides(run, tmp_path):
    file = save(tmp_path / "in", "a.png")
    _, low, _ = run(file, more=["--confidence-threshold", "0.7"])
    _, high, _ = run(file, more=["--confidence-threshold", "0.8", "--no-pictures"])
    assert [len(r["images"][0]["words"]) for r in (low, high)] == [1, 0]
    assert "picture" not in high["images"][0]
    _, scaled, _ = run(file, more=["--opts", "INPUT.MIN_SIZE_TEST", "50"])
    assert scaled["images"][0]["words"][0]["text"] == "é7 75x50"


def test_demo_writes_file_names_that_are_not_unicode(run, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        file = save(tmp_path / "in", name)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    code, whole, _ = run(file)
    assert code == 0
    assert whole["images"][0]["file"] == file
    assert (tmp_path / "out" / whole["images"][0]["picture"]).exists()


def test_demo_says_what_is_wrong(run, tmp_path, demo, config_file, capsys):
    file = save(tmp_path / "in", "a.png")
    (tmp_path / "empty").mkdir()
    for inputs, more, message in (
        ([str(tmp_path / "empty")], [], "there are no images in"),
        ([file], ["--opts", "MODEL.WEIGHTS", ""], "MODEL.WEIGHTS is empty"),
        ([file], ["--opts", "MODEL.WEIGHTS", "nowhere.pth"], "nowhere.pth"),
        ([file], ["--opts", "MODEL.WEIGTHS", "a.pth"], "MODEL.WEIGHTS"),
        ([file], ["--target-cost", "0.5"], "--target-cost: this model has no resolution selector"),
        ([file], ["--cost-bias", "0.5"], "this model has no resolution selector"),
    ):
        code, whole, messages = run(*inputs, more=more)
        assert (code, whole) == (2, None)
        assert f"error: {message}" in messages or message in messages
        assert "Traceback" not in messages
    with pytest.raises(SystemExit) as stop:
        run(file, more=["--confidence-threshold", "1.5"])
    assert stop.value.code == 2
    assert "between 0 and 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(file, more=["--batch-size", "0"])
    assert "--batch-size must be at least 1" in capsys.readouterr().err
    code = demo.main(
        ["--config-file", config_file, "--output", str(tmp_path / "in" / "a.png"), "--input", file]
    )
    assert code == 2 and "cannot be made into a folder" in capsys.readouterr().err
