"""The losses of distillation against naive loops, closed forms and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F

from dld_d2.distillation.learning.losses import (
    accuracy_loss,
    best_scale_loss,
    cross_entropy_accuracy_loss,
    flops_loss,
    image_divergence,
)
from dld_d2.distillation.terms.context import context_loss, resample_context
from dld_d2.distillation.terms.roi import FeatureAligner, roi_loss
from dld_d2.distillation.terms.sequence import sequence_loss
from dld_d2.modeling.cost.scale_costs import power_law_cost
from dld_d2.modeling.recognition.decoding import CharacterDecoder
from dld_d2.modeling.recognition.encoder import ContextEncoder, SequenceEncoder
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.attention_text_head import recognition_loss

PADDING = -100
TEXTS = torch.tensor([[0, 1, 5, PADDING], [2, 5, PADDING, PADDING], [3, 4, 0, 5]])
IMAGE_INDEX = torch.tensor([0, 1, 1])
VALID = TEXTS != PADDING
K, N, T, V = 3, 3, 4, 6


class Characters(CharacterDecoder):
    """As much of a decoder as losses ask for."""

    forward = greedy = k_best = None


def reading(logits, texts=TEXTS, image_index=IMAGE_INDEX):
    return Reading(logits, texts, image_index, torch.zeros(len(logits), 1, 1), Characters())


def make_logits(seed=0, scale=2.0, dtype=torch.float64):
    generator = torch.manual_seed(seed)
    candidates = scale * torch.randn(K, N, T, V, generator=generator, dtype=dtype)
    return candidates, scale * torch.randn(N, T, V, generator=generator, dtype=dtype)


def one_hot(choices, dtype=torch.float64):
    return F.one_hot(torch.tensor(choices), K).to(dtype)


def naive_accuracy_loss(selection, candidates, teacher):
    """As the formula is written: probabilities, then their logarithms, character by character."""
    total, count = 0.0, 0
    for n in range(N):
        h = selection[IMAGE_INDEX[n]]
        for t in range(T):
            if TEXTS[n, t] == PADDING:
                continue
            p = sum(h[i] * candidates[i, n, t].softmax(dim=0) for i in range(K))
            q = teacher[n, t].softmax(dim=0)
            total = total + sum(p[v] * (p[v].log() - q[v].log()) for v in range(V))
            count += 1
    return total / count


class TestAccuracyLoss:
    @pytest.mark.parametrize(
        "selection",
        [one_hot([0, 2]), one_hot([1, 1]), torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]])],
        ids=["different scales", "same scale", "soft"],
    )
    def test_equals_the_formula_with_its_gradient(self, selection):
        selection = selection.double()
        candidates, teacher = make_logits()
        ours, naive = selection.clone().requires_grad_(), selection.clone().requires_grad_()
        loss = accuracy_loss(ours, candidates, teacher, VALID, IMAGE_INDEX)
        expected = naive_accuracy_loss(naive, candidates, teacher)
        torch.testing.assert_close(loss, expected)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(ours.grad, naive.grad)

    def test_gradient_equals_finite_differences(self):
        candidates, teacher = make_logits(seed=1)
        selection = torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], dtype=torch.float64)
        assert torch.autograd.gradcheck(
            lambda h: accuracy_loss(h, candidates, teacher, VALID, IMAGE_INDEX),
            selection.requires_grad_(),
        )

    def test_is_torch_kl_at_the_chosen_scale(self):
        candidates, teacher = make_logits()
        loss = accuracy_loss(one_hot([2, 0]), candidates, teacher, VALID, IMAGE_INDEX)
        valid = TEXTS != PADDING
        chosen = torch.stack([candidates[2, 0], candidates[0, 1], candidates[0, 2]])[valid]
        expected = F.kl_div(
            teacher[valid].log_softmax(-1),
            chosen.log_softmax(-1),
            log_target=True,
            reduction="batchmean",
        )
        torch.testing.assert_close(loss, expected)

    def test_is_zero_where_the_student_equals_the_teacher(self):
        candidates, teacher = make_logits()
        candidates[1] = teacher + 3  # distributions count, logits may be shifted
        loss = accuracy_loss(one_hot([1, 1]), candidates, teacher, VALID, IMAGE_INDEX)
        torch.testing.assert_close(loss, torch.zeros_like(loss))

    def test_only_the_selection_gets_a_gradient(self):
        candidates, teacher = (x.requires_grad_() for x in make_logits())
        selection = one_hot([0, 1]).requires_grad_()
        accuracy_loss(selection, candidates, teacher, VALID, IMAGE_INDEX).backward()
        assert selection.grad.abs().sum() > 0
        assert candidates.grad is None
        assert teacher.grad is None

    def test_an_image_is_judged_by_its_own_words(self):
        candidates, teacher = make_logits()
        selection = one_hot([0, 1]).requires_grad_()
        loss = accuracy_loss(
            selection, candidates, teacher, VALID, torch.zeros(N, dtype=torch.int64)
        )
        loss.backward()
        assert (selection.grad[1] == 0).all()

    def test_finite_where_probabilities_underflow(self):
        candidates = torch.zeros(K, N, T, V)
        candidates[0, ..., 0] = 1e4  # sure of one class
        candidates[1, ..., 1] = 1e4  # sure of another
        teacher = torch.zeros(N, T, V)
        teacher[..., 2] = 1e4
        selection = one_hot([0, 1], torch.float32).requires_grad_()
        loss = accuracy_loss(selection, candidates, teacher, VALID, IMAGE_INDEX)
        loss.backward()
        assert loss.item() == pytest.approx(1e4)
        assert selection.grad.isfinite().all()

    def test_half_precision(self):
        candidates, teacher = make_logits(dtype=torch.float32)
        half = accuracy_loss(
            one_hot([0, 2], torch.float32),
            candidates.half(),
            teacher.half(),
            VALID,
            IMAGE_INDEX,
        )
        full = accuracy_loss(
            one_hot([0, 2], torch.float32), candidates, teacher, VALID, IMAGE_INDEX
        )
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, full, rtol=1e-2, atol=1e-3)


class TestCrossEntropyAccuracyLoss:
    def test_is_the_recognition_loss_at_the_chosen_scale(self):
        candidates, _ = make_logits()
        chosen = torch.stack([candidates[2, 0], candidates[0, 1], candidates[0, 2]])
        torch.testing.assert_close(
            cross_entropy_accuracy_loss(
                one_hot([2, 0]), candidates, reading(candidates[0])
            ).float(),
            recognition_loss(chosen, TEXTS),
        )

    def test_gradient_equals_that_of_mixed_logits(self):
        candidates, _ = make_logits()
        candidates.requires_grad_()
        selection = one_hot([2, 0]).requires_grad_()
        cross_entropy_accuracy_loss(selection, candidates, reading(candidates[0])).backward()
        assert candidates.grad is None
        expected = torch.zeros(2, K, dtype=torch.float64)
        chosen = selection.detach().argmax(dim=1)[IMAGE_INDEX]
        for n, t in (TEXTS != PADDING).nonzero().tolist():
            error = candidates[chosen[n], n, t].detach().softmax(dim=0)
            error[TEXTS[n, t]] -= 1
            expected[IMAGE_INDEX[n]] += candidates[:, n, t].detach() @ error
        expected /= (TEXTS != PADDING).sum()
        torch.testing.assert_close(selection.grad, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("with_teacher", [True, False])
def test_accuracy_of_nothing_is_zero_with_a_gradient(with_teacher):
    selection = one_hot([0, 1]).requires_grad_()
    candidates, teacher = torch.randn(K, 1, 1, V), torch.randn(1, 1, V)
    texts, image = torch.full((1, 1), PADDING), torch.zeros(1, dtype=torch.int64)
    if with_teacher:
        loss = accuracy_loss(selection, candidates, teacher, texts != PADDING, image)
    else:
        read = reading(candidates[0], texts, image)
        loss = cross_entropy_accuracy_loss(selection, candidates, read)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(selection.grad, torch.zeros_like(selection))


class TestFlopsLoss:
    def test_is_the_mean_cost_of_the_chosen_scales(self):
        cost = torch.tensor([0.1, 0.3, 0.9], dtype=torch.float64)
        loss = flops_loss(one_hot([0, 2, 2, 1]), cost)
        assert loss.item() == pytest.approx((0.1 + 0.9 + 0.9 + 0.3) / 4)

    def test_gradient(self):
        cost = torch.tensor([0.1, 0.3, 0.9], dtype=torch.float64)
        selection = one_hot([0, 2]).requires_grad_()
        assert torch.autograd.gradcheck(lambda h: flops_loss(h, cost), selection)
        (gradient,) = torch.autograd.grad(flops_loss(selection, cost), selection)
        torch.testing.assert_close(gradient, cost.expand(2, K) / 2)

    def test_power_law(self):
        assert power_law_cost((0.25, 1)) == pytest.approx([0.125, 1.0])
        assert power_law_cost((0.5,), exponent=2) == pytest.approx([0.25])


@pytest.mark.parametrize(
    ("loss", "shape"), [(roi_loss, (2, 3, 4, 5)), (context_loss, (2, 6, 3))], ids=["roi", "context"]
)
class TestFeatureLosses:
    def test_is_the_mean_squared_distance(self, loss, shape):
        student, teacher = torch.randn(2, *shape, generator=torch.manual_seed(0)).unbind()
        expected = sum(
            (s - t) ** 2
            for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
        ) / math.prod(shape)
        assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)

    def test_gradient_goes_into_the_student(self, loss, shape):
        student = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        teacher = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda s: loss(s, teacher.detach()), student)
        loss(student, teacher).backward()
        assert teacher.grad is None

    def test_mixed_precision(self, loss, shape):
        student = torch.full(shape, 300.0).half()  # squares overflow half precision
        assert loss(student, torch.zeros(shape)).item() == 90000

    def test_shapes_that_differ(self, loss, shape):
        with pytest.raises(ValueError, match=r"student's .*\(2, .*teacher's \(1, "):
            loss(torch.zeros(2, *shape[1:]), torch.zeros(1, *shape[1:]))


def loss_of(logits, sequences):
    """L_seq of logits (N, K, T, V) of a student that was read along the sequences."""
    n, k, t = sequences.shape
    rows = sequences.view(n * k, t)
    likelihood = Characters().negative_log_likelihood(logits.flatten(0, 1), rows)
    return sequence_loss(-likelihood.view(n, k), (sequences != PADDING).any(dim=2))


class TestSequenceLoss:
    sequences = torch.tensor(
        [
            [[0, 1, 5, PADDING], [0, 5, PADDING, PADDING], [PADDING] * 4],
            [[2, 2, 2, 5], [3, 2, 2, 5], [5, PADDING, PADDING, PADDING]],
        ]
    )

    def logits(self, scale=1.0, seed=0):
        generator = torch.manual_seed(seed)
        return scale * torch.randn(2, 3, 4, V, generator=generator, dtype=torch.float64)

    def test_equals_products_of_probabilities(self):
        logits = self.logits()
        expected = 0.0
        for n in range(2):
            total = 0.0
            for k in range(3):
                p = 1.0
                for t, token in enumerate(self.sequences[n, k].tolist()):
                    if token != PADDING:
                        p *= logits[n, k, t].softmax(dim=0)[token].item()
                total += p if (self.sequences[n, k] != PADDING).any() else 0.0
            expected -= math.log(total) / 2
        assert loss_of(logits, self.sequences).item() == pytest.approx(expected)

    def test_one_sequence_is_summed_cross_entropy(self):
        logits, sequences = self.logits()[:, :1], self.sequences[:, :1]
        expected = F.cross_entropy(logits.flatten(0, 2), sequences.flatten(), reduction="sum") / 2
        torch.testing.assert_close(loss_of(logits, sequences), expected)

    def test_gradient_equals_finite_differences(self):
        assert torch.autograd.gradcheck(
            lambda x: loss_of(x, self.sequences), self.logits().requires_grad_()
        )

    def test_padding_and_absent_sequences_get_no_gradient(self):
        logits = self.logits().requires_grad_()
        loss_of(logits, self.sequences).backward()
        known = self.sequences != PADDING
        assert (logits.grad[~known] == 0).all()
        assert (logits.grad[known].abs().sum(dim=-1) > 0).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float", "half"])
    def test_finite_for_the_most_improbable(self, dtype):
        logits = torch.zeros(1, 2, 32, V, dtype=dtype)
        logits[..., 0] = 6e4
        sequences = torch.ones(1, 2, 32, dtype=torch.int64)
        logits.requires_grad_()
        loss = loss_of(logits, sequences)
        loss.backward()
        assert loss.item() == pytest.approx(32 * 6e4, rel=1e-3)
        assert logits.grad.isfinite().all()
        # Two equal sequences share the gradient; log 2 drowns in a loss of two million.
        assert logits.grad[..., 1].sum().item() == pytest.approx(-32, rel=0.1)

    def test_a_word_without_sequence_does_not_count(self):
        logits = self.logits().requires_grad_()
        sequences = self.sequences.clone()
        sequences[0] = PADDING
        loss = loss_of(logits, sequences)
        torch.testing.assert_close(loss, loss_of(logits[1:], sequences[1:]))
        loss.backward()
        assert (logits.grad[0] == 0).all()

    def test_nothing_is_zero_with_a_gradient(self):
        logits = self.logits().requires_grad_()
        loss = loss_of(logits, torch.full_like(self.sequences, PADDING))
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


class TestAlignment:
    def test_aligner_doubles_the_size(self):
        assert FeatureAligner(4)(torch.randn(2, 4, 8, 32)).shape == (2, 4, 16, 64)

    def test_teacher_of_twice_the_size_reaches_the_students_length(self):
        encoder = SequenceEncoder(in_channels=4, channels=4, num_conv=1, norm="BN").eval()
        context = ContextEncoder(channels=4, hidden_dim=3, num_layers=1)
        student = context(encoder(torch.randn(2, 4, 8, 32)))
        teacher = context(encoder(torch.randn(2, 4, 16, 64)))
        resampled = resample_context(teacher, rows=3, length=student.shape[1])
        assert resampled.shape == student.shape
        # 65 columns become 33: every second one.
        torch.testing.assert_close(resampled, teacher.view(2, 3, 65, 4)[:, :, ::2].mean(dim=1))
        assert context_loss(student, resampled).isfinite()

    def test_equal_grids_are_left_alone(self):
        context = torch.randn(2, 33, 4, generator=torch.manual_seed(0))
        torch.testing.assert_close(resample_context(context, rows=1, length=33), context)

    def test_rows_that_do_not_divide_the_sequence(self):
        with pytest.raises(ValueError, match="33 elements does not divide into 2 rows"):
            resample_context(torch.zeros(1, 33, 4), rows=2, length=33)


class TestBestScale:
    @pytest.mark.parametrize("target", ["teacher", "ground_truth"])
    def test_divergence_of_each_image_and_scale(self, target):
        candidates, teacher = make_logits(seed=4)
        found = image_divergence(
            [reading(logits) for logits in candidates],
            reading(teacher) if target == "teacher" else None,
            4,
        )
        expected = torch.zeros(4, K, dtype=torch.float64)
        for image in range(4):
            characters = [
                (n, t)
                for n in range(N)
                for t in range(T)
                if IMAGE_INDEX[n] == image and TEXTS[n, t] != PADDING
            ]
            for i in range(K):
                for n, t in characters:
                    p = candidates[i, n, t].softmax(dim=0)
                    if target == "teacher":
                        ratio = p.log() - teacher[n, t].softmax(dim=0).log()
                        expected[image, i] += (p * ratio).sum() / len(characters)
                    else:
                        expected[image, i] -= p[TEXTS[n, t]].log() / len(characters)
        torch.testing.assert_close(found, expected)
        assert expected[:2].min() > 0 and expected[2:].abs().sum() == 0

    def test_on_one_image_it_is_the_published_loss_at_a_hard_choice(self):
        candidates, teacher = make_logits(seed=5)
        rows = torch.zeros(N, dtype=torch.int64)
        readings = [reading(logits, image_index=rows) for logits in candidates]
        found = image_divergence(readings, reading(teacher, image_index=rows), 1)[0]
        for i in range(K):
            loss = accuracy_loss(one_hot([i]), candidates, teacher, VALID, rows)
            assert found[i].item() == pytest.approx(loss.item())

    def test_loss_is_the_cross_entropy_to_the_better_scales(self):
        logits = torch.randn(2, K, generator=torch.manual_seed(6), requires_grad=True)
        costs = torch.tensor([[0.30, 0.31, 0.50], [2.0, 0.1, 0.1]])
        loss = best_scale_loss(logits, costs, 0.01)
        e = math.exp(-1)
        target = torch.tensor([[1 / (1 + e), e / (1 + e), 0], [0, 0.5, 0.5]])
        expected = -(target * logits.log_softmax(dim=1)).sum() / 2
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        (gradient,) = torch.autograd.grad(loss, logits)
        torch.testing.assert_close(
            gradient, (logits.softmax(dim=1) - target) / 2, atol=1e-5, rtol=0
        )

    def test_costs_get_no_gradient(self):
        costs = torch.rand(2, K, requires_grad=True)
        assert not best_scale_loss(torch.zeros(2, K), costs, 0.1).requires_grad

    @pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
    def test_images_count_by_what_a_wrong_scale_loses(self, power):
        logits = torch.randn(2, K, generator=torch.manual_seed(6))
        costs = torch.tensor([[0.3, 0.34, 0.5], [5.0, 0.1, 1.1]])
        each = [best_scale_loss(logits[i : i + 1], costs[i : i + 1], 0.01).item() for i in (0, 1)]
        expected = (each[0] * 0.2**power + each[1] * 4.9**power) / 2
        found = best_scale_loss(logits, costs, 0.01, power)
        assert found.item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(("power", "chosen"), [(0.0, 0), (1.0, 1)])
    def test_in_doubt_the_scale_of_the_smaller_expected_loss_wins(self, power, chosen):
        """Nine images of large words and one of small ones look the same; the expected losses of
        the low and the high scale are 0.9 * 0.1 + 0.1 * 9.1 = 1.0 and 0.6."""
        costs = torch.tensor([[0.1, 0.6]] * 9 + [[9.1, 0.6]])
        logits = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.SGD([logits], lr=0.5)
        for _ in range(500):
            optimizer.zero_grad()
            best_scale_loss(logits.expand(10, 2), costs, 0.01, power).backward()
            optimizer.step()
        assert logits.argmax().item() == chosen
        regret = torch.tensor([9 * 0.5**power, 8.5**power])
        torch.testing.assert_close(logits.detach().softmax(dim=0), regret / regret.sum())

    def test_learns_what_it_is_sure_not_to_choose(self):
        """A straight-through gradient would be about exp(-30) there."""
        logits = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
        best_scale_loss(logits, torch.tensor([[1.0, 0.0, 1.0]]), 0.01).backward()
        torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -1.0, 0.0]]), atol=1e-5, rtol=0)
