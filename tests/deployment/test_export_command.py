"""`dld-d2 export`, and reading with what it made."""

import json

import cv2
import pytest
import safetensors
from tiny_dynamic_spotter import CONFIG, picture

from dld_d2.commands import export, read
from dld_d2.deployment import TextSpotter


def test_exporting_and_reading(biased, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda **_: None)
    at = biased.index("MODEL.WEIGHTS")
    student = tmp_path / "student.safetensors"
    arguments = ["--config-file", CONFIG, "--weights", biased[at + 1], "--output", str(student)]
    assert export.main([*arguments, "--cost-bias", "-2.5", "--opts", *biased[:at]]) == 0
    told = capsys.readouterr().out
    assert "scales 0.4, 0.6, 1; cost bias -2.5" in told and "MiB, DynamicSpotter" in told
    with safetensors.safe_open(student, framework="pt") as file:
        assert json.loads(file.metadata()["dld_d2 spotter"])["version"] == 2

    image = tmp_path / "a.png"
    cv2.imwrite(str(image), picture(0))
    out = ["--input", str(image), "--output", str(tmp_path / "out")]
    assert read.main(["--model", str(student), *out]) == 0
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["images"]
    expected = TextSpotter.from_file(student)(image)
    assert result["scale"] == expected.scale
    assert [word["text"] for word in result["words"]] == [word.text for word in expected]

    assert read.main(["--model", biased[at + 1], *out]) == 2
    assert "not an exported spotter" in capsys.readouterr().err
    plain = ["MODEL.META_ARCHITECTURE", "MaskRCNNSpotter"]
    assert export.main([*arguments, "--cost-bias", "1", "--opts", *biased[:at], *plain]) == 2
    assert "no resolution selector" in capsys.readouterr().err


def test_networks_of_a_shipped_model(tmp_path, capsys):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("dld_d2.deployment.runtime.spotter")
    folder = tmp_path / "onnx"
    small = ["--opts", "INPUT.MIN_SIZE_TEST", "320"]
    arguments = ["--model", "photo_teacher", "--format", "onnx", "--output", str(folder)]
    assert export.main([*arguments, *small]) == 0
    told = capsys.readouterr().out
    assert "detector.onnx" in told and "reader.onnx" in told
    assert runtime.OnnxSpotter(folder)(picture(0)).input_size[0] == 320

    (tmp_path / "file").touch()
    arguments[-1] = str(tmp_path / "file")
    assert export.main(arguments) == 2
    assert "is a file; name a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "a.yaml"], "--config-file and --weights"),
        (["--model", "photo_teacher"], "exported already"),
        (["--model", "a.pth", "--weights", "b.pth", "--format", "onnx"], "instead of"),
        (["--model", "a.pth", "--format", "onnx", "--cost-bias", "1"], "set cost_bias where"),
    ],
)
def test_options_that_do_not_fit_together(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        export.main([*arguments, "--output", "out"])
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
