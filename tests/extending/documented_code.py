"""The code of docs/extending.md as modules, and images to train on."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORDS = [("Hi", "two"), ("tree", "4"), ("###", "a"), ()]


def write_modules(folder: Path) -> list[str]:
    """Write each block that begins with a file name; returns the names."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    names = []
    for name, code in BLOCK.findall(text):
        (folder / name).write_text(code, encoding="utf-8")
        names.append(name)
    return names


def write_images(folder: Path) -> Path:
    """Four pictures with words, one without any, and the file that registers them."""
    for name in ("images", "gt"):
        (folder / name).mkdir()
    generator = np.random.default_rng(0)
    for number, words in enumerate(WORDS):
        image = generator.integers(0, 60, (96, 160, 3), dtype=np.uint8)
        lines = []
        for row, text in enumerate(words):
            y = 10 + 44 * row
            cv2.putText(image, text, (14, y + 24), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (255,) * 3, 2)
            lines.append(f"10,{y},90,{y},90,{y + 30},10,{y + 30},{text}")
        cv2.imwrite(str(folder / "images" / f"img_{number}.png"), image)
        (folder / "gt" / f"gt_img_{number}.txt").write_text("\n".join(lines))
    file = folder / "sets.yaml"
    file.write_text(
        "datasets:\n  documented: {image_root: images, annotations: gt, format: icdar2015}\n"
    )
    return file


def write_config(folder: Path, sets: Path) -> Path:
    """A configuration without Mask R-CNN's keys, of a training that takes a moment."""
    file = folder / "config.yaml"
    file.write_text(
        f"""
MODEL:
  DEVICE: "cpu"
  RECOGNITION: {{MAX_LENGTH: 6}}
  DYNAMIC:
    SCALES: (0.5, 0.8)
    COST: "power"
    SELECTOR: {{CHANNELS: [4, 8]}}
  DISTILL:
    SEQUENCE: {{BEAM_WIDTH: 3, NUM_SEQUENCES: 2}}
DATASETS: {{REGISTER: "{sets}", TRAIN: [documented], TEST: []}}
DATALOADER: {{NUM_WORKERS: 0}}
INPUT:
  AUG: {{BASE_SHORT_SIDE: 96, SCALE_RANGE: [1.0, 1.0], CROP_PROB: 0.0, ROTATION_PROB: 0.0}}
  MIN_SIZE_TEST: 96
  MAX_SIZE_TEST: 200
SOLVER: {{MAX_ITER: 3, STEPS: [], IMS_PER_BATCH: 2, WARMUP_ITERS: 1, CHECKPOINT_PERIOD: 2}}
SEED: 5
"""
    )
    return file
