"""A reader that finds one word, and can be made slow or to fail."""

import io
import threading
import time

import numpy as np
from PIL import Image

from dld_d2.deployment.result import SpottingResult
from dld_d2.structures.word import Word

POLYGON = np.array([[1, 2], [9, 2], [9, 6], [1, 6]], dtype=np.float32)


class FakeReader:
    """Its word is the size of the image; a second one is hardly sure."""

    def __init__(self, delay=0.0):
        self.cost_bias = 0.5
        self.delay = delay
        self.seen = []
        self.at_once = self.most_at_once = 0
        self.threads = set()

    def __call__(self, image):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.threads.add(threading.get_ident())
        self.seen.append((image.shape, self.cost_bias))
        time.sleep(self.delay)
        self.at_once -= 1
        height, width = image.shape[:2]
        if width == 13:
            raise RuntimeError("secret of the house")
        if width == 17:
            raise MemoryError
        words = (
            Word(POLYGON, f"{width}x{height}", 0.91234, 0.8),
            Word(POLYGON, "faint", 0.2, 0.4),
        )
        return SpottingResult(words, (height, width), (height, width), 0.5, 0.25)


def encoded(width=40, height=20, kind="PNG"):
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(stream, kind)
    return stream.getvalue()
