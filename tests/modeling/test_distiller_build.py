"""From a configuration to a distiller; what cannot be used is named."""

import json

import pytest
import torch
from detectron2.modeling import build_model
from distiller_to_train import distiller_cfg, tiny_distiller

from dld_d2.modeling.distillation import (
    DistillationSettings,
    DynamicScale,
    FixedScale,
    RandomScale,
    build_spotter,
    teacher_cfg,
)


def test_keys_reach_their_parts():
    distiller = tiny_distiller(
        teacher=False,
        MODEL__DISTILL__SCALES=(0.5, 0.25),
        MODEL__DISTILL__DRS_WEIGHT=0.1,
        MODEL__DISTILL__SKD_WEIGHT=0.2,
        MODEL__DISTILL__ROI_WEIGHT=0.3,
        MODEL__DISTILL__CONTEXT_WEIGHT=0.4,
        MODEL__DISTILL__SEQUENCE_WEIGHT=0.5,
        MODEL__DISTILL__SELECTOR__GAMMA=0.6,
        MODEL__DISTILL__SELECTOR__ACCURACY_TARGET="ground_truth",
        MODEL__DISTILL__SELECTOR__ESTIMATOR="best_scale",
        MODEL__DISTILL__SELECTOR__TARGET_TEMPERATURE=0.05,
        MODEL__DISTILL__SELECTOR__REGRET_POWER=0.25,
        MODEL__DISTILL__SELECTOR__BATCH_FRACTION=0.5,
        MODEL__DISTILL__SELECTOR__POOLING="mean_max",
        MODEL__DISTILL__SELECTOR__TAU_INIT=7.0,
        MODEL__DISTILL__SELECTOR__COST_BIAS=0.8,
        MODEL__DISTILL__SELECTOR__COST_EXPONENT=2.0,
        MODEL__DISTILL__SELECTOR__INPUT_SCALE=0.5,
        MODEL__RECOGNITION__ROI__JITTER=0.15,
        MODEL__DISTILL__FREEZE_STUDENT=True,
        MODEL__DISTILL__NUM_SEQUENCES=2,
        MODEL__DISTILL__BEAM_WIDTH=4,
        MODEL__DISTILL__NO_GRAD_PRECISION="bfloat16",
    )
    assert distiller.scales == (0.5, 0.25)
    assert distiller.relative_cost.tolist() == [0.25, 0.0625]
    assert distiller.settings == DistillationSettings(
        *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
        *("ground_truth", "best_scale", 0.05, 0.25, 0.5),
        *(0.15, False, True, 2, 4, torch.bfloat16),
    )
    policy = distiller.policy
    assert isinstance(policy, DynamicScale)
    assert (policy.temperature, policy.cost_bias) == (7.0, 0.8)
    assert policy.relative_cost.tolist() == [0.25, 0.0625]
    assert distiller.selector.input_scale == 0.5
    assert distiller.selector.pooling == "mean_max"
    assert distiller.selector.classifier.out_features == 2


@pytest.mark.parametrize(("selection", "kind"), [("fixed", FixedScale), ("random", RandomScale)])
def test_policies_without_selector(selection, kind):
    distiller = tiny_distiller(
        teacher=False, MODEL__DISTILL__SELECTION=selection, MODEL__DISTILL__FIXED_SCALE=0.6
    )
    assert type(distiller.policy) is kind and distiller.policy.index == 3
    assert distiller.selector is None
    assert all(name.startswith("student.") for name in distiller.state_dict())


def test_measured_cost_is_near_the_square_of_the_scale():
    distiller = tiny_distiller(teacher=False, MODEL__DISTILL__SELECTOR__COST="measured")
    square = torch.tensor(distiller.scales).square()
    assert ((distiller.relative_cost / square - 1).abs() < 0.1).all()
    assert (distiller.relative_cost.diff() > 0).all()


def test_measured_cost_where_testing_does_not_resize():
    small = {"MODEL__DISTILL__SCALES": (0.5,), "MODEL__DISTILL__SELECTOR__COST": "measured"}
    distiller = tiny_distiller(teacher=False, INPUT__MIN_SIZE_TEST=0, **small)
    assert distiller.relative_cost.item() == pytest.approx(0.25, rel=0.1)


def test_cost_from_a_file(tmp_path):
    file = tmp_path / "costs.json"
    content = {
        "kind": "dld_d2 scale costs",
        "version": 1,
        "unit": "multiply-adds",
        "scales": [0.8, 0.5, 0.3],
        "cost": [7.0, 3.0, 1.0],
        "full_cost": 10.0,
        "counts": "published",
        "num_images": 1,
        "config": "",
        "config_sha256": "",
        "workload": {"num_proposals": 0, "num_regions": 0, "num_characters": 0},
        "relative": [0.7, 0.3, 0.1],
    }
    file.write_text(json.dumps(content))
    changes = {"teacher": False, "MODEL__DISTILL__SELECTOR__COST": str(file)}
    distiller = tiny_distiller(MODEL__DISTILL__SCALES=(0.3, 0.8), **changes)
    torch.testing.assert_close(distiller.relative_cost, torch.tensor([0.1, 0.7]))
    with pytest.raises(ValueError, match=r"costs\.json: scale 0\.6 was not measured"):
        tiny_distiller(MODEL__DISTILL__SCALES=(0.3, 0.6), **changes)


