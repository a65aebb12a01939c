"""Detectron2's Python files, whatever source they were read from."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

# If any of these is missing, the source is not a whole Detectron2.
ESSENTIAL = (
    "detectron2/__init__.py",
    "detectron2/config/defaults.py",
    "detectron2/engine/defaults.py",
    "detectron2/modeling/meta_arch/rcnn.py",
    "detectron2/model_zoo/configs/Base-RCNN-FPN.yaml",
    "detectron2/projects/point_rend/__init__.py",
)


class SourceError(Exception):
    """A source that cannot be had, or is damaged, incomplete or not what it should be."""


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

    def check(self, where: str) -> SourceTree:
        """Make sure that the tree is whole and that every Python file in it compiles.

        Args:
            where: what the tree was read from, for messages.

        Returns:
            The tree itself.

        Raises:
            SourceError: it is not, or one does not.
        """
        missing = [name for name in ESSENTIAL if name not in self.files]
        if missing:
            raise SourceError(f"{where} holds no whole Detectron2: {missing[0]} is missing")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, content in self.files.items():
                if name.endswith(".py"):
                    try:
                        compile(content, name, "exec", dont_inherit=True)
                    except (SyntaxError, ValueError) as error:
                        raise SourceError(f"{where}: {name} does not compile: {error}") from error
        return self
