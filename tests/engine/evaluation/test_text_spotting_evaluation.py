"""All that is measured in one evaluation, and its report."""

import json
import logging

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import print_csv_format
from detectron2.utils import comm
from three_images import Reader, annotation, box, chooser, register, unregister
from torch import nn

from dld_d2.engine.evaluation.text_spotting import build_evaluator
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.evaluation import read_submission

SPEED = ("fps", "seconds_per_image")
COSTS = ("cost_published", "cost_released", "cost_whole")


def without(metrics, *names):
    return {key: value for key, value in metrics.items() if key not in names}


@pytest.fixture
def evaluated(evaluate):
    return evaluate(Reader(), "TEST.NUM_PICTURES", "2")


def run(evaluator, model, inputs):
    evaluator.reset()
    for item in inputs:
        evaluator.process([item], model.eval()([item]))
    return evaluator.evaluate()


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


def test_writes_results_submission_and_pictures(evaluated, out):
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


@pytest.mark.parametrize("chooses", [False, True])
def test_results_hold_what_they_held_in_0_1(evaluate, dataset, out, chooses):
    metrics = evaluate(chooser() if chooses else Reader())
    results = json.loads((out / "results.json").read_text())
    assert list(results) == [
        "dataset",
        "metrics",
        "cases",
        "num_images",
        "missing_images",
        "count_names",
        "images",
    ]
    assert results["dataset"] == dataset and results["metrics"] == metrics
    scales = ["mean_scale", "mean_relative_cost"]
    scales += [f"share_scale_{scale}" for scale in ("0.25", "0.5", "1")]
    rates = ("recall", "precision", "hmean")
    cases = [f"{task}_{lexicon}" for task in ("e2e", "ws") for lexicon in ("none", "weak")]
    assert list(metrics) == [
        *(f"{case}_{rate}" for case in ("det", *cases) for rate in rates),
        *("rec_accuracy", "rec_accuracy_ci", *SPEED),
        *(scales if chooses else []),
        *COSTS,
    ]
    names = ["num_gt_care", "num_det", "num_det_care", "num_matched", "num_correct"]
    assert sorted(results["count_names"]) == sorted(names)
    for case in results["cases"]:
        assert set(case) >= {"task", "lexicon", "iou", *names, "failures", "best_threshold"}
        assert {"det_recall", "det_precision", "spot_recall", "spot_precision"} <= set(case)
    assert list(results["images"]) == ["img_1", "img_2", "img_3"]
    for row in results["images"].values():
        own = {"scale", "relative_cost"} if chooses else set()
        assert set(row) == {"num_words", "regions", *own, *COSTS, "counts"}
        assert set(row["counts"]) == set(cases)
        assert all(len(counts) == len(names) for counts in row["counts"].values())


@pytest.mark.parametrize("make", [Reader, chooser])
def test_each_image_is_passed_once(evaluate, make):
    """Whatever is measured: regions, time, costs, pictures."""
    model = make()
    reader = model if isinstance(model, Reader) else model.spotter
    metrics = evaluate(model, "TEST.NUM_PICTURES", "3")
    assert {"rec_accuracy", "fps", "cost_whole", "e2e_none_hmean"} <= set(metrics)
    assert reader.passes == [["img_1"], ["img_2"], ["img_3"]]
    # And an evaluation leaves nothing on the model.
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_a_repeated_image_counts_once(dataset, make_cfg, inputs, evaluated):
    model = Reader()
    evaluator = build_evaluator(make_cfg(), dataset, model)
    again = run(evaluator, model, [*inputs, inputs[1]])["text_spotting"]
    assert without(again, *SPEED) == without(evaluated, *SPEED)


def test_an_evaluator_can_be_used_again(dataset, make_cfg, inputs, evaluated):
    model = Reader()
    evaluator = build_evaluator(make_cfg(), dataset, model)
    run(evaluator, Reader({}), inputs)
    again = run(evaluator, model, inputs)["text_spotting"]
    assert without(again, *SPEED) == without(evaluated, *SPEED)
    assert set(SPEED) <= set(again)


def test_a_missing_image_is_an_error(dataset, make_cfg, inputs):
    evaluator = build_evaluator(make_cfg(), dataset)
    with pytest.raises(ValueError, match=r"1 of 3 images .*img_3"):
        run(evaluator, Reader(), inputs[:2])


