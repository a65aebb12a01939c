"""Repackage the Python part of Detectron2 as an ordinary wheel, without a compiler.

Two sources are understood: an archive of Detectron2's Git repository, and the complete copy of
Detectron2 inside the PyPI wheel of LabGym. Either becomes a `SourceTree`, and `build_wheel` writes
that as `detectron2-<version>-py3-none-any.whl`. The compiled `detectron2._C` is left out: it holds
deformable convolution, rotated boxes and a faster COCO evaluation, and Detectron2 imports without
it. Standard library only, because this runs before anything is installed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

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
# Small projects that Detectron2 installs as detectron2.projects.*, by place in its repository.
PROJECTS = {
    "projects/PointRend/point_rend/": "detectron2/projects/point_rend/",
    "projects/DeepLab/deeplab/": "detectron2/projects/deeplab/",
    "projects/Panoptic-DeepLab/panoptic_deeplab/": "detectron2/projects/panoptic_deeplab/",
}
# If any of these is missing, the source is not a whole Detectron2.
ESSENTIAL = (
    "detectron2/__init__.py",
    "detectron2/config/defaults.py",
    "detectron2/engine/defaults.py",
    "detectron2/modeling/meta_arch/rcnn.py",
    "detectron2/model_zoo/configs/Base-RCNN-FPN.yaml",
    "detectron2/projects/point_rend/__init__.py",
)
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


class SourceError(Exception):
    """The source is damaged, incomplete or not what it should be."""


@dataclass(frozen=True)
class SourceTree:
    """Detectron2's files and where they come from.

    Attributes:
        files: content by path inside the wheel, `detectron2/...`.
        licenses: licence and notice files by their path under `*.dist-info/licenses/`.
        local_version: PEP 440 local version that tells the origin, e.g. `labgym3.1.2`.
        origin: one paragraph on the origin and on every change made.
    """

    files: dict[str, bytes]
    licenses: dict[str, bytes]
    local_version: str
    origin: str

    @property
    def version(self) -> str:
        """Detectron2's own version and the local one, e.g. `0.6+labgym3.1.2`."""
        init = self.files["detectron2/__init__.py"].decode("utf-8")
        match = re.search(r"^__version__ = [\"']([0-9][0-9a-z.]*)[\"']", init, re.MULTILINE)
        if match is None:
            raise SourceError("detectron2/__init__.py states no __version__")
        return f"{match.group(1)}+{self.local_version}"


def read_labgym_wheel(path: Path, version: str, apache_license: bytes) -> SourceTree:
    """Take `LabGym/detectron2/` out of a LabGym wheel and undo its `LabGym.` prefix.

    Args:
        path: the wheel.
        version: LabGym's version.
        apache_license: text of the Apache License 2.0, Detectron2's licence, which LabGym's wheel
            does not carry.

    Raises:
        SourceError: not a zip file, or not a whole Detectron2 inside.
    """
    files: dict[str, bytes] = {}
    licenses = {"LICENSE": apache_license}
    try:
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if name.startswith("LabGym/detectron2/") and name.endswith((".py", ".yaml")):
                    content = wheel.read(name).replace(b"LabGym.detectron2", b"detectron2")
                    files[name.removeprefix("LabGym/")] = content
                elif name in ("LabGym/COPYRIGHT.txt", "LabGym/NOTICE.txt"):
                    licenses[name] = wheel.read(name)
                elif ".dist-info/licenses/" in name and not name.endswith("/"):
                    licenses["LabGym/licenses/" + name.rpartition("/")[2]] = wheel.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceError(f"{path.name} is not a readable wheel: {error}") from error
    prefixed = [name for name, content in files.items() if b"labgym" in content.lower()]
    if prefixed:
        raise SourceError(
            f"{path.name}: {prefixed[0]} mentions LabGym in a way that is not expected"
        )
    origin = (
        f"Detectron2 as distributed inside the PyPI wheel LabGym {version} (LabGym/detectron2/). "
        "Changes: LabGym had prefixed the package's imports with 'LabGym.'; that prefix is removed "
        "again. Nothing else is changed. Detectron2 is under the Apache License 2.0 (LICENSE); the "
        "notice and licence files of LabGym, none of whose own code is included, are kept under "
        "LabGym/."
    )
    return _checked(SourceTree(files, licenses, f"labgym{version}", origin), path.name)


def read_git_archive(path: Path, commit: str) -> SourceTree:
    """Read a `.tar.gz` archive of Detectron2's repository at one commit.

    Raises:
        SourceError: not such an archive, of another commit, or not a whole Detectron2 inside.
    """
    files: dict[str, bytes] = {}
    licenses: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = [member for member in archive if member.isfile()]
            found = archive.pax_headers.get("comment", "")  # `git archive` writes the commit here
            if found != commit:
                raise SourceError(f"the archive is of commit {found or 'unknown'}, not {commit}")
            for member in members:
                name = member.name.partition("/")[2]  # drop the folder detectron2-<commit>/
                target = _place_in_wheel(name)
                if target is not None:
                    files[target] = archive.extractfile(member).read()
                elif name in ("LICENSE", "NOTICE"):
                    licenses[name] = archive.extractfile(member).read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise SourceError(f"the archive cannot be read: {error}") from error
    if "LICENSE" not in licenses:
        raise SourceError("the archive holds no LICENSE")
    origin = (
        f"Detectron2's official Git repository, commit {commit}, Apache License 2.0. Python files "
        "unchanged; the C++ and CUDA extension is left out."
    )
    return _checked(SourceTree(files, licenses, f"git.{commit[:7]}", origin), "the archive")


def _place_in_wheel(name: str) -> str | None:
    """Where Detectron2's setup.py would install a file of its repository; None if nowhere."""
    if name.startswith("configs/") and name.endswith((".yaml", ".py")):
        return "detectron2/model_zoo/" + name
    if not name.endswith(".py"):
        return None
    if name.startswith("detectron2/"):
        return name
    for source, target in PROJECTS.items():
        if name.startswith(source):
            return target + name.removeprefix(source)
    return None


def _checked(tree: SourceTree, where: str) -> SourceTree:
    """Make sure that the tree is whole and that every Python file in it compiles."""
    missing = [name for name in ESSENTIAL if name not in tree.files]
    if missing:
        raise SourceError(f"{where} holds no whole Detectron2: {missing[0]} is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in tree.files.items():
            if name.endswith(".py"):
                try:
                    compile(content, name, "exec", dont_inherit=True)
                except (SyntaxError, ValueError) as error:
                    raise SourceError(f"{where}: {name} does not compile: {error}") from error
    return tree


def build_wheel(tree: SourceTree, directory: Path) -> Path:
    """Write the tree as a wheel into an existing directory; equal trees give equal bytes.

    A wheel of that name is replaced, in one step at the end.

    Returns:
        the wheel's path.

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
        "Requires-Python: >=3.10",
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
