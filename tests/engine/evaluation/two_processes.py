"""Evaluates the three images in as many processes as there are: all, and then one less.

python two_processes.py FOLDER
"""

import json
import sys
from pathlib import Path

from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from three_images import chooser, register

from dld_d2.engine.evaluation.text_spotting import build_evaluator
from dld_d2.engine.launch import launch
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.trainer import SpotterTrainer


def evaluate(cfg, images, wanted):
    model = chooser()
    evaluator = build_evaluator(cfg, "three_images", model)
    kept = list(images)
    images[:] = images[:wanted]
    loader = SpotterTrainer.build_test_loader(cfg, "three_images")
    images[:] = kept
    try:
        result = inference_on_dataset(model, loader, evaluator)
    except ValueError as error:
        result = str(error)
    passes = [name for names in model.spotter.passes for name in names]
    return {"result": result, "passes": passes}


def main(cfg, folder):
    images = register("three_images", folder)
    outcomes = [evaluate(cfg, images, wanted) for wanted in (3, 2)]
    (folder / f"{comm.get_rank()}.json").write_text(json.dumps(outcomes))
    comm.synchronize()  # all of them come here


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    opts = [
        *("MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder), "INPUT.MIN_SIZE_TEST", "60"),
        *("DATALOADER.NUM_WORKERS", "0", "TEST.NUM_PICTURES", "2"),
    ]
    launch(main, setup_cfg("", opts), (folder,))
