"""Detectron2 from the complete copy of it that the PyPI wheel of LabGym carries."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

from detectron2_installer.environment import InstallError, need_pip, run_pip
from detectron2_installer.source_tree import SourceError, SourceTree

VERSION = "3.1.2"
SHA256 = "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"


def fetch_labgym_wheel(scratch: Path) -> SourceTree:
    """Download LabGym's wheel with pip, so that the user's registry and proxy settings hold.

    Args:
        scratch: folder to make one in for the wheel.

    Raises:
        InstallError: if it cannot be had, or is another one than the pinned.
        SourceError: as `read_labgym_wheel`.
    """
    need_pip()
    print(f"fetching the PyPI wheel LabGym {VERSION}, which carries Detectron2")
    folder = scratch / "labgym"
    # LabGym restricts itself to Python < 3.11 for reasons that do not concern Detectron2.
    run_pip(
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.10",
        "--retries=2",
        f"--dest={folder}",
        f"LabGym=={VERSION}",
    )
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise InstallError(f"pip reported success but left {len(wheels)} wheels of LabGym, not one")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != SHA256:
        raise InstallError(
            f"{wheels[0].name} from the package registry has SHA-256 {digest}, expected {SHA256}: "
            "it was not used"
        )
    # This project's licence is Detectron2's, too, which LabGym's wheel does not carry.
    apache = Path(__file__).resolve().parents[2] / "LICENSE"
    return read_labgym_wheel(wheels[0], VERSION, apache.read_bytes())


def read_labgym_wheel(path: Path, version: str, apache_license: bytes) -> SourceTree:
    """Take `LabGym/detectron2/` out of a LabGym wheel and undo its `LabGym.` prefix.

    Args:
        path: the wheel.
        version: LabGym's version.
        apache_license: text of the Apache License 2.0.

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
    return SourceTree(files, licenses, f"labgym{version}", origin).check(path.name)
