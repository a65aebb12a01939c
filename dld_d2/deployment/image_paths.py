"""From what a user names on a command line to image files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from PIL import Image

from dld_d2.deployment.video import is_video

__all__ = ["find_images"]


def find_images(paths: Sequence[str]) -> list[str]:
    """Image files that files, folders and patterns mean, each once, in the order given.

    A folder means its images and documents, not those of sub-folders, and not its videos, which
    take long; these are named. A path that names nothing stays in the list, so that it is reported
    like any other file that cannot be read.

    Raises:
        FileNotFoundError: if there is no image at all.
    """
    Image.init()  # fills in the extensions that Pillow knows
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            names = sorted(os.listdir(path))
            files = [os.path.join(path, name) for name in names if _is_image_name(name)]
        elif os.path.exists(path):
            files = [path]
        else:
            files = [f for f in sorted(glob.glob(path, recursive=True)) if os.path.isfile(f)]
            files = files or [path]
        found.update(dict.fromkeys(files))
    if not found:
        raise FileNotFoundError(f"there are no images in {', '.join(paths)}")
    return list(found)


def _is_image_name(name: str) -> bool:
    # Pillow, which writes PDF files and knows MPEG streams by their names, counts both.
    return os.path.splitext(name)[1].lower() in Image.EXTENSION and not is_video(name)