def test_processes_put_their_images_together(dataset, make_cfg, inputs, monkeypatch, evaluated):
    """What two processes hold, gathered, scores as one process; the other one returns nothing."""
    gathered = []
    monkeypatch.setattr(comm, "gather", lambda part: gathered.append(part) or gathered[::-1])
    for rank, share in ((1, inputs[1:]), (0, inputs[:2])):  # both have img_2, as if padded
        monkeypatch.setattr(comm, "is_main_process", lambda rank=rank: rank == 0)
        model = Reader()
        results = run(build_evaluator(make_cfg(), dataset, model), model, share)
        if rank:
            assert not results
    assert without(results["text_spotting"], *SPEED) == without(evaluated, *SPEED)
    assert set(SPEED) <= set(results["text_spotting"])


class Plain(nn.Module):
    """No spotter: what a user of Detectron2 may have."""

    def __init__(self):
        super().__init__()
        self.reader = Reader()

    def forward(self, inputs):
        return [{"instances": output["instances"]} for output in self.reader(inputs)]


def test_of_a_model_that_is_no_spotter_regions_and_costs_are_left_out(evaluate, out, evaluated):
    metrics = evaluate(Plain())
    assert not {"rec_accuracy", "rec_accuracy_ci", *COSTS} & set(metrics)
    assert "fps" in metrics and metrics["e2e_weak_hmean"] == evaluated["e2e_weak_hmean"]
    images = json.loads((out / "results.json").read_text())["images"]
    assert all(set(row) == {"num_words", "counts"} for row in images.values())


def test_without_a_model_speed_reading_and_costs_are_left_out(dataset, make_cfg, inputs):
    evaluator = build_evaluator(make_cfg(), dataset)
    metrics = run(evaluator, Reader(), inputs)["text_spotting"]
    assert not {"fps", "rec_accuracy", *COSTS} & set(metrics)
    assert "e2e_none_hmean" in metrics


def test_a_distributed_model_is_evaluated_as_itself(dataset, make_cfg, evaluated, monkeypatch):
    reader = Reader().eval()
    wrapped = torch.nn.parallel.DistributedDataParallel.__new__(
        torch.nn.parallel.DistributedDataParallel
    )
    nn.Module.__init__(wrapped)
    wrapped.module = reader
    metrics = SpotterTrainer.test(make_cfg(), wrapped)["text_spotting"]
    assert without(metrics, *SPEED) == without(evaluated, *SPEED)


def test_several_data_sets(dataset, make_cfg, tmp_path, evaluated):
    (tmp_path / "more").mkdir()
    register("three_more_images", tmp_path / "more")
    try:
        cfg = make_cfg("DATASETS.TEST", f"('{dataset}', 'three_more_images')")
        model = Reader().eval()
        results = SpotterTrainer.test(cfg, model)
    finally:
        unregister("three_more_images")
    assert list(results) == [dataset, "three_more_images"]
    for found in results.values():
        assert without(found["text_spotting"], *SPEED) == without(evaluated, *SPEED)
    assert len(model.passes) == 6 and not model._forward_hooks


def test_regions_without_transcription_are_not_read(dataset, evaluate):
    DatasetCatalog.get(dataset)[2]["annotations"] = [annotation(0, 0, "")]
    metrics = evaluate(Reader())
    assert metrics["rec_accuracy_ci"] == 1 / 3
    assert metrics["det_recall"] == 3 / 4


def test_lexicons_can_be_chosen(evaluate, caplog):
    def names(*lexicons):
        metrics = evaluate(Reader(), "TEST.LEXICONS", str(lexicons))
        return [name[4:-6] for name in metrics if name.startswith("e2e") and "hmean" in name]

    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        assert names() == ["none", "weak"]
    assert "generic lexicon" in caplog.text and "missing.txt" in caplog.text
    assert names("full", "weak") == ["weak"]
    with pytest.raises(ValueError, match=r"week.*one of 'none', 'strong'"):
        names("week")
    with pytest.raises(ValueError, match="has none of strong"):
        names("strong")
    with pytest.raises(ValueError, match=r"missing\.txt"):
        names("generic")


def test_pictures_are_judged_by_the_first_lexicon(evaluate, out):
    """Both words of the first two images are colours of their own: right with the lexicon."""
    pictures = []
    for lexicon in ("none", "weak"):
        evaluate(Reader(), "TEST.NUM_PICTURES", "2", "TEST.LEXICONS", f"('{lexicon}',)")
        pictures.append((out / "pictures" / "2.jpg").read_bytes())
    assert pictures[0] != pictures[1]


