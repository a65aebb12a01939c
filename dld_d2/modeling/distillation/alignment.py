"""Comparing a student with a teacher that crops regions at twice its size.

The paper's ablation distils a teacher with RoI features of 16 x 64 into a student with 8 x 32. Its
L_roi then needs the student's features enlarged, which a learned deconvolution does, in training
only. For L_con the paper says nothing: the teacher's sequence has three rows of 65 elements, the
student's one row of 33. Here the teacher's is brought to the student's grid, which needs no
parameters.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FeatureAligner", "resample_context"]


class FeatureAligner(nn.ConvTranspose2d):
    """A deconvolution that doubles height and width: (N, C, H, W) -> (N, C, 2H, 2W).

    Every output element is a sum over 2 x 2 input elements, so that no grid shows.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=4, stride=2, padding=1)


def resample_context(context: Tensor, *, rows: int, length: int) -> Tensor:
    """Bring a sequence that goes over several rows of a word to one row of another length.

    Rows are averaged, which is where the decoder's attention can end up too, and columns are
    interpolated linearly, first on first and last on last: of 65 columns, 33 are every second.

    Args:
        context: (N, rows * columns, C), row after row.
        rows: rows that the sequence encoder leaves; 3 for 16 x 64.
        length: L of the result; 33 for 8 x 32.

    Returns:
        (N, length, C).

    Raises:
        ValueError: if the sequence does not divide into `rows`.
    """
    if context.shape[1] % rows:
        raise ValueError(
            f"a sequence of {context.shape[1]} elements does not divide into {rows} rows"
        )
    columns = context.unflatten(1, (rows, -1)).mean(dim=1).transpose(1, 2)
    resampled = F.interpolate(columns, size=length, mode="linear", align_corners=True)
    return resampled.transpose(1, 2)
