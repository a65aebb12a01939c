"""Detectron2's Python files as an ordinary wheel.

The compiled `detectron2._C` is left out: it holds deformable convolution, rotated boxes and a
faster COCO evaluation, and Detectron2 imports without it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import zipfile
from pathlib import Path

from detectron2_installer.source_tree import SourceTree

# What Detectron2's setup.py demands (black, which only prettifies saved LazyConfigs, is left out),
# and setuptools for pkg_resources, which detectron2.model_zoo imports and setuptools 81 drops.
REQUIREMENTS = (
    "Pillow>=7.1",
    "matplotlib",
    "numpy",
    "pycocotools>=2.0.2",
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate",
    "cloudpickle",
    "tqdm>4.29.0",
    "tensorboard",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.7,<0.1.11",
    "omegaconf>=2.1,<2.4",
    "hydra-core>=1.1",
    "packaging",
    "setuptools<81",
)
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_wheel(tree: SourceTree, directory: Path) -> Path:
    """Write the tree as a wheel into an existing directory; equal trees give equal bytes.

    A wheel of that name is replaced, in one step at the end.

    Returns:
        The path of the wheel, `detectron2-<version>-py3-none-any.whl`.

    Raises:
        OSError: the directory cannot be written, or is full.
    """
    info = f"detectron2-{tree.version}.dist-info"
    entries = {
        # METADATA goes first: pip unpacks in this order, so that even an installation killed half
        # way can be recognized, and removed, by its version.
        f"{info}/METADATA": _metadata(tree),
        f"{info}/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: dld_d2 install_detectron2\n"
            b"Root-Is-Purelib: true\nTag: py3-none-any\n"
        ),
        f"{info}/top_level.txt": b"detectron2\n",
        f"{info}/licenses/ORIGIN.txt": (tree.origin + "\n").encode(),
        **{f"{info}/licenses/{name}": text for name, text in sorted(tree.licenses.items())},
        **dict(sorted(tree.files.items())),
    }
    record = [
        f"{name},sha256={_digest(content)},{len(content)}" for name, content in entries.items()
    ]
    record.append(f"{info}/RECORD,,")
    entries[f"{info}/RECORD"] = ("\n".join(record) + "\n").encode()

    path = directory / f"detectron2-{tree.version}-py3-none-any.whl"
    with tempfile.TemporaryDirectory(prefix=".detectron2-", dir=directory) as scratch:
        unfinished = Path(scratch) / path.name
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as wheel:
            for name, content in entries.items():
                entry = zipfile.ZipInfo(name, ZIP_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3
                entry.external_attr = 0o100644 << 16
                wheel.writestr(entry, content)
        os.replace(unfinished, path)
    return path


def _metadata(tree: SourceTree) -> bytes:
    lines = [
        "Metadata-Version: 2.1",
        "Name: detectron2",
        f"Version: {tree.version}",
        "Summary: Detectron2, pure Python, repackaged without its compiled extension",
        "Home-page: https://github.com/facebookresearch/detectron2",
        "Author: FAIR",
        "License: Apache-2.0",
        "License-File: LICENSE",
        "Classifier: License :: OSI Approved :: Apache Software License",
        "Requires-Python: >=3.11",
        *(f"Requires-Dist: {requirement}" for requirement in REQUIREMENTS),
        "Description-Content-Type: text/plain",
        "",
        tree.origin,
        "",
    ]
    return "\n".join(lines).encode()


def _digest(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
