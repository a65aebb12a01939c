"""Averages of weights against sums written out."""

import pytest
import safetensors.torch
import torch

from dld_d2.engine.average_weights import average_weights, main
from dld_d2.engine.checkpoint import read_weights


def spotter(value, dtype=torch.float32):
    return {
        "conv.weight": torch.full((2, 3), value, dtype=dtype),
        "norm.bias": torch.tensor([value, -value], dtype=dtype),
        "norm.num_batches_tracked": torch.tensor(int(value)),
    }


def dynamic_spotter(value):
    student = {f"spotter.{name}": tensor for name, tensor in spotter(value).items()}
    return student | {"policy.selector.stem.weight": torch.tensor([5.0])}


@pytest.fixture
def files(tmp_path):
    made = {}
    for name, state in {
        "student": {"model": dynamic_spotter(3.0), "iteration": 7},
        "earlier": {"model": dynamic_spotter(2.0)},
        "teacher": {"model": spotter(1.0)},
        "half": spotter(1.0, torch.float16),
    }.items():
        made[name] = tmp_path / f"{name}.pth"
        torch.save(state, made[name])
    made["export"] = tmp_path / "teacher.safetensors"
    safetensors.torch.save_file(spotter(1.0), made["export"])
    return made


@pytest.mark.parametrize("teacher", ["teacher", "export", "half"])
def test_a_student_meets_its_teacher(files, teacher):
    mean = average_weights([files["student"], files[teacher]], [0.25, 0.75])
    assert set(mean) == set(dynamic_spotter(0.0))
    assert mean["spotter.conv.weight"].tolist() == [[1.5] * 3] * 2
    assert mean["spotter.norm.bias"].tolist() == [1.5, -1.5]
    assert mean["spotter.conv.weight"].dtype == torch.float32
    assert mean["spotter.norm.num_batches_tracked"].item() == 3
    assert mean["policy.selector.stem.weight"].tolist() == [5.0]


def test_checkpoints_of_a_training_count_alike_unless_told(files):
    mean = average_weights([files["student"], files["earlier"], files["earlier"]])
    torch.testing.assert_close(mean["spotter.conv.weight"], torch.full((2, 3), 7 / 3))
    assert mean["policy.selector.stem.weight"].item() == pytest.approx(5.0)
    spotters = average_weights([files["teacher"], files["half"]], [2, 0])
    assert spotters["conv.weight"].eq(1).all() and set(spotters) == set(spotter(0.0))


def test_a_student_of_version_0_1_meets_its_teacher(tmp_path):
    old = {f"student.recognition.{name}": value for name, value in spotter(3.0).items()}
    torch.save({"model": old | {"aligner.weight": torch.zeros(2)}}, tmp_path / "student.pth")
    older = {f"recognition.{name}": value for name, value in spotter(1.0).items()}
    torch.save({"model": older}, tmp_path / "teacher.pth")
    mean = average_weights([tmp_path / "student.pth", tmp_path / "teacher.pth"])
    assert set(mean) == {f"spotter.roi_heads.text_head.{name}" for name in spotter(0.0)}
    assert mean["spotter.roi_heads.text_head.norm.bias"].tolist() == [2.0, -2.0]


def test_the_command_writes_a_checkpoint(files, tmp_path):
    output = tmp_path / "made" / "mean.pth"
    arguments = [str(output), str(files["student"]), str(files["teacher"]), "--shares", "1", "3"]
    assert main(arguments) == 0
    assert read_weights(output)["spotter.conv.weight"].unique().tolist() == [1.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("norm.bias"),
            r"other\.pth is of another model than .* has spotter\.norm\.bias",
        ),
        (lambda s: s.update(more=torch.zeros(1)), r"only one of them has spotter\.more"),
        (
            lambda s: s.update({"norm.bias": torch.zeros(3)}),
            r"spotter\.norm\.bias is \(3,\) and \(2,\)",
        ),
    ],
)
def test_another_model_is_named(files, tmp_path, change, message):
    state = spotter(1.0)
    change(state)
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        average_weights([files["student"], tmp_path / "other.pth"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mean.pth", "student.pth"], "at least two files, got 1"),
        (["mean.pth", "student.pth", "teacher.pth", "--shares", "1"], "1 shares for 2 files"),
        (["mean.pth", "student.pth", "teacher.pth", "--shares", "0", "0"], "not all 0"),
        (["mean.pth", "student.pth", "teacher.pth", "--shares", "nan", "1"], "must be finite"),
        (["student.pth", "student.pth", "teacher.pth"], "would overwrite what it is made of"),
        (["mean.pth", "teacher.pth", "student.pth"], "it has a student, the other one not"),
        (["mean.pth", "student.pth", "nan.pth"], "nan.pth: conv.weight holds infinite or NaN"),
        (["mean.pth", "state.pth", "teacher.pth"], "state.pth: state_dict is no tensor"),
        (["mean.pth", "student.pth", "no.pth"], "there are no weights at 'no.pth'"),
        (["mean.pth", "student.pth", "notes.txt"], "notes.txt: weights are read from .pth"),
        (["mean.bin", "student.pth", "teacher.pth"], "mean.bin: the result is a .pth file"),
    ],
)
def test_what_cannot_be_averaged_is_said(files, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no weights")
    torch.save(spotter(1.0) | {"conv.weight": torch.full((2, 3), torch.nan)}, "nan.pth")
    torch.save({"state_dict": spotter(1.0)}, "state.pth")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mean.pth").exists()
    assert read_weights("student.pth")["spotter.norm.bias"].tolist() == [3.0, -3.0]
