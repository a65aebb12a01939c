"""Training the network that looks first, with and without annotations."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from runs import run_training
from tiny_distillation import NUM_IMAGES, make_cfg

from dld_d2.data import register_text_dataset
from dld_d2.engine.evaluation.focus import FocusEvaluator, coverage
from dld_d2.engine.focus_trainer import FocusTrainer
from dld_d2.engine.setup import ConfigError, setup_cfg
from dld_d2.engine.trainers import trainer_for
from dld_d2.modeling.focus.chips import Chip
from dld_d2.structures.word import Word

LOOKS = {
    "MODEL__META_ARCHITECTURE": "FocusMap",
    "MODEL__FOCUS__INPUT_SCALE": 1.0,
    "MODEL__FOCUS__FREEZE_AT": 0,
    "SOLVER__MAX_ITER": 3,
}
ALONE = {"MODEL__DISTILL__TEACHER_WEIGHTS": ""}
PHOTOS = {"DATASETS__TRAIN": ("photos",)}
ANYTHING = {
    "MODEL__ROI_HEADS__SCORE_THRESH_TEST": 0.05,
    "TEST__DETECTIONS_PER_IMAGE": 6,
    "MODEL__DISTILL__PSEUDO_LABELS__MIN_SCORE": 0.0,
    "MODEL__DISTILL__PSEUDO_LABELS__MIN_DETECTION_SCORE": 0.0,
}


@pytest.fixture(autouse=True)
def photos(data):
    register_text_dataset("photos", data / "images", None, "unlabelled")
    yield
    DatasetCatalog.remove("photos")
    MetadataCatalog.remove("photos")


def test_it_trains_by_annotations_alone(data, tmp_path):
    cfg = make_cfg(data, tmp_path, **LOOKS, **ALONE)
    assert trainer_for(cfg) is FocusTrainer
    trainer = FocusTrainer(cfg)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    run_training(trainer)
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert set(saved) == set(before)
    assert any(not torch.equal(saved[name], before[name]) for name in before)


def test_it_resumes_where_it_stopped(data, tmp_path):
    whole = FocusTrainer(make_cfg(data, tmp_path / "whole", **LOOKS, **ALONE))
    run_training(whole)
    first = make_cfg(data, tmp_path / "parts", **(LOOKS | {"SOLVER__MAX_ITER": 2}), **ALONE)
    run_training(FocusTrainer(first))
    rest = FocusTrainer(make_cfg(data, tmp_path / "parts", **LOOKS, **ALONE))
    rest.resume_or_load(resume=True)
    assert rest.start_iter == 2
    run_training(rest)
    expected = whole.model.state_dict()
    for name, value in rest.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_photographs_without_annotations_are_read_by_the_teacher(data, tmp_path):
    trainer = FocusTrainer(make_cfg(data, tmp_path, **LOOKS, **PHOTOS, **ANYTHING))
    images = list(trainer.data_loader.dataset.images)
    assert len(images) == NUM_IMAGES and any(image["annotations"] for image in images)
    run_training(trainer)
    assert (tmp_path / "model_final.pth").exists()


def test_without_a_teacher_they_cannot_be_learnt_from(data, tmp_path):
    cfg = make_cfg(data, tmp_path, **LOOKS, **PHOTOS, **ALONE)
    with pytest.raises(ConfigError, match=r"photos has no annotations .*TEACHER_WEIGHTS"):
        FocusTrainer.check_start(cfg)


def test_it_starts_from_its_teachers_detector():
    cfg = setup_cfg("configs/photo/focus.yaml", ["MODEL.DEVICE", "cpu"])
    model = FocusTrainer.build_training_model(cfg)
    from dld_d2.deployment.model_file import load_spotter
    from dld_d2.deployment.pretrained import weights_file

    _, teacher = load_spotter(weights_file("photo_teacher"), ["MODEL.DEVICE", "cpu"])
    theirs = teacher.detector.backbone.state_dict()
    for name, value in model.network.backbone.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_another_model_is_not_for_this_trainer(data, tmp_path):
    with pytest.raises(ConfigError, match="this trainer needs FocusMap"):
        FocusTrainer.build_training_model(make_cfg(data, tmp_path))


def test_what_is_covered_against_drawing_it():
    generator = np.random.default_rng(0)
    for _ in range(40):
        chips = [
            Chip((x, y, x + w, y + h), s)
            for x, y, w, h, s in zip(
                *generator.integers(0, 150, (2, 3)).tolist(),
                *generator.integers(20, 90, (2, 3)).tolist(),
                generator.choice([0.25, 0.5, 1.0], 3).tolist(),
                strict=True,
            )
        ]
        boxes = generator.integers(0, 90, (6, 2))
        words = [
            Word(np.array([[x, y], [x + 9, y], [x + 9, y + 5], [x, y + 5]]), text)
            for (x, y), text in zip(boxes.tolist(), ["a", "###", "b", "c", "###", "d"], strict=True)
        ]
        # The full resolution is twice the image's size.
        cared, covered, share, number = coverage(words, (100, 120), chips, (200, 240))
        expected = 0
        for word in words:
            if word.text == "###":
                continue
            for (x0, y0, x1, y1), _ in chips:
                seen = np.zeros((300, 300), np.uint8)
                seen[max(y0 - 1, 0) : y1 + 2, max(x0 - 1, 0) : x1 + 2] = 1
                points = (2 * word.polygon).astype(np.int32)
                drawn = cv2.fillPoly(np.zeros((300, 300), np.uint8), [points], 1)
                if (seen[drawn > 0] == 1).all():
                    expected += 1
                    break
        assert (cared, covered, number) == (4, expected, 3)
        pixels = sum((x1 - x0) * s * (y1 - y0) * s for (x0, y0, x1, y1), s in chips)
        assert share == pytest.approx(pixels / 48000)


def test_the_evaluators_figures(data):
    evaluator = FocusEvaluator("generated")
    images = DatasetCatalog.get("generated")
    for number in range(NUM_IMAGES):
        size = images[number]["height"], images[number]["width"]
        item = {"image_id": images[number]["image_id"], "image": torch.zeros(3, *size)}
        chips = [Chip((0, 0, size[1], size[0]), 1.0)] if number else []
        evaluator.process([item], [{"chips": chips}])
    metrics = evaluator.evaluate()["text_spotting"]
    cared = [
        sum(not word["ignore"] for word in images[number]["annotations"])
        for number in range(NUM_IMAGES)
    ]
    assert metrics["words_covered"] == pytest.approx(1 - cared[0] / sum(cared))
    assert metrics["pixels_read"] == metrics["chips"] == pytest.approx(1 - 1 / NUM_IMAGES)
