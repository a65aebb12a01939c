"""The distiller's training step against one written out, and who gets which gradient."""

import pytest
import torch
from detectron2.layers import batched_nms
from detectron2.modeling.proposal_generator import proposal_utils
from detectron2.utils.events import EventStorage
from distiller_to_train import (
    ALL_SCALES,
    WORDS,
    aligner_of,
    force,
    make_batch,
    selector_of,
    tiny_distiller,
    twin,
)
from lower_precision import lstms_in_lower_precision
from naive_distillation import naive_step, naive_view, pad

TEACHER_16 = {"teacher": {"MODEL__ROI_TEXT_HEAD__POOLER_RESOLUTION": (16, 64)}}
WEIGHTS = {
    "MODEL__DISTILL__SELECTOR__LOSS_WEIGHT": 0.7,
    "MODEL__DISTILL__ROI__WEIGHT": 0.65,
    "MODEL__DISTILL__CONTEXT__WEIGHT": 2.6,
    "MODEL__DISTILL__SEQUENCE__WEIGHT": 0.325,
    "MODEL__DISTILL__SELECTOR__GAMMA": 0.3,
}
SETTINGS = {
    "dld": {"MODEL__DYNAMIC__COST": "measured"},
    "weights, K 3": {"MODEL__DISTILL__SEQUENCE__NUM_SEQUENCES": 3, **WEIGHTS},
    "ground truth": {"MODEL__DISTILL__SELECTOR__ACCURACY_TARGET": "ground_truth"},
    "drs only": {"MODEL__DISTILL__TERMS": ()},
    "one candidate": {"MODEL__DYNAMIC__SCALES": (0.5,)},
    "skd only": {"MODEL__DYNAMIC__POLICY": "fixed"},
    "random": {"MODEL__DYNAMIC__POLICY": "random"},
    "16 x 64 teacher": TEACHER_16,
}
DETECTION = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
OWN = DETECTION | {"loss_rec", "loss_ctc"}
SKD = {"loss_roi", "loss_con", "loss_seq"}
DRS = {"loss_flops", "loss_acc"}
SEED = 11


@pytest.fixture(autouse=True)
def storage():
    with EventStorage(0) as storage:
        yield storage


def step(distiller, inputs):
    """Losses of a step and what was chosen, the generator seeded before and after the choice."""
    drawn = []
    draw = distiller.learning.draw

    def seeded_draw(policy, images):
        torch.manual_seed(SEED)
        drawn.append(draw(policy, images))
        torch.manual_seed(SEED + 1)
        return drawn[0]

    distiller.learning.draw = seeded_draw
    try:
        losses = distiller(inputs)
    finally:
        del distiller.learning.draw
    count = len(distiller.student.scales)
    return losses, torch.nn.functional.one_hot(drawn[0].index, count).float()


def nms_of_any_type(boxes, scores, groups, threshold):
    return batched_nms(boxes.float(), scores.float(), groups, threshold)


def assert_close(a, b):
    """Equal to 1e-5 of the largest element; sums in another order cost small ones more."""
    scale = b.abs().max().item()
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * scale + 1e-8)


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_a_step_equals_the_one_written_out(changes, monkeypatch):
    # In float32 the gradients' small elements would differ by a per cent from rounding.
    monkeypatch.setattr(proposal_utils, "batched_nms", nms_of_any_type)
    distiller = tiny_distiller(**changes).double()
    distiller.teacher.double()
    before = twin(distiller)
    inputs = make_batch()
    losses, h = step(distiller, inputs)
    assert {row.argmax().item() for row in h} != {0} or len(distiller.student.scales) == 1
    expected, gradients, h_gradient, student = naive_step(before, inputs, h.detach(), SEED + 1)
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5, abs=1e-6), name
        assert loss.item() > 1e-4 or name in ("loss_rpn_loc", "loss_box_reg"), name

    sum(losses.values()).backward()
    learning = [*distiller.student.spotter.parameters()]
    learning += aligner_of(distiller).parameters() if aligner_of(distiller) else []
    for parameter, gradient in zip(learning, gradients, strict=True):
        assert_close(parameter.grad, gradient)
    if h_gradient is not None:
        policy = before.student.policy  # as it was: its batch norm has not moved yet
        images, _ = before.student.spotter.preprocess(inputs)
        torch.manual_seed(SEED)
        noise = -torch.empty(*h.shape).exponential_().log()
        soft = ((policy.logits(images) + noise) / distiller.learning.temperature).softmax(dim=1)
        assert torch.equal(soft.argmax(dim=1), h.argmax(dim=1))
        soft.backward(h_gradient.float())
        pairs = zip(selector_of(distiller).parameters(), policy.selector.parameters(), strict=True)
        for a, b in pairs:
            assert_close(a.grad, b.grad)
    # Batch statistics moved in the selected pass, and nowhere else.
    for (name, buffer), expected in zip(
        distiller.student.spotter.named_buffers(), student.buffers(), strict=True
    ):
        torch.testing.assert_close(buffer, expected, rtol=1e-5, atol=1e-6, msg=name)


