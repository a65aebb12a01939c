"""Errors of use end a command in one line; bugs keep their traceback."""

import pytest

from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.data.report import AnnotationError
from dld_d2.engine.setup import ConfigError


def raising(error, *kinds):
    @ends_in_one_line(*kinds)
    def main(argv=None):
        raise error

    return main


@pytest.mark.parametrize(
    "kind", [UsageError, ConfigError, AnnotationError, ValueError, FileNotFoundError]
)
def test_errors_of_use_are_one_line(kind, capsys):
    # Longer than a terminal is wide, and with what a console could take for markup or an emoji.
    message = f"there is no [bold]{'file ' * 30}:smile:[/x]"
    assert raising(kind(message))([]) == 2
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", f"error: {message}\n")


@pytest.mark.parametrize("kind", [TypeError, KeyError, RuntimeError])
def test_bugs_keep_their_traceback(kind):
    with pytest.raises(kind):
        raising(kind("bug"))([])


def test_a_command_can_have_fewer_kinds(capsys):
    with pytest.raises(ValueError, match="out of the depths"):
        raising(ValueError("out of the depths"), ConfigError)([])
    assert raising(ConfigError("no such key"), ConfigError)([]) == 2
    assert capsys.readouterr().err == "error: no such key\n"


def test_what_a_command_returns_is_its_status():
    @ends_in_one_line()
    def main(argv=None):
        """What it does."""
        return len(argv)

    assert main(["a"]) == 1
    assert main.__doc__ == "What it does."
