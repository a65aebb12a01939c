"""Errors of use end a command in one line; bugs keep their traceback."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.data.report import AnnotationError
from dld_d2.engine.guard import NonFiniteLossError
from dld_d2.engine.setup import ConfigError
from dld_d2.structures.vocabulary import Vocabulary


def raising(error, *kinds):
    @ends_in_one_line(*kinds)
    def main(argv=None):
        raise error

    return main


def doing(action):
    @ends_in_one_line()
    def main(argv=None):
        action()
        return 0

    return main


@pytest.mark.parametrize(
    "kind",
    [UsageError, ConfigError, AnnotationError, FileNotFoundError, NonFiniteLossError],
)
def test_errors_of_use_are_one_line(kind, capsys):
    # Longer than a terminal is wide, and with what a console could take for markup or an emoji.
    message = f"there is no [bold]{'file ' * 30}:smile:[/x]"
    assert raising(kind(message))([]) == 2
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", f"error: {message}\n")


@pytest.mark.parametrize("kind", [TypeError, KeyError, RuntimeError, ValueError, AssertionError])
def test_bugs_keep_their_traceback(kind):
    with pytest.raises(kind):
        raising(kind("bug"))([])


@pytest.mark.parametrize(
    "action",
    [lambda: np.zeros((2, 3)) @ np.zeros(2), lambda: torch.zeros(3).reshape(()), lambda: int("x")],
)
def test_what_a_library_refuses_is_a_bug(action):
    with pytest.raises((ValueError, RuntimeError)):
        doing(action)([])


def test_what_this_project_refuses_itself_is_none(capsys):
    assert doing(lambda: Vocabulary("aa"))([]) == 2
    assert capsys.readouterr().err == "error: characters occur twice in the vocabulary: ['a']\n"


@pytest.mark.parametrize("action", [lambda: json.loads("{"), lambda: b"\xff".decode()])
def test_text_that_is_none(action, capsys):
    assert doing(action)([]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_message_of_many_lines_becomes_one(capsys):
    assert raising(UsageError("first\n\n   second\nthird"))([]) == 2
    assert capsys.readouterr().err == "error: first second third\n"
    assert raising(UsageError("x" * 100_000))([]) == 2
    assert len(capsys.readouterr().err) < 3000
    assert raising(FileNotFoundError())([]) == 2
    assert capsys.readouterr().err == "error: FileNotFoundError\n"


def test_a_command_can_have_more_kinds(capsys):
    assert raising(KeyError("nothing there"), KeyError)([]) == 2
    assert capsys.readouterr().err == "error: 'nothing there'\n"


def test_what_a_command_returns_is_its_status():
    @ends_in_one_line()
    def main(argv=None):
        """What it does."""
        return len(argv)

    assert main(["a"]) == 1
    assert main.__doc__ == "What it does."


def test_the_keyboard_stops_without_a_traceback(capsys):
    assert raising(KeyboardInterrupt())([]) == 130
    assert capsys.readouterr().err == "stopped by the keyboard\n"


def test_a_reader_that_went_away_is_no_error():
    code = (
        "from dld_d2.commands.errors import ends_in_one_line\n"
        "@ends_in_one_line()\n"
        "def main():\n"
        "    for i in range(100_000):\n"
        "        print('word', i, flush=True)\n"
        "raise SystemExit(main())"
    )
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    os.read(reader, 10)
    os.close(reader)
    assert process.communicate()[1] == b""
    assert process.returncode == 1


def test_colours_are_for_terminals(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    raising(UsageError("no"))([])
    assert sys.stderr.getvalue() == "\x1b[31merror: no\x1b[0m\n"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    raising(UsageError("no"))([])
    assert sys.stderr.getvalue() == "error: no\n"