def test_is_built_from_a_configuration(evaluate, out):
    evaluate(Reader(), "TEST.LEXICONS", "('none',)", "TEST.NUM_PICTURES", "1")
    assert len(list((out / "pictures").iterdir())) == 1
    assert "weak" not in (out / "results.txt").read_text()


def test_the_overlap_of_a_match_can_be_set(evaluate, evaluated):
    assert evaluated["det_recall"] == 1.0
    # "world" was found a pixel too low, 9 of 11 rows in common.
    assert evaluate(Reader(), "TEST.MATCH_IOU", "0.8")["det_recall"] == 1.0
    assert evaluate(Reader(), "TEST.MATCH_IOU", "0.9")["det_recall"] == 2 / 3


def test_images_with_equal_ids_are_an_error(dataset, make_cfg):
    images = DatasetCatalog.get(dataset)
    images.append(images[0])
    with pytest.raises(ValueError, match="two images have the id 'img_1'"):
        build_evaluator(make_cfg(), dataset)


def test_other_names_make_other_files(dataset, evaluate, out):
    images = DatasetCatalog.get(dataset)
    images[0]["image_id"] = "street/img_1"
    evaluate(Reader(), "TEST.NUM_PICTURES", "1")
    words = read_submission(out / "submission.zip", pattern=r"res_(.*)\.txt")
    assert set(words) == {"street_img_1", "img_2", "img_3"}
    assert [path.name for path in (out / "pictures").iterdir()] == ["street_img_1.jpg"]
    results = json.loads((out / "results.json").read_text())
    assert list(results["images"]) == ["street/img_1", "img_2", "img_3"]


def test_chosen_scales_are_reported(evaluate, out):
    metrics = evaluate(chooser())
    assert metrics["mean_scale"] == pytest.approx(1 / 3)
    assert metrics["mean_relative_cost"] == pytest.approx((2 / 16 + 1 / 4) / 3)
    shares = {key: value for key, value in metrics.items() if key.startswith("share")}
    assert shares == {
        "share_scale_0.25": pytest.approx(2 / 3),
        "share_scale_0.5": pytest.approx(1 / 3),
        "share_scale_1": 0.0,
    }
    assert all(type(value) is float for value in metrics.values())
    assert "share_scale_0.5 0.3333" in (out / "results.txt").read_text()
    results = json.loads((out / "results.json").read_text())
    row = dict(results["images"]["img_2"])
    counts = row.pop("counts")
    row = without(row, "regions", *COSTS)
    assert row == {"num_words": 3, "scale": 0.5, "relative_cost": 0.25}
    assert counts == {
        "e2e_none": [1, 3, 2, 1, 0],
        "ws_none": [1, 3, 2, 1, 0],
        "e2e_weak": [1, 3, 2, 1, 1],
        "ws_weak": [1, 3, 2, 1, 1],
    }
    for case in results["cases"]:
        key = {"end_to_end": "e2e", "word_spotting": "ws"}[case["task"]] + "_" + case["lexicon"]
        rows = [image["counts"][key] for image in results["images"].values()]
        total = [sum(column) for column in zip(*rows, strict=True)]
        assert total == [case[name] for name in results["count_names"]]


def test_costs_of_images_are_those_of_their_scales(evaluate, out):
    # img_1: 2 words of at most 5 characters, img_2: 3 words of at most 5, img_3: none. A word is
    # 1 in this unit and each step of decoding, its end as well, 1 / 2.
    words = {"img_1": 2 * (1 + 6 / 2), "img_2": 3 * (1 + 6 / 2), "img_3": 0}
    # 60 x 80, padded to 32: 64 x 96; at a quarter 15 x 20, at half 30 x 40.
    full, quarter, half = 64 * 96 / 2**10, 32 * 32 / 2**10, 32 * 64 / 2**10
    for model, pixels in (
        (Reader(), dict.fromkeys(words, full)),
        (chooser(), {"img_1": quarter, "img_2": half, "img_3": quarter}),
    ):
        metrics = evaluate(model)
        images = json.loads((out / "results.json").read_text())["images"]
        published = {name: row["cost_published"] for name, row in images.items()}
        whole = {name: row["cost_whole"] for name, row in images.items()}
        assert published == pytest.approx(pixels)
        assert whole == pytest.approx({name: pixels[name] + words[name] for name in words})
        assert metrics["cost_published"] == pytest.approx(sum(published.values()) / 3)
        assert metrics["cost_whole"] == pytest.approx(sum(whole.values()) / 3)
    assert "multiply-adds per image: everything" in (out / "results.txt").read_text()
