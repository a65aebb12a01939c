"""The appendix from evaluations made by hand, and once from models."""

import csv
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from appendix_page.accuracy import accuracy, needed_scales
from appendix_page.budget import Selection, budget, remedies
from appendix_page.command import main
from appendix_page.evaluations import Evaluation, Evaluations
from appendix_page.feature_items import figure_a5_or_a6, table_a2
from appendix_page.feature_study import FeatureStudy, _add, _Keeper
from appendix_page.galleries import figure_a1, figure_a2, figure_a3, figure_a4, figure_a7
from appendix_page.images import heights, image_list
from appendix_page.item import Cell, Missing, Table
from appendix_page.page import PageData, Section, build_page, write_files
from appendix_page.settings import check_low_scale
from appendix_page.sheet import sheet
from appendix_page.sources import Source, open_source
from appendix_page.study import Study, register_part
from appendix_page.tables import headline, scores, table_a1, table_a3, tiles
from detectron2.data import DatasetCatalog
from page_structure import Structure

from dld_d2.analysis.appendix.features import word_distances
from dld_d2.data import register_text_dataset
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.deployment.pretrained import focus_file
from dld_d2.evaluation import evaluate
from dld_d2.evaluation.details import image_records
from dld_d2.evaluation.submission import write_submission
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.selection.policies import FixedScale
from dld_d2.structures.errors import UsageError
from dld_d2.structures.word import Word

NAMES = ["img_1", "img_2", "img_3"]
TEXTS = {"img_1": ["One", "<b>&x"], "img_2": ["three"], "img_3": []}


def box(place, height=20):
    x, y = 10 + 80 * place, 10
    return np.array([[x, y], [x + 60, y], [x + 60, y + height], [x, y + height]], float)


def annotation(place, text):
    return {"segmentation": [box(place).ravel().tolist()], "text": text, "ignore": text == "###"}


ITEMS = [
    {
        "image_id": name,
        "file_name": f"{name}.jpg",
        "height": 60,
        "width": 200,
        "read_image": lambda order: np.full((60, 200, 3), 90, np.uint8),
        "annotations": [annotation(i, text) for i, text in enumerate(TEXTS[name])],
    }
    for name in NAMES
]
TRUTH = {n: [Word(box(i), text) for i, text in enumerate(TEXTS[n])] for n in NAMES}


def evaluation(label, found, scales=(1.0, 1.0, 1.0), cost=4.0):
    words = {n: [Word(box(i), t) for i, t in enumerate(ts) if t] for n, ts in found.items()}
    report = evaluate(TRUTH, words, tasks="end_to_end")
    records = {record["image"]: record for record in image_records(report, report.case())}
    by_image = dict(zip(NAMES, scales, strict=True))
    costs = {name: cost * scale**2 for name, scale in by_image.items()}
    return Evaluation(label, records, by_image, costs, 120, 400)


@pytest.fixture
def study():
    return Study(
        name="my_test",
        items=ITEMS,
        low=0.5,
        vanilla=evaluation("vanilla (t)", {"img_1": ["one", "<b>&x"], "img_2": ["three"]}),
        vanilla_low=evaluation("vanilla (t at 0.5)", {"img_1": ["ono", ""]}, 3 * [0.5]),
        skd_only=evaluation("SKD-only (s)", {"img_1": ["one", "<i>"]}, 3 * [0.5]),
        drs_only=None,
        dld=[evaluation("DLD (d)", {"img_1": ["one", "<i>"], "img_2": ["three"]}, (0.3, 0.8, 0.3))],
        logits=np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.5]], dtype=np.float32),
    )


SELECTION = Selection((0.3, 0.8), torch.tensor([0.1, 0.6]), 0.0)


def cells(item):
    """Rows of the first table of an item, without what is no text."""
    (rows,) = re.findall(r"<tbody>\n(.*?)\n</tbody>", item.body, re.DOTALL)[:1]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows.split("\n")]


