"""Beam search against exhaustive enumeration and a naive search of one word at a time."""

import itertools
import math
from collections import namedtuple

import pytest
import torch

from dld_d2.modeling.recognition.beam_search import beam_search
from dld_d2.modeling.recognition.decoder import AttentionDecoder
from dld_d2.structures.vocabulary import Vocabulary

PADDING = Vocabulary.PADDING


def make_decoder(characters, confidence=1.0, end_bias=0.0):
    """Words end at different lengths for a confidence of 12 and an end bias of -2."""
    torch.manual_seed(0)
    decoder = AttentionDecoder(channels=6, hidden_dim=5, vocabulary=Vocabulary(characters))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
        decoder.classifier.weight.mul_(confidence)
        decoder.classifier.bias[decoder.end] += end_bias
    return decoder


class TableDecoder:
    """Says by a table (places, classes) what is likely at each place, whatever came before."""

    num_classes, end, begin = 5, 3, 4
    Memory = namedtuple("Memory", "context")
    State = namedtuple("State", "place")

    def __init__(self, table):
        self.table = table

    def memory(self, context):
        return self.Memory(context)

    def initial_state(self, context):
        return self.State(torch.zeros(len(context), dtype=torch.int64))

    def step(self, memory, previous, state):
        return self.table[state.place].clone(), self.State(state.place + 1)


def make_context(num_words, seed=1):
    return 2 * torch.randn(num_words, 7, 6, generator=torch.manual_seed(seed))


def log_probability(decoder, context, sequence):
    """Of one sequence that ends with `end`, along which the decoder is forced."""
    logits = decoder(context[None], torch.tensor([sequence]))[0]
    logits[:, decoder.begin] = -torch.inf
    steps = logits.log_softmax(dim=1)
    return sum(steps[t, token].item() for t, token in enumerate(sequence))


def naive_beam_search(decoder, context, width, max_length):
    """One word, a Python list of beams, always to the last step; [(log-probability, tokens)]."""
    memory = decoder.memory(context[None])
    beams, ended = [(0.0, [], decoder.initial_state(context[None]))], []
    for t in range(max_length + 1):
        candidates = []
        for score, tokens, state in beams:
            previous = torch.tensor([tokens[-1] if tokens else decoder.begin])
            logits, new_state = decoder.step(memory, previous, state)
            logits[:, decoder.begin] = -torch.inf
            for token, extension in enumerate(logits[0].log_softmax(dim=0).tolist()):
                if token == decoder.end:
                    ended.append((score + extension, [*tokens, token]))
                elif token != decoder.begin and t < max_length:
                    candidates.append((score + extension, [*tokens, token], new_state))
        beams = sorted(candidates, key=lambda beam: -beam[0])[:width]
    return sorted(ended, key=lambda word: -word[0])


def strip(row):
    """Tokens of a row, with a check that padding stands at its end only."""
    tokens = [token for token in row.tolist() if token != PADDING]
    assert row.tolist() == tokens + [PADDING] * (len(row) - len(tokens))
    return tokens


@torch.no_grad()
def test_equals_exhaustive_enumeration():
    decoder, context = make_decoder("ab"), make_context(6)
    words = [list(w) for n in range(4) for w in itertools.product((0, 1), repeat=n)]
    assert len(words) == 15
    result = beam_search(decoder, context, width=15, num_sequences=15, max_length=3)
    assert result.sequences.shape == (6, 15, 4)
    for elements, rows, scores in zip(context, *result, strict=True):
        expected = sorted(
            ((log_probability(decoder, elements, [*w, decoder.end]), w) for w in words),
            reverse=True,
        )
        assert [strip(row) for row in rows] == [[*w, decoder.end] for _, w in expected]
        torch.testing.assert_close(scores, torch.tensor([p for p, _ in expected]))


@torch.no_grad()
def test_the_best_are_the_true_best():
    """A narrow search over random tables of 3 characters by their place, words of up to 3: longer
    words that have not ended do not push out those that have."""
    words = [w for n in range(4) for w in itertools.product(range(3), repeat=n)]
    generator = torch.Generator().manual_seed(0)
    found = {1: 0, 3: 0}
    tables = 200
    for _ in range(tables):
        table = 2 * torch.randn(4, 5, generator=generator)
        decoder = TableDecoder(table)
        table = table.clone()
        table[:, decoder.begin] = -torch.inf
        steps = table.log_softmax(dim=1).tolist()
        scores = {w: sum(steps[t][c] for t, c in enumerate([*w, decoder.end])) for w in words}
        true = sorted(words, key=scores.get, reverse=True)
        result = beam_search(decoder, torch.zeros(1, 1, 1), width=5, num_sequences=3, max_length=3)
        mine = [tuple(strip(row)[:-1]) for row in result.sequences[0]]
        found[1] += mine[:1] == true[:1]
        found[3] += mine == true[:3]
        for word, score in zip(mine, result.log_probabilities[0].tolist(), strict=True):
            assert score == pytest.approx(scores[word], abs=1e-4)
    assert found == {1: tables, 3: tables}


@torch.no_grad()
def test_sequences_that_do_not_exist_are_absent():
    decoder, context = make_decoder("ab"), make_context(3)
    full = beam_search(decoder, context, width=15, num_sequences=15, max_length=3)
    more = beam_search(decoder, context, width=40, num_sequences=20, max_length=3)
    assert torch.equal(more.sequences[:, :15], full.sequences)
    torch.testing.assert_close(more.log_probabilities[:, :15], full.log_probabilities)
    assert (more.sequences[:, 15:] == PADDING).all()
    assert (more.log_probabilities[:, 15:] == -torch.inf).all()


