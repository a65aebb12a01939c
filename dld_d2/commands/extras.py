"""Packages that not every installation has, and what to do where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["package_of", "remedy"]

# Extras of setup.cfg by the packages that are imported. What several have is named with the
# smallest.
_EXTRAS = {
    "runtime": ("cv2", "contourpy", "onnxruntime"),
    "serve": ("prometheus_client", "starlette", "uvicorn"),
    "pdf": ("pypdfium2",),
    "export": ("onnx",),
    "train": (
        "fontTools",
        "fvcore",
        "iopath",
        "matplotlib",
        "pycocotools",
        "safetensors",
        "scipy",
        "tensorboard",
        "torch",
        "torchvision",
        "tqdm",
        "yaml",
    ),
}


def package_of(error: ModuleNotFoundError) -> str:
    """The package that an import did not find."""
    return (error.name or "").partition(".")[0]


def remedy(error: ModuleNotFoundError) -> str | None:
    """What installs that package.

    Returns:
        A command; None for what every installation has, which is a bug or a damage.
    """
    package = package_of(error)
    if package == "detectron2":
        script = "python tools/install_detectron2.py, see docs/installation.md"
        return script if find_spec("torch") else f"{_installed('train')}, then {script}"
    for extra, packages in _EXTRAS.items():
        if package in packages:
            return _installed(extra)
    return None


def _installed(extra: str) -> str:
    return f"pip install 'dld_d2[{extra}]' (in a checkout -e '.[{extra}]')"
