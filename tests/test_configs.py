"""The configuration files: all load, the published settings are in them, distillers build."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

import dld_d2.modeling  # noqa: F401  (registers the models)
from dld_d2.data import builtin  # noqa: F401  (registers the data sets)
from dld_d2.engine.schedule import epoch_schedule
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.distillation import (
    DynamicResolutionDistiller,
    DynamicScale,
    FixedScale,
    RandomScale,
    build_spotter,
    teacher_cfg,
)

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.yaml"))
ALL_SCALES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SHORT_SIDES = {"ic13": 768, "ic15": 1280, "tt": 896}
NAMES = {"ic13": "icdar2013", "ic15": "icdar2015", "tt": "totaltext"}
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_narrow_resnet_fpn_backbone",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.CONV_DIMS": [16],
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.RECOGNITION.NORM": "BN",
    "MODEL.RECOGNITION.ROI.CONV_DIM": 16,
    "MODEL.RECOGNITION.ENCODER.CONV_DIM": 16,
    "MODEL.RECOGNITION.CONTEXT.HIDDEN_DIM": 16,
    "MODEL.RECOGNITION.DECODER.HIDDEN_DIM": 16,
    "MODEL.DISTILL.SELECTOR.COST": "power",  # measuring takes seconds
}


def load(file, **changes) -> CfgNode:
    return setup_cfg(str(CONFIGS / file), [str(x) for item in changes.items() for x in item])


def names_of(prefix):
    return [file for file in FILES if Path(file).name.startswith(prefix)]


@pytest.mark.parametrize("file", FILES)
def test_every_file_loads(file):
    cfg = load(file)
    assert CONFIGS.joinpath(file).read_text().startswith("#"), "says what it is for"
    assert Path(cfg.OUTPUT_DIR).parts[0] == "output" or "Base-" in file


def test_output_directories_are_different():
    directories = [load(file).OUTPUT_DIR for file in FILES if "Base-" not in file]
    assert len(set(directories)) == len(directories)


@pytest.mark.parametrize("gamma", [0.1, 0.3])
@pytest.mark.parametrize("data", SHORT_SIDES)
def test_published_settings(data, gamma):
    cfg = load(f"dld_{data}.yaml" if gamma == 0.1 else f"dld_{data}_gamma{gamma}.yaml")
    assert cfg.MODEL.META_ARCHITECTURE == "DynamicResolutionDistiller"
    assert (f"{NAMES[data]}_train",) == cfg.DATASETS.TRAIN
    assert (f"{NAMES[data]}_test",) == cfg.DATASETS.TEST
    assert cfg.INPUT.AUG.BASE_SHORT_SIDE == cfg.INPUT.MIN_SIZE_TEST == SHORT_SIDES[data]
    assert (cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TEST) == (1600, 3000)
    assert cfg.INPUT.AUG.SCALE_RANGE == (0.3, 1.0)

    solver = cfg.SOLVER
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.WEIGHT_DECAY) == ("ADAMW", 1e-3, 0.0)
    assert (solver.IMS_PER_BATCH, solver.REFERENCE_WORLD_SIZE) == (3 * 8, 8)
    assert (solver.EPOCHS, solver.STEP_EPOCHS, solver.GAMMA) == (50, (30, 40), 0.1)
    assert solver.CLIP_TOTAL_NORM == 35.0

    distill = cfg.MODEL.DISTILL
    assert distill.SCALES == ALL_SCALES and distill.SELECTION == "dynamic"
    weights = ("DRS_WEIGHT", "SKD_WEIGHT", "ROI_WEIGHT", "CONTEXT_WEIGHT", "SEQUENCE_WEIGHT")
    assert [distill[name] for name in weights] == [1.0] * 5
    assert cfg.MODEL.RECOGNITION.LOSS_WEIGHT == 1.0
    assert distill.NUM_SEQUENCES == 1
    assert f"{load('teacher_mixed.yaml').OUTPUT_DIR}/model_final.pth" == distill.TEACHER_WEIGHTS
    selector = distill.SELECTOR
    assert gamma == selector.GAMMA
    assert (selector.TAU_INIT, selector.TAU_DECAY) == (5.0, 0.965)
    assert selector.CHANNELS == (32, 64, 128, 256)
    assert selector.ACCURACY_TARGET == "teacher" and selector.COST == "measured"
    assert selector.COST_BIAS == 0.0

    assert (cfg.TEST.MASK_THRESH, cfg.TEST.POLYGON_TOLERANCE) == (0.5, 0.01)
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.5
    assert cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST == 0.3
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 100


@pytest.mark.parametrize(("data", "images"), [("ic13", 229), ("ic15", 1000), ("tt", 1255)])
def test_warming_up_is_a_small_part_of_training(data, images):
    solver = load(f"dld_{data}.yaml").SOLVER
    schedule = epoch_schedule(images, solver.IMS_PER_BATCH, epochs=solver.EPOCHS)
    assert 0.25 * schedule.max_iter > solver.WARMUP_ITERS


def test_published_teacher():
    cfg = load("teacher_mixed.yaml")
    assert cfg.MODEL.META_ARCHITECTURE == "MaskRCNNSpotter"
    assert (cfg.SOLVER.EPOCHS, cfg.SOLVER.STEP_EPOCHS) == (100, (60, 80))
    assert cfg.SOLVER.WARMUP_ITERS == 500
    assert len(cfg.DATASETS.TRAIN) == 4


@pytest.mark.parametrize(
    ("pattern", "key", "value"),
    [
        ("drs_only_{}", "SKD_WEIGHT", 0.0),
        ("drs_only_{}", "SELECTION", "dynamic"),
        ("drs_only_{}_gamma0.3", "SKD_WEIGHT", 0.0),
        ("drs_only_{}_gamma0.3", "SELECTOR.GAMMA", 0.3),
        ("skd_only_{}", "SELECTION", "fixed"),
        ("skd_only_{}", "FIXED_SCALE", 0.5),
        ("skd_only_{}", "SKD_WEIGHT", 1.0),
    ],
)
@pytest.mark.parametrize("data", SHORT_SIDES)
def test_the_compared_settings(pattern, key, value, data):
    cfg = load(f"ablations/{pattern.format(data)}.yaml")
    distill = cfg.MODEL.DISTILL
    for part in key.split("."):
        distill = distill[part]
    assert distill == value
    assert SHORT_SIDES[data] == cfg.INPUT.MIN_SIZE_TEST


@pytest.mark.parametrize("data", SHORT_SIDES)
def test_vanilla_at_half_resolution(data):
    cfg = load(f"ablations/vanilla_half_{data}.yaml")
    assert cfg.MODEL.META_ARCHITECTURE == "MaskRCNNSpotter"
    assert SHORT_SIDES[data] // 2 == cfg.INPUT.MIN_SIZE_TEST
    assert (f"{NAMES[data]}_test",) == cfg.DATASETS.TEST


ABLATIONS = {
    "scales_half_tt": {"SCALES": (0.5,)},
    "scales_high_tt": {"SCALES": (0.6, 0.7, 0.8)},
    "scales_low_tt": {"SCALES": (0.3, 0.4, 0.5)},
    "skd_top3_tt": {"NUM_SEQUENCES": 3},
    "skd_random_tt": {"SELECTION": "random"},
    "skd_none_tt": {"SELECTION": "fixed", "SKD_WEIGHT": 0.0},
    "skd_roi_tt": {"SELECTION": "fixed", "CONTEXT_WEIGHT": 0.0, "SEQUENCE_WEIGHT": 0.0},
    "skd_con_tt": {"SELECTION": "fixed", "ROI_WEIGHT": 0.0, "SEQUENCE_WEIGHT": 0.0},
    "skd_seq_tt": {"SELECTION": "fixed", "ROI_WEIGHT": 0.0, "CONTEXT_WEIGHT": 0.0},
    **{f"gamma{g}_tt": {"SELECTOR.GAMMA": g} for g in (0.2, 0.4, 0.5)},
    **{f"tau{t}_tt": {"SELECTOR.TAU_INIT": float(t)} for t in (1, 3, 7, 9)},
    "accuracy_ground_truth_tt": {"SELECTOR.ACCURACY_TARGET": "ground_truth"},
    "cost_power_tt": {"SELECTOR.COST": "power"},
}


@pytest.mark.parametrize(("name", "expected"), ABLATIONS.items(), ids=ABLATIONS)
def test_ablations_differ_in_what_they_study(name, expected):
    base, cfg = load("dld_tt.yaml"), load(f"ablations/{name}.yaml")
    assert differences(base, cfg) == {
        "OUTPUT_DIR": cfg.OUTPUT_DIR,
        **{f"MODEL.DISTILL.{key}": value for key, value in expected.items()},
    }


def differences(base, other, prefix=""):
    found = {}
    for key, value in other.items():
        if isinstance(value, CfgNode):
            found |= differences(base[key], value, f"{prefix}{key}.")
        elif value != base[key]:
            found[f"{prefix}{key}"] = value
    return found


def test_ablations_of_the_region_size():
    teacher = load("ablations/teacher_roi16.yaml")
    assert teacher.MODEL.RECOGNITION.ROI.SIZE == (16, 64)
    weights = f"{teacher.OUTPUT_DIR}/model_final.pth"
    both, mixed = load("ablations/roi16_tt.yaml"), load("ablations/roi16_teacher_tt.yaml")
    for cfg, size in ((both, (16, 64)), (mixed, (8, 32))):
        assert weights == cfg.MODEL.DISTILL.TEACHER_WEIGHTS
        assert size == cfg.MODEL.RECOGNITION.ROI.SIZE
        assert teacher_cfg(cfg).MODEL.RECOGNITION.ROI.SIZE == (16, 64)


DISTILLERS = [f for f in FILES if load(f).MODEL.META_ARCHITECTURE == "DynamicResolutionDistiller"]


def test_there_are_distillers():
    assert len(DISTILLERS) > 25


@pytest.mark.parametrize("file", DISTILLERS)
def test_every_distiller_builds_with_its_teacher(file):
    cfg = load(file, **SMALL)
    distiller = build_model(cfg)
    assert isinstance(distiller, DynamicResolutionDistiller)
    distill = cfg.MODEL.DISTILL
    kinds = {"dynamic": DynamicScale, "fixed": FixedScale, "random": RandomScale}
    assert type(distiller.policy) is kinds[distill.SELECTION]
    assert distiller.scales == tuple(distill.SCALES)
    assert len(distiller.relative_cost) == len(distill.SCALES)
    teacher = build_spotter(teacher_cfg(cfg))
    distiller.student.load_state_dict(teacher.state_dict())
    sizes = (distiller.student.recognition.roi_masking.size, teacher.recognition.roi_masking.size)
    assert (distiller.aligner is None) == (sizes[0] == sizes[1])


@pytest.mark.parametrize("data", SHORT_SIDES)
def test_built_in_data_sets_of_the_configurations_exist(data):
    assert {f"{NAMES[data]}_train", f"{NAMES[data]}_test"} <= set(DatasetCatalog.list())
