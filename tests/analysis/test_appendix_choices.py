"""What is shown follows rules."""

import numpy as np
import pytest
import torch

from dld_d2.analysis.appendix.choices import (
    draw_by_scale,
    draw_words,
    most_words,
    smaller_without_loss,
)
from dld_d2.analysis.appendix.outcomes import WordPair
from dld_d2.analysis.appendix.scales import (
    bias_of_larger_scale,
    heights_by_scale,
    polygon_heights,
    scale_shares,
)
from dld_d2.modeling.selection.selector import select


def pair(image, first, second, index=0):
    outcomes = tuple("correct" if right else "misread" for right in (first, second))
    return WordPair(image, index, "word", np.zeros((4, 2)), outcomes, ("a", "b"))


def test_images_of_each_scale_are_drawn_and_stay_the_same():
    chosen = {f"i{n}": (0.3, 0.5, 0.5, 0.8)[n % 4] for n in range(40)}
    drawn = draw_by_scale(chosen, 3)
    assert list(drawn) == [0.3, 0.5, 0.8]
    assert all(chosen[i] == s and len(set(d)) == 3 for s, d in drawn.items() for i in d)
    assert drawn == draw_by_scale(chosen, 3) != draw_by_scale(chosen, 3, seed=1)
    assert len(draw_by_scale({"only": 0.3}, 3)[0.3]) == 1


def test_images_with_most_words_come_first():
    pairs = [pair("a", 1, 0), pair("b", 1, 0), pair("b", 1, 0), pair("c", 1, 0), pair("d", 1, 1)]
    found = most_words(pairs, lambda p: p.right == (True, False), 2)
    assert found == [("b", 2), ("a", 1)]
    assert most_words(pairs, lambda p: p.right == (False, True), 2) == []


def test_smaller_scale_that_loses_nothing():
    pairs = [
        *(pair("a", 1, 0), pair("a", 1, 1), pair("a", 0, 1)),  # loses one
        *(pair("b", 1, 1), pair("c", 1, 1), pair("c", 0, 1)),
        *(pair("d", 1, 1), pair("d", 1, 1), pair("d", 1, 1)),  # not smaller
        pair("e", 0, 0),
    ]
    chosen = {"a": 0.3, "b": 0.4, "c": 0.3, "d": 0.5, "e": 0.3}
    assert smaller_without_loss(pairs, chosen, 0.5) == "c"
    assert smaller_without_loss(pairs, chosen, 0.3) is None


def test_words_are_drawn_of_as_many_images_as_possible():
    pairs = [pair("a", 1, 0, n) for n in range(5)] + [pair("b", 1, 0), pair("c", 1, 1)]
    drawn = draw_words(pairs, 3)
    assert {p.image for p in drawn[:2]} == {"a", "b"} and drawn[2].image == "a"
    assert len(draw_words(pairs, 99)) == 6
    assert [(p.image, p.index) for p in drawn] == [(p.image, p.index) for p in draw_words(pairs, 3)]


def test_shares_of_scales():
    found = scale_shares([0.5, 0.3, 0.5, 0.8], candidates=(0.3, 0.4))
    assert found.shares == {0.3: 0.25, 0.4: 0, 0.5: 0.5, 0.8: 0.25}
    assert found.mean == pytest.approx(0.525)
    assert found.mean_square == pytest.approx((0.09 + 0.25 + 0.25 + 0.64) / 4)
    with pytest.raises(ValueError, match="need images"):
        scale_shares([])


def test_heights_of_words():
    box = np.array([[0, 0], [50, 0], [50, 10], [0, 10]], dtype=float)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    bent = np.array([[0, 0], [25, 0], [50, 0], [50, 10], [25, 10], [0, 10]], dtype=float)
    np.testing.assert_allclose(polygon_heights([box, box @ turn, bent, 3 * box]), [10, 10, 10, 30])
    assert polygon_heights([]).shape == (0,)
    heights = {"a": np.array([1.0, 2]), "b": np.array([]), "c": np.array([5.0])}
    found = heights_by_scale({"a": 0.3, "b": 0.8, "c": 0.3}, heights)
    assert list(found) == [0.3, 0.8]
    assert found[0.3].tolist() == [1, 2, 5] and found[0.8].tolist() == []


def test_bias_of_larger_scale_is_where_the_choice_grows():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(50, 4)).astype(np.float32)
    cost = np.array([0.1, 0.25, 0.4, 0.7], dtype=np.float32)

    def choice(bias):
        return select(torch.from_numpy(logits), bias, torch.from_numpy(cost)).numpy()

    for bias in (0.0, 1.5):
        chosen = choice(bias)
        limits = bias_of_larger_scale(logits, cost, chosen)
        assert (limits <= bias + 1e-6).all()
        assert (np.isinf(limits) == (chosen == 3)).all()
        for image in np.flatnonzero(chosen < 3):
            assert choice(limits[image] - 1e-3)[image] > chosen[image]
            between = np.linspace(limits[image] + 1e-4, bias, 5)
            assert all(choice(float(b))[image] == chosen[image] for b in between)
