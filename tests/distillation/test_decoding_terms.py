"""Terms of what the decoder does at each character, against loops over words, steps and classes."""

import math

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from distiller_to_train import distiller_cfg, make_batch, tiny_distiller
from lower_precision import lstms_in_lower_precision

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.terms.affinity import affinity_loss
from dld_d2.distillation.terms.attention import attention_loss
from dld_d2.distillation.terms.hint import hint_loss
from dld_d2.distillation.terms.logits import logits_loss, released_logits_loss
from dld_d2.engine.config_sources import ConfigError
from dld_d2.modeling.build import build_spotter

N, T, V, L, C = 3, 5, 7, 6, 4
LENGTHS = [5, 2, 1]  # steps that count: characters and the end
TERMS = ("logits", "hint", "attention", "affinity")


def valid():
    return torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.manual_seed(seed), dtype=torch.float64)


def draw_attention(seed=0):
    return draw(N, T, L, seed=seed).mul(2).softmax(dim=-1)


def softmax(values):
    exp = [math.exp(v) for v in values]
    return [e / sum(exp) for e in exp]


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def steps():
    return [(n, t) for n in range(N) for t in range(LENGTHS[n])]


def naive_logits(student, teacher, tau):
    total = 0.0
    for n, t in steps():
        p, q = ([z / tau for z in x[n, t].tolist()] for x in (teacher, student))
        total += divergence(softmax(p), softmax(q))
    return tau**2 * total / len(steps())


def naive_released_logits(student, teacher, tau):
    words = []
    for n in range(N):
        each = []
        for t in range(T):
            p, q = ([z / tau for z in x[n, t].tolist()] for x in (teacher, student))
            each.append(divergence(softmax(p), softmax(q)))
        words.append(sum(each) / T)
    return sum(words) / N


def naive_hint(student, teacher):
    squares = [
        (student[n, t, c] - teacher[n, t, c]).item() ** 2 for n, t in steps() for c in range(C)
    ]
    return sum(squares) / (len(steps()) * C)


def naive_attention(student, teacher):
    each = [divergence(teacher[n, t].tolist(), student[n, t].tolist()) for n, t in steps()]
    return sum(each) / len(steps())


def naive_affinity(student, teacher):
    def cosine(x, n, i, j):
        a, b = x[n, i].tolist(), x[n, j].tolist()
        dot = sum(u * v for u, v in zip(a, b, strict=True))
        return dot / math.sqrt(sum(u * u for u in a) * sum(v * v for v in b))

    words = []
    for n, k in enumerate(LENGTHS):
        squares = [
            (cosine(teacher, n, i, j) - cosine(student, n, i, j)) ** 2
            for i in range(k)
            for j in range(k)
        ]
        words.append(sum(squares) / k**2)
    return sum(words) / N


# The loss of student and teacher, what it should be, and how its arguments are drawn.
LOSSES = {
    "logits": (
        lambda s, t, v: logits_loss(s, t, v, 2.0),
        lambda s, t: naive_logits(s, t, 2.0),
        lambda seed: draw(N, T, V, seed=seed),
    ),
    "logits, another temperature": (
        lambda s, t, v: logits_loss(s, t, v, 5.0),
        lambda s, t: naive_logits(s, t, 5.0),
        lambda seed: draw(N, T, V, seed=seed),
    ),
    "released logits": (
        lambda s, t, v: released_logits_loss(s, t, 5.0),
        lambda s, t: naive_released_logits(s, t, 5.0),
        lambda seed: draw(N, T, V, seed=seed),
    ),
    "hint": (hint_loss, naive_hint, lambda seed: draw(N, T, C, seed=seed)),
    "attention": (attention_loss, naive_attention, draw_attention),
    "affinity": (affinity_loss, naive_affinity, lambda seed: draw(N, T, C, seed=seed)),
}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def test_it_equals_loops(loss):
    function, naive, make = loss
    student, teacher = make(1), make(2)
    found = function(student, teacher, valid())
    assert found.item() == pytest.approx(naive(student, teacher), rel=1e-12) and found > 0


def test_equal_inputs_cost_nothing(loss):
    function, _, make = loss
    student = make(1).requires_grad_()
    found = function(student, make(1), valid())
    found.backward()
    gradient = student.grad
    if make is draw_attention:
        # What is the same for all places leads out of what sums to 1.
        gradient = gradient - gradient.mean(dim=-1, keepdim=True)
    assert abs(found.item()) < 1e-15 and gradient.abs().max() < 1e-15


