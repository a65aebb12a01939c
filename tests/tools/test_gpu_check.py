"""The check of a GPU: that it runs its steps and tells what came of them, on a machine without."""

import gpu_check
import pytest
import torch
from gpu_checks.steps import ROOT, Step, run_step, steps_of

from dld_d2.engine.setup import setup_cfg


def python(name, code, share=0.5, **environment):
    return Step(name, ("-c", code), share, environment)


@pytest.fixture
def steps(monkeypatch):
    """Sets the steps that there are."""

    def steps(*given):
        monkeypatch.setattr(gpu_check, "steps_of", lambda output, rehearse: list(given))

    return steps


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main(["--output", str(tmp_path / "check")]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert "finds no GPU here; --rehearse goes through" in error
    assert not (tmp_path / "check").exists()


def test_a_rehearsal_reports_every_step(steps, tmp_path, capsys):
    steps(
        python("tests", "import os; print('heard of', os.environ['WORD'])", WORD="it"),
        python("benchmark", "raise SystemExit(3)"),
        python("training", "print('\\n'.join(map(str, range(100))))"),
    )
    assert gpu_check.main(["--rehearse", "--output", str(tmp_path)]) == 1
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# Rehearsal on the CPU: says nothing of a GPU")
    assert f"PyTorch {torch.__version__}" in text
    for row in ("| tests | passed |", "| benchmark | FAILED, status 3 |", "| training | passed |"):
        assert row in text
    assert "heard of it" in text
    assert (
        "(40 lines before)\n40\n" in text and (tmp_path / "training.log").read_text()[:2] == "0\n"
    )
    assert "benchmark: FAILED" in capsys.readouterr().out


def test_all_steps_pass(steps, tmp_path):
    steps(python("tests", ""), python("training", ""))
    assert gpu_check.main(["--rehearse", "--output", str(tmp_path)]) == 0


def test_a_step_ends_with_its_time_and_the_next_one_runs(steps, tmp_path):
    endless = "import time; print('begun', flush=True); time.sleep(60)"
    steps(python("tests", endless, share=0.1), python("training", "", share=0.9))
    arguments = ["--rehearse", "--output", str(tmp_path), "--seconds", "20"]
    assert gpu_check.main(arguments) == 1
    text = (tmp_path / "report.md").read_text()
    assert "| tests | stopped: its time was over |" in text and "begun" in text
    assert "| training | passed |" in text


def test_what_a_step_started_ends_with_it(tmp_path):
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(tmp_path / 'late')!r}).touch()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    outcome = run_step(python("tests", code), 1.0)
    assert outcome.status is None and outcome.seconds < 3
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("rehearse", [True, False])
def test_configurations_of_the_steps_load(tmp_path, rehearse, monkeypatch):
    monkeypatch.chdir(ROOT)
    steps = {step.name: step for step in steps_of(tmp_path, rehearse=rehearse)}
    assert sum(step.share for step in steps.values()) == pytest.approx(1)
    assert ("REHEARSE_CUDA_TESTS" in steps["tests"].environment) == rehearse
    for name in ("benchmark", "training"):
        command = list(steps[name].command)
        file = command[command.index("--config-file") + 1]
        first = "--opts" if name == "benchmark" else "OUTPUT_DIR"
        overrides = command[command.index(first) + (name == "benchmark") :]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        cfg = setup_cfg(file, overrides)
        assert ("cpu" if rehearse else "cuda") == cfg.MODEL.DEVICE
