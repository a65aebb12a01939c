"""Three images with words, and a spotter that finds what it is told to.

An image is of one grey, from which the spotter knows which one it is.
"""

import os

import cv2
import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from dld_d2.modeling.cost.parts import PartCost
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.selection.policies import ScalePolicy
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.vocabulary import Vocabulary

HEIGHT, WIDTH = SIZE = (60, 80)
GREYS = {"img_1": 50, "img_2": 100, "img_3": 150}


def box(x, y, width=20, height=10):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def annotation(x, y, text, ignore=False):
    return {
        "bbox": [x, y, x + 20, y + 10],
        "bbox_mode": 0,
        "category_id": 0,
        "segmentation": [box(x, y)],
        "text": text,
        "ignore": ignore,
    }


# One word with a dictionary form, one without ("42"), one don't-care.
WORDS = {
    "img_1": [annotation(0, 0, "Hello"), annotation(0, 20, "42")],
    "img_2": [annotation(0, 0, "world"), annotation(30, 30, "", ignore=True)],
    "img_3": [],
}
FOUND = {
    "img_1": [(box(0, 0), "hello"), (box(0, 20), "43")],
    "img_2": [(box(0, 1), "worlt"), (box(30, 30), "x"), (box(50, 0), "junk")],
}


def register(name, folder):
    """Register the images, and a lexicon, under a name.

    Returns:
        The list that the catalog gives; changes of it are seen there.
    """
    # Two processes do this at once, and neither may read what the other has half written.
    mine = folder / f"{os.getpid()}.png"
    mine.write_text("Hello\nworld\n")
    os.replace(mine, folder / "weak.txt")
    images = []
    for image_id, grey in GREYS.items():
        file = str(folder / f"{image_id}.png")
        cv2.imwrite(str(mine), np.full((*SIZE, 3), grey, np.uint8))
        os.replace(mine, file)
        images.append(
            {
                "file_name": file,
                "image_id": image_id,
                "height": HEIGHT,
                "width": WIDTH,
                "annotations": [dict(word) for word in WORDS[image_id]],
            }
        )
    DatasetCatalog.register(name, lambda: images)
    lexicons = {"weak": str(folder / "weak.txt"), "generic": str(folder / "missing.txt")}
    MetadataCatalog.get(name).set(thing_classes=["text"], lexicons=lexicons)
    return images


def unregister(name):
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


class Reader(Spotter):
    """Finds what it is told to and reads every ground-truth region as "HELLO".

    Attributes:
        passes: the images of each pass, in order.
    """

    feature_shapes = {}  # noqa: RUF012
    score_threshold = 0.0

    def __init__(self, found=FOUND):
        super().__init__(
            vocabulary=Vocabulary(), max_length=9, pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3
        )
        self.found = found
        self.passes = []

    def features(self, images):
        names = {grey: name for name, grey in GREYS.items()}
        self.passes.append([names[round(image[0, 0, 0].item())] for image in images])
        return self.passes[-1]

    def find(self, images, features):
        return [
            self._found(size, name) for size, name in zip(images.image_sizes, features, strict=True)
        ]

    def read(self, look, regions):
        assert look.size == regions.image_size
        return ["HELLO"] * len(regions)

    def _found(self, size, name):
        words = self.found.get(name, [])
        scale = np.array([size[1] / WIDTH, size[0] / HEIGHT])
        result = Instances(size)
        result.pred_boxes = Boxes(torch.zeros(len(words), 4))
        result.pred_polygons = [np.reshape(points, (-1, 2)) * scale for points, _ in words]
        result.pred_texts = [text for _, text in words]
        result.scores = torch.linspace(0.9, 0.5, len(words))
        return result

    def image_cost(self, image):
        pixels = image.shape[-2] * image.shape[-1]
        return [PartCost("all", per_image=pixels * 2**20, published=True)]

    def region_cost(self):
        return [PartCost("reading", per_region=2**30, per_character=2**29)]

    def read_rows(self, images, rows, want):
        raise NotImplementedError

    def losses_and_rows(self, images, targets, rows, want):
        raise NotImplementedError


class ByGrey(ScalePolicy):
    """The darkest and the brightest image at the first of three scales, the other at the second."""

    def logits(self, images):
        return torch.zeros(len(images), 3)

    def choose(self, images, relative_cost):
        return torch.tensor([int(round(image[0, 0, 0].item()) == 100) for image in images])


def chooser(found=FOUND):
    """A spotter that looks at every image at a scale of its own."""
    scales = (0.25, 0.5, 1.0)
    costs = torch.tensor([scale**2 for scale in scales])
    return DynamicSpotter(
        spotter=Reader(found), policy=ByGrey(), scales=scales, relative_cost=costs
    ).eval()
