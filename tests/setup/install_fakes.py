"""A tiny Detectron2 in the two forms that the installer understands."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PACKAGES = ("config", "data", "engine", "evaluation", "model_zoo", "modeling")

# By path in Detectron2's repository.
SOURCES = {
    "detectron2/__init__.py": 'from detectron2 import config\n\n__version__ = "0.6"\n',
    **{f"detectron2/{name}/__init__.py": "" for name in PACKAGES},
    "detectron2/config/defaults.py": "VALUE = 3\n",
    "detectron2/engine/defaults.py": (
        'from detectron2.config.defaults import VALUE\n\nNAME = "detectron2.engine"\n'
    ),
    "detectron2/modeling/meta_arch/rcnn.py": "import detectron2._C as _C\n",
    "detectron2/layers/csrc/vision.cpp": "not wanted\n",
    "detectron2/projects/__init__.py": "",
    "projects/PointRend/point_rend/__init__.py": "POINT = True\n",
    "projects/PointRend/train_net.py": "not = wanted\n",
    "configs/Base-RCNN-FPN.yaml": "VERSION: 2\n",
    "tools/train_net.py": "not = wanted\n",
    "LICENSE": "Apache License\n",
}
# What is left of them, by path in the wheel.
INSTALLED = {
    **{
        name: text
        for name, text in SOURCES.items()
        if name.startswith("detectron2/") and name.endswith(".py")
    },
    "detectron2/projects/point_rend/__init__.py": "POINT = True\n",
    "detectron2/model_zoo/configs/Base-RCNN-FPN.yaml": "VERSION: 2\n",
}


def write_labgym_wheel(path: Path, **changes: str) -> Path:
    """A wheel like LabGym's: all under LabGym/, imports prefixed; `changes` by path below that."""
    members = {
        f"LabGym/{name}": text.replace("import detectron2", "import LabGym.detectron2")
        .replace("from detectron2", "from LabGym.detectron2")
        .replace('"detectron2', '"LabGym.detectron2')
        for name, text in INSTALLED.items()
    }
    members |= {
        "LabGym/__init__.py": "import wx\n",
        "LabGym/NOTICE.txt": "Detectron2 is a product of Meta.\n",
        "LabGym/COPYRIGHT.txt": "LabGym (C) 2021\n",
        "labgym-3.1.2.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: LabGym\nVersion: 3.1.2\nRequires-Python: <3.11,>=3.9\n"
        ),
        "labgym-3.1.2.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "labgym-3.1.2.dist-info/licenses/LICENSE.txt": "GNU GENERAL PUBLIC LICENSE\n",
    }
    members |= {f"LabGym/{name}": text for name, text in changes.items()}
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in members.items():
            wheel.writestr(name, text)
    return path


def write_git_archive(path: Path, commit: str = COMMIT, without: str = "") -> Path:
    """An archive as `git archive` makes it: one top folder, the commit in the global header."""
    header = {"comment": commit} if commit else {}
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, pax_headers=header) as archive:
        for name, text in SOURCES.items():
            if name != without:
                member = tarfile.TarInfo(f"detectron2-{commit}/{name}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
    return path
