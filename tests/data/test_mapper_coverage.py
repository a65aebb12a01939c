"""Counts of words that recognition cannot learn from."""

import logging

import pytest

from dld_d2.data.coverage import log_recognition_coverage, recognition_coverage
from dld_d2.structures.vocabulary import Vocabulary

VOCABULARY = Vocabulary("abc")


def dataset(*images):
    return [
        {"annotations": [{"text": text, "ignore": ignore} for text, ignore in words]}
        for words in images
    ]


MIXED = dataset(
    [("abc", False), ("###", True), ("abé", False), ("é", False)],
    [],
    [("aaaaa", False), ("ééééé", False), ("", False), ("b", False)],
)


def test_every_instance_is_counted_once():
    coverage = recognition_coverage(MIXED, VOCABULARY, max_length=4)
    assert (coverage.images, coverage.total_images) == (3, 3)
    assert coverage.dont_care == 1
    assert coverage.readable == 2
    assert coverage.unknown == 2
    assert coverage.too_long == 2
    assert coverage.untranscribed == 1
    assert coverage.words == 7
    assert coverage.unknown_characters == {"é": 3}


def test_summary_says_why():
    text = recognition_coverage(MIXED, VOCABULARY, max_length=4).summary(4)
    assert "3 images: 7 words and 1 don't-care regions; 5 words train detection only" in text
    assert "2 longer than 4 characters" in text
    assert "2 with characters outside the vocabulary: 'é' in 3" in text
    assert "1 without transcription" in text
    whole = recognition_coverage(dataset([("ab", False)]), VOCABULARY, 4).summary(4)
    assert whole.endswith("0 words train detection only")


def test_large_sets_are_sampled_evenly():
    looked_at = []

    class Large:
        def __len__(self):
            return 1_000_000

        def __getitem__(self, index):
            looked_at.append(index)
            return {"annotations": [{"text": "a", "ignore": False}]}

    coverage = recognition_coverage(Large(), VOCABULARY, 4, max_images=100)
    assert coverage.readable == 100 and len(set(looked_at)) == 100
    assert min(looked_at) == 0 and max(looked_at) == 990_000
    assert coverage.summary(4).startswith("a sample of 100 of 1000000 images")


def test_no_more_is_looked_at_when_the_time_is_over(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("dld_d2.data.coverage.time.monotonic", lambda: next(clock))
    images = dataset(*[[("a", False)]] * 90)
    coverage = recognition_coverage(images, VOCABULARY, 4, max_seconds=20)
    assert coverage.images == coverage.readable == 20
    assert coverage.summary(4).startswith("a sample of 20 of 90 images")


def test_empty_sets_and_images_without_annotations():
    assert recognition_coverage([], VOCABULARY, 4).words == 0
    assert recognition_coverage([{}], VOCABULARY, 4).images == 1


@pytest.mark.parametrize(
    ("words", "level"),
    [([("a", False), ("é", False)], logging.INFO), ([("é", False)], logging.WARNING)],
)
def test_log_warns_when_the_vocabulary_does_not_fit(caplog, words, level):
    with caplog.at_level(logging.INFO):
        log_recognition_coverage("my_set", dataset(words), VOCABULARY, 4)
    (record,) = caplog.records
    assert record.levelno == level and "my_set" in record.message
    assert ("VOCABULARY" in record.message) == (level == logging.WARNING)
