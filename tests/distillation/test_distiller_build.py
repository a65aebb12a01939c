"""From a configuration to a distiller; what cannot be used is named."""

import json

import pytest
import torch
from detectron2.modeling import build_model
from distiller_to_train import aligner_of, distiller_cfg, selector_of, tiny_distiller

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.learning.best_scale import BestScaleLearning
from dld_d2.distillation.learning.gumbel import GumbelLearning
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.selection.policies import DynamicScale, FixedScale, RandomScale

TALL = {"MODEL__ROI_TEXT_HEAD__POOLER_RESOLUTION": (16, 64)}


def test_keys_reach_their_parts():
    distiller = tiny_distiller(
        MODEL__DYNAMIC__SCALES=(0.5, 0.25),
        MODEL__DYNAMIC__SELECTOR__POOLING="mean_max",
        MODEL__DYNAMIC__SELECTOR__INPUT_SCALE=0.5,
        MODEL__DYNAMIC__COST_BIAS=0.8,
        MODEL__DYNAMIC__COST_EXPONENT=2.0,
        MODEL__DISTILL__TERMS=("sequence", "roi"),
        MODEL__DISTILL__ROI__WEIGHT=0.3,
        MODEL__DISTILL__SEQUENCE__WEIGHT=0.5,
        MODEL__DISTILL__SEQUENCE__NUM_SEQUENCES=2,
        MODEL__DISTILL__SEQUENCE__BEAM_WIDTH=4,
        MODEL__DISTILL__SELECTOR__LOSS_WEIGHT=0.1,
        MODEL__DISTILL__SELECTOR__GAMMA=0.6,
        MODEL__DISTILL__SELECTOR__ACCURACY_TARGET="ground_truth",
        MODEL__DISTILL__SELECTOR__LEARNING="best_scale",
        MODEL__DISTILL__SELECTOR__BATCH_FRACTION=0.5,
        MODEL__DISTILL__SELECTOR__TAU_INIT=7.0,
        MODEL__DISTILL__BEST_SCALE__TARGET_TEMPERATURE=0.05,
        MODEL__DISTILL__BEST_SCALE__REGRET_POWER=0.25,
        MODEL__DISTILL__FREEZE_STUDENT=True,
        MODEL__DISTILL__FREEZE_STATISTICS=True,
        MODEL__DISTILL__NO_GRAD_PRECISION="bfloat16",
        MODEL__ROI_TEXT_HEAD__JITTER=0.15,
    )
    student, learning = distiller.student, distiller.learning
    assert student.scales == (0.5, 0.25)
    assert student.relative_cost.tolist() == [0.25, 0.0625]
    assert isinstance(student.policy, DynamicScale) and student.policy.cost_bias == 0.8
    assert selector_of(distiller).input_scale == 0.5
    assert selector_of(distiller).pooling == "mean_max"
    assert selector_of(distiller).classifier.out_features == 2
    assert student.spotter.roi_heads.text_head.jitter == 0.15
    sequence, roi = distiller.terms
    assert (sequence.name, sequence.weight) == ("sequence", 0.5)
    assert (sequence.num_sequences, sequence.beam_width, sequence.max_length) == (2, 4, 32)
    assert (roi.name, roi.weight, roi.aligner) == ("roi", 0.3, None)
    assert isinstance(learning, BestScaleLearning)
    assert (learning.loss_weight, learning.gamma, learning.needs_teacher) == (0.1, 0.6, False)
    assert (learning.batch_fraction, learning.temperature) == (0.5, 7.0)
    assert (learning.target_temperature, learning.regret_power) == (0.05, 0.25)
    assert distiller.freeze_student and distiller.freeze_statistics
    assert distiller.no_grad_precision == torch.bfloat16


def test_the_published_learning_is_the_default():
    learning = tiny_distiller().learning
    assert type(learning) is GumbelLearning
    assert (learning.loss_weight, learning.gamma, learning.temperature) == (1.0, 0.1, 5.0)
    assert learning.needs_teacher and learning.batch_fraction == 1.0


@pytest.mark.parametrize(("policy", "kind"), [("fixed", FixedScale), ("random", RandomScale)])
def test_policies_without_selector(policy, kind):
    distiller = tiny_distiller(MODEL__DYNAMIC__POLICY=policy, MODEL__DYNAMIC__FIXED_SCALE=0.6)
    assert type(distiller.student.policy) is kind and distiller.student.policy.index == 3
    assert selector_of(distiller) is None
    names = {name.split(".")[0] for name in distiller.student.state_dict()}
    assert names == {"spotter", "relative_cost"}


def test_measured_cost_is_near_the_square_of_the_scale():
    student = build_model(distiller_cfg(MODEL__DYNAMIC__COST="measured"))
    square = torch.tensor(student.scales).square()
    assert ((student.relative_cost / square - 1).abs() < 0.1).all()
    assert (student.relative_cost.diff() > 0).all()


