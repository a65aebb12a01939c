"""A model that finds one bright block, and pictures of one."""

import cv2
import numpy as np
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances


@META_ARCH_REGISTRY.register()
class BrightBlockSpotter(torch.nn.Module):
    """Finds the bounding box of red pixels, if any; its text names the weight and the size."""

    def __init__(self, cfg):
        super().__init__()
        self.number = torch.nn.Parameter(torch.zeros(1))
        self.red = 2 if cfg.INPUT.FORMAT == "BGR" else 0
        self.score_threshold = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST

    def forward(self, batched_inputs):
        assert not self.training and torch.is_inference_mode_enabled()
        return [{"instances": self._find(**inputs)} for inputs in batched_inputs]

    def _find(self, image, height, width):
        assert image.dtype == torch.uint8
        rows, columns = torch.where((image[self.red] > 128) & (image[1] < 64))
        number = int(len(rows) > 0 and self.score_threshold <= 0.75)
        instances = Instances((height, width))
        polygons = []
        if number:
            scale = np.array([width / image.shape[2], height / image.shape[1]])
            low = np.array([columns.min(), rows.min()]) * scale
            high = np.array([columns.max() + 1, rows.max() + 1]) * scale
            polygons = [np.array([low, [high[0], low[1]], high, [low[0], high[1]]], np.float32)]
        instances.pred_polygons = polygons
        instances.pred_boxes = Boxes(torch.zeros(number, 4))
        size = f"{image.shape[2]}x{image.shape[1]}"
        instances.pred_texts = [f"é{int(self.number)} {size}"] * number
        instances.scores = torch.full((number,), 0.75)
        instances.text_scores = torch.full((number,), 0.5)
        instances.pred_classes = torch.zeros(number, dtype=torch.int64)
        return instances


def picture(block=(40, 60, 120, 90), height=200, width=300):
    image = np.full((height, width, 3), 40, dtype=np.uint8)
    if block:
        x0, y0, x1, y1 = block
        image[y0:y1, x0:x1] = (0, 0, 255)
    return image


def save(folder, name, image=None):
    folder.mkdir(parents=True, exist_ok=True)
    image = picture() if image is None else image
    (folder / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return str(folder / name)
