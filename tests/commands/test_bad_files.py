"""Files that cannot be used end a training in one line, which names the file and what to do, before
a model is built or data are read."""

import os
import pickle
import zipfile

import pytest
import torch

from dld_d2.commands import train
from dld_d2.data.catalog import register_text_dataset

ROOT = train.__file__.rsplit("/", 3)[0]
TINY = f"{ROOT}/configs/tiny/Base-tiny.yaml"


class Code:
    def __reduce__(self):
        return os.mkdir, ("code_ran",)


@pytest.fixture
def told(tmp_path, monkeypatch, capsys, clean_catalogs):
    """Runs a training in a folder of its own; returns the line that it ends with."""
    monkeypatch.chdir(tmp_path)
    register_text_dataset("never_read", tmp_path / "none", tmp_path / "none", "icdar2015")

    def nothing_is_built(*_):
        raise AssertionError("a model is built")

    monkeypatch.setattr("dld_d2.engine.trainer.SpotterTrainer.__init__", nothing_is_built)

    def told(*arguments, config=TINY):
        opts = ["DATASETS.TRAIN", "('never_read',)", "OUTPUT_DIR", "out", *arguments]
        assert train.main(["--config-file", config, *opts]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1, error
        assert not os.path.exists("out") and not os.path.exists("code_ran")
        return error.removeprefix("error: ").rstrip()

    return told


def nested(depth):
    return "a: " + "[" * depth + "]" * depth + "\n"


BOMB = "a: &a [x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)
CONFIGS = {
    "": "the file holds no keys",
    "# nothing\n": "the file holds no keys",
    "just words": "found text",
    "- a\n- b\n": "found a list",
    "3": "found one value",
    "SOLVER:\n\tMAX_ITER: 3\n": "line 2, column 1: found character '\\t'",
    "SOLVER: {MAX_ITER: 3\n": "not plain YAML, line 2",
    "SEED: 1\n---\nSEED: 2\n": "not plain YAML, line 2",
    "SEED: 1\nSEED: 2\n": "line 2, column 1: the key SEED stands there twice",
    "SOLVER:\n  MAX_ITER: 1\nSOLVER:\n  GAMMA: 1\n": "the key SOLVER stands there twice",
    "SOLVER: !!python/object/apply:os.mkdir [code_ran]\n": "could not determine a constructor",
    "SOLVER: 3\n": "SOLVER is a section",
    "SOLVR:\n  MAX_ITER: 3\n": "did you mean SOLVER.MAX_ITER?",
    "1: 2\n": "there is no configuration key 1",
    "SOLVER:\n  ? [a, b]\n  : 3\n": "line 2, column 5: found unhashable key",
    "SOLVER:\n  MAX_ITER: 2024-01-01\n": "which is a date; expected a whole number",
    "SOLVER:\n  MAX_ITER: 2024-13-41\n": "not plain YAML: month must be in 1..12",
    f"SEED: {'1' * 5000}\n": "not plain YAML: Exceeds the limit",
    "SOLVER:\n  BASE_LR: null\n": "SOLVER.BASE_LR is None",
    BOMB: "more than 16 aliases",
    "a: &a {b: *a}\n": "nested deeper than",
    nested(5000): "nested deeper than",
    nested(30): "nested deeper than",
    "{a: " * 5000 + "1" + "}" * 5000: "nested deeper than",
    "_BASE_: run.yaml\n": "based on itself",
    "_BASE_: gone.yaml\n": "does not exist; the name is relative to",
    "_BASE_: https://example.com/base.yaml\n": "is an address; save the file beside this one",
    "_BASE_: .\n": "is a folder",
    "_BASE_: [a.yaml]\n": "_BASE_ must name a file",
}


@pytest.mark.parametrize("content", CONFIGS, ids=CONFIGS.values())
def test_config_files(content, told, tmp_path):
    (tmp_path / "run.yaml").write_text(content)
    line = told(config="run.yaml")
    assert CONFIGS[content] in line and len(line) < 500
    assert "run.yaml" in line or "folder" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)), "no UTF-8 text"),
        ("OUTPUT_DIR: café\n".encode("latin-1"), "byte 15 is no UTF-8 text"),
        ("SEED: 1\n".encode("utf-16"), "saved as UTF-8?"),
        (b"SEED: 1\n" + b"#" * 2**20, "bytes, more than any configuration"),
    ],
)
def test_config_files_that_are_no_text(content, message, told, tmp_path):
    (tmp_path / "run.yaml").write_bytes(content)
    assert message in told(config="run.yaml")


def test_config_files_that_are_no_files(told, tmp_path):
    assert "config file 'gone.yaml' does not exist" in told(config="gone.yaml")
    assert "is a folder; name a .yaml file in it" in told(config=".")
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "pipe.yaml: is no regular file" in told(config="pipe.yaml")
    (tmp_path / "a.yaml").write_text("_BASE_: b.yaml\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\n")
    assert "by the _BASE_ of b.yaml, 'a.yaml'; take that line out" in told(config="a.yaml")
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "loop.yaml" in told(config="loop.yaml")


