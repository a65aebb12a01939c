"""A distillation small enough for tests, on generated images.

python tiny_distillation.py FOLDER OUTPUT_DIR ITERATION
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from detectron2.data import DatasetCatalog
from runs import KillAt, run_training

from dld_d2.data.registration_file import register_from_yaml
from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.build import build_spotter

BASE = str(Path(__file__).resolve().parents[2] / "configs" / "tiny" / "Base-tiny.yaml")
NUM_IMAGES = 5
SPOTTER = {
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.CONV_DIMS": [16],
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.JITTER": 0.0,
    "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM": 16,
}
SMALL = {
    **SPOTTER,
    "MODEL.META_ARCHITECTURE": "DynamicSpotter",
    "MODEL.DYNAMIC.SCALES": (0.5, 0.7, 0.8),
    "MODEL.DYNAMIC.SELECTOR.CHANNELS": (8, 8, 8, 8),
    "MODEL.DYNAMIC.COST": "power",
    "MODEL.DISTILL.SEQUENCE.BEAM_WIDTH": 2,
    "MODEL.DISTILL.SELECTOR.TAU_DECAY": 0.5,
    "INPUT.AUG.BASE_SHORT_SIDE": 96,
    "INPUT.MIN_SIZE_TEST": 96,
    "DATASETS.TRAIN": ("generated",),
    "DATASETS.TEST": (),
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.MAX_ITER": 7,
    "SOLVER.STEPS": (5,),
    "SOLVER.CHECKPOINT_PERIOD": 3,
    "SOLVER.WARMUP_ITERS": 2,
    "SEED": 3,
}


def generate(folder):
    """Images with words, the last without any, a registration file, and three teachers, one of
    them with larger features of a region and a config file of its own."""
    generator = np.random.default_rng(0)
    for name in ("images", "gt"):
        (folder / name).mkdir()
    for i in range(NUM_IMAGES):
        image = generator.integers(0, 60, (96, 150, 3), dtype=np.uint8)
        lines = []
        for row, text in enumerate([] if i == NUM_IMAGES - 1 else [f"w{i}", f"Ab{i}c"]):
            y = 14 + 40 * row
            cv2.putText(image, text, (12, y + 22), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (255,) * 3, 2)
            lines.append(f"8,{y},90,{y},90,{y + 28},8,{y + 28},{text}")
        cv2.imwrite(str(folder / "images" / f"img_{i}.png"), image)
        (folder / "gt" / f"gt_img_{i}.txt").write_text("\n".join(lines))
    (folder / "sets.yaml").write_text(
        "datasets:\n  generated: {image_root: images, annotations: gt, format: icdar2015}\n"
    )
    for seed, name in enumerate(("teacher", "other")):
        torch.manual_seed(seed)
        spotter = build_spotter(make_cfg(folder, folder))
        torch.save({"model": spotter.state_dict()}, folder / f"{name}.pth")
    larger = {"MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": [16, 64]}
    file = write_teacher_config(folder / "larger.yaml", **larger)
    torch.save({"model": build_spotter(setup_cfg(file)).state_dict()}, folder / "larger.pth")


def write_teacher_config(file, **changes):
    """A config file of the spotter in `SMALL`, but for some keys."""
    nested = {"_BASE_": BASE}
    for key, value in {**SPOTTER, **changes}.items():
        *sections, last = key.split(".")
        node = nested
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    file.write_text(yaml.safe_dump(nested))
    return str(file)


def make_cfg(folder, output_dir, *opts, **changes):
    """`SMALL` on the images in `folder`; keys with "__" for dots."""
    if "generated" not in DatasetCatalog.list() and (folder / "sets.yaml").exists():
        register_from_yaml(folder / "sets.yaml")
    settings = {
        **SMALL,
        "OUTPUT_DIR": str(output_dir),
        "MODEL.DISTILL.TEACHER_WEIGHTS": str(folder / "teacher.pth"),
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return setup_cfg(BASE, [*(str(part) for item in settings.items() for part in item), *opts])


def train(cfg, resume=False, *hooks):
    return run_training(DistillTrainer(cfg), resume, *hooks)


if __name__ == "__main__":
    folder, output_dir, iteration = sys.argv[1:]
    train(make_cfg(Path(folder), output_dir), False, KillAt(int(iteration)))
