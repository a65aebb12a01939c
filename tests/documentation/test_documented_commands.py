"""Commands that documents, cards and scripts show can be run: the scripts, options, config files
and keys that they name exist. None is run here; those that train take hours."""

import re
from collections import Counter

import pytest
from documented_commands import ROOT, Command, commands, parse

from dld_d2.engine.setup import ConfigError, setup_cfg

ALL = commands()
BASE = "configs/tiny/Base-tiny.yaml"
# What a reader replaces by a file of his own, or has made by a command before.
PLACEHOLDER = re.compile(r"\.\.\.|FILE|configs/CONFIG\.yaml|my_config\.yaml|output/.+\.yaml")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def check(command, monkeypatch):
    arguments = parse(command, monkeypatch)
    if arguments is None or getattr(arguments, "config_file", None) is None:
        return
    file = arguments.config_file
    if not (ROOT / file).is_file():
        assert PLACEHOLDER.fullmatch(file), f"{command}: there is no {file}"
        file = BASE
    setup_cfg(file, getattr(arguments, "opts", []))


@pytest.mark.parametrize("command", ALL, ids=str)
def test_a_command_can_be_run(command, monkeypatch, capsys):
    try:
        check(command, monkeypatch)
    except SystemExit:
        pytest.fail(f"{command}\n{capsys.readouterr().err}")


def test_commands_of_all_kinds_are_found():
    """What finds them has not gone blind."""
    places = Counter(command.where for command in ALL)
    assert places["README.md"] > 10 and places["docs/training.md"] > 5
    assert places["dld_d2/weights/tiny_teacher.yaml"] == 5
    assert (places["tools/reproduce_table.py"], places["dld_d2/commands/read.py"]) == (6, 4)
    assert places["configs/photo/Base-photo.yaml"] == 1
    words = {word for command in ALL for word in command.words}
    assert {"--bootstrap", "torchrun", "make", "MODEL.DISTILL.TEACHER_WEIGHTS"} <= words


@pytest.mark.parametrize(
    "words",
    [
        "python train_net.py --config-file configs/tiny/dld.yaml SOLVER.BASE_0.160",
        "python train_net.py --config-file configs/tiny/dld.yaml SOLVER.BASE_LRR 1",
        "python train_net.py --config-file configs/tiny/dlt.yaml",
        "python train_net.py --config-file configs/tiny/dld.yaml --evaluate",
        "python tools/exportstudent.py --weights a",
        "python tools/benchmark.py speed",
        "dld-d2 reed photos/",
        "dld-d2 evaluate --gt gt.zip",
        "python -m dld_d2.engine.average_weights",
        "torchrun --nproc-per-node 2 train_net.py",
        "make coffee",
        "sudo make demo",
    ],
)
def test_what_cannot_be_run_is_found(words, monkeypatch):
    with pytest.raises((AssertionError, ConfigError, SystemExit)):
        check(Command("README.md", tuple(words.split())), monkeypatch)
