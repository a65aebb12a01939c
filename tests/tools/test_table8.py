"""The paper's Table 8 in miniature: its rows, its figures, and how they compare."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reproduce_table import main
from rich.console import Console
from table_reproduction.measured import Measured
from table_reproduction.rows import ROWS, TEACHER
from table_reproduction.runs import Runs
from table_reproduction.table8 import TABLES, table8_cells, table8_effects, table8_rich

from dld_d2.deployment.predictor import TextSpotter
from dld_d2.deployment.pretrained import weights_file
from dld_d2.engine.checkpoint import read_weights

LEXICONS = ("none", "strong", "weak", "generic")
TEXT_PERCEPTRON = TABLES["text_perceptron"]


def make_results(found, read, cost, scale=None):
    """results.json of 40 images of 10 words, of which so many are found and so many read in every
    other image, and one less in the rest."""
    images = {}
    for number in range(40):
        less = number % 2
        counts = [10, 10, 10, 10, 9]
        row = {
            "counts": {f"{task}_{name}": counts for task in ("e2e", "ws") for name in LEXICONS},
            "regions": [10, read - less, read],
            "cost_whole": cost,
            "cost_published": cost / 2,
        }
        row["counts"]["e2e_none"] = [10, 10, 10, found - less, read - less]
        if scale:
            row["scale"] = scale
        images[f"test_{number:05d}_small"] = row
    return {"metrics": {"e2e_none_hmean": (read - 0.5) / 10}, "images": images}


def make_measured():
    def measured(*args, **kwargs):
        return Measured.from_results(make_results(*args, **kwargs))

    return {
        "text_perceptron_1": measured(10, 9, 4.0),
        "text_perceptron_0.5": measured(7, 5, 1.0),
        "text_perceptron_dld": measured(9, 8, 2.0, 0.6),
        "text_perceptron_dld_gamma0.3": measured(8, 7, 1.5, 0.5),
    }


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_each_spotter_is_read_at_six_scales_and_in_full_and_by_two_students(table):
    names = [row.name for row in table.rows]
    assert names[: len(table.fixed)] == [*table.fixed.values()]
    assert [*table.fixed] == [1, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    assert [*table.dld] == [0.1, 0.3] and {*table.dld.values(), table.own} <= set(names)
    assert len(set(table.titles.values())) == len(names)
    by_name = {row.name: row for row in ROWS}
    assert by_name[table.own].alone and by_name[table.own].weights_of == table.dld[0.1]


def test_the_table_says_what_was_measured():
    measured = make_measured()
    header, lines = table8_cells(TEXT_PERCEPTRON, measured, {"text_perceptron_dld": 31.4})
    assert [line[0] for line in lines] == [
        *("student at 1", "student at 0.5"),
        *("DLD, gamma 0.1", "DLD, gamma 0.3"),
    ]
    cells = dict(zip(header, lines[2], strict=True))
    # As many are found, and read, as by the hmean's halves: 8.5 and 7.5 of 10.
    assert cells["detection"].startswith("85.0 (83.") and cells["detection"].endswith("-86.5)")
    assert cells["regions read"] == cells["E2E none"]
    assert cells["E2E none"].startswith("75.0 (73.")
    assert cells["E2E strong"] == "90.0 (90.0-90.0)"
    assert [cells[name] for name in ("GFLOPs", "all parts", "ms")] == ["1.00", "2.00", "31"]
    assert cells["mean scale"] == "0.60"
    assert dict(zip(header, lines[0], strict=True))["ms"] == "-"
    console = Console(width=80, record=True, file=io.StringIO())
    for table in table8_rich(header, lines):
        console.print(table)
    printed = console.export_text()
    assert "…" not in printed
    assert all(cell in printed for line in lines for cell in line)


def test_results_of_an_earlier_version_do_not_tell_of_regions():
    results = make_results(9, 8, 2.0)
    for row in results["images"].values():
        del row["regions"]
    measured = {"text_perceptron_dld": Measured.from_results(results)}
    header, (cells,) = table8_cells(TEXT_PERCEPTRON, measured, {})
    assert dict(zip(header, cells, strict=True))["regions read"] == "-"


def test_images_without_a_region_do_not_count():
    results = make_results(9, 8, 2.0)
    next(iter(results["images"].values()))["regions"] = [0, 0, 0]
    share, low, high = Measured.from_results(results).regions_read()
    assert share == pytest.approx((19 * 8 + 20 * 7) / 390)
    assert low < share < high


def test_effects_are_differences_on_the_same_images():
    full, cost, low_full, low_cost, students = table8_effects(TEXT_PERCEPTRON, make_measured())
    # Every image has one word less: the same in every resampled set.
    assert full == (
        "DLD, gamma 0.1, over student at 1, for 50% of all multiply-adds (50% as the paper "
        "counts): detection -10.0 (-10.0 to -10.0), none -10.0 (-10.0 to -10.0), "
        "strong +0.0 (+0.0 to +0.0), weak +0.0 (+0.0 to +0.0)"
    )
    # A third at full scale and two thirds at half cost as much: 8.5 and 4.5 are read, 5.83 mixed.
    text = "DLD, gamma 0.1, over one scale for all images at its cost (2.00): none +16.7 (+16.7"
    assert cost.startswith(text) and "(of 0.5 and 1)" in cost
    assert low_full.startswith("DLD, gamma 0.3, over student at 1, for 38%")
    assert "at its cost (1.50)" in low_cost
    assert students.startswith("DLD, gamma 0.3, over gamma 0.1, for -25.0% of all multiply-adds: ")


def test_a_student_is_compared_with_the_teacher_and_with_itself():
    results = Measured.from_results(make_results(9, 8, 2.0))
    sentences = table8_effects(
        TABLES["mask_rcnn"],
        dict.fromkeys((TEACHER, "dld", "dld_gamma0.3", "dld_at_1"), results),
    )
    assert [s.split(", for ")[0] for s in sentences if ", for " in s] == [
        "DLD, gamma 0.1, over teacher at 1",
        "DLD, gamma 0.1, over student at 1",
        "DLD, gamma 0.3, over teacher at 1",
        "DLD, gamma 0.3, over gamma 0.1",
    ]
    assert table8_effects(TABLES["mask_rcnn"], {"dld": results}) == []


@pytest.mark.parametrize(
    ("name", "student", "model"),
    [
        ("text_perceptron_0.6", "text_perceptron_dld", "tiny_text_perceptron"),
        ("dld_at_1", "dld", "tiny_dld"),
    ],
)
def test_a_students_network_alone_reads_as_it_does_in_the_student(name, student, model, tmp_path):
    (row,) = (row for row in ROWS if row.name == name)
    runs = Runs(tmp_path, dataset="synthetic_val", weights={student: weights_file(model)})
    alone = runs.spotter(row)
    whole = TextSpotter.pretrained(model)
    assert type(alone.model) is type(whole.model.spotter)
    weights = alone.model.state_dict()
    for key, value in whole.model.spotter.state_dict().items():
        assert torch.equal(weights[key], value)
    # With the same thresholds, and at the row's scale of the student's full resolution.
    assert alone.score_threshold == whole.score_threshold
    scale = 0.6 if name.endswith("0.6") else 1
    assert runs.short_side(name) == round(512 * scale)


def test_rows_without_weights_are_left_out_and_times_are_of_all_others(
    monkeypatch, tmp_path, capsys
):
    evaluated = {}

    def call(command, **_):
        folder = Path(command[command.index("OUTPUT_DIR") + 1])
        evaluated[folder.name] = command[command.index("MODEL.WEIGHTS") + 1]
        results = folder / "inference" / "synthetic_val" / "results.json"
        results.parent.mkdir(parents=True)
        results.write_text(json.dumps(make_results(9, 8, 2.0)))
        return 0

    timed = []

    def time(spotters, images):
        timed.extend(spotters)
        return {name: float(len(images)) for name in spotters}

    monkeypatch.setattr("table_reproduction.runs.subprocess.call", call)
    monkeypatch.setattr("reproduce_table.milliseconds_per_image", time)
    monkeypatch.setattr(Runs, "spotter", lambda self, row: row)
    student = tmp_path / "student.pth"
    torch.save({"model": {"spotter.w": torch.ones(1), "policy.w": torch.zeros(1)}}, student)
    arguments = ["--output", str(tmp_path), "--dataset", "synthetic_val", "--timed-images", "3"]
    arguments += ["--weights", "text_perceptron_dld", str(student), "--table8", "text_perceptron"]
    assert main(arguments) == 0
    names = [*TEXT_PERCEPTRON.fixed.values(), "text_perceptron_dld"]
    assert [*evaluated] == names == timed
    assert evaluated["text_perceptron_dld"] == str(student)
    assert read_weights(evaluated["text_perceptron_0.3"]) == {"w": torch.ones(1)}
    assert "left out: text_perceptron_dld_gamma0.3" in capsys.readouterr().out
    text = (tmp_path / "table8_text_perceptron.md").read_text()
    assert "| student at 0.8 |" in text and "| DLD, gamma 0.1 |" in text
    summary = json.loads((tmp_path / "table8_text_perceptron.json").read_text())
    assert summary["text_perceptron_0.3"]["milliseconds"] == 3.0
    scales = [summary["text_perceptron_0.3"], summary["text_perceptron_dld"]]
    assert np.all([set(s) >= {"e2e_none_hmean"} for s in scales])
