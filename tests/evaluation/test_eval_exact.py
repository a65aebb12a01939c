"""Scores against the independent implementation in fractions, ties and all."""

from fractions import Fraction

import numpy as np
import pytest
from exact_protocol import _shared, counts
from random_submissions import LEXICON, random_case

from dld_d2.evaluation import Lexicon, evaluate
from dld_d2.evaluation.exact import intersection_area

THRESHOLDS = ["0.5", "0.1", "0.3", "0"]


@pytest.mark.parametrize("start", range(0, 500, 100))
def test_random_submissions_score_as_fractions_do(start):
    for seed in range(start, start + 100):
        gt, submission = random_case(seed)
        # Half of them at the threshold of the published scores.
        written = THRESHOLDS[seed // 2 % 4] if seed % 2 else "0.5"
        lexicon = LEXICON if seed % 3 == 0 else None
        report = evaluate(
            gt,
            submission,
            ious=float(written),
            lexicons={"x": None if lexicon is None else Lexicon(lexicon)},
        )
        for case in report.cases:
            expected = counts(gt, submission, case.task, Fraction(written), lexicon)
            assert case.counts == expected, (seed, case.task, written)


def test_the_random_submissions_hold_what_they_are_for():
    """Ties at the threshold, don't-care detections, matches: or the test above would be weak."""
    ties = dont_care = matched = correct = crossing = 0
    for seed in range(200):
        gt, submission = random_case(seed)
        case = evaluate(gt, submission, tasks="end_to_end").cases[0]
        dont_care += case.counts.num_det - case.counts.num_det_care
        matched += case.counts.num_matched
        correct += case.counts.num_correct
        for key, words in gt.items():
            for polygon, _ in words:
                for other, _ in submission[key]:
                    a, b = (np.trunc(np.array(p)) for p in (polygon, other))
                    shared = intersection_area(a, b)
                    areas = [abs(Fraction(_shoelace(p), 2)) for p in (a, b)]
                    ties += 0 < 2 * shared == sum(areas) - shared
                    crossing += shared > min(areas)  # only where lobes cancel
    assert min(ties, dont_care, matched, correct, crossing) > 20


def _shoelace(ring):
    x, y = ring.astype(int).T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


@pytest.mark.parametrize("limit", [3, 8, 500])
def test_two_ways_to_an_exact_intersection(limit):
    rng = np.random.default_rng(limit)
    for _ in range(25):
        a, b = (rng.integers(-limit, limit + 1, (rng.integers(3, 8), 2)) for _ in "ab")
        rings = [tuple(map(tuple, ring.tolist())) for ring in (a, b)]
        assert intersection_area(a, b) == _shared(*rings)


# Ground truth, detection, IoU: exactly on the threshold, so no match.
TIES = [
    ([(47, 46), (50, 46), (47, 57)], [(46, 46), (50, 46), (49, 57)], "0.5"),
    ([(0, 0), (4, 0), (4, 2), (0, 2)], [(0, 0), (2, 0), (2, 2), (0, 2)], "0.5"),
    ([(0, 0), (10, 0), (10, 1), (0, 1)], [(0, 0), (1, 0), (1, 1), (0, 1)], "0.1"),
    ([(0, 0), (10, 0), (10, 1), (0, 1)], [(0, 0), (3, 0), (3, 1), (0, 1)], "0.3"),  # 0.3 < 3/10
    ([(0, 0), (10, 0), (10, 1), (0, 1)], [(0, 0), (7, 0), (7, 1), (0, 1)], "0.7"),
]


@pytest.mark.parametrize(("gt", "det", "iou"), TIES)
@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("offset", [0, 990_000])
def test_an_iou_on_the_threshold_is_not_above_it(gt, det, iou, turn, offset):
    gt, det = (
        [(x + offset, y - offset) for x, y in ring[turn:] + ring[:turn]] for ring in (gt, det)
    )

    def matched(threshold):
        report = evaluate({1: [(gt, "a")]}, {1: [(det, "a")]}, ious=threshold, tasks="end_to_end")
        return report.cases[0].counts.num_matched

    assert matched(float(iou)) == 0
    assert matched(float(iou) - 1e-9) == 1


def test_a_detection_half_in_a_dont_care_region_is_scored():
    triangle = [(0, 0), (3, 0), (0, 11)]
    # The region's edge runs through the triangle's corner and the middle of the opposite side.
    region = [(0, 0), (3, 0), (0, 11), (-9, 11), (-9, 0)]
    half = [(0, 0), (0, 11), (3, 0)]
    halved = [(0, 0), (6, 0), (0, 11)]  # its median cuts it in two halves, one the triangle
    report = evaluate({1: [(triangle, "###")]}, {1: [(halved, "a"), (half, "b")]})
    assert report.cases[0].counts.num_det_care == 1  # only the second lies in it by more than half
    report = evaluate({1: [(region, "###")]}, {1: [(halved, "a")]}, ious=0.499)
    assert report.cases[0].counts.num_det_care == 0
