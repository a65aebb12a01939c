"""Comparing an evaluation with a card."""

import hashlib

import pytest
import yaml

from dld_d2.commands import check


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A card and an evaluation that needs no model."""
    (tmp_path / "some.yaml").write_text("name: some\nwhat: |\n  A model.\n  Two lines.\n")
    (tmp_path / "some.safetensors").write_bytes(b"weights")
    found = {"e2e_none_hmean": 0.81234567, "fps": 3.0, "mean_scale": 0.5}
    monkeypatch.setattr(check, "names", lambda: ["some"])
    monkeypatch.setattr(check, "weights_file", lambda name: tmp_path / f"{name}.safetensors")
    read = lambda name: yaml.safe_load((tmp_path / "some.yaml").read_text())  # noqa: E731
    monkeypatch.setattr(check, "card", read)
    monkeypatch.setattr(check, "evaluate", lambda name, dataset: check.figures(found))
    return tmp_path / "some.yaml", found


def test_one_that_looks_first_is_checked_as_the_model_that_reads(capsys):
    assert check.main(["--write", "photo_student"]) == 2
    assert "photo_student: has the weights, and so the figures, of photo_teacher" in (
        capsys.readouterr().err
    )


def test_written_figures_are_found_again(model, capsys):
    path, found = model
    assert check.main(["--write"]) == 0
    written = yaml.safe_load(path.read_text())
    assert written["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert written["what"] == "A model.\nTwo lines.\n"
    assert written["scores"] == {
        "dataset": "synthetic_test",
        "e2e_none_hmean": 0.8123,
        "mean_scale": 0.5,
    }
    assert check.main(["some"]) == 0
    assert "all 2 figures are the card's" in capsys.readouterr().out
    found["e2e_none_hmean"] = 0.8124
    found["det_hmean"] = 0.9
    assert check.main([]) == 1
    out = capsys.readouterr().out
    assert "2 differ" in out and "0.8123" in out and "0.8124" in out and "0.9000" in out


def test_writing_again_replaces_the_scores_alone(model):
    path, found = model
    check.main(["--write"])
    found["mean_scale"] = 0.6
    check.main(["--write"])
    assert path.read_text().count("scores:") == 1
    assert yaml.safe_load(path.read_text())["scores"]["mean_scale"] == 0.6


def test_unknown_models_are_named(capsys):
    assert check.main(["nothing"]) == 2
    assert "no model 'nothing'" in capsys.readouterr().err


def test_a_card_without_scores_is_named(model, capsys):
    assert check.main([]) == 2
    assert "some.yaml has no scores; --write" in capsys.readouterr().err
