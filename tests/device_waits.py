"""Where a program waits for the device, for tests: on a GPU, or on a CPU that is taken for one."""

import contextlib
import traceback
import warnings
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

ROOT = str(Path(__file__).parents[1] / "dld_d2")

# What gives the host numbers of the device.
FETCHES = {"cpu", "item", "tolist", "__bool__", "__int__", "__float__", "__index__"}
# What has as many elements as the numbers on the device say.
SIZED = {"nonzero", "masked_select", "unique", "argwhere", "equal", "allclose"}
# What makes a tensor out of numbers of the host.
MADE = {"tensor", "as_tensor", "new_tensor"}


def place():
    """The innermost line of the package that is being run."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(ROOT):
            return f"{Path(frame.filename).relative_to(ROOT)}: {frame.line}"
    return "elsewhere"


class TakenForDevice(TorchFunctionMode):
    """Takes a CPU's tensors for a device's: those of a model, those made by naming a device, and
    all that is computed of them."""

    def __init__(self, model):
        super().__init__()
        self.waits = []
        # Kept, so that no other object gets the number of one that is gone.
        self.there = {id(x): x for x in (*model.parameters(), *model.buffers())}

    def is_there(self, values):
        return any(id(x) in self.there for x in tree_flatten(values)[0])

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        name = getattr(function, "__name__", "")
        moved = name == "to" and any(isinstance(x, torch.device) for x in (*args, *kwargs.values()))
        there = self.is_there((args, kwargs))
        if name in FETCHES:
            if there:
                self.waits.append(place())
            return result
        if there and self._takes_its_size_from_numbers(name, args, kwargs):
            self.waits.append(place())
        if not there and moved and not kwargs.get("non_blocking"):
            self.waits.append(place())
        if name in MADE and (kwargs.get("device") is not None or there):
            self.waits.append(place())
        if there or moved or kwargs.get("device") is not None:
            self.there |= {id(x): x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)}
        return result

    @staticmethod
    def _takes_its_size_from_numbers(name, args, kwargs):
        if name in ("__getitem__", "__setitem__"):
            index = tree_flatten(args[1])[0]
            return any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in index)
        if name == "repeat_interleave":
            return isinstance(args[-1], torch.Tensor) and kwargs.get("output_size") is None
        return name in SIZED


@contextlib.contextmanager
def device_waits(model):
    """Within it the lines of the package that wait for the model's device are collected, in the
    order of their calls, in the list that it gives."""
    if next(model.parameters()).device.type != "cuda":
        with TakenForDevice(model) as mode:
            yield mode.waits
        return
    waits = []
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: (
            waits.append(place()) if "synchronizing" in str(message) else None
        )
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode(before)
