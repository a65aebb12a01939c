"""Training the distiller: resuming, what checkpoints hold, where the student starts."""

import json
import logging
import shutil
import signal
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from runs import load, run_training, spawn, tensors
from tiny_distillation import BASE, SMALL, generate, make_cfg, train

from dld_d2.engine.distill_trainer import DistillTrainer, TemperatureSchedule
from dld_d2.engine.setup import ConfigError
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.distillation import DynamicScale

SCRIPT = str(Path(__file__).with_name("tiny_distillation.py"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generate(folder)
    yield folder
    if "generated" in DatasetCatalog.list():
        DatasetCatalog.remove("generated")
        MetadataCatalog.remove("generated")


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    trainer = train(make_cfg(data, folder))
    return folder, trainer


def test_killed_and_resumed_reaches_the_same_state(data, undisturbed, tmp_path):
    killed = spawn(SCRIPT, str(data), str(tmp_path), "5")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"
    trainer = train(make_cfg(data, tmp_path), True)
    assert trainer.start_iter == 3
    assert trainer.model.policy.temperature == undisturbed[1].model.policy.temperature
    expected, found = tensors(load(undisturbed[0])), tensors(load(tmp_path))
    assert expected.keys() == found.keys()
    assert any("policy.selector" in name for name in found)
    assert any("exp_avg" in name for name in found)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_resuming_with_another_teacher_is_refused(data, undisturbed, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    other = str(data / "other.pth")
    trainer = DistillTrainer(make_cfg(data, tmp_path, MODEL__DISTILL__TEACHER_WEIGHTS=other))
    with pytest.raises(ConfigError, match=r"other\.pth is not the teacher.*teacher\.pth"):
        trainer.resume_or_load(resume=True)


def test_the_same_teacher_elsewhere_is_welcome(data, undisturbed, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path / "run")
    moved = shutil.copy(data / "teacher.pth", tmp_path / "moved.pth")
    cfg = make_cfg(data, tmp_path / "run", MODEL__DISTILL__TEACHER_WEIGHTS=moved)
    trainer = DistillTrainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 7


def test_checkpoints_refer_to_the_teacher_without_holding_it(data, undisturbed):
    folder, trainer = undisturbed
    saved = load(folder)
    assert {name.split(".")[0] for name in saved["model"]} == {"student", "policy"}
    assert set(saved) >= {"model", "trainer", "iteration"}
    teacher = saved["trainer"]["teacher"]
    assert teacher["file"] == str(data / "teacher.pth") and len(teacher["sha256"]) == 64
    # Model, and at most two moments for each parameter: no room for a teacher.
    numbers = sum(t.numel() for t in tensors(saved).values())
    assert numbers < 3.1 * sum(t.numel() for t in saved["model"].values())
    learning = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert learning == {id(p) for p in trainer.model.parameters() if p.requires_grad}


def test_the_teacher_file_is_needed_at_the_start_only(data, tmp_path):
    """It may be moved, or overwritten by a training of the teacher that goes on."""
    teacher = tmp_path / "moving.pth"
    shutil.copy(data / "teacher.pth", teacher)
    cfg = make_cfg(data, tmp_path / "run", MODEL__DISTILL__TEACHER_WEIGHTS=str(teacher))
    trainer = DistillTrainer(cfg)
    first = trainer.state_dict()["teacher"]
    shutil.copy(data / "other.pth", teacher)
    assert trainer.state_dict()["teacher"] == first
    teacher.unlink()
    assert trainer.state_dict()["teacher"] == first


def test_the_student_starts_from_the_teacher(data, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="dld_d2"):
        trainer = DistillTrainer(make_cfg(data, tmp_path))
        trainer.resume_or_load(resume=False)
    assert "The student starts from the teacher's weights" in caplog.text
    expected = load(data, "teacher.pth")["model"]
    student = trainer.model.student.state_dict()
    assert student.keys() == expected.keys()
    assert all(torch.equal(student[name], expected[name]) for name in expected)
    teacher = trainer.model.teacher
    assert teacher is not trainer.model.student and not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    shared = {p.data_ptr() for p in teacher.parameters()}
    assert shared.isdisjoint({p.data_ptr() for p in trainer.model.parameters()})


def test_the_selector_starts_from_what_it_learnt_of_text_sizes(data, tmp_path):
    estimating = {"MODEL__META_ARCHITECTURE": "TextSizeEstimator"}
    cfg = make_cfg(data, tmp_path / "sizes", SOLVER__MAX_ITER=2, **estimating)
    run_training(SpotterTrainer(cfg))
    file = tmp_path / "sizes" / "model_final.pth"
    learnt = load(tmp_path / "sizes")["model"]

    cfg = make_cfg(data, tmp_path / "run", MODEL__DISTILL__SELECTOR__WEIGHTS=str(file))
    selector = DistillTrainer(cfg).model.selector.state_dict()
    plain = DistillTrainer(make_cfg(data, tmp_path / "run")).model.selector.state_dict()
    for name, value in selector.items():
        expected = plain[name] if name.startswith("classifier.") else learnt[f"selector.{name}"]
        assert torch.equal(value, expected), name

    missing = make_cfg(data, tmp_path, MODEL__DISTILL__SELECTOR__WEIGHTS="nowhere.pth")
    with pytest.raises(ConfigError, match=r"SELECTOR\.WEIGHTS: there is no file nowhere\.pth"):
        DistillTrainer(missing)
    teacher = str(data / "teacher.pth")
    other = make_cfg(data, tmp_path, MODEL__DISTILL__SELECTOR__WEIGHTS=teacher)
    with pytest.raises(ConfigError, match=r"SELECTOR\.WEIGHTS: .*teacher\.pth"):
        DistillTrainer(other)


def test_the_selectors_learning_rate(data, tmp_path):
    cfg = make_cfg(data, tmp_path, MODEL__DISTILL__SELECTOR__LR_FACTOR=5.0, SOLVER__BASE_LR=0.01)
    trainer = DistillTrainer(cfg)
    rates = {p: g["initial_lr"] for g in trainer.optimizer.param_groups for p in g["params"]}
    for name, parameter in trainer.model.named_parameters():
        factor = 5 if name.startswith("policy.selector.") else 1
        assert rates[parameter] == pytest.approx(0.01 * factor), name


def test_weights_of_a_distiller_go_before(data, undisturbed, tmp_path):
    weights = str(undisturbed[0] / "model_final.pth")
    trainer = DistillTrainer(make_cfg(data, tmp_path, MODEL__WEIGHTS=weights))
    trainer.resume_or_load(resume=False)
    assert trainer.start_iter == 0
    saved = load(undisturbed[0])["model"]
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_training_moves_student_and_selector(data, undisturbed):
    saved, teacher = load(undisturbed[0])["model"], load(data, "teacher.pth")["model"]
    moved = [n for n, v in teacher.items() if not torch.equal(saved[f"student.{n}"], v)]
    assert len(moved) > 0.9 * len(teacher)
    states = load(undisturbed[0])["trainer"]["_trainer"]["optimizer"]["state"].values()
    assert all(state["step"] == 7 for state in states)
    assert len(states) == sum(1 for _ in undisturbed[1].model.parameters())


def test_logs(undisturbed):
    lines = (undisturbed[0] / "metrics.json").read_text().splitlines()
    last = json.loads(lines[-1])
    losses = {"loss_rec", "loss_roi", "loss_con", "loss_seq", "loss_acc", "loss_flops"}
    assert losses <= set(last)
    assert {"scale/0.5", "scale/0.7", "scale/0.8", "scale/mean_relative_cost"} <= set(last)
    # Step 6 begins with image 12 of 5 per epoch.
    assert last["scale/temperature"] == 5.0 * 0.5**2
    assert undisturbed[1].model.policy.temperature == 5.0 * 0.5**2


@pytest.mark.parametrize(("num_images", "batch"), [(5, 2), (10, 3), (7, 7), (49, 3), (3, 8)])
def test_temperature_follows_the_first_image_of_each_step(num_images, batch):
    class Trainer:
        iter = 0
        storage = type("", (), {"put_scalar": staticmethod(lambda *_, **__: None)})()

    policy = DynamicScale(torch.nn.Identity(), torch.ones(1), temperature=-1.0)
    hook = TemperatureSchedule(
        policy, init=2.0, decay=0.5, num_images=num_images, images_per_batch=batch
    )
    hook.trainer = Trainer()
    epochs = [position // num_images for position in range(40 * num_images)]
    for iteration in range(40 * num_images // batch):
        hook.trainer.iter = iteration
        hook.before_step()
        assert policy.temperature == 2.0 * 0.5 ** epochs[iteration * batch]


def test_a_missing_teacher_is_one_clear_message(data, tmp_path):
    for file, message in (
        ("", "set MODEL.DISTILL.TEACHER_WEIGHTS"),
        ("no.pth", r"no file no\.pth"),
    ):
        with pytest.raises(ConfigError, match=message):
            DistillTrainer(make_cfg(data, tmp_path, MODEL__DISTILL__TEACHER_WEIGHTS=file))
    settings = {
        **SMALL,
        "DATASETS.REGISTER": data / "sets.yaml",
        "OUTPUT_DIR": tmp_path,
        "MODEL.DISTILL.TEACHER_WEIGHTS": "no.pth",
    }
    options = [str(part) for item in settings.items() for part in item]
    failed = spawn("train_net.py", "--config-file", BASE, "--num-gpus", "0", *options)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    message = "train_net.py: MODEL.DISTILL.TEACHER_WEIGHTS: there is no file no.pth"
    assert failed.stderr.splitlines()[-1] == message


def test_another_models_weights_are_no_teacher(data, undisturbed, tmp_path):
    file = str(undisturbed[0] / "model_final.pth")  # of a distiller
    with pytest.raises(ConfigError, match=r"TEACHER_WEIGHTS: .*model_final\.pth: .*this model"):
        DistillTrainer(make_cfg(data, tmp_path, MODEL__DISTILL__TEACHER_WEIGHTS=file))


def test_a_student_of_another_architecture_needs_weights(data, tmp_path):
    changes = {
        "MODEL__DISTILL__TEACHER_OPTS": ("MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
        "MODEL__ROI_BOX_HEAD__FC_DIM": 16,
    }
    with pytest.raises(ConfigError, match=r"TEACHER_OPTS makes them differ.*box_head\.fc1"):
        DistillTrainer(make_cfg(data, tmp_path, **changes))


def test_only_a_distiller_is_distilled(data, tmp_path):
    cfg = make_cfg(data, tmp_path, MODEL__META_ARCHITECTURE="MaskRCNNSpotter")
    with pytest.raises(ConfigError, match=r"META_ARCHITECTURE is MaskRCNNSpotter"):
        DistillTrainer(cfg)


def test_evaluating_needs_no_teacher(data, undisturbed, tmp_path):
    cfg = make_cfg(
        data,
        tmp_path,
        MODEL__DISTILL__TEACHER_WEIGHTS="gone.pth",
        MODEL__WEIGHTS=str(undisturbed[0] / "model_final.pth"),
        DATASETS__TEST=("generated",),
    )
    results = DistillTrainer.evaluate(cfg)
    assert 0 <= results["text_spotting"]["e2e_none_hmean"] <= 1


def test_evaluating_in_training_and_other_policies(data, tmp_path):
    changes = {"MODEL__DISTILL__SELECTION": "random", "SOLVER__MAX_ITER": 2}
    cfg = make_cfg(data, tmp_path, DATASETS__TEST=("generated",), TEST__EVAL_PERIOD=1, **changes)
    trainer = train(cfg)
    assert {name.split(".")[0] for name in load(tmp_path)["model"]} == {"student"}
    assert trainer.model.training and not trainer.model.teacher.training
    last = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert "text_spotting/e2e_none_hmean" in last and "scale/temperature" not in last
