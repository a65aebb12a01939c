"""Failure breakdown, curves, bootstrap, details and pictures."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from dld_d2.evaluation import EvaluationInputError, evaluate
from dld_d2.evaluation.bootstrap import (
    hmean_intervals,
    mean_spotting_difference,
    spotting_difference,
)
from dld_d2.evaluation.details import image_records, write_details
from dld_d2.evaluation.drawing import COLOURS, draw_image, find_photographs


def box(x, y, width=40, height=20):
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


GT = {
    "1": [
        (box(0, 0), "right"),
        (box(0, 50), "one!"),
        (box(0, 100), "twoo"),
        (box(0, 150), "many"),
        (box(0, 200), "missed"),
        (box(100, 0), "left"),
        (box(140, 0), "half"),
        (box(100, 100, 100), "split"),
        (box(100, 200), "###"),
    ]
}
SUB = {
    "1": [
        (box(0, 0), "RIGHT", 0.9),
        (box(0, 50), "onx", 0.8),  # one edit from "one", which is accepted
        (box(0, 100), "txxo", 0.7),
        (box(0, 150), "", 0.6),
        (box(100, 0, 82), "lefthalf", 0.5),
        (box(100, 100, 45), "sp", 0.4),
        (box(155, 100, 45), "lit", 0.3),
        (box(300, 300), "noise", 0.2),
        (box(100, 200), "ignored", 0.1),
    ]
}


def test_failures_of_every_kind():
    failures = evaluate(GT, SUB, ious=0.5, tasks="end_to_end").cases[0].failures
    assert failures._asdict() == {
        "correct": 1,
        "misread_1": 1,
        "misread_2": 1,
        "misread_more": 1,
        "merged": 2,
        "split": 1,
        "missed": 1,
        "false_positive": 4,
    }


def test_a_detection_that_matches_one_word_may_swallow_another():
    gt = {"1": [(box(0, 0, 60), "long"), (box(60, 0, 30), "sho")]}
    case = evaluate(gt, {"1": [(box(0, 0, 90), "longsho")]}, ious=0.5).case("end_to_end")
    assert (case.failures.misread_more, case.failures.merged) == (1, 1)


def test_curve_equals_scoring_each_threshold_anew():
    rng = np.random.default_rng(0)

    def words(count, scored):
        out = []
        for _ in range(count):
            x, y, w, h = rng.integers(0, 12), rng.integers(0, 12), *rng.integers(1, 9, 2)
            text = str(rng.choice(["abc", "abd", "###"]))
            word = (box(int(x), int(y), int(w), int(h)), text)
            out.append((*word, int(rng.integers(1, 12)) / 10) if scored else word)
        return out

    gt = {str(i): words(4, False) for i in range(12)}
    sub = {str(i): words(int(rng.integers(0, 7)), True) for i in range(12)}
    for case in evaluate(gt, sub, ious=0.3).cases:
        thresholds = sorted({w[2] for image in sub.values() for w in image}, reverse=True)
        assert case.curve.thresholds.tolist() == thresholds
        best = (-1.0, None)
        for index, threshold in enumerate(thresholds):
            kept = {key: [w for w in image if w[2] >= threshold] for key, image in sub.items()}
            again = evaluate(gt, kept, ious=0.3, tasks=case.task).cases[0]
            for name in ("detection", "spotting"):
                rates = [
                    getattr(getattr(case.curve, name), f)[index] for f in again.detection._fields
                ]
                assert rates == list(getattr(again, name))
            best = max(best, (again.spotting.hmean, threshold), key=lambda pair: pair[0])
        assert case.curve.best()["threshold"] == best[1]
        assert case.curve.best()["spot_hmean"] == best[0]
        assert case.curve.spotting.hmean[-1] == case.spotting.hmean


def test_no_curve_without_scores_and_no_best_without_detections():
    unscored = {"1": [word[:2] for word in SUB["1"]]}
    case = evaluate(GT, unscored).cases[0]
    assert case.curve is None
    assert "best_threshold" not in case.to_dict()


def test_bootstrap_contains_the_score_narrows_and_repeats():
    rng = np.random.default_rng(0)
    hits = rng.integers(0, 10, 400)
    counts = np.stack(
        [np.full(400, 10), np.full(400, 11), np.full(400, 10), hits, hits // 2], axis=1
    )
    found = hmean_intervals(counts, 500, seed=1)
    for key, column in (("det_hmean", 3), ("spot_hmean", 4)):
        low, high = found[key]
        score = counts[:, column].sum() / 4000
        assert low < score < high
        # The mean of 400 draws: its standard error is known.
        expected = 2 * 1.96 * counts[:, column].std() / 10 / np.sqrt(400)
        assert high - low == pytest.approx(expected, rel=0.15)
    assert hmean_intervals(counts, 500, seed=1) == found
    assert hmean_intervals(counts, 500, seed=2) != found
    one = hmean_intervals(counts[:1], 10)
    assert one["det_hmean"][0] == one["det_hmean"][1]


def test_bootstrap_in_blocks_equals_none(monkeypatch):
    counts = np.random.default_rng(3).integers(1, 9, size=(50, 5))
    whole = hmean_intervals(counts, 200, seed=4)
    monkeypatch.setattr("dld_d2.evaluation.bootstrap._WEIGHTS_IN_MEMORY", 700)
    assert hmean_intervals(counts, 200, seed=4) == whole


def test_the_difference_of_two_spotters_is_paired():
    rng = np.random.default_rng(5)
    hits = rng.integers(0, 9, 400)
    gained = rng.random(400) < 0.3

    def counts(correct):
        full = np.full(400, 10)
        return np.stack([full, full, full, full, correct], axis=1)

    better, plain = counts(hits + gained), counts(hits)
    difference, low, high = spotting_difference(better, plain, 800, seed=2)
    assert difference == pytest.approx(gained.sum() / 4000)
    # What both have in common drops out: what is left is the spread of `gained` alone.
    assert high - low == pytest.approx(2 * 1.96 * gained.std() / 10 / np.sqrt(400), rel=0.15)
    assert low < difference < high
    assert spotting_difference(plain, better, 800, seed=2) == pytest.approx(
        (-difference, -high, -low)
    )
    half = spotting_difference((better + plain) / 2, plain, 800, seed=2)
    assert half == pytest.approx((difference / 2, low / 2, high / 2))
    with pytest.raises(ValueError, match="one spotter has 400 images, another 399"):
        spotting_difference(better, plain[1:], 10)


def test_bootstrap_in_the_report():
    report = evaluate(GT, SUB, bootstrap=20)
    assert set(report.cases[0].to_dict()["intervals"]) == {"det_hmean", "spot_hmean"}
    assert "intervals" not in evaluate(GT, SUB).cases[0].to_dict()


def test_records_say_what_became_of_each_word():
    report = evaluate(GT, SUB, tasks="end_to_end")
    (record,) = image_records(report, report.cases[0])
    outcomes = [word["outcome"] for word in record["ground_truth"]]
    assert outcomes == ["correct", *["misread"] * 3, *["missed"] * 4, "dont_care"]
    assert [word["outcome"] for word in record["detections"]] == [
        "correct",
        *["misread"] * 3,
        *["false"] * 4,
        "dont_care",
    ]
    second = record["detections"][1]
    assert (second["ground_truth"], second["iou"], second["score"]) == (1, 1.0, 0.8)
    assert record["ground_truth"][1]["detection"] == 1
    assert record["counts"]["num_correct"] == 1


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (400, 400), (255, 255, 255)).save(folder / "img_1.png")
    return folder


def test_details_on_disk(tmp_path, photographs):
    gt, sub = {**GT, "2": []}, {**SUB, "2": []}
    report = evaluate(gt, sub, ious=0.25)
    assert write_details(report, tmp_path / "out") == 0
    assert write_details(report, tmp_path / "out", photographs) == 1  # image 2 has none
    names = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    folder = "end_to_end-none-iou0.25"
    assert {f"{folder}/matches.jsonl", f"{folder}/curve.csv"} <= names
    assert f"{folder}/pictures/img_1.jpg" in names
    lines = (tmp_path / "out" / folder / "matches.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == ["1", "2"]
    with open(tmp_path / "out" / folder / "curve.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["threshold"]) for row in rows] == [w[2] for w in SUB["1"]]


def test_pictures_show_five_colours(photographs):
    report = evaluate(GT, SUB, tasks="end_to_end")
    (record,) = image_records(report, report.cases[0])
    picture = draw_image(photographs / "img_1.png", record)
    scale = 1920 / 400
    assert picture.width == 1920 and picture.height > 1920
    inside = {"correct": (20, 10), "misread": (20, 110), "missed": (20, 210), "false": (320, 310)}
    for outcome, (x, y) in {**inside, "dont_care": (120, 210)}.items():
        pixel = picture.getpixel((round(x * scale), round(y * scale)))
        tint = np.subtract(255, pixel) / np.subtract(255, COLOURS[outcome])  # alike in R, G and B
        assert tint.min() > 0.2 and np.ptp(tint) < 0.05, outcome


def test_readings_of_words_at_the_edge_stay_inside(tmp_path, photographs):
    gt = {"1": [(box(-10, -10), "a" * 90), (box(380, 390), "b" * 9)]}
    report = evaluate(gt, {"1": [(box(-10, -10), "c" * 90), (box(380, 390), "d")]})
    assert write_details(report, tmp_path / "out", photographs) == 0


def test_finding_photographs(tmp_path):
    for name in ("img_1.jpg", "img_11.jpg", "2.png", "scan_2.png", "gt_img_1.txt", "x.jpg"):
        (tmp_path / name).write_bytes(b"")
    found = find_photographs(tmp_path, ["1", "11", "2", "3", "x"])
    assert {key: path.name for key, path in found.items()} == {
        "1": "img_1.jpg",
        "11": "img_11.jpg",
        "2": "2.png",
        "x": "x.jpg",
    }
    (tmp_path / "other_1.jpg").write_bytes(b"")
    with pytest.raises(
        EvaluationInputError, match=r"'img_1\.jpg' and 'other_1\.jpg' both fit image 1"
    ):
        find_photographs(tmp_path, ["1"])
    with pytest.raises(EvaluationInputError, match="no image fits the ground truth"):
        find_photographs(tmp_path, ["99"])
    with pytest.raises(EvaluationInputError, match="no such folder of images"):
        find_photographs(tmp_path / "absent", ["1"])


def test_difference_of_recipes_is_that_of_their_runs_means():
    generator = np.random.default_rng(3)

    def run(share):
        care = np.full(60, 8)
        right = generator.binomial(8, share, 60)
        return np.stack([care, care, care, right, right], axis=1).astype(float)

    runs, others = [run(0.8), run(0.7), run(0.75)], [run(0.5), run(0.6)]
    value, low, high = mean_spotting_difference(runs, others, 4000)
    hmeans = [[c[:, 4].sum() / c[:, 0].sum() for c in group] for group in (runs, others)]
    assert value == pytest.approx(np.mean(hmeans[0]) - np.mean(hmeans[1]))
    # All words are equally many, so that the mean over runs is that of the images' means.
    images = np.mean([c[:, 4] / 8 for c in runs], axis=0) - np.mean(
        [c[:, 4] / 8 for c in others], axis=0
    )
    spread = 1.96 * images.std() / np.sqrt(len(images))
    assert (low, high) == pytest.approx((value - spread, value + spread), abs=0.15 * spread)
    single = spotting_difference(runs[0], others[0], 500)
    assert mean_spotting_difference(runs[:1], others[:1], 500) == single
    assert mean_spotting_difference(runs, runs, 500) == (0, 0, 0)
