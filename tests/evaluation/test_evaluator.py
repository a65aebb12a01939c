import json
import logging
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import print_csv_format
from detectron2.modeling import build_model
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import nn

import dld_d2.modeling  # noqa: F401  (registers the models)
from dld_d2.analysis.cost import measure_cost
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.timing import ForwardTimer
from dld_d2.evaluation import read_submission
from dld_d2.evaluation.evaluator import TextSpottingEvaluator

TINY = Path(__file__).resolve().parents[2] / "configs" / "tiny" / "Base-tiny.yaml"


def box(x, y, width=20, height=10):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def annotation(x, y, text, ignore=False):
    return {"segmentation": [box(x, y)], "text": text, "ignore": ignore}


# One word with a dictionary form, one without ("42"), one don't-care.
WORDS = {
    "img_1": [annotation(0, 0, "Hello"), annotation(0, 20, "42")],
    "img_2": [annotation(0, 0, "world"), annotation(30, 30, "", ignore=True)],
    "img_3": [],
}


@pytest.fixture
def dataset(tmp_path):
    """Registers three images under a name of their own, with a lexicon."""
    name = f"evaluator_{tmp_path.name}"
    (tmp_path / "weak.txt").write_text("Hello\nworld\n")
    for image_id in WORDS:
        cv2.imwrite(str(tmp_path / f"{image_id}.png"), np.full((60, 80, 3), 200, np.uint8))
    images = [
        {
            "file_name": str(tmp_path / f"{image_id}.png"),
            "image_id": image_id,
            "height": 60,
            "width": 80,
            "annotations": words,
        }
        for image_id, words in WORDS.items()
    ]
    DatasetCatalog.register(name, lambda: images)
    lexicons = {"weak": str(tmp_path / "weak.txt"), "generic": str(tmp_path / "missing.txt")}
    MetadataCatalog.get(name).set(thing_classes=["text"], lexicons=lexicons)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


