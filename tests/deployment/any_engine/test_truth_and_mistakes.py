"""What counts as right without labels, what goes wrong at each scale, and what choosing gains."""

from itertools import product

import numpy as np
import pytest

from dld_d2.deployment.any_engine.comparison import Measured, against_fixed, oracle, ratio
from dld_d2.deployment.any_engine.examples import examples_of, relative_costs
from dld_d2.deployment.any_engine.own_truth import agreed_words, sure_words
from dld_d2.deployment.any_engine.readings import Reading, ReadingsFile
from dld_d2.deployment.runtime.engines import Sides
from dld_d2.structures.word import DONT_CARE, Word


def word(x, text, score=0.5, y=0):
    return Word(np.array([[x, y], [x + 30, y], [x + 30, y + 10], [x, y + 10]], float), text, score)


def reading(scale, *words, image="a", cpu=0.1):
    return Reading(image, scale, (100, 400), 0.2, cpu, words)


def texts(words):
    return [one.text for one in words]


def test_sure_words():
    found = sure_words([word(0, "a", 0.9), word(50, "b", 0.89), word(90, "c", None)], 0.9)
    assert texts(found) == ["a", DONT_CARE, "c"]


def test_two_scales_that_read_alike_are_believed():
    readings = [
        reading(0.5, word(0, "one"), word(100, "TWO"), word(200, "false")),
        reading(0.7, word(1, "one"), word(100, "tow")),
        reading(1.0, word(0, "ome", 0.99), word(99, "two"), word(300, "far"), word(350, "sure", 1)),
    ]
    found = agreed_words(readings, 1.0, 0.9)
    # "false" was read once, and not surely: it is nothing. "far" is the reference's: nobody knows.
    assert texts(found) == ["one", "two", DONT_CARE, "sure"]


def test_a_larger_scale_that_is_sure_is_believed_and_a_smaller_one_is_not():
    readings = [
        reading(0.5, word(0, "low", 1.0)),
        reading(1.0),
        reading(1.4, word(90, "high", 1.0)),
    ]
    assert sorted(texts(agreed_words(readings, 1.0, 0.9))) == [DONT_CARE, "high"]
    assert agreed_words([reading(1.0), reading(0.5)], 1.0, 0.9) == []


def file_of(tmp_path, readings):
    file = ReadingsFile(tmp_path / "r.jsonl", "x", Sides())
    for one in readings:
        file.add(one)
    file.close()
    return file


def test_mistakes_of_each_scale(tmp_path):
    truth = {"a": [word(0, "one"), word(100, "two"), word(200, DONT_CARE)]}
    file = file_of(
        tmp_path,
        [
            reading(
                0.5, word(0, "one"), word(300, "false")
            ),  # a half for "two", a half for "false"
            reading(0.7, word(0, "ome"), word(100, "two"), word(200, "any")),  # one misread
            reading(1.0, word(0, "ONE"), word(100, "two")),
        ],
    )
    (example,) = examples_of(file, ["a"], [0.5, 0.7, 1.0], truth)
    assert example.mistakes.tolist() == [1.0, 1.0, 0.0]
    assert example.weights.sum(axis=0).tolist() == [1.0, 1.0, 0.0]
    assert example.boxes.shape == (4, 4) and example.boxes[1].tolist() == [300, 0, 330, 10]


def test_costs_are_medians_of_ratios(tmp_path):
    file = file_of(
        tmp_path,
        [
            reading(scale, image=image, cpu=cpu)
            for image, times in {"a": (1, 4), "b": (3, 6), "c": (0.2, 2)}.items()
            for scale, cpu in zip((0.5, 1.0), times, strict=True)
        ],
    )
    assert relative_costs(file, ["a", "b", "c"], [0.5, 1.0], 1.0) == pytest.approx((0.25, 1.0))
    assert relative_costs(file, ["a"], [0.5, 1.0], 1.0, wall=True) == pytest.approx((1.0, 1.0))


def measured(right, seconds):
    right = np.asarray(right)
    counts = np.zeros((*right.shape, 5), dtype=np.int64)
    counts[..., 4] = right
    return Measured(counts, np.broadcast_to(np.asarray(seconds, float), right.shape))


def test_a_mixture_of_fixed_scales_in_the_same_time():
    fixed = measured([[0, 3, 4], [2, 3, 4]], [1, 2, 4])
    # In 3 seconds half the images are read at 2 and half at 4: (6 + 8) / 2 = 7 words.
    value, low, high = against_fixed(measured([5, 4], [3, 3]), fixed)
    assert value == pytest.approx(2.0) and low <= value <= high
    assert against_fixed(measured([5, 4], [0.5, 0.5]), fixed) is None
    # One that reads what a fixed scale reads is no better.
    assert against_fixed(fixed.chosen(np.array([1, 1])), fixed) == (0.0, 0.0, 0.0)


def test_the_oracle_is_the_best_choice_there_is():
    generator = np.random.default_rng(3)
    right = generator.integers(0, 6, (5, 3))
    seconds = np.sort(generator.uniform(0.1, 1, (5, 3)), axis=1)
    fixed = Measured(measured(right, 1.0).counts, seconds)
    for limit in (0.35, 0.5, 0.7):
        best = oracle(fixed, limit)
        assert best.seconds.mean() <= limit
        # No choice that is as fast reads more, by trying all.
        rows = np.arange(5)
        for index in product(range(3), repeat=5):
            if seconds[rows, list(index)].mean() <= best.seconds.mean():
                assert right[rows, list(index)].sum() <= best.right.sum()


def test_ratio():
    value, low, high = ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    assert (value, low, high) == pytest.approx((0.5, 0.5, 0.5))
