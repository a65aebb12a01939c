"""The spotter under the contract."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from perceptron import FIRST, SECOND, perceptron, perceptron_cfg, perfect_perceptron
from tiny_spotter import CONFIGS, make_input, sided_input, tiny_spotter

from dld_d2.distillation.distiller import Distiller
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.attention_text_head import recognition_loss
from dld_d2.modeling.spotters.text_perceptron import found_words
from dld_d2.modeling.spotters.text_perceptron.found_words import find_words
from dld_d2.modeling.spotters.text_perceptron.head import DetectionMaps
from dld_d2.modeling.spotters.text_perceptron.side_regions import SideRegions
from dld_d2.modeling.spotters.text_perceptron.targets import draw_targets

DETECTION = {
    *("loss_seg_centre", "loss_seg_head", "loss_seg_tail", "loss_seg_boundary"),
    *("loss_reg_head", "loss_reg_tail", "loss_reg_centre"),
}
WANT = ("roi", "context", "score_map", "detection_loss")


@pytest.fixture(scope="module")
def spotter():
    return perceptron().eval()


def test_what_lies_beside_an_image_shows_in_no_word(spotter):
    """But for the one cell that a 3x3 convolution reaches: laying words straight adds nothing to
    what padding changes in a backbone's features."""
    images, targets = spotter.preprocess([sided_input(SECOND, seed=1)])
    feature = spotter.features(images)[spotter.in_feature]
    beside = torch.full((1, 16, 32, 56), 1e3)
    beside[..., :24, :40] = feature
    regions = SideRegions.from_targets(targets)
    (roi, context), (expected_roi, expected_context) = (
        spotter.text_head.encode({spotter.in_feature: feature}, regions)
        for feature in (beside, feature)
    )
    assert regions.boxes[:, 2:].le(torch.tensor([152.0, 88.0])).all()
    torch.testing.assert_close(roi, expected_roi)
    torch.testing.assert_close(context, expected_context)


def test_losses_and_recognition_of_one_pass(spotter):
    spotter = perceptron(MODEL__TEXT_PERCEPTRON__THIN_BACKGROUND=False).train()
    images, targets = spotter.preprocess([sided_input(FIRST)])
    losses, reading = spotter.losses(images, targets, WANT)
    assert set(losses) == DETECTION | {"loss_rec", "loss_ctc"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    torch.testing.assert_close(losses["loss_rec"], recognition_loss(reading.logits, reading.texts))
    # "naïve" cannot be read, but is to be found; "###" is neither.
    assert len(reading) == 1
    drawn = draw_targets(targets, (24, 40), spotter.rule)
    assert drawn.labels[0, 10:13, 2:15].any()
    assert not drawn.weight[0, 13:20, 23:37].any()


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_of_the_backbone_stay_or_follow(frozen):
    spotter = perceptron(MODEL__BACKBONE__FREEZE_STATISTICS=frozen).train()
    before = {name: buffer.clone() for name, buffer in spotter.named_buffers()}
    spotter([sided_input(FIRST)])
    changed = {n for n, b in spotter.named_buffers() if not b.equal(before[n])}
    assert any(name.startswith("backbone.") for name in changed) != frozen
    assert any(name.startswith("text_head.") for name in changed)


def test_regions_are_jittered_alike_for_all_and_detection_is_not():
    spotter = perceptron(MODEL__ROI_TEXT_HEAD__JITTER=0.3).eval()
    images, targets = spotter.preprocess([sided_input(FIRST)])
    exact, moved = spotter.recognize(images, targets, WANT), spotter.perturb(targets)
    losses = spotter.losses(images, targets)[0], spotter.losses(images, moved)[0]
    for name in DETECTION:
        torch.testing.assert_close(*(part[name] for part in losses))
    twice = [spotter.recognize(images, moved, WANT).context for _ in range(2)]
    torch.testing.assert_close(*twice)
    assert (twice[0] - exact.context).abs().max() > 1e-4


def test_words_are_found_where_they_are_and_read_as_given_regions(spotter, monkeypatch):
    inputs = [sided_input(FIRST[:1]), sided_input([]), sided_input(SECOND[1:])]
    images, targets = spotter.preprocess(inputs)
    perfect_perceptron(monkeypatch, spotter, images, targets)
    twice = [{**x, "height": 2 * x["height"], "width": 3 * x["width"]} for x in inputs]
    outputs = spotter(twice)
    texts = spotter.read_regions(twice, outputs)
    assert [len(output["instances"]) for output in outputs] == [1, 0, 2]
    for output, item, read in zip(outputs, inputs, texts, strict=True):
        found = output["instances"]
        assert found.image_size == (192, 480)
        expected = item["instances"].gt_boxes.tensor * torch.tensor([3, 2, 3, 2])
        torch.testing.assert_close(found.pred_boxes.tensor, expected, atol=0.01, rtol=0)
        for polygon, box in zip(found.pred_polygons, expected.numpy(), strict=True):
            assert polygon.shape == (14, 2) and polygon.dtype == np.float32
            np.testing.assert_allclose(polygon[[0, 7]], box.reshape(2, 2), atol=0.01)
        assert found.pred_texts == read
        assert ((found.text_scores >= 0) & (found.text_scores <= 1)).all()
        assert found.scores.tolist() == pytest.approx([1.0] * len(found), abs=1e-3)


def test_words_of_low_scores_and_too_many_are_left_out(spotter, monkeypatch):
    images, targets = spotter.preprocess([sided_input(SECOND[1:])])
    perfect_perceptron(monkeypatch, spotter, images, targets)
    monkeypatch.setattr(spotter, "max_words", 1)
    assert len(spotter.inference(images)[0]) == 1
    monkeypatch.setattr(spotter, "score_threshold", 1.01)
    (found,) = spotter.inference(images)
    assert len(found) == 0 and found.pred_texts == [] and found.pred_polygons == []


def test_the_order_of_kinds_where_several_show(spotter, monkeypatch):
    scores = torch.full((1, 4, 24, 40), -10.0)
    scores[0, 0] = 10  # centre everywhere
    scores[0, 1, :, :20] = scores[0, 2, :, 8:16] = scores[0, 3, :, :12] = 10
    seen = []

    def look(cells, size, *args):
        seen.append(cells)
        return find_words(cells, size, *args)

    monkeypatch.setattr(found_words, "find_words", look)
    images, _ = spotter.preprocess([sided_input([])])
    spotter._words(images, DetectionMaps(scores, torch.zeros(1, 12, 24, 40)))
    (cells,) = seen
    labels = np.zeros((24, 40), dtype=int)
    labels[cells.row, cells.column] = cells.label
    expected = [4] * 12 + [3] * 4 + [2] * 4 + [1] * 20  # boundary, tail, head, centre
    assert (labels == expected).all()


def test_cost_of_the_published_network():
    """10^9 multiply-adds at 896 x 1344: the head 203, the reader's convolution on the map 44.4."""
    config = str(CONFIGS / "text_perceptron" / "Base-TextPerceptron-R50-FPN.yaml")
    on_map = ["MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", "map"]
    meter = SpotterCost(build_model(setup_cfg(config, ["MODEL.DEVICE", "cpu", *on_map])))
    table = meter.table(896, 1344)
    cost = {part.name: part.per_image / 1e9 for part in table.parts}
    assert cost["head"] == pytest.approx(202.6, abs=0.2)
    assert cost["shape transform, conv on map"] == pytest.approx(44.4, abs=0.1)
    published = cost["backbone, bottom-up"] + cost["FPN"] + cost["head"]
    assert table.published == pytest.approx(published * 1e9)
    assert meter.table(896, 1344, num_regions=10, num_characters=5).total > table.total


def test_ground_truth_without_sides_is_refused(spotter):
    images, targets = spotter.preprocess([make_input(FIRST)])
    with pytest.raises(ValueError, match=r"no gt_sides.*TextDatasetMapper gives them"):
        spotter.recognize(images, targets)
    with pytest.raises(ValueError, match="gt_sides"):
        spotter.losses(images, targets)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TARGETS", "lines", "'lines'; expected one of 'cells', 'pixels'"),
        ("HEAD.CONV_DIM", "0", "0; expected a whole number of at least 1"),
        ("HEAD.NORM", "Batch", "'Batch'; expected one of '', 'BN'"),
        ("CENTRE_LOSS_WEIGHT", "-1.0", "-1.0; expected a number of at least 0"),
        ("BOND_THRESH_TEST", "1.5", "1.5; expected a number of at least 0 and at most 1"),
        ("IN_FEATURE", "", "''; expected the name of a feature map"),
        ("IN_FEATURE", "p9", "'p9', only p2"),
        ("IN_FEATURE", "p3", "p3 has a stride of 8"),
    ],
)
def test_values_that_cannot_be_used_are_named(key, value, message):
    with pytest.raises(ValueError, match=rf"MODEL\.TEXT_PERCEPTRON\.{key}.*{message}"):
        perceptron(**{f"MODEL__TEXT_PERCEPTRON__{key}": value})


