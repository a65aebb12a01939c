"""What is known of an image's scale before it is looked at."""

from __future__ import annotations

import numpy as np

__all__ = ["check_scale_prior"]


def check_scale_prior(value: np.ndarray | None, number: int) -> np.ndarray | None:
    """A copy of what was given, if it is one: (number,), finite; or None.

    Raises:
        ValueError: for another shape, and for infinite values or NaN.
    """
    if value is None:
        return None
    prior = np.array(value, dtype=np.float32)
    if prior.shape != (number,) or not np.isfinite(prior).all():
        raise ValueError(f"a scale prior is {number} finite numbers, one for each scale: {value}")
    return prior
