"""CTC decoder against the enumeration of all alignments, and a naive search of one word."""

import itertools
import math
from collections import defaultdict

import pytest
import torch

from dld_d2.distillation.terms.sequence import SequenceTerm
from dld_d2.modeling.recognition.ctc import ctc_loss
from dld_d2.modeling.recognition.ctc_decoder import IMPOSSIBLE, CTCDecoder
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.structures.vocabulary import Vocabulary

PADDING = Vocabulary.PADDING
CHANNELS = 6
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def make_decoder(characters, confidence=2.0):
    torch.manual_seed(0)
    decoder = CTCDecoder(CHANNELS, Vocabulary(characters))
    with torch.no_grad():
        decoder.classifier.weight.mul_(confidence)
    return decoder


def make_context(num_words, length, seed=1):
    return 2 * torch.randn(num_words, length, CHANNELS, generator=torch.manual_seed(seed))


def padded(rows):
    """One batch of contexts (L, C) of different lengths."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def reader(characters):
    """A decoder whose logits are the context."""
    decoder = CTCDecoder(len(characters) + 1, Vocabulary(characters))
    with torch.no_grad():
        decoder.classifier.weight.copy_(torch.eye(len(characters) + 1))
        decoder.classifier.bias.zero_()
    return decoder


def showing(characters, *paths):
    """Contexts of a `reader`, each position of which shows a character with probability near 1;
    "-" is the blank."""
    classes = [[(characters + "-").index(c) for c in path] for path in paths]
    return padded([10 * torch.eye(len(characters) + 1)[row] for row in classes])


def encoded(vocabulary, *words, length=None):
    """(N, T) of words, which may be empty, or None for a row of padding."""
    length = length or max(len(word or "") for word in words)
    rows = []
    for word in words:
        row = [] if word is None else [*map(vocabulary.characters.index, word), vocabulary.end]
        rows.append(row + [PADDING] * (length + 1 - len(row)))
    return torch.tensor(rows)


def collapse(path, blank):
    return tuple(c for c, _ in itertools.groupby(path) if c != blank)


def enumerate_texts(logits):
    """One word's (L, V) logits: {text: log-probability} of all texts, summed over all alignments;
    in double precision, with gradient."""
    steps = logits.double().log_softmax(dim=-1)
    length, num_classes = steps.shape
    alignments = defaultdict(list)
    for path in itertools.product(range(num_classes), repeat=length):
        text = collapse(path, num_classes - 1)
        alignments[text].append(sum(steps[t, c] for t, c in enumerate(path)))
    return {text: torch.stack(terms).logsumexp(dim=0) for text, terms in alignments.items()}


def naive_prefix_search(logits, width, max_length):
    """One word's beams {text: log-probability of the alignments that were kept}."""
    steps = logits.double().log_softmax(dim=-1).exp().tolist()
    blank = len(steps[0]) - 1
    beams = {(): (1.0, 0.0)}
    for step in steps:
        new = defaultdict(lambda: [0.0, 0.0])
        for text, (by_blank, by_character) in beams.items():
            new[text][0] += (by_blank + by_character) * step[blank]
            if text:
                new[text][1] += by_character * step[text[-1]]
            for c in range(blank):
                if len(text) < max_length:
                    before = by_blank if text[-1:] == (c,) else by_blank + by_character
                    new[(*text, c)][1] += before * step[c]
        beams = dict(sorted(new.items(), key=lambda item: -sum(item[1]))[:width])
    return {text: math.log(sum(p)) for text, p in beams.items() if sum(p) > 0}


def strip(row, end):
    """Characters of a row, with a check that one end and then nothing but padding follow."""
    row = row.tolist()
    length = row.index(end)
    assert row[length + 1 :] == [PADDING] * (len(row) - length - 1)
    return tuple(row[:length])


# Texts and padding


