import os
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from dld_d2.engine import checkpoint
from dld_d2.engine.checkpoint import SpotterCheckpointer


class RunsCode:
    ran = False

    def __reduce__(self):
        return setattr, (RunsCode, "ran", True)


def make_model(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def saved(tmp_path):
    """A model after a step of its optimiser, saved in `tmp_path`."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 2)).square().sum().backward()
    optimizer.step()
    SpotterCheckpointer(model, str(tmp_path), optimizer=optimizer).save("first", iteration=7)
    return model, optimizer


def test_round_trip_with_all_states(saved, tmp_path):
    model, optimizer = saved
    other = make_model()
    other_optimizer = torch.optim.AdamW(other.parameters())
    checkpointer = SpotterCheckpointer(other, str(tmp_path), optimizer=other_optimizer)
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 7
    assert same(model, other)
    state, expected = other_optimizer.state_dict(), optimizer.state_dict()
    assert state["param_groups"] == expected["param_groups"]
    assert torch.equal(state["state"][0]["exp_avg"], expected["state"][0]["exp_avg"])


def test_reads_safetensors(saved, tmp_path):
    model, _ = saved
    safetensors.torch.save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = make_model()
    SpotterCheckpointer(other).load(str(tmp_path / "weights.safetensors"))
    assert same(model, other)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt"])
def test_never_runs_code_from_a_file(tmp_path, name):
    torch.save({"model": make_model().state_dict(), "extra": RunsCode()}, tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: not loaded.*plain"):
        SpotterCheckpointer(make_model()).load(str(tmp_path / name))
    assert not RunsCode.ran


def test_refuses_pickles_and_says_what_to_do(tmp_path):
    file = tmp_path / "weights.pkl"
    file.write_bytes(pickle.dumps(RunsCode()))
    with pytest.raises(ValueError, match="convert_weights"):
        SpotterCheckpointer(make_model()).load(str(file))
    assert not RunsCode.ran


def test_reports_a_missing_file(tmp_path):
    checkpointer = SpotterCheckpointer(make_model())
    for _ in range(2):  # an error leaves the checkpointer usable
        with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
            checkpointer.load(str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", "half"])
def test_reports_a_damaged_file(saved, tmp_path, name, content):
    if content == "half":
        content = (tmp_path / "first.pth").read_bytes()[:700]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: not"):
        SpotterCheckpointer(make_model()).load(str(tmp_path / name))


def test_reports_weights_of_another_model(saved, tmp_path, caplog):
    torch.save({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="not one of the 2 parameters"):
        SpotterCheckpointer(make_model()).load(str(tmp_path / "other.pth"))
    # Some parameters fit: a report, but an error where all have to.
    file = str(tmp_path / "part.pth")
    torch.save({"0.weight": torch.ones(3, 2), "0.bias": torch.ones(4), "x": torch.ones(1)}, file)
    model = make_model()
    SpotterCheckpointer(model).load(file)
    assert (model[0].weight == 1).all()
    for word in ("0.bias", "x", "1.{"):
        assert word in caplog.text
    with pytest.raises(ValueError, match=r"0\.bias is \(4,\) .*; x is not in the model; 1\.weight"):
        SpotterCheckpointer(make_model()).load_exactly(file)
    with pytest.raises(ValueError, match="another model"):
        SpotterCheckpointer(make_model(5), str(tmp_path)).resume_or_load("")


def test_a_kill_while_writing_leaves_the_checkpoint_before(saved, tmp_path, monkeypatch):
    model, _ = saved
    checkpointer = SpotterCheckpointer(model, str(tmp_path))

    def write_half(data, stream):
        stream.write(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", write_half)
    for name in ("first", "second"):
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save(name)
    monkeypatch.undo()
    # Between file and tag: the tag names the file before, which is there.
    monkeypatch.setattr(checkpointer, "tag_last_checkpoint", lambda name: None)
    checkpointer.save("third")
    again = SpotterCheckpointer(make_model(), str(tmp_path))
    assert os.path.basename(again.get_checkpoint_file()) == "first.pth"
    assert again.resume_or_load("")["iteration"] == 7
    assert not (tmp_path / "second.pth").exists()
    monkeypatch.undo()
    checkpointer.save("second")
    assert (tmp_path / "last_checkpoint").read_text() == "second.pth"
    # A process that dies of an error clears up; one that is killed cannot, but the next one does.
    assert not list(tmp_path.glob(".*"))
    (tmp_path / ".third.pth.part").write_bytes(b"half a file")
    SpotterCheckpointer(model, str(tmp_path), save_to_disk=False).clear_unfinished()
    assert (tmp_path / ".third.pth.part").exists()
    checkpointer.clear_unfinished()
    assert not (tmp_path / ".third.pth.part").exists()
    assert (tmp_path / "third.pth").exists()


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_never_saves_weights_that_are_not_finite(saved, tmp_path, value):
    model, _ = saved
    model[0].bias.data[1] = value
    checkpointer = SpotterCheckpointer(model, str(tmp_path))
    for save in (checkpointer.save, checkpointer.save_weights):
        with pytest.raises(FloatingPointError, match=r"0\.bias"):
            save("bad")
    assert not (tmp_path / "bad.pth").exists()
    assert (tmp_path / "last_checkpoint").read_text() == "first.pth"


def test_never_saves_what_it_could_not_load(saved, tmp_path):
    checkpointer = SpotterCheckpointer(saved[0], str(tmp_path))
    with pytest.raises(TypeError, match=r"hooks\[1\]\.x is a set"):
        checkpointer.save("bad", hooks=[1, {"x": {1, 2}}])


def test_write_whole_replaces(tmp_path):
    file = tmp_path / "new" / "file"
    for content in (b"one", b"two"):
        checkpoint.write_whole(file, content)
        assert file.read_bytes() == content
    assert os.listdir(file.parent) == ["file"]
