"""Detectron2 from the archive of a commit that its Git host makes."""

from __future__ import annotations

import tarfile
import threading
import time
import urllib.request
import zlib
from pathlib import Path

from detectron2_installer.source_tree import SourceError, SourceTree

# The head of the main branch in September 2025. The commit hash, requested over TLS and compared
# with the one that `git archive` writes into the archive, is what identifies the content; the
# archive's own checksum is not pinned because the host may compress the same tree differently.
HOST = "https://github.com/"
COMMIT = "a1ce2f956a1d2212ad672e3c47d53405c2fe4312"
ARCHIVE = f"{HOST}facebookresearch/detectron2/archive/{COMMIT}.tar.gz"
PROBE_SECONDS = 5
DOWNLOAD_SECONDS = 180
MAX_ARCHIVE_BYTES = 200 * 2**20
# Small projects that Detectron2 installs as detectron2.projects.*, by place in its repository.
PROJECTS = {
    "projects/PointRend/point_rend/": "detectron2/projects/point_rend/",
    "projects/DeepLab/deeplab/": "detectron2/projects/deeplab/",
    "projects/Panoptic-DeepLab/panoptic_deeplab/": "detectron2/projects/panoptic_deeplab/",
}


def fetch_git_archive(scratch: Path) -> SourceTree:
    """Download the pinned commit.

    Args:
        scratch: folder for the archive.

    Raises:
        SourceError: if the host does not answer, or answers wrongly.
    """
    if not host_answers():
        raise SourceError(f"{HOST} does not answer")
    print(f"fetching Detectron2 from {ARCHIVE}")
    archive = scratch / "detectron2.tar.gz"
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    try:
        response = urllib.request.urlopen(ARCHIVE, timeout=30)
    except (OSError, ValueError) as error:
        raise SourceError(f"{ARCHIVE}: {error}") from error
    with response, archive.open("wb") as file:
        while True:
            try:
                chunk = response.read(1 << 16)
            except OSError as error:
                raise SourceError(f"{ARCHIVE}: {error}") from error
            if not chunk:
                break
            file.write(chunk)
            if time.monotonic() > deadline or file.tell() > MAX_ARCHIVE_BYTES:
                raise SourceError(f"{ARCHIVE}: too slow or too large, given up")
    return read_git_archive(archive, COMMIT)


def host_answers() -> bool:
    """Does the Git host answer an HTTPS request within PROBE_SECONDS?

    In a thread, because a name look-up cannot be given a time limit.
    """
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(HOST, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
        except (OSError, ValueError):
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    return answered.is_set()


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
    return SourceTree(files, licenses, f"git.{commit[:7]}", origin).check("the archive")


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