def gradients_of(losses, names, parameters):
    total = sum(losses[name] for name in names)
    return torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)


def test_every_loss_reaches_its_part_alone():
    distiller = tiny_distiller()
    losses, _ = step(distiller, make_batch())
    assert set(losses) == OWN | SKD | DRS
    student = [*distiller.student.spotter.parameters()]
    selector = [*selector_of(distiller).parameters()]
    for name in DRS:
        assert all(g is None for g in gradients_of(losses, [name], student))
        assert all(g is not None for g in gradients_of(losses, [name], selector))
    for name in OWN | SKD:
        assert all(g is None for g in gradients_of(losses, [name], selector))
    assert all(g is not None for g in gradients_of(losses, OWN | SKD, student))
    assert any(g.abs().sum() > 0 for g in gradients_of(losses, DRS, selector))
    sum(losses.values()).backward()
    assert all(p.grad is None and not p.requires_grad for p in distiller.teacher.parameters())


@pytest.mark.parametrize("target", ["teacher", "ground_truth"])
def test_learning_the_best_scale(target):
    """As the published step, but for the selector's loss."""
    changes = {"MODEL__DISTILL__SELECTOR__ACCURACY_TARGET": target}
    best = {"MODEL__DISTILL__SELECTOR__LEARNING": "best_scale"}
    published, distiller = tiny_distiller(**changes), tiny_distiller(**changes, **best)
    inputs = make_batch([WORDS[0], [], WORDS[2]])
    torch.manual_seed(SEED)
    expected = published(inputs)
    torch.manual_seed(SEED)
    losses = distiller(inputs)
    assert set(losses) == OWN | SKD | {"loss_scale"}
    for name in OWN | SKD:
        assert losses[name].item() == expected[name].item(), name

    selector = [*selector_of(distiller).parameters()]
    student = [*distiller.student.spotter.parameters()]
    assert all(g is None for g in gradients_of(losses, ["loss_scale"], student))
    assert all(g is not None for g in gradients_of(losses, ["loss_scale"], selector))
    assert all(g is None for g in gradients_of(losses, OWN | SKD, selector))

    # The loss of each scale is the published one at that scale, an image at a time.
    distiller, untouched = tiny_distiller(**changes, **best), tiny_distiller(**changes)
    images, _ = distiller.student.spotter.preprocess(inputs)
    logits = distiller.student.policy.logits(images)
    rows = []
    for item in inputs:
        row = []
        for index in range(len(ALL_SCALES)):
            published = twin(untouched)  # a pass moves the student's batch statistics
            force(published, [index])
            found = published([item])
            row.append((found["loss_acc"] + found["loss_flops"]).item())
        rows.append(row)
    target = (-torch.tensor(rows) / 0.01).softmax(dim=1)
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert losses["loss_scale"].item() == pytest.approx(expected.item(), rel=1e-3)
    distiller.learning.regret_power = 1.0
    torch.manual_seed(SEED)
    weight = torch.tensor(rows).amax(dim=1) - torch.tensor(rows).amin(dim=1)
    expected = -(weight * (target * logits.log_softmax(dim=1)).sum(dim=1)).mean()
    assert distiller(inputs)["loss_scale"].item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("estimator", ["gumbel", "best_scale"])
