"""Commands that find or take a cost bias."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from tiny_dynamic_spotter import CONFIG

from dld_d2.commands import read
from dld_d2.data.images import read_image
from dld_d2.deployment import TextSpotter

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tool_finds_what_the_predictor_finds(student, opts, files, folder, tmp_path, capsys):
    choose = tool("choose_cost_bias")
    expected = TextSpotter.from_file(student).set_target_cost(files, 0.4)
    by_file = ["--model", student, "--images", str(folder / "images")]
    at = opts.index("MODEL.WEIGHTS")
    by_config = ["--config-file", CONFIG, "--weights", opts[at + 1], "--images", *files]
    for source, last in ((by_file, []), (by_config, ["--opts", *opts[:at]])):
        assert choose.main([*source, "--target-cost", "0.4", "0.8", *last]) == 0
        told = capsys.readouterr().out
        assert f"{expected.cost_bias:.6g}" in told and f"{expected.mean_cost:.4f}" in told
        assert "12 images" in told
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    assert choose.main(["--model", student, "--target-cost", "0.4", "--images", *files, str(bad)])
    streams = capsys.readouterr()
    assert "bad.jpg" in streams.err and "1 images could not be read" in streams.err
    assert f"{expected.cost_bias:.6g}" in streams.out


def test_the_tool_with_a_data_set(student, files, capsys):
    choose = tool("choose_cost_bias")
    DatasetCatalog.register("budget_set", lambda: [{"file_name": file} for file in files])
    try:
        arguments = ["--model", student, "--target-cost", "0.4", "--dataset", "budget_set"]
        assert choose.main(arguments) == 0
        assert "note" not in capsys.readouterr().err
        testing = ["--opts", "DATASETS.TEST", "('budget_set',)"]
        assert choose.main([*arguments, *testing]) == 0
        assert "budget_set is in DATASETS.TEST" in capsys.readouterr().err

        # Images that are in no file.
        DatasetCatalog.remove("budget_set")
        drawn = [{"read_image": lambda order, f=f: read_image(f, order)} for f in files]
        DatasetCatalog.register("budget_set", lambda: drawn)
        assert choose.main(arguments) == 0
        expected = TextSpotter.from_file(student).set_target_cost(files, 0.4)
        assert f"{expected.cost_bias:.6g}" in capsys.readouterr().out
    finally:
        DatasetCatalog.remove("budget_set")


def test_the_tool_says_what_is_wrong(student, files, tmp_path, capsys):
    choose = tool("choose_cost_bias")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["--images", *files, "--target-cost", "0.1"], "out of reach"),
        (["--images", str(tmp_path / "empty"), "--target-cost", "0.5"], "there are no images in"),
        (["--images", "nowhere.png", "--target-cost", "0.5"], "none of the 1 images"),
        (["--dataset", "nothing", "--target-cost", "0.5"], "'nothing' is not registered"),
        (["--images", *files, "--target-cost", "0.5", "--batch-size", "0"], "batch size of 0"),
    ):
        assert choose.main(["--model", student, *arguments]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        choose.main(["--config-file", CONFIG, "--images", *files, "--target-cost", "0.5"])
    assert "go together" in capsys.readouterr().err


def test_reading_meets_a_target(student, files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda **_: None)
    out = ["--output", str(tmp_path), "--no-pictures", "--batch-size", "4"]
    inputs = ["--model", student, "--input", *files, "missing.png"]
    assert read.main([*inputs, *out, "--target-cost", "0.4"]) == 1
    expected = TextSpotter.from_file(student).set_target_cost(files, 0.4)
    message = capsys.readouterr().err
    assert f"cost bias {expected.cost_bias:.6g}: mean relative cost" in message
    whole = json.loads((tmp_path / "results.json").read_text())
    assert [entry["file"] for entry in whole["failed"]] == ["missing.png"]
    mean = np.mean([image["relative_cost"] for image in whole["images"]])
    assert mean == pytest.approx(expected.mean_cost, abs=1e-5)
    assert read.main([*inputs, *out, "--target-cost", "0.01"]) == 2
    assert "out of reach" in capsys.readouterr().err
    assert read.main([*inputs, *out, "--cost-bias", "1e4"]) == 1
    whole = json.loads((tmp_path / "results.json").read_text())
    assert {image["scale"] for image in whole["images"]} == {0.4}