def test_logits_are_those_of_the_classifier_but_at_padding():
    decoder = make_decoder("abc")
    rows = [*make_context(2, 5), make_context(1, 3)[0]]
    logits = decoder(padded(rows), encoded(Vocabulary("abc"), "a", "b", "c"))
    assert logits.shape == (3, 5, 4)
    for row, elements in zip(logits, rows, strict=True):
        torch.testing.assert_close(row[: len(elements)], decoder.classifier(elements))
    probabilities = logits[2, 3:].softmax(dim=-1)
    assert torch.equal(probabilities, torch.tensor([0.0, 0, 0, 1]).expand(2, 4))
    valid = decoder.valid(logits, encoded(Vocabulary("abc"), "a", "b", "c"))
    assert valid.tolist() == [[True] * 5, [True] * 5, [True] * 3 + [False] * 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_padding_in_half_precision(dtype):
    decoder = make_decoder("abc")
    context = padded([make_context(1, 4)[0], make_context(1, 2)[0]])
    expected = decoder(context)
    logits = decoder.to(dtype)(context.to(dtype))
    assert logits.dtype == dtype and logits.isfinite().all()
    valid = [[True] * 4, [True] * 2 + [False] * 2]
    for each in (logits, logits.float(), 0.9 * logits):
        assert decoder.valid(each).tolist() == valid
    probabilities = logits.float().softmax(dim=-1)
    assert torch.equal(probabilities[1, 2:], expected.softmax(dim=-1)[1, 2:])
    texts = encoded(Vocabulary("abc"), "ab", "c")
    losses = decoder.negative_log_likelihood(logits, texts)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(
        losses, decoder.negative_log_likelihood(expected, texts), rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize("length", [1, 3, 6], ids=lambda n: f"of{n}")
def test_padding_changes_nothing(length):
    """A row alone is read as it is in a batch with longer ones."""
    decoder, vocabulary = make_decoder("abc"), Vocabulary("abc")
    rows = [make_context(1, n, seed=n)[0] for n in (6, length, 8)]
    words = ("ab", "a" * ((length + 1) // 2), "cac")
    texts = encoded(vocabulary, *words, length=4)
    sequences = torch.stack([texts, encoded(vocabulary, "b", None, "bbb", length=4)], dim=1)
    results = []
    for context, own in ((padded(rows), slice(1, 2)), (rows[1][None], slice(0, 1))):
        context.requires_grad_()
        of_rows = slice(0, 3) if len(context) == 3 else slice(1, 2)
        decoder.zero_grad()
        logits = decoder(context, texts[of_rows])
        valid = decoder.valid(logits, texts[of_rows])[own]
        assert valid.sum() == length and valid[:, :length].all()
        losses = decoder.negative_log_likelihood(logits, texts[of_rows])
        judged = decoder.log_probability(context, sequences[of_rows])
        (losses[own].sum() - judged[own].sum()).backward()
        path = decoder.best_path(logits.detach())
        characters = int((path.classes[own] != PADDING).sum())
        classes, scores = decoder.greedy(context, max_length=5)
        found = decoder.k_best(context, num_sequences=20, width=20, max_length=5)
        best = [
            strip(row, vocabulary.end) if p > -torch.inf else None
            for row, p in zip(found.sequences[own][0], found.log_probabilities[own][0], strict=True)
        ]
        results.append(
            {
                "logits": logits[own, :length].detach(),
                "losses": losses[own].detach(),
                "judged": judged[own].detach(),
                "path": [part[own, :characters] for part in path],
                "text": vocabulary.decode(classes[own][0].tolist()),
                "scores": scores[own],
                "found": found.log_probabilities[own],
                "best": best,
                "gradient": context.grad[own, :length],
                "rest": context.grad[own, length:].abs().sum(),
                "weight": decoder.classifier.weight.grad,
                "can_hold": decoder.can_hold(logits, texts[of_rows])[own],
            }
        )
    together, alone = results
    assert together.pop("best") == alone.pop("best")
    assert together.pop("text") == alone.pop("text")
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert alone["gradient"].any() and together["rest"] == 0


def test_a_word_that_is_all_padding():
    decoder, vocabulary = make_decoder("ab"), Vocabulary("ab")
    for first in (torch.zeros(3, CHANNELS), make_context(1, 3)[0]):
        context = padded([first, torch.zeros(1, CHANNELS)])
        logits = decoder(context)
        for word, loss in ((None, 0), ("", 0), ("a", IMPOSSIBLE)):
            texts = encoded(vocabulary, "ab", word)
            assert decoder.negative_log_likelihood(logits, texts)[1] == loss
            assert decoder.log_probability(context, texts[:, None])[1, 0] == -loss
        classes, scores = decoder.greedy(context, max_length=5)
        assert vocabulary.decode(classes[1].tolist()) == "" and scores[1] == 0
        found = decoder.k_best(context, num_sequences=2, width=3, max_length=5)
        assert found.log_probabilities[1].tolist() == [0, -torch.inf]
        assert strip(found.sequences[1, 0], vocabulary.end) == ()
        assert (found.sequences[1, 1] == PADDING).all()


# Probabilities


def test_likelihoods_are_sums_over_alignments():
    """Of every text that five positions can hold, value and gradient."""
    decoder, vocabulary = make_decoder("ab"), Vocabulary("ab")
    context = make_context(1, 5)[0]
    expected = enumerate_texts(decoder(context[None])[0])
    assert len(expected) == 25 and () in expected and (0, 0, 0) in expected
    words = ["".join(vocabulary.characters[c] for c in text) for text in expected]
    texts = encoded(vocabulary, *words)
    logits = decoder(context.expand(len(texts), -1, -1), texts)
    assert decoder.can_hold(logits, texts).all()
    losses = decoder.negative_log_likelihood(logits, texts)
    values = torch.stack(list(expected.values()))
    torch.testing.assert_close(losses.double(), -values, rtol=1e-5, atol=1e-5)
    assert sum(math.exp(-loss) for loss in losses.tolist()) == pytest.approx(1, abs=1e-5)

    # Each text with a factor of its own, so that gradients do not cancel out.
    factors = torch.rand(len(texts), generator=torch.manual_seed(3))
    parameters = list(decoder.parameters())
    of_losses = torch.autograd.grad((losses * factors).sum(), parameters)
    of_values = torch.autograd.grad(-(values * factors).sum(), parameters)
    torch.testing.assert_close(of_losses, of_values, rtol=1e-4, atol=1e-5)


def test_log_probability_is_a_sum_over_alignments():
    decoder, vocabulary = make_decoder("abc"), Vocabulary("abc")
    context = make_context(2, 4).requires_grad_()
    words = [["aba", "", None, "bb"], ["c", "abc", "aa", "cbac"]]
    sequences = torch.stack([encoded(vocabulary, *row, length=5) for row in words])
    judged = decoder.log_probability(context, sequences)
    assert judged.shape == (2, 4) and judged.dtype == torch.float32
    assert judged[0, 2] == 0
    logits = decoder(context)
    total = 0.0
    factors = torch.rand(2, 4, generator=torch.manual_seed(3))
    for i, row in enumerate(words):
        expected = enumerate_texts(logits[i])
        for j, word in enumerate(row):
            if word is not None:
                value = expected[tuple(map(vocabulary.characters.index, word))]
                assert judged[i, j].item() == pytest.approx(value.item(), rel=1e-5)
                total = total + factors[i, j] * value
    inputs = [context, *decoder.parameters()]
    gradients = torch.autograd.grad((judged * factors).sum(), inputs)
    torch.testing.assert_close(gradients, torch.autograd.grad(total, inputs), rtol=1e-4, atol=1e-5)
    assert all(gradient.any() for gradient in gradients)


def test_equals_the_loss_of_the_contextual_features():
    decoder, vocabulary = make_decoder("abc"), Vocabulary("abc")
    texts = encoded(vocabulary, "ab", "ccb", "a")
    logits = decoder(make_context(3, 7), texts)
    losses = decoder.negative_log_likelihood(logits, texts)
    torch.testing.assert_close(losses.sum() / 6, ctc_loss(logits, texts))


def test_texts_that_the_positions_cannot_hold():
    decoder, vocabulary = make_decoder("ab"), Vocabulary("ab")
    # Three positions hold "aba", not "aab", which takes a blank; the last row has two, and padding.
    context = padded([*make_context(4, 3), make_context(1, 2)[0]]).requires_grad_()
    texts = encoded(vocabulary, "aba", "aab", "abab", None, "aba")
    logits = decoder(context, texts)
    assert decoder.can_hold(logits, texts).tolist() == [True, False, False, True, False]
    losses = decoder.negative_log_likelihood(logits, texts)
    assert losses[[1, 2, 4]].tolist() == [IMPOSSIBLE] * 3
    assert losses[3] == 0 and 0 < losses[0] < IMPOSSIBLE
    losses.sum().backward()
    assert context.grad.isfinite().all()
    assert context.grad[0].any() and not context.grad[1:].any()
    judged = decoder.log_probability(context, texts[:, None])
    torch.testing.assert_close(judged[:, 0], -losses)
    context.grad = None
    judged[1:].sum().backward()
    assert not context.grad.any()


def test_gradients_stay_finite_where_probabilities_vanish():
    decoder, vocabulary = reader("ab"), Vocabulary("ab")
    context = torch.zeros(2, 6, 3)
    context[..., 2] = 300.0  # blanks without doubt
    context.requires_grad_()
    texts = encoded(vocabulary, "abab", "b")
    losses = decoder.negative_log_likelihood(decoder(context), texts)
    losses.sum().backward()
    torch.testing.assert_close(losses.detach(), torch.tensor([1200.0, 300.0]), atol=5, rtol=0)
    assert context.grad.isfinite().all() and context.grad.any()


def test_no_words_are_connected_to_every_parameter():
    decoder = make_decoder("ab")
    context = make_context(0, 4).requires_grad_()
    logits = decoder(context, torch.empty(0, 1, dtype=torch.int64))
    texts = torch.empty(0, 3, dtype=torch.int64)
    losses = decoder.negative_log_likelihood(logits, texts)
    judged = decoder.log_probability(context, texts.view(0, 2, 3))
    assert logits.shape == (0, 4, 3) and decoder.valid(logits, texts).shape == (0, 4)
    assert losses.shape == (0,) and judged.shape == (0, 2)
    for value in (logits, losses, judged):
        decoder.zero_grad()
        value.sum().backward(retain_graph=True)
        assert all(p.grad is not None and not p.grad.any() for p in decoder.parameters())
    classes, scores = decoder.greedy(context, max_length=3)
    assert classes.shape == (0, 0) and scores.shape == (0,)


def test_no_sequences():
    decoder = make_decoder("ab")
    none = torch.empty(2, 0, 3, dtype=torch.int64)
    assert decoder.log_probability(make_context(2, 4), none).shape == (2, 0)


# The best path


def test_best_path_merges_runs_and_drops_blanks():
    decoder = reader("abc")
    context = showing("abc", "aa-a-bbb", "cab", "---", "-ccc")
    classes, columns, probabilities = decoder.best_path(decoder(context))
    assert classes.dtype == torch.int64
    assert columns.dtype == probabilities.dtype == torch.float32
    assert classes.tolist() == [
        [0, 0, 1],
        [2, 0, 1],
        [PADDING] * 3,
        [2, PADDING, PADDING],
    ]
    assert columns.tolist() == [[1, 3.5, 6.5], [0.5, 1.5, 2.5], [0, 0, 0], [2.5, 0, 0]]
    sure = math.exp(10) / (math.exp(10) + 3)
    expected = torch.tensor([[1.0, 1, 1], [1, 1, 1], [0, 0, 0], [1, 0, 0]]) * sure
    torch.testing.assert_close(probabilities, expected)


def test_best_path_equals_one_word_at_a_time():
    decoder, vocabulary = make_decoder("ab"), Vocabulary("ab")
    rows = [make_context(1, n, seed=n)[0] for n in (20, 3, 9, 1, 20)]
    context = padded(rows)
    path = decoder.best_path(decoder(context))
    classes, scores = decoder.greedy(context, max_length=4)
    for i, elements in enumerate(rows):
        steps = decoder.classifier(elements).softmax(dim=1)
        text, columns, probabilities, p = [], [], [], 0
        for c, run in itertools.groupby(steps.argmax(dim=1).tolist()):
            length = len(list(run))
            if c != 2:
                text.append(c)
                columns.append(p + length / 2)
                probabilities.append(steps[p, c].item())
            p += length
        rest = path.classes.shape[1] - len(text)
        assert path.classes[i].tolist() == text + [PADDING] * rest
        assert path.columns[i].tolist() == columns + [0] * rest
        expected = torch.tensor(probabilities + [0.0] * rest)
        torch.testing.assert_close(path.probabilities[i], expected)
        kept = text[:4]
        assert classes[i].tolist() == kept + [vocabulary.end] * (4 - len(kept))
        kept = probabilities[:4]
        assert scores[i].item() == pytest.approx(sum(kept) / max(len(kept), 1), rel=1e-5)
    assert path.classes.shape[1] > 4, "a word should be cut off"


def test_greedy_reads_repeated_characters_and_nothing():
    decoder, vocabulary = reader("ab"), Vocabulary("ab")
    context = showing("ab", "aa-aab", "aaab", "------")
    classes, scores = decoder.greedy(context, max_length=8)
    assert [vocabulary.decode(row) for row in classes.tolist()] == ["aab", "ab", ""]
    assert classes.tolist()[2] == [vocabulary.end] * 3
    assert scores[2] == 0 and (scores[:2] > 0.99).all() and (scores <= 1).all()
    assert not scores.requires_grad
    assert decoder.greedy(context[2:], max_length=8)[0].shape == (1, 0)
    assert decoder.greedy(context, max_length=2)[0].tolist()[0] == [0, 0]


# The search


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("characters", "length"), [("ab", 5), ("abc", 4)])
def test_search_equals_exhaustive_enumeration(characters, length, device):
    decoder, context = make_decoder(characters), make_context(4, length)
    logits = decoder(context).detach()
    expected = [
        sorted(((p.item(), text) for text, p in enumerate_texts(row).items()), reverse=True)
        for row in logits
    ]
    many = len(expected[0])
    found = decoder.to(device).k_best(
        context.to(device), num_sequences=many + 3, width=many + 9, max_length=32
    )
    assert found.sequences.shape == (4, many + 3, length + 1)
    for row, sequences, scores in zip(expected, *found, strict=True):
        texts = [strip(sequence.cpu(), decoder.end) for sequence in sequences[:many]]
        assert texts == [text for _, text in row]
        values = torch.tensor([p for p, _ in row])
        torch.testing.assert_close(scores[:many].cpu(), values, rtol=1e-4, atol=1e-5)
    # There are no more texts than these.
    assert (found.sequences[:, many:] == PADDING).all()
    assert (found.log_probabilities[:, many:] == -torch.inf).all()


@pytest.mark.parametrize("max_length", [1, 2])
def test_search_without_longer_texts(max_length):
    decoder, context = make_decoder("ab"), make_context(4, 5)
    found = decoder.k_best(context, num_sequences=5, width=40, max_length=max_length)
    assert found.sequences.shape[2] == max_length + 1
    for logits, sequences, scores in zip(decoder(context), *found, strict=True):
        row = sorted(
            (
                (p.item(), text)
                for text, p in enumerate_texts(logits).items()
                if len(text) <= max_length
            ),
            reverse=True,
        )[:5]
        texts = [strip(s, decoder.end) for s, p in zip(sequences, scores, strict=True) if p > -1e9]
        assert texts == [text for _, text in row]
        values = torch.tensor([p for p, _ in row])
        torch.testing.assert_close(scores[: len(row)], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("characters", ["ab", "abcdef"])
def test_search_keeps_the_beams_of_a_naive_one(characters, width, device):
    # Of many words, some hinge on every detail of the search.
    decoder = make_decoder(characters, confidence=1.0)
    lengths = [3, 4, 9, *[10] * 97]
    rows = [make_context(1, n, seed=i)[0] for i, n in enumerate(lengths)]
    found = decoder.to(device).k_best(
        padded(rows).to(device), num_sequences=width, width=width, max_length=6
    )
    judged = decoder.log_probability(padded(rows).to(device), found.sequences)
    torch.testing.assert_close(found.log_probabilities, judged.detach(), rtol=1e-4, atol=1e-5)
    assert (found.log_probabilities.diff(dim=1) <= 0).all()
    lengths = set()
    for elements, sequences, scores in zip(rows, *found, strict=True):
        logits = decoder.classifier(elements.to(device)).cpu()
        expected = naive_prefix_search(logits, width, max_length=6)
        texts = [strip(sequence.cpu(), decoder.end) for sequence in sequences]
        assert len(texts) == width and set(texts) == set(expected)
        # What the search dropped is not missing in what it says in the end.
        assert all(p >= expected[t] - 1e-4 for t, p in zip(texts, scores.tolist(), strict=True))
        lengths.update(map(len, texts))
    assert len(lengths) > 2, "texts should differ in length"


@torch.no_grad()
def test_search_sums_over_alignments():
    """Of two positions, "-" is the most probable path, but "a" has three that are nearly so."""
    decoder = reader("ab")
    context = torch.tensor([0.4, 1e-9, 0.6]).log().expand(1, 2, 3)
    classes, _ = decoder.greedy(context, max_length=5)
    assert classes.shape == (1, 0)
    found = decoder.k_best(context, num_sequences=2, width=3, max_length=5)
    assert found.sequences.tolist() == [[[0, decoder.end], [decoder.end, PADDING]]]
    torch.testing.assert_close(found.log_probabilities.exp(), torch.tensor([[0.64, 0.36]]))


def test_search_reads_repeated_characters():
    decoder, vocabulary = reader("ab"), Vocabulary("ab")
    context = showing("ab", "aa-aab", "aaab", "------")
    found = decoder.k_best(context, num_sequences=1, width=3, max_length=8)
    words = [vocabulary.decode(row) for row in found.sequences[:, 0].tolist()]
    assert words == ["aab", "ab", ""]
    assert (found.log_probabilities > -0.01).all()


def test_search_in_long_words_with_many_characters():
    """A narrow search of 60 positions and 95 characters still finds what is written."""
    vocabulary = Vocabulary()
    generator = torch.manual_seed(5)
    decoder = reader(vocabulary.characters)
    words = ["connectionist", "bookkeeper", "aa bb", "x" * 30]
    context = 2 * torch.randn(4, 60, 96, generator=generator)
    for row, word in zip(context, words, strict=True):
        path = [part for c in word for part in (vocabulary.encode(c, 1)[0], decoder.blank)]
        path += [decoder.blank] * (60 - len(path))
        row[torch.arange(60), path] += 15
    found = decoder.k_best(context, num_sequences=2, width=5, max_length=32)
    assert found.sequences.shape == (4, 2, 32)
    assert [vocabulary.decode(row) for row in found.sequences[:, 0].tolist()] == words
    judged = decoder.log_probability(context, found.sequences).detach()
    torch.testing.assert_close(found.log_probabilities, judged, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{"num_sequences": 4}, {"num_sequences": 0}, {"max_length": 0}])
def test_impossible_arguments(changes):
    arguments = {"width": 3, "num_sequences": 1, "max_length": 5, **changes}
    with pytest.raises(ValueError, match=r"num_sequences|max_length"):
        make_decoder("ab").k_best(make_context(1, 4), **arguments)


# Precision and what uses it


@pytest.mark.parametrize("device", DEVICES)
def test_half_precision_under_autocast(device):
    decoder, vocabulary = make_decoder("abc").to(device), Vocabulary("abc")
    rows = [make_context(1, n, seed=n)[0] for n in (6, 4, 6)]
    context = padded(rows).to(device).requires_grad_()
    texts = encoded(vocabulary, "ab", "aaaaa", None).to(device)
    exact = decoder.negative_log_likelihood(decoder(context), texts)
    with torch.autocast(device, dtype=torch.bfloat16):
        logits = decoder(context, texts)
        assert logits.dtype == torch.bfloat16
        losses = decoder.negative_log_likelihood(logits, texts)
        judged = decoder.log_probability(context.bfloat16(), texts[:, None])
        found = decoder.k_best(context.bfloat16(), num_sequences=2, width=4, max_length=4)
        _, scores = decoder.greedy(context.bfloat16(), max_length=4)
        path = decoder.best_path(logits)
    for values in (losses, judged, found.log_probabilities, scores, path.probabilities):
        assert values.dtype == torch.float32 and values.isfinite().all()
    torch.testing.assert_close(losses, exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(judged[:, 0], -exact, rtol=0.05, atol=0.05)
    (losses.sum() - judged.sum()).backward()
    for gradient in (context.grad, *(p.grad for p in decoder.parameters())):
        assert gradient.isfinite().all() and gradient.any()
    assert not context.grad[1:].any()


def make_reading(decoder, context, texts):
    image_index = torch.zeros(len(texts), dtype=torch.int64)
    return Reading(decoder(context, texts), texts, image_index, context, decoder)


def test_readings():
    decoder, vocabulary = make_decoder("abc"), Vocabulary("abc")
    context = padded([make_context(1, n, seed=n)[0] for n in (6, 4)])
    texts = encoded(vocabulary, "cab", "b")
    reading = make_reading(decoder, context, texts)
    assert reading.valid.sum(dim=1).tolist() == [6, 4]
    found = reading.k_best(num_sequences=3, width=5, max_length=5)
    torch.testing.assert_close(
        reading.log_probability(found.sequences).detach(), found.log_probabilities
    )
    torch.testing.assert_close(
        reading.log_probability(texts[:, None])[:, 0], -reading.negative_log_likelihood()
    )
    nothing = reading.without_rows()
    found = nothing.k_best(num_sequences=3, width=5, max_length=5)
    total = nothing.log_probability(found.sequences).sum() + nothing.negative_log_likelihood().sum()
    total.backward()
    assert total == 0
    assert all(p.grad is not None and not p.grad.any() for p in decoder.parameters())


@pytest.mark.parametrize("num_sequences", [1, 3])
def test_what_the_teacher_finds_is_taught(num_sequences):
    decoder, vocabulary = make_decoder("abc"), Vocabulary("abc")
    torch.manual_seed(7)
    teacher = CTCDecoder(CHANNELS, vocabulary)
    context = padded([make_context(1, n, seed=n)[0] for n in (5, 4, 1)])
    texts = encoded(vocabulary, "cab", "b", "a")
    term = SequenceTerm(num_sequences=num_sequences, beam_width=6, max_length=5)
    target = make_reading(teacher, context, texts)

    def loss_of(decoder):
        return term(make_reading(decoder, context, texts), target)["loss_seq"]

    best = target.k_best(num_sequences=num_sequences, width=6, max_length=5)
    expected = 0.0
    for logits, sequences in zip(decoder(context), best.sequences, strict=True):
        known = enumerate_texts(logits)
        found = [strip(row, vocabulary.end) for row in sequences]
        expected -= torch.stack([known[text] for text in found]).logsumexp(dim=0).item() / 3
    loss = loss_of(decoder)
    assert loss.item() == pytest.approx(expected, rel=1e-4)

    optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(decoder).backward()
        optimizer.step()
    assert loss_of(decoder) < 0.9 * loss


def test_a_text_that_only_the_teacher_can_hold_leaves_the_others():
    decoder, vocabulary = make_decoder("ab"), Vocabulary("ab")
    teacher = reader("ab")
    target = make_reading(teacher, showing("ab", "ab-b"), encoded(vocabulary, "ab"))
    student = make_reading(decoder, make_context(1, 2), encoded(vocabulary, "ab"))
    found = target.k_best(num_sequences=2, width=8, max_length=4)
    words = [vocabulary.decode(row) for row in found.sequences[0].tolist()]
    assert words[0] == "abb" and len(words[1]) <= 2
    term = SequenceTerm(num_sequences=2, beam_width=8, max_length=4)
    loss = term(student, target)["loss_seq"]
    torch.testing.assert_close(loss, -student.log_probability(found.sequences)[0, 1])
    loss.backward()
    assert decoder.classifier.weight.grad.any()
