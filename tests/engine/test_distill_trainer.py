"""Training the distiller: resuming, what checkpoints hold, where the student starts."""

import json
import logging
import shutil
import signal
from pathlib import Path

import pytest
import torch
from runs import StopAt, assert_same, load, run_training, spawn, tensors
from tiny_distillation import BASE, SMALL, make_cfg, train, write_teacher_config
from torch import nn

from dld_d2.distillation.learning.gumbel import GumbelLearning
from dld_d2.engine.distill_trainer import DistillTrainer, TemperatureSchedule, teacher_cfg
from dld_d2.engine.setup import ConfigError
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.dynamic_spotter import DynamicSpotter

SCRIPT = str(Path(__file__).with_name("tiny_distillation.py"))


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
    assert trainer.model.learning.temperature == undisturbed[1].model.learning.temperature
    expected, found = tensors(load(undisturbed[0])), tensors(load(tmp_path))
    assert expected.keys() == found.keys()
    assert any("policy.selector" in name for name in found)
    assert any("exp_avg" in name for name in found)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def larger_teacher(data):
    """Options for a teacher with twice as large features of a region."""
    return [
        *("MODEL.DISTILL.TEACHER_CONFIG", str(data / "larger.yaml")),
        *("MODEL.DISTILL.TEACHER_WEIGHTS", str(data / "larger.pth")),
    ]


def test_the_terms_adapters_are_resumed_too(data, tmp_path):
    opts = larger_teacher(data)
    with pytest.raises(KeyboardInterrupt):
        train(make_cfg(data, tmp_path / "stopped", *opts), False, StopAt(5))
    assert (tmp_path / "stopped" / "last_checkpoint").read_text() == "model_0000002.pth"
    train(make_cfg(data, tmp_path / "stopped", *opts), True)
    trainer = train(make_cfg(data, tmp_path / "whole", *opts))
    expected, found = load(tmp_path / "whole"), load(tmp_path / "stopped")
    assert set(expected["terms"]) == {"0.aligner.weight", "0.aligner.bias"}
    assert {name.split(".")[0] for name in expected["model"]} == {
        "spotter",
        "policy",
        "relative_cost",
    }
    expected, found = tensors(expected), tensors(found)
    assert expected.keys() == found.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    # They learn with the student, and are left behind.
    fresh = DistillTrainer(make_cfg(data, tmp_path / "fresh", *opts)).model.terms[0].aligner
    assert not torch.equal(fresh.weight, expected[".terms.0.aligner.weight"])
    assert type(trainer.deployed(trainer.model)) is DynamicSpotter


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
    assert {name.split(".")[0] for name in saved["model"]} == {"spotter", "policy", "relative_cost"}
    assert set(saved) >= {"model", "terms", "trainer", "iteration"}
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
    student = trainer.model.student.spotter.state_dict()
    assert student.keys() == expected.keys()
    assert all(torch.equal(student[name], expected[name]) for name in expected)
    teacher = trainer.model.teacher
    assert teacher is not trainer.model.student.spotter and not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    shared = {p.data_ptr() for p in teacher.parameters()}
    assert shared.isdisjoint({p.data_ptr() for p in trainer.model.parameters()})


def test_the_selector_starts_from_what_it_learnt_of_text_sizes(data, tmp_path):
    estimating = {"MODEL__META_ARCHITECTURE": "TextSizeEstimator"}
    cfg = make_cfg(data, tmp_path / "sizes", SOLVER__MAX_ITER=2, **estimating)
    run_training(SpotterTrainer(cfg))
    file = tmp_path / "sizes" / "model_final.pth"
    learnt = load(tmp_path / "sizes")["model"]

    # Of other scales than the estimator was configured with.
    scales = {"MODEL__DYNAMIC__SCALES": (0.3, 0.5, 0.6, 0.9, 1.0)}
    cfg = make_cfg(data, tmp_path / "run", MODEL__DISTILL__SELECTOR__WEIGHTS=str(file), **scales)
    selector = DistillTrainer(cfg).model.student.policy.selector.state_dict()
    fresh = DistillTrainer(make_cfg(data, tmp_path / "run", **scales))
    plain = fresh.model.student.policy.selector.state_dict()
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
        factor = 5 if name.startswith("student.policy.selector.") else 1
        assert rates[parameter] == pytest.approx(0.01 * factor), name


def test_weights_of_a_dynamic_spotter_go_before(data, undisturbed, tmp_path):
    weights = str(undisturbed[0] / "model_final.pth")
    trainer = DistillTrainer(make_cfg(data, tmp_path, MODEL__WEIGHTS=weights))
    trainer.resume_or_load(resume=False)
    assert trainer.start_iter == 0
    saved = load(undisturbed[0])["model"]
    state = trainer.model.student.state_dict()
    assert state.keys() == saved.keys()
    for name, value in state.items():
        assert torch.equal(value, saved[name]), name


def test_training_moves_student_and_selector(data, undisturbed):
    saved, teacher = load(undisturbed[0])["model"], load(data, "teacher.pth")["model"]
    moved = [n for n, v in teacher.items() if not torch.equal(saved[f"spotter.{n}"], v)]
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
    assert undisturbed[1].model.learning.temperature == 5.0 * 0.5**2


