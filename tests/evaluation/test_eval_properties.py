import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dld_d2.evaluation import evaluate
from dld_d2.evaluation.transcription import dictionary_word

COORDINATES = st.integers(-20, 120)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=8)
TEXTS = st.one_of(
    st.sampled_from(["###", "Hello", "hello!", "it's", "Bob's", "ab", "R2D2", "well-known", ""]),
    st.text(alphabet="abAB!'.- é", max_size=6),
)
WORDS = st.lists(st.tuples(POINTS, TEXTS), max_size=5)
SETS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4)
IOUS = st.sampled_from([0.0, 0.1, 0.5, 0.8])

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


def split(images):
    gt = {str(i): list(words) for i, (words, _) in enumerate(images)}
    sub = {str(i): list(words) for i, (_, words) in enumerate(images)}
    return gt, sub


def all_counts(gt, sub, iou):
    return [case.counts for case in evaluate(gt, sub, ious=iou).cases]


@st.composite
def separate_words(draw):
    """Words on a grid, none overlapping, at least one scored in either task."""
    texts = draw(st.lists(TEXTS, max_size=8))
    words = []
    for cell, text in enumerate(["always", *texts]):
        x, y = 50 * (cell % 3), 50 * (cell // 3)
        width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
        words.append(([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], text))
    return words


@SETTINGS
@given(st.lists(separate_words(), min_size=1, max_size=3), IOUS, st.randoms())
def test_a_perfect_submission_scores_one(images, iou, rng):
    gt = {str(i): words for i, words in enumerate(images)}
    sub = {key: rng.sample(words, len(words)) for key, words in gt.items()}
    (case,) = evaluate(gt, sub, ious=iou, tasks="end_to_end").cases
    assert (*case.detection, *case.spotting) == (1.0,) * 6
    # Word spotting compares with cleaned words, so a perfect submission there holds those.
    cleaned = {
        key: [(polygon, dictionary_word(text.replace(",", "")) or text) for polygon, text in words]
        for key, words in sub.items()
    }
    (case,) = evaluate(gt, cleaned, ious=iou, tasks="word_spotting").cases
    assert (*case.detection, *case.spotting) == (1.0,) * 6


@SETTINGS
@given(SETS, IOUS, st.randoms())
def test_the_order_of_images_changes_nothing(images, iou, rng):
    gt, sub = split(images)
    keys = rng.sample(sorted(gt), len(gt))
    assert all_counts(gt, sub, iou) == all_counts(
        {key: gt[key] for key in keys}, {key: sub[key] for key in reversed(keys)}, iou
    )


@SETTINGS
@given(SETS, IOUS, TEXTS, st.randoms())
def test_a_false_positive_never_raises_precision(images, iou, text, rng):
    gt, sub = split(images)
    before = evaluate(gt, sub, ious=iou)
    far_away = [(5000, 5000), (5050, 5000), (5050, 5020), (5000, 5020)]
    words = sub[rng.choice(sorted(sub))]
    words.insert(rng.randint(0, len(words)), (far_away, text))
    for old, new in zip(before.cases, evaluate(gt, sub, ious=iou).cases, strict=True):
        assert new.detection.precision <= old.detection.precision
        assert new.spotting.precision <= old.spotting.precision
        assert new.detection.recall == old.detection.recall
        assert new.spotting.recall == old.spotting.recall
        assert new.failures.false_positive == old.failures.false_positive + 1


@SETTINGS
@given(SETS, IOUS, TEXTS, st.integers(0, 3), st.integers(0, 3), st.randoms())
def test_dont_care_detections_change_nothing(images, iou, text, x, y, rng):
    gt, sub = split(images)
    key = rng.choice(sorted(gt))
    gt[key].append(([(200, 0), (260, 0), (260, 40), (200, 40)], "###"))
    before = evaluate(gt, sub, ious=iou)
    inside = [(205 + x, 2 + y), (250 + x, 2 + y), (230 + x, 30 + y)]
    sub[key].insert(rng.randint(0, len(sub[key])), (inside, text))
    for old, new in zip(before.cases, evaluate(gt, sub, ious=iou).cases, strict=True):
        assert new.counts == old.counts._replace(num_det=old.counts.num_det + 1)
        assert (new.detection, new.spotting) == (old.detection, old.spotting)
        assert new.failures == old.failures


@SETTINGS
@given(SETS, IOUS)
def test_counts_are_consistent(images, iou):
    gt, sub = split(images)
    for case in evaluate(gt, sub, ious=iou).cases:
        counts = case.counts
        assert counts.num_correct <= counts.num_matched
        assert counts.num_matched <= min(counts.num_gt_care, counts.num_det_care)
        assert sum(case.failures[:7]) == counts.num_gt_care
        assert case.failures.false_positive == counts.num_det_care - counts.num_matched


def test_a_set_scores_as_its_images_do_together():
    rng = random.Random(3)

    def polygon():
        return [(rng.randint(0, 40), rng.randint(0, 40)) for _ in range(5)]

    gt = {str(i): [(polygon(), "abc") for _ in range(3)] for i in range(600)}  # several batches
    sub = {str(i): [(polygon(), "abc") for _ in range(3)] for i in range(600)}
    whole = evaluate(gt, sub, ious=0.2).case("end_to_end")
    alone = [
        evaluate({key: gt[key]}, {key: sub[key]}, ious=0.2).case("end_to_end").counts for key in gt
    ]
    assert whole.counts == tuple(map(sum, zip(*alone, strict=True)))
    assert whole.image_counts.tolist() == [list(counts) for counts in alone]
