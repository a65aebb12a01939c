"""Don't-care regions are neither positives nor negatives."""

import pytest
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage
from tiny_spotter import make_input, tiny_spotter

WORD, IGNORED = (10.0, 10.0, 60.0, 26.0), (90.0, 50.0, 150.0, 80.0)


@pytest.fixture(autouse=True)
def storage():
    with EventStorage(0):
        yield


@pytest.fixture(scope="module")
def spotter():
    spotter = tiny_spotter()
    # Sample everything, so that a wrong label cannot hide.
    spotter.proposal_generator.batch_size_per_image = 100_000
    spotter.roi_heads.batch_size_per_image = 100_000
    return spotter


def targets(*words) -> Instances:
    return make_input(list(words))["instances"]


def anchors_of(spotter, size=(96, 160)) -> list[Boxes]:
    features = spotter.backbone(torch.zeros(1, 3, *size))
    names = spotter.proposal_generator.in_features
    return spotter.proposal_generator.anchor_generator([features[name] for name in names])


def test_anchors(spotter):
    anchors = anchors_of(spotter)
    label = spotter.proposal_generator.label_and_sample_anchors
    with_ignored, _ = label(anchors, [targets(("word", WORD), ("###", IGNORED))])
    without, _ = label(anchors, [targets(("word", WORD))])
    as_word, _ = label(anchors, [targets(("word", WORD), ("other", IGNORED))])
    boxes = Boxes.cat(anchors).tensor
    width = (boxes[:, 2].clamp(max=150) - boxes[:, 0].clamp(min=90)).clamp(min=0)
    height = (boxes[:, 3].clamp(max=80) - boxes[:, 1].clamp(min=50)).clamp(min=0)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    covered = width * height / area > 0.5
    assert covered.sum() > 20
    # Nothing in the region has a label, everything else has the one it would have without it.
    assert (with_ignored[0][covered] == -1).all()
    assert (without[0][covered] == 0).any()
    assert (as_word[0][covered] == 1).any()
    torch.testing.assert_close(with_ignored[0][~covered], without[0][~covered])
    assert (with_ignored[0] == 1).any()


def test_an_image_with_nothing_but_dont_care(spotter):
    labels, matched = spotter.proposal_generator.label_and_sample_anchors(
        anchors_of(spotter), [targets(("###", IGNORED)), targets()]
    )
    assert not (labels[0] == 1).any() and not (labels[1] == 1).any()
    assert (labels[1] == 0).any()
    assert matched[0].shape == matched[1].shape


def test_proposals(spotter):
    near_word = [12.0, 9.0, 61.0, 27.0]
    candidates = {
        "positive": near_word,
        "background": [0.0, 60.0, 40.0, 90.0],
        "in the region": [95.0, 52.0, 140.0, 78.0],
        "just the region": list(IGNORED),
        "half out of the region": [60.0, 50.0, 110.0, 80.0],
    }
    proposals = Instances((96, 160))
    proposals.proposal_boxes = Boxes(torch.tensor(list(candidates.values())))
    proposals.objectness_logits = torch.zeros(len(candidates))
    spotter.train()
    (sampled,) = spotter.roi_heads.label_and_sample_proposals(
        [proposals], [targets(("word", WORD), ("###", IGNORED))]
    )
    found = {
        name: sampled.gt_classes[(sampled.proposal_boxes.tensor == torch.tensor(box)).all(dim=1)]
        for name, box in candidates.items()
    }
    assert found["positive"].tolist() == [0]
    assert found["background"].tolist() == [1]
    assert found["in the region"].tolist() == []
    assert found["just the region"].tolist() == []
    assert found["half out of the region"].tolist() == [1]
    # Ground truth is added to the proposals: the word only.
    ious = pairwise_iou(sampled.proposal_boxes, Boxes(torch.tensor([IGNORED])))
    assert ious.max() < 0.9


def test_a_word_within_a_dont_care_region_stays_a_positive(spotter):
    inner = (100.0, 55.0, 130.0, 70.0)
    proposals = Instances((96, 160))
    proposals.proposal_boxes = Boxes(torch.tensor([list(inner)]))
    proposals.objectness_logits = torch.zeros(1)
    spotter.train()
    (sampled,) = spotter.roi_heads.label_and_sample_proposals(
        [proposals], [targets(("word", inner), ("###", IGNORED))]
    )
    assert set(sampled.gt_classes.tolist()) == {0}
