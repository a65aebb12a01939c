"""A training small enough for tests: a registered model, data and trainer, and a command line.

python tiny_training.py OUTPUT_DIR [--resume] [--kill-at ITERATION] [KEY VALUE ...]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from runs import KillAt, run_training
from torch import nn

from dld_d2.engine.launch import launch
from dld_d2.engine.setup import prepare_run, setup_cfg
from dld_d2.engine.trainer import SpotterTrainer

CONFIG = str(Path(__file__).with_suffix(".yaml"))
NUM_IMAGES = 7


@META_ARCH_REGISTRY.register()
class TinySpotter(nn.Module):
    """Two losses that depend on the images, and with norm "BN" on running statistics and noise.

    In evaluation it finds the words of `answers`: image id -> [(polygon, text, score)].
    """

    def __init__(self, cfg):
        super().__init__()
        self.noisy = cfg.MODEL.RESNETS.NORM == "BN"
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4) if self.noisy else nn.Identity()
        self.head = nn.Linear(4, 2)
        self.answers = {}
        self.poison = {}  # image id -> factor of loss_b

    def forward(self, inputs):
        if not self.training:
            return [{"instances": self._found(item)} for item in inputs]
        images = torch.stack([item["image"].float() / 255 for item in inputs])
        features = self.norm(self.conv(images)).relu().mean(dim=(2, 3))
        if self.noisy:
            features = features + 0.1 * torch.rand_like(features)
        a, b = self.head(features).unbind(dim=1)
        factor = torch.tensor([self.poison.get(item["image_id"], 1.0) for item in inputs])
        return {"loss_a": (a - 1).square().mean(), "loss_b": (factor * (b + 1).square()).mean()}

    def _found(self, item):
        words = self.answers.get(item["image_id"], [])
        found = Instances((item["height"], item["width"]))
        found.pred_boxes = Boxes(torch.zeros(len(words), 4))
        found.scores = torch.tensor([score for _, _, score in words])
        found.pred_classes = torch.zeros(len(words), dtype=torch.int64)
        found.pred_polygons = [np.array(polygon, dtype=np.float32) for polygon, _, _ in words]
        found.pred_texts = [text for _, text, _ in words]
        return found


def tiny_images():
    return [
        {
            "file_name": f"{i}.png",
            "image_id": f"img_{i}",
            "height": 8,
            "width": 8,
            "annotations": [],
            "grey": 30 * i,
        }
        for i in range(NUM_IMAGES)
    ]


def tiny_mapper(image):
    """Noise around the image's grey, from all generators that an augmentation may use."""
    noise = np.random.randint(0, 50, (3, 8, 8)) + int(torch.randint(5, ()))  # noqa: NPY002
    pixels = torch.as_tensor(image["grey"] + noise).to(torch.uint8)
    instances = Instances((8, 8), gt_ignore=torch.zeros(0, dtype=torch.bool))
    return {**image, "image": pixels, "instances": instances, "texts": []}


if "tiny" not in DatasetCatalog.list():
    DatasetCatalog.register("tiny", tiny_images)
    MetadataCatalog.get("tiny").set(thing_classes=["text"])


class TinyTrainer(SpotterTrainer):
    @classmethod
    def build_mapper(cls, cfg, is_train):
        return tiny_mapper


def tiny_cfg(output_dir, *opts):
    return setup_cfg(CONFIG, ["OUTPUT_DIR", str(output_dir), *opts])


def train(cfg, resume=False, *hooks):
    return run_training(TinyTrainer(cfg), resume, *hooks)


def main(cfg, args):
    cfg = prepare_run(cfg, args)
    train(cfg, args.resume, *([] if args.kill_at is None else [KillAt(args.kill_at)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("output_dir")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("opts", nargs="*")
    arguments = parser.parse_args()
    launch(main, tiny_cfg(arguments.output_dir, *arguments.opts), (arguments,))
