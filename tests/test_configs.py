"""The configuration files: all load, the published settings are in them, their models build, and no
key in them is left without effect."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from recorded_keys import recorded_keys
from small_models import SMALL

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.text_size import TextSizeEstimator
from dld_d2.engine import distill_trainer
from dld_d2.engine.config_sources import ConfigError, read_settings
from dld_d2.engine.distill_trainer import teacher_cfg
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.trainers import trainer_for
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.focus.focus_map import FocusMap
from dld_d2.modeling.multi_scale_teacher import MultiScaleTeacher
from dld_d2.modeling.selection.policies import DynamicScale, FixedScale, RandomScale
from dld_d2.modeling.spotters.mango.spotter import MANGOSpotter
from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter
from dld_d2.modeling.spotters.pp_ocr.spotter import PPOCRSpotter
from dld_d2.modeling.spotters.text_perceptron.spotter import TextPerceptronSpotter

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
FILES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.yaml"))
SHORT_SIDES = {"ic13": 768, "ic15": 1280, "tt": 896}
NAMES = {"ic13": "icdar2013", "ic15": "icdar2015", "tt": "totaltext"}


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


@pytest.mark.parametrize("data", SHORT_SIDES)
def test_a_student_of_one_set_goes_on_from_that_of_the_mixture(data):
    for gamma in ("", "_gamma0.3"):
        mixed, cfg = load(f"dld_mixed{gamma}.yaml"), load(f"dld_{data}{gamma}.yaml")
        assert f"{mixed.OUTPUT_DIR}/model_final.pth" == cfg.MODEL.WEIGHTS
        assert (f"{NAMES[data]}_train",) == cfg.DATASETS.TRAIN
        assert (f"{NAMES[data]}_test",) == cfg.DATASETS.TEST
        assert SHORT_SIDES[data] == cfg.INPUT.MIN_SIZE_TEST
        assert mixed.MODEL.DISTILL == cfg.MODEL.DISTILL
        assert mixed.SOLVER.EPOCHS == cfg.SOLVER.EPOCHS


def test_teachers_start_where_the_stage_before_ended():
    for folder in ("", "fast/"):
        first, second = (
            load(f"{folder}teacher_{stage}.yaml") for stage in ("pretrain_synthtext", "mixed")
        )
        assert f"{first.OUTPUT_DIR}/model_final.pth" == second.MODEL.WEIGHTS
        weights = f"{second.OUTPUT_DIR}/model_final.pth"
        assert weights == load(f"{folder}dld_mixed.yaml").MODEL.DISTILL.TEACHER_WEIGHTS
        assert (
            first.MODEL.ROI_TEXT_HEAD
            == second.MODEL.ROI_TEXT_HEAD
            == load(f"{folder}dld_mixed.yaml").MODEL.ROI_TEXT_HEAD
        )


def test_the_teacher_of_larger_regions_may_differ_from_the_student():
    cfg = load("ablations/roi16_teacher.yaml")
    assert cfg.MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION == (8, 32)
    assert teacher_cfg(cfg).MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION == (16, 64)


def test_students_of_a_larger_teacher_start_from_a_spotter_of_their_own():
    first, own = (
        load(f"resnet18/spotter_{stage}.yaml") for stage in ("pretrain_synthtext", "mixed")
    )
    assert f"{first.OUTPUT_DIR}/model_final.pth" == own.MODEL.WEIGHTS
    for name in ("dld_mixed", "skd_only_mixed"):
        cfg = load(f"resnet18/{name}.yaml")
        assert f"{own.OUTPUT_DIR}/model_final.pth" == cfg.MODEL.DISTILL.STUDENT_WEIGHTS
        for each in (first, own):
            assert each.MODEL.RESNETS == cfg.MODEL.RESNETS and each.MODEL.FPN == cfg.MODEL.FPN
            assert each.MODEL.ROI_TEXT_HEAD == cfg.MODEL.ROI_TEXT_HEAD
        teacher = teacher_cfg(cfg)
        assert (cfg.MODEL.RESNETS.DEPTH, teacher.MODEL.RESNETS.DEPTH) == (18, 50)
        assert f"{teacher.OUTPUT_DIR}/model_final.pth" == cfg.MODEL.DISTILL.TEACHER_WEIGHTS


@pytest.mark.parametrize("folder", ["", "tiny/"])
def test_fused_pyramids_have_their_teacher(folder):
    for name in ("qi_fused", "skd_qi_fused"):
        cfg = load(f"{folder}table3/{name}.yaml")
        teacher = teacher_cfg(cfg)
        assert teacher.MODEL.META_ARCHITECTURE == "MultiScaleTeacher"
        assert f"{teacher.OUTPUT_DIR}/model_final.pth" == cfg.MODEL.DISTILL.TEACHER_WEIGHTS
        plain = load(f"{folder}table3/{name.removesuffix('_fused')}.yaml")
        assert plain.MODEL.DISTILL.TERMS == cfg.MODEL.DISTILL.TERMS


def architecture(file):
    return load(file).MODEL.META_ARCHITECTURE


DYNAMIC = [file for file in FILES if architecture(file) == "DynamicSpotter"]
PLAIN = [file for file in FILES if file not in DYNAMIC]


KINDS = {
    "MaskRCNNSpotter": MaskRCNNSpotter,
    "PPOCRSpotter": PPOCRSpotter,
    "MANGOSpotter": MANGOSpotter,
    "MultiScaleTeacher": MultiScaleTeacher,
    "TextPerceptronSpotter": TextPerceptronSpotter,
    "TextSizeEstimator": TextSizeEstimator,
    "FocusMap": FocusMap,
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
    student.spotter.load_state_dict(teacher.student_state())
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


LARGE = [
    "mango/Base-MANGO-R50-FPN.yaml",
    "Base-MaskRCNN-Spotter-R50-FPN.yaml",
    "text_perceptron/Base-TextPerceptron-R50-FPN.yaml",
]
"""Files that others make small."""


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
            "MODEL.DISTILL.STUDENT_WEIGHTS": "",
            "DATASETS.TRAIN": (images,),
            "DATASETS.TEST": (images,),
            "DATALOADER.NUM_WORKERS": 0,
            "OUTPUT_DIR": tmp_path / str(number),
        }
        cfg = small(file, **changes)
        trainer_class = trainer_for(cfg)
        with recorded_keys(cfg) as keys:
            if cfg.TEST.EVAL_ONLY:
                with pytest.raises(ConfigError, match="--eval-only"):
                    trainer_class(cfg)
                with pytest.raises(ConfigError, match="needs weights"):
                    trainer_class.evaluate(cfg)
                model = build_model(cfg)
                for name in cfg.DATASETS.TEST:
                    trainer_class.build_test_loader(cfg, name)
                    trainer_class.build_evaluator(cfg, name, model)
            else:
                trainer = trainer_class(cfg)
                trainer.resume_or_load(resume=False)
                for name in cfg.DATASETS.TEST:
                    trainer_class.build_test_loader(cfg, name)
                    trainer_class.build_evaluator(cfg, name, trainer.deployed(trainer.model))
        for base in chain(file):
            read[base] |= keys
    # Small ones have no bottlenecks.
    for large in LARGE:
        cfg = load(large, **{"MODEL.DEVICE": "cpu"})
        with recorded_keys(cfg) as keys:
            build_model(cfg)
        read[(CONFIGS / large).resolve()] |= keys
    for file in FILES:
        own = {
            setting.key
            for setting in read_settings(str(CONFIGS / file), [])
            if Path(setting.source).resolve() == (CONFIGS / file).resolve()
            # Of sets that others stand in for here.
            and not setting.key.startswith("DATASETS.SHORT_SIDES.")
        }
        assert own - read[(CONFIGS / file).resolve()] == set(), file
