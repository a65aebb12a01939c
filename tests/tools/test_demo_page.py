"""The page of `make demo` from figures made by hand; no model runs here."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmark_suite.turns import read_in_turn
from demo_page import command, measure, plots
from demo_page.fine_tune import FineTuning, FineTuningError, fine_tune, group_losses
from demo_page.gallery import Disagreement, choose_scenes, compare, make_exhibit
from demo_page.measure import MODELS, Reading, Scene, Sweep, read_scene
from demo_page.page import PageData, build_page, headline
from demo_page.photographs import Photograph, summary
from demo_page.scores import CurvePoint, RegimeRow, Row, fixed_scales, score, slide, table_row
from page_structure import Structure

from dld_d2.deployment.result import SpottingResult, Word
from dld_d2.evaluation import DONT_CARE, Lexicon
from dld_d2.structures.word import Word as TrueWord


def box(x, y, width=40, height=20):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)


def word(x, y, text):
    return Word(box(x, y), text, 0.9, 0.8)


def scene(*truth, name="test_00000_small"):
    words = tuple(TrueWord(box(x, y), text) for x, y, text in truth)
    return Scene(name, np.full((120, 160, 3), 128, np.uint8), words)


def reading(*words, scale=1.0, published=4.0, seconds=0.1):
    return Reading(tuple(word(*w) for w in words), scale, published, 2 * published, seconds)


class TestCompare:
    truth = scene((0, 0, "stop"), (60, 0, "exit"), (0, 40, "menu"), (60, 40, DONT_CARE))

    def test_alike_apart_from_case(self):
        found = compare(self.truth, reading((0, 0, "STOP")), reading((1, 0, "stop")))
        assert (found.disagreements, found.alike) == ((), 1)
        assert not found.teacher_differs and not found.student_differs

    def test_other_reading_and_missing_words(self):
        teacher = reading((0, 0, "stop"), (60, 0, "exit"))
        student = reading((0, 40, "menu"), (60, 1, "exif"))
        found = compare(self.truth, teacher, student)
        assert found.disagreements == (
            Disagreement("stop", "stop", None),
            Disagreement("exit", "exit", "exif"),
            Disagreement("menu", None, "menu"),
        )
        assert found.alike == 0
        assert found.teacher_differs == {0, 1} and found.student_differs == {0, 1}
        first, second, third = found.disagreements
        assert [d.is_right(d.teacher) for d in found.disagreements] == [True, True, False]
        assert (first.is_right(None), second.is_right("exif")) == (False, False)
        assert third.is_right("MENU!") is False

    def test_no_word_and_dont_care(self):
        found = compare(self.truth, reading((110, 90, "x"), (60, 40, "a")), reading((60, 40, "b")))
        nothing, ignored = found.disagreements
        assert nothing == Disagreement(None, "x", None)
        assert nothing.is_right("x") is False and nothing.is_right(None) is None
        assert ignored == Disagreement(DONT_CARE, "a", "b")
        assert ignored.is_right("a") is None

    def test_nothing_found(self):
        found = compare(scene(), reading(), reading())
        assert (found.disagreements, found.alike) == ((), 0)


def test_chosen_scenes_are_the_first_and_the_most_different():
    names = ["small", "large", "small", "small", "small", "large"]
    scenes = [scene(name=f"test_{i:05d}_{n}") for i, n in enumerate(names)]
    differ = [0, 0, 0, 1, 3, 0]
    comparisons = [
        SimpleNamespace(disagreements=number * [Disagreement("a", "b", "c")]) for number in differ
    ]
    chosen = choose_scenes(scenes, comparisons, per_regime=1, most=1)
    assert list(chosen) == [1, 0, 4]
    assert chosen[0] == "scene 1 of 4 with small words"


class TestScores:
    scenes = (
        scene((0, 0, "stop"), (60, 0, "exit")),
        scene((0, 0, "menu"), name="test_00001_large"),
    )
    right = (reading((0, 0, "stop"), (60, 0, "exit")), reading((0, 0, "menu")))

    def test_row(self):
        readings = [
            reading((0, 0, "stop"), (60, 0, "exif"), scale=0.5, published=1.0, seconds=0.1),
            reading((0, 0, "menu"), scale=0.3, published=0.5, seconds=0.2),
        ]
        lexicons = {"none": None, "weak": Lexicon(["stop", "exit", "menu"])}
        row = table_row(MODELS[2], self.scenes, readings, lexicons)
        assert (row.det, row.e2e["weak"]) == (1.0, 1.0)
        assert row.e2e["none"] == pytest.approx(2 / 3)
        assert row.interval[0] <= row.e2e["none"] <= row.interval[1]
        assert (row.mean_scale, row.published, row.whole) == pytest.approx((0.4, 0.75, 1.5))
        assert row.milliseconds == pytest.approx(150)
        assert row.regimes == {
            "large": RegimeRow(1.0, (0.3,)),
            "small": RegimeRow(0.5, (0.5,)),
        }
        assert list(row.regimes) == ["large", "small"]

    def test_sliding_goes_from_the_cheapest_to_the_dearest(self):
        cheap = [reading(published=1.0), reading((0, 0, "menu"), published=1.0)]
        dear = [replace(item, published=4.0) for item in self.right]
        # The selector likes the dear scale for the first scene more than for the second.
        logits = torch.tensor([[0.0, 2.0], [0.0, 1.0]])
        sweep = Sweep((0.5, 1.0), torch.tensor([0.25, 1.0]), logits, [cheap, dear])
        curve = slide(self.scenes, sweep)
        assert [point.cost for point in curve] == [1.0, 2.5, 4.0]
        assert [point.e2e for point in curve] == [pytest.approx(0.5), 1.0, 1.0]
        assert curve[0].setting > curve[1].setting > curve[2].setting
        fixed = fixed_scales(self.scenes, sweep)
        assert [(p.setting, p.cost, p.e2e) for p in fixed] == [(0.5, 1.0, 0.5), (1.0, 4.0, 1.0)]

    def test_scoring_follows_the_protocol(self):
        assert score(self.scenes, self.right).case("end_to_end", "none").spotting.hmean == 1


class FakeSpotter:
    """Finds one word; remembers when it was called."""

    scales = (1.0,)

    def __init__(self, name, calls, input_side):
        self.name, self.calls, self.input_side = name, calls, input_side

    def __call__(self, image):
        self.calls.append(self.name)
        side = self.input_side
        return SpottingResult((word(0, 0, self.name),), image.shape[:2], (side, side))

    def cost(self, result):
        return SimpleNamespace(published=2**31, total=2**32)


def test_models_take_turns_after_a_warm_up():
    calls = []
    spotters = {name: FakeSpotter(name, calls, side) for name, side in (("a", 120), ("b", 60))}
    readings = read_in_turn(spotters, 3 * [scene()], read_scene)
    assert "".join(calls[-6:]) == "abbaab" and set(calls[:-6]) == {"a", "b"}
    assert [r.scale for r in readings["b"]] == [0.5] * 3
    assert (readings["a"][0].published, readings["a"][0].whole) == (2, 4)
    assert readings["a"][0].words[0].text == "a"


def test_missing_weights_are_named(monkeypatch):
    monkeypatch.setattr(measure, "names", lambda: ["tiny_teacher"])
    with pytest.raises(FileNotFoundError, match=r"tiny_dld, tiny_dld_gamma0\.3 are not in"):
        measure.load_models(MODELS, 512)


def test_losses_are_grouped():
    rows = [
        {"iteration": 0, "total_loss": 9.0, "loss_rec": 0.75, "loss_ctc": 0.25, "loss_mask": 2.0,
         "loss_cls": 3.0, "loss_seq": 1.5, "loss_con": 0.5, "loss_flops": 1.0, "lr": 1e-4},
        {"iteration": 1, "total_loss": 1.0, "loss_rec": 1.0},
        {"iteration": 2, "eval/seconds": 3.0},
    ]  # fmt: skip
    assert group_losses(rows) == {
        "total": [9.0, 1.0],
        "recognition": [1.0, 1.0],
        "distillation": [2.0, 0.0],
        "scale selection": [1.0, 0.0],
        "detection": [5.0, 0.0],
    }


def test_failed_training_says_where_to_look(monkeypatch, tmp_path):
    def fail(command, *, stdout, **_):
        stdout.write("Traceback\nConfigError: no such key\n\n")
        return 3

    monkeypatch.setattr("demo_page.fine_tune.subprocess.call", fail)
    monkeypatch.setattr("demo_page.fine_tune.weights_file", lambda name: tmp_path / name)
    with pytest.raises(FineTuningError, match=r"status 3.*console.txt.*ConfigError: no such key"):
        fine_tune(tmp_path / "run", 2, teacher="t", student="s")


def row(model, published, e2e, milliseconds):
    scores = {"none": e2e, "strong": 0.95, "weak": 0.9, "generic": 0.85}
    regimes = {"large": RegimeRow(0.9, (0.3, 0.4)), "small": RegimeRow(0.7, (0.8,))}
    return Row(
        model, 0.47, published, 2 * published, milliseconds, 0.97, scores, scores, (0.71, 0.83),
        regimes, np.array([[1000, 1000, 1000, 1000, round(1000 * e2e)]]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def data():
    rows = [
        row(MODELS[0], 4.0, 0.8125, 200.0),
        row(MODELS[1], 1.0, 0.5, 100.0),
        row(MODELS[2], 1.5, 0.8, 125.0),
        row(MODELS[3], 1.2, 0.75, 110.0),
    ]
    teacher = reading((0, 0, "<b>&amp"), (60, 40, "stop"))
    student = reading((0, 0, '"quoted"'), (60, 40, "stop"), scale=0.5)
    shown = scene((0, 0, "a<b&c"), name="test_00007_large")
    comparison = compare(shown, teacher, student)
    exhibit = make_exhibit(
        shown, teacher, student, comparison, other_scales={MODELS[3].label: 0.3}, why="first of 2"
    )
    losses = {"total": [6.0, 5.0, 4.0, 3.5], "detection": [3.0, 2.0, 2.0, 1.5]}
    curve = [CurvePoint(1.0, 0.5, 9.0), CurvePoint(3.0, 0.8, -2.0)]
    return PageData(
        photographs=[Photograph(replace(shown, image_id="sign"), student)],
        rows=rows,
        student=rows[2],
        num_images=61,
        num_words=357,
        scales=(0.3, 0.4, 0.5, 0.8),
        pareto=plots.plot_pareto(rows, curve, curve, rows[2]),
        scale_shares=plots.plot_scales(rows[2:], (0.3, 0.4, 0.5, 0.8)),
        training=FineTuning(losses, 4, 2, "python train_net.py <x>"),
        losses=plots.plot_losses(losses),
        exhibits=[exhibit],
        machine="2 threads of a <CPU>",
        versions="dld_d2 1",
        seconds=150.0,
    )


class TestPage:
    def test_holds_all_it_shows(self, data):
        page = build_page(data)
        structure = Structure(page)
        assert structure.open == []
        assert len(structure.references) == 7  # icon, three plots, three pictures
        assert all(reference.startswith("data:") for reference in structure.references)
        assert not re.search(r"https?:|url\(|@import", page)
        assert "script" not in structure.tags and "$" not in page
        assert len(structure.alts) == 6 and all(structure.alts)

    def test_shows_the_figures(self, data):
        page = build_page(data)
        for figure in (
            "61 synthetic scenes", "357 words", "1.50<span class=\"second\">38%</span>",
            "1.60&times;", "80.0<span class=\"second\">[71.0, 83.0]</span>", "81.2%",
            "first and of the last iterations: 6.00 and 3.50", "2.5 minutes", "0.35", "0.80",
        ):  # fmt: skip
            assert figure in page, figure

    def test_escapes_what_was_read(self, data):
        page = build_page(data)
        assert "&lt;b&gt;&amp;amp" in page and "a&lt;b&amp;c" in page
        assert "&quot;quoted&quot;" in page and "a &lt;CPU&gt;" in page
        assert "train_net.py &lt;x&gt;" in page
        assert "<b>" not in page

    def test_lists_scales_and_disagreements(self, data):
        page = build_page(data)
        assert f"{MODELS[2].label} chose scale 0.5" in page
        assert f"{MODELS[3].label} chose 0.3" in page
        assert "1 disagreement; 1 word read alike" in page

    def test_photographs_show_what_was_read(self, data):
        page = build_page(data)
        assert "<h3>sign</h3>" in page
        assert "photo_student reads: &quot;quoted&quot;, stop" in page
        assert summary(data.photographs[0]) == 'sign: "quoted" stop (100 ms)'

    def test_tells_of_a_failed_training(self, data):
        page = build_page(replace(data, training="failed: see <log>", losses=None))
        assert '<p class="problem">failed: see &lt;log&gt;</p>' in page
        assert len(Structure(page).alts) == 5

    def test_is_the_same_each_time(self, data):
        assert build_page(data) == build_page(data)
        assert plots.plot_losses(data.training.losses) == data.losses

    def test_headline_says_better_and_worse(self, data):
        better = row(MODELS[2], 1.5, 0.853, 125.0)
        assert "-1.2 points" in headline(data.rows[2], data.rows[0])
        assert "+4.1 points" in headline(better, data.rows[0])
        assert "95% interval +4.1 to +4.1" in headline(better, data.rows[0])
        cost = "38% of its GFLOPs, everything counted (38% as the paper counts)"
        assert cost in headline(better, data.rows[0])
        equal = row(MODELS[2], 1.5, 0.812, 125.0)
        assert "+0.0 points" in headline(equal, data.rows[0])


class TestCommand:
    @pytest.mark.parametrize("value", ["0", "-3", "many"])
    def test_numbers_are_checked(self, capsys, value):
        with pytest.raises(SystemExit):
            command.main(["--images", value])
        assert "--images" in capsys.readouterr().err

    def test_more_scenes_than_there_are(self, capfd, tmp_path):
        assert command.main(["--images", "501", "--output", str(tmp_path)]) == 2
        assert "synthetic_test has 1 to 500 scenes" in capfd.readouterr().err
