"""A decoder in parallel against what it must be: independent classes at numbered positions."""

import itertools

import pytest
import torch

from dld_d2.modeling.recognition.positional_decoder import PositionalDecoder
from dld_d2.structures.vocabulary import Vocabulary

VOCABULARY = Vocabulary("ab")
BEGIN, END = VOCABULARY.begin, VOCABULARY.end
MAX_LENGTH = 3


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    decoder = PositionalDecoder(channels=6, hidden_dims=(8, 5), vocabulary=VOCABULARY)
    with torch.no_grad():
        decoder.layers[-1].weight.mul_(4)
    return decoder


def contexts(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(number, MAX_LENGTH + 1, 6, generator=generator)


def all_texts(decoder, context):
    """{classes with the end: log-probability}, `begin` being none of the classes."""
    logits = decoder.layers(context)
    logits[:, BEGIN] = float("-inf")
    steps = logits.log_softmax(dim=-1)
    texts = {}
    for length in range(MAX_LENGTH + 1):
        for text in itertools.product(range(2), repeat=length):
            row = (*text, END)
            texts[row] = sum(steps[t, c].item() for t, c in enumerate(row))
    return texts


def test_positions_are_read_one_by_one(decoder):
    context, texts = contexts(2), torch.tensor([[0, 1, END], [1, END, Vocabulary.PADDING]])
    logits = decoder(context, texts)
    assert logits.shape == (2, 3, 4)
    one = torch.stack([decoder.layers(context[:, t]) for t in range(3)], dim=1)
    torch.testing.assert_close(logits, one)
    changed = context.clone()
    changed[:, 1] += 1
    other = decoder(changed, texts)
    assert torch.equal(other[:, [0, 2]], logits[:, [0, 2]])
    assert not torch.equal(other[:, 1], logits[:, 1])


def test_given_texts_have_the_probability_of_their_characters(decoder):
    context = contexts(2)
    sequences = torch.tensor([[[0, 1, END], [END, -100, -100]], [[1, END, -100], [-100] * 3]])
    found = decoder.log_probability(context, sequences)
    steps = decoder.layers(context).log_softmax(dim=-1)
    expected = [
        [steps[0, 0, 0] + steps[0, 1, 1] + steps[0, 2, END], steps[0, 0, END]],
        [steps[1, 0, 1] + steps[1, 1, END], torch.tensor(0.0)],
    ]
    torch.testing.assert_close(found, torch.stack([torch.stack(row) for row in expected]))


def test_greedy_reading(decoder):
    context = contexts(40)
    classes, scores = decoder.greedy(context, MAX_LENGTH)
    assert classes.shape == (40, MAX_LENGTH) and (classes != BEGIN).all()
    logits = decoder.layers(context)
    logits[..., BEGIN] = float("-inf")
    probability = logits.softmax(dim=-1)
    ends = 0
    for n in range(40):
        best = probability[n].argmax(dim=-1).tolist()
        length = best.index(END) if END in best[:MAX_LENGTH] else MAX_LENGTH
        assert classes[n].tolist() == best[:length] + [END] * (MAX_LENGTH - length)
        steps = probability[n].amax(dim=-1)[: min(length + 1, MAX_LENGTH)]
        assert scores[n].item() == pytest.approx(steps.log().mean().exp().item(), rel=1e-4)
        ends += length < MAX_LENGTH
    assert 0 < ends < 40


def test_beam_search_over_positions(decoder):
    """Wide enough to keep all texts, it finds the best ones in order."""
    context = contexts(20, seed=1)
    found = decoder.k_best(context, num_sequences=3, width=16, max_length=MAX_LENGTH)
    for n in range(20):
        known = all_texts(decoder, context[n])
        best = sorted(known.values(), reverse=True)[:3]
        assert found.log_probabilities[n].tolist() == pytest.approx(best, abs=1e-4)
        for row, value in zip(found.sequences[n].tolist(), best, strict=True):
            text = tuple(c for c in row if c != Vocabulary.PADDING)
            assert known[text] == pytest.approx(value, abs=1e-4)


def test_the_best_text_is_found_by_a_narrow_search(decoder):
    context = contexts(100, seed=2)
    found = decoder.k_best(context, num_sequences=1, width=5, max_length=MAX_LENGTH)
    best = [max(all_texts(decoder, row).values()) for row in context]
    exact = (found.log_probabilities[:, 0] - torch.tensor(best)).abs() < 1e-4
    assert exact.sum() >= 98


def test_a_search_leaves_the_logits_as_they_are(decoder):
    memory = decoder.memory(contexts(2))
    state = decoder.initial_state(memory.logits)
    logits, state = decoder.step(memory, torch.tensor([BEGIN, BEGIN]), state)
    torch.testing.assert_close(logits, memory.logits[:, 0])
    logits.fill_(0)
    assert not (memory.logits[:, 0] == 0).all() and state.number.tolist() == [1, 1]
