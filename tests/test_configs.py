"""The configuration files: all load, the published settings are in them, their models build, and no
key in them is left without effect."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from recorded_keys import recorded_keys

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.text_size import TextSizeEstimator
from dld_d2.engine import distill_trainer
from dld_d2.engine.config_sources import leaves, read_settings
from dld_d2.engine.distill_trainer import teacher_cfg
from dld_d2.engine.schedule import epoch_schedule
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.trainers import trainer_for
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.selection.policies import DynamicScale, FixedScale, RandomScale
from dld_d2.modeling.spotters.mango.spotter import MANGOSpotter
from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter
from dld_d2.modeling.spotters.pp_ocr.spotter import PPOCRSpotter

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
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
    "MODEL.ROI_TEXT_HEAD.NORM": "BN",
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM": 16,
    "MODEL.MANGO.NORM": "BN",
    "MODEL.MANGO.CENTER_LINE.CONV_DIM": 16,
    "MODEL.MANGO.CATEGORY.CONV_DIM": 16,
    "MODEL.MANGO.ATTENTION.CONV_DIM": 16,
    "MODEL.MANGO.FUSION.CONV_DIM": 16,
    "MODEL.MANGO.SEQUENCE.HIDDEN_DIM": 16,
    "MODEL.DYNAMIC.COST": "power",  # measuring takes seconds
}


def words(settings) -> list[str]:
    return [str(word) for item in settings.items() for word in item]


def load(file, **changes) -> CfgNode:
    return setup_cfg(str(CONFIGS / file), words(changes))


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """A teacher's config file is named relative to it."""
    monkeypatch.chdir(ROOT)


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
    assert cfg.MODEL.META_ARCHITECTURE == "DynamicSpotter"
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

    dynamic, distill = cfg.MODEL.DYNAMIC, cfg.MODEL.DISTILL
    assert dynamic.SCALES == ALL_SCALES and dynamic.POLICY == "selector"
    assert dynamic.COST == "measured" and dynamic.COST_BIAS == 0.0
    assert dynamic.SELECTOR.CHANNELS == (32, 64, 128, 256)
    assert distill.TERMS == ("roi", "context", "sequence")
    assert [distill[name].WEIGHT for name in ("ROI", "CONTEXT", "SEQUENCE")] == [1.0] * 3
    assert distill.SELECTOR.LOSS_WEIGHT == cfg.MODEL.ROI_TEXT_HEAD.LOSS_WEIGHT == 1.0
    assert distill.SEQUENCE.NUM_SEQUENCES == 1
    assert f"{load('teacher_mixed.yaml').OUTPUT_DIR}/model_final.pth" == distill.TEACHER_WEIGHTS
    selector = distill.SELECTOR
    assert gamma == selector.GAMMA
    assert (selector.TAU_INIT, selector.TAU_DECAY) == (5.0, 0.965)
    assert selector.ACCURACY_TARGET == "teacher" and selector.LEARNING == "gumbel"

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
        ("drs_only_{}", "DISTILL.TERMS", ()),
        ("drs_only_{}", "DYNAMIC.POLICY", "selector"),
        ("drs_only_{}_gamma0.3", "DISTILL.TERMS", ()),
        ("drs_only_{}_gamma0.3", "DISTILL.SELECTOR.GAMMA", 0.3),
        ("skd_only_{}", "DYNAMIC.POLICY", "fixed"),
        ("skd_only_{}", "DYNAMIC.FIXED_SCALE", 0.5),
        ("skd_only_{}", "DISTILL.TERMS", ("roi", "context", "sequence")),
    ],
)
@pytest.mark.parametrize("data", SHORT_SIDES)
def test_the_compared_settings(pattern, key, value, data):
    cfg = load(f"ablations/{pattern.format(data)}.yaml")
    assert dict(leaves(cfg))[f"MODEL.{key}"] == value
    assert SHORT_SIDES[data] == cfg.INPUT.MIN_SIZE_TEST


@pytest.mark.parametrize("data", SHORT_SIDES)
def test_vanilla_at_half_resolution(data):
    cfg = load(f"ablations/vanilla_half_{data}.yaml")
    assert cfg.MODEL.META_ARCHITECTURE == "MaskRCNNSpotter"
    assert SHORT_SIDES[data] // 2 == cfg.INPUT.MIN_SIZE_TEST
    assert (f"{NAMES[data]}_test",) == cfg.DATASETS.TEST


