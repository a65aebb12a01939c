"""The distilled student in use: every image at the scale that was chosen for it."""

import numpy as np
import pytest
import torch
from distiller_to_train import ALL_SCALES, make_batch, tiny_distiller
from naive_distillation import naive_view, pad
from tiny_spotter import make_input

CHOICE = [5, 0, 5, 2]


@pytest.fixture(scope="module")
def distiller():
    """Finds a few words even in noise."""
    return tiny_distiller(
        teacher=False,
        MODEL__ROI_HEADS__SCORE_THRESH_TEST=0.0,
        TEST__DETECTIONS_PER_IMAGE=4,
    ).eval()


def make_photographs():
    """Photographs that were scaled down by factors of their own before they came here."""
    inputs = [make_input([], (96, 160), seed=i) for i in range(4)]
    for i, x in enumerate(inputs):
        x.update(height=96 * (i + 1), width=160 * (i + 2))
        del x["instances"]
    return inputs


@pytest.fixture
def forced(distiller, monkeypatch):
    """The distiller with a choice by image, recognised by its first pixel."""
    inputs = make_photographs()
    keys = {
        round(distiller.student.preprocess([x])[0].tensor[0, 0, 0, 0].item(), 4): c
        for x, c in zip(inputs, CHOICE, strict=True)
    }
    monkeypatch.setattr(
        distiller.policy,
        "choose",
        lambda images: torch.tensor([keys[round(i[0, 0, 0].item(), 4)] for i in images]),
    )
    return distiller, inputs


def assert_same(a, b):
    assert a["scale"] == b["scale"] and a["relative_cost"] == b["relative_cost"]
    a, b = a["instances"], b["instances"]
    assert a.image_size == b.image_size and len(a) == len(b) > 0
    torch.testing.assert_close(a.pred_boxes.tensor, b.pred_boxes.tensor, rtol=1e-3, atol=0.02)
    torch.testing.assert_close(a.scores, b.scores, rtol=1e-3, atol=1e-5)
    assert a.pred_texts == b.pred_texts
    for p, q in zip(a.pred_polygons, b.pred_polygons, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-3, atol=0.02)


def test_a_batch_is_its_images_one_by_one_in_order(forced):
    distiller, inputs = forced
    outputs = distiller(inputs)
    assert [o["scale"] for o in outputs] == [ALL_SCALES[i] for i in CHOICE]
    costs = distiller.relative_cost[CHOICE].tolist()
    assert [o["relative_cost"] for o in outputs] == costs
    for x, output in zip(inputs, outputs, strict=True):
        (alone,) = distiller([x])
        assert_same(output, alone)
    backwards = distiller(inputs[::-1])[::-1]
    for a, b in zip(outputs, backwards, strict=True):
        assert_same(a, b)


def test_images_of_equal_scale_run_together(forced, monkeypatch):
    distiller, inputs = forced
    inference, batches = distiller.student.inference, []
    monkeypatch.setattr(
        distiller.student,
        "inference",
        lambda images: batches.append(images.image_sizes) or inference(images),
    )
    distiller(inputs)
    assert sorted(batches) == [[(29, 48)], [(48, 80)], [(77, 128)] * 2]


def test_coordinates_are_those_of_the_photograph(forced):
    """Against the student on views made by hand, image by image."""
    distiller, inputs = forced
    for x, output, choice in zip(inputs, distiller(inputs), CHOICE, strict=True):
        images, _ = distiller.student.preprocess([x])
        target = make_input([("a", (0, 0, 9, 9))], (96, 160))["instances"]
        small, _ = naive_view(images[0], target, ALL_SCALES[choice])
        (found,) = distiller.student.inference(pad([small]))
        result = output["instances"]
        assert result.image_size == (x["height"], x["width"])
        assert len(found) == len(result) > 0
        factor = np.array([x["width"] / small.shape[2], x["height"] / small.shape[1]])
        boxes = found.pred_boxes.tensor * torch.tensor(np.tile(factor, 2), dtype=torch.float32)
        torch.testing.assert_close(result.pred_boxes.tensor, boxes, rtol=1e-3, atol=0.05)
        for p, q in zip(result.pred_polygons, found.pred_polygons, strict=True):
            np.testing.assert_allclose(p, q * factor, rtol=1e-3, atol=0.05)
        assert result.pred_texts == found.pred_texts


