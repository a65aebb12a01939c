import random
from fractions import Fraction

import numpy as np
import pytest

from dld_d2.evaluation import EvaluationInputError, Word, evaluate
from dld_d2.evaluation.protocol import rates

SPECIAL = "!?.:,*\"()·[]/' "


def box(x, y, width, height):
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def naive_counts(gt, sub, task, iou):
    """The protocol on axis-parallel boxes, in exact arithmetic and plain loops."""

    def sides(polygon):
        (x0, y0), (x1, y1) = polygon[0], polygon[2]
        return x0, y0, x1, y1

    def area(polygon):
        x0, y0, x1, y1 = sides(polygon)
        return (x1 - x0) * (y1 - y0)

    def shared(p, q):
        a, b = sides(p), sides(q)
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        return max(width, 0) * max(height, 0)

    def clean(text):
        if text[-2:] in ("'s", "'S"):
            text = text[:-2]
        text = text.strip("-")
        return "".join(" " if c in SPECIAL else c for c in text).strip()

    def is_word(text):
        return len(text) >= 3 and all((c.isascii() and c.isalpha()) or c == "-" for c in text)

    def right(truth, read):
        truth, read = truth.upper(), read.upper()
        if task == "word_spotting":
            return clean(truth) == read
        starts = {0, 1} if truth[:1] and truth[0] in SPECIAL else {0}
        ends = {0, 1} if truth[-1:] and truth[-1] in SPECIAL else {0}
        return any(truth[s : len(truth) - e] == read for s in starts for e in ends)

    totals = [0] * 5
    for key, truths in gt.items():
        dets = sub.get(key, [])
        free = [
            text == "###" or (task == "word_spotting" and not is_word(clean(text)))
            for _, text in truths
        ]
        ignored = [
            any(
                f and area(p) and Fraction(shared(p, q), area(p)) > iou
                for (q, _), f in zip(truths, free, strict=True)
            )
            for p, _ in dets
        ]
        used = set()
        for (q, truth), f in zip(truths, free, strict=True):
            if f:
                continue
            totals[0] += 1
            for d, (p, read) in enumerate(dets):
                union = area(p) + area(q) - shared(p, q)
                if d in used or ignored[d] or not union:
                    continue
                if Fraction(shared(p, q), union) > iou:
                    used.add(d)
                    totals[3] += 1
                    totals[4] += right(truth, read)
                    break
        totals[1] += len(dets)
        totals[2] += len(dets) - sum(ignored)
    return tuple(totals)


def random_set(rng, images=30):
    texts = ["###", "ab", "abc", "abc!", "(abc", "(abc)", "abc's", "-abc-", "a b", "abd", "ABC", ""]

    def words(count):
        return [
            (
                box(rng.randint(0, 8), rng.randint(0, 8), rng.randint(0, 6), rng.randint(0, 6)),
                rng.choice(texts),
            )
            for _ in range(count)
        ]

    gt = {str(i): words(rng.randint(0, 6)) for i in range(images)}
    sub = {key: words(rng.randint(0, 8)) for key in gt if rng.random() < 0.9}
    return gt, sub


@pytest.mark.parametrize("seed", range(6))
def test_against_plain_loops_on_crowded_boxes(seed):
    gt, sub = random_set(random.Random(seed))
    ious = (0.0, 0.1, 0.25, 0.5, 0.75)  # exact ties occur at each
    report = evaluate(gt, sub, ious=ious)
    for task in ("end_to_end", "word_spotting"):
        for iou in ious:
            assert report.case(task, "none", iou).counts == naive_counts(gt, sub, task, iou)


def test_scan_takes_the_first_that_fits_not_the_best():
    gt = {"1": [(box(0, 0, 10, 10), "one")]}
    loose, tight = (box(0, 0, 10, 6), "two"), (box(0, 0, 10, 10), "one")
    first = evaluate(gt, {"1": [loose, tight]}).case("end_to_end")
    assert first.counts[3:] == (1, 0)
    second = evaluate(gt, {"1": [tight, loose]}).case("end_to_end")
    assert second.counts[3:] == (1, 1)


