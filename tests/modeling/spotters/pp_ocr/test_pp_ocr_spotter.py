"""The contract, answered by the spotter of photographs."""

import numpy as np
import pytest
import torch
from photo_spotter import FIRST, SECOND, photo_spotter
from tiny_spotter import make_input, sided_input

from dld_d2.structures.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def spotter():
    return photo_spotter().eval()


def test_positions_go_with_the_shape_of_words(spotter):
    inputs = [sided_input(FIRST), sided_input(SECOND, seed=1)]
    images, targets = spotter.preprocess(inputs)
    want = ("roi", "context", "score_map", "detection_loss")
    reading = spotter.recognize(images, targets, want)
    assert reading.image_index.tolist() == [0, 0, 1]  # Hello, to, be
    assert reading.texts[:, 0].tolist() == [ord(c) - 32 for c in "Htb"]
    # 50 x 16, 30 x 15 and 50 x 22 pixels at a height of 48, to the nearest 32.
    lengths = torch.tensor([160, 96, 96]) // 8
    assert reading.context.shape == (3, 20, 120)
    assert reading.valid.sum(dim=1).tolist() == lengths.tolist()
    assert reading.features["roi"].shape == (3, 96, 12, 40)
    assert reading.features["score_map"].logits.shape == (2, 1, 96, 160)
    assert reading.features["detection_loss"].shape == (2,)


def test_perturbed_regions_are_the_same_for_all_and_other_each_time(spotter):
    _, targets = spotter.preprocess([sided_input(FIRST)])
    torch.manual_seed(0)
    first, second = spotter.perturb(targets)[0], spotter.perturb(targets)[0]
    words = ~targets[0].gt_ignore
    assert not torch.equal(first.gt_sides[words], second.gt_sides[words])
    assert (first.gt_sides - targets[0].gt_sides)[words].abs().max() > 0
    torch.testing.assert_close(first.gt_boxes.tensor, targets[0].gt_boxes.tensor)


@pytest.mark.parametrize("part", ["detector", "recogniser"])
def test_what_does_not_learn_has_neither_losses_nor_gradients(part):
    spotter = photo_spotter(MODEL__PP_OCR__LEARN=f"('{part}',)").train()
    losses = spotter([sided_input(FIRST)])
    detection = {"loss_score", "loss_border", "loss_binary"}
    assert set(losses) == (detection if part == "detector" else {"loss_rec"})
    sum(losses.values()).backward()
    learnt = {
        name.split(".")[0] for name, value in spotter.named_parameters() if value.grad is not None
    }
    assert learnt == ({"detector"} if part == "detector" else {"recogniser", "decoder"})


def paint(spotter, monkeypatch, boxes, size, texts):
    """Let the detector see cores of text, and the decoder read what is given, region by region, the
    lowest first."""
    score = torch.full((1, *size), -10.0)
    for x0, y0, x1, y1 in boxes:
        score[0, y0:y1, x0:x1] = 10.0
    monkeypatch.setattr(spotter.detector, "forward", lambda images: score)
    rows = iter(texts)

    def read(context):
        classes = Vocabulary().encode
        logits = torch.full((*context.shape[:2], spotter.decoder.blank + 1), -10.0)
        logits[..., spotter.decoder.blank] = 0.0
        for row in range(len(context)):
            text = next(rows)
            for i, c in enumerate(classes(text, 32)[: len(text)]):
                logits[row, 2 * i, c] = 10.0
        return logits

    monkeypatch.setattr(spotter.decoder, "forward", read)


def test_found_cores_grow_to_words_and_lines_fall_apart_at_spaces(spotter, monkeypatch):
    size = (128, 320)
    paint(spotter, monkeypatch, [(40, 30, 240, 40), (40, 80, 100, 90)], size, ["or", "to be"])
    images, _ = spotter.preprocess([{"image": torch.zeros(3, *size), "height": 128, "width": 320}])
    (found,) = spotter.inference(images)
    by_text = dict(zip(found.pred_texts, found.pred_polygons, strict=True))
    assert sorted(by_text) == ["be", "or", "to"]
    word = by_text["or"]
    # D by which a rectangle was shrunk to 60 x 10, see `regions_of`.
    d = (40 - word[:, 0].min() + 80 - word[:, 1].min()) / 2
    area, length = (60 + 2 * d) * (10 + 2 * d), 2 * (60 + 10 + 4 * d)
    assert d == pytest.approx(area * 0.84 / length, rel=1e-3)
    np.testing.assert_allclose(word[:, 0].max() - 100, d, atol=1e-3)
    # "o" shows at position 2 of the line, the space at 4, "b" at 6, see `parts_of_line`; how many
    # positions there are is told by the line's shape.
    line = np.concatenate([by_text["to"], by_text["be"]])
    width, height = np.ptp(line, axis=0)
    gap = by_text["be"][:, 0].min() - by_text["to"][:, 0].max()
    assert gap / width == pytest.approx(2 / (4 * round(48 * width / height / 32)), rel=0.01)
    assert (found.text_scores > 0.99).all() and (found.scores > 0.99).all()
    assert found.pred_boxes.tensor.shape == (3, 4)


def test_what_is_read_without_confidence_is_left_out(spotter, monkeypatch):
    size = (64, 160)
    paint(spotter, monkeypatch, [(20, 20, 60, 30)], size, ["or"])
    images, _ = spotter.preprocess([{"image": torch.zeros(3, *size), "height": 64, "width": 160}])
    monkeypatch.setattr(spotter, "text_threshold", 1.01)
    assert len(spotter.inference(images)[0]) == 0


def test_an_image_without_words(spotter, monkeypatch):
    paint(spotter, monkeypatch, [], (64, 160), [])
    images, _ = spotter.preprocess([{"image": torch.zeros(3, 64, 160), "height": 64, "width": 160}])
    (found,) = spotter.inference(images)
    assert len(found) == 0 and found.pred_polygons == []


def test_losses_of_detection_and_of_reading():
    losses = photo_spotter().train()([sided_input(FIRST)])
    assert set(losses) == {"loss_score", "loss_border", "loss_binary", "loss_rec"}


def test_given_regions_are_read_as_in_training(spotter):
    item = sided_input(FIRST)
    output = spotter([item])
    (texts,) = spotter.read_regions([item], output)
    reading = spotter.recognize(*spotter.preprocess([item]))
    classes, _ = spotter.decoder.greedy(reading.context, 32)
    assert texts == [spotter.vocabulary.decode(row).strip() for row in classes.tolist()]


def test_ground_truth_without_sides_is_refused(spotter):
    images, targets = spotter.preprocess([make_input(FIRST)])
    with pytest.raises(ValueError, match="gt_sides"):
        spotter.recognize(images, targets)


@pytest.mark.parametrize(
    ("key", "value"), [("LEARN", "('reader',)"), ("LEARN", "()"), ("JITTER", "(0.1, 0.7)")]
)
def test_values_that_cannot_be_used_are_named(key, value):
    with pytest.raises(ValueError, match=f"MODEL.PP_OCR.{key}"):
        photo_spotter(**{f"MODEL__PP_OCR__{key}": value})
