"""Put Detectron2 into the Python environment that runs this script; no compiler, no Git needed.

    python tools/install_detectron2.py                   # install, or report what is there
    python tools/install_detectron2.py --wheel-dir DIR   # only build the wheel

Detectron2 is in no package registry, and its own setup.py compiles C++ (and CUDA) code against the
installed PyTorch. Nothing that text spotters use needs that code, so this script

1. does nothing if Detectron2 imports already;
2. else takes the Python files of its official Git repository, at a pinned commit, if the host
   answers within seconds;
3. else takes the complete copy of Detectron2 that the PyPI wheel LabGym carries, whose SHA-256 is
   pinned;

packs them as a wheel, installs that with pip, and checks that it imports. `pip show detectron2` and
`pip uninstall detectron2` work as for any package. Whatever goes wrong ends in one message and a
non-zero exit status, with nothing half-installed.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from detectron2_installer.environment import (
    InstallError,
    is_ours,
    need_pip,
    need_torch,
    probe,
    remove,
    run_pip,
)
from detectron2_installer.git_archive import fetch_git_archive
from detectron2_installer.labgym_wheel import fetch_labgym_wheel
from detectron2_installer.source_tree import SourceError, SourceTree
from detectron2_installer.wheel import build_wheel


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
        if sys.version_info < (3, 11):  # noqa: UP036 - any Python may be asked to run this
            raise InstallError(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
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


def run_as_script() -> None:
    """Run the command as this process: stopped by SIGTERM as by Ctrl-C, each line shown at once."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main())


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
    need_pip()
    need_torch()
    if state["error"] != "absent":
        if not is_ours(state["owner"]):
            raise InstallError(
                f"a Detectron2 that was not installed by this script is here but does not import "
                f"({state['error']}); repair it, or remove it and run this again"
            )
        print(f"Detectron2 {state['owner']} is broken ({state['error']}); installing it anew")
        remove(state)
    _from_first_source(source, _install_tree)


def build_only(source: str, directory: Path) -> None:
    """Build the wheel into a folder, made if missing."""
    directory.mkdir(parents=True, exist_ok=True)

    def build(tree: SourceTree, _scratch: Path) -> None:
        print(f"built {build_wheel(tree, directory)}")

    _from_first_source(source, build)


def _from_first_source(source: str, use: Callable[[SourceTree, Path], None]) -> None:
    """Hand the first source that can be fetched, and that `use` accepts, to `use`, with a folder
    for files that are not needed afterwards."""
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        scratch = Path(folder)
        if source in ("auto", "git"):
            try:
                use(fetch_git_archive(scratch), scratch)
                return
            except SourceError as error:
                if source == "git":
                    raise
                print(f"Detectron2's Git repository: {error}; taking the copy on PyPI")
        use(fetch_labgym_wheel(scratch), scratch)


def _install_tree(tree: SourceTree, scratch: Path) -> None:
    """Build, install and verify; on any failure remove what was installed."""
    wheel = build_wheel(tree, scratch)
    print(f"installing Detectron2 {tree.version} and what it depends on")
    try:
        run_pip("install", "--quiet", str(wheel))
        state = probe()
        if state["version"] is None:
            raise SourceError(f"Detectron2 {tree.version} does not import: {state['error']}")
    except BaseException:
        remove(probe())
        raise
    print(f"installed Detectron2 {tree.version} at {state['place']}")


def _explain(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space is left on the disk{where}; free some, or point TMPDIR to a larger one"
    return f"{error.strerror or error}{where}"


def _fail(message: str) -> int:
    sys.stdout.flush()
    print(f"install_detectron2: {message}", file=sys.stderr)
    return 1