def test_ground_truth_is_the_outer_loop():
    gts = [(box(0, 0, 10, 10), "a"), (box(0, 0, 10, 9), "b")]
    case = evaluate({"1": gts}, {"1": [(box(0, 0, 10, 9), "b")]}).case("end_to_end")
    assert case.counts[3:] == (1, 0)  # "a" takes it


def test_iou_must_exceed_the_threshold():
    gt = {"1": [(box(0, 0, 10, 10), "a")]}
    sub = {"1": [(box(0, 0, 10, 5), "a")]}
    report = evaluate(gt, sub, ious=(0.5, 0.499), tasks="end_to_end")
    assert [case.counts.num_matched for case in report.cases] == [0, 1]


def test_dont_care_uses_the_same_threshold_and_one_region_at_a_time():
    gt = {"1": [(box(0, 0, 3, 10), "###"), (box(5, 0, 3, 10), "###")]}
    sub = {"1": [(box(0, 0, 10, 10), "x")]}  # 30% in each, 60% together
    report = evaluate(gt, sub, ious=(0.5, 0.1), tasks="end_to_end")
    assert [case.counts.num_det_care for case in report.cases] == [1, 0]


def test_dont_care_goes_before_matching():
    gt = {"1": [(box(0, 0, 10, 10), "abc"), (box(0, 0, 10, 10), "###")]}
    case = evaluate(gt, {"1": [(box(0, 0, 10, 10), "abc")]}).case("end_to_end")
    assert case.counts == (1, 1, 0, 0, 0)


def test_a_match_is_spent_on_detection_even_when_misread():
    gt = {"1": [(box(0, 0, 10, 10), "abc")]}
    sub = {"1": [(box(0, 0, 10, 10), "abd"), (box(0, 0, 10, 10), "abc")]}
    case = evaluate(gt, sub).case("end_to_end")
    assert case.detection == (1.0, 0.5, 2 / 3)
    assert case.spotting == (0, 0, 0)


def test_detections_of_no_area_are_false_positives():
    gt = {"1": [(box(0, 0, 10, 10), "###")]}
    case = evaluate(gt, {"1": [(box(2, 2, 0, 5), "a")]}).case("end_to_end")
    assert case.counts == (0, 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("gt", "sub", "expected"),
    [
        ({"1": []}, {"1": []}, (0, 0, 0, 0, 0)),
        ({"1": []}, {}, (0, 0, 0, 0, 0)),
        ({"1": []}, {"1": [(box(0, 0, 5, 5), "a")]}, (0, 1, 1, 0, 0)),
        ({"1": [(box(0, 0, 5, 5), "###")]}, {"1": []}, (0, 0, 0, 0, 0)),
        ({"1": [(box(0, 0, 5, 5), "abc")]}, {}, (1, 0, 0, 0, 0)),
        (
            {"1": [(box(0, 0, 5, 5), "abc")]},
            {"1": [(box(0, 0, 5, 5), "###")]},
            (1, 1, 1, 1, 0),  # three hashes mean nothing in a result
        ),
    ],
)
def test_empty_and_dont_care_images(gt, sub, expected):
    case = evaluate(gt, sub).case("end_to_end")
    assert case.counts == expected
    assert all(0 <= value <= 1 for value in (*case.detection, *case.spotting))


def test_missing_images_are_named():
    gt = {i: [(box(0, 0, 5, 5), "abc")] for i in range(4)}
    report = evaluate(gt, {1: [], "3": []})
    assert report.missing_images == ["0", "2"]
    assert report.to_dict()["missing_images"] == ["0", "2"]
    assert "2 of 4 images have no results" in str(report)


