"""How often the host waits for the GPU while words are found and read."""

import pytest
import torch
from all_spotters import SPOTTERS, built
from device_waits import device_waits
from tiny_spotter import sided_input

pytestmark = pytest.mark.cuda
WORDS = [("to", (90, 10, 130, 30)), ("be", (90, 50, 150, 80))]


@pytest.mark.parametrize("name", ["Text Perceptron", "MANGO"])
def test_the_host_waits_for_maps_and_for_texts_alone(name, device, monkeypatch):
    """See the test of this name in `test_contract.py`, which takes the CPU for a device."""
    kind = SPOTTERS[name]
    spotter = built(kind, MODEL__DEVICE=device)
    inputs = [sided_input(WORDS), sided_input([]), sided_input(WORDS[1:], seed=1)]
    kind.perfect(monkeypatch, spotter, *spotter.preprocess(inputs))
    for item in inputs:
        del item["instances"]
        if device == "cuda":  # as a loader gives them, so that copying does not wait
            item["image"] = item["image"].pin_memory()
    with torch.no_grad():
        spotter(inputs)  # the first pass waits for libraries that are set up
        with device_waits(spotter) as waits:
            outputs = spotter(inputs)
    assert [len(output["instances"]) for output in outputs] == [2, 0, 1]
    waits = [line for line in waits if "if ended.all()" not in line]
    assert len(waits) == 2, waits
    assert ".cpu()" in waits[0] and ".tolist()" in waits[1]