def test_it_starts_from_a_mask_rcnn_spotters_features_and_reader(tmp_path):
    # A reader of another size in part: what fits is taken.
    other = tiny_spotter(MODEL__ROI_TEXT_HEAD__DECODER__HIDDEN_DIM=8)
    torch.save({"model": other.state_dict()}, tmp_path / "w.pth")
    spotter = perceptron()
    before = spotter.text_head.decoder.classifier.weight.clone()
    SpotterCheckpointer(spotter).load(str(tmp_path / "w.pth"))
    head = other.roi_heads.text_head
    for own, given in (
        (spotter.text_head.roi_masking.conv.weight, head.roi_masking.conv.weight),
        (spotter.text_head.context.linears[0].weight, head.context.linears[0].weight),
        (spotter.backbone.fpn_output2.weight, other.backbone.fpn_output2.weight),
        (spotter.text_head.decoder.classifier.weight, before),
    ):
        assert own.equal(given)


DLD = {
    "MODEL__META_ARCHITECTURE": "DynamicSpotter",
    "MODEL__DYNAMIC__SPOTTER": "TextPerceptronSpotter",
    "MODEL__DYNAMIC__SCALES": "(0.5, 0.8)",
    "MODEL__DYNAMIC__COST": "power",
    "MODEL__DYNAMIC__SELECTOR__CHANNELS": "(4, 8, 8, 8)",
    "MODEL__DISTILL__TERMS": "('roi', 'context', 'sequence', 'score_map')",
    "MODEL__DISTILL__SEQUENCE__BEAM_WIDTH": 2,
    "MODEL__DISTILL__SELECTOR__DETECTION_WEIGHT": 1.0,
}


def test_score_maps_reach_the_head_alone():
    torch.manual_seed(0)
    cfg = perceptron_cfg(**DLD | {"MODEL__DISTILL__TERMS": "('score_map',)"})
    distiller = Distiller(cfg, build_model(cfg), build_spotter(cfg)).train()
    loss = distiller([sided_input(FIRST)])["loss_map"]
    loss.backward()
    student = distiller.student.spotter
    assert student.head.scores.weight.grad.abs().sum() > 0
    assert student.head.offsets.weight.grad is None
    assert all(p.grad is None for p in student.text_head.parameters())
