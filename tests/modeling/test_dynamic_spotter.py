"""The distilled student in use: every image at the scale that was chosen for it."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from tiny_spotter import make_input, tiny_cfg

from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.modeling.dynamic_spotter import cost_of
from dld_d2.modeling.old_names import current_names

ALL_SCALES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
CHOICE = [5, 0, 5, 2]


def tiny_dynamic(**changes):
    """A dynamic spotter of a few thousand parameters; keys with "__" for dots."""
    torch.manual_seed(0)
    settings = {
        "MODEL__META_ARCHITECTURE": "DynamicSpotter",
        "MODEL__DYNAMIC__SELECTOR__CHANNELS": (4, 8, 8, 8),
        "MODEL__DYNAMIC__COST": "power",
        **changes,
    }
    return build_model(tiny_cfg(**settings)).eval()


def make_batch():
    words = [
        [("Hello", (10, 10, 60, 26)), ("###", (90, 50, 150, 80)), ("to", (20, 60, 45, 75))],
        [("Street", (15, 40, 110, 66))],
        [],
    ]
    return [make_input(each, (96 - i, 160 - i), seed=i) for i, each in enumerate(words)]


def shrunk(image, scale):
    """An image (3, H, W) at a scale, as a batch of its own, in one step of PyTorch's."""
    size = [round(side * scale) for side in image.shape[-2:]]
    small = torch.nn.functional.interpolate(
        image.contiguous()[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]
    return ImageList.from_tensors([small], 32)


@pytest.fixture(scope="module")
def model():
    """Finds a few words even in noise."""
    return tiny_dynamic(MODEL__ROI_HEADS__SCORE_THRESH_TEST=0.0, TEST__DETECTIONS_PER_IMAGE=4)


def make_photographs():
    """Photographs that were scaled down by factors of their own before they came here."""
    inputs = [make_input([], (96, 160), seed=i) for i in range(4)]
    for i, x in enumerate(inputs):
        x.update(height=96 * (i + 1), width=160 * (i + 2))
        del x["instances"]
    return inputs


@pytest.fixture
def forced(model, monkeypatch):
    """The model with a choice by image, recognised by its first pixel."""
    inputs = make_photographs()
    keys = {
        round(model.spotter.preprocess([x])[0].tensor[0, 0, 0, 0].item(), 4): c
        for x, c in zip(inputs, CHOICE, strict=True)
    }
    monkeypatch.setattr(
        model.policy,
        "choose",
        lambda images, cost: torch.tensor([keys[round(i[0, 0, 0].item(), 4)] for i in images]),
    )
    return model, inputs


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
    model, inputs = forced
    outputs = model(inputs)
    assert [o["scale"] for o in outputs] == [ALL_SCALES[i] for i in CHOICE]
    costs = model.relative_cost[CHOICE].tolist()
    assert [o["relative_cost"] for o in outputs] == costs
    for x, output in zip(inputs, outputs, strict=True):
        (alone,) = model([x])
        assert_same(output, alone)
    backwards = model(inputs[::-1])[::-1]
    for a, b in zip(outputs, backwards, strict=True):
        assert_same(a, b)


def test_images_of_equal_scale_run_together(forced, monkeypatch):
    model, inputs = forced
    features, batches = model.spotter.features, []
    monkeypatch.setattr(
        model.spotter,
        "features",
        lambda images: batches.append(images.image_sizes) or features(images),
    )
    model(inputs)
    assert sorted(batches) == [[(29, 48)], [(48, 80)], [(77, 128)] * 2]


def test_coordinates_are_those_of_the_photograph(forced):
    """Against the student on views made by hand, image by image."""
    model, inputs = forced
    for x, output, choice in zip(inputs, model(inputs), CHOICE, strict=True):
        images, _ = model.spotter.preprocess([x])
        small = shrunk(images[0], ALL_SCALES[choice])
        (found,) = model.spotter.inference(small)
        result = output["instances"]
        assert result.image_size == (x["height"], x["width"])
        assert len(found) == len(result) > 0
        factor = np.array(
            [x["width"] / small.image_sizes[0][1], x["height"] / small.image_sizes[0][0]]
        )
        boxes = found.pred_boxes.tensor * torch.tensor(np.tile(factor, 2), dtype=torch.float32)
        torch.testing.assert_close(result.pred_boxes.tensor, boxes, rtol=1e-3, atol=0.05)
        for p, q in zip(result.pred_polygons, found.pred_polygons, strict=True):
            np.testing.assert_allclose(p, q * factor, rtol=1e-3, atol=0.05)
        assert result.pred_texts == found.pred_texts


def test_bias_slides_along_the_costs(model):
    inputs = make_photographs()
    seen = []
    for bias in (-1e4, -1.0, 0.0, 1.0, 1e4):
        model.policy.cost_bias = bias
        outputs = model(inputs)
        for output in outputs:
            position = model.scales.index(output["scale"])
            assert output["relative_cost"] == model.relative_cost[position].item()
        seen.append([o["relative_cost"] for o in outputs])
    model.policy.cost_bias = 0.0
    assert (np.diff(seen, axis=0) <= 0).all()
    assert set(seen[0]) == {model.relative_cost.max().item()}
    assert set(seen[-1]) == {model.relative_cost.min().item()}


def test_the_configured_bias_and_the_fixed_scale():
    inputs = make_photographs()[:2]
    biased = tiny_dynamic(MODEL__DYNAMIC__COST_BIAS=1e4)
    assert [o["scale"] for o in biased(inputs)] == [0.3, 0.3]
    for selection in ("fixed", "random"):
        fixed = tiny_dynamic(
            MODEL__DYNAMIC__POLICY=selection,
            MODEL__DYNAMIC__FIXED_SCALE=0.7,
        )
        assert [o["scale"] for o in fixed(inputs)] == [0.7, 0.7]


def test_inference_repeats_and_leaves_no_graph(model):
    first, second = model(make_batch()), model(make_batch())
    assert [o["scale"] for o in first] == [o["scale"] for o in second]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a["instances"].scores, b["instances"].scores)
        assert not a["instances"].scores.requires_grad


