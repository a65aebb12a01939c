"""An engine for tests: words are dark blocks, and it reads those that are high enough."""

import cv2
import numpy as np

LEAST_HEIGHT = 7  # pixels, of a block that is read


def read(image):
    """A word for each dark block, in (polygon, text, score) each."""
    # Work that goes with the number of pixels, as an engine's does.
    for _ in range(image.size // 3000):
        sum(range(200))
    dark = (image.max(axis=2) < 90).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(dark, connectivity=8)
    words = []
    for x, y, width, height, _ in stats[1:].tolist():
        if height >= LEAST_HEIGHT:
            box = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
            words.append((box, f"w{round(width / height)}", 0.95))
    return words


def fails_on_white(image):
    if image.min() > 240:
        raise RuntimeError("nothing here")
    return read(image)


def photograph(seed, height, size=(160, 240)):
    """(*size, 3) uint8 with six blocks of a height on a lighter background."""
    generator = np.random.default_rng(seed)
    image = generator.integers(150, 230, (*size, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    for row in range(2):
        for column in range(3):
            y = 10 + row * 70 + int(generator.integers(0, 70 - height - 20))
            x = 8 + column * 78
            image[y : y + height, x : x + min(70, 2 * height)] = 20
    return image


def folder_of(path, count):
    """Photographs of small and large words in turn, as files; their names."""
    path.mkdir()
    files = []
    for i in range(count):
        file = path / f"img_{i}.png"
        cv2.imwrite(str(file), photograph(i, 10 if i % 2 else 34))
        files.append(str(file))
    return files
