"""The command that draws where characters are looked for."""

import importlib.util
import sys
from pathlib import Path

import cv2
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "modeling"))
    path = ROOT / "tools" / "attention_maps.py"
    spec = importlib.util.spec_from_file_location("attention_maps", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("mango_spotter", "tiny_spotter"):
        sys.modules.pop(name, None)


def test_pictures_of_a_data_set(command, tmp_path):
    from mango_spotter import SMALL, mango_spotter

    changes = {**SMALL, "INPUT.MIN_SIZE_TEST": 256}
    torch.save(mango_spotter().state_dict(), tmp_path / "weights.pth")
    options = [str(part) for item in changes.items() for part in item]
    config = str(ROOT / "configs" / "mango" / "tiny" / "teacher.yaml")
    output = tmp_path / "new" / "drawn"
    arguments = ["--config-file", config, "--output", str(output), "--num", "1", *options]
    assert command.main([*arguments, "MODEL.WEIGHTS", str(tmp_path / "weights.pth")]) == 0
    (picture,) = output.glob("*.jpg")
    height, width = cv2.imread(str(picture)).shape[:2]
    assert width > 2 * 1600 and height > 1600


def test_what_cannot_be_drawn_is_told(command, tmp_path, capsys):
    config = str(ROOT / "configs" / "tiny" / "teacher_synthetic.yaml")
    arguments = ["--config-file", config, "--output", str(tmp_path)]
    assert command.main(arguments) != 0
    assert "MODEL.WEIGHTS is empty" in capsys.readouterr().err
    assert command.main([*arguments, "MODEL.WEIGHTS", "weights.pth"]) != 0
    assert "MaskRCNNSpotter has no attention to characters" in capsys.readouterr().err
