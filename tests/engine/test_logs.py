"""What a run says: on the terminal what a user reads, in log.txt all of it, in neither a traceback
of what a user can mend."""

import logging
import re
import sys
from argparse import Namespace

import pytest
from runs import StopAt
from tiny_training import tiny_cfg, train

from dld_d2.engine.setup import ConfigError, prepare_run
from dld_d2.structures.errors import UsageError


class Raise(StopAt):
    def __init__(self, iteration, error):
        super().__init__(iteration)
        self.error = error

    def before_step(self):
        if self.trainer.iter == self.iteration:
            raise self.error


@pytest.fixture
def run(tmp_path, capsys):
    """Runs a training of some iterations; gives what it printed and its log.txt."""

    def run(*hooks):
        cfg = tiny_cfg(tmp_path, "SOLVER.MAX_ITER", "3", "DATASETS.TEST", "()")
        cfg = prepare_run(cfg, Namespace(config_file="tiny.yaml", eval_only=False))
        try:
            train(cfg, False, *hooks)
        finally:
            streams = capsys.readouterr()
            run.printed, run.errors = streams.out, streams.err
            run.log = (tmp_path / "log.txt").read_text()

    return run


def test_the_configuration_goes_to_the_file_alone(run, tmp_path):
    run()
    for words in (
        "POST_NMS_TOPK_TEST: ",
        "Command line: Namespace",
        "\nPyTorch ",
        "(conv): Conv2d",
    ):
        assert words in run.log
        assert words not in run.printed
    assert f"The whole configuration is in {tmp_path}/config.yaml" in run.printed
    assert "3 iterations" in run.printed and "total_loss" in run.printed
    assert len(run.printed.splitlines()) < 40
    assert run.errors == ""
    assert "\x1b" not in run.log + run.printed


def test_the_first_iteration_is_reported_with_what_is_left(run):
    run()
    found = re.findall(r"Iteration (\d+) of (\d+) took \d+\.\d s\. At this pace .* 0:00:0", run.log)
    assert found == [("1", "3")]
    assert run.printed.index("Iteration 1 of 3") < run.printed.index("total_loss")


@pytest.mark.parametrize("error", [UsageError("use"), FileNotFoundError("gone")])
def test_what_a_user_can_mend_has_no_traceback(run, error):
    with pytest.raises(type(error)):
        run(Raise(1, error))
    assert "Traceback" not in run.log + run.printed


def test_bugs_have_one(run):
    with pytest.raises(KeyError):
        run(Raise(1, KeyError("bug")))
    assert "Traceback" in run.log and "Traceback" in run.printed


def test_colours_are_for_terminals(tmp_path, monkeypatch):
    def formats(name):
        prepare_run(tiny_cfg(tmp_path / name), None)
        return [
            type(handler.formatter).__name__ for handler in logging.getLogger("dld_d2").handlers
        ]

    assert formats("file") == ["Formatter", "Formatter"]
    logging.getLogger("dld_d2").handlers.clear()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert formats("terminal") == ["_ColorfulFormatter", "Formatter"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"OUTPUT_DIR is .*file/run', where nothing can be"):
        prepare_run(tiny_cfg(tmp_path / "file" / "run"), None)