ABLATIONS = {
    "scales_half_tt": {"DYNAMIC.SCALES": (0.5,)},
    "scales_high_tt": {"DYNAMIC.SCALES": (0.6, 0.7, 0.8)},
    "scales_low_tt": {"DYNAMIC.SCALES": (0.3, 0.4, 0.5)},
    "skd_top3_tt": {"DISTILL.SEQUENCE.NUM_SEQUENCES": 3},
    "skd_random_tt": {"DYNAMIC.POLICY": "random"},
    "skd_none_tt": {"DYNAMIC.POLICY": "fixed", "DISTILL.TERMS": ()},
    "skd_roi_tt": {"DYNAMIC.POLICY": "fixed", "DISTILL.TERMS": ("roi",)},
    "skd_con_tt": {"DYNAMIC.POLICY": "fixed", "DISTILL.TERMS": ("context",)},
    "skd_seq_tt": {"DYNAMIC.POLICY": "fixed", "DISTILL.TERMS": ("sequence",)},
    **{f"gamma{g}_tt": {"DISTILL.SELECTOR.GAMMA": g} for g in (0.2, 0.4, 0.5)},
    **{f"tau{t}_tt": {"DISTILL.SELECTOR.TAU_INIT": float(t)} for t in (1, 3, 7, 9)},
    "accuracy_ground_truth_tt": {"DISTILL.SELECTOR.ACCURACY_TARGET": "ground_truth"},
    "cost_power_tt": {"DYNAMIC.COST": "power"},
}


@pytest.mark.parametrize(("name", "expected"), ABLATIONS.items(), ids=ABLATIONS)
def test_ablations_differ_in_what_they_study(name, expected):
    base, cfg = dict(leaves(load("dld_tt.yaml"))), dict(leaves(load(f"ablations/{name}.yaml")))
    assert {key: value for key, value in cfg.items() if value != base[key]} == {
        "OUTPUT_DIR": cfg["OUTPUT_DIR"],
        **{f"MODEL.{key}": value for key, value in expected.items()},
    }


def test_ablations_of_the_region_size():
    teacher = load("ablations/teacher_roi16.yaml")
    assert teacher.MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION == (16, 64)
    weights = f"{teacher.OUTPUT_DIR}/model_final.pth"
    both, mixed = load("ablations/roi16_tt.yaml"), load("ablations/roi16_teacher_tt.yaml")
    for cfg, size in ((both, (16, 64)), (mixed, (8, 32))):
        assert weights == cfg.MODEL.DISTILL.TEACHER_WEIGHTS
        assert size == cfg.MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION
        assert teacher_cfg(cfg).MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION == (16, 64)


def architecture(file):
    return load(file).MODEL.META_ARCHITECTURE


DYNAMIC = [file for file in FILES if architecture(file) == "DynamicSpotter"]
PLAIN = [file for file in FILES if file not in DYNAMIC]


KINDS = {
    "MaskRCNNSpotter": MaskRCNNSpotter,
    "PPOCRSpotter": PPOCRSpotter,
    "MANGOSpotter": MANGOSpotter,
    "TextSizeEstimator": TextSizeEstimator,
}


def test_there_are_students_and_teachers():
    assert len(DYNAMIC) > 25
    assert {architecture(file) for file in PLAIN} == set(KINDS)


@pytest.fixture
def small(tmp_path):
    """Loads a config file with small models, its teacher's as well."""

    def small(file, **changes):
        settings = {**SMALL, **changes}
        teacher = load(file).MODEL.DISTILL.TEACHER_CONFIG
        if teacher:
            nested: dict = {"_BASE_": str(ROOT / teacher)}
            for key, value in SMALL.items():
                *sections, last = key.split(".")
                node = nested
                for section in sections:
                    node = node.setdefault(section, {})
                node[last] = value
            (tmp_path / "teacher.yaml").write_text(str(nested))  # YAML takes Python's braces
            settings["MODEL.DISTILL.TEACHER_CONFIG"] = str(tmp_path / "teacher.yaml")
        return load(file, **settings)

    return small


