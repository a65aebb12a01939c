"""Detection in distillation: score maps as a term, and detection in choosing scales."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from distiller_to_train import tiny_distiller
from photo_spotter import FIRST, SECOND, photo_cfg
from tiny_spotter import sided_input

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.learning.best_scale import BestScaleLearning
from dld_d2.distillation.learning.gumbel import GumbelLearning
from dld_d2.distillation.learning.learning import Candidate, Choice
from dld_d2.distillation.spotting_errors import spotting_errors
from dld_d2.distillation.terms.score_map import on_grid_of, score_map_loss
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.recognition.reading import Reading, ScoreMap
from dld_d2.structures.vocabulary import Vocabulary

DLD = {
    "MODEL__META_ARCHITECTURE": "DynamicSpotter",
    "MODEL__DYNAMIC__SPOTTER": "PPOCRSpotter",
    "MODEL__DYNAMIC__SCALES": "(0.5, 1.0)",
    "MODEL__DYNAMIC__COST": "power",
    "MODEL__DYNAMIC__SELECTOR__CHANNELS": "(4, 8, 8, 8)",
    "MODEL__DISTILL__TERMS": "('roi', 'context', 'sequence', 'score_map')",
}


def photo_distiller(**changes):
    torch.manual_seed(0)
    cfg = photo_cfg(**DLD | changes)
    student = build_model(cfg)
    teacher = build_spotter(cfg)
    return Distiller(cfg, student, teacher).train()


def test_the_loss_of_a_map_is_the_divergence_of_coins_over_the_teachers_text():
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 3, 4, dtype=torch.float64), torch.rand(1, 3, 4).double()
    student.requires_grad_(True)
    expected = 0.0
    for z, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        p = 1 / (1 + np.exp(-z))
        expected += t * np.log(t / p) + (1 - t) * np.log((1 - t) / (1 - p))
    loss = score_map_loss(student, teacher)
    assert loss.item() == pytest.approx(expected / teacher.sum().item())
    loss.backward()
    gradient = (student.detach().sigmoid() - teacher) / teacher.sum()
    torch.testing.assert_close(student.grad, gradient)
    same = score_map_loss(torch.logit(teacher), teacher)
    assert abs(same.item()) < 1e-6


def test_a_map_without_text_gives_a_finite_loss_that_lowers_false_alarms():
    student = torch.zeros(1, 8, 8, requires_grad=True)
    loss = score_map_loss(student, torch.zeros(1, 8, 8))
    loss.backward()
    assert loss.item() == pytest.approx(64 * np.log(2), rel=1e-5) and (student.grad > 0).all()


def test_maps_are_compared_without_padding_on_the_students_grid():
    teacher = torch.full((1, 1, 64, 96), -20.0)
    teacher[..., 20:40, 40:80] = 20.0
    teacher[..., 60:, :] = teacher[..., 80:] = 20.0  # padding: an image of 60 x 80
    own, seen = on_grid_of(
        ScoreMap(torch.zeros(1, 1, 32, 64), [(30.0, 40.0)]), ScoreMap(teacher, [(60.0, 80.0)]), 0
    )
    assert own.shape == seen.shape == (1, 30, 40)
    expected = torch.zeros(30, 40)
    expected[10:20, 20:40] = 1
    inner = torch.ones(30, 40, dtype=torch.bool)
    inner[9:21, 19:] = False
    inner[11:19, 21:] = True
    torch.testing.assert_close(seen[0][inner], expected[inner], atol=1e-6, rtol=0)
    assert seen.sum() == pytest.approx(200, rel=0.02)


@pytest.mark.parametrize("autocast", [False, True])
def test_every_term_reaches_the_student_alone(autocast):
    distiller = photo_distiller()
    # Else the teacher would be the student, and there would be nothing to learn from it.
    for value in distiller.student.spotter.parameters():
        torch.nn.init.normal_(value, std=0.05) if value.ndim > 1 else None
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        losses = distiller([sided_input(FIRST), sided_input(SECOND, seed=1)])
    assert set(losses) == {
        *("loss_score", "loss_border", "loss_binary", "loss_rec"),
        *("loss_roi", "loss_con", "loss_seq", "loss_map", "loss_acc", "loss_flops"),
    }
    assert all(torch.isfinite(loss) for loss in losses.values())
    loss = losses["loss_map"]
    parts = {"detector": distiller.student.spotter.detector, "selector": distiller.student.policy}
    loss.backward(retain_graph=True)
    got = {
        name: any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
        for name, part in parts.items()
    }
    assert got == {"detector": True, "selector": False}
    sum(losses.values()).backward()
    for value in distiller.student.parameters():
        assert value.grad is not None
    assert all(value.grad is None for value in distiller.teacher.parameters())


def reading(**features):
    empty = torch.zeros(0, 1, 3)
    integers = torch.zeros(0, 1, dtype=torch.int64)
    return Reading(empty, integers, integers[:, 0], empty, None, features)


@pytest.mark.parametrize("kind", [GumbelLearning, BestScaleLearning])
def test_a_scale_is_chosen_by_what_goes_wrong_there(kind):
    """Two images, three scales: the first breaks below the last scale, the second nowhere."""
    learning = kind(accuracy_target="spotting", gamma=1.0)
    assert learning.by_spotting and not learning.reads and not learning.needs_teacher
    errors = torch.tensor([[3.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    cost = torch.tensor([0.1, 0.3, 1.0])
    logits = torch.zeros(2, 3, requires_grad=True)
    h = logits.softmax(dim=1)
    candidates = [Candidate(None, column) for column in errors.t()]
    losses = learning.losses(Choice(torch.tensor([0, 0]), h, logits), candidates, None, cost)
    sum(losses.values()).backward()
    assert logits.grad[0].argmin() == 2 and logits.grad[1].argmin() == 0
    if kind is GumbelLearning:
        expected = (errors.mean(dim=1).sum() / 2).item()
        assert losses["loss_acc"].item() == pytest.approx(expected)


class Unread:
    """What no words were read with."""

    def negative_log_likelihood(self, logits, texts):
        return torch.zeros(len(texts))


def test_detection_weighs_in_l_acc():
    learning = BestScaleLearning(accuracy_target="ground_truth", detection_weight=2.0)
    candidates = [
        Candidate(replace(reading(detection_loss=torch.tensor([loss])), decoder=Unread()))
        for loss in (0.5, 0.1)
    ]
    torch.testing.assert_close(learning.accuracy(candidates, None, 1), torch.tensor([[1.0, 0.2]]))


def test_detection_is_asked_of_a_spotter_that_tells_it():
    changes = {"MODEL__DISTILL__SELECTOR__DETECTION_WEIGHT": 1.0}
    losses = photo_distiller(**changes)([sided_input(FIRST)])
    assert torch.isfinite(losses["loss_acc"])
    with pytest.raises(ValueError, match=r"DETECTION_WEIGHT.*MaskRCNNSpotter"):
        tiny_distiller(**changes)


def target(*words, size=(100, 200)):
    item = sided_input(list(words), size)
    return item["instances"]


def found(*words, size):
    boxes = torch.tensor([box for _, box in words], dtype=torch.float32).view(-1, 4)
    instances = Instances(size, pred_boxes=Boxes(boxes))
    instances.pred_polygons = [
        np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float32)
        for x0, y0, x1, y1 in boxes.tolist()
    ]
    instances.pred_texts = [text for text, _ in words]
    return instances


def test_errors_are_counted_in_words_at_the_full_size():
    truth = target(
        ("Hello", (10, 10, 60, 30)),
        ("world", (80, 10, 130, 30)),
        ("###", (10, 60, 60, 90)),
        ("naïve", (100, 60, 150, 90)),  # not in the vocabulary: don't-care
        ("far", (160, 10, 190, 30)),
    )
    seen = found(
        ("HELLO", (5, 5, 30, 15)),  # right
        ("word", (40, 5, 65, 15)),  # misread: 1
        ("x", (5, 30, 30, 45)),  # in a don't-care region: 0
        ("naive", (50, 30, 75, 45)),  # likewise: 0
        ("ghost", (80, 35, 95, 45)),  # a false alarm: 1/2; "far" is missed: 1/2
        size=(50, 100),
    )
    errors = spotting_errors([seen, found(size=(50, 100))], [truth, target()], Vocabulary())
    assert errors.tolist() == [2.0, 0.0]


FROZEN = {
    "MODEL__DISTILL__FREEZE_STUDENT": True,
    "MODEL__DISTILL__SELECTOR__LEARNING": "best_scale",
    "MODEL__DISTILL__SELECTOR__ACCURACY_TARGET": "spotting",
    "INPUT__AUG__CROP_PROB": 0.0,
    "INPUT__AUG__ROTATION_PROB": 0.0,
    "INPUT__AUG__COLOR_PROB": 0.0,
    "INPUT__AUG__SCALE_RANGE": "(1.0, 1.0)",
}


@pytest.mark.parametrize("varies", [False, True])
def test_beside_a_frozen_student_candidates_are_passed_once_for_each_image(varies, monkeypatch):
    changes = {"INPUT__AUG__COLOR_PROB": 0.5} if varies else {}
    distiller = photo_distiller(**FROZEN | changes)
    calls = []
    candidates = distiller._candidates

    def counted(images, targets):
        calls.append(len(images))
        return candidates(images, targets)

    monkeypatch.setattr(distiller, "_candidates", counted)
    inputs = [sided_input(FIRST) | {"file_name": "a"}, sided_input(SECOND, seed=1)]
    inputs[1]["file_name"] = "b"
    torch.manual_seed(0)
    first = distiller(inputs)
    torch.manual_seed(0)
    again = distiller(inputs)
    assert sum(calls) == (4 if varies else 2)
    assert set(first) == {"loss_scale"}
    torch.testing.assert_close(first["loss_scale"], again["loss_scale"])
    distiller(inputs[::-1])["loss_scale"].backward()
    assert sum(calls) == (6 if varies else 2)
    assert all(p.grad is not None for p in distiller.student.policy.parameters())
