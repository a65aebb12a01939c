"""The network that looks first, and its losses."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.focus.chips import STRIDE
from dld_d2.modeling.focus.focus_map import FocusMap
from dld_d2.modeling.focus.targets import FocusTargets
from dld_d2.modeling.spotters.pp_ocr.detector import Detector

CONFIG = "configs/photo/focus.yaml"


def model(*opts):
    torch.manual_seed(0)
    return FocusMap(setup_cfg(CONFIG, ["MODEL.DEVICE", "cpu", *opts]))


def scene(number=0, height=200, width=320):
    """A picture with bright words, as the mapper gives them."""
    from detectron2.structures import Instances

    from dld_d2.structures.polygons import Polygons

    generator = np.random.default_rng(number)
    image = torch.full((3, height, width), 60, dtype=torch.uint8)
    boxes = []
    for _ in range(2):
        x, y = generator.integers(10, width - 90), generator.integers(10, height - 40)
        image[:, y : y + 24, x : x + 80 : 2] = 230
        boxes.append(np.array([[x, y], [x + 80, y], [x + 80, y + 24], [x, y + 24]], np.float32))
    instances = Instances(
        (height, width),
        gt_masks=Polygons.from_arrays(boxes),
        gt_ignore=torch.zeros(2, dtype=torch.bool),
    )
    return {"image": image, "instances": instances}


def test_it_starts_with_next_to_no_text_and_at_a_stride_of_8():
    looks = model().eval()
    text, height = looks.network(torch.randn(2, 3, 64, 96))
    assert text.shape == height.shape == (2, 64 // STRIDE, 96 // STRIDE)
    assert text.sigmoid().max() < 0.2 and (height > 0).all()


def test_it_starts_from_the_stages_of_a_detector():
    detector, looks = Detector(), model()
    looks.network.start_from(detector.backbone)
    image = torch.randn(1, 3, 64, 96)
    expected = detector.backbone.eval()(image)[:3]
    for mine, theirs in zip(looks.network.backbone.eval()(image), expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("number", [0, 2, 4])
def test_what_is_frozen_does_not_learn(number):
    looks = model("MODEL.FOCUS.FREEZE_AT", str(number)).train()
    losses = looks([scene(), scene(1)])
    sum(losses.values()).backward()
    backbone = looks.network.backbone
    for index, part in enumerate((backbone.stem, *backbone.stages)):
        for name, parameter in part.named_parameters():
            learns = parameter.grad is not None and parameter.grad.abs().sum() > 0
            assert parameter.requires_grad == (index >= number), name
            assert learns or index < number, name
    assert all(p.grad is not None for p in looks.network.output.parameters())


def test_the_losses_are_those_of_the_formulas():
    looks = model("MODEL.FOCUS.POSITIVE_WEIGHT", "3.0", "MODEL.FOCUS.HEIGHT_LOSS_WEIGHT", "0.5")
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(2, 3, 4, generator=generator, requires_grad=True)
    height = torch.rand(2, 3, 4, generator=generator) * 20 + 1
    wanted = FocusTargets(
        text=(torch.rand(2, 3, 4, generator=generator) > 0.6).float(),
        known=(torch.rand(2, 3, 4, generator=generator) > 0.3).float(),
        height=torch.rand(2, 3, 4, generator=generator) * 20 + 1,
    )
    losses = looks._losses(text, height, wanted)
    total = weights = octaves = positives = 0.0
    for z, t, k, h, w in zip(
        *(x.flatten().tolist() for x in (text, wanted.text, wanted.known, height, wanted.height)),
        strict=True,
    ):
        p = 1 / (1 + math.exp(-z))
        weight = k * (3.0 if t else 1.0)
        total += weight * -math.log(p if t else 1 - p)
        weights += weight
        octaves += k * t * abs(math.log2(h) - math.log2(w))
        positives += k * t
    assert losses["loss_focus"].item() == pytest.approx(total / weights, rel=1e-5)
    expected = 0.5 * octaves / positives
    assert losses["loss_focus_height"].item() == pytest.approx(expected, rel=1e-5)
    losses["loss_focus"].backward()
    assert (text.grad[wanted.known == 0] == 0).all()


def test_images_without_words_and_nothing_known_give_no_nan():
    looks = model()
    zero = torch.zeros(1, 3, 4)
    losses = looks._losses(zero, zero + 8, FocusTargets(zero, zero, zero))
    assert all(loss.item() == 0 for loss in losses.values())


def test_it_learns_two_scenes_by_heart_and_then_cuts_them():
    looks = model("MODEL.FOCUS.FREEZE_AT", "0").train()
    batch = [scene(0), scene(1, 160, 300)]
    optimizer = torch.optim.AdamW(looks.parameters(), lr=3e-3)
    first = None
    for _ in range(60):
        losses = looks(batch)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = first or loss.item()
    assert loss.item() < 0.3 * first
    for item, output in zip(batch, looks.eval()(batch), strict=True):
        for polygon in item["instances"].gt_masks.vertices.numpy():
            assert any(
                (polygon >= np.array(box[:2]) - 1).all()
                and (polygon <= np.array(box[2:]) + 1).all()
                for box, _ in output["chips"]
            )


def test_padding_changes_little():
    looks = model().eval()
    one, other = scene(0), scene(1, 160, 300)
    with torch.no_grad():
        views = [
            F.interpolate((x["image"][None] - looks.pixel_mean) / looks.pixel_std, scale_factor=0.3)
            for x in (one, other)
        ]
    assert views[0].shape != views[1].shape
    both, alone = looks([one, other]), [looks([x])[0] for x in (one, other)]
    assert both[0] == alone[0] and len(both[1]["chips"]) == len(alone[1]["chips"])
