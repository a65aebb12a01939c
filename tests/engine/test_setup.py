import logging

import pytest
import torch

from dld_d2.engine.setup import ConfigError, prepare_run, setup_cfg, with_seed


def test_merges_base_file_file_and_overrides(write):
    write("base.yaml", "SOLVER:\n  BASE_LR: 1\n  MAX_ITER: 5\n  STEPS: [1, 2]\n")
    file = write("run.yaml", "_BASE_: base.yaml\nSOLVER:\n  MAX_ITER: 6\n")
    cfg = setup_cfg(file, ["MODEL.RECOGNITION.MAX_LENGTH", "8", "OUTPUT_DIR", "2024"])
    assert cfg.SOLVER.BASE_LR == 1.0
    assert type(cfg.SOLVER.BASE_LR) is float
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (6, (1, 2))
    assert cfg.MODEL.RECOGNITION.MAX_LENGTH == 8
    assert cfg.OUTPUT_DIR == "2024"
    assert cfg.is_frozen()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL:\n  RECOGNITON:\n    MAX_LENGTH: 3\n", r"run\.yaml.*MODEL\.RECOGNITION\.MAX_L"),
        (
            "SOLVER:\n  MAX_ITER: many\n",
            r"MAX_ITER is 'many', which is text; expected a whole",
        ),
        ("SOLVER: 3\n", r"SOLVER is a section"),
        ("_BASE_: gone.yaml\n", r"run\.yaml.*gone\.yaml"),
        ("", "no keys"),
        ("- 1\n", "found a list"),
        ("SOLVER: [1\n", r"run\.yaml.*line 2"),
        ("SOLVER: !!python/object/apply:os.getcwd []\n", "not plain YAML"),
    ],
)
def test_names_what_is_wrong_with_a_file(write, text, message):
    with pytest.raises(ConfigError, match=message):
        setup_cfg(write("run.yaml", text))


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.BASE_LRR", "1"], r"command line.*SOLVER\.BASE_LRR; did you mean SOLVER\.BASE_LR"),
        (["MAX_LENGTH", "3"], r"MODEL\.RECOGNITION\.MAX_LENGTH"),
        (["SOLVER.BASE_LR", "fast"], r"SOLVER\.BASE_LR is 'fast'"),
        (["SOLVER", "1"], "section"),
        (["SOLVER.BASE_LR"], "pairs"),
        (["MODEL.DISTILL.TERMS", "('roi', 'rio')"], r"command line: .*no term 'rio'; .*roi"),
        (["MODEL.DISTILL.TERMS", "('no_module.roi',)"], r"command line: .*no_module\.roi"),
        (["MODEL.DISTILL.TERMS", "roi"], r"TERMS is 'roi', which is text; expected a list"),
    ],
)
def test_names_what_is_wrong_with_an_override(opts, message):
    with pytest.raises(ConfigError, match=message):
        setup_cfg("", opts)


def test_names_a_missing_file():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        setup_cfg("nowhere.yaml")


def test_runs_on_the_cpu_and_says_so_without_a_gpu(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        assert setup_cfg("").MODEL.DEVICE == "cpu"
    assert "CPU" in caplog.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert setup_cfg("").MODEL.DEVICE == "cuda"


def test_a_drawn_seed_is_saved_with_the_configuration(tmp_path):
    given = setup_cfg("", ["SEED", "4"])
    assert with_seed(given) is given
    cfg = prepare_run(setup_cfg("", ["OUTPUT_DIR", str(tmp_path)]), None)
    assert cfg.SEED >= 0
    assert cfg.is_frozen()
    assert f"SEED: {cfg.SEED}\n" in (tmp_path / "config.yaml").read_text()
    assert f"seed {cfg.SEED}" in (tmp_path / "log.txt").read_text()