class Reader(nn.Module):
    """Finds what it is told to and reads every ground-truth region as "HELLO"."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, inputs):
        return [{"instances": self._instances(item["image_id"])} for item in inputs]

    def read_regions(self, inputs):
        return [["HELLO"] * int((~item["instances"].gt_ignore).sum()) for item in inputs]

    def _instances(self, image_id):
        words = self.found.get(image_id, [])
        result = Instances((60, 80))
        result.pred_polygons = [np.reshape(points, (-1, 2)) for points, _ in words]
        result.pred_texts = [text for _, text in words]
        result.scores = torch.linspace(0.9, 0.5, len(words))
        return result


def inputs_of(name):
    return [
        {
            "image_id": image["image_id"],
            "texts": [word["text"] for word in image["annotations"]],
            "instances": Instances(
                (60, 80), gt_ignore=torch.tensor([w["ignore"] for w in image["annotations"]]).bool()
            ),
        }
        for image in DatasetCatalog.get(name)
    ]


FOUND = {
    "img_1": [(box(0, 0), "hello"), (box(0, 20), "43")],
    "img_2": [(box(0, 1), "worlt"), (box(30, 30), "x"), (box(50, 0), "junk")],
}


def run(evaluator, model, inputs):
    evaluator.reset()
    for item in inputs:
        evaluator.process([item], model([item]))
    return evaluator.evaluate()


@pytest.fixture
def evaluated(dataset, tmp_path):
    model = Reader(FOUND)
    evaluator = TextSpottingEvaluator(
        dataset, output_dir=tmp_path / "out", num_pictures=2, model=model
    )
    return run(evaluator, model, inputs_of(dataset))["text_spotting"]


def test_metrics_are_those_counted_by_hand(evaluated):
    # 3 words of ground truth, 4 detections that count, 3 of them match.
    assert evaluated["det_recall"] == 1.0
    assert evaluated["det_precision"] == 3 / 4
    assert evaluated["e2e_none_recall"] == 1 / 3  # Hello
    assert evaluated["e2e_weak_recall"] == 2 / 3  # world, corrected
    assert evaluated["e2e_weak_precision"] == 2 / 4
    assert evaluated["e2e_weak_hmean"] == pytest.approx(2 * 2 / 7)
    # Word spotting: "42" is no dictionary word, so it and what found it do not count.
    assert evaluated["ws_none_recall"] == 1 / 2
    assert evaluated["ws_none_precision"] == 1 / 3
    assert evaluated["ws_weak_recall"] == 1.0
    # Three regions to read, all read as HELLO.
    assert evaluated["rec_accuracy"] == 0.0
    assert evaluated["rec_accuracy_ci"] == 1 / 3
    assert evaluated["fps"] == pytest.approx(1 / evaluated["seconds_per_image"])


def test_metrics_suit_detectron2(evaluated, caplog):
    assert all(type(value) is float for value in evaluated.values())
    with caplog.at_level(logging.INFO, logger="detectron2"):
        print_csv_format({"text_spotting": evaluated})
    assert "e2e_weak_hmean" in caplog.text


def test_writes_results_submission_and_pictures(evaluated, tmp_path):
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert results["metrics"] == evaluated
    assert results["num_images"] == 3
    table = (out / "results.txt").read_text()
    assert "word_spotting weak" in table
    assert "rec_accuracy 0.0000" in table
    # The submission reads back as what was found, by the RRC's numbers.
    words = read_submission(out / "submission.zip")
    assert {name: [w.text for w in found] for name, found in words.items()} == {
        "1": ["hello", "43"],
        "2": ["worlt", "x", "junk"],
        "3": [],
    }
    np.testing.assert_array_equal(words["2"][0].polygon.ravel(), box(0, 1))
    pictures = sorted(path.name for path in (out / "pictures").iterdir())
    assert pictures == ["1.jpg", "2.jpg"]
    height, width, _ = cv2.imread(str(out / "pictures" / "1.jpg")).shape
    assert height > 60
    assert width >= 160


def test_a_repeated_image_counts_once(dataset, tmp_path, evaluated):
    model = Reader(FOUND)
    evaluator = TextSpottingEvaluator(dataset, output_dir=tmp_path / "again", model=model)
    again = run(evaluator, model, [*inputs_of(dataset), inputs_of(dataset)[1]])["text_spotting"]
    speed = ("fps", "seconds_per_image")
    assert {k: v for k, v in again.items() if k not in speed} == {
        k: v for k, v in evaluated.items() if k not in speed
    }


def test_a_missing_image_is_an_error(dataset, tmp_path):
    evaluator = TextSpottingEvaluator(dataset, output_dir=tmp_path)
    with pytest.raises(ValueError, match=r"1 of 3 images .*img_3"):
        run(evaluator, Reader(FOUND), inputs_of(dataset)[:2])


def test_processes_put_their_images_together(dataset, tmp_path, monkeypatch, evaluated):
    """What two processes hold, gathered, scores as one process; the other one returns nothing."""
    inputs, parts = inputs_of(dataset), []
    monkeypatch.setattr(comm, "gather", lambda part: parts.append(part) or parts)
    for rank, share in ((1, inputs[1:]), (0, inputs[:2])):  # both have img_2, as if padded
        monkeypatch.setattr(comm, "is_main_process", lambda rank=rank: rank == 0)
        evaluator = TextSpottingEvaluator(dataset, output_dir=tmp_path)
        results = run(evaluator, Reader(FOUND), share)
        if rank:
            assert not results
    same = {k: v for k, v in evaluated.items() if not k.startswith(("rec", "fps", "sec"))}
    assert dict(results["text_spotting"]) == same


class Chooser(Reader):
    """Looks at every image at a scale of its own."""

    scales = (0.25, 0.5, 1.0)

    def forward(self, inputs):
        chosen = {"img_1": 0.25, "img_2": 0.5, "img_3": 0.25}
        return [
            {**output, "scale": chosen[x["image_id"]], "relative_cost": chosen[x["image_id"]] ** 2}
            for x, output in zip(inputs, super().forward(inputs), strict=True)
        ]


def test_chosen_scales_are_reported(dataset, tmp_path):
    model = Chooser(FOUND)
    evaluator = TextSpottingEvaluator(dataset, output_dir=tmp_path, model=model)
    metrics = run(evaluator, model, inputs_of(dataset))["text_spotting"]
    assert metrics["mean_scale"] == pytest.approx(1 / 3)
    assert metrics["mean_relative_cost"] == pytest.approx((2 / 16 + 1 / 4) / 3)
    shares = {key: value for key, value in metrics.items() if key.startswith("share")}
    assert shares == {
        "share_scale_0.25": pytest.approx(2 / 3),
        "share_scale_0.5": pytest.approx(1 / 3),
        "share_scale_1": 0.0,
    }
    assert all(type(value) is float for value in metrics.values())
    assert "share_scale_0.5 0.3333" in (tmp_path / "results.txt").read_text()
    results = json.loads((tmp_path / "results.json").read_text())
    counts = results["images"]["img_2"].pop("counts")
    assert results["images"]["img_2"] == {"num_words": 3, "scale": 0.5, "relative_cost": 0.25}
    assert counts == {
        "e2e_none": [1, 3, 2, 1, 0],
        "ws_none": [1, 3, 2, 1, 0],
        "e2e_weak": [1, 3, 2, 1, 1],
        "ws_weak": [1, 3, 2, 1, 1],
    }
    for case in results["cases"]:
        key = {"end_to_end": "e2e", "word_spotting": "ws"}[case["task"]] + "_" + case["lexicon"]
        rows = [
            image["counts"][key] for name, image in results["images"].items() if name != "img_2"
        ]
        total = [sum(column) for column in zip(counts[key], *rows, strict=True)]
        assert total == [case[name] for name in results["count_names"]]
    # A Reader's parts are unknown.
    assert not any(key.startswith("cost_") for key in metrics)


@pytest.mark.parametrize("distils", [False, True])
def test_costs_are_those_of_each_image(dataset, tmp_path, distils):
    options = ["MODEL.RECOGNITION.MAX_LENGTH", "9", "MODEL.DISTILL.SELECTOR.COST", "power"]
    if distils:
        options += ["MODEL.META_ARCHITECTURE", "DynamicResolutionDistiller"]
    model = build_model(setup_cfg(str(TINY), options)).eval()
    reader = Chooser(FOUND) if distils else Reader(FOUND)
    evaluator = TextSpottingEvaluator(dataset, output_dir=tmp_path, model=model)
    sizes = {"img_1": (64, 96), "img_2": (64, 130), "img_3": (96, 64)}
    evaluator.reset()
    for item in inputs_of(dataset):
        output = reader([item])
        image = torch.zeros(3, *sizes[item["image_id"]])
        instances = item["instances"]
        model.read_regions = lambda inputs, i=instances: [[""] * int((~i.gt_ignore).sum())]
        evaluator.process([{**item, "image": image}], output)
    metrics = evaluator.evaluate()["text_spotting"]
    # img_1: 2 words of at most 5 characters, img_2: 3 words of at most 5, img_3: none.
    scales = (0.25, 0.5, 0.25) if distils else (1.0, 1.0, 1.0)
    whole, published = [], []
    for size, scale, words, steps in zip(sizes.values(), scales, (2, 3, 0), (6, 6, 0), strict=True):
        table = measure_cost(model, *size, num_regions=words, num_characters=steps, scale=scale)
        published.append(table.published / 2**30)
        whole.append(table.total / 2**30)
    assert metrics["cost_published"] == pytest.approx(sum(published) / 3)
    assert metrics["cost_whole"] == pytest.approx(sum(whole) / 3)
    images = json.loads((tmp_path / "results.json").read_text())["images"]
    assert [row["cost_whole"] for row in images.values()] == pytest.approx(whole)
    assert ("mean_scale" in metrics) == distils
    assert "multiply-adds per image: everything" in (tmp_path / "results.txt").read_text()


def test_without_a_model_speed_and_reading_are_left_out(dataset, tmp_path):
    evaluator = TextSpottingEvaluator(dataset, output_dir=tmp_path)
    metrics = run(evaluator, Reader(FOUND), inputs_of(dataset))["text_spotting"]
    assert not {"fps", "rec_accuracy"} & set(metrics)
    assert "e2e_none_hmean" in metrics


def test_regions_without_transcription_are_not_read(dataset, tmp_path):
    DatasetCatalog.get(dataset)[2]["annotations"] = [annotation(0, 0, "")]
    model = Reader(FOUND)
    evaluator = TextSpottingEvaluator(dataset, output_dir=tmp_path, model=model)
    metrics = run(evaluator, model, inputs_of(dataset))["text_spotting"]
    assert metrics["rec_accuracy_ci"] == 1 / 3
    assert metrics["det_recall"] == 3 / 4


def test_lexicons_can_be_chosen(dataset, tmp_path, caplog):
    def names(*lexicons):
        evaluator = TextSpottingEvaluator(dataset, output_dir=tmp_path, lexicons=lexicons)
        metrics = run(evaluator, Reader(FOUND), inputs_of(dataset))["text_spotting"]
        return [name[4:-6] for name in metrics if name.startswith("e2e") and "hmean" in name]

    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        assert names() == ["none", "weak"]
    assert "generic lexicon" in caplog.text and "missing.txt" in caplog.text
    assert names("full", "weak") == ["weak"]
    with pytest.raises(ValueError, match=r"week.*known are none, strong"):
        names("week")
    with pytest.raises(ValueError, match="has none of strong"):
        names("strong")
    with pytest.raises(ValueError, match=r"missing\.txt"):
        names("generic")


def test_is_built_from_a_configuration(dataset, tmp_path):
    cfg = setup_cfg(
        "", ["OUTPUT_DIR", str(tmp_path), "TEST.LEXICONS", "('none',)", "TEST.NUM_PICTURES", "1"]
    )
    model = Reader(FOUND)
    run(TextSpottingEvaluator(cfg, dataset, model=model), model, inputs_of(dataset))
    out = tmp_path / "inference" / dataset
    assert len(list((out / "pictures").iterdir())) == 1
    assert "weak" not in (out / "results.txt").read_text()


def test_images_with_equal_ids_are_an_error(dataset, tmp_path):
    images = DatasetCatalog.get(dataset)
    images.append(images[0])
    with pytest.raises(ValueError, match="two images have the id 'img_1'"):
        TextSpottingEvaluator(dataset, output_dir=tmp_path)


def test_other_names_make_other_files(dataset, tmp_path):
    images = DatasetCatalog.get(dataset)
    images[0]["image_id"] = "street/img_1"
    run(TextSpottingEvaluator(dataset, output_dir=tmp_path), Reader(FOUND), inputs_of(dataset))
    words = read_submission(tmp_path / "submission.zip", pattern=r"res_(.*)\.txt")
    assert set(words) == {"street_img_1", "img_2", "img_3"}


def test_timer_leaves_out_the_first_calls_and_what_is_between(monkeypatch):
    clock = iter([0.0, 50.0, 60.0, 70.0, 80.0, 82.0, 90.0, 91.0])  # before, after, before, ...
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    model = Reader({})
    timer = ForwardTimer(model, num_warmup=2)
    for size in (1, 1, 3, 1):
        model([{"image_id": str(i)} for i in range(size)])
    assert timer.stop() == (4, 3.0)
    model([])  # no longer measured: the clock has run out


def test_timer_uses_the_last_call_if_all_are_first(monkeypatch):
    clock = iter([0.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    model = Reader({})
    timer = ForwardTimer(model, num_warmup=5)
    for _ in range(2):
        model([{"image_id": "a"}])
    assert timer.stop() == (1, 1.0)
    assert ForwardTimer(model).stop() == (0, 0)
