"""COCO's average precision, against figures worked out by hand and Detectron2's evaluator."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from three_images import Reader, box

from dld_d2.engine.evaluation.average_precision import AveragePrecisionEvaluator
from dld_d2.structures.word import DONT_CARE, Word

SIZES = {"a": (200, 300), "b": (100, 100)}


def rectangle(x, y, width, height):
    return np.array(box(x, y, width, height), dtype=np.float64).reshape(-1, 2)


def evaluated(truth, found, sizes=SIZES):
    evaluator = AveragePrecisionEvaluator(sizes, truth)
    return evaluator.summarize([found]).metrics


def test_what_is_found_exactly_scores_one():
    truth = {"a": [Word(rectangle(10, 10, 40, 20), "one"), Word(rectangle(0, 60, 150, 90), "two")]}
    found = {"a": [Word(word.polygon, "misread", 0.9) for word in truth["a"]]}
    metrics = evaluated(truth, found)
    assert list(metrics.values()) == pytest.approx([1.0] * len(metrics))
    # 800 and 13,500 square pixels: one small, one large, none between.
    sizes = ("ap", "ap50", "ap75", "ap_small", "ap_large")
    assert set(metrics) == {f"{kind}_{key}" for kind in ("box", "mask") for key in sizes}


def test_overlap_decides_at_which_thresholds_a_word_is_found():
    # 40 of 50 columns: an IoU of 0.8, found at 0.5, 0.55, ..., 0.8, which is 7 of 10 thresholds.
    truth = {"b": [Word(rectangle(0, 0, 50, 40), "word")]}
    metrics = evaluated(truth, {"b": [Word(rectangle(0, 0, 40, 40), "word", 0.5)]})
    assert metrics["box_ap"] == metrics["mask_ap"] == pytest.approx(0.7)
    assert [metrics["box_ap50"], metrics["box_ap75"]] == pytest.approx([1.0, 1.0])


def test_a_false_positive_with_a_better_score_halves_precision():
    truth = {"b": [Word(rectangle(0, 0, 50, 40), "word")]}
    found = [Word(rectangle(0, 0, 50, 40), "word", 0.5), Word(rectangle(60, 60, 9, 9), "x", 0.9)]
    assert evaluated(truth, {"b": found})["mask_ap"] == pytest.approx(0.5)
    # With a worse one nothing is lost: the word was found before it.
    found[1] = Word(found[1].polygon, "x", 0.1)
    assert evaluated(truth, {"b": found})["mask_ap"] == pytest.approx(1.0)


def test_nothing_counts_in_dont_care_regions():
    truth = {"b": [Word(rectangle(0, 0, 50, 40), "w"), Word(rectangle(50, 50, 50, 50), DONT_CARE)]}
    found = [
        Word(rectangle(0, 0, 50, 40), "w", 0.5),
        # As large as a hundredth of the region, but wholly within.
        *(Word(rectangle(60 + 10 * i, 60, 5, 5), DONT_CARE, 0.9) for i in range(3)),
    ]
    metrics = evaluated(truth, {"b": found})
    assert metrics["box_ap"] == metrics["mask_ap"] == pytest.approx(1.0)


def test_masks_are_told_from_boxes():
    triangle = np.array([[0.0, 0.0], [80.0, 0.0], [0.0, 80.0]])
    truth = {"b": [Word(triangle, "w")]}
    metrics = evaluated(truth, {"b": [Word(rectangle(0, 0, 80, 80), "w", 0.5)]})
    assert metrics["box_ap"] == pytest.approx(1.0)
    # Half of the square: an IoU at the lowest threshold, and at no other.
    assert metrics["mask_ap"] <= 0.1 + 1e-9


def test_nothing_found_and_nothing_to_find():
    truth = {"a": [], "b": [Word(rectangle(0, 0, 50, 40), "w")]}
    assert set(evaluated(truth, {}).values()) == {0.0}
    assert evaluated({"a": [], "b": []}, {"a": [Word(rectangle(0, 0, 9, 9), "w", 1.0)]}) == {}


def test_equals_detectron2s_evaluator(tmp_path, clean_catalogs):
    """Of random boxes, on a file of COCO's."""
    generator = np.random.default_rng(0)
    truth, found = {}, {}
    document = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "text"}]}
    inputs, outputs = [], []
    sizes = {f"img_{number}": (240, 320) for number in range(8)}
    for number, name in enumerate(sizes):
        low, side = generator.uniform(0, 100, (5, 2)), generator.uniform(10, 120, (5, 2))
        noisy = low + generator.normal(0, 6, (5, 2))
        scores = generator.uniform(0.5, 1, 5)
        truth[name] = [
            Word(rectangle(*low[i], *side[i]), DONT_CARE if i == 0 else "w") for i in range(5)
        ]
        found[name] = [Word(rectangle(*noisy[i], *side[i]), "w", scores[i]) for i in range(5)]
        document["images"].append({"id": number, "height": 240, "width": 320})
        document["annotations"] += [
            {
                "id": 5 * number + i + 1,
                "image_id": number,
                "category_id": 1,
                "bbox": [*low[i], *side[i]],
                "area": float(np.prod(side[i])),
                "iscrowd": int(i == 0),
            }
            for i in range(5)
        ]
        instances = Instances((240, 320))
        instances.pred_boxes = Boxes(torch.tensor(np.hstack([noisy, noisy + side])))
        instances.scores = torch.tensor(scores)
        instances.pred_classes = torch.zeros(5, dtype=torch.int64)
        inputs.append({"image_id": number})
        outputs.append({"instances": instances})
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(document))
    name = f"coco_{tmp_path.name}"
    MetadataCatalog.get(name).set(
        json_file=str(file),
        thing_classes=["text"],
        thing_dataset_id_to_contiguous_id={1: 0},
        evaluator_type="coco",
    )
    theirs = COCOEvaluator(name, tasks=("bbox",), distributed=False, output_dir=str(tmp_path))
    theirs.reset()
    theirs.process(inputs, outputs)
    expected = theirs.evaluate()["bbox"]
    metrics = evaluated(truth, found, sizes)
    for ours, name in (("ap", "AP"), ("ap50", "AP50"), ("ap75", "AP75")):
        assert 100 * metrics[f"box_{ours}"] == pytest.approx(expected[name], abs=1e-6), name


def test_it_is_one_of_the_evaluators_where_it_is_asked_for(evaluate, out):
    assert "mask_ap" not in evaluate(Reader())
    metrics = evaluate(Reader(), "TEST.AVERAGE_PRECISION", "True")
    # "Hello" and "42" exactly, "world" a pixel off (9 of 11 rows, 0.82), one word of junk.
    assert 0.5 < metrics["box_ap"] < 1.0 and metrics["box_ap50"] == pytest.approx(1.0, abs=0.35)
    assert "COCO, mask: ap " in (out / "results.txt").read_text()
