"""The command that draws what spotters see in colours over the image."""

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
    path = ROOT / "tools" / "draw_maps.py"
    spec = importlib.util.spec_from_file_location("draw_maps", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("mango_spotter", "perceptron", "tiny_spotter"):
        sys.modules.pop(name, None)


def small(name):
    """A spotter, its configuration file, and options that make it as small as it is."""
    if name == "mango":
        from mango_spotter import SMALL, mango_spotter

        options = [str(part) for item in SMALL.items() for part in item]
        return mango_spotter(), "mango/tiny/teacher.yaml", options
    from perceptron import perceptron, perceptron_options

    return perceptron(), "text_perceptron/tiny/teacher.yaml", perceptron_options()


@pytest.mark.parametrize("name", ["mango", "text_perceptron"])
def test_pictures_of_a_data_set(command, tmp_path, name):
    spotter, config, options = small(name)
    torch.save(spotter.state_dict(), tmp_path / "weights.pth")
    output = tmp_path / "new" / "drawn"
    arguments = ["--config-file", str(ROOT / "configs" / config), "--output", str(output)]
    arguments += ["--num", "1", *options, "INPUT.MIN_SIZE_TEST", "256"]
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
    told = "this draws the maps of MANGOSpotter and TextPerceptronSpotter, not those of a MaskRCNN"
    assert told in capsys.readouterr().err
