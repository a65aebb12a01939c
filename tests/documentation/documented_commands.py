"""Commands as documents show them: found, and taken apart as far as that goes without running."""

import argparse
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from torch.distributed.run import get_args_parser

ROOT = Path(__file__).resolve().parents[2]


class Command(NamedTuple):
    where: str
    words: tuple[str, ...]

    def __str__(self):
        return f"{self.where}: {shlex.join(self.words)}"


def commands() -> list[Command]:
    """Those of code blocks in documents, of models' cards, of what scripts and modules say of
    themselves, and of comments in config files; each once for each place."""
    found = []
    for file in (ROOT / "README.md", ROOT / "datasets/README.md", *ROOT.glob("docs/*.md")):
        for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", file.read_text(), re.DOTALL):
            found += _of_text(file, block)
    for file in ROOT.glob("dld_d2/weights/*.yaml"):
        for line in yaml.safe_load(file.read_text())["training"]["commands"]:
            found += _of_text(file, line)
    for folder in ("dld_d2", "tools"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            docstring = re.match(r'(?:#![^\n]*\n)?r?"""(.*?)"""', text, re.DOTALL)
            # In a docstring that is not raw a backslash is written as two.
            lines = (docstring[1] if docstring else "").replace("\\\\\n", "\\\n")
            found += _of_text(file, "\n".join(_shown(lines)))
    for file in (ROOT / "configs").rglob("*.yaml"):
        found += _of_text(file, "\n".join(_shown(re.sub(r"(?m)^#", "", file.read_text()))))
    return list(dict.fromkeys(found))


def _shown(text: str) -> Iterator[str]:
    """Indented lines that are commands, with those that continue them."""
    for line in text.replace("\\\n", " ").splitlines():
        if re.match(r" +(python|dld-d2|torchrun) \S", line):
            yield line


def _of_text(file: Path, text: str) -> list[Command]:
    where = str(file.relative_to(ROOT))
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # variables of the environment
            words = words[1:]
        if words:
            found.append(Command(where, tuple(words)))
    return found


class _Parsed(Exception):  # noqa: N818 (no error)
    pass


def parse(command: Command, monkeypatch) -> argparse.Namespace | None:
    """What a command's own parser makes of it; None of `make` and of what a document defines.

    Raises:
        AssertionError: if there is no such script, module, target or command.
        SystemExit: if its parser refuses the arguments.
    """
    program, *words = command.words
    if program == "make":
        targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text())
        names = [word for word in words if "=" not in word]
        assert names and set(names) <= set(targets), f"{command}: targets are {targets}"
        return None
    if program == "pip":
        assert words[0] == "install", f"{command}: what is pip {words[0]}?"
        return None
    if program == "torchrun":
        launcher = get_args_parser().parse_args(words)
        program, words = "python", [launcher.training_script, *launcher.training_script_args]
    if program == "dld-d2":
        return _arguments(importlib.import_module("dld_d2.commands.main").main, words, monkeypatch)
    assert program == "python", f"{command}: what is {program}?"
    if words[0] == "-m":
        module = importlib.import_module(words[1])
        return _arguments(module.main, words[2:], monkeypatch)
    script = ROOT / words[0]
    if not script.is_file():
        document = (ROOT / command.where).read_text()
        assert f"# {words[0]}\n" in document, f"{command}: there is no {words[0]}"
        return None
    folder = str(script.parent)
    if folder not in sys.path:
        monkeypatch.syspath_prepend(folder)
    module = importlib.import_module(script.stem)
    main = getattr(module, "main", None) or module.run_as_script
    return _arguments(main, words[1:], monkeypatch)


def _arguments(main, words: list[str], monkeypatch) -> argparse.Namespace:
    module = sys.modules[main.__module__]
    choices = getattr(module, "COMMANDS", None)
    if choices is not None:
        assert words and (words[0] in choices), f"{words[:1]} is none of {list(choices)}"
        name, _, function = choices[words[0]][0].partition(":")
        return _arguments(getattr(importlib.import_module(name), function), words[1:], monkeypatch)
    own = getattr(module, "parse_arguments", None)
    if own is not None and len(inspect.signature(own).parameters) == 1:
        return own(words)
    parse_args = argparse.ArgumentParser.parse_args

    def stop(parser, args=None, namespace=None):
        raise _Parsed(parse_args(parser, words if args is None else args, namespace))

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", stop)
        try:
            main(words) if inspect.signature(main).parameters else main()
        except _Parsed as parsed:
            return parsed.args[0]
    raise AssertionError(f"{main} has no arguments")