@pytest.mark.parametrize("file", DYNAMIC)
def test_every_student_builds_with_its_teacher(small, file):
    cfg = small(file)
    student = build_model(cfg)
    assert type(student) is DynamicSpotter
    dynamic = cfg.MODEL.DYNAMIC
    kinds = {"selector": DynamicScale, "fixed": FixedScale, "random": RandomScale}
    assert type(student.policy) is kinds[dynamic.POLICY]
    assert student.scales == tuple(dynamic.SCALES)
    assert len(student.relative_cost) == len(dynamic.SCALES)
    teacher = build_spotter(teacher_cfg(cfg))
    student.spotter.load_state_dict(teacher.state_dict())
    distiller = Distiller(cfg, student, teacher)
    assert [term.name for term in distiller.terms] == list(cfg.MODEL.DISTILL.TERMS)
    shapes = [spotter.feature_shapes["roi"] for spotter in (student.spotter, teacher)]
    adapters = any(True for _ in distiller.terms.parameters())
    assert adapters == (shapes[0] != shapes[1])


@pytest.mark.parametrize("file", PLAIN)
def test_every_other_model_builds(small, file):
    model = build_model(small(file))
    assert type(model) is KINDS[architecture(file)]


@pytest.mark.parametrize("file", [file for file in FILES if "tiny/" in file])
def test_the_small_models_build_as_they_are(file):
    # Measuring takes seconds, and once will do.
    measured = file in ("tiny/dld.yaml", "mango/tiny/dld.yaml")
    cfg = load(file, **({} if measured else {"MODEL.DYNAMIC.COST": "power"}))
    assert type(build_model(cfg)).__name__ == cfg.MODEL.META_ARCHITECTURE
    assert cfg.MODEL.DEVICE == "cpu"


@pytest.fixture(scope="module")
def images():
    """A registered data set, the size of a batch for eight GPUs."""
    annotation = {
        "bbox": [2.0, 2.0, 42.0, 22.0],
        "bbox_mode": 0,
        "segmentation": [[2.0, 2.0, 42.0, 2.0, 42.0, 22.0, 2.0, 22.0]],
        "category_id": 0,
        "text": "word",
        "ignore": False,
    }
    found = [
        {
            "file_name": f"{number}.png",
            "image_id": f"img_{number}",
            "height": 64,
            "width": 96,
            "annotations": [annotation],
        }
        for number in range(24)
    ]
    DatasetCatalog.register("configured_images", lambda: found)
    MetadataCatalog.get("configured_images").set(thing_classes=["text"])
    yield "configured_images"
    DatasetCatalog.remove("configured_images")
    MetadataCatalog.remove("configured_images")


def chain(file):
    """The files that a file is based on, and itself, by their paths."""
    return {Path(setting.source).resolve() for setting in read_settings(str(CONFIGS / file), [])}


def test_no_key_is_left_without_effect(small, images, tmp_path, monkeypatch):
    """Each key of each file is read by a training, or the evaluation, with a file based on it."""
    monkeypatch.setattr(
        distill_trainer, "load_teacher", lambda cfg: build_spotter(teacher_cfg(cfg))
    )
    monkeypatch.setattr(distill_trainer, "_identity", lambda file: {"file": file, "sha256": ""})
    read = {(CONFIGS / file).resolve(): {"VERSION"} for file in FILES}
    for number, file in enumerate(FILES):
        changes = {
            "MODEL.WEIGHTS": "",
            "MODEL.DISTILL.SELECTOR.WEIGHTS": "",
            "DATASETS.TRAIN": (images,),
            "DATASETS.TEST": (images,),
            "DATALOADER.NUM_WORKERS": 0,
            "OUTPUT_DIR": tmp_path / str(number),
        }
        cfg = small(file, **changes)
        trainer_class = trainer_for(cfg)
        with recorded_keys(cfg) as keys:
            trainer = trainer_class(cfg)
            trainer.resume_or_load(resume=False)
            for name in cfg.DATASETS.TEST:
                trainer_class.build_test_loader(cfg, name)
                trainer_class.build_evaluator(cfg, name, trainer.deployed(trainer.model))
        for base in chain(file):
            read[base] |= keys
    # Small ones have no bottlenecks.
    for large in ("Base-MaskRCNN-Spotter-R50-FPN.yaml", "mango/Base-MANGO-R50-FPN.yaml"):
        cfg = load(large, **{"MODEL.DEVICE": "cpu"})
        with recorded_keys(cfg) as keys:
            build_model(cfg)
        read[(CONFIGS / large).resolve()] |= keys
    for file in FILES:
        own = {
            setting.key
            for setting in read_settings(str(CONFIGS / file), [])
            if Path(setting.source).resolve() == (CONFIGS / file).resolve()
        }
        assert own - read[(CONFIGS / file).resolve()] == set(), file
