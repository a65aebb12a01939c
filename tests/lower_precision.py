"""Mixed precision on any CPU, for tests."""

import contextlib

import torch


@contextlib.contextmanager
def lstms_in_lower_precision():
    """PyTorch 2.4 leaves them to oneDNN, which has none on CPUs without AVX-512."""
    lstm = torch.nn.LSTM(2, 2)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            lstm(torch.zeros(1, 2, dtype=torch.bfloat16))
    except RuntimeError:
        with torch.backends.mkldnn.flags(enabled=False):
            yield
    else:
        yield
