"""`dld-d2`: the commands that there are, and what is loaded for them."""

import subprocess
import sys
from pathlib import Path

import pytest

import dld_d2
from dld_d2.commands import main as dispatcher

ROOT = Path(__file__).resolve().parents[2]


def ended(*arguments):
    with pytest.raises(SystemExit) as end:
        dispatcher.main(arguments)
    return end.value.code


def loaded_by(*arguments):
    """The modules that a fresh process holds after a command."""
    code = (
        "import sys\n"
        "from dld_d2.commands.main import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stdout.splitlines()[-1].split())


def test_help_lists_all_commands_and_loads_none_of_them():
    shown, modules = loaded_by("--help")
    assert not modules & {"torch", "detectron2", "rich", "cv2"}
    for name, (_, line) in dispatcher.COMMANDS.items():
        assert f"  {name:<8}  {line}\n" in shown


def test_scoring_needs_no_pytorch():
    shown, modules = loaded_by("evaluate", "--help")
    assert "--submission" in shown
    assert not modules & {"torch", "detectron2"}


@pytest.mark.parametrize(
    ("arguments", "missing", "told"),
    [
        (["train"], ("torch", "torchvision", "detectron2"), "pip install 'dld_d2[train]'"),
        (["train"], ("detectron2",), "needs detectron2, which is not installed: python tools/"),
        (["export"], ("torch", "detectron2"), "pip install 'dld_d2[train]'"),
        (["check"], ("yaml",), "needs yaml, which is not installed: pip install 'dld_d2[train]'"),
        (["read", "README.md"], ("torch",), "photo_student: reading by this model needs torch"),
        (
            ["read", "README.md"],
            ("cv2",),
            "needs cv2, which is not installed: pip install",
        ),
        (["read", "x.png", "--model", "docs"], ("onnxruntime",), "pip install 'dld_d2[runtime]'"),
    ],
)
def test_a_package_that_is_missing_is_told_in_a_line(arguments, missing, told):
    code = (
        f"import sys\nfor name in {missing}: sys.modules[name] = None\n"
        "from dld_d2.commands.main import main\n"
        f"sys.exit(main({arguments}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert told in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_module_of_ours_that_is_missing_is_a_bug(monkeypatch):
    monkeypatch.setitem(sys.modules, "dld_d2.evaluation.cli", None)
    with pytest.raises(ModuleNotFoundError, match=r"dld_d2\.evaluation\.cli"):
        dispatcher.main(["evaluate"])


def test_version(capsys):
    assert ended("--version") == 0
    assert capsys.readouterr().out == f"dld_d2 {dld_d2.__version__}\n"


@pytest.mark.parametrize("arguments", [["reed"], ["--model", "student.pth"], []])
def test_what_is_no_command_is_told(arguments, capsys):
    assert ended(*arguments) == 2
    message = capsys.readouterr().err
    assert "COMMAND" in message and "dld-d2: error: " in message
    if arguments[:1] == ["reed"]:
        assert all(name in message for name in dispatcher.COMMANDS)


def test_a_command_gets_all_that_follows_its_name(monkeypatch):
    got = []

    def run(argv):
        got.append((sys.argv[0], argv))
        return 5

    monkeypatch.setattr("dld_d2.evaluation.cli.main", run)
    program = sys.argv[0]
    assert dispatcher.main(["evaluate", "--help", "x", "--version", "--", "read"]) == 5
    assert got == [("dld-d2 evaluate", ["--help", "x", "--version", "--", "read"])]
    assert sys.argv[0] == program


@pytest.mark.parametrize("name", dispatcher.COMMANDS)
def test_every_command_can_be_run(name, capsys):
    assert ended(name, "--help") == 0
    assert "usage: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("train_net.py", "train"),
        ("tools/demo.py", "read"),
        ("tools/evaluate.py", "evaluate"),
        ("tools/export_student.py", "export"),
        ("tools/check_weights.py", "check"),
    ],
)
def test_a_script_is_its_command(script, name, capsys):
    assert ended(name, "--help") == 0
    expected = capsys.readouterr().out.replace(f"dld-d2 {name}", Path(script).name, 1)
    command = [sys.executable, "-W", "ignore", script, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    # The usage breaks its lines by the length of the name.
    assert done.stdout.split() == expected.split()
