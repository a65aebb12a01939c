import time

import pytest
import torch
from torch import nn

from dld_d2.analysis.timing import ForwardTimer


@pytest.fixture
def model():
    return nn.Identity()


def test_leaves_out_the_first_calls_and_what_is_between(model, monkeypatch):
    clock = iter([0.0, 50.0, 60.0, 70.0, 80.0, 82.0, 90.0, 91.0])  # before, after, before, ...
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timer = ForwardTimer(model, num_warmup=2)
    for size in (1, 1, 3, 1):
        model([torch.zeros(1)] * size)
    assert timer.stop() == (4, 3.0)
    model([])  # no longer measured: the clock has run out


def test_uses_the_last_call_if_all_are_first(model, monkeypatch):
    clock = iter([0.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timer = ForwardTimer(model, num_warmup=5)
    for _ in range(2):
        model([torch.zeros(1)])
    assert timer.stop() == (1, 1.0)
    assert ForwardTimer(model).stop() == (0, 0)
