"""Training students by teachers of another model: a deeper one, and one of two resolutions."""

import pytest
import torch
from runs import StopAt, load, run_training, tensors
from tiny_distillation import make_cfg, train, write_teacher_config

from dld_d2.commands import export
from dld_d2.deployment import TextSpotter
from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.setup import ConfigError, setup_cfg
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.build import build_spotter

HALF = {"MODEL__DYNAMIC__POLICY": "fixed", "MODEL__DYNAMIC__FIXED_SCALE": 0.5}
RESNET_50 = {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 32,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.FPN.OUT_CHANNELS": 24,
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM": 24,
    "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM": 20,
}
TERMS = ("roi", "context", "sequence", "hint", "pyramid")


@pytest.fixture(scope="module")
def deep(data, tmp_path_factory):
    """Keys of a ResNet-50 teacher with its weights, and weights of a ResNet-18 spotter."""
    folder = tmp_path_factory.mktemp("deep")
    file = write_teacher_config(folder / "deep.yaml", **RESNET_50)
    torch.manual_seed(5)
    torch.save({"model": build_spotter(setup_cfg(file)).state_dict()}, folder / "deep.pth")
    own = build_spotter(make_cfg(data, folder)).state_dict()
    torch.save({"model": own}, folder / "small.pth")
    return {
        **HALF,
        "MODEL__DISTILL__TERMS": TERMS,
        "MODEL__DISTILL__TEACHER_CONFIG": file,
        "MODEL__DISTILL__TEACHER_WEIGHTS": str(folder / "deep.pth"),
        "MODEL__DISTILL__STUDENT_WEIGHTS": str(folder / "small.pth"),
    }


def test_a_deeper_teacher_into_a_small_student(data, deep, tmp_path, capsys):
    """Started, stopped, resumed, and exported without the layers that only distillation has."""
    with pytest.raises(KeyboardInterrupt):
        train(make_cfg(data, tmp_path / "stopped", **deep), False, StopAt(5))
    trainer = train(make_cfg(data, tmp_path / "stopped", **deep), True)
    assert trainer.start_iter == 3
    assert trainer.model.teacher.backbone.bottom_up.res5[0].conv3.out_channels == 256
    train(make_cfg(data, tmp_path / "whole", **deep))
    found, expected = tensors(load(tmp_path / "stopped")), tensors(load(tmp_path / "whole"))
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name

    saved = load(tmp_path / "whole")
    adapters = {name.partition(".")[0] for name in saved["terms"]}
    assert adapters == {"0", "1", "3", "4"}  # all but that of L_seq
    learning = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in trainer.model.terms.parameters()} < learning
    fresh = DistillTrainer(make_cfg(data, tmp_path / "fresh", **deep)).model.terms.state_dict()
    assert all(not torch.equal(saved["terms"][name], value) for name, value in fresh.items())

    cfg = make_cfg(data, tmp_path, **deep)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    file = tmp_path / "student.safetensors"
    weights = ["--weights", str(tmp_path / "whole" / "model_final.pth")]
    arguments = ["--config-file", str(tmp_path / "config.yaml"), *weights, "--output", str(file)]
    assert export.main(arguments) == 0, capsys.readouterr().err
    exported = {n for n, _ in TextSpotter.from_file(file).model.named_parameters()}
    assert len(exported) > 100
    assert exported <= {n for n, _ in trainer.model.student.named_parameters()}


def test_the_student_starts_from_weights_of_its_own(data, deep, tmp_path):
    def start(**changes):
        trainer = DistillTrainer(make_cfg(data, tmp_path, **deep | changes))
        return trainer.model.student.spotter.state_dict()

    expected = torch.load(deep["MODEL__DISTILL__STUDENT_WEIGHTS"], weights_only=True)["model"]
    found = start()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    # Those of a student are as good.
    whole = {f"spotter.{name}": value for name, value in expected.items()}
    torch.save({"model": whole | {"relative_cost": torch.ones(3)}}, tmp_path / "student.pth")
    again = start(MODEL__DISTILL__STUDENT_WEIGHTS=str(tmp_path / "student.pth"))
    assert all(torch.equal(again[name], expected[name]) for name in found)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("nowhere.pth", r"STUDENT_WEIGHTS: there is no file nowhere\.pth"),
        ("TEACHER_WEIGHTS", r"STUDENT_WEIGHTS: .*deep\.pth: .*of another model"),
        ("", r"other models .*STUDENT_WEIGHTS"),
    ],
)
def test_what_it_cannot_start_from_is_named(data, deep, tmp_path, file, message):
    file = deep.get(f"MODEL__DISTILL__{file}", file)
    cfg = make_cfg(data, tmp_path, **deep | {"MODEL__DISTILL__STUDENT_WEIGHTS": file})
    with pytest.raises(ConfigError, match=message):
        DistillTrainer(cfg)


def test_a_teacher_of_two_resolutions_is_no_student(data, tmp_path):
    changes = {**HALF, "MODEL__DYNAMIC__SPOTTER": "MultiScaleTeacher"}
    with pytest.raises(
        ConfigError, match=r"DYNAMIC\.SPOTTER: a MultiScaleTeacher teaches and is no"
    ):
        DistillTrainer(make_cfg(data, tmp_path, **changes))


def test_a_teacher_of_two_resolutions(data, tmp_path):
    """Trained, and a student by it, which starts from its weights without the gate."""
    name = {"MODEL.META_ARCHITECTURE": "MultiScaleTeacher"}
    first = {"MODEL__META_ARCHITECTURE": "MultiScaleTeacher", "SOLVER__MAX_ITER": 2}
    run_training(SpotterTrainer(make_cfg(data, tmp_path / "teacher", **first)))
    weights = load(tmp_path / "teacher")["model"]
    assert {n for n in weights if n.startswith("gate.")} == {
        "gate.layers.0.weight",
        "gate.layers.2.weight",
    }
    changes = {
        **HALF,
        "MODEL__DISTILL__TERMS": ("pyramid",),
        "MODEL__DISTILL__TEACHER_CONFIG": write_teacher_config(tmp_path / "teacher.yaml", **name),
        "MODEL__DISTILL__TEACHER_WEIGHTS": str(tmp_path / "teacher" / "model_final.pth"),
        "SOLVER__MAX_ITER": 2,
    }
    trainer = DistillTrainer(make_cfg(data, tmp_path / "student", **changes))
    student = trainer.model.student.spotter.state_dict()
    assert student.keys() == {n for n in weights if not n.startswith("gate.")}
    assert all(torch.equal(student[n], weights[n]) for n in student)
    run_training(trainer)
    assert "loss_pyramid" in (tmp_path / "student" / "metrics.json").read_text()