class TestTables:
    def test_scales(self, study):
        item = table_a1([study], (0.3, 0.5, 0.8))
        means = f"{1.4 / 3:.3f}", f"{(0.09 + 0.64 + 0.09) / 3:.3f}"
        assert cells(item) == [["DLD (d)", "my_test", "66.7", "0.0", "33.3", *means]]
        assert item.files["table_a1.md"].decode().splitlines()[2].count("|") == 8

    def test_outcomes(self, study):
        item = table_a3([study])
        (row,) = cells(item)
        assert row == [
            *("my_test", "3", "66.67", "33.33", "0.00", "0.00"),
            *("0.00", "0.00", "0.00", "1"),
        ]
        empty = replace_study(study, items=ITEMS[2:])
        assert isinstance(table_a3([empty]), Missing)

    def test_scores(self, study):
        table = scores([study])
        assert [row[0] for row in table.rows] == [
            *("vanilla (t)", "vanilla (t at 0.5)", "SKD-only (s)", "DLD (d)"),
        ]
        assert table.rows[0][2:] == ["100.0", "4.00 (100%)", "1.00"]
        assert table.rows[3][2:] == ["66.7", f"{4 * 0.82 / 3:.2f} (27%)", "0.47"]
        assert "DLD (d) reads 66.7%" in headline([study])
        assert "1 words are lost and 0 won (p 1)" in headline([study])
        assert tiles(study)[1] == ("27%", "of vanilla's GFLOPs")


def replace_study(study, **changes):
    if "items" in changes:
        kept = {item["image_id"] for item in changes["items"]}
        for name in ("vanilla", "dld"):
            old = getattr(study, name)
            several = old if isinstance(old, list) else [old]
            new = [
                replace(e, records={k: v for k, v in e.records.items() if k in kept})
                for e in several
            ]
            changes[name] = new if isinstance(old, list) else new[0]
    fields = ("name", "items", "low", "vanilla", "vanilla_low", "skd_only", "drs_only", "dld")
    given = {name: getattr(study, name) for name in (*fields, "logits")}
    return Study(**{**given, **changes})


class TestGalleries:
    def test_images_by_scale(self, study):
        item = figure_a1([study], seed=0)
        assert item.body.count("<article>") == 2 and item.body.count("<img") == 3
        assert "2 of 3 images" in item.body and "img_2, scale 0.8" in item.body

    def test_readings_show_wrong_characters(self, study):
        item = figure_a2([study], most=3)
        assert item.body.count("<article>") == 1 and "1 won, 0 lost" in item.body
        assert 'On<span class="red">o</span>' not in item.body
        assert 'One → on<span class="red">o</span>' in item.body
        assert "one ✓" in item.body
        assert list(item.files) == ["figure_a2_my_test.jpg"]

    def test_a_smaller_scale_without_loss_is_shown(self, study):
        item = figure_a3([study], most=3)
        assert item.body.count("<article>") == 2
        assert "a smaller scale, and no word is lost" in item.body

    def test_crops(self, study):
        item = figure_a4([study], most=8, seed=0)
        rows = cells(item)
        assert sorted(row[0] for row in rows) == ["&lt;b&gt;&amp;x", "One", "three"]
        assert item.body.count("not found") == 2
        picture = cv2.imdecode(np.frombuffer(item.files["figure_a4_my_test.jpg"], np.uint8), 1)
        assert picture.shape[1] == 3 * 330 + 10

    def test_failures_by_selection(self, study):
        item = figure_a7([study], 3, [remedies(study, SELECTION)])
        assert "1 word lost; words are 40 to 40 pixels high at full size (ratio 1.0)" in item.body
        assert "a cost bias below -4 (now 0) gives it a larger scale" in item.body
        full = replace_study(study, dld=[replace(study.dld[0], scales=study.vanilla.scales)])
        assert "There is no such image" in figure_a7([full], 3, [{}]).body

    def test_what_is_missing_is_told(self, study):
        alone = replace_study(study, skd_only=None, vanilla_low=None)
        for figure in (figure_a2([alone], 3), figure_a3([alone], 3), figure_a4([alone], 3, 0)):
            assert isinstance(figure, Missing)
        assert "--skd-only" in figure_a3([alone], 3).why


class TestBudget:
    def test_heights_are_of_the_full_resolution(self, study):
        assert {k: v.tolist() for k, v in study.heights.items()} == {
            "img_1": [40, 40], "img_2": [40], "img_3": []
        }  # fmt: skip
        assert "heights_my_test.svg" in heights([study]).files

    def test_table_reaches_from_the_cheapest_to_the_dearest(self, study):
        item = budget([study], SELECTION)
        rows = cells(item)
        assert rows[0][0] == "10%" and rows[0][2:] == ["100", "0"]
        assert rows[6][0] == "60%" and rows[6][2:] == ["0", "100"]
        assert rows[7][0] == "27% (now)" and rows[7][2:] == ["67", "33"]
        assert isinstance(budget([study], None), Missing)

    def test_all_images_are_listed(self, study):
        item = image_list([study], SELECTION)
        rows = list(csv.DictReader(item.files["images_my_test.csv"].decode().splitlines()))
        assert [row["image"] for row in rows] == NAMES
        assert [row["bias of larger scale"] for row in rows] == ["-4", "", "-1"]
        assert (rows[0]["lost"], rows[0]["won"], rows[2]["smallest"]) == ("1", "0", "")
        assert cells(item)[0][0] == "img_1"

    def test_needed_scales(self, study):
        right = np.array([[1, 0, 3], [2, 0, 3], [2, 1, 2]])
        assert needed_scales(right).tolist() == [1, 2, 0]
        at = {0.3: study.skd_only, 0.8: study.vanilla}
        item = accuracy([study], SELECTION, [at])
        assert cells(item) == [["got 0.3", "1", "1", "2"], ["got 0.8", "0", "1", "1"]]


