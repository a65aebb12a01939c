"""tools/detectron2_installer/: the wheel is valid, whole, reproducible and says its origin."""

import base64
import csv
import email
import hashlib
import subprocess
import sys
import zipfile

import pytest
from detectron2_installer.git_archive import read_git_archive
from detectron2_installer.labgym_wheel import read_labgym_wheel
from detectron2_installer.source_tree import ESSENTIAL, SourceError
from detectron2_installer.wheel import build_wheel
from install_fakes import COMMIT, INSTALLED, SOURCES, write_git_archive, write_labgym_wheel


def labgym_tree(tmp_path, **changes):
    wheel = write_labgym_wheel(tmp_path / "labgym.whl", **changes)
    return read_labgym_wheel(wheel, "3.1.2", b"Apache License\n")


def git_tree(tmp_path, **options):
    return read_git_archive(write_git_archive(tmp_path / "git.tar.gz", **options), COMMIT)


def read_wheel(path):
    with zipfile.ZipFile(path) as wheel:
        assert wheel.testzip() is None
        return {name: wheel.read(name) for name in wheel.namelist()}


def test_both_sources_give_the_same_package(tmp_path):
    expected = {name: text.encode() for name, text in INSTALLED.items()}
    assert labgym_tree(tmp_path).files == expected
    assert git_tree(tmp_path).files == expected


def test_no_mention_of_labgym_is_left_in_the_package(tmp_path):
    files = read_wheel(build_wheel(labgym_tree(tmp_path), tmp_path))
    package = {name: text for name, text in files.items() if name.startswith("detectron2/")}
    assert len(package) == len(INSTALLED)
    assert not [name for name, text in package.items() if b"labgym" in text.lower()]


def test_metadata(tmp_path):
    path = build_wheel(labgym_tree(tmp_path), tmp_path)
    assert path.name == "detectron2-0.6+labgym3.1.2-py3-none-any.whl"
    files = read_wheel(path)
    info = "detectron2-0.6+labgym3.1.2.dist-info"
    metadata = email.message_from_bytes(files[f"{info}/METADATA"])
    assert metadata["Name"] == "detectron2"
    assert metadata["Version"] == "0.6+labgym3.1.2"
    assert metadata["License"] == "Apache-2.0"
    assert "LabGym 3.1.2" in metadata.get_payload()
    required = " ".join(metadata.get_all("Requires-Dist"))
    for name in ("fvcore", "iopath", "pycocotools", "yacs", "omegaconf", "setuptools<81"):
        assert name in required
    assert "torch" not in required
    assert b"Tag: py3-none-any" in files[f"{info}/WHEEL"]


def test_the_git_version_names_the_commit(tmp_path):
    tree = git_tree(tmp_path)
    assert tree.version == "0.6+git.0123456"
    assert COMMIT in tree.origin


def test_licenses_and_notices_are_kept(tmp_path):
    files = read_wheel(build_wheel(labgym_tree(tmp_path), tmp_path))
    prefix = "detectron2-0.6+labgym3.1.2.dist-info/licenses/"
    assert files[prefix + "LICENSE"] == b"Apache License\n"
    assert files[prefix + "LabGym/NOTICE.txt"] == b"Detectron2 is a product of Meta.\n"
    assert files[prefix + "LabGym/COPYRIGHT.txt"] == b"LabGym (C) 2021\n"
    assert files[prefix + "LabGym/licenses/LICENSE.txt"].startswith(b"GNU")
    assert b"prefix is removed" in files[prefix + "ORIGIN.txt"]


@pytest.mark.parametrize("make_tree", [labgym_tree, git_tree])
def test_record_lists_every_file_with_its_hash(tmp_path, make_tree):
    files = read_wheel(build_wheel(make_tree(tmp_path), tmp_path))
    (record_name,) = [name for name in files if name.endswith(".dist-info/RECORD")]
    rows = list(csv.reader(files[record_name].decode().splitlines()))
    assert [row[0] for row in rows] == list(files)
    for name, digest, size in rows[:-1]:
        expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode()
        assert digest == "sha256=" + expected.rstrip("=")
        assert int(size) == len(files[name])
    assert rows[-1] == [record_name, "", ""]


def test_equal_sources_give_equal_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = build_wheel(labgym_tree(tmp_path), tmp_path / "a")
    second = build_wheel(labgym_tree(tmp_path), tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


def test_pip_accepts_the_wheel(tmp_path):
    wheel = build_wheel(git_tree(tmp_path), tmp_path)
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*command, str(target), str(wheel)], check=True, capture_output=True)
    code = "import detectron2.engine.defaults as d, detectron2 as p; print(d.VALUE, p.__version__)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=target, capture_output=True, text=True)
    assert shown.stdout == "3 0.6\n"


def test_a_syntax_error_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"detectron2/data/bad\.py does not compile"):
        labgym_tree(tmp_path, **{"detectron2/data/bad.py": "def f(:\n"})


def test_an_unexpected_mention_of_labgym_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"detectron2/data/odd\.py mentions LabGym"):
        labgym_tree(tmp_path, **{"detectron2/data/odd.py": "from LabGym import tools\n"})


def test_a_missing_version_is_refused(tmp_path):
    tree = labgym_tree(tmp_path, **{"detectron2/__init__.py": "pass\n"})
    with pytest.raises(SourceError, match="states no __version__"):
        build_wheel(tree, tmp_path)


def test_damaged_sources_are_refused(tmp_path):
    wheel = write_labgym_wheel(tmp_path / "labgym.whl")
    wheel.write_bytes(wheel.read_bytes()[:500])
    with pytest.raises(SourceError, match="not a readable wheel"):
        read_labgym_wheel(wheel, "3.1.2", b"")
    archive = write_git_archive(tmp_path / "git.tar.gz")
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(SourceError, match="cannot be read"):
        read_git_archive(archive, COMMIT)


@pytest.mark.parametrize("commit", ["f" * 40, ""])
def test_an_archive_of_another_commit_is_refused(tmp_path, commit):
    with pytest.raises(SourceError, match=f"not {COMMIT}"):
        git_tree(tmp_path, commit=commit)


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("detectron2/__init__.py", "is missing"),
        ("projects/PointRend/point_rend/__init__.py", "is missing"),
        ("LICENSE", "no LICENSE"),
    ],
)
def test_an_incomplete_archive_is_refused(tmp_path, without, message):
    assert without in SOURCES
    with pytest.raises(SourceError, match=message):
        git_tree(tmp_path, without=without)


def test_the_fakes_hold_all_that_is_essential():
    assert set(ESSENTIAL) <= set(INSTALLED)