def test_its_gradient_reaches_the_student_alone(loss):
    function, _, make = loss
    student, teacher = make(1).requires_grad_(), make(2).requires_grad_()
    function(student, teacher, valid()).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None
    assert torch.autograd.gradcheck(lambda s: function(s, make(2), valid()), student)


def test_padding_counts_in_the_released_logits_alone(loss):
    function, _, make = loss
    student, teacher = make(1), make(2)
    before = function(student, teacher, valid())
    student[~valid()] = make(3)[~valid()]
    counts = loss is LOSSES["released logits"]
    assert (function(student, teacher, valid()) != before).item() is counts


def test_no_words_are_zero_with_a_gradient(loss):
    function, _, make = loss
    student = make(1)[:0].requires_grad_()
    found = function(student, make(2)[:0], valid()[:0])
    found.backward()
    assert found.item() == 0 and student.grad.shape == student.shape


def test_half_precision_is_judged_in_single(loss):
    function, _, make = loss
    student, teacher = make(1).to(torch.bfloat16).requires_grad_(), make(2).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(student, teacher, valid())
    found.backward()
    assert found.dtype == torch.float32 and student.grad.isfinite().all()
    expected = function(student.detach().double(), teacher.double(), valid())
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_shapes_that_differ_are_named(loss):
    function, _, make = loss
    with pytest.raises(ValueError, match=r"L_\w+: .*student.*teacher.*cannot be compared"):
        function(make(1)[:, 1:], make(2), valid()[:, 1:])


def test_the_length_of_glimpses_does_not_change_how_alike_they_are():
    student, teacher = draw(N, T, C, seed=1), draw(N, T, C, seed=2)
    expected = affinity_loss(student, teacher, valid())
    torch.testing.assert_close(affinity_loss(3 * student, 0.1 * teacher, valid()), expected)
    wide = torch.cat([teacher, torch.zeros(N, T, 3)], dim=-1)
    torch.testing.assert_close(affinity_loss(student, wide, valid()), expected)


def test_glimpses_of_nothing_have_a_gradient():
    student = torch.zeros(N, T, C, requires_grad=True)
    affinity_loss(student, draw(N, T, C).float(), valid()).backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(("energy", "learns"), [(60.0, True), (200.0, False)])
def test_attention_that_vanishes_has_a_finite_gradient(energy, learns):
    """What float32 cannot tell from 0 any more cannot be learnt, but does no harm."""
    logits = torch.tensor([[[0.0, energy, 0.0]]], requires_grad=True)
    teacher = torch.tensor([[[0.5, 0.0, 0.5]]])
    loss = attention_loss(logits.softmax(dim=-1), teacher, torch.ones(1, 1).bool())
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()
    assert (logits.grad[0, 0, 1] > 0.9).item() is learns


def test_two_classes_in_closed_form():
    """The teacher is sure by the factor 3, the student does not know."""
    student, teacher = torch.zeros(1, 1, 2), torch.tensor([[[math.log(3.0), 0.0]]])
    found = logits_loss(student, teacher, torch.ones(1, 1).bool(), 1.0)
    assert found.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)


def with_terms(*terms, **changes):
    return tiny_distiller(
        MODEL__DISTILL__TERMS=terms,
        **{"MODEL__DYNAMIC__POLICY": "fixed", "MODEL__DYNAMIC__FIXED_SCALE": 0.5, **changes},
    )


NAMES = ("loss_logits", "loss_hint", "loss_attention", "loss_affinity")


@pytest.mark.parametrize("autocast", [False, True], ids=["single", "bfloat16"])
@pytest.mark.parametrize("words", [True, False], ids=["words", "no words"])
def test_a_step_with_all_four(words, autocast):
    distiller = with_terms(*TERMS)
    assert distiller.want == {"glimpses", "attention"}
    inputs = make_batch() if words else make_batch([[], [], []])
    half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast)
    with EventStorage(0), lstms_in_lower_precision(), half:
        losses = distiller(inputs)
    sizes = [losses[name].item() for name in NAMES]
    assert all(size > 0 for size in sizes) if words else sizes == [0] * 4
    sum(losses[name] for name in NAMES).backward()
    reader = distiller.student.spotter.roi_heads.text_head
    read = [(n, p) for n, p in reader.named_parameters() if not n.startswith("ctc")]
    assert [n for n, p in read if p.grad is None or not p.grad.isfinite().all()] == []
    assert any(p.grad.any() for _, p in read) is words


