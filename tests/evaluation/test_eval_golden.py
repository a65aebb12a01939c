"""Scores that the authors' own script gives; needs ../shared, which is not part of the project."""

import json
from pathlib import Path

import pytest

from dld_d2.evaluation import EvaluationWarning, evaluate, read_ground_truth

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
DATA = SHARED / "data" / "evaluation"
SETS = {
    "icdar2013": (
        "gt-icdar2013.zip",
        "icdar2013",
        {
            "strong": "strong_lexicon.zip",
            "weak": "ch2_test_vocabulary.txt",
            "generic": "GenericVocabulary.txt",
        },
    ),
    "icdar2015": (
        "gt-icdar2015.zip",
        "icdar2015",
        {
            "strong": "strong_lexicon.zip",
            "weak": "ch4_test_vocabulary.txt",
            "generic": "GenericVocabulary.txt",
        },
    ),
    "totaltext": ("total-text-gt.zip", "total-text", {"full": "full_lexicons.txt"}),
}

needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared evaluation data")


@needs_shared
@pytest.mark.parametrize("name", SETS)
def test_every_case_of_the_reference(name):
    expected = json.loads((DATA / "expected.json").read_text())[name]
    gt, folder, lexicons = SETS[name]
    paths = {kind: DATA / "lexicons" / folder / file for kind, file in lexicons.items()}
    report = evaluate(
        DATA / gt,
        DATA / expected["submission"],
        ious=sorted({case["iou"] for case in expected["cases"]}),
        lexicons={"none": None, **paths},
    )
    assert len(report.cases) == len(expected["cases"])
    for wanted in expected["cases"]:
        case = report.case(wanted["task"], wanted["lexicon"], wanted["iou"])
        found = case.to_dict()
        rounded = {key: _round(found[key]) for key in wanted}
        assert rounded == wanted
        assert sum(case.failures[:7]) == case.counts.num_gt_care
        assert case.failures.correct == case.counts.num_correct
        assert case.failures.false_positive == case.counts.num_det_care - case.counts.num_matched


def _round(value):
    return round(value, 4) if isinstance(value, float) else value


@needs_shared
def test_original_icdar2015_annotation_reads_like_the_converted_one():
    folder = SHARED / "data" / "icdar2015_sample" / "gt"
    converted = read_ground_truth(DATA / "gt-icdar2015.zip")
    original = read_ground_truth(folder, points=4)  # with BOMs, CRLF and commas in words
    assert len(original) == 100
    for image_id, words in original.items():
        for word, other in zip(words, converted[image_id], strict=True):
            assert word.polygon.tolist() == other.polygon.tolist()
            if word.text.isascii():  # the conversion took accents off
                assert word.text.replace(",", "") == other.text
    with pytest.warns(EvaluationWarning, match="taken to hold commas"):
        guessed = read_ground_truth(folder)
    for image_id, words in guessed.items():
        assert [word.text for word in words] == [word.text for word in original[image_id]]
