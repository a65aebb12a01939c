"""Files of weights that are damaged, or made to do harm, are refused in one line at once."""

import os
import pickle
import resource
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from dld_d2.engine.average_weights import main as average
from dld_d2.engine.checkpoint import SpotterCheckpointer, read_weights
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.convert_weights import convert
from dld_d2.engine.weights_file import (
    DamagedFileError,
    WeightsError,
    check_whole,
    read_pth,
    read_safetensors,
    safetensors_bytes,
)


class RunsCode:
    ran = False

    def __reduce__(self):
        return setattr, (RunsCode, "ran", True)


class TakesMemory:
    def __reduce__(self):
        return bytearray, (20_000_000_000,)


def state():
    torch.manual_seed(0)
    return {"a": torch.randn(40, 50), "b": torch.arange(7), "c": torch.randn(3).half()}


@pytest.fixture
def file(tmp_path):
    torch.save({"model": state(), "iteration": 3, "name": b"bytes"}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


@pytest.fixture
def tensors(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(safetensors_bytes(state(), {"text": "0" * 64}))
    return tmp_path / "w.safetensors"


def compressed(source, target):
    with zipfile.ZipFile(source) as a, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as b:
        for name in a.namelist():
            b.writestr(name, a.read(name))
    return target


def flipped(content, number, seed):
    content = bytearray(content)
    for place in np.random.default_rng(seed).choice(len(content), number, replace=False):
        content[place] ^= 1 << (place % 8)
    return bytes(content)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_round_trips(file, tensors):
    content = read_pth(file)
    assert same(content["model"], state()) and content["name"] == b"bytes"
    found, texts = read_safetensors(tensors)
    assert same(found, state()) and texts["text"] == "0" * 64
    # Other programs read it, too.
    assert same(safetensors.torch.load_file(tensors), state())


@pytest.mark.parametrize("seed", range(30))
def test_64_flipped_bits_are_noticed(file, tensors, tmp_path, seed):
    for whole, read in ((file, read_pth), (tensors, read_safetensors)):
        damaged = tmp_path / f"damaged{whole.suffix}"
        damaged.write_bytes(flipped(whole.read_bytes(), 64, seed))
        with pytest.raises(WeightsError, match=rf"damaged{whole.suffix}: ") as told:
            read(damaged)
        assert "\n" not in str(told.value) and len(str(told.value)) < 600


def test_one_flipped_bit_in_a_weight_is_noticed_and_named(file, tensors, tmp_path):
    weight = state()["a"].numpy().tobytes()
    for whole, read in ((file, read_pth), (tensors, read_safetensors)):
        content = bytearray(whole.read_bytes())
        content[content.index(weight) + 1000] ^= 1
        damaged = tmp_path / f"damaged{whole.suffix}"
        damaged.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"damaged: .*(CRC-32|SHA-256) differs"):
            read(damaged)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_what_is_cut_off_is_noticed(file, tensors, tmp_path, share):
    for whole, read in ((file, read_pth), (file, check_whole), (tensors, read_safetensors)):
        damaged = tmp_path / f"damaged{whole.suffix}"
        content = whole.read_bytes()
        damaged.write_bytes(content[: int(share * len(content))])
        with pytest.raises(WeightsError, match=rf"damaged{whole.suffix}: "):
            read(damaged)


def test_files_without_sums_are_read(tmp_path):
    """Of other programs, of old versions of PyTorch, and with its sums turned off."""
    safetensors.torch.save_file(state(), tmp_path / "w.safetensors")
    assert same(read_safetensors(tmp_path / "w.safetensors")[0], state())
    torch.save(state(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(read_pth(tmp_path / "old.pth"), state())
    if hasattr(torch.serialization, "set_crc32_options"):
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(state(), tmp_path / "bare.pth")
        finally:
            torch.serialization.set_crc32_options(True)
        assert same(read_pth(tmp_path / "bare.pth"), state())


@pytest.mark.parametrize("extra", [None, RunsCode()])
def test_what_inflates_is_refused_before_it_does(tmp_path, extra):
    """Also where it holds code, which does not run."""
    torch.save({"model": {"x": torch.zeros(10_000_000)}, "extra": extra}, tmp_path / "big.pth")
    bomb = compressed(tmp_path / "big.pth", tmp_path / "bomb.pth")
    assert bomb.stat().st_size < 100_000
    os.remove(tmp_path / "big.pth")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (read_pth, check_whole, read_weights):
        with pytest.raises(WeightsError, match=r"bomb\.pth: not loaded, .* 40 MB.*compressed"):
            read(bomb)
    with pytest.raises(WeightsError, match="compressed"):
        convert(bomb, tmp_path / "out.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KB
    assert not RunsCode.ran


def test_parts_that_lie_over_each_other_are_refused(file, tmp_path):
    """Many names for the same bytes need no compression."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "o.pth", "w") as target:
        for name in archive.namelist():
            target.writestr(name, archive.read(name))
        weights = next(i for i in target.infolist() if i.file_size == 8000)
        for number in range(50):
            again = zipfile.ZipInfo(f"w/data/{100 + number}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(again, field, getattr(weights, field))
            target.filelist.append(again)
            target.NameToInfo[again.filename] = again
        target._didModify = True
    with pytest.raises(WeightsError, match=r"o\.pth: "):
        read_pth(tmp_path / "o.pth")


def test_one_number_that_fills_gigabytes_is_refused(tmp_path):
    torch.save({"model": {"x": torch.zeros(1).expand(750_000_000)}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="its tensors would take 3,000 MB"):
        read_pth(tmp_path / "w.pth")
    assert average([str(tmp_path / "out.pth"), *[str(tmp_path / "w.pth")] * 2]) == 2


def test_a_list_in_a_list_in_a_list_takes_no_time(tmp_path):
    value = []
    for _ in range(60):
        value = [value] * 2
    torch.save({"model": state(), "extra": value}, tmp_path / "w.pth")
    assert same(read_pth(tmp_path / "w.pth")["model"], state())


def test_shared_weights_are_no_attack(tmp_path):
    weight = torch.randn(1000)
    torch.save({f"head{i}": weight for i in range(5)}, tmp_path / "w.pth")
    assert len(read_pth(tmp_path / "w.pth")) == 5


@pytest.mark.parametrize("value", [RunsCode(), TakesMemory(), {1: RunsCode()}])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_no_tensor_is_refused(tmp_path, value, zipped):
    torch.save({"x": value}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"w\.pth: not loaded.*plain"):
        read_pth(tmp_path / "w.pth")
    (tmp_path / "p.pth").write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(WeightsError, match=r"p\.pth: not"):
        read_pth(tmp_path / "p.pth")
    assert not RunsCode.ran


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(3, 3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8),
    ],
)
def test_tensors_without_plain_values_are_refused(tmp_path, value):
    torch.save({"model": {"x": value}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth: not loaded"):
        read_pth(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "expected a state dict, found list"),
        ({"state_dict": state()}, "state_dict is no tensor; this is no file of weights"),
        ({"model": [1]}, "its model is a list"),
        ({"model": {"a": 1}}, "a is no tensor"),
        ({"model": {7: torch.zeros(1)}}, "7 is no tensor"),
    ],
)
def test_what_holds_no_weights_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    for read in (read_weights, SpotterCheckpointer(torch.nn.Linear(2, 3)).load):
        with pytest.raises(ConfigError, match=rf"w\.pth: {message}"):
            read(str(tmp_path / "w.pth"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_loaded(tmp_path, value):
    model = torch.nn.Linear(2, 3)
    weights = model.state_dict() | {"bias": torch.tensor([1.0, value, 2.0])}
    torch.save({"model": weights}, tmp_path / "w.pth")
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        with pytest.raises(ConfigError, match=rf"{name}: bias holds infinite or NaN"):
            SpotterCheckpointer(model).load(str(tmp_path / name))
    assert torch.isfinite(model.bias).all()


@pytest.mark.parametrize("read", [read_pth, read_safetensors, check_whole])
def test_pipes_devices_and_folders_are_refused(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", "/dev/zero", tmp_path):
        with pytest.raises(OSError, match=r"is a .*not a file"):
            read(path)
