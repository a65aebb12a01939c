"""Words under two spotters: the join, the table with the published row, and McNemar's test."""

import math
from math import comb

import numpy as np
import pytest

from dld_d2.analysis.appendix.outcomes import OutcomeTable, count_outcomes, join_words, mcnemar
from dld_d2.evaluation import evaluate
from dld_d2.evaluation.details import image_records
from dld_d2.structures.errors import UsageError


def box(column):
    x = 100 * column
    return [(x, 0), (x + 80, 0), (x + 80, 30), (x, 30)]


def records(truth, found):
    """`image_records` by image."""
    report = evaluate(truth, found, tasks="end_to_end")
    return {record["image"]: record for record in image_records(report, report.case())}


TRUTH = {
    "a": [(box(i), text) for i, text in enumerate(["One", "###", "two", "six"])],
    "b": [(box(0), "ten")],
    "c": [],
}


@pytest.mark.parametrize(
    ("counts", "published"),
    [
        ((716, 23, 32, 146), (78.08, 2.51, 3.49, 15.92)),
        ((1307, 45, 98, 627), (62.93, 2.16, 4.72, 30.19)),
        ((1435, 43, 105, 632), (64.79, 1.94, 4.74, 28.53)),
    ],
    ids=["ICDAR2013", "ICDAR2015", "Total-Text"],
)
def test_published_rows_are_whole_numbers_of_the_sets_words(counts, published):
    table = OutcomeTable(*counts[:3], counts[3], 0, 0)
    assert table.total in (917, 2077, 2215)
    assert table.neither == counts[3]
    # 45 of 2,077 are 2.1666 %, which is printed cut off.
    assert table.percentages() == pytest.approx(published, abs=0.0067)
    assert sum(p != round(q, 2) for p, q in zip(published, table.percentages(), strict=True)) == (
        1 if 45 in counts else 0
    )


def test_every_kind_of_word_is_counted_once():
    first = {"a": [(box(0), "one"), (box(2), "twa"), (box(3), "sax")], "b": [(box(0), "tin")]}
    second = {"a": [(box(0), "ane"), (box(2), "two"), (box(3), "sex"), (box(1), "x")], "b": []}
    pairs = join_words(records(TRUTH, first), records(TRUTH, second))
    assert [(p.image, p.index, p.text) for p in pairs] == [
        *(("a", 0, "One"), ("a", 2, "two"), ("a", 3, "six"), ("b", 0, "ten"))
    ]
    assert pairs[0].readings == ("one", "ane") and pairs[3].readings == ("tin", None)
    assert pairs[3].outcomes == ("misread", "missed")
    np.testing.assert_array_equal(pairs[1].polygon, box(2))
    table = count_outcomes(pairs)
    assert table == OutcomeTable(0, 1, 1, 0, 1, 1)
    assert count_outcomes(join_words(records(TRUTH, {}), records(TRUTH, {}))).missed_by_both == 4
    assert table.percentages() == (0, 25, 25, 50)
    assert count_outcomes([]).percentages() == (0, 0, 0, 0)


def test_join_equals_a_naive_count_of_random_outcomes():
    generator = np.random.default_rng(0)
    texts = {f"i{n}": [f"w{n}{k}" for k in range(generator.integers(0, 6))] for n in range(20)}
    truth = {n: [(box(k), text) for k, text in enumerate(ts)] for n, ts in texts.items()}

    def draw():
        drawn = {n: generator.integers(0, 3, len(ts)).tolist() for n, ts in texts.items()}
        found = {
            n: [(box(k), texts[n][k] if d == 2 else "x") for k, d in enumerate(ds) if d]
            for n, ds in drawn.items()
        }
        return [d for n in texts for d in drawn[n]], found

    (a, first), (b, second) = draw(), draw()
    table = count_outcomes(join_words(records(truth, first), records(truth, second)))
    both = list(zip(a, b, strict=True))
    assert table == OutcomeTable(
        sum(x == y == 2 for x, y in both),
        sum(x == 2 != y for x, y in both),
        sum(y == 2 != x for x, y in both),
        both.count((0, 0)),
        both.count((1, 1)),
        both.count((0, 1)) + both.count((1, 0)),
    )


def test_other_images_and_other_words_are_refused():
    one = records(TRUTH, {})
    with pytest.raises(UsageError, match="different images: only one has 'c'"):
        join_words(one, records({k: TRUTH[k] for k in "ab"}, {}))
    changed = TRUTH | {"b": [(box(0), "###")]}
    with pytest.raises(UsageError, match="ground truth of image 'b'"):
        join_words(one, records(changed, {}))


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 5), (1, 9), (9, 1), (23, 32), (45, 98)])
def test_mcnemar_is_the_sum_of_the_binomial_tails(b, c):
    n = b + c
    tail = sum(comb(n, k) for k in range(min(b, c) + 1)) / 2**n
    assert mcnemar(b, c) == pytest.approx(min(1.0, 2 * tail))
    assert math.isclose(OutcomeTable(1, b, c, 0, 0, 0).p_value(), mcnemar(b, c))
