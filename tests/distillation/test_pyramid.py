"""L_pyr against loops over cells, with an ordinary teacher and with one of two resolutions."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from distiller_to_train import distiller_cfg, make_batch, tiny_distiller
from lower_precision import lstms_in_lower_precision

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.terms.pyramid import PyramidTerm, pyramid_distance
from dld_d2.engine.config_sources import ConfigError
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.recognition.reading import Pyramid

HALF = {"MODEL__DYNAMIC__POLICY": "fixed", "MODEL__DYNAMIC__FIXED_SCALE": 0.5}
PYRAMID = {**HALF, "MODEL__DISTILL__TERMS": ("pyramid",)}
FUSED = {"MODEL__DYNAMIC__SPOTTER": "MultiScaleTeacher"}
NO_RAMP = {"MODEL__DISTILL__PYRAMID__RAMP_ITERS": 0}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.manual_seed(seed), dtype=torch.float64)


SIZES = [(12, 20), (9, 17)]  # of images of two cells and three in stride 8, padded to 16 x 24


def naive_distance(student, teacher, stride):
    values = []
    for image, (height, width) in enumerate(SIZES):
        for y in range(min(student.shape[2], teacher.shape[2])):
            for x in range(min(student.shape[3], teacher.shape[3])):
                if y * stride < height and x * stride < width:
                    for c in range(student.shape[1]):
                        difference = student[image, c, y, x] - teacher[image, c, y, x]
                        values.append(abs(difference.item()))
    return sum(values) / len(values)


@pytest.mark.parametrize("teacher_shape", [(4, 6), (5, 8), (3, 5)], ids=str)
def test_it_equals_loops(teacher_shape):
    student, teacher = draw(2, 3, 4, 6, seed=1), draw(2, 3, *teacher_shape, seed=2)
    found = pyramid_distance(student, teacher, SIZES, 4)
    assert found.item() == pytest.approx(naive_distance(student, teacher, 4), rel=1e-12)


def test_equal_maps_cost_nothing_and_padding_never_does():
    student = draw(2, 3, 4, 6).requires_grad_()
    assert pyramid_distance(student, student.detach(), SIZES, 4).item() == 0
    other = draw(2, 3, 4, 6)
    other[1, :, :, 5:] += 1  # beyond 17 pixels
    loss = pyramid_distance(student, other, SIZES, 4)
    loss.backward()
    assert loss.item() == 0 and not student.grad.any()


def test_its_gradient_reaches_the_student_alone():
    student, teacher = (draw(2, 3, 4, 6, seed=i).requires_grad_() for i in (1, 2))
    pyramid_distance(student, teacher, SIZES, 4).backward()
    assert student.grad.any() and teacher.grad is None
    assert not student.grad[1, :, 3:].any()  # an image of 9 pixels has three rows of cells


def test_widths_that_differ_are_named():
    with pytest.raises(ValueError, match=r"L_pyr: .* 3 channels, the teacher's 4"):
        pyramid_distance(draw(2, 3, 4, 6), draw(2, 4, 4, 6), SIZES, 4)


def pyramids(sizes, strides, seed=0):
    shapes = [
        (-(-max(h for h, _ in sizes) // s), -(-max(w for _, w in sizes) // s)) for s in strides
    ]
    levels = {
        f"l{s}": draw(len(sizes), 2, *shape, seed=seed + s)
        for s, shape in zip(strides, shapes, strict=True)
    }
    return Pyramid(levels, {f"l{s}": s for s in strides}, sizes)


class Read:
    """Of a reading, what the term looks at."""

    def __init__(self, pyramid):
        self.features = {"pyramid": pyramid}


def test_each_level_goes_with_the_next_one_of_the_teacher():
    """Four pairs of five levels; the finest of the teacher and the coarsest of the student have
    none."""
    strides = (4, 8, 16, 32, 64)
    student, teacher = pyramids([(48, 80)], strides), pyramids([(96, 160)], strides, seed=9)
    found = PyramidTerm(weight=0.6)(Read(student), Read(teacher))["loss_pyramid"]
    expected = sum(
        (student.levels[f"l{s}"] - teacher.levels[f"l{2 * s}"]).abs().mean() for s in strides[:-1]
    )
    torch.testing.assert_close(found, 0.6 * expected)


@pytest.mark.parametrize(
    ("ramp", "iteration", "factor"), [(500, 0, 1 / 500), (500, 249, 0.5), (500, 9000, 1), (0, 0, 1)]
)
def test_its_weight_rises(ramp, iteration, factor):
    student, teacher = pyramids([(48, 80)], (4,)), pyramids([(96, 160)], (8,), seed=9)
    term = PyramidTerm(weight=0.6, ramp=ramp)
    whole = term(Read(student), Read(teacher))["loss_pyramid"]
    with EventStorage(iteration):
        found = term(Read(student), Read(teacher))["loss_pyramid"]
    torch.testing.assert_close(found, factor * whole)


@pytest.mark.parametrize("autocast", [False, True], ids=["single", "bfloat16"])
@pytest.mark.parametrize("words", [True, False], ids=["words", "no words"])
@pytest.mark.parametrize("teacher", [{}, FUSED], ids=["high", "fused"])
def test_a_step(teacher, words, autocast):
    wider = {"MODEL__FPN__OUT_CHANNELS": 24, **teacher}
    distiller = tiny_distiller(teacher=wider, **PYRAMID)
    inputs = make_batch() if words else make_batch([[], [], []])
    half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast)
    with EventStorage(0), lstms_in_lower_precision(), half:
        losses = distiller(inputs)
    assert losses["loss_pyramid"] > 0  # images are there without words as well
    sum(losses.values()).backward()
    parameters = dict(distiller.named_parameters())
    assert [n for n, p in parameters.items() if p.grad is None or not p.grad.isfinite().all()] == []
    own = {n: p for n, p in parameters.items() if n.startswith("terms.")}
    assert len(own) == 8 and all(p.grad.any() for p in own.values())
    assert all(p.grad is None for p in distiller.teacher.parameters())


def test_a_multi_scale_teacher_teaches_fused_maps():
    distiller = tiny_distiller(teacher=FUSED, **PYRAMID, **NO_RAMP).eval()
    teacher, student = distiller.teacher, distiller.student
    images, targets = student.spotter.preprocess(make_batch())
    seen = teacher.recognize(images, targets, ("pyramid",)).features["pyramid"]
    view, view_targets = student.view_with_targets(images, targets, [2] * 3)
    own = student.spotter.recognize(view, view_targets, ("pyramid",)).features["pyramid"]
    assert list(seen.levels) == ["p3", "p4", "p5", "p6"] and seen.sizes == images.image_sizes
    high, low = (teacher.backbone(x.tensor) for x in (images, view))
    expected = 0
    for name, coarser in zip(own.levels, seen.levels, strict=False):
        assert seen.levels[coarser].shape == low[name].shape
        lies_between(seen.levels[coarser], high[coarser], low[name])
        expected = expected + pyramid_distance(
            own.levels[name], seen.levels[coarser], own.sizes, own.strides[name]
        )
    found = distiller.terms[0](Read(own), Read(seen))["loss_pyramid"]
    torch.testing.assert_close(found, 0.6 * expected)


def lies_between(fused, high, low):
    """One share of both for each image."""
    height, width = (min(a, b) for a, b in zip(high.shape[2:], low.shape[2:], strict=True))
    fused, high, low = (x[..., :height, :width].flatten(1).double() for x in (fused, high, low))
    share = ((fused - low) * (high - low)).sum(1) / (high - low).square().sum(1)
    assert ((share > 0) & (share < 1)).all()
    torch.testing.assert_close(fused, low + share[:, None] * (high - low), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"POLICY": "selector"},
            r"POLICY is 'selector'.*expected 'fixed', with .*FIXED_SCALE 0\.5",
        ),
        ({"POLICY": "random"}, r"POLICY is 'random'.*expected 'fixed'"),
        ({"POLICY": "fixed", "FIXED_SCALE": 0.6}, r"FIXED_SCALE is 0\.6; expected 0\.5 where"),
    ],
    ids=str,
)
def test_another_scale_is_refused(changes, message):
    changes = {f"MODEL__DYNAMIC__{key}": value for key, value in changes.items()}
    with pytest.raises(ConfigError, match=message):
        distiller_cfg(MODEL__DISTILL__TERMS=("pyramid",), **changes)


def test_one_candidate_of_one_half_will_do():
    cfg = distiller_cfg(MODEL__DISTILL__TERMS=("pyramid",), MODEL__DYNAMIC__SCALES=(0.5,))
    assert cfg.MODEL.DYNAMIC.POLICY == "selector"


def test_a_step_at_another_scale_is_refused():
    """As of a script that sets keys itself."""
    distiller = tiny_distiller(**PYRAMID)
    distiller.student.policy.index = 3
    message = (
        r"L_pyr: the student sees an image of \(96, 160\) pixels at \(58, 96\); levels line up"
    )
    with EventStorage(0), pytest.raises(ValueError, match=message):
        distiller(make_batch())


def test_spotters_of_one_level_are_refused():
    cfg = distiller_cfg(MODEL__DYNAMIC__SPOTTER="TextPerceptronSpotter", **PYRAMID)
    with pytest.raises(ValueError, match="pyramid needs the features pyramid, which the student"):
        Distiller(cfg, build_model(cfg), build_spotter(cfg))


def test_widths_that_differ_within_a_pyramid_are_refused():
    cfg = distiller_cfg(**PYRAMID)
    student, teacher = build_model(cfg), build_spotter(cfg)

    class Ragged(type(teacher)):
        feature_shapes = {"pyramid": None}  # noqa: RUF012

    teacher.__class__ = Ragged
    with pytest.raises(ValueError, match=r"L_pyr: .*\(16, 4, .*None for the teacher.*out of MODEL"):
        Distiller(cfg, student, teacher)
