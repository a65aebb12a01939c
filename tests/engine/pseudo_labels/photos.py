"""Photographs without annotations, a teacher that knows what is on them, and a command line that
lets it read those of one folder after another, in one process or several.

python photos.py FOLDER ... [--kill-at IMAGE]
"""

import argparse
import json
import os
import signal
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from PIL import Image

from dld_d2.data.registration_file import register_from_yaml
from dld_d2.engine.launch import launch
from dld_d2.engine.pseudo_labels.labelling import label_images
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotters.contract import Spotter

NUM_IMAGES = 7
HEIGHT, WIDTH = 60, 100  # of the first; each is 4 pixels wider than the one before it
NAMES = ["trip/0.png", "trip/1.png", *(f"{i}.png" for i in range(2, NUM_IMAGES))]
SHA256 = "0" * 64
# Text, and scores of text and detection.
WORDS = [("sure{}", 0.95, 0.9), ("doubt", 0.6, 0.9), ("faint", 0.95, 0.3), ("", 0.99, 0.99)]


def write_photo(folder, number, grey=100):
    file = folder / "photos" / NAMES[number]
    file.parent.mkdir(parents=True, exist_ok=True)
    size = (WIDTH + 4 * number, HEIGHT)
    noise = np.random.default_rng(number).integers(0, 20, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise + np.uint8(grey)).save(file)
    return file


def write_photos(folder):
    for number in range(NUM_IMAGES):
        write_photo(folder, number)
    (folder / "sets.yaml").write_text(
        "datasets:\n"
        "  photos: {image_root: photos, format: unlabelled}\n"
        "  photos_skip: {image_root: photos, format: unlabelled, on_bad: skip}\n"
    )


def polygon(row):
    """Of a word in a row, from 0."""
    y = 2 + 14 * row
    return [(5, y), (40.126, y), (40.126, y + 10), (5, y + 10)]


class Teacher:
    """Finds `WORDS`, each in its row, and nothing in the photograph before the last.

    Attributes:
        read: numbers of the photographs, in order.
        sizes: of the tensors, height and width.
    """

    inference_keys = Spotter.inference_keys

    def __init__(self, stop_at=None, stop=None):
        self.read, self.sizes = [], []
        self._stop_at, self._stop = stop_at, stop

    def __call__(self, inputs):
        (item,) = inputs
        assert sorted(item) == ["height", "image", "width"] and not torch.is_grad_enabled()
        number = (item["width"] - WIDTH) // 4
        if number == self._stop_at:
            self._stop()
        self.read.append(number)
        self.sizes.append(tuple(item["image"].shape[1:]))
        words = [] if number == NUM_IMAGES - 2 else WORDS
        count = len(words)
        found = Instances((item["height"], item["width"]))
        found.pred_boxes = Boxes(torch.zeros(count, 4))
        found.pred_polygons = [np.array(polygon(row), np.float32) for row in range(count)]
        found.pred_texts = [text.format(number) for text, _, _ in words]
        found.text_scores = torch.tensor([score for _, score, _ in words])
        found.scores = torch.tensor([score for _, _, score in words])
        return [{"instances": found}]


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def forget():
    """What the sets hold, as a new process does."""
    for name in {"photos", "photos_skip"} & set(DatasetCatalog.list()):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def make_cfg(folder, *opts):
    """`folder` holds the photographs, and takes what is written."""
    if "photos" not in DatasetCatalog.list():
        register_from_yaml(folder / "sets.yaml")
    settings = {
        "MODEL.DEVICE": "cpu",
        "OUTPUT_DIR": folder / "out",
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.MIN_SIZE_TEST": HEIGHT,
    }
    return setup_cfg("", [*(str(part) for item in settings.items() for part in item), *opts])


def label(folder, teacher, *opts, name="photos", sha256=SHA256):
    cfg = make_cfg(folder, *opts)
    return label_images(name, teacher, sha256, cfg, cfg)


def summary(dataset):
    """By image, its texts, "###" standing for don't-care."""
    return {
        Path(item["file_name"]).name: [
            "###" if word["ignore"] else word["text"] for word in item["annotations"]
        ]
        for item in dataset
    }


def main(cfg, folders, stop_at):
    for folder in folders:
        forget()
        teacher = Teacher(stop_at, kill)
        try:
            found = summary(label(folder, teacher))
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        outcome = {"read": teacher.read, "found": found}
        (folder / f"{comm.get_rank()}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--kill-at", type=int)
    arguments = parser.parse_args()
    cfg = setup_cfg("", ["MODEL.DEVICE", "cpu"])
    launch(main, cfg, (arguments.folders, arguments.kill_at))