@pytest.mark.parametrize(("num_images", "batch"), [(5, 2), (10, 3), (7, 7), (49, 3), (3, 8)])
def test_temperature_follows_the_first_image_of_each_step(num_images, batch):
    class Trainer:
        iter = 0
        storage = type("", (), {"put_scalar": staticmethod(lambda *_, **__: None)})()

    learning = GumbelLearning(temperature=1e9)
    hook = TemperatureSchedule(
        learning, init=2.0, decay=0.5, num_images=num_images, images_per_batch=batch
    )
    hook.trainer = Trainer()
    epochs = [position // num_images for position in range(40 * num_images)]
    for iteration in range(40 * num_images // batch):
        hook.trainer.iter = iteration
        hook.before_step()
        assert learning.temperature == 2.0 * 0.5 ** epochs[iteration * batch]


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
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    message = "error: MODEL.DISTILL.TEACHER_WEIGHTS: there is no file no.pth"
    assert failed.stderr.startswith(message) and failed.stderr.count("\n") == 1


def test_a_student_may_teach(data, undisturbed, tmp_path):
    file = str(undisturbed[0] / "model_final.pth")  # of a DynamicSpotter
    trainer = DistillTrainer(make_cfg(data, tmp_path, MODEL__DISTILL__TEACHER_WEIGHTS=file))
    learnt = load(undisturbed[0])["model"]
    teacher = trainer.model.teacher.state_dict()
    assert teacher.keys() == {n.removeprefix("spotter.") for n in learnt if n.startswith("spotter")}
    for name, value in teacher.items():
        assert torch.equal(value, learnt[f"spotter.{name}"]), name


def test_another_models_weights_are_no_teacher(data, undisturbed, tmp_path):
    learnt = load(undisturbed[0])
    learnt["model"] = {f"other.{name}": value for name, value in learnt["model"].items()}
    file = str(tmp_path / "other_model.pth")
    torch.save(learnt, file)
    with pytest.raises(ConfigError, match=r"TEACHER_WEIGHTS: .*other_model\.pth: .*this model"):
        DistillTrainer(make_cfg(data, tmp_path, MODEL__DISTILL__TEACHER_WEIGHTS=file))


def test_a_student_of_another_architecture_needs_weights(data, tmp_path):
    file = write_teacher_config(tmp_path / "teacher.yaml")
    changes = {"MODEL__DISTILL__TEACHER_CONFIG": file, "MODEL__ROI_BOX_HEAD__FC_DIM": 16}
    with pytest.raises(ConfigError, match=r"other models \(.*TEACHER_CONFIG\).*box_head\.fc1"):
        DistillTrainer(make_cfg(data, tmp_path, **changes))
    # With weights of its own it is welcome.
    cfg = make_cfg(data, tmp_path / "run", SOLVER__MAX_ITER=2, **changes)
    student = DynamicSpotter(cfg)
    torch.save({"model": student.state_dict()}, tmp_path / "student.pth")
    weights = ("MODEL.WEIGHTS", str(tmp_path / "student.pth"))
    trainer = train(make_cfg(data, tmp_path / "run", *weights, SOLVER__MAX_ITER=2, **changes))
    assert trainer.model.student.spotter.roi_heads.box_head.fc1.out_features == 16
    assert trainer.model.teacher.roi_heads.box_head.fc1.out_features == 32


def test_the_teachers_configuration(data, tmp_path):
    plain = make_cfg(data, tmp_path)
    assert teacher_cfg(plain) is plain
    teacher = teacher_cfg(make_cfg(data, tmp_path, *larger_teacher(data)))
    assert teacher.MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION == (16, 64)
    assert teacher.MODEL.DYNAMIC.SPOTTER == "MaskRCNNSpotter"
    assert teacher.is_frozen()
    (tmp_path / "wrong.yaml").write_text("MODEL:\n  WEIGTHS: x\n")
    for name in ("wrong.yaml", "nowhere.yaml"):
        cfg = make_cfg(data, tmp_path, MODEL__DISTILL__TEACHER_CONFIG=str(tmp_path / name))
        with pytest.raises(ConfigError, match=rf"MODEL\.DISTILL\.TEACHER_CONFIG: .*{name}"):
            teacher_cfg(cfg)


def test_only_a_dynamic_spotter_is_distilled(data, tmp_path):
    cfg = make_cfg(data, tmp_path, MODEL__META_ARCHITECTURE="MaskRCNNSpotter")
    with pytest.raises(ConfigError, match=r"META_ARCHITECTURE is MaskRCNNSpotter.*DynamicSpotter"):
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


@pytest.mark.parametrize(
    "frozen",
    [{"MODEL__DISTILL__FREEZE_STATISTICS": True}, {"MODEL__DISTILL__FREEZE_STUDENT": True}],
)
def test_evaluating_in_training_changes_nothing(data, tmp_path, frozen):
    """What is frozen stays frozen after it."""
    changes = {"SOLVER__MAX_ITER": 3, **frozen}
    train(make_cfg(data, tmp_path / "without", **changes))
    changes |= {"DATASETS__TEST": ("generated",), "TEST__EVAL_PERIOD": 1}
    trainer = train(make_cfg(data, tmp_path / "with", **changes))
    assert_same(load(tmp_path / "without"), load(tmp_path / "with"))
    norms = [m for m in trainer.model.student.spotter.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)


def test_evaluating_in_training_and_other_policies(data, tmp_path):
    changes = {"MODEL__DYNAMIC__POLICY": "random", "SOLVER__MAX_ITER": 2}
    cfg = make_cfg(data, tmp_path, DATASETS__TEST=("generated",), TEST__EVAL_PERIOD=1, **changes)
    trainer = train(cfg)
    assert {name.split(".")[0] for name in load(tmp_path)["model"]} == {"spotter", "relative_cost"}
    model = trainer.model
    assert model.training and model.student.training and not model.teacher.training
    last = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert "text_spotting/e2e_none_hmean" in last and "scale/temperature" not in last