def test_commas_do_not_count():
    gt = {"1": [(box(0, 0, 5, 5), "$5,50")]}
    case = evaluate(gt, {"1": [(box(0, 0, 5, 5), "$5,5,0")]}).case("end_to_end")
    assert case.counts.num_correct == 1


def test_rates():
    assert rates(1, 2, 4) == (0.5, 0.25, pytest.approx(1 / 3))
    assert rates(0, 0, 0) == (0, 0, 0)
    recall, precision, hmean = rates(np.array([0, 1]), 2, np.array([0, 1]))
    assert recall.tolist() == [0, 0.5]
    assert precision.tolist() == [0, 1]
    assert hmean.tolist() == [0, pytest.approx(2 / 3)]


def test_report_picks_cases_and_prints():
    report = evaluate({"1": [(box(0, 0, 5, 5), "abc")]}, {"1": []}, ious=(0.1, 0.5))
    assert [(c.iou, c.task) for c in report.cases] == [
        (0.1, "end_to_end"),
        (0.1, "word_spotting"),
        (0.5, "end_to_end"),
        (0.5, "word_spotting"),
    ]
    assert report.case("word_spotting", iou=0.5) is report.cases[3]
    with pytest.raises(KeyError, match="2 cases"):
        report.case("word_spotting")
    assert len(str(report).splitlines()) == 5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tasks": "reading"}, "task 'reading'; choose from end_to_end"),
        ({"ious": 1.0}, r"IoU threshold 1; it must be in \[0, 1\)"),
        ({"ious": (0.5, -0.1)}, "IoU threshold -0.1"),
        ({"ious": float("nan")}, "IoU threshold nan"),
        ({"bootstrap": -1}, "bootstrap is -1"),
        ({"lexicons": "weak.txt"}, "lexicons is a str; give a mapping"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        evaluate({"1": []}, {"1": []}, **kwargs)


SQUARE = box(0, 0, 5, 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([(SQUARE[:2], "a")], r"submission, image 1, word 1: .* K >= 3, got shape \(2, 2\)"),
        ([(SQUARE, "a"), ([0, 1, 2, 3, 4, 5], "a")], r"word 2: .* got shape \(6,\)"),
        ([([(0, 0), (1, float("nan")), (2, 2)], "a")], "NaN, infinite or beyond"),
        ([([(0, 0), (1, float("inf")), (2, 2)], "a")], "NaN, infinite or beyond"),
        ([([(0, 0), (1, 1e9), (2, 2)], "a")], "beyond 1000000 pixels"),
        ([([(0, 0), (1, "x"), (2, 2)], "a")], "no array of numbers"),
        ([(SQUARE, 7)], "the text is a int, not a str"),
        ([(SQUARE, "a", "high")], "the score 'high' is no number"),
        ([(SQUARE, "a", float("nan"))], "the score is nan"),
        ([(SQUARE,)], r"expected a Word, \(polygon, text\)"),
        ([5], r"expected a Word, \(polygon, text\)"),
        ([(SQUARE, "a", 0.5), (SQUARE, "a")], "1 of 2 words have a score"),
    ],
)
def test_bad_words_in_memory(words, message):
    with pytest.raises(EvaluationInputError, match=message):
        evaluate({"1": [(SQUARE, "a")]}, {"1": words})


def test_bad_images_in_memory():
    with pytest.raises(EvaluationInputError, match="the ground truth lacks: 7"):
        evaluate({"1": []}, {7: []})
    with pytest.raises(EvaluationInputError, match="two image ids both read '1'"):
        evaluate({"1": [], 1: []}, {})
    with pytest.raises(EvaluationInputError, match="the ground truth has no images"):
        evaluate({}, {})


def test_words_and_tuples_are_the_same():
    gt = {"1": [Word(np.array(SQUARE), "abc")]}
    assert evaluate(gt, {"1": [(SQUARE, "abc", 0.5)]}).case("end_to_end").spotting.hmean == 1
