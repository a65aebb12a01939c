"""The CTC loss of the contextual features against the sum over all alignments."""

import itertools
import math

import pytest
import torch
from tiny_spotter import tiny_cfg

from dld_d2.modeling.distillation import build_spotter
from dld_d2.modeling.recognition import Vocabulary

LENGTH = 4


def make_branch(**changes):
    torch.manual_seed(0)
    branch = build_spotter(tiny_cfg(**changes)).recognition
    branch.vocabulary = Vocabulary("ab")
    channels = branch.context.channels
    branch.ctc = torch.nn.Linear(channels, 3)
    return branch, torch.randn(4, LENGTH, channels, generator=torch.manual_seed(1))


def naive(log_probability, text):
    """-log of the probability of all sequences of LENGTH classes that collapse to the text."""
    total = 0.0
    for path in itertools.product(range(3), repeat=LENGTH):
        collapsed = [c for c, _ in itertools.groupby(path) if c != 2]
        if collapsed == text:
            total += math.exp(sum(log_probability[t, c].item() for t, c in enumerate(path)))
    return -math.log(total)


def texts_of(branch, *words):
    length = max(map(len, words))
    return torch.tensor([branch.vocabulary.encode(word, length) for word in words])


def test_equals_the_sum_over_alignments():
    branch, context = make_branch()
    texts = texts_of(branch, "ab", "bb", "a", "bab")
    loss = branch.ctc_loss(context, texts)
    log_probability = branch.ctc(context).log_softmax(dim=-1).double()
    words = ([0, 1], [1, 1], [0], [1, 0, 1])
    expected = sum(naive(p, word) for p, word in zip(log_probability, words, strict=True)) / 8
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert branch.ctc.weight.grad.abs().sum() > 0


def test_words_that_do_not_count():
    branch, context = make_branch()
    # "aaa" takes five positions: a blank between equal characters. The last row stands for nothing.
    texts = texts_of(branch, "ab", "aaa", "b", "a")
    texts[3] = Vocabulary.PADDING
    log_probability = branch.ctc(context).log_softmax(dim=-1).double()
    expected = (naive(log_probability[0], [0, 1]) + naive(log_probability[2], [1])) / 6
    assert branch.ctc_loss(context, texts).item() == pytest.approx(expected, rel=1e-5)
    nothing = branch.ctc_loss(context, torch.full((4, 1), Vocabulary.PADDING))
    assert nothing.item() == 0
    nothing.backward()
    assert branch.ctc.weight.grad.abs().sum() == 0


def test_the_published_branch_has_none():
    branch = build_spotter(tiny_cfg(MODEL__RECOGNITION__CTC_WEIGHT=0.0)).recognition
    assert not any("ctc" in name for name in branch.state_dict())
    with pytest.raises(RuntimeError, match=r"MODEL\.RECOGNITION\.CTC_WEIGHT"):
        branch.ctc_loss(torch.zeros(1, 4, 8), torch.zeros(1, 2, dtype=torch.int64))