class TestFeatures:
    @pytest.fixture
    def found(self):
        generator = torch.Generator().manual_seed(0)
        high = torch.randn(9, 2, 3, generator=generator)
        clouds = {
            ("vanilla", "high"): high, ("vanilla", "low"): high + 1, ("student", "low"): high + 0.5
        }  # fmt: skip
        return FeatureStudy(
            {"vanilla, high and low": [word_distances(high[:4], high[:4] + 1)]},
            {key: list(rows.flatten(1).half().numpy()) for key, rows in clouds.items()},
        )

    def test_table(self, study, found):
        item = table_a2([study], [{"roi": found, "context": "d has no contextual features"}], 0.5)
        (row,) = cells(item)
        assert row[:4] == ["RoI: vanilla, high and low", "my_test", "4", "1.000 (1.000-1.000)"]
        assert "Left out: contextual: d has no contextual features" in item.reading
        assert table_a2([study], "no model", 0.5).why == "no model"

    def test_plane(self, study, found):
        item = figure_a5_or_a6("roi", [study], [{"roi": found}], "SKD-only (s)")
        assert item.key == "figure_a5" and "9 words" in item.body and "SKD-only (s)" in item.body
        assert figure_a5_or_a6("context", [study], [{"context": "why"}], "").why == "why"

    def test_features_of_several_sizes_have_distances_and_no_plane(self, study):
        found, places = FeatureStudy(), [(0, 0)]
        for width in (3, 3, 5):
            rows = {("vanilla", at): torch.ones(1, 2, width) for at in ("high", "low")}
            _add(found, rows, places)
        assert len(found.distances["vanilla, high and low"]) == 3 and not found.clouds
        assert cells(table_a2([study], [{"roi": found}], 0.5))[0][2] == "3"
        plane = figure_a5_or_a6("roi", [study], [{"roi": found}], "")
        assert isinstance(plane, Missing) and "differ in size" in plane.why
        with pytest.raises(UsageError, match="different sizes: 1 x 2 x 3 and 1 x 2 x 5"):
            _add(FeatureStudy(), rows | {("vanilla", "high"): torch.ones(1, 2, 3)}, places)

    def test_words_are_drawn_evenly(self):
        hits = np.zeros(12)
        for seed in range(600):
            keeper, kept = _Keeper(4, seed), [None] * 4
            word = 0
            for number in (5, 0, 7):
                for which, place in keeper.places(number):
                    kept[place] = word + which
                word += number
            hits[kept] += 1
            assert len(set(kept)) == 4
        assert hits.sum() == 2400 and abs(hits - 200).max() < 50


class TestPage:
    def test_holds_all_it_shows(self, study, tmp_path):
        items = [
            *(table_a1([study]), table_a3([study]), figure_a1([study], 0), figure_a2([study], 2)),
            *(figure_a4([study], 4, 0), heights([study]), budget([study], SELECTION)),
            Missing("Figure A9: <none>", "it needs more"),
        ]
        data = PageData(
            headline([study]), tiles(study), [("DLD", "<d>")], scores([study]),
            [Section("First", items), Section("Empty", [Missing("x", "y")])], "dld_d2 1",
        )  # fmt: skip
        page = build_page(data)
        structure = Structure(page)
        assert structure.open == []
        assert all(reference.startswith("data:") for reference in structure.references)
        assert not re.search(r"https?:|url\(|@import|\$[a-z]", page)
        assert "script" not in structure.tags and all(structure.alts)
        assert "<li>Figure A9: &lt;none&gt;: it needs more.</li>" in page
        assert "<b>&x" not in page and "Empty" not in page
        names = write_files(data.sections, tmp_path)
        assert sorted(names) == sorted(p.name for p in tmp_path.iterdir())
        assert build_page(data) == page

    def test_tables_escape(self):
        table = Table(["a"], [["x|<y>"]])
        assert "x|&lt;y&gt;" in table.html("t") and table.markdown().endswith(b"| x\\|<y> |\n")

    def test_sheets_have_room_for_captions(self):
        picture = np.zeros((10, 20, 3), np.uint8)
        words = [[("abc", False), ("d", True)]] * 30
        plain, full = (
            cv2.imdecode(np.frombuffer(sheet([[Cell(picture, "head", w), None]], 100), np.uint8), 1)
            for w in ([], words)
        )
        assert plain.shape[1] == full.shape[1] == 230
        assert full.shape[0] > plain.shape[0] + 200
        red = (full[..., 2] > 150) & (full[..., 1] < 80)
        assert red.any() and not red[:60].any()


