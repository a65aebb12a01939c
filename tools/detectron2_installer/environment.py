"""The Python environment that this runs in: what is there, and what pip puts in or takes out."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
        reason = _last_line(result) or f"exit status {result.returncode}"
        return {"owner": None, "site": None, "version": None, "place": None, "error": reason}


def is_ours(owner: str | None) -> bool:
    """Whether a version that pip knows is one that this package installs."""
    return owner is not None and ("+labgym" in owner or "+git." in owner)


def remove(state: dict[str, str | None]) -> None:
    """Take out a Detectron2 that this package installed, whole or in part; see `probe`."""
    if not is_ours(state["owner"]):
        return
    _python("-m", "pip", "uninstall", "--yes", "--quiet", "detectron2")
    # pip does nothing if the installation was cut off before its list of files was written.
    site = Path(state["site"])
    for leftover in (site / "detectron2", site / f"detectron2-{state['owner']}.dist-info"):
        shutil.rmtree(leftover, ignore_errors=True)


def need_pip() -> None:
    """InstallError, with the remedy, if there is no pip."""
    if _python("-m", "pip", "--version").returncode != 0:
        raise InstallError(
            f"pip is missing; run `{sys.executable} -m ensurepip --upgrade`, then this again"
        )


def need_torch() -> None:
    """InstallError, with the remedy, if there is no PyTorch."""
    result = _python("-W", "ignore", "-c", "import torch, torchvision")
    if result.returncode != 0:
        raise InstallError(
            f"PyTorch is needed first ({_last_line(result) or 'no reason given'}); run "
            f"`{sys.executable} -m pip install torch torchvision`, then this again"
        )


def run_pip(*arguments: str) -> None:
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


def _last_line(result: subprocess.CompletedProcess[str]) -> str:
    return result.stderr.strip().rpartition("\n")[2]