def test_the_selector_learns_from_a_part_of_the_batch(estimator):
    """L_DRS is that of the first images alone; nothing else changes, not even its length."""
    changes = {"MODEL__DISTILL__SELECTOR__LEARNING": estimator}
    whole = tiny_distiller(**changes)
    part = tiny_distiller(MODEL__DISTILL__SELECTOR__BATCH_FRACTION=0.5, **changes)
    # The longest word is in an image that the selector does not learn from.
    inputs = make_batch([WORDS[2], WORDS[0], WORDS[1]])
    # Batch norm would tell the images of other batches.
    selector_of(whole).eval()
    selector_of(part).eval()

    def losses_of(distiller, inputs):
        force(distiller, [1, 4, 2])
        torch.manual_seed(SEED)
        return distiller(inputs)

    everything, losses = losses_of(twin(whole), inputs), losses_of(part, inputs)
    expected = losses_of(whole, inputs[:2])
    drs = DRS if estimator == "gumbel" else {"loss_scale"}
    for name in OWN | SKD:
        assert losses[name].item() == everything[name].item(), name
    for name in drs:
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=1e-5), name
        assert losses[name].item() != pytest.approx(everything[name].item(), rel=1e-3), name


def test_without_distillation_the_student_learns_from_the_selected_pass_alone():
    """Bit for bit what its own losses on the view give, batch statistics included."""
    distiller = tiny_distiller(MODEL__DISTILL__TERMS=())
    alone = twin(distiller)
    inputs = make_batch()
    force(distiller, [5, 1, 3])
    torch.manual_seed(SEED)
    losses = distiller(inputs)
    assert set(losses) == OWN | DRS
    sum(losses.values()).backward()

    images, targets = zip(*(alone.student.spotter.preprocess([x]) for x in inputs), strict=True)
    pairs = zip(images, targets, [0.8, 0.4, 0.6], strict=True)
    views = [naive_view(i[0], t, scale) for i, (t,), scale in pairs]
    torch.manual_seed(SEED)
    plain, _ = alone.student.spotter.losses(as_batch(views), [target for _, target in views])
    sum(plain.values()).backward()
    for a, b in zip(
        distiller.student.spotter.parameters(), alone.student.spotter.parameters(), strict=True
    ):
        assert torch.equal(a.grad, b.grad)
    for a, b in zip(
        distiller.student.spotter.buffers(), alone.student.spotter.buffers(), strict=True
    ):
        assert torch.equal(a, b)


def as_batch(views):
    batch = pad([image for image, _ in views])
    batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
    return batch


def test_the_teacher_stays_as_it_is():
    distiller = tiny_distiller()
    before = {k: v.clone() for k, v in distiller.teacher.state_dict().items()}
    losses, _ = step(distiller.train(), make_batch())
    sum(losses.values()).backward()
    after = distiller.teacher.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(m.training for m in distiller.teacher.modules())
    own = {id(p) for p in distiller.parameters()} | {id(b) for b in distiller.buffers()}
    assert own.isdisjoint({id(p) for p in distiller.teacher.parameters()})
    assert not [key for key in distiller.state_dict() if "teacher" in key]


def test_teacher_candidates_and_student_look_at_the_same_regions(monkeypatch):
    distiller = tiny_distiller(MODEL__ROI_TEXT_HEAD__JITTER=0.2)
    seen = []

    def watch(spotter, name):
        call = getattr(spotter, name)

        def watched(images, targets, *want):
            seen.append(torch.cat([t.gt_jitter for t in targets]))
            return call(images, targets, *want)

        monkeypatch.setattr(spotter, name, watched)

    watch(distiller.teacher, "recognize")
    watch(distiller.student.spotter, "recognize")
    watch(distiller.student.spotter, "losses")
    inputs = make_batch()
    distiller(inputs)
    first = seen[0]
    assert len(seen) == 1 + len(ALL_SCALES) + 1
    assert all(torch.equal(jitter, first) for jitter in seen)
    assert 0.1 < first.abs().max() <= 0.2
    seen.clear()
    distiller(inputs)
    assert not torch.equal(seen[0], first)
    assert not any(x["instances"].has("gt_jitter") for x in inputs)