@pytest.fixture
def registered(tmp_path, clean_catalogs):
    """A data set in files, and folders with finished evaluations on it."""
    (tmp_path / "gt").mkdir()
    for item in ITEMS:
        cv2.imwrite(str(tmp_path / item["file_name"]), item["read_image"]("BGR"))
        lines = [
            ",".join(map(str, box(i).astype(int).ravel())) + f",{text}"
            for i, text in enumerate(TEXTS[item["image_id"]])
        ]
        (tmp_path / "gt" / f"gt_{item['image_id']}.txt").write_text("\n".join(lines))
    register_text_dataset("my_test", tmp_path, tmp_path / "gt", "icdar2015")

    def finish(name, found, scales):
        folder = tmp_path / name / "inference" / "my_test"
        folder.mkdir(parents=True)
        made = evaluation(name, found, scales)
        words = {
            n.removeprefix("img_"): [Word(box(i), t) for i, t in enumerate(found.get(n, [])) if t]
            for n in NAMES
        }
        write_submission(folder / "submission.zip", words)
        images = {
            n: {"scale": made.scales[n], "cost_published": made.costs[n],
                "counts": {"e2e_none": list(made.records[n]["counts"].values())}}
            for n in NAMES
        }  # fmt: skip
        (folder / "results.json").write_text(json.dumps({"images": images}))
        return tmp_path / name

    teacher = finish("teacher", {"img_1": ["one", "<b>&x"], "img_2": ["three"]}, 3 * [1.0])
    student = finish("student", {"img_1": ["one", "<i>"], "img_2": ["three"]}, (0.3, 0.8, 0.3))
    return teacher, student