def test_the_teacher_differs_where_told():
    cfg = distiller_cfg(
        MODEL__DISTILL__TEACHER_OPTS=("MODEL.RECOGNITION.ROI.SIZE", "(16, 64)"),
        MODEL__DISTILL__SELECTION="fixed",
    )
    other = teacher_cfg(cfg)
    assert other.MODEL.RECOGNITION.ROI.SIZE == (16, 64)
    assert cfg.MODEL.RECOGNITION.ROI.SIZE == (8, 32)
    assert build_spotter(other).recognition.roi_masking.size == (16, 64)
    distiller = build_model(cfg)
    assert distiller.student.recognition.roi_masking.size == (8, 32)
    assert distiller.aligner is not None
    features = torch.zeros(2, 16, 8, 32)
    assert distiller.aligner(features).shape == (2, 16, 16, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SCALES": ()}, r"SCALES: \(\)"),
        ({"SCALES": (0.5, 0.5)}, r"SCALES: \(0\.5, 0\.5\) are not different"),
        ({"SCALES": (0.5, 1.5)}, r"SCALES.*\(0, 1\]"),
        ({"SELECTION": "fixed", "FIXED_SCALE": 0.55}, r"FIXED_SCALE: 0\.55 is not among SCALES"),
        ({"SELECTION": "dynamicc"}, r"SELECTION: 'dynamicc' is none of"),
        ({"NO_GRAD_PRECISION": "int8"}, r"NO_GRAD_PRECISION: 'int8' is not one of float32"),
        ({"SPOTTER": "MaskRCNN"}, r"SPOTTER: there is no meta-architecture 'MaskRCNN'"),
        ({"DRS_WEIGHT": 0.0}, r"DRS_WEIGHT must be above 0"),
        ({"SKD_WEIGHT": -1.0}, r"SKD_WEIGHT is -1\.0"),
        ({"FREEZE_STUDENT": True, "SELECTION": "fixed"}, r"FREEZE_STUDENT leaves nothing"),
        ({"NUM_SEQUENCES": 4}, r"NUM_SEQUENCES is 4.*BEAM_WIDTH, 3"),
        ({"SELECTOR__ACCURACY_TARGET": "truth"}, r"ACCURACY_TARGET.*'truth'"),
        ({"SELECTOR__ESTIMATOR": "best"}, r"ESTIMATOR.*'best'"),
        ({"SELECTOR__TARGET_TEMPERATURE": 0.0}, r"TARGET_TEMPERATURE must be above 0"),
        ({"SELECTOR__GAMMA": -0.1}, r"SELECTOR\.GAMMA is -0\.1"),
        ({"SELECTOR__TAU_INIT": 0.0}, r"TAU_INIT is 0\.0"),
        ({"SELECTOR__TAU_DECAY": -0.9}, r"TAU_DECAY is -0\.9"),
        ({"SELECTOR__REGRET_POWER": 1.5}, r"REGRET_POWER must be in \[0, 1\], got 1\.5"),
        ({"SELECTOR__BATCH_FRACTION": 0.0}, r"BATCH_FRACTION must be in \(0, 1\]"),
        ({"SELECTOR__COST": "no/file.json"}, r"SELECTOR\.COST: 'no/file\.json' is neither"),
        ({"SELECTOR__INPUT_SCALE": 2.0}, r"input_scale is 2\.0"),
        ({"TEACHER_OPTS": ("MODEL.NOTHING", "1")}, r"TEACHER_OPTS: .*NOTHING"),
        ({"TEACHER_OPTS": ("MODEL.RECOGNITION.NORM",)}, r"TEACHER_OPTS"),
        (
            {"TEACHER_OPTS": ("MODEL.RECOGNITION.ROI.SIZE", "(16, 32)")},
            r"ROI\.SIZE is \(8, 32\) for the student and \(16, 32\)",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named(changes, message):
    cfg = distiller_cfg(**{f"MODEL__DISTILL__{key}": value for key, value in changes.items()})
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


def test_a_tall_student_has_no_aligned_teacher():
    cfg = distiller_cfg(
        MODEL__RECOGNITION__ROI__SIZE=(16, 64),
        MODEL__DISTILL__TEACHER_OPTS=("MODEL.RECOGNITION.ROI.SIZE", "(32, 128)"),
    )
    with pytest.raises(ValueError, match=r"ROI\.SIZE is \(16, 64\).*one row"):
        build_model(cfg)


def test_two_half_precisions_do_not_mix():
    cfg = distiller_cfg(
        MODEL__DISTILL__NO_GRAD_PRECISION="bfloat16",
        SOLVER__AMP__ENABLED=True,
        SOLVER__AMP__PRECISION="float16",
    )
    with pytest.raises(ValueError, match=r"NO_GRAD_PRECISION: bfloat16.*float16"):
        build_model(cfg)
