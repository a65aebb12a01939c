"""The CTC loss of the contextual features against the sum over all alignments."""

import itertools
import math

import pytest
import torch

from dld_d2.modeling.recognition.ctc import ctc_loss
from dld_d2.structures.vocabulary import Vocabulary

LENGTH = 4


def make_logits():
    return torch.randn(4, LENGTH, 3, generator=torch.manual_seed(1), requires_grad=True)


def naive(log_probability, text):
    """-log of the probability of all sequences of LENGTH classes that collapse to the text."""
    total = 0.0
    for path in itertools.product(range(3), repeat=LENGTH):
        collapsed = [c for c, _ in itertools.groupby(path) if c != 2]
        if collapsed == text:
            total += math.exp(sum(log_probability[t, c].item() for t, c in enumerate(path)))
    return -math.log(total)


def texts_of(*words):
    length = max(map(len, words))
    return torch.tensor([Vocabulary("ab").encode(word, length) for word in words])


def test_equals_the_sum_over_alignments():
    logits = make_logits()
    texts = texts_of("ab", "bb", "a", "bab")
    loss = ctc_loss(logits, texts)
    log_probability = logits.log_softmax(dim=-1).double()
    words = ([0, 1], [1, 1], [0], [1, 0, 1])
    expected = sum(naive(p, word) for p, word in zip(log_probability, words, strict=True)) / 8
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad.abs().sum() > 0


def test_words_that_do_not_count():
    logits = make_logits()
    # "aaa" takes five positions: a blank between equal characters. The last row stands for nothing.
    texts = texts_of("ab", "aaa", "b", "a")
    texts[3] = Vocabulary.PADDING
    log_probability = logits.log_softmax(dim=-1).double()
    expected = (naive(log_probability[0], [0, 1]) + naive(log_probability[2], [1])) / 6
    assert ctc_loss(logits, texts).item() == pytest.approx(expected, rel=1e-5)
    nothing = ctc_loss(logits, torch.full((4, 1), Vocabulary.PADDING))
    assert nothing.item() == 0
    nothing.backward()
    assert logits.grad.abs().sum() == 0