def weights(folder):
    """Files that are no weights: name -> what is told of them."""
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.pth").write_text("hello world\n")
    (folder / "folder.pth").mkdir()
    torch.save({"model": {"a": torch.zeros(1000)}}, folder / "whole.pth")
    whole = (folder / "whole.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
    torch.save([torch.zeros(2)], folder / "list.pth")
    (folder / "code.pth").write_bytes(pickle.dumps({"model": Code()}))
    torch.save({"model": Code()}, folder / "archived_code.pth")
    (folder / "zoo.pkl").write_bytes(pickle.dumps({"model": {}}))
    (folder / "bad.safetensors").write_bytes(b"\xff" * 100)
    with zipfile.ZipFile(folder / "archive.pth", "w") as archive:
        archive.writestr("a.txt", "b")
    return {
        "gone.pth": "there is no file gone.pth; the name is relative to the working directory",
        "folder.pth": "is a folder; name a file in it",
        "empty.pth": "not a whole",
        "text.pth": "not ",
        "cut.pth": "not a whole",
        "list.pth": "expected a state dict, found list",
        "code.pth": "something other than tensors",
        "archived_code.pth": "something other than tensors",
        "zoo.pkl": "python -m dld_d2.engine.convert_weights",
        "bad.safetensors": "not a whole",
        "archive.pth": "not ",
    }


WEIGHTS, SELECTOR = "MODEL.WEIGHTS", "MODEL.DISTILL.SELECTOR.WEIGHTS"
DISTILL = ["MODEL.META_ARCHITECTURE", "DynamicSpotter", "MODEL.DISTILL.TEACHER_WEIGHTS"]


@pytest.mark.parametrize(
    ("key", "opts"),
    [
        (WEIGHTS, [WEIGHTS]),
        ("MODEL.DISTILL.TEACHER_WEIGHTS", DISTILL),
        (
            "MODEL.DISTILL.SELECTOR.WEIGHTS",
            [*DISTILL, "whole.pth", "MODEL.DISTILL.SELECTOR.WEIGHTS"],
        ),
    ],
)
def test_weights(key, opts, told, tmp_path):
    for name, message in weights(tmp_path).items():
        line = told(*opts, name)
        assert line.startswith(f"{key}: ") and name in line and message in line


def test_a_distillation_without_teacher(told, tmp_path):
    assert "distillation needs a teacher" in told(*DISTILL, "")
    weights(tmp_path)
    line = told(*DISTILL, "whole.pth", "MODEL.DISTILL.TEACHER_CONFIG", "gone.yaml")
    assert line == "MODEL.DISTILL.TEACHER_CONFIG: config file 'gone.yaml' does not exist"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found 0"),
        (b"abc\ndef\n", "found 2"),
        (b"abca\n", "twice"),
        (b"caf\xe9\n", "utf-8"),
    ],
)
def test_vocabularies(content, message, told, tmp_path):
    (tmp_path / "letters.txt").write_bytes(content)
    line = told("MODEL.RECOGNITION.VOCABULARY", "letters.txt")
    assert "MODEL.RECOGNITION.VOCABULARY is 'letters.txt'; expected" in line
    assert "a file that can be read" in line
    assert message in line


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}", "[" * 5000 + "]" * 5000])
def test_cost_tables(content, told, tmp_path):
    (tmp_path / "costs.json").write_text(content)
    line = told(*DISTILL, "whole.pth", "MODEL.DYNAMIC.COST", "costs.json")
    assert "MODEL.DYNAMIC.COST is 'costs.json'; expected a file that tools/flops.py wrote" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "sets.yaml: no such file (DATASETS.REGISTER)"),
        ("", "expected a mapping 'datasets'"),
        ("datasets: [", "is not YAML"),
        ("datasets:\n  a: {image_root: b, annotations: c}\n", "data set 'a': lacks format"),
        ("datasets:\n  a: {image_root: b, annotations: c, format: voc}\n", "icdar2015"),
    ],
)
def test_registrations(content, message, told, tmp_path):
    if content is not None:
        (tmp_path / "sets.yaml").write_text(content)
    assert message in told("DATASETS.REGISTER", "sets.yaml")


def test_data_sets_that_nobody_registered(told):
    line = told("DATASETS.TRAIN", "('never_raed',)")
    assert line.startswith("DATASETS.TRAIN: there is no data set 'never_raed'; did you mean never_")
    assert "DATASETS.REGISTER" in line and "coco_2014" not in line
    assert "DATASETS.TEST: there is no data set 'x'" in told("DATASETS.TEST", "('x',)")
