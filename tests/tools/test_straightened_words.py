"""The command that draws words laid straight."""

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from dld_d2.modeling.spotters.text_perceptron.spotter import TextPerceptronSpotter

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "text_perceptron" / "tiny" / "teacher.yaml")


@pytest.fixture
def command(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "modeling"))
    path = ROOT / "tools" / "straightened_words.py"
    spec = importlib.util.spec_from_file_location("straightened_words", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("perceptron", "tiny_spotter"):
        sys.modules.pop(name, None)


def arc(start, stop, centre):
    angle = np.deg2rad(np.linspace(start, stop, 7))
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([60 * unit, 40 * unit[::-1]]) + centre


def bar(start, stop, across):
    upper = np.linspace(start, stop, 7)
    return np.concatenate([upper, upper[::-1] + across])


WORDS = {
    "level": bar((20, 20), (100, 20), (0, 20)),
    "curved": arc(200, 340, (160, 120)),
    "upright": bar((40, 220), (40, 140), (20, 0)),
    "x": bar((100, 220), (100, 160), (20, 0)),
}


def find(self, images, features):
    """The same words in every image."""
    found = Instances(images.image_sizes[0])
    found.pred_polygons = [polygon.astype(np.float32) for polygon in WORDS.values()]
    corners = [np.concatenate([p.min(axis=0), p.max(axis=0)]) for p in found.pred_polygons]
    found.pred_boxes = Boxes(torch.from_numpy(np.stack(corners)))
    found.scores = found.text_scores = torch.ones(len(WORDS))
    found.pred_classes = torch.zeros(len(WORDS), dtype=torch.int64)
    found.pred_texts = list(WORDS)
    return [found]


@pytest.fixture
def arguments(command, tmp_path):
    from perceptron import perceptron, perceptron_options

    torch.save(perceptron().state_dict(), tmp_path / "weights.pth")
    options = [*perceptron_options(), "INPUT.MIN_SIZE_TEST", "256"]
    options += ["MODEL.WEIGHTS", str(tmp_path / "weights.pth")]
    output = str(tmp_path / "drawn.png")
    return lambda *own: ["--config-file", CONFIG, "--output", output, *own, *options]


def test_the_most_curved_and_the_most_upright_word_are_drawn(
    command, arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(TextPerceptronSpotter, "find", find)
    drawn, draw_word = [], command.draw_word

    def note(word, image, kind):
        drawn.append((kind, word.text))
        return draw_word(word, image, kind)

    monkeypatch.setattr(command, "draw_word", note)
    assert command.main(arguments("--num", "1")) == 0
    assert drawn == [("curved", "curved"), ("upright", "upright")]
    assert "2 of 4 found words" in capsys.readouterr().err
    height, width = cv2.imread(str(tmp_path / "drawn.png")).shape[:2]
    assert height > 2 * 640 and width > 640 + 384
    # Single letters come last, and there may be fewer words than are asked for.
    assert command.main(arguments("--num", "1", "--curved", "0", "--upright", "9")) == 0
    order = [text for _, text in drawn[2:]]
    assert order[0] == "upright" and set(order[1:3]) == {"level", "curved"} and order[3] == "x"


def test_words_that_are_read_right_come_first(command):
    words = [
        command.Found(0, WORDS["curved"], "one", "two", WORDS["curved"]),
        command.Found(0, WORDS["level"], "Three", "three", WORDS["level"]),
    ]
    assert [word.right for word in words] == [False, True]
    assert command.best(words, command.bend, 1)[0] is words[1]


def test_shapes_are_told_by_annotations(command):
    """A level word that is found badly is not curved."""
    words = [
        command.Found(0, WORDS["curved"], "one", "one", WORDS["level"]),
        command.Found(0, WORDS["level"], "two", "two", WORDS["curved"]),
    ]
    assert command.best(words, command.bend, 1)[0] is words[1]


def test_what_cannot_be_drawn_is_told(command, arguments, tmp_path, monkeypatch, capsys):
    def nothing(self, images, features):
        return [one[:0] for one in find(self, images, features)]

    monkeypatch.setattr(TextPerceptronSpotter, "find", nothing)
    assert command.main(arguments("--num", "1")) != 0
    assert "no word was found" in capsys.readouterr().err
    assert command.main(["--model", "tiny_teacher", "--output", str(tmp_path / "x.png")]) != 0
    assert "a MaskRCNNSpotter does not lay words straight" in capsys.readouterr().err
    assert command.main(["--model", "tiny_teacher", "--output", "x.gif"]) != 0
    assert "ends neither in .png nor in .jpg" in capsys.readouterr().err
