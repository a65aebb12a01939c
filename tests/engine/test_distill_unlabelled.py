"""Distillation on photographs without annotations, and who else cannot learn from them."""

import logging

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from runs import run_training
from tiny_distillation import NUM_IMAGES, make_cfg, train, write_teacher_config

from dld_d2.data import AnnotationError, register_text_dataset
from dld_d2.engine.distill_trainer import DistillTrainer, load_teacher
from dld_d2.engine.pseudo_labels import labelling
from dld_d2.engine.setup import ConfigError
from dld_d2.engine.trainer import SpotterTrainer

# A teacher that has learnt nothing finds some words, if it is sure of none.
ANYTHING = {
    "MODEL__ROI_HEADS__SCORE_THRESH_TEST": 0.05,
    "TEST__DETECTIONS_PER_IMAGE": 6,
    "MODEL__DISTILL__PSEUDO_LABELS__MIN_SCORE": 0.0,
    "MODEL__DISTILL__PSEUDO_LABELS__MIN_DETECTION_SCORE": 0.0,
    "SOLVER__MAX_ITER": 3,
}
PHOTOS = {"DATASETS__TRAIN": ("photos",)}
BOTH = {"DATASETS__TRAIN": ("generated", "photos")}


@pytest.fixture(autouse=True)
def photos(data):
    register_text_dataset("photos", data / "images", None, "unlabelled")
    yield
    for name in ("photos", "broken"):
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


@pytest.fixture
def nobody_reads(monkeypatch):
    def fail(*_):
        pytest.fail("the teacher reads")

    monkeypatch.setattr(labelling, "readings_of", fail)


def images_of(trainer):
    return list(trainer.data_loader.dataset.images)


def teachers_words(data, cfg, number):
    """Polygons and texts of what the teacher finds in an image, found here."""
    image = cv2.imread(str(data / "images" / f"img_{number}.png"))
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    teacher = load_teacher(cfg).eval()
    with torch.no_grad():
        (output,) = teacher([{"image": tensor, "height": 96, "width": 150}])
    found = output["instances"]
    return list(zip(found.pred_polygons, found.pred_texts, strict=True))


def test_what_the_teacher_reads_is_trained_on(data, tmp_path):
    cfg = make_cfg(data, tmp_path, **PHOTOS, **ANYTHING)
    trainer = DistillTrainer(cfg)
    images = images_of(trainer)
    assert [image["image_id"] for image in images] == [f"img_{i}" for i in range(NUM_IMAGES)]
    for number in (0, NUM_IMAGES - 1):
        expected = teachers_words(data, cfg, number)
        words = images[number]["annotations"]
        assert len(words) == len(expected) > 0
        for word, (polygon, text) in zip(words, expected, strict=True):
            assert word["text"] == text or (word["ignore"] and not text)
            found = np.array(word["segmentation"][0]).reshape(-1, 2)
            np.testing.assert_allclose(found, polygon.clip(0, (150, 96)), atol=0.0051)
    assert not trainer.model.teacher.training
    run_training(trainer)
    assert (tmp_path / "model_final.pth").exists()


def test_labelled_and_unlabelled_sets_together(data, tmp_path, caplog):
    trainer = DistillTrainer(make_cfg(data, tmp_path, **BOTH, **ANYTHING))
    images = images_of(trainer)
    assert len(images) == 2 * NUM_IMAGES
    assert [word["text"] for word in images[1]["annotations"]] == ["w1", "Ab1c"]
    # The temperature knows of all images.
    (schedule,) = (hook for hook in trainer._hooks if type(hook).__name__ == "TemperatureSchedule")
    assert schedule._num_images == 2 * NUM_IMAGES


def test_images_without_words_are_trained_on(data, tmp_path):
    """As in any other set."""
    never = {"MODEL__ROI_HEADS__SCORE_THRESH_TEST": 1.0, "SOLVER__MAX_ITER": 2}
    trainer = train(make_cfg(data, tmp_path, **PHOTOS, **never))
    assert [len(image["annotations"]) for image in images_of(trainer)] == [0] * NUM_IMAGES