def test_images_without_any_word():
    model = tiny_dynamic(MODEL__ROI_HEADS__SCORE_THRESH_TEST=1.0)
    for output in model(make_photographs()):
        assert len(output["instances"]) == 0 and output["instances"].pred_texts == []
        assert output["scale"] in ALL_SCALES


def test_ground_truth_regions_are_read_at_the_chosen_scales(model, monkeypatch):
    words = [("one", (10, 10, 90, 40)), ("###", (10, 50, 60, 80)), ("two", (70, 50, 150, 90))]
    inputs = [make_input(words[: 3 - i], (96, 160), seed=i) for i in range(3)]
    monkeypatch.setattr(model.policy, "choose", lambda images, cost: torch.tensor([5, 0, 2]))
    seen = []
    monkeypatch.setattr(model.spotter, "read", lambda *arguments: seen.append(arguments) or ["x"])
    assert model.read_regions(inputs, model(inputs)) == [["x"]] * 3
    for (look, regions), item, index in zip(seen, inputs, (5, 0, 2), strict=True):
        scale = model.scales[index]
        assert look.size == (round(96 * scale), round(160 * scale)) == regions.image_size
        ratios = torch.tensor([look.size[1] / 160, look.size[0] / 96]).repeat(2)
        truth = item["instances"]
        expected = truth.gt_boxes.tensor[~truth.gt_ignore] * ratios
        torch.testing.assert_close(regions.gt_boxes.tensor, expected)


def test_each_image_is_passed_once(model):
    """Found, read where it was found, and read where the ground truth says."""
    inputs = make_batch()
    passes = []
    handle = model.spotter.backbone.register_forward_hook(
        lambda module, images, output: passes.append(len(images[0]))
    )
    outputs = model(inputs)
    texts = model.read_regions(inputs, outputs)
    handle.remove()
    assert sum(passes) == 3 and [len(each) for each in texts] == [2, 1, 0]
    assert texts == [model.read_regions([x], model([x]))[0] for x in inputs]
    # Where there is no ground truth nothing is kept for it.
    assert "look" in outputs[0]
    plain = [{k: v for k, v in x.items() if k != "instances"} for x in inputs]
    assert all("look" not in output for output in model(plain))


def test_it_is_trained_by_distillation_alone():
    with pytest.raises(RuntimeError, match="trained by distillation"):
        tiny_dynamic().train()(make_batch())


def test_costs_are_part_of_the_state(tmp_path):
    model = tiny_dynamic()
    costs = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    model.relative_cost.copy_(costs)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    other = tiny_dynamic()
    assert not torch.equal(other.relative_cost, costs)
    SpotterCheckpointer(other).load_exactly(str(tmp_path / "model.pth"))
    assert torch.equal(other.relative_cost, costs)


def test_a_checkpoint_of_version_0_1_is_read(tmp_path):
    """It named the spotter a student, kept the reader beside the heads, and had no costs."""
    model = tiny_dynamic()
    old = {
        name.replace("spotter.", "student.").replace("roi_heads.text_head.", "recognition."): value
        for name, value in model.state_dict().items()
        if name != "relative_cost"
    } | {"aligner.weight": torch.zeros(1)}
    assert any(name.startswith("student.recognition.decoder") for name in old)
    torch.save({"model": old}, tmp_path / "old.pth")
    other = tiny_dynamic(MODEL__DYNAMIC__COST_EXPONENT=3.0)
    costs = other.relative_cost.clone()
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    SpotterCheckpointer(other).load_exactly(str(tmp_path / "old.pth"))
    for name, value in other.state_dict().items():
        expected = costs if name == "relative_cost" else model.state_dict()[name]
        assert torch.equal(value, expected), name
    current = dict(model.state_dict())
    assert current_names(current) is current


def test_the_selector_counts_where_it_chooses(model):
    parts = cost_of(model).table(96, 160, scale=0.5).parts
    assert parts[0].selects and parts[0].per_image > 0
    assert not any(part.selects for part in cost_of(model.spotter).table(48, 80).parts)
