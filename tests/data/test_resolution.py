"""Data sets at resolutions of their own."""

import logging

import pytest
import yaml
from image_files import write_set

from dld_d2.data.registration_file import register_configured_datasets
from dld_d2.data.resolution import at_resolution_of, check_short_sides, warn_of_held_back
from dld_d2.engine.setup import ConfigError, setup_cfg
from dld_d2.engine.trainer import SpotterTrainer

QUAD = "10,20,30,20,30,40,10,40,word\n"


def load(*opts):
    return setup_cfg("", ["MODEL.DEVICE", "cpu", *opts])


@pytest.fixture
def sets(tmp_path, clean_catalogs):
    """Two registered sets of one image of 100 x 80 pixels each."""
    descriptions = {}
    for name in ("near", "far"):
        write_set(tmp_path / name, "img_1.png", "gt_img_1.txt", QUAD)
        descriptions[name] = {
            "image_root": f"{name}/images",
            "annotations": f"{name}/gt",
            "format": "icdar2015",
        }
    file = tmp_path / "sets.yaml"
    file.write_text(yaml.safe_dump({"datasets": descriptions}))
    return ["DATASETS.REGISTER", str(file), "DATALOADER.NUM_WORKERS", "0"]


def test_each_set_is_trained_and_tested_at_its_own_short_side(sets):
    cfg = load(
        *sets,
        *("DATASETS.TRAIN", "('near','far')", "DATASETS.TEST", "('near','far')"),
        *("DATASETS.SHORT_SIDES.far", "200", "INPUT.AUG.SCALE_RANGE", "(1.0, 1.0)"),
        *("INPUT.AUG.BASE_SHORT_SIDE", "40", "INPUT.MIN_SIZE_TEST", "120"),
        *("INPUT.AUG.CROP_PROB", "0.0", "INPUT.AUG.ROTATION_PROB", "0.0", "SEED", "1"),
        *("SOLVER.IMS_PER_BATCH", "2"),
    )
    register_configured_datasets(cfg)
    batch = next(iter(SpotterTrainer.build_train_loader(cfg)))
    found = {item["dataset_name"]: tuple(item["image"].shape[1:]) for item in batch}
    assert found == {"near": (40, 50), "far": (200, 250)}
    for name, size in (("near", (120, 150)), ("far", (200, 250))):
        (item,) = next(iter(SpotterTrainer.build_test_loader(cfg, name)))
        assert tuple(item["image"].shape[1:]) == size


def test_a_set_without_an_entry_has_the_common_one():
    cfg = load("DATASETS.SHORT_SIDES.far", "200")
    assert at_resolution_of(cfg, "near") is cfg
    changed = at_resolution_of(cfg, "far")
    assert changed.INPUT.AUG.BASE_SHORT_SIDE == changed.INPUT.MIN_SIZE_TEST == 200
    assert cfg.INPUT.MIN_SIZE_TEST == 800 and changed.is_frozen()


def test_short_sides_in_a_file_are_merged_with_those_of_its_base(tmp_path):
    (tmp_path / "base.yaml").write_text("DATASETS: {SHORT_SIDES: {a: 1, b.c: 2}}\n")
    (tmp_path / "own.yaml").write_text("_BASE_: base.yaml\nDATASETS: {SHORT_SIDES: {a: 3}}\n")
    cfg = setup_cfg(str(tmp_path / "own.yaml"), ["DATASETS.SHORT_SIDES.d", "4"])
    assert dict(cfg.DATASETS.SHORT_SIDES) == {"a": 3, "b.c": 2, "d": 4}
    # As a training writes it down.
    (tmp_path / "written.yaml").write_text(cfg.dump())
    assert setup_cfg(str(tmp_path / "written.yaml")).DATASETS == cfg.DATASETS


@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5", "(768, 1600)", "True"])
def test_a_short_side_is_pixels(value):
    with pytest.raises(ConfigError, match=r"command line: DATASETS.SHORT_SIDES.a .*expected pixel"):
        load("DATASETS.SHORT_SIDES.a", value)


def test_the_section_itself_has_no_value():
    with pytest.raises(ConfigError, match=r"expected pixels by the name of a data set"):
        load("DATASETS.SHORT_SIDES", "896")


def test_an_entry_of_no_set_is_refused(sets):
    cfg = load(*sets, "DATASETS.SHORT_SIDES.fat", "200", "DATASETS.TRAIN", "('far',)")
    register_configured_datasets(cfg)
    with pytest.raises(ValueError, match=r"there is no data set fat; registered are .*far"):
        check_short_sides(cfg)
    with pytest.raises(ConfigError, match="there is no data set fat"):
        SpotterTrainer.build_train_loader(cfg)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (1600, "keeps 2 of 3 images that were looked at below their full short side of 1280, down "
               "to 900; 2276 would"),
        (2275, "keeps 2 of 3 images"),
        (2276, None),
    ],
)  # fmt: skip
def test_what_the_long_side_keeps_below_is_said(caplog, limit, message):
    cfg = load("INPUT.AUG.BASE_SHORT_SIDE", "1280", "INPUT.MAX_SIZE_TRAIN", str(limit))
    sizes = [(720, 1280), (1280, 720), (400, 400)]
    with caplog.at_level(logging.WARNING):
        warn_of_held_back(cfg, "street", [{"height": h, "width": w} for h, w in sizes])
    if message is None:
        assert not caplog.records
    else:
        assert f"street: INPUT.MAX_SIZE_TRAIN {limit} {message}" in caplog.text
