"""Exported networks read what the model they were made of reads."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from dld_d2.commands import read
from dld_d2.deployment import TextSpotter
from dld_d2.deployment.model_file import load_spotter
from dld_d2.deployment.onnx_export import save_onnx
from dld_d2.deployment.pretrained import weights_file
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.recognition.ctc_decoder import CTCDecoder
from dld_d2.modeling.spotters.pp_ocr import words
from dld_d2.modeling.spotters.pp_ocr.straightening import _samples, cut_rectangles, straighten
from dld_d2.structures.vocabulary import Vocabulary

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from dld_d2.deployment.runtime import OnnxSpotter, pp_ocr

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = ("INPUT.MIN_SIZE_TEST", "352")
SIZES = ((300, 400), (333, 517), (700, 450))


def page(height=300, width=400):
    image = np.full((height, width, 3), 230, np.uint8)
    for i, text in enumerate(("HOTEL bar", "open 24 h", "Exit 7")):
        place = (20, 60 + 80 * i)
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 1.6 - 0.4 * i, (40, 20, 90), 2)
    return image


def same(found, expected):
    assert [word.text for word in found] == [word.text for word in expected]
    assert (found.image_size, found.input_size) == (expected.image_size, expected.input_size)
    assert found.scale == expected.scale
    assert found.relative_cost == pytest.approx(expected.relative_cost)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.polygon, theirs.polygon, atol=0.05)
        assert mine.score == pytest.approx(theirs.score, abs=1e-4)
        assert mine.detection_score == pytest.approx(theirs.detection_score, abs=1e-4)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The shipped spotter of photographs, by PyTorch and by its networks."""
    cfg, model = load_spotter(weights_file("photo_teacher"), SIZE)
    folder = tmp_path_factory.mktemp("teacher")
    save_onnx(cfg, model, folder)
    return TextSpotter(cfg, model=model), folder


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The same with a selector of random weights."""
    torch.manual_seed(1)
    opts = ["MODEL.WEIGHTS", "", "MODEL.DYNAMIC.POLICY", "selector", *SIZE]
    cfg = setup_cfg(str(REPOSITORY / "configs" / "photo" / "Base-dld.yaml"), opts)
    model = build_model(cfg).eval()
    SpotterCheckpointer(model.spotter).load(str(weights_file("photo_teacher")))
    # So that pictures differ in what is chosen for them.
    torch.nn.init.normal_(model.policy.selector.classifier.weight)
    folder = tmp_path_factory.mktemp("student")
    save_onnx(cfg, model, folder)
    return TextSpotter(cfg, model=model), folder


@pytest.mark.parametrize("size", [(300, 400), (401, 299), (130, 520)])
def test_words_are_the_same(teacher, size):
    spotter, folder = teacher
    image = page(*size)
    expected = spotter(image)
    assert len(expected) >= 2
    same(OnnxSpotter(folder)(image), expected)


def test_a_photograph(teacher):
    spotter, folder = teacher
    photo = next((REPOSITORY / "tools" / "demo_page" / "photographs").glob("*.jpg"))
    expected = spotter(photo)
    assert len(expected) > 0
    same(OnnxSpotter(folder)(photo), expected)


def test_no_words_and_other_kinds_of_images(teacher):
    spotter, folder = teacher
    runtime = OnnxSpotter(folder)
    empty = np.full((200, 300, 3), 128, np.uint8)
    assert len(spotter(empty)) == len(runtime(empty)) == 0
    gray = cv2.cvtColor(page(), cv2.COLOR_BGR2GRAY)
    for image in (gray, gray.astype(np.uint16) * 257, cv2.imencode(".png", page())[1].tobytes()):
        same(runtime(image), spotter(image))
    with pytest.raises(TypeError, match="one image"):
        runtime([page()])


def test_the_selector_chooses_the_same(student):
    spotter, folder = student
    runtime = OnnxSpotter(folder)
    rng = np.random.default_rng(0)
    chosen = set()
    for size in SIZES:
        image = cv2.add(page(*size), rng.integers(0, 60, (*size, 3), dtype=np.uint8))
        (logits,) = spotter.scale_logits([image])
        (mine,) = runtime.scale_logits([image])
        np.testing.assert_allclose(mine, logits, atol=2e-3)
        for bias in (0.0, 40.0, -40.0):
            spotter.cost_bias = runtime.cost_bias = bias
            expected = spotter(image)
            same(runtime(image), expected)
            chosen.add(expected.scale)
    assert len(chosen) > 1


def test_a_prior_of_the_scales(student):
    spotter, folder = student
    runtime = OnnxSpotter(folder)
    spotter.cost_bias = runtime.cost_bias = 0.0
    scales = runtime.scales
    assert scales == spotter.scales and runtime.scale_prior is None
    for index in (0, len(scales) - 1):
        prior = np.zeros(len(scales), np.float32)
        prior[index] = 1000
        for reader in (spotter, runtime):
            reader.scale_prior = prior
            np.testing.assert_array_equal(reader.scale_prior, prior)
            assert reader(page()).scale == scales[index]
            # It is no part of what the selector thinks.
            logits = reader.scale_logits([page()])
            assert np.abs(np.array(list(logits))).max() < 500
    for reader in (spotter, runtime):
        for wrong in (prior[1:], prior * np.nan):
            with pytest.raises(ValueError, match="one for each scale"):
                reader.scale_prior = wrong
        reader.scale_prior = None
    same(runtime(page()), spotter(page()))


def test_many_images_and_a_target_cost(student, tmp_path):
    spotter, folder = student
    rng = np.random.default_rng(0)
    images = [
        cv2.add(page(*size), rng.integers(0, 60, (*size, 3), dtype=np.uint8)) for size in SIZES
    ]
    runtime = OnnxSpotter(folder)
    low, high = min(runtime.description.choice.relative_cost), max(spotter.model.relative_cost)
    target = float(low + high) / 2
    budget = runtime.set_target_cost(images, target)
    assert budget.shares == spotter.set_target_cost(images, target).shares
    assert budget.mean_cost <= target
    missing = tmp_path / "missing.png"
    mine = list(runtime.predict_many([*images, missing], batch_size=2))
    theirs = list(spotter.predict_many([*images, missing], batch_size=1))
    assert isinstance(mine.pop(), FileNotFoundError) and theirs.pop()
    for found, expected in zip(mine, theirs, strict=True):
        same(found, expected)
    assert OnnxSpotter(folder, cost_bias=3.5).cost_bias == 3.5
    with pytest.raises(ValueError, match="finite"):
        runtime.cost_bias = float("nan")


def test_tiles_and_a_threshold(teacher):
    spotter, folder = teacher
    runtime, image = OnnxSpotter(folder, tiles=300), page(500, 700)
    spotter.tiles = 300
    try:
        expected = spotter(image)
        assert len(expected.tiles) > 1
        same(runtime(image), expected)
    finally:
        spotter.tiles = None
    runtime.tiles = None
    scores = sorted(word.detection_score for word in runtime(image))
    runtime.score_threshold = (scores[0] + scores[-1]) / 2
    assert (
        0 < len(runtime(image)) == sum(s >= runtime.score_threshold for s in scores) < len(scores)
    )
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        runtime.score_threshold = 1.5
    with pytest.raises(ValueError, match="too long and thin"):
        runtime(np.zeros((1, 20000, 3), np.uint8))


def test_the_command_reads_the_same_without_pytorch(teacher, tmp_path):
    photo = next((REPOSITORY / "tools" / "demo_page" / "photographs").glob("*.jpg"))
    formats = ["--format", "json,csv,rrc"]
    runs = {
        "networks": ["--model", str(teacher[1])],
        "pytorch": ["--model", "photo_teacher", "--opts", *SIZE],
    }
    for name, model in runs.items():
        hidden = (
            ("torch", "torchvision", "detectron2", "yaml", "scipy") if name == "networks" else ()
        )
        code = (
            f"import sys\nfor name in {hidden}: sys.modules[name] = None\n"
            "from dld_d2.commands.main import main\nsys.exit(main(sys.argv[1:]))"
        )
        output = ["--output", str(tmp_path / name)]
        command = [sys.executable, "-c", code, "read", str(photo), *output, *formats, *model]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    mine, theirs = tmp_path / "networks", tmp_path / "pytorch"
    assert (mine / "results.csv").read_text() == (theirs / "results.csv").read_text()
    picture = f"pictures/{photo.stem}.jpg"
    assert (mine / picture).read_bytes() == (theirs / picture).read_bytes()
    results = [json.loads((one / "results.json").read_text()) for one in (mine, theirs)]
    assert results[0].pop("model") == str(teacher[1]) and results[1].pop("model")
    assert results[0] == results[1]
    assert (mine / "submission.zip").exists()


def test_overrides_of_networks_are_refused(teacher, capsys):
    photo = next((REPOSITORY / "tools" / "demo_page" / "photographs").glob("*.jpg"))
    assert read.main([str(photo), "--model", str(teacher[1]), "--opts", *SIZE]) == 2
    assert "--opts: " in capsys.readouterr().err


def test_a_fixed_scale(student, tmp_path):
    model = student[0].model
    opts = ["MODEL.DYNAMIC.POLICY", "fixed", "MODEL.DYNAMIC.FIXED_SCALE", "0.783", *SIZE]
    cfg = setup_cfg(str(REPOSITORY / "configs" / "photo" / "Base-dld.yaml"), opts)
    fixed = build_model(cfg).eval()
    fixed.spotter.load_state_dict(model.spotter.state_dict())
    save_onnx(cfg, fixed, tmp_path)
    assert not (tmp_path / "selector.onnx").exists()
    runtime = OnnxSpotter(tmp_path)
    expected = TextSpotter(cfg, model=fixed)(page())
    assert expected.scale == 0.783
    same(runtime(page()), expected)
    with pytest.raises(ValueError, match="no resolution selector"):
        runtime.scale_logits([page()])
    for reader in (runtime, TextSpotter(cfg, model=fixed)):
        with pytest.raises(ValueError, match="no resolution selector"):
            _ = reader.scale_prior
        with pytest.raises(ValueError, match="no resolution selector"):
            reader.scale_prior = None


def test_best_path():
    generator = torch.Generator().manual_seed(0)
    decoder = CTCDecoder(4, Vocabulary("abc"))
    logits = torch.rand(40, 12, 4, generator=generator) * 9
    expected = decoder.best_path(logits)
    probability, best = logits.softmax(dim=-1).max(dim=-1)
    for row in range(len(logits)):
        classes, columns, probabilities = pp_ocr._best_path(
            best[row].numpy(), probability[row].numpy(), blank=3
        )
        count = len(classes)
        assert classes == expected.classes[row, :count].tolist()
        assert (expected.classes[row, count:] < 0).all()
        assert columns == expected.columns[row, :count].tolist()
        assert probabilities == pytest.approx(expected.probabilities[row, :count].tolist())


def rectangles(count=50):
    rng = np.random.default_rng(0)
    centre, turn = rng.uniform(60, 140, (count, 1, 2)), rng.uniform(-0.6, 0.6, count)
    side = rng.uniform(6, 90, (count, 1, 2)) * [1, 0.5]
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    matrix = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)], axis=1)
    return (square * side @ matrix.reshape(-1, 2, 2) + centre).astype(np.float32)


def test_how_words_are_laid_out():
    corners = rectangles()
    sides = words.sides_of_boxes(torch.from_numpy(corners))
    begin = pp_ocr._from_the_beginning(corners)
    np.testing.assert_allclose(begin, sides[:, [0, 6, 13, 7]].numpy(), atol=1e-4)
    assert (begin != corners).any(), "some should be upright"
    assert pp_ocr._widths(begin).tolist() == words.widths(sides).tolist()
    for chosen in (slice(0, 5), slice(7, 9), slice(10, 50)):
        assert pp_ocr._samples(begin[chosen]) == _samples(sides[chosen], 48)


@pytest.mark.parametrize(("height", "samples"), [(48, 1), (24, 2)])
def test_words_are_cut_out_alike(height, samples):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 90, 160, generator=generator)
    sides = words.sides_of_boxes(torch.from_numpy(rectangles(6)))
    assert _samples(sides, height) == samples
    expected = straighten(image, torch.zeros(6, dtype=torch.int64), sides, (height, 64))
    u, v = ((torch.arange(n * samples) + 0.5) / (n * samples) for n in (64, height))
    begin = sides[:, [0, 6, 13, 7]]
    cut = cut_rectangles(image, begin, u, v, height)
    torch.testing.assert_close(cut, expected, atol=1e-4, rtol=1e-4)


def test_a_spotter_that_cannot_be_exported(tmp_path):
    cfg, model = load_spotter(weights_file("tiny_teacher"))
    model.roi_heads.num_classes = 2
    with pytest.raises(ConfigError, match=r"MODEL\.ROI_HEADS\.NUM_CLASSES: 2 classes"):
        save_onnx(cfg, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "does not describe"),
        ({"kind": "other"}, "'other' is not known"),
        ({"choice": {"scales": 3}}, "another form"),
        ({"characters": None}, "lacks characters"),
    ],
)
def test_descriptions_that_are_wrong(teacher, tmp_path, change, message):
    content = json.loads((teacher[1] / "model.json").read_text(encoding="utf-8")) | change
    content = {key: value for key, value in content.items() if value is not None or key == "choice"}
    (tmp_path / "model.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        OnnxSpotter(tmp_path)


def test_folders_that_are_not_whole(teacher, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.json"):
        OnnxSpotter(tmp_path)
    (tmp_path / "model.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is no JSON"):
        OnnxSpotter(tmp_path)
    (tmp_path / "model.json").write_bytes((teacher[1] / "model.json").read_bytes())
    with pytest.raises(FileNotFoundError, match="no network"):
        OnnxSpotter(tmp_path)
    (tmp_path / "detector.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"detector\.onnx: ONNX Runtime"):
        OnnxSpotter(tmp_path)
