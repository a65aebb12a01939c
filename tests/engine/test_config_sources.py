"""What a user set, and where: chains of files, and overrides."""

import os

import pytest

from dld_d2.engine.config_sources import Setting, read_settings
from dld_d2.engine.setup import ConfigError, setup_cfg


def test_settings_come_in_the_order_in_which_they_override(write):
    root = write("root.yaml", "SEED: 1\nSOLVER:\n  BASE_LR: 0.1\n")
    middle = write("middle.yaml", "_BASE_: root.yaml\nSEED: 2\n")
    last = write("last.yaml", "_BASE_: middle.yaml\nSEED: 3\n")
    assert read_settings(last, ["SEED", "4", "SEED", "5"]) == [
        Setting("SEED", 1, root, 0),
        Setting("SOLVER.BASE_LR", 0.1, root, 0),
        Setting("SEED", 2, middle, 1),
        Setting("SEED", 3, last, 2),
        Setting("SEED", "4", "command line", 3),
        Setting("SEED", "5", "command line", 3),
    ]
    assert read_settings("", []) == []
    assert setup_cfg(last).SEED == 3
    assert setup_cfg(last).SOLVER.BASE_LR == 0.1
    assert setup_cfg(last, ["SEED", "4", "SEED", "5"]).SEED == 5


def test_a_base_is_relative_to_the_file_that_names_it(write, tmp_path, monkeypatch):
    write("shared/base.yaml", "_BASE_: ../other/root.yaml\nSOLVER:\n  MAX_ITER: 7\n")
    write("other/root.yaml", "SEED: 8\n")
    write("runs/run.yaml", "_BASE_: ../shared/base.yaml\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for file in (str(tmp_path / "runs" / "run.yaml"), os.path.join("..", "runs", "run.yaml")):
        cfg = setup_cfg(file)
        assert (cfg.SOLVER.MAX_ITER, cfg.SEED) == (7, 8)
    whole = write("whole.yaml", f"_BASE_: {tmp_path / 'other' / 'root.yaml'}\n")
    assert setup_cfg(whole).SEED == 8


def test_a_base_in_the_users_folder(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write("base.yaml", "SEED: 8\n")
    assert setup_cfg(write("runs/run.yaml", "_BASE_: ~/base.yaml\n")).SEED == 8


def test_a_file_that_is_based_on_itself(write, tmp_path):
    alone = write("alone.yaml", "_BASE_: ./alone.yaml\n")
    with pytest.raises(ConfigError, match=r"alone\.yaml: it is based on itself"):
        setup_cfg(alone)
    write("a.yaml", "_BASE_: b.yaml\n")
    write("b.yaml", "_BASE_: c.yaml\n")
    os.symlink(tmp_path / "a.yaml", tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match=r"a\.yaml: it is based on itself, by the _BASE_ of .*c"):
        setup_cfg(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("base", ["3", "[a.yaml, b.yaml]", "{a: 1}", "''", "True"])
def test_a_base_that_is_no_name(write, base):
    file = write("run.yaml", f"_BASE_: {base}\n")
    with pytest.raises(ConfigError) as error:
        setup_cfg(file)
    assert str(error.value).startswith(f"{file}: _BASE_ must name a file, found ")


def test_what_is_wrong_with_a_base_names_the_base(write):
    file = write("run.yaml", "_BASE_: base.yaml\n")
    with pytest.raises(ConfigError) as error:
        setup_cfg(file)
    assert str(error.value).startswith(f"{file}: its _BASE_ ")
    assert "base.yaml' does not exist" in str(error.value)
    for text, message in (
        ("", "holds no keys"),
        ("SEED: [", "not plain YAML"),
        ("SEED: many\n", "SEED is 'many'"),
        ("SEDE: 1\n", "no configuration key SEDE; did you mean SEED"),
    ):
        base = write("base.yaml", text)
        with pytest.raises(ConfigError) as error:
            setup_cfg(file)
        assert str(error.value).startswith(f"{base}: ")
        assert message in str(error.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00S")
    with pytest.raises(ConfigError, match=r"run\.yaml: not plain YAML"):
        setup_cfg(str(tmp_path / "run.yaml"))


def test_a_base_of_nothing_but_a_base(write):
    """A file may be there for its place alone."""
    write("root.yaml", "SEED: 8\n")
    file = write("middle.yaml", "_BASE_: root.yaml\n")
    assert setup_cfg(write("run.yaml", f"_BASE_: {file}\n")).SEED == 8