def test_frozen_statistics_are_used_and_do_not_move():
    distiller = tiny_distiller(
        MODEL__DISTILL__FREEZE_STATISTICS=True,
        MODEL__ROI_TEXT_HEAD__JITTER=0.2,
        MODEL__DYNAMIC__POLICY="fixed",
        MODEL__DYNAMIC__SCALES=(1.0,),
        MODEL__DYNAMIC__FIXED_SCALE=1.0,
    )
    student = distiller.student.spotter
    student.load_state_dict(distiller.teacher.state_dict())
    distiller.eval().train()  # as around an evaluation
    before = {name: buffer.clone() for name, buffer in student.named_buffers()}
    losses = distiller(make_batch())
    for name, buffer in student.named_buffers():
        assert torch.equal(buffer, before[name]), name
    # The teacher's own weights at its own scale on its own regions are the teacher.
    assert losses["loss_roi"].item() == pytest.approx(0, abs=1e-10)
    assert losses["loss_con"].item() == pytest.approx(0, abs=1e-10)
    sum(losses.values()).backward()
    norms = [m for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) > 10 and all(norm.weight.grad is not None for norm in norms)
    assert student.roi_heads.text_head.decoder.training


@pytest.mark.parametrize("changes", [{}, TEACHER_16], ids=["one size", "aligner"])
def test_beside_a_frozen_student_the_selector_learns_as_ever(changes):
    distiller = tiny_distiller(**changes)
    frozen = tiny_distiller(**changes, MODEL__DISTILL__FREEZE_STUDENT=True)
    frozen.load_state_dict(distiller.state_dict())
    frozen.teacher.load_state_dict(distiller.teacher.state_dict())
    frozen.eval().train()  # as around an evaluation
    spotter = frozen.student.spotter
    before = {name: tensor.clone() for name, tensor in spotter.state_dict().items()}
    assert not any(m.training for m in spotter.modules()) and selector_of(frozen).training
    inputs = make_batch()
    expected, _ = step(distiller, inputs)
    losses, _ = step(frozen, inputs)
    assert set(losses) == DRS
    for name in DRS:
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=1e-6), name
    for each in (losses, expected):
        sum(each[name] for name in DRS).backward()
    learning = {name for name, p in frozen.named_parameters() if p.requires_grad}
    names = [name for name, _ in selector_of(distiller).named_parameters()]
    assert learning == {f"student.policy.selector.{name}" for name in names}
    selectors = [selector_of(each).parameters() for each in (frozen, distiller)]
    for a, b in zip(*selectors, strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for name, tensor in spotter.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_where_nothing_asks_for_the_teacher_it_is_not_passed(monkeypatch):
    distiller = tiny_distiller(MODEL__DISTILL__TERMS=(), MODEL__DYNAMIC__POLICY="fixed")
    monkeypatch.setattr(distiller.teacher, "recognize", None)
    assert set(distiller(make_batch())) == OWN


@pytest.mark.parametrize("error", [None, RuntimeError("out of memory")])
def test_candidates_leave_statistics_and_modes_alone(error):
    distiller = tiny_distiller()
    student = distiller.student.spotter
    student.backbone.bottom_up.stem.eval()  # part of it frozen
    modes = {name: m.training for name, m in distiller.named_modules()}
    buffers = {name: b.clone() for name, b in student.named_buffers()}
    recognize, seen = student.recognize, []

    def watched(images, targets, *want):
        seen.append(any(m.training for m in student.modules()) or torch.is_grad_enabled())
        if error and len(seen) == 4:
            raise error
        return recognize(images, targets, *want)

    student.recognize = watched
    images, targets = student.preprocess(make_batch())
    if error:
        with pytest.raises(RuntimeError, match="out of memory"):
            distiller._candidates(images, targets)
    else:
        readings = [candidate.reading for candidate in distiller._candidates(images, targets)]
        assert [len(reading) for reading in readings] == [6] * 6
        assert not any(reading.logits.requires_grad for reading in readings)
        assert len(seen) == 6
    assert seen == [False] * len(seen)
    assert {name: m.training for name, m in distiller.named_modules()} == modes
    assert all(torch.equal(b, buffers[name]) for name, b in student.named_buffers())


@pytest.mark.parametrize(
    "words",
    [[[], []], [[("###", (10, 10, 60, 26))], [("naïve", (10, 40, 60, 52))]]],
    ids=["no instances", "nothing readable"],
)
@pytest.mark.parametrize(
    "changes",
    [{}, {"MODEL__DISTILL__SELECTOR__ACCURACY_TARGET": "ground_truth"}, TEACHER_16],
    ids=["dld", "ground truth", "16 x 64 teacher"],
)
def test_a_batch_without_any_word(words, changes):
    distiller = tiny_distiller(**changes)
    losses, h = step(distiller, make_batch(words))
    for name in ("loss_rec", "loss_roi", "loss_con", "loss_seq", "loss_acc"):
        assert name not in losses or losses[name].item() == 0, name
    if "loss_flops" in losses:
        cost = (h * distiller.student.relative_cost).sum(dim=1).mean().item()
        assert losses["loss_flops"].item() == pytest.approx(0.1 * cost)
    sum(losses.values()).backward()
    assert [n for n, p in distiller.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in distiller.parameters())
    selector = selector_of(distiller)
    if selector is not None:
        assert sum(p.grad.abs().sum() for p in selector.parameters()) > 0


def test_images_without_words_among_others():
    distiller = tiny_distiller()
    before = twin(distiller)
    inputs = make_batch([[], WORDS[1], [("###", (10, 10, 60, 26))]])
    losses, h = step(distiller, inputs)
    expected, *_ = naive_step(before, inputs, h.detach(), SEED + 1)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize(
    "changes",
    [
        {"MODEL__DISTILL__TERMS": ("context", "sequence")},
        {"MODEL__DISTILL__TERMS": ()},
        {"MODEL__DISTILL__TERMS": ("roi",)},
    ],
    ids=["no L_roi", "no L_SKD", "L_roi alone"],
)
@pytest.mark.parametrize("teacher", [{}, TEACHER_16], ids=["8 x 32", "16 x 64"])
def test_every_trainable_parameter_learns_whatever_is_left_out(changes, teacher):
    """Distributed training waits for all of them."""
    distiller = tiny_distiller(**changes, **teacher)
    losses, _ = step(distiller, make_batch())
    names = {"roi": "loss_roi", "context": "loss_con", "sequence": "loss_seq"}
    expected = {names[term] for term in changes["MODEL__DISTILL__TERMS"]}
    assert set(losses) & SKD == expected
    sum(losses.values()).backward()
    assert [n for n, p in distiller.named_parameters() if p.requires_grad and p.grad is None] == []


def test_half_precision_of_passes_without_gradient():
    distiller = tiny_distiller(MODEL__DISTILL__NO_GRAD_PRECISION="bfloat16")
    plain = tiny_distiller()
    with lstms_in_lower_precision():
        losses, _ = step(distiller, make_batch())
        expected, _ = step(plain, make_batch())
    for name in losses:
        tolerance = 0 if name in OWN | {"loss_flops"} else 0.2
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=tolerance), name
        assert losses[name].dtype == torch.float32
    total = sum(losses[name] for name in OWN)
    gradients = torch.autograd.grad(total, [*distiller.student.spotter.parameters()])
    assert all(gradient is not None for gradient in gradients)


def test_what_was_chosen_is_logged(storage):
    distiller = tiny_distiller()
    force(distiller, [5, 1, 1])
    distiller(make_batch())
    latest = {name: value for name, (value, _) in storage.latest().items()}
    shares = [latest[f"scale/{scale:g}"] for scale in ALL_SCALES]
    assert shares == pytest.approx([0, 2 / 3, 0, 0, 0, 1 / 3])
    cost = distiller.student.relative_cost[[5, 1, 1]].mean().item()
    assert latest["scale/mean_relative_cost"] == pytest.approx(cost)
