"""MATLAB files through SciPy, with messages for users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.io import loadmat

from dld_d2.data.formats.matlab_contents import check_contents
from dld_d2.data.report import AnnotationError
from dld_d2.structures.files import check_regular_file

__all__ = ["load_variables"]


def load_variables(path: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the named variables that a MATLAB file has.

    Raises:
        AnnotationError: if it cannot be read. The caller adds the file's name.
    """
    try:
        check_regular_file(path)
        check_contents(path, names)
        content = loadmat(path, variable_names=list(names))
    except NotImplementedError:
        raise AnnotationError(
            "is a MATLAB 7.3 file, not one of version 5 as published; save it with -v7"
        ) from None
    except Exception as error:  # SciPy raises all kinds of exceptions on damaged files
        raise AnnotationError(f"cannot be read as a MATLAB file ({error})") from None
    return {name: content[name] for name in names if name in content}