def test_a_training_that_is_resumed_reads_nothing(data, tmp_path, request):
    train(make_cfg(data, tmp_path, **BOTH, **ANYTHING))
    request.getfixturevalue("nobody_reads")
    trainer = train(make_cfg(data, tmp_path, **BOTH, **(ANYTHING | {"SOLVER__MAX_ITER": 4})), True)
    assert trainer.start_iter == 3
    assert len(images_of(trainer)) == 2 * NUM_IMAGES


def test_another_teacher_reads_anew(data, tmp_path):
    DistillTrainer(make_cfg(data, tmp_path, **PHOTOS, **ANYTHING))
    other = {"MODEL__DISTILL__TEACHER_WEIGHTS": str(data / "other.pth")}
    DistillTrainer(make_cfg(data, tmp_path, **PHOTOS, **ANYTHING, **other))
    assert len(list((tmp_path / "pseudo_labels").glob("photos-*.json"))) == 2


def test_a_teacher_with_a_configuration_of_its_own(data, tmp_path):
    """Its thresholds hold, not the student's."""
    changes = {
        "MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": [16, 64],
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 1.0,
    }
    file = write_teacher_config(tmp_path / "larger.yaml", **changes)
    teacher = {
        "MODEL__DISTILL__TEACHER_CONFIG": file,
        "MODEL__DISTILL__TEACHER_WEIGHTS": str(data / "larger.pth"),
    }
    trainer = DistillTrainer(make_cfg(data, tmp_path / "run", **PHOTOS, **ANYTHING, **teacher))
    assert not any(image["annotations"] for image in images_of(trainer))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"DATASETS__TRAIN": ("photos", "potos")},
            r"DATASETS\.TRAIN: there is no data set 'potos'",
        ),
        ({**PHOTOS, "MODEL__DISTILL__NO_GRAD_PRECISION": "int8"}, "NO_GRAD_PRECISION is 'int8'"),
        ({"DATASETS__TRAIN": ("photos", "broken")}, "data set 'broken': .* does not exist"),
        ({**PHOTOS, "DATASETS__TEST": ("photos",)}, r"DATASETS\.TEST: photos has no annotations"),
        ({**PHOTOS, "MODEL__DISTILL__PSEUDO_LABELS__MIN_SCORE": 90.0}, "MIN_SCORE is 90.0"),
        ({**PHOTOS, "SOLVER__IMS_PER_BATCH": 0}, "IMS_PER_BATCH"),
    ],
)
def test_what_is_wrong_is_told_before_the_teacher_reads(
    data, tmp_path, nobody_reads, changes, message
):
    register_text_dataset("broken", data / "images", data / "nowhere", "icdar2015")
    with pytest.raises((ConfigError, AnnotationError, ValueError), match=message):
        DistillTrainer(make_cfg(data, tmp_path, **changes))


def test_a_spotter_by_itself_cannot_learn_from_them(data, tmp_path):
    for architecture in ("MaskRCNNSpotter", "TextSizeEstimator"):
        cfg = make_cfg(data, tmp_path, **BOTH, MODEL__META_ARCHITECTURE=architecture)
        with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN: photos has no annotations.*disti"):
            SpotterTrainer(cfg)


def test_nothing_is_evaluated_on_them(data, tmp_path):
    tested = {"DATASETS__TEST": ("generated", "photos")}
    cfg = make_cfg(data, tmp_path, **tested, MODEL__WEIGHTS="nowhere.pth")
    message = r"DATASETS\.TEST: photos has no annotations.*compare with"
    with pytest.raises(ConfigError, match=message):
        DistillTrainer.evaluate(cfg)
    with pytest.raises(ConfigError, match=message):
        SpotterTrainer.test(cfg, torch.nn.Identity())
    with pytest.raises(ConfigError, match=message):
        SpotterTrainer(make_cfg(data, tmp_path, **tested))


def test_nothing_is_drawn_by_reading(data, tmp_path):
    """A training on labelled images is the same, whatever was read before it."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    DistillTrainer(make_cfg(data, tmp_path, **PHOTOS, **ANYTHING, DATALOADER__NUM_WORKERS=1))
    assert torch.equal(before, torch.get_rng_state())


def test_the_log_tells_how_far_it_is(data, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="dld_d2"):
        DistillTrainer(make_cfg(data, tmp_path, **PHOTOS, **ANYTHING))
    assert "photos: 5 images without annotations" in caplog.text
    assert "photos: the teacher has read 5 of 5 images" in caplog.text
    assert "5 training images, 2 per batch" in caplog.text
