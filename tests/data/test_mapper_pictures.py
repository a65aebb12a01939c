"""tools/visualize_data.py: pictures of what the mapper returns."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld_d2.analysis.visualization import PALETTE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    path = ROOT / "tools" / "visualize_data.py"
    spec = importlib.util.spec_from_file_location("visualize_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "setup_logger", lambda **_: None)
    return module


@pytest.fixture
def run(tool, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(
        "MODEL:\n  DEVICE: cpu\n"
        "INPUT:\n  MIN_SIZE_TEST: 150\n  MAX_SIZE_TEST: 400\n"
        "  AUG:\n    BASE_SHORT_SIDE: 200\n    COLOR_PROB: 0.0\n"
        "DATASETS:\n  REGISTER: " + str(tmp_path / "sets.yaml") + "\n"
    )

    def run(*arguments, output="out"):
        code = tool.main(
            ["--config-file", str(config), "--output", str(tmp_path / output), *arguments]
        )
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "gt").mkdir()
    for number in (1, 2, 3):
        image = np.full((200, 300, 3), 20, dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"img_{number}.png"), image)
        (tmp_path / "gt" / f"gt_img_{number}.txt").write_text(
            "20,20,120,20,120,60,20,60,word\n"
            "20,90,120,90,120,130,20,130,Straße\n"
            "150,90,250,90,250,130,150,130,###\n",
            encoding="utf-8",
        )
    (tmp_path / "sets.yaml").write_text(
        "datasets:\n  pictures_test_set:\n    image_root: images\n    annotations: gt\n"
        "    format: icdar2015\n"
    )
    yield "pictures_test_set"
    if "pictures_test_set" in DatasetCatalog:
        DatasetCatalog.remove("pictures_test_set")
        MetadataCatalog.remove("pictures_test_set")


def has_color(image, name):
    difference = np.abs(image.astype(int) - np.array(PALETTE[name][::-1])).max(axis=-1)
    return bool((difference < 40).sum() > 20)  # JPEG changes colours a little


def test_training_and_test_pictures(run, dataset, tmp_path):
    code, messages = run("--dataset", dataset, "--num", "2", "--draws", "2")
    assert code == 0 and "4 pictures" in messages
    assert "3 with characters outside the vocabulary: 'ß' in 3" in messages
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["img_1_0.jpg", "img_1_1.jpg", "img_2_0.jpg", "img_2_1.jpg"]

    code, _ = run("--dataset", dataset, "--mode", "test", output="test")
    assert code == 0
    files = sorted(path.name for path in (tmp_path / "test").iterdir())
    assert files == ["img_1.jpg", "img_2.jpg", "img_3.jpg"]
    picture = cv2.imread(str(tmp_path / "test" / "img_1.jpg"))
    # 225 x 150 pixels, enlarged, with title and legend.
    assert picture.shape[1] == 1600 and picture.shape[0] > 1067
    assert all(has_color(picture, name) for name in ("sky", "orange", "grey"))


def test_same_seed_same_pictures(run, dataset, tmp_path):
    for output, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run("--dataset", dataset, "--num", "1", "--draws", "1", "--seed", seed, output=output)
    a, b, c = ((tmp_path / name / "img_1.jpg").read_bytes() for name in "abc")
    assert a == b != c


def test_errors_are_clear(run, dataset, tmp_path, capsys):
    for arguments, message in (
        (["--dataset", "nothing"], "there is no text data set 'nothing'; registered are: "),
        ([], "DATASETS.TRAIN is empty"),
        (["--mode", "test"], "DATASETS.TEST is empty"),
        (["--dataset", dataset, "INPUT.AUG.CROP_PROB", "2.0"], "INPUT.AUG.CROP_PROB"),
        (["--dataset", dataset, "INPUT.AUG.CROPS", "2.0"], "INPUT.AUG.CROPS"),
    ):
        code, messages = run(*arguments)
        assert code == 2 and message in messages
    with pytest.raises(SystemExit):
        run("--num", "0")
    assert "--num: must be at least 1" in capsys.readouterr().err