def test_weights_are_factors():
    small, large = (
        with_terms(*TERMS, **{f"MODEL__DISTILL__{t.upper()}__WEIGHT": w for t in TERMS})
        for w in (1.0, 3.0)
    )
    torch.manual_seed(0)
    with EventStorage(0):
        a = small(make_batch())
        torch.manual_seed(0)
        b = large(make_batch())
    for name in NAMES:
        torch.testing.assert_close(3 * a[name], b[name])


def test_the_released_form_judges_every_step_of_the_longest_word():
    keys = {"FORM": "released", "TEMPERATURE": 5.0}
    distiller = with_terms("logits", **{f"MODEL__DISTILL__LOGITS__{k}": v for k, v in keys.items()})
    student, teacher = distiller.student.spotter, distiller.teacher
    images, targets = student.preprocess(make_batch())
    own, seen = (each.eval().recognize(images, targets) for each in (student, teacher))
    texts = torch.cat([t.gt_texts[t.gt_readable] for t in targets])
    assert texts.shape[1] == 33 > own.texts.shape[1]
    z = [reading.decoder(reading.context, texts) for reading in (own, seen)]
    expected = released_logits_loss(*z, 5.0)
    found = distiller.terms[0](own, seen)["loss_logits"]
    torch.testing.assert_close(found, expected)
    # Padded steps are most of them.
    hinton = logits_loss(own.logits, seen.logits, own.valid, 5.0) / 25
    assert abs(found.item() / hinton.item() - 1) > 0.01


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("FORM", "tau", r"LOGITS\.FORM is 'tau'; expected one of 'hinton', 'released'"),
        ("TEMPERATURE", 0.0, r"LOGITS\.TEMPERATURE is 0\.0; expected a number above 0"),
    ],
)
def test_values_that_cannot_be_meant(key, value, message):
    with pytest.raises(ConfigError, match=message):
        with_terms("logits", **{f"MODEL__DISTILL__LOGITS__{key}": value})
    cfg = distiller_cfg(MODEL__DISTILL__TERMS=("logits",))
    cfg.defrost()
    cfg.MODEL.DISTILL.LOGITS[key] = value
    with pytest.raises(ValueError, match=rf"LOGITS\.{key}"):
        Distiller(cfg, build_model(cfg), build_spotter(cfg))


def other_spotter(name, **changes):
    """A distiller's configuration around another spotter, small."""
    return distiller_cfg(MODEL__DYNAMIC__SPOTTER=name, **changes)


@pytest.mark.parametrize("term", ["hint", "attention", "affinity"])
def test_a_decoder_that_attends_to_nothing_is_refused(term):
    cfg = other_spotter("MANGOSpotter", MODEL__DISTILL__TERMS=(term,))
    message = rf"TERMS: {term} needs the features \w+, which the student, a MANGOSpotter, does not"
    with pytest.raises(ValueError, match=message):
        Distiller(cfg, build_model(cfg), build_spotter(cfg))


def test_another_spotter_with_such_a_decoder():
    cfg = other_spotter("TextPerceptronSpotter", MODEL__DISTILL__TERMS=TERMS)
    distiller = Distiller(cfg, build_model(cfg), build_spotter(cfg))
    assert [term.name for term in distiller.terms] == list(TERMS)


def test_logits_of_a_decoder_in_parallel():
    cfg = other_spotter("MANGOSpotter", MODEL__DISTILL__TERMS=("logits",))
    assert Distiller(cfg, build_model(cfg), build_spotter(cfg)).terms[0].num_steps == 33


def test_logits_of_places_do_not_line_up():
    cfg = other_spotter("PPOCRSpotter", MODEL__DISTILL__TERMS=("logits",))
    message = r"L_logits: the decoder of the student, a PPOCRSpotter, has logits for places"
    with pytest.raises(ValueError, match=message):
        Distiller(cfg, build_model(cfg), build_spotter(cfg))


def test_attention_over_another_length_is_refused():
    message = r"L_attn: .*\(1, 33\) for the student and \(3, 65\) for the teacher"
    with pytest.raises(ValueError, match=message):
        tiny_distiller(
            teacher={"MODEL__ROI_TEXT_HEAD__POOLER_RESOLUTION": (16, 64)},
            MODEL__DISTILL__TERMS=TERMS,
        )