def test_bias_slides_along_the_costs(distiller):
    inputs = make_photographs()
    seen = []
    for bias in (-1e4, -1.0, 0.0, 1.0, 1e4):
        distiller.policy.cost_bias = bias
        outputs = distiller(inputs)
        for output in outputs:
            position = distiller.scales.index(output["scale"])
            assert output["relative_cost"] == distiller.relative_cost[position].item()
        seen.append([o["relative_cost"] for o in outputs])
    distiller.policy.cost_bias = 0.0
    assert (np.diff(seen, axis=0) <= 0).all()
    assert set(seen[0]) == {distiller.relative_cost.max().item()}
    assert set(seen[-1]) == {distiller.relative_cost.min().item()}


def test_the_configured_bias_and_the_fixed_scale():
    inputs = make_photographs()[:2]
    biased = tiny_distiller(teacher=False, MODEL__DISTILL__SELECTOR__COST_BIAS=1e4).eval()
    assert [o["scale"] for o in biased(inputs)] == [0.3, 0.3]
    for selection in ("fixed", "random"):
        fixed = tiny_distiller(
            teacher=False,
            MODEL__DISTILL__SELECTION=selection,
            MODEL__DISTILL__FIXED_SCALE=0.7,
        ).eval()
        assert [o["scale"] for o in fixed(inputs)] == [0.7, 0.7]


def test_inference_repeats_and_leaves_no_graph(distiller):
    first, second = distiller(make_batch()), distiller(make_batch())
    assert [o["scale"] for o in first] == [o["scale"] for o in second]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a["instances"].scores, b["instances"].scores)
        assert not a["instances"].scores.requires_grad


def test_images_without_any_word():
    distiller = tiny_distiller(teacher=False, MODEL__ROI_HEADS__SCORE_THRESH_TEST=1.0).eval()
    for output in distiller(make_photographs()):
        assert len(output["instances"]) == 0 and output["instances"].pred_texts == []
        assert output["scale"] in ALL_SCALES


def test_ground_truth_regions_are_read_at_the_chosen_scales(distiller, monkeypatch):
    words = [("one", (10, 10, 90, 40)), ("###", (10, 50, 60, 80)), ("two", (70, 50, 150, 90))]
    inputs = [make_input(words[: 3 - i], (96, 160), seed=i) for i in range(3)]
    monkeypatch.setattr(distiller.policy, "choose", lambda images: torch.tensor([5, 0, 2]))
    seen = []
    monkeypatch.setattr(
        distiller.student, "read_targets", lambda *view: seen.append(view) or [["two", "one"]]
    )
    assert distiller.read_regions(inputs) == [["two", "one"]]
    ((view, targets),) = seen
    scales = [distiller.scales[i] for i in (5, 0, 2)]
    for size, target, item, scale in zip(view.image_sizes, targets, inputs, scales, strict=True):
        assert size == (round(96 * scale), round(160 * scale)) == target.image_size
        ratios = torch.tensor([size[1] / 160, size[0] / 96]).repeat(2)
        expected = item["instances"].gt_boxes.tensor * ratios
        torch.testing.assert_close(target.gt_boxes.tensor, expected)


def test_regions_of_trained_kind_are_read(distiller):
    inputs = [make_input([("one", (10, 10, 90, 40)), ("###", (10, 50, 60, 80))])]
    ((text,),) = distiller.read_regions(inputs)
    assert isinstance(text, str)
