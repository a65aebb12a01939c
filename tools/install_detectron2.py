#!/usr/bin/env python3
"""Put Detectron2 into the Python environment that runs this script; no compiler, no Git needed.

    python tools/install_detectron2.py                   # install, or report what is there
    python tools/install_detectron2.py --wheel-dir DIR   # only build the wheel

Detectron2 is in no package registry, and its own setup.py compiles C++ (and CUDA) code against the
installed PyTorch. Nothing that text spotters use needs that code, so this script

1. does nothing if Detectron2 imports already;
2. else takes the Python files of its official Git repository, at a pinned commit, if the host
   answers within seconds;
3. else takes the complete copy of Detectron2 that the PyPI wheel LabGym carries, whose SHA-256 is
   pinned below;

packs them as a wheel (see detectron2_wheel.py), installs that with pip, and checks that it imports.
`pip show detectron2` and `pip uninstall detectron2` work as for any package. Whatever goes wrong
ends in one message and a non-zero exit status, with nothing half-installed.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from detectron2_wheel import (
    SourceError,
    SourceTree,
    build_wheel,
    read_git_archive,
    read_labgym_wheel,
)

# The head of the main branch in September 2025. The commit hash, requested over TLS and compared
# with the one that `git archive` writes into the archive, is what identifies the content; the
# archive's own checksum is not pinned because the host may compress the same tree differently.
GIT_HOST = "https://github.com/"
GIT_COMMIT = "a1ce2f956a1d2212ad672e3c47d53405c2fe4312"
GIT_ARCHIVE = f"{GIT_HOST}facebookresearch/detectron2/archive/{GIT_COMMIT}.tar.gz"
PROBE_SECONDS = 5
DOWNLOAD_SECONDS = 180
MAX_ARCHIVE_BYTES = 200 * 2**20

LABGYM_VERSION = "3.1.2"
LABGYM_SHA256 = "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"

# Runs in a fresh interpreter: what is installed as Detectron2, and does it work?
PROBE = """
import importlib, json
from importlib import metadata

state = {"owner": None, "site": None, "version": None, "place": None, "error": None}
try:
    owner = metadata.distribution("detectron2")
    state.update(owner=owner.version, site=str(owner.locate_file("")))
except metadata.PackageNotFoundError:
    pass
try:
    import detectron2
    for name in ("config", "data", "engine", "evaluation", "model_zoo", "modeling"):
        importlib.import_module("detectron2." + name)
    state.update(version=detectron2.__version__, place=detectron2.__path__[0])
except ModuleNotFoundError as error:
    state["error"] = "absent" if error.name == "detectron2" else str(error)
except Exception as error:
    state["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(state))
"""


class InstallError(Exception):
    """The installation cannot go on; the text is the one message that the user gets."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--wheel-dir", type=Path, metavar="DIR", help="only build the wheel, into this folder"
    )
    parser.add_argument(
        "--source",
        choices=("auto", "git", "pypi"),
        default="auto",
        help="take Detectron2 from its Git repository or from PyPI (default: the first that works)",
    )
    options = parser.parse_args(arguments)
    try:
        if sys.version_info < (3, 10):  # noqa: UP036 - any Python may be asked to run this
            raise InstallError(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}")
        if options.wheel_dir is None:
            install(options.source)
        else:
            build_only(options.source, options.wheel_dir)
    except (InstallError, SourceError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_explain(error))
    except KeyboardInterrupt:
        return _fail("stopped; nothing was installed") + 129
    return 0


def install(source: str) -> None:
    """Install Detectron2 unless it imports already.

    Args:
        source: "auto", "git" or "pypi".

    Raises:
        InstallError, SourceError, OSError: it failed, and nothing of Detectron2 is left behind.
    """
    state = probe()
    if state["version"] is not None:
        packaged = f" (packaged as {state['owner']})" if state["owner"] else ""
        print(f"Detectron2 {state['version']}{packaged} is at {state['place']}: nothing to do")
        return
    _need_pip()
    _need_torch()
    if state["error"] != "absent":
        if not _is_ours(state["owner"]):
            raise InstallError(
                f"a Detectron2 that was not installed by this script is here but does not import "
                f"({state['error']}); repair it, or remove it and run this again"
            )
        print(f"Detectron2 {state['owner']} is broken ({state['error']}); installing it anew")
        _remove(state)

    with tempfile.TemporaryDirectory(prefix="detectron2-") as scratch:
        _from_first_source(source, Path(scratch), _install_tree)


def build_only(source: str, directory: Path) -> Path:
    """Build the wheel into a folder, made if missing; returns the wheel's path."""
    directory.mkdir(parents=True, exist_ok=True)

    def build(tree: SourceTree, _scratch: Path) -> Path:
        return build_wheel(tree, directory)

    with tempfile.TemporaryDirectory(prefix="detectron2-") as scratch:
        path = _from_first_source(source, Path(scratch), build)
    print(f"built {path}")
    return path


def _from_first_source(source: str, scratch: Path, use: Callable[[SourceTree, Path], Path]) -> Path:
    """Hand the first source that can be fetched, and that `use` accepts, to `use`."""
    if source in ("auto", "git"):
        try:
            return use(_fetch_git(scratch), scratch)
        except SourceError as error:
            if source == "git":
                raise
            print(f"Detectron2's Git repository: {error}; taking the copy on PyPI")
    return use(_fetch_labgym(scratch), scratch)


