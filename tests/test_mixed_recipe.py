"""The published recipe from end to end, on photographs in each data set's own layout, with a model
of a few thousand parameters and sides of an eighth."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from small_models import SMALL

from dld_d2.data import builtin
from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.trainers import trainer_for
from dld_d2.modeling.build import build_spotter

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data" / "icdar2015_sample"
PER_SET = 2
SIDES = {"icdar2013": 768 // 8, "icdar2015": 1280 // 8, "totaltext": 896 // 8}


def photographs():
    """Pictures with words, as (quadrilaterals, texts): of ICDAR2015 where they are to be had, else
    those of the demonstration, with words made up."""
    if SHARED.is_dir():
        for file in sorted((SHARED / "images").iterdir()):
            lines = (SHARED / "gt" / f"gt_{file.stem}.txt").read_text("utf-8-sig").splitlines()
            fields = [line.split(",", 8) for line in lines if line]
            if any(field[8] != "###" for field in fields):
                quads = [[int(value) for value in field[:8]] for field in fields]
                yield cv2.imread(str(file)), quads, [field[8] for field in fields]
    while True:
        for file in sorted((ROOT / "tools" / "demo_page" / "photographs").glob("*.jpg")):
            image = cv2.imread(str(file))
            height, width = image.shape[:2]
            right, low = width // 2, height // 3
            yield image, [[4, 4, right, 4, right, low, 4, low]], ["word"]


def icdar2013(quad, text):
    return '{} {} {} {} "{}"'.format(*box_of(quad), text)


def icdar2013_with_commas(quad, text):
    return '{}, {}, {}, {}, "{}"'.format(*box_of(quad), text)


def box_of(quad):
    return min(quad[::2]), min(quad[1::2]), max(quad[::2]), max(quad[1::2])


def icdar2015(quad, text):
    return ",".join(map(str, [*quad, text]))


def mlt2017(quad, text):
    return ",".join(map(str, [*quad, "Latin", text]))


def totaltext(quad, text):
    text = "#" if text == "###" else text
    x, y = (" ".join(map(str, side)) for side in (quad[::2], quad[1::2]))
    return f"x: [[{x}]], y: [[{y}]], ornt: [u'h'], transcriptions: [u'{text}']"


def write_text(line):
    def write(path, quads, texts):
        lines = [line(*word) for word in zip(quads, texts, strict=True)]
        path.with_suffix(".txt").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")

    return write


def write_matlab(path, quads, texts):
    rows = np.empty((len(quads), 6), dtype=object)
    for row, quad, text in zip(rows, quads, texts, strict=True):
        text = "#" if text == "###" else text
        row[:] = "x:", np.array([quad[::2]]), "y:", np.array([quad[1::2]]), text, "h"
    scipy.io.savemat(path.with_suffix(".mat"), {"polygt": rows})


# Folder, name of an image, prefix of its annotation, what writes that.
LAYOUT = [
    ("icdar2013/train", "{}", "gt_", write_text(icdar2013)),
    ("icdar2013/test", "img_{}", "gt_", write_text(icdar2013_with_commas)),
    ("icdar2015/train", "img_{}", "gt_", write_text(icdar2015)),
    ("icdar2015/test", "img_{}", "gt_", write_text(icdar2015)),
    ("mlt2017/train", "img_{}", "gt_", write_text(mlt2017)),
    ("mlt2017/val", "img_{}", "gt_", write_text(mlt2017)),
    ("totaltext/train", "img{}", "poly_gt_", write_matlab),
    ("totaltext/test", "img{}", "poly_gt_", write_text(totaltext)),
]


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The built-in sets, of two photographs each, in a folder of their own."""
    found = photographs()
    for folder, name, prefix, write in LAYOUT:
        root = tmp_path / "datasets" / folder
        for part in ("images", "gt"):
            (root / part).mkdir(parents=True)
        for number in range(1, PER_SET + 1):
            image, quads, texts = next(found)
            stem = name.format(number)
            cv2.imwrite(str(root / "images" / f"{stem}.jpg"), image)
            write(root / "gt" / f"{prefix}{stem}", quads, texts)
    # Of MLT2017 not all is of use.
    root = tmp_path / "datasets" / "mlt2017" / "train"
    cv2.imwrite(str(root / "images" / "img_9.jpg"), image)
    (root / "gt" / "gt_img_9.txt").write_text("4,4,40,4,40,20,4,20,Korean,길\n", "utf-8")

    def register():
        for name in builtin.BUILTIN_DATASETS:
            DatasetCatalog.pop(name)
            MetadataCatalog.pop(name)
        builtin._register_all()

    with monkeypatch.context() as context:
        context.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
        register()
    yield tmp_path
    register()