@pytest.mark.parametrize("num_sequences", [1, 2, 3])
@torch.no_grad()
def test_equals_a_naive_search(num_sequences):
    decoder, context = make_decoder("abcdef", confidence=12, end_bias=-2), make_context(20)
    result = beam_search(decoder, context, width=3, num_sequences=num_sequences, max_length=9)
    assert result.log_probabilities.shape == (20, num_sequences)
    lengths = set()
    for elements, rows, scores in zip(context, *result, strict=True):
        expected = naive_beam_search(decoder, elements, width=3, max_length=9)[:num_sequences]
        assert [strip(row) for row in rows] == [tokens for _, tokens in expected]
        torch.testing.assert_close(
            scores, torch.tensor([p for p, _ in expected]), rtol=1e-4, atol=1e-5
        )
        lengths.update(len(tokens) for _, tokens in expected)
    assert len(lengths) > 2, "the words should end at different steps"
    assert result.sequences.shape[2] == max(lengths)


@torch.no_grad()
def test_one_beam_finds_what_is_at_least_as_probable_as_greedy_reading():
    decoder, context = make_decoder("abcdef", confidence=12, end_bias=-2), make_context(40)
    classes, _ = decoder.greedy(context, max_length=6)
    vocabulary = Vocabulary("abcdef")
    words = [vocabulary.decode(row) for row in classes.tolist()]
    assert {0, 6} < {len(word) for word in words}, "empty words and words cut off should occur"
    result = beam_search(decoder, context, width=1, num_sequences=1, max_length=6)
    equal = 0
    for elements, word, row, best in zip(
        context, words, result.sequences[:, 0], result.log_probabilities[:, 0], strict=True
    ):
        greedy = [*("abcdef".index(c) for c in word), decoder.end]
        assert best >= log_probability(decoder, elements, greedy) - 1e-4
        equal += strip(row) == greedy
    assert equal > 0


@torch.no_grad()
def test_wider_finds_what_greedy_misses():
    decoder, context = make_decoder("abcdef", confidence=12, end_bias=-2), make_context(40)
    best = {
        width: beam_search(decoder, context, width=width, num_sequences=1, max_length=5)[1]
        for width in (1, 20)
    }
    assert (best[20] >= best[1] - 1e-5).all()
    assert (best[20] > best[1] + 1e-3).any()


@torch.no_grad()
def test_batched_equals_one_by_one():
    decoder, context = make_decoder("abcdef", confidence=12, end_bias=-2), make_context(12)
    together = beam_search(decoder, context, width=4, num_sequences=3, max_length=9)
    for i in range(12):
        alone = beam_search(decoder, context[i : i + 1], width=4, num_sequences=3, max_length=9)
        assert [strip(r) for r in together.sequences[i]] == [strip(r) for r in alone.sequences[0]]
        torch.testing.assert_close(together.log_probabilities[i], alone.log_probabilities[0])


@torch.no_grad()
def test_log_probabilities_are_those_of_teacher_forcing():
    decoder, context = make_decoder("abcdef", confidence=12, end_bias=-2), make_context(5)
    result = beam_search(decoder, context, width=5, num_sequences=4, max_length=6)
    assert (result.log_probabilities.diff(dim=1) <= 0).all()
    for elements, rows, scores in zip(context, *result, strict=True):
        for row, score in zip(rows, scores, strict=True):
            assert score.item() == pytest.approx(
                log_probability(decoder, elements, strip(row)), rel=1e-4, abs=1e-5
            )


@pytest.mark.parametrize(("num_sequences", "calls"), [(1, 1), (3, 3)])
def test_stops_when_the_best_have_ended(monkeypatch, num_sequences, calls):
    # Every step ends with probability near 1: the j-th best sequence has j - 1 characters.
    decoder = make_decoder("a")
    with torch.no_grad():
        decoder.classifier.weight.zero_()
        decoder.classifier.bias.copy_(torch.tensor([0.0, 0.0, 10.0]))
    steps = []
    step = decoder.step
    monkeypatch.setattr(decoder, "step", lambda *a: steps.append(1) or step(*a))
    result = beam_search(
        decoder, make_context(4), width=5, num_sequences=num_sequences, max_length=32
    )
    assert len(steps) == calls
    assert result.sequences.shape == (4, num_sequences, num_sequences)
    p_end = 1 / (1 + math.exp(-10))
    expected = [math.log(p_end) + j * math.log1p(-p_end) for j in range(num_sequences)]
    torch.testing.assert_close(result.log_probabilities[0], torch.tensor(expected))


def test_begin_is_never_predicted():
    decoder = make_decoder("ab")
    with torch.no_grad():
        decoder.classifier.bias[decoder.begin] += 50
    result = beam_search(decoder, make_context(4), width=3, num_sequences=3, max_length=4)
    assert (result.sequences != decoder.begin).all()
    assert result.log_probabilities.isfinite().all()


def test_half_precision_under_autocast():
    decoder, context = make_decoder("abc"), make_context(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = beam_search(decoder, context.bfloat16(), width=3, num_sequences=2, max_length=4)
    assert result.log_probabilities.dtype == torch.float32
    assert result.log_probabilities.isfinite().all()


@pytest.mark.parametrize("changes", [{"num_sequences": 4}, {"num_sequences": 0}, {"max_length": 0}])
def test_impossible_arguments(changes):
    arguments = {"width": 3, "num_sequences": 1, "max_length": 5, **changes}
    with pytest.raises(ValueError, match=r"num_sequences|max_length"):
        beam_search(make_decoder("ab"), make_context(1), **arguments)
