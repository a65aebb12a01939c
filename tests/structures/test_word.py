import dataclasses
import pickle

import numpy as np
import pytest

from dld_d2.data.catalog import LEXICON_NAMES
from dld_d2.evaluation.words import as_words
from dld_d2.structures.word import Word

TRIANGLE = np.array([[0, 0], [4, 0], [0, 3]])


def test_word_is_frozen_and_can_be_pickled():
    word = Word(TRIANGLE, "a", 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        word.text = "b"
    copy = pickle.loads(pickle.dumps(word))
    assert (copy.text, copy.score, copy.detection_score) == ("a", 0.5, None)
    assert np.array_equal(copy.polygon, TRIANGLE)


def test_checking_keeps_both_confidences():
    (word,) = as_words({1: [Word(TRIANGLE, "a", 0.5, 0.25)]}, "result")["1"]
    assert (word.score, word.detection_score) == (0.5, 0.25)


def test_data_sets_have_every_lexicon_but_none():
    assert LEXICON_NAMES == ("strong", "weak", "generic", "full")