def load(file, folder, **changes):
    settings = {
        **SMALL,
        "OUTPUT_DIR": folder / "run",
        "MODEL.DYNAMIC.SELECTOR.CHANNELS": (8, 8, 8, 8),
        "MODEL.DISTILL.TEACHER_WEIGHTS": folder / "teacher.pth",
        "INPUT.AUG.BASE_SHORT_SIDE": 896 // 8,
        "INPUT.MIN_SIZE_TEST": 896 // 8,
        "INPUT.MAX_SIZE_TRAIN": 1600 // 8,
        "INPUT.MAX_SIZE_TEST": 3000 // 8,
        "DATALOADER.NUM_WORKERS": 0,
        "SEED": 0,
        **{
            f"DATASETS.SHORT_SIDES.{name}_{part}": side
            for name, side in SIDES.items()
            for part in ("train", "test")
        },
        **changes,
    }
    return setup_cfg(
        str(ROOT / "configs" / file), [str(part) for item in settings.items() for part in item]
    )


def test_the_mixture_is_distilled_and_each_set_evaluated(datasets, caplog):
    schedule = {
        # Every image once.
        "SOLVER.IMS_PER_BATCH": 5,
        "SOLVER.REFERENCE_WORLD_SIZE": 0,
        "SOLVER.EPOCHS": 1,
        "SOLVER.STEP_EPOCHS": (),
        "SOLVER.EVAL_EPOCHS": 0,
    }
    cfg = load("dld_mixed.yaml", datasets, **schedule)
    torch.manual_seed(0)
    torch.save({"model": build_spotter(cfg).state_dict()}, datasets / "teacher.pth")
    trainer = DistillTrainer(cfg)
    assert len(trainer.data_loader.dataset.images) == 5 * PER_SET
    assert trainer.max_iter == 2
    if SHARED.is_dir():  # of 1280 x 720 pixels
        assert "icdar2015_train: INPUT.MAX_SIZE_TRAIN 200 keeps 2 of 2 images" in caplog.text
    before = {name: value.clone() for name, value in trainer.model.student.state_dict().items()}
    trainer.resume_or_load(resume=False)
    trainer.train()
    learnt = [
        name
        for name, value in trainer.model.student.named_parameters()
        if not torch.equal(value, before[name])
    ]
    assert len(learnt) > 100

    results = trainer._last_eval_results
    assert list(results) == [f"{name}_test" for name in SIDES]
    for name, side in SIDES.items():
        metrics = results[f"{name}_test"]["text_spotting"]
        assert math.isfinite(metrics["e2e_none_hmean"])
        assert metrics["cost_published"] < metrics["cost_released"] < metrics["cost_whole"]
        for (item,) in DistillTrainer.build_test_loader(cfg, f"{name}_test"):
            assert min(item["image"].shape[1:]) == side
            assert len(item["texts"]) > 0


def test_vanilla_is_the_teacher_at_half_the_resolution_of_each_set(datasets):
    sides = {f"DATASETS.SHORT_SIDES.{name}_test": side // 2 for name, side in SIDES.items()}
    file = datasets / "teacher.pth"
    cfg = load("vanilla_half_mixed.yaml", datasets, **sides, **{"MODEL.WEIGHTS": file})
    torch.manual_seed(0)
    torch.save({"model": build_spotter(cfg).state_dict()}, file)
    trainer = trainer_for(cfg)
    results = trainer.evaluate(cfg)
    assert list(results) == [f"{name}_test" for name in SIDES]
    for name, side in SIDES.items():
        assert math.isfinite(results[f"{name}_test"]["text_spotting"]["e2e_none_hmean"])
        for (item,) in trainer.build_test_loader(cfg, f"{name}_test"):
            assert min(item["image"].shape[1:]) == side // 2