def _fetch_git(scratch: Path) -> SourceTree:
    """Download the pinned commit; SourceError if the host does not answer or answers wrongly."""
    if not host_answers():
        raise SourceError(f"{GIT_HOST} does not answer")
    print(f"fetching Detectron2 from {GIT_ARCHIVE}")
    archive = scratch / "detectron2.tar.gz"
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    try:
        response = urllib.request.urlopen(GIT_ARCHIVE, timeout=30)
    except (OSError, ValueError) as error:
        raise SourceError(f"{GIT_ARCHIVE}: {error}") from error
    with response, archive.open("wb") as file:
        while True:
            try:
                chunk = response.read(1 << 16)
            except OSError as error:
                raise SourceError(f"{GIT_ARCHIVE}: {error}") from error
            if not chunk:
                break
            file.write(chunk)
            if time.monotonic() > deadline or file.tell() > MAX_ARCHIVE_BYTES:
                raise SourceError(f"{GIT_ARCHIVE}: too slow or too large, given up")
    return read_git_archive(archive, GIT_COMMIT)


def host_answers() -> bool:
    """Does the Git host answer an HTTPS request within PROBE_SECONDS?

    In a thread, because a name look-up cannot be given a time limit.
    """
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(GIT_HOST, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
        except (OSError, ValueError):
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    return answered.is_set()


def _fetch_labgym(scratch: Path) -> SourceTree:
    """Download LabGym's wheel with pip, so that the user's registry and proxy settings hold."""
    _need_pip()
    print(f"fetching the PyPI wheel LabGym {LABGYM_VERSION}, which carries Detectron2")
    folder = scratch / "labgym"
    # LabGym restricts itself to Python < 3.11 for reasons that do not concern Detectron2.
    _pip(
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.10",
        "--retries=2",
        f"--dest={folder}",
        f"LabGym=={LABGYM_VERSION}",
    )
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise InstallError(f"pip reported success but left {len(wheels)} wheels of LabGym, not one")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != LABGYM_SHA256:
        raise InstallError(
            f"{wheels[0].name} from the package registry has SHA-256 {digest}, expected "
            f"{LABGYM_SHA256}: it was not used"
        )
    apache = Path(__file__).resolve().parent.parent / "LICENSE"
    return read_labgym_wheel(wheels[0], LABGYM_VERSION, apache.read_bytes())


def _install_tree(tree: SourceTree, scratch: Path) -> Path:
    """Build, install and verify; on any failure remove what was installed."""
    wheel = build_wheel(tree, scratch)
    print(f"installing Detectron2 {tree.version} and what it depends on")
    try:
        _pip("install", "--quiet", str(wheel))
        state = probe()
        if state["version"] is None:
            raise SourceError(f"Detectron2 {tree.version} does not import: {state['error']}")
    except BaseException:
        _remove(probe())
        raise
    print(f"installed Detectron2 {tree.version} at {state['place']}")
    return wheel


def probe() -> dict[str, str | None]:
    """Ask a fresh interpreter about Detectron2.

    Returns:
        `version` and `place` of the package if it imports, else None with the reason in `error`
        ("absent" if there is none); `owner` and `site`, the version that pip knows and the folder
        it lies in, None if pip knows none.
    """
    with tempfile.TemporaryDirectory(prefix="detectron2-") as elsewhere:
        result = _python("-W", "ignore", "-c", PROBE, cwd=elsewhere)
    try:
        return json.loads(result.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        reason = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
        return {"owner": None, "site": None, "version": None, "place": None, "error": reason}


def _is_ours(owner: str | None) -> bool:
    return owner is not None and ("+labgym" in owner or "+git." in owner)


def _remove(state: dict[str, str | None]) -> None:
    """Take out a Detectron2 that this script installed, whole or in part."""
    if not _is_ours(state["owner"]):
        return
    _python("-m", "pip", "uninstall", "--yes", "--quiet", "detectron2")
    # pip does nothing if the installation was cut off before its list of files was written.
    site = Path(state["site"])
    for leftover in (site / "detectron2", site / f"detectron2-{state['owner']}.dist-info"):
        shutil.rmtree(leftover, ignore_errors=True)


def _need_pip() -> None:
    if _python("-m", "pip", "--version").returncode != 0:
        raise InstallError(
            f"pip is missing; run `{sys.executable} -m ensurepip --upgrade`, then this again"
        )


def _need_torch() -> None:
    result = _python("-W", "ignore", "-c", "import torch, torchvision")
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InstallError(
            f"PyTorch is needed first ({reason}); run "
            f"`{sys.executable} -m pip install torch torchvision`, then this again"
        )


def _pip(*arguments: str) -> None:
    """Run pip; InstallError with pip's own reason if it fails."""
    result = _python("-m", "pip", "--disable-pip-version-check", "--no-input", *arguments)
    if result.returncode == 0:
        return
    if os.strerror(errno.ENOSPC) in result.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    errors = [line[len("error: ") :] for line in lines if line.lower().startswith("error: ")]
    if not errors or errors == ["Exception:"]:  # then pip crashed, and a traceback follows
        errors = lines or ["no reason given"]
    cause = "no connection to the package registry: " if "Retrying" in result.stderr else ""
    raise InstallError(f"pip {arguments[0]} failed: {cause}{' / '.join(errors[-2:])}")


def _python(*arguments: str, cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, errors="replace"
    )


def _explain(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space is left on the disk{where}; free some, or point TMPDIR to a larger one"
    return f"{error.strerror or error}{where}"


def _fail(message: str) -> int:
    sys.stdout.flush()
    print(f"install_detectron2: {message}", file=sys.stderr)
    return 1


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main())
