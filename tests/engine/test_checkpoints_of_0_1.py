"""Checkpoints of version 0.1: evaluated, taught by, and trained on from."""

import pytest
import torch
from runs import load
from tiny_distillation import make_cfg, train
from version_0_1 import old_state, same_tensors

from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.old_names import current_names


@pytest.fixture(scope="module")
def checkpoints(data, tmp_path_factory):
    """Of one training, as it is and as 0.1 would have written it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    train(make_cfg(data, folder, SOLVER__MAX_ITER=2))
    new = load(folder)
    aligner = {"aligner.weight": torch.ones(2, 2), "aligner.bias": torch.ones(2)}
    old = {**new, "model": old_state(new["model"]) | aligner}
    del old["terms"]
    torch.save(old, folder / "old.pth")
    teacher = load(data, "teacher.pth")["model"]
    torch.save({"model": old_state(teacher), "iteration": 3}, folder / "old_teacher.pth")
    return folder


def test_old_names_are_those_of_0_1(checkpoints):
    student = load(checkpoints, "old.pth")["model"]
    assert {name.split(".")[0] for name in student} == {"student", "policy", "aligner"}
    assert "student.recognition.decoder.classifier.weight" in student
    teacher = load(checkpoints, "old_teacher.pth")["model"]
    assert any(name.startswith("recognition.") for name in teacher)
    assert any(name.startswith("roi_heads.") for name in teacher)
    assert not any("text_head" in name for name in [*student, *teacher])


def test_todays_names_stay(checkpoints):
    for state in (load(checkpoints)["model"], {"conv.weight": torch.ones(1)}, {}):
        assert current_names(state) is state
    selector = {"selector.stem.weight": torch.ones(1)}  # of a TextSizeEstimator
    assert current_names(selector) is selector


def test_a_student_evaluates_as_before(data, checkpoints, tmp_path):
    found = {}
    for name in ("model_final", "old"):
        cfg = make_cfg(
            data,
            tmp_path / name,
            MODEL__WEIGHTS=str(checkpoints / f"{name}.pth"),
            MODEL__ROI_HEADS__SCORE_THRESH_TEST=0.05,
            DATASETS__TEST=("generated",),
        )
        metrics = DistillTrainer.evaluate(cfg)["text_spotting"]
        speed = ("fps", "seconds_per_image")
        found[name] = {key: value for key, value in metrics.items() if key not in speed}
    assert found["old"] == found["model_final"]
    assert "cost_whole" in found["old"] and "mean_scale" in found["old"]


def test_a_teacher_evaluates(data, checkpoints, tmp_path):
    cfg = make_cfg(
        data,
        tmp_path,
        MODEL__META_ARCHITECTURE="MaskRCNNSpotter",
        MODEL__WEIGHTS=str(checkpoints / "old_teacher.pth"),
        DATASETS__TEST=("generated",),
    )
    assert 0 <= SpotterTrainer.evaluate(cfg)["text_spotting"]["rec_accuracy"] <= 1


def test_a_teacher_teaches(data, checkpoints, tmp_path):
    file = str(checkpoints / "old_teacher.pth")
    cfg = make_cfg(data, tmp_path, MODEL__DISTILL__TEACHER_WEIGHTS=file, SOLVER__MAX_ITER=1)
    trainer = DistillTrainer(cfg)
    expected = load(data, "teacher.pth")["model"]
    assert same_tensors(trainer.model.teacher.state_dict(), expected)
    assert same_tensors(trainer.model.student.spotter.state_dict(), expected)
    train(cfg)


def test_training_starts_from_a_student(data, checkpoints, tmp_path):
    trainer = DistillTrainer(make_cfg(data, tmp_path, MODEL__WEIGHTS=str(checkpoints / "old.pth")))
    trainer.resume_or_load(resume=False)
    state = trainer.model.student.state_dict()
    assert same_tensors(state, load(checkpoints)["model"])


def test_a_student_without_what_it_needs_is_still_refused(data, checkpoints, tmp_path):
    old = load(checkpoints, "old.pth")
    del old["model"]["student.recognition.decoder.classifier.weight"]
    torch.save(old, tmp_path / "part.pth")
    cfg = make_cfg(
        data, tmp_path, MODEL__WEIGHTS=str(tmp_path / "part.pth"), DATASETS__TEST=("generated",)
    )
    with pytest.raises(ValueError, match=r"text_head\.decoder\.classifier\.weight is not in the f"):
        DistillTrainer.evaluate(cfg)
