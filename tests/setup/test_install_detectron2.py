"""tools/install_detectron2.py: every way through it, without a network."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import install_detectron2
import pytest
from detectron2_installer import command, git_archive, labgym_wheel, wheel
from detectron2_installer.environment import probe
from install_fakes import COMMIT, SOURCES, write_git_archive, write_labgym_wheel

SCRIPT = Path(install_detectron2.__file__)
WHEEL_NAME = "detectron2-0.6+labgym3.1.2-py3-none-any.whl"


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No Git host, no package registry; temporary files where they can be counted."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setattr(git_archive, "host_answers", lambda: False)
    yield scratch
    assert list(scratch.iterdir()) == []


@pytest.fixture
def registry(monkeypatch, tmp_path):
    """A local folder in place of the package registry; returns a function that fills it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def publish(**changes):
        wheel = write_labgym_wheel(folder / "labgym-3.1.2-py3-none-any.whl", **changes)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        monkeypatch.setattr(labgym_wheel, "SHA256", digest)

    publish()
    return publish


@pytest.fixture(scope="module")
def fresh_environment(tmp_path_factory):
    """A virtual environment that holds nothing but pip and a stand-in for PyTorch."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "torch.py").touch()
    (site / "torchvision.py").touch()
    return folder, site


@pytest.fixture
def environment(fresh_environment, monkeypatch):
    """That environment as the one that the installer runs in; gives its site-packages."""
    folder, site = fresh_environment
    monkeypatch.setattr(sys, "executable", str(folder / "bin" / "python"))
    monkeypatch.setattr(wheel, "REQUIREMENTS", ())
    monkeypatch.delenv("PYTHONPATH", raising=False)
    yield site
    for path in site.glob("detectron2*"):
        shutil.rmtree(path)


def pip(*arguments):
    result = subprocess.run(
        [sys.executable, "-m", "pip", *arguments], capture_output=True, text=True
    )
    return result.stdout + result.stderr


def one_message(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("install_detectron2: ")
    return lines[0]


def test_wheel_dir_only_builds(registry, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert command.main(["--wheel-dir", str(out)]) == 0
    assert [path.name for path in out.iterdir()] == [WHEEL_NAME]
    assert str(out / WHEEL_NAME) in capsys.readouterr().out


def test_a_wrong_hash_stops_it(registry, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(labgym_wheel, "SHA256", "0" * 64)
    assert command.main(["--wheel-dir", str(tmp_path / "out")]) == 1
    message = one_message(capsys)
    assert "labgym-3.1.2-py3-none-any.whl" in message
    assert "expected " + "0" * 64 in message
    assert list((tmp_path / "out").iterdir()) == []


def test_no_network(tmp_path, capsys):
    assert command.main(["--wheel-dir", str(tmp_path / "out")]) == 1
    message = one_message(capsys)
    assert "pip download failed" in message
    assert "LabGym==3.1.2" in message


def test_wheel_dir_that_is_a_file(registry, tmp_path, capsys):
    (tmp_path / "out").touch()
    assert command.main(["--wheel-dir", str(tmp_path / "out")]) == 1
    assert str(tmp_path / "out") in one_message(capsys)


def test_a_full_disk(registry, monkeypatch, tmp_path, capsys):
    def full(*_arguments):
        raise OSError(28, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setattr(command, "build_wheel", full)
    assert command.main(["--wheel-dir", str(tmp_path)]) == 1
    assert "no space is left on the disk" in one_message(capsys)


def test_missing_pip(monkeypatch, tmp_path, capsys):
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert command.main([]) == 1
    assert "ensurepip" in one_message(capsys)


def test_missing_torch(environment, monkeypatch, capsys):
    (environment / "torch.py").rename(environment / "hidden.py")
    try:
        assert command.main([]) == 1
    finally:
        (environment / "hidden.py").rename(environment / "torch.py")
    assert "pip install torch torchvision" in one_message(capsys)


def test_an_imported_detectron2_is_left_alone(tmp_path):
    package = tmp_path / "path" / "detectron2"
    for name in ("config", "data", "engine", "evaluation", "model_zoo", "modeling"):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").write_text('__version__ = "0.7"\n')
    result = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "path")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    assert "Detectron2 0.7" in result.stdout
    assert str(package) in result.stdout


def test_a_broken_detectron2_of_somebody_else_is_left_alone(environment, registry, capsys):
    (environment / "detectron2").mkdir()
    (environment / "detectron2" / "__init__.py").write_text("import lost_module\n")
    assert command.main([]) == 1
    assert "lost_module" in one_message(capsys)
    assert (environment / "detectron2" / "__init__.py").exists()


def test_install_show_repeat_uninstall(environment, registry, capsys):
    assert command.main([]) == 0
    assert "installed Detectron2 0.6+labgym3.1.2" in capsys.readouterr().out
    assert "Version: 0.6+labgym3.1.2" in pip("show", "detectron2")
    registry(**{"detectron2/__init__.py": "broken\n"})  # not looked at any more
    assert command.main([]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert "Successfully uninstalled" in pip("uninstall", "--yes", "detectron2")
    assert not list(environment.glob("detectron2*"))


def test_a_package_that_does_not_import_is_removed_again(environment, registry, capsys):
    registry(**{"detectron2/engine/__init__.py": "raise RuntimeError('no engine')\n"})
    assert command.main([]) == 1
    assert "no engine" in one_message(capsys)
    assert not list(environment.glob("detectron2*"))


def test_missing_requirements_leave_nothing(environment, registry, monkeypatch, capsys):
    monkeypatch.setattr(wheel, "REQUIREMENTS", ("no-such-package-dld",))
    assert command.main([]) == 1
    assert "no-such-package-dld" in one_message(capsys)
    assert not list(environment.glob("detectron2*"))


def test_an_installation_cut_off_half_way_is_repaired(environment, registry, capsys):
    assert command.main([]) == 0
    # pip writes RECORD last; a killed pip leaves some files and none of it.
    (environment / "detectron2" / "__init__.py").unlink()
    (environment / "detectron2-0.6+labgym3.1.2.dist-info" / "RECORD").unlink()
    assert command.main([]) == 0
    assert "broken" in capsys.readouterr().out
    assert probe()["version"] == "0.6"


def fake_git(monkeypatch, archive):
    monkeypatch.setattr(git_archive, "host_answers", lambda: True)
    monkeypatch.setattr(git_archive, "COMMIT", COMMIT)
    monkeypatch.setattr(git_archive, "ARCHIVE", archive.as_uri())


def test_git_comes_first(environment, registry, monkeypatch, tmp_path, capsys):
    fake_git(monkeypatch, write_git_archive(tmp_path / "git.tar.gz"))
    assert command.main([]) == 0
    assert "installed Detectron2 0.6+git.0123456" in capsys.readouterr().out


def test_pypi_after_a_bad_answer_of_the_git_host(registry, monkeypatch, tmp_path, capsys):
    fake_git(monkeypatch, tmp_path / "nothing.tar.gz")
    assert command.main(["--wheel-dir", str(tmp_path / "out")]) == 0
    assert "taking the copy on PyPI" in capsys.readouterr().out
    assert (tmp_path / "out" / WHEEL_NAME).exists()


def test_pypi_after_a_git_package_that_does_not_import(
    environment, registry, monkeypatch, tmp_path, capsys
):
    monkeypatch.setitem(SOURCES, "detectron2/data/__init__.py", "raise RuntimeError('too new')\n")
    fake_git(monkeypatch, write_git_archive(tmp_path / "git.tar.gz"))
    assert command.main([]) == 0
    out = capsys.readouterr().out
    assert "too new; taking the copy on PyPI" in out
    assert probe()["owner"] == "0.6+labgym3.1.2"


def test_git_alone_fails_without_its_host(tmp_path, capsys):
    assert command.main(["--source", "git", "--wheel-dir", str(tmp_path / "out")]) == 1
    assert "does not answer" in one_message(capsys)


def test_a_host_that_cannot_be_reached_does_not_answer(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(git_archive, "HOST", "https://127.0.0.1:9/")
    assert git_archive.host_answers() is False
