"""Encoder and attention decoder against step-by-step references."""

import pytest
import torch
import torch.nn.functional as F

from dld_d2.modeling.recognition.decoder import AttentionDecoder
from dld_d2.modeling.recognition.encoder import ContextEncoder, SequenceEncoder
from dld_d2.modeling.spotters.attention_text_head import recognition_loss
from dld_d2.structures.vocabulary import Vocabulary


@pytest.fixture
def vocabulary():
    return Vocabulary("abcdef")


@pytest.fixture
def decoder(vocabulary):
    torch.manual_seed(0)
    decoder = AttentionDecoder(channels=6, hidden_dim=5, vocabulary=vocabulary)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
    return decoder


def naive_step(decoder, context, previous, hidden, cell):
    """One word, one step, written out."""
    energy = torch.stack(
        [
            decoder.energy.weight[0]
            @ torch.tanh(
                decoder.key.weight @ element + decoder.query.weight @ hidden + decoder.query.bias
            )
            for element in context
        ]
    )
    attended = sum(
        w * element for w, element in zip(energy.exp() / energy.exp().sum(), context, strict=True)
    )
    one_hot = torch.zeros(decoder.num_classes)
    one_hot[previous] = 1
    gates = (
        decoder.cell.weight_ih @ torch.cat([attended, one_hot])
        + decoder.cell.bias_ih
        + decoder.cell.weight_hh @ hidden
        + decoder.cell.bias_hh
    )
    i, f, g, o = gates.chunk(4)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    return decoder.classifier.weight @ hidden + decoder.classifier.bias, hidden, cell


@pytest.mark.parametrize(
    ("size", "length"), [((8, 32), 33), ((16, 64), 3 * 65)], ids=["8x32", "16x64"]
)
def test_published_lengths(size, length):
    encoder = SequenceEncoder(in_channels=4, channels=6, num_conv=4, norm="BN")
    assert encoder(torch.randn(2, 4, *size)).shape == (2, length, 6)


def test_rows_that_remain_follow_one_another():
    encoder = SequenceEncoder(in_channels=4, channels=6, num_conv=4, norm="BN").eval()
    crops = torch.randn(1, 4, 16, 64, generator=torch.manual_seed(0))
    maps = encoder.layers(crops)
    sequence = encoder(crops)
    torch.testing.assert_close(sequence[0, 65 + 7], maps[0, :, 1, 7])


def test_context_sees_both_directions():
    torch.manual_seed(0)
    context = ContextEncoder(channels=4, hidden_dim=3, num_layers=2)
    sequence = torch.randn(1, 5, 4, requires_grad=True)
    output = context(sequence)
    assert output.shape == sequence.shape
    for end in (0, -1):
        (gradient,) = torch.autograd.grad(output[0, end].sum(), sequence, retain_graph=True)
        assert (gradient[0].abs().sum(dim=1) > 0).all()


def test_teacher_forcing_equals_the_written_out_decoder(decoder, vocabulary):
    words = ["abc", "f", "ddeab"]
    context = torch.randn(3, 7, 6, generator=torch.manual_seed(1))
    logits = decoder(context, torch.tensor([vocabulary.encode(w, 5) for w in words]))
    assert logits.shape == (3, 6, len(vocabulary))
    for word, elements, row in zip(words, context, logits, strict=True):
        hidden = cell = torch.zeros(5)
        previous = [vocabulary.begin, *vocabulary.encode(word, 5)]
        for step in range(len(word) + 1):
            expected, hidden, cell = naive_step(decoder, elements, previous[step], hidden, cell)
            torch.testing.assert_close(row[step], expected, rtol=1e-4, atol=1e-5)


def test_greedy_reading_equals_one_word_at_a_time(decoder, vocabulary):
    context = torch.randn(40, 7, 6, generator=torch.manual_seed(2)) * 2
    with torch.no_grad():  # so that words end, at different lengths
        decoder.classifier.weight.mul_(4)
    classes, scores = decoder.greedy(context, max_length=9)
    lengths = set()
    for elements, row, score in zip(context, classes.tolist(), scores, strict=True):
        hidden = cell = torch.zeros(5)
        previous, word, log_probability, steps = vocabulary.begin, [], 0.0, 0
        while len(word) < 9:
            logits, hidden, cell = naive_step(decoder, elements, previous, hidden, cell)
            logits[vocabulary.begin] = -torch.inf
            log_probability += logits.log_softmax(dim=0).max()
            steps += 1
            previous = int(logits.argmax())
            if previous == vocabulary.end:
                break
            word.append(previous)
        assert vocabulary.decode(row) == vocabulary.decode(word)
        torch.testing.assert_close(score, (log_probability / steps).exp(), rtol=1e-4, atol=1e-5)
        lengths.add(len(word))
    assert len(lengths) > 4, "the words should end at different steps"


def test_reading_stops_when_all_words_have_ended(decoder, monkeypatch):
    calls = []
    step = decoder.step
    monkeypatch.setattr(decoder, "step", lambda *a: calls.append(1) or step(*a))
    with torch.no_grad():
        decoder.classifier.weight.zero_()
        decoder.classifier.bias.zero_()
        decoder.classifier.bias[decoder.end] = 10
    classes, scores = decoder.greedy(torch.randn(4, 7, 6), max_length=32)
    assert len(calls) == 1
    assert classes.shape == (4, 0)
    assert (scores > 0.99).all()


def test_loss_is_the_mean_over_characters(vocabulary):
    texts = torch.tensor([vocabulary.encode("ab", 4), vocabulary.encode("fedc", 4)])
    logits = torch.randn(2, 5, len(vocabulary), generator=torch.manual_seed(0))
    log_probability = logits.log_softmax(dim=-1)
    expected = -sum(
        log_probability[n, t, texts[n, t]] for n, length in ((0, 3), (1, 5)) for t in range(length)
    )
    torch.testing.assert_close(recognition_loss(logits, texts), expected / 8)


def test_loss_of_nothing_is_zero_with_a_gradient():
    logits = torch.randn(1, 1, 8, requires_grad=True)
    loss = recognition_loss(logits, torch.full((1, 1), Vocabulary.PADDING))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_loss_equals_torch_reference():
    logits = torch.randn(3, 4, 8, generator=torch.manual_seed(3))
    texts = torch.tensor([[0, 1, 7, -100], [2, 7, -100, -100], [3, 4, 5, 7]])
    torch.testing.assert_close(
        recognition_loss(logits, texts), F.cross_entropy(logits.view(-1, 8), texts.view(-1))
    )