class TestCommand:
    def test_finished_evaluations_are_enough(self, registered, tmp_path, capsys):
        teacher, student = map(str, registered)
        out = tmp_path / "out"
        call = ["--dataset", "my_test", "--vanilla", teacher, "--dld", student]
        assert main([*call, "--output", str(out)]) == 0
        page = (out / "index.html").read_text()
        assert Structure(page).open == []
        assert "DLD (student) reads 66.7%" in page
        assert "Table A2: how far features move: it needs the model of --vanilla" in page
        assert (out / "figure_a7_my_test.jpg").is_file()
        assert "left out: Figure A2" in capsys.readouterr().out

    def test_other_ground_truth_and_other_images_are_refused(self, registered, tmp_path, capfd):
        teacher, student = registered
        call = ["--dataset", "my_test", "--vanilla", str(teacher), "--dld", str(student)]
        call += ["--output", str(tmp_path / "out")]
        file = student / "inference" / "my_test" / "results.json"
        results = json.loads(file.read_text())
        results["images"]["img_2"]["counts"]["e2e_none"][0] = 5
        file.write_text(json.dumps(results))
        assert main(call) == 2
        assert (
            "scored with 5 words in image 'img_2', and the data set has 1" in capfd.readouterr().err
        )
        del results["images"]["img_2"]
        file.write_text(json.dumps(results))
        assert main(call) == 2
        assert (
            "1 images of the data set are not in it, the first is 'img_2'" in capfd.readouterr().err
        )

    def test_a_model_that_looks_first_is_read_as_it_is_and_once(
        self, registered, tmp_path, capfd, monkeypatch
    ):
        pytest.importorskip("onnxruntime")
        seen = []

        def read(self, image):
            assert self.focus is not None and image.shape == (60, 200, 3)
            seen.append(image)
            return SimpleNamespace(words=(Word(box(0), "one"),))

        monkeypatch.setattr(TextSpotter, "__call__", read)
        call = ["--dataset", "my_test", "--vanilla", str(registered[0]), "--dld", "photo_student"]
        call += ["--output", str(tmp_path / "out")]
        for _ in range(2):
            assert main(call) == 0
            said = capfd.readouterr()
        # One of three words, and two where there are none.
        assert "DLD (photo_student) reads 33.3%" in said.out
        assert "DLD (photo_student) tells no scale of the whole image" in said.out
        assert "photo_student: taken from" in said.err and len(seen) == 3
        assert not (tmp_path / "out" / "table_a1.md").exists()
        page = (tmp_path / "out" / "index.html").read_text()
        assert "which looks first, and reads the parts that it marks" in page
        assert "Figure A7: where most is lost" in page and "mean scale</span>" not in page
        assert "img_1" in page[page.index("Figure A7") :]
        look = str(focus_file("photo_student"))
        source = open_source(f"photo_teacher+{look}", [])
        assert source.reader.focus is not None and source.model is None
        with pytest.raises(UsageError, match=r"at scale 0\.5"):
            Evaluations("my_test", "my_test", TRUTH, tmp_path, 0.5).of(source, 0.5)

    def test_matches_serve(self, registered, tmp_path, study):
        folder = tmp_path / "matches"
        folder.mkdir()
        records = [
            {**record, "image": name.removeprefix("img_")}
            for name, record in study.vanilla.records.items()
        ]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "matches.jsonl").write_text(lines)
        evaluations = Evaluations("my_test", "my_test", TRUTH, tmp_path, 0.5)
        found = evaluations.of(open_source(str(folder), []))
        assert list(found.records) == NAMES and found.hmean == 1.0
        assert found.scales["img_1"] == 1.0 and found.cost is None

    def test_what_is_no_model_is_told(self, registered, tmp_path):
        (tmp_path / "nothing").mkdir()
        with pytest.raises(UsageError, match="holds neither a model"):
            open_source(str(tmp_path / "nothing"), [])
        source = Source("x", "", None, None, registered[0])
        evaluations = Evaluations("other", "other", TRUTH, tmp_path, 0.5)
        with pytest.raises(UsageError, match="no evaluation on other and no model"):
            evaluations.of(source)
        with pytest.raises(UsageError, match=r"at scale 0\.5"):
            evaluations.of(source, 0.5)

    def test_a_part_of_a_data_set(self, registered):
        part = register_part("my_test", 2)
        assert [item["image_id"] for item in DatasetCatalog.get(part)] == ["img_1", "img_2"]
        assert register_part("my_test", 2) == part and register_part("my_test", 3) == "my_test"

    @pytest.mark.parametrize("wrong", ["--low-scale=1.5", "--exhibits=0", "--points=2"])
    def test_numbers_are_checked(self, wrong, capsys):
        with pytest.raises(SystemExit):
            main(["--dataset", "a", "--vanilla", "b", "--dld", "c", wrong])
        assert wrong.split("=")[0] in capsys.readouterr().err

    def test_models_are_evaluated_once(self, tmp_path, clean_catalogs, monkeypatch, capsys):
        call = ["--dataset", "synthetic_test", "--images", "2", "--vanilla", "tiny_teacher"]
        call += ["--dld", "tiny_dld", "--skd-only", "tiny_dld", "--output", str(tmp_path)]
        call += ["--opts", "DATALOADER.NUM_WORKERS", "0"]
        assert main(call) == 0
        page = (tmp_path / "index.html").read_text()
        assert Structure(page).open == []
        for key in ("a1", "a2", "a3"):
            assert f'id="table_{key}"' in page
        for number in range(1, 8):
            assert f'id="figure_a{number}"' in page
        monkeypatch.setattr("appendix_page.evaluations.SpotterTrainer", SimpleNamespace())
        capsys.readouterr()
        assert main(call) == 0
        assert "evaluating" not in "".join(capsys.readouterr())

    def test_a_student_of_one_scale_is_no_dld(self, tmp_path, capfd):
        call = ["--dataset", "synthetic_test", "--images", "1", "--vanilla", "tiny_teacher"]
        assert main([*call, "--dld", "tiny_teacher", "--output", str(tmp_path)]) == 2
        assert "--dld tiny_teacher has no selector" in capfd.readouterr().err

    def test_a_student_of_another_scale_than_the_low_one(self):
        spotter = TextSpotter.pretrained("tiny_teacher", device="cpu").model

        def student(index):
            policy, cost = FixedScale(index, 2), torch.tensor([0.16, 1.0])
            model = DynamicSpotter(
                spotter=spotter, policy=policy, scales=(0.4, 1.0), relative_cost=cost
            )
            return Source("s", "", None, model, None)

        assert student(0).keeps_scale and not student(1).keeps_scale
        assert student(0).spotter is spotter and not student(0).chooses
        check_low_scale(student(0), 0.4)
        check_low_scale(student(1), 0.5)
        with pytest.raises(UsageError, match=r"say --low-scale 0\.4"):
            check_low_scale(student(0), 0.5)