def test_measured_cost_where_testing_does_not_resize():
    small = {"MODEL__DYNAMIC__SCALES": (0.5,), "MODEL__DYNAMIC__COST": "measured"}
    student = build_model(distiller_cfg(INPUT__MIN_SIZE_TEST=0, **small))
    assert student.relative_cost.item() == pytest.approx(0.25, rel=0.1)


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
    changes = {"MODEL__DYNAMIC__COST": str(file)}
    student = build_model(distiller_cfg(MODEL__DYNAMIC__SCALES=(0.3, 0.8), **changes))
    torch.testing.assert_close(student.relative_cost, torch.tensor([0.1, 0.7]))
    with pytest.raises(ValueError, match=r"costs\.json: scale 0\.6 was not measured"):
        build_model(distiller_cfg(MODEL__DYNAMIC__SCALES=(0.3, 0.6), **changes))


def test_a_teacher_that_crops_at_twice_the_size():
    distiller = tiny_distiller(teacher=TALL, MODEL__DYNAMIC__POLICY="fixed")
    assert distiller.teacher.roi_heads.text_head.roi_masking.size == (16, 64)
    assert distiller.student.spotter.roi_heads.text_head.roi_masking.size == (8, 32)
    features = torch.zeros(2, 16, 8, 32)
    assert aligner_of(distiller)(features).shape == (2, 16, 16, 64)
    context = next(term for term in distiller.terms if term.name == "context")
    assert context.teacher_rows == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DYNAMIC__SCALES": ()}, r"SCALES: \(\)"),
        ({"DYNAMIC__SCALES": (0.5, 0.5)}, r"SCALES: \(0\.5, 0\.5\) are not different"),
        ({"DYNAMIC__SCALES": (0.5, 1.5)}, r"SCALES.*\(0, 1\]"),
        (
            {"DYNAMIC__POLICY": "fixed", "DYNAMIC__FIXED_SCALE": 0.55},
            r"FIXED_SCALE: 0\.55 is not among SCALES",
        ),
        ({"DYNAMIC__POLICY": "dynamicc"}, r"POLICY: 'dynamicc' is none of"),
        ({"DYNAMIC__SPOTTER": "MaskRCNN"}, r"SPOTTER: there is no spotter 'MaskRCNN'.*Spotter"),
        ({"DYNAMIC__COST": "no/file.json"}, r"DYNAMIC\.COST: 'no/file\.json' is neither"),
        ({"DYNAMIC__SELECTOR__INPUT_SCALE": 2.0}, r"SELECTOR\.INPUT_SCALE is 2\.0.*\(0, 1\]"),
        ({"DYNAMIC__SELECTOR__POOLING": "max"}, r"POOLING is 'max'; known are mean, mean_max"),
        ({"ROI_TEXT_HEAD__NAME": "Reader"}, r"text head 'Reader'; registered are Attention"),
        ({"DISTILL__NO_GRAD_PRECISION": "int8"}, r"NO_GRAD_PRECISION: 'int8' is not one of float"),
        ({"DISTILL__ROI__WEIGHT": 0.0}, r"ROI\.WEIGHT is 0\.0.*take \"roi\" out of .*TERMS"),
        ({"DISTILL__CONTEXT__WEIGHT": -1.0}, r"CONTEXT\.WEIGHT is -1\.0"),
        ({"DISTILL__FREEZE_STUDENT": True, "DYNAMIC__POLICY": "fixed"}, r"leaves nothing to learn"),
        ({"DISTILL__SEQUENCE__NUM_SEQUENCES": 4}, r"NUM_SEQUENCES is 4.*BEAM_WIDTH, 3"),
        ({"DISTILL__SELECTOR__LEARNING": "best"}, r"LEARNING: 'best' is none of best_scale, gum"),
        ({"DISTILL__SELECTOR__LOSS_WEIGHT": 0.0}, r"LOSS_WEIGHT is 0\.0"),
        ({"DISTILL__SELECTOR__GAMMA": -0.1}, r"SELECTOR\.GAMMA is -0\.1"),
        ({"DISTILL__SELECTOR__TAU_INIT": 0.0}, r"TAU_INIT is 0\.0"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named(changes, message):
    # As by a script that sets keys itself; `setup_cfg` refuses most of these at once.
    cfg = distiller_cfg()
    cfg.defrost()
    cfg.merge_from_list(
        [
            part
            for key, value in changes.items()
            for part in (f"MODEL.{key}".replace("__", "."), value)
        ]
    )
    with pytest.raises(ValueError, match=message):
        Distiller(cfg, build_model(cfg), build_spotter(cfg))


def test_a_tall_student_cannot_be_compared_with_a_taller_teacher():
    with pytest.raises(ValueError, match=r"L_con: .*one row"):
        tiny_distiller(teacher={"MODEL__ROI_TEXT_HEAD__POOLER_RESOLUTION": (32, 128)}, **TALL)


def test_a_teacher_of_another_vocabulary_is_refused(tmp_path):
    (tmp_path / "letters.txt").write_text("abc")
    with pytest.raises(ValueError, match=r"read other characters; MODEL\.RECOGNITION\.VOCABULARY"):
        tiny_distiller(teacher={"MODEL__RECOGNITION__VOCABULARY": str(tmp_path / "letters.txt")})
