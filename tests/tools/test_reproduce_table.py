"""The experiment's bookkeeping: rows, what they need, how they compare."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from reproduce_table import main, spread, with_needed
from rich.console import Console
from table_reproduction.measured import Measured, vanilla_at_cost
from table_reproduction.plots import write_plots
from table_reproduction.rows import ROWS, SECOND_ROUND, find_rows
from table_reproduction.runs import Runs
from table_reproduction.table import effects, markdown, rich_tables, table_cells
from table_reproduction.timing import milliseconds_per_image

from dld_d2.deployment.predictor import TextSpotter
from dld_d2.deployment.pretrained import weights_file
from dld_d2.engine.checkpoint import read_weights
from dld_d2.engine.setup import setup_cfg
from dld_d2.evaluation.bootstrap import hmean_intervals
from dld_d2.modeling.dynamic_spotter import is_dynamic

REGIMES = ("large", "small")
LEXICONS = ("none", "strong", "weak", "generic")


def make_results(correct, cost, scales=None):
    """results.json of 40 images of 10 words with this share of them read."""
    generator = np.random.default_rng(0)
    images = {}
    for number in range(40):
        right = int(generator.binomial(10, correct))
        row = {"num_words": 10, "cost_whole": cost, "cost_published": cost / 2}
        if scales:
            row["scale"] = scales[number % 2]
        row["counts"] = {
            f"{task}_{name}": [10, 10, 10, 10, right] for task in ("e2e", "ws") for name in LEXICONS
        }
        images[f"test_{number:05d}_{REGIMES[number % 2]}"] = row
    total = sum(row["counts"]["e2e_none"][4] for row in images.values()) / 400
    metrics = {f"{task}_{name}_hmean": total for task in ("e2e", "ws") for name in LEXICONS}
    return {"metrics": metrics, "images": images}


def make_measured():
    return {
        "vanilla_h": Measured.from_results(make_results(0.9, 4.0)),
        "vanilla_l": Measured.from_results(make_results(0.5, 1.0), scale=0.5),
        "skd_only": Measured.from_results(make_results(0.7, 1.0, [0.5, 0.5])),
        "dld": Measured.from_results(make_results(0.88, 2.0, [0.4, 0.8])),
        "dld_gamma0.3": Measured.from_results(make_results(0.8, 1.5, [0.3, 0.7])),
        "drs_only_as_dld": Measured.from_results(make_results(0.75, 1.9, [0.4, 0.8])),
    }


def rows_of(measured):
    return [row for row in ROWS if row.name in measured]


def test_rows_and_groups_are_found_in_order_and_others_named():
    assert [r.name for r in find_rows(["dld", "vanilla_h"])] == ["vanilla_h", "dld"]
    assert {r.group for r in find_rows(["curve", "sweep"])} == {"curve", "sweep"}
    with pytest.raises(ValueError, match=r"'dlt'; known are .*dld_gamma0\.3"):
        find_rows(["dlt"])
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_what_a_row_needs_comes_before_it():
    def needed(*names):
        return [row.name for row in with_needed(find_rows(list(names)))]

    assert needed("vanilla_0.3") == ["vanilla_h", "vanilla_0.3"]
    assert needed("skd_only") == ["vanilla_h", "skd_only"]
    assert needed("dld") == ["text_size", "vanilla_h", "dld"]
    assert needed("bhunia") == ["vanilla_h", "bhunia"]
    assert needed("qi_fused") == ["vanilla_h", "teacher_multiscale", "qi_fused"]
    assert needed("dld_gamma0.5") == ["text_size", "vanilla_h", "dld_gamma0.3", "dld_gamma0.5"]
    assert needed("drs_only_as_dld") == [
        *("text_size", "vanilla_h", "drs_only", "dld", "drs_only_as_dld")
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_rows_configuration_is_valid(row):
    second = SECOND_ROUND if row.chooses else ()
    cfg = setup_cfg(f"configs/tiny/{row.config}", [*row.opts, *second])
    if row.name.startswith("dld_gamma"):
        assert f"dld_gamma{cfg.MODEL.DISTILL.SELECTOR.GAMMA:g}" == row.name
    if row.name.startswith("vanilla"):
        scale = {"vanilla_h": 1.0, "vanilla_l": 0.5}.get(row.name) or float(row.name[8:])
        assert pytest.approx(512 * scale, abs=0.5) == cfg.INPUT.MIN_SIZE_TEST
    assert not (row.alone and is_dynamic(cfg.MODEL.META_ARCHITECTURE))


def test_images_become_arrays():
    found = make_measured()["dld"]
    assert found.counts["ws_weak"].shape == (40, 5)
    assert found.scale.tolist() == [0.4, 0.8] * 20
    assert found.regime.tolist() == ["large", "small"] * 20
    assert (found.cost.mean(), found.published_cost.mean()) == (2.0, 1.0)
    assert (
        found.interval("e2e_none") == hmean_intervals(found.counts["e2e_none"], 2000)["spot_hmean"]
    )
    assert set(make_measured()["vanilla_l"].scale) == {0.5}


def test_vanilla_at_a_cost_is_a_mixture_of_its_neighbours():
    vanilla = {
        "h": Measured.from_results(make_results(0.9, 4)),
        "l": Measured.from_results(make_results(0.2, 1)),
    }
    counts, *names = vanilla_at_cost(vanilla, 2.0, "e2e_none")
    mixed = (2 * vanilla["l"].counts["e2e_none"] + vanilla["h"].counts["e2e_none"]) / 3
    np.testing.assert_allclose(counts, mixed)
    assert names == ["l", "h"]
    counts, *names = vanilla_at_cost(vanilla, 4.0, "e2e_none")
    np.testing.assert_allclose(counts, vanilla["h"].counts["e2e_none"])
    assert vanilla_at_cost(vanilla, 4.1, "e2e_none") is None
    assert vanilla_at_cost(vanilla, 0.9, "e2e_none") is None
    # A scale that is worse than a mixture of its neighbours is not held against the teacher.
    vanilla["m"] = Measured.from_results(make_results(0.3, 2.5))
    counts, *names = vanilla_at_cost(vanilla, 2.0, "e2e_none")
    np.testing.assert_allclose(counts, mixed)
    vanilla["m"] = Measured.from_results(make_results(0.85, 2.5))
    assert vanilla_at_cost(vanilla, 2.0, "e2e_none")[1:] == ("l", "m")
    counts, *names = vanilla_at_cost(vanilla, 2.5, "e2e_none")
    np.testing.assert_allclose(counts, vanilla["m"].counts["e2e_none"])


def test_the_table_says_what_was_measured():
    measured = make_measured()
    header, lines = table_cells(rows_of(measured), measured, {"dld": 31.4, "vanilla_h": 58.8})
    assert all(len(line) == len(header) for line in lines)
    cells = dict(
        zip(header, next(line for line in lines if "DLD, gamma 0.1" in line[0]), strict=True)
    )
    low, high = measured["dld"].interval("e2e_none")
    hmean = measured["dld"].hmean("e2e_none")
    assert cells["E2E none"] == f"{100 * hmean:.1f} ({100 * low:.1f}-{100 * high:.1f})"
    assert (cells["GFLOPs"], cells["all parts"], cells["mean scale"]) == ("1.00", "2.00", "0.60")
    assert (cells["ms"], cells["speed"]) == ("31", "1.87x")
    first, second = (dict(zip(header, line, strict=True)) for line in lines[:2])
    assert (first["ms"], first["speed"]) == ("59", "1.00x")
    assert (second["ms"], second["speed"]) == ("-", "-")
    _, alone = table_cells(rows_of(measured), measured, {"dld": 31.4})
    assert {line[header.index("speed")] for line in alone} == {"-"}
    console = Console(width=80, record=True, file=io.StringIO())
    for table in rich_tables(header, lines):
        console.print(table)
    printed = console.export_text()
    assert "…" not in printed
    assert all(cell in printed for line in lines for cell in line)
    text = markdown(header, lines).splitlines()
    assert len(text) == 2 + len(lines)
    assert {line.count("|") for line in text} == {len(header) + 1}


def test_effects_are_differences_on_the_same_images():
    measured = make_measured()
    sentences = effects(measured)
    assert len(sentences) == 6
    right = {name: found.counts["e2e_none"][:, 4].sum() for name, found in measured.items()}
    # Of 400 words and as many readings the hmean is the share that is right.
    expected = 100 * (right["skd_only"] - right["vanilla_l"]) / 400
    assert f"SKD-only over vanilla at half the scale: {expected:+.1f} points" in sentences[0]
    # Two thirds at half the scale and one third at full cost as much as DLD.
    mixture = (2 * right["vanilla_l"] + right["vanilla_h"]) / 3
    expected = 100 * (right["dld"] - mixture) / 400
    text = "DLD, gamma 0.1, over vanilla at the same cost (2.00, of vanilla_l and vanilla_h): "
    assert f"{text}{expected:+.1f} points" in sentences[2]
    assert "DRS-only at about its cost (2.00 against 1.90)" in sentences[-1]
    assert "at 50% of its multiply-adds" in sentences[1]
    assert "costs -25.0% against 0.1" in "".join(sentences)
    assert effects({"dld": measured["dld"]}) == []


def test_plots_of_the_rows_that_there_are(tmp_path):
    measured = make_measured()
    names = {path.name for path in write_plots(measured, tmp_path)}
    assert names == {"pareto.png", "scales.png"}
    measured |= {f"dld_gamma{g}": measured["dld"] for g in (0.2, 0.5)}
    names = {path.name for path in write_plots(measured, tmp_path)}
    assert names == {"pareto.png", "scales.png", "gamma.png"}
    assert write_plots({"skd_only": measured["skd_only"]}, tmp_path) == []


def save_weights(file, value):
    file.parent.mkdir(exist_ok=True)
    name = "spotter.w" if file.parent.name == "first" else "w"
    torch.save({"model": {name: torch.tensor([value])}}, file)


class Commands:
    """Takes the place of `subprocess.call`: writes what a training or an evaluation would."""

    def __init__(self):
        self.done = []
        self.commands = []

    def __call__(self, command, **_):
        self.commands.append(command)
        folder = Path(command[command.index("OUTPUT_DIR") + 1])
        kind = "train" if "--resume" in command else "evaluate"
        self.done.append((kind, folder.name))
        if kind == "train":
            save_weights(folder / "model_final.pth", 3.0)
        else:
            results = folder / "inference" / "synthetic_val" / "results.json"
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps(make_results(0.8, 2.0)))
        return 0


@pytest.fixture
def commands(monkeypatch):
    commands = Commands()
    monkeypatch.setattr("table_reproduction.runs.subprocess.call", commands)
    return commands


def test_an_evaluation_is_of_its_weights_and_overrides(commands, tmp_path):
    (row,) = find_rows(["dld"])
    files = [tmp_path / "one.pth", tmp_path / "two.pth"]
    for file in files:
        file.write_text(file.name)

    def evaluate(file, *opts):
        runs = Runs(tmp_path, dataset="synthetic_val", weights={"dld": file}, opts=opts)
        before = len(commands.done)
        assert runs.evaluate(row)["images"]
        return len(commands.done) - before

    assert [evaluate(files[0]), evaluate(files[0])] == [1, 0]
    # Other weights, though the file is older than the results.
    assert [evaluate(files[1]), evaluate(files[1]), evaluate(files[0])] == [1, 0, 1]
    assert [evaluate(files[0], "TEST.MATCH_IOU", "0.7"), evaluate(files[0])] == [1, 1]


def test_what_is_trained_is_not_trained_again(commands, tmp_path):
    arguments = ["--output", str(tmp_path), "--dataset", "synthetic_val", "--timed-images", "0"]
    assert main([*arguments, "--rows", "text_size"]) == 0
    assert commands.done == [("train", "text_size")]
    assert not (tmp_path / "table.md").exists()
    assert main([*arguments, "--rows", "dld"]) == 0
    rounds = [("train", "first"), ("train", "dld")]
    assert commands.done[1:] == [("train", "vanilla_h"), *rounds, ("evaluate", "dld")]
    assert "DLD, gamma 0.1" in (tmp_path / "table.md").read_text()
    assert main([*arguments, "--rows", "dld"]) == 0
    assert len(commands.done) == 5


def test_a_selector_goes_on_from_the_average_of_student_and_teacher(commands, tmp_path):
    arguments = ["--output", str(tmp_path), "--dataset", "synthetic_val", "--timed-images", "0"]
    arguments += ["--rows", "drs_only_gamma0.3"]
    for needed in ("vanilla_h", "text_size"):
        save_weights(tmp_path / needed / "model_final.pth", 1.0)
    assert main(arguments) == 0
    first, second = ([*command] for command in commands.commands[:2])
    assert "MODEL.WEIGHTS" not in first and "SEED" not in first
    weights = str(tmp_path / "drs_only_gamma0.3" / "first" / "averaged.pth")
    assert second[second.index("MODEL.WEIGHTS") + 1] == weights
    assert read_weights(weights) == {"spotter.w": torch.tensor([2.0])}
    assert all(word in second for word in SECOND_ROUND)
    assert all(c[c.index("MODEL.DISTILL.SELECTOR.GAMMA") + 1] == "0.3" for c in (first, second))
    # Cut off in the second round, it does not do the first one again.
    (tmp_path / "drs_only_gamma0.3" / "model_final.pth").unlink()
    commands.commands.clear()
    assert main(arguments) == 0
    assert weights in commands.commands[0]


def test_another_gamma_takes_a_student_that_is_there(commands, tmp_path):
    for needed in ("vanilla_h", "text_size"):
        save_weights(tmp_path / needed / "model_final.pth", 1.0)
    student = tmp_path / "student.safetensors"
    student.write_text("student")
    arguments = ["--output", str(tmp_path), "--dataset", "synthetic_val", "--timed-images", "0"]
    arguments += ["--rows", "dld_gamma0.5", "--weights", "dld_gamma0.3", str(student)]
    assert main(arguments) == 0
    assert commands.done == [("train", "dld_gamma0.5"), ("evaluate", "dld_gamma0.5")]
    command = [*commands.commands[0]]
    assert command[command.index("MODEL.WEIGHTS") + 1] == str(student)
    assert all(word in command for word in SECOND_ROUND)
    assert command[command.index("MODEL.DISTILL.SELECTOR.GAMMA") + 1] == "0.5"
    # Once it is there, the student that it began with is of no use.
    (tmp_path / "dld_gamma0.5" / "inference" / "synthetic_val" / "evaluated.json").unlink()
    commands.done.clear()
    assert main(arguments[:-3]) == 0
    assert commands.done == [("evaluate", "dld_gamma0.5")]


def test_skd_only_has_no_selector_to_go_on_with(commands, tmp_path):
    save_weights(tmp_path / "vanilla_h" / "model_final.pth", 1.0)
    arguments = ["--output", str(tmp_path), "--dataset", "synthetic_val", "--timed-images", "0"]
    assert main([*arguments, "--rows", "skd_only"]) == 0
    assert commands.done == [("train", "first"), ("evaluate", "skd_only")]
    final = read_weights(tmp_path / "skd_only" / "model_final.pth")
    assert final == {"spotter.w": torch.tensor([2.0])}


def test_fused_pyramids_have_a_teacher_that_goes_on_from_the_ordinary_one(commands, tmp_path):
    save_weights(tmp_path / "vanilla_h" / "model_final.pth", 1.0)
    arguments = ["--output", str(tmp_path), "--dataset", "synthetic_val", "--timed-images", "0"]
    assert main([*arguments, "--rows", "qi_fused"]) == 0
    assert commands.done == [
        ("train", "teacher_multiscale"),
        ("train", "first"),
        ("evaluate", "qi_fused"),
    ]
    teacher, student, _ = commands.commands
    plain = str(tmp_path / "vanilla_h" / "model_final.pth")
    assert teacher[teacher.index("MODEL.WEIGHTS") + 1] == plain
    key = student.index("MODEL.DISTILL.TEACHER_WEIGHTS")
    assert student[key + 1] == str(tmp_path / "teacher_multiscale" / "model_final.pth")
    final = read_weights(tmp_path / "qi_fused" / "model_final.pth")
    assert final == {"spotter.w": torch.tensor([2.0])}


def test_equal_cost_is_that_of_the_other_row_as_it_is_evaluated(monkeypatch, tmp_path):
    scenes = [DatasetCatalog.get("synthetic_val")[i] for i in range(40)]
    monkeypatch.setattr("table_reproduction.runs.DatasetCatalog.get", lambda _: scenes)
    file = weights_file("tiny_dld")
    runs = Runs(tmp_path, dataset="synthetic_val", weights={"dld": file, "drs_only": file})
    (row,) = find_rows(["drs_only_as_dld"])
    opts = runs.inference_opts(row)
    bias = float(opts[opts.index("MODEL.DYNAMIC.COST_BIAS") + 1])
    spotter = TextSpotter.pretrained("tiny_dld")
    logits = torch.stack(list(spotter.scale_logits([s["read_image"]("BGR") for s in scenes])))

    def cost(bias):
        relative = spotter.model.relative_cost
        return relative[(logits - bias * relative).argmax(dim=1)].mean().item()

    # Both rows have the same weights here, and dld has a cost bias of its own.
    assert cost(bias) == pytest.approx(cost(spotter.cost_bias))
    assert cost(bias) < cost(0) - 0.005


def test_a_training_that_fails_ends_it_with_its_last_lines(monkeypatch, tmp_path):
    def fail(command, stdout, **_):
        stdout.write("ConfigError: no such key\n")
        return 3

    monkeypatch.setattr("table_reproduction.runs.subprocess.call", fail)
    with pytest.raises(SystemExit, match=r"(?s)training text_size failed with status 3.*no such"):
        main(["--output", str(tmp_path), "--rows", "text_size"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "dlt"], "there is no row 'dlt'"),
        (["--dataset", "icdar2015_test"], "--dataset icdar2015_test: there are synthetic_train"),
        (["--weights", "dld", "no/such.pth"], "--weights dld: there is no file no/such.pth"),
        (["--weights", "vanilla_l", "w.pth"], "--weights vanilla_l: rows with their own"),
        (["--table8", "text_perceptron"], "text_perceptron_dld is not trained here: --shipped"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_trained(
    commands, tmp_path, capsys, arguments, message
):
    assert main(["--output", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert commands.done == []


def test_timed_images_are_of_the_whole_set():
    assert spread(range(500), 4) == [0, 125, 250, 375]
    assert spread(range(3), 60) == [0, 1, 2]
    assert spread(range(7), 5) == [0, 1, 2, 4, 5]


def test_who_begins_changes_and_first_times_do_not_count():
    calls = []

    class Spotter:
        scales = (1.0,)

        def __init__(self, name):
            self.name = name

        def __call__(self, image):
            calls.append(self.name)

    images = [np.zeros((8, 8, 3), np.uint8)] * 3
    found = milliseconds_per_image({name: Spotter(name) for name in "ab"}, images)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert set(found) == {"a", "b"} and min(found.values()) > 0
