"""A teacher that is another model than the student: wider, deeper, of another size of regions."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from distiller_to_train import distiller_cfg, make_batch, tiny_distiller
from lower_precision import lstms_in_lower_precision
from torch import nn

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.terms.roi import FeatureAligner, ResamplingAligner, roi_aligner
from dld_d2.engine.optimizer import build_optimizer
from dld_d2.modeling.build import build_spotter

TERMS = ("roi", "context", "sequence", "logits", "hint", "attention", "affinity")
FIXED = {"MODEL__DYNAMIC__POLICY": "fixed", "MODEL__DYNAMIC__FIXED_SCALE": 0.5}
WIDE = {
    "MODEL__FPN__OUT_CHANNELS": 24,
    "MODEL__ROI_TEXT_HEAD__POOLER_CONV_DIM": 24,
    "MODEL__ROI_TEXT_HEAD__ENCODER__CONV_DIM": 20,
    "MODEL__ROI_TEXT_HEAD__CONTEXT__HIDDEN_DIM": 20,
}
RESNET_50 = {
    "MODEL__BACKBONE__NAME": "build_resnet_fpn_backbone",
    "MODEL__RESNETS__DEPTH": 50,
    "MODEL__RESNETS__STEM_OUT_CHANNELS": 16,
    "MODEL__RESNETS__RES2_OUT_CHANNELS": 32,
    "MODEL__RESNETS__WIDTH_PER_GROUP": 8,
    **WIDE,
}


def distiller_of(teacher, terms=TERMS, **changes):
    return tiny_distiller(teacher=teacher, **{**FIXED, "MODEL__DISTILL__TERMS": terms, **changes})


def adapters(distiller):
    return {term.name: term.aligner for term in distiller.terms if hasattr(term, "aligner")}


@pytest.mark.parametrize(
    ("student", "teacher", "kind"),
    [
        ((16, 8, 32), (16, 8, 32), type(None)),
        ((16, 8, 32), (24, 8, 32), nn.Conv2d),
        ((16, 8, 32), (16, 16, 64), FeatureAligner),
        ((16, 8, 32), (24, 16, 64), FeatureAligner),
        ((16, 8, 32), (16, 16, 32), ResamplingAligner),
        ((16, 8, 32), (24, 4, 16), ResamplingAligner),
    ],
)
@pytest.mark.parametrize("count", [0, 2])
def test_regions_come_in_the_teachers_shape(student, teacher, kind, count):
    aligner = roi_aligner(student, teacher)
    assert type(aligner) is kind
    features = torch.randn(count, *student, requires_grad=True)
    if aligner is not None:
        aligned = aligner(features)
        assert aligned.shape == (count, *teacher)
        aligned.sum().backward()
        assert all(p.grad is not None for p in aligner.parameters())


def test_resampling_keeps_a_ramp():
    """A feature that rises along the word rises alike on the other grid."""
    aligner = ResamplingAligner(1, 1, (8, 48))
    nn.init.ones_(aligner.conv.weight)
    nn.init.zeros_(aligner.conv.bias)

    def ramp(height, width):
        return ((torch.arange(width) + 0.5) / width).expand(1, 1, height, width)

    inner = slice(1, -1)  # beyond the middle of the outermost pixels there is nothing to go by
    found, expected = aligner(ramp(8, 32)), ramp(8, 48)
    torch.testing.assert_close(found[..., inner], expected[..., inner])


def test_a_wider_teacher():
    distiller = distiller_of(WIDE)
    found = adapters(distiller)
    assert (found["roi"].in_channels, found["roi"].out_channels) == (16, 24)
    for name in ("context", "hint"):
        assert (found[name].in_features, found[name].out_features) == (16, 20)
    assert set(found) == {"roi", "context", "hint"}


def test_equal_models_need_none():
    assert set(adapters(distiller_of({})).values()) == {None}


def test_a_teacher_of_another_ratio_is_resampled():
    terms = ("roi", "context", "hint", "affinity")
    distiller = distiller_of({"MODEL__ROI_TEXT_HEAD__POOLER_RESOLUTION": (16, 32)}, terms)
    assert type(adapters(distiller)["roi"]) is ResamplingAligner
    with EventStorage(0):
        losses = distiller(make_batch())
    assert all(losses[name] > 0 for name in ("loss_roi", "loss_con", "loss_hint"))


@pytest.mark.parametrize("autocast", [False, True], ids=["single", "bfloat16"])
@pytest.mark.parametrize("words", [True, False], ids=["words", "no words"])
def test_a_deeper_teacher_into_a_small_student(words, autocast):
    """ResNet-50 into ResNet-18: one step, a gradient for each parameter, and all of them learnt."""
    distiller = distiller_of(RESNET_50)
    assert len(list(distiller.teacher.backbone.bottom_up.res4)) == 6
    inputs = make_batch() if words else make_batch([[], [], []])
    half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast)
    with EventStorage(0), lstms_in_lower_precision(), half:
        losses = distiller(inputs)
    names = {"loss_roi", "loss_con", "loss_seq", "loss_logits", "loss_hint", "loss_attention"}
    assert names < set(losses)
    assert all((losses[name] > 0).item() is words for name in names)
    sum(losses.values()).backward()
    parameters = dict(distiller.named_parameters())
    assert [n for n, p in parameters.items() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in parameters.values())
    own = [p for n, p in parameters.items() if n.startswith("terms.")]
    assert len(own) == 6 and all(p.grad.any().item() is words for p in own)
    assert not any(p.requires_grad or p.grad is not None for p in distiller.teacher.parameters())


def test_adapters_are_in_the_optimizer_and_not_in_the_student():
    cfg = distiller_cfg(MODEL__DISTILL__TERMS=TERMS, **FIXED)
    student, teacher = build_model(cfg), build_spotter(distiller_cfg(**WIDE))
    distiller = Distiller(cfg, student, teacher)
    own = {id(p) for term in distiller.terms for p in term.parameters()}
    optimizer = build_optimizer(cfg, distiller)
    assert len(own) == 6
    assert own < {id(p) for group in optimizer.param_groups for p in group["params"]}
    # What is evaluated, measured and exported has none of them.
    assert own.isdisjoint({id(p) for p in distiller.student.parameters()})
    assert student.state_dict().keys() == build_model(cfg).state_dict().keys()


@pytest.mark.parametrize("term", ["roi", "context"])
def test_features_of_characters_are_not_resampled(term):
    cfg = distiller_cfg(MODEL__DYNAMIC__SPOTTER="MANGOSpotter", MODEL__DISTILL__TERMS=(term,))
    longer = distiller_cfg(
        MODEL__DYNAMIC__SPOTTER="MANGOSpotter", MODEL__RECOGNITION__MAX_LENGTH=40
    )
    with pytest.raises(ValueError, match=r"L_(roi|con): .* 33\D.* 41\D"):
        Distiller(cfg, build_model(cfg), build_spotter(longer))


def test_a_teacher_of_regions_without_a_size_is_refused():
    cfg = distiller_cfg(MODEL__DISTILL__TERMS=("roi",))
    other = distiller_cfg(MODEL__DYNAMIC__SPOTTER="PPOCRSpotter")
    with pytest.raises(ValueError, match=r"L_roi: .*of no fixed size for the teacher"):
        Distiller(cfg, build_model(cfg), build_spotter(other))
