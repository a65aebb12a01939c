"""CTC decoder: every position of the contextual features says a character or nothing."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dld_d2.modeling.recognition.decoding import BestSequences, Decoder, check_search
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["IMPOSSIBLE", "BestPath", "CTCDecoder"]

# The logit of a character at padding: a power of two, which half precision holds exactly, and so
# low that its probability is 0 beside the blank's logit of 0.
_NEVER = -(2.0**13)

IMPOSSIBLE = 1e3
"""What stands for the infinite -log p of a text that the positions cannot hold: above that of any
text that they can, in practice, so that a sum of probabilities leaves it out and a comparison of
scales does not prefer it; and finite, so that means over words remain numbers."""


class BestPath(NamedTuple):
    """The most probable class of every position of N words, repetitions and blanks taken out.

    Attributes:
        classes: (N, T) int64, characters, then `PADDING`; T >= 0 is the length of the longest.
        columns: (N, T) float32, for each character the centre of its run of positions, position p
            covering [p, p + 1]; 0 at padding.
        probabilities: (N, T) float32 at least, of each character at the first position of its run;
            0 at padding.
    """

    classes: Tensor
    columns: Tensor
    probabilities: Tensor


class CTCDecoder(Decoder):
    """A linear layer whose every position says what it shows (Graves et al., Connectionist temporal
    classification, ICML 2006).

    There are V = characters + 1 classes: class i < V - 1 is character i of the vocabulary, the last
    one is the blank, "nothing new here". The probability of a text is the sum over all alignments:
    sequences of a class per position that become the text once repetitions are merged, and then
    blanks taken out. There is no `end` class; where this decoder gives or takes sequences, `end`
    tells where the text ends, and adds nothing to its probability.

    Words of a batch may have different lengths. A context (N, L, C) is padded at its end with
    vectors that are exactly zero in all C elements, so no position that counts may be. At padding,
    `forward` gives logits that make the blank certain, 0 for it and -8192 for all others, out of
    which the methods that take logits know the padding again. It changes neither probabilities nor
    texts, and lets no gradient pass.

    Args:
        in_dim: width C of the contextual features.
        vocabulary: the characters.
    """

    def __init__(self, in_dim: int, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.blank = len(vocabulary.characters)
        self.end = vocabulary.end
        self.classifier = nn.Linear(in_dim, self.blank + 1)

    def forward(self, context: Tensor, texts: Tensor | None = None) -> Tensor:
        """Logits of every position.

        Args:
            context: (N, L, C), N >= 0; zero vectors are padding.
            texts: not looked at.

        Returns:
            (N, L, V), in the type that the classifier gives; see the class for padding.
        """
        logits = self.classifier(context)
        padding = (context == 0).all(dim=-1, keepdim=True)
        is_character = torch.arange(self.blank + 1, device=logits.device) != self.blank
        return torch.where(padding, is_character.to(logits.dtype) * _NEVER, logits)

    def valid(self, logits: Tensor, texts: Tensor | None = None) -> Tensor:
        """(N, L) bool: the positions that are not padding, as the (N, L, V) logits tell; `texts` is
        not looked at."""
        # Half of it, for the sake of logits that were averaged or rounded since.
        return logits[..., : self.blank].amax(dim=-1) > _NEVER / 2

    def can_hold(self, logits: Tensor, texts: Tensor) -> Tensor:
        """(N,) bool: whether there are enough positions for a text. It takes one for each
        character, and one for a blank between equal ones.

        Args:
            logits: (N, L, V).
            texts: (N, T) int64 as `Vocabulary.encode` gives them.
        """
        return self._needed(texts) <= self._lengths(logits)

    def negative_log_likelihood(self, logits: Tensor, texts: Tensor) -> Tensor:
        """-log p(text), the sum over all alignments, by the forward algorithm.

        Args:
            logits: (N, L, V), N >= 0; get a gradient.
            texts: (N, T) int64 as `Vocabulary.encode` gives them.

        Returns:
            (N,) float32 at least; 0 for a text that is nothing but padding, `IMPOSSIBLE` for one
            that the positions cannot hold, both with a gradient of 0.
        """
        return self._negative_log_likelihood(
            _log_softmax(logits), self._lengths(logits), texts, self.blank
        )

    def best_path(self, logits: Tensor) -> BestPath:
        """Take the most probable class of every position.

        Args:
            logits: (N, L, V), N >= 0.
        """
        probability, best = _log_softmax(logits).max(dim=-1)
        is_character = best != self.blank
        changes = best[:, 1:] != best[:, :-1]
        first = is_character & F.pad(changes, (1, 0), value=True)
        last = is_character & F.pad(changes, (0, 1), value=True)
        number = first.cumsum(dim=1)  # of the character of which a position is part, from 1
        count = int(number.amax()) if number.numel() else 0

        def collect(values: Tensor, where: Tensor, fill: int) -> Tensor:
            # Positions that are not asked for go to a column of their own, which is cut off.
            collected = values.new_full((len(values), count + 1), fill)
            return collected.scatter(1, number.masked_fill(~where, 0), values)[:, 1:]

        position = torch.arange(best.shape[1], device=best.device).float().expand(best.shape)
        centre = (collect(position, first, 0) + collect(position + 1, last, 0)) / 2
        return BestPath(
            collect(best, first, Vocabulary.PADDING),
            centre,
            collect(probability.exp(), first, 0),
        )

    @torch.no_grad()
    def greedy(self, context: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        """Read words by their best path.

        Args:
            context: (N, L, C), N >= 0.
            max_length: characters after which a word is cut off.

        Returns:
            (N, T) int64 classes, `end` from a word's end on, with T <= max_length the length of
            the longest word; and (N,) scores in [0, 1], float32 at least: the mean of the
            probabilities of a word's characters, each at the first position that shows it, as
            PP-OCR has it; 0 for a word without characters.
        """
        classes, _, probabilities = (
            values[:, :max_length] for values in self.best_path(self(context))
        )
        ended = classes == Vocabulary.PADDING
        # Rounding shall not take the mean of ones above one.
        scores = (probabilities.sum(dim=1) / (~ended).sum(dim=1).clamp(min=1)).clamp(max=1)
        return classes.masked_fill(ended, self.end), scores

    @torch.no_grad()
    def k_best(
        self, context: Tensor, *, num_sequences: int, width: int, max_length: int
    ) -> BestSequences:
        """Prefix beam search (Hannun et al., First-Pass Large Vocabulary Continuous Speech
        Recognition using Bi-Directional Recurrent DNNs, 2014), without a language model.

        The beams of a word are the `width` most probable prefixes of texts; all alignments of a
        prefix count together. Those that lead through a prefix that had been dropped are missing in
        what the search adds up, so the texts it finds are judged once more, by all alignments, and
        the best of them are returned.

        Args:
            context: (N, L, C), N >= 1 and L >= 1.
            num_sequences: K.
            width: of the search, >= K.
            max_length: characters of the longest word. Longer texts do not compete; their
                probability goes to no other.

        Returns:
            See `BestSequences`; log_probabilities (N, K) float32 at least are those of
            `log_probability`.

        Raises:
            ValueError: unless 1 <= num_sequences <= width and max_length >= 1.
        """
        check_search(num_sequences=num_sequences, width=width, max_length=max_length)
        logits = self(context)
        log_probability, lengths = _log_softmax(logits), self._lengths(logits)
        # Improbable is not enough here: where there are fewer texts than beams, padding would add
        # some.
        padding = ~self.valid(logits)[..., None]
        log_probability[..., : self.blank].masked_fill_(padding, float("-inf"))
        prefixes, present = _prefix_search(
            log_probability[:, : int(lengths.max())], width=width, max_length=max_length
        )
        texts = F.pad(prefixes, (0, 1), value=Vocabulary.PADDING)
        length = (texts != Vocabulary.PADDING).sum(dim=2, keepdim=True)
        texts = texts.scatter(2, length, self.end)

        exact = -self._judge(log_probability, lengths, texts)
        best, order = exact.masked_fill(~present, float("-inf")).topk(num_sequences, dim=1)
        sequences = texts.gather(1, order[..., None].expand(-1, -1, texts.shape[2]))
        sequences = sequences.masked_fill(best.isneginf()[..., None], Vocabulary.PADDING)
        longest = int((sequences != Vocabulary.PADDING).sum(dim=2).max())
        return BestSequences(sequences[..., :longest], best)

    def log_probability(self, context: Tensor, sequences: Tensor) -> Tensor:
        """The probability of given texts, the sum over all alignments.

        Args:
            context: (N, L, C), N >= 0; gets a gradient.
            sequences: (N, K, T) int64, padded with `Vocabulary.PADDING`.

        Returns:
            (N, K) float32 at least: log p(sequence); 0 where a sequence is nothing but padding, and
            -`IMPOSSIBLE` where the positions cannot hold it, both with a gradient of 0.
        """
        n, k, t = sequences.shape
        logits = self(context)
        # The gradient of `F.ctc_loss` is right for what follows a softmax over all classes, so the
        # texts of a word do not share its log-probabilities, as they do in `_judge`.
        loss = self._negative_log_likelihood(
            _log_softmax(logits).repeat_interleave(k, dim=0),
            self._lengths(logits).repeat_interleave(k),
            sequences.reshape(n * k, t),
            self.blank,
        )
        return -loss.view(n, k)

    def _lengths(self, logits: Tensor) -> Tensor:
        """(N,) int64: positions up to the last that is not padding."""
        place = torch.arange(1, logits.shape[1] + 1, device=logits.device)
        return (self.valid(logits) * place).amax(dim=1)

    def _is_character(self, texts: Tensor) -> Tensor:
        return (texts >= 0) & (texts < self.blank)

    def _needed(self, texts: Tensor) -> Tensor:
        """(N,) int64: positions of the shortest alignment."""
        is_character = self._is_character(texts)
        equal = (texts[:, 1:] == texts[:, :-1]) & is_character[:, 1:]
        return is_character.sum(dim=1) + equal.sum(dim=1)

    def _negative_log_likelihood(
        self,
        log_probability: Tensor,
        lengths: Tensor,
        texts: Tensor,
        blank: int,
        classes: Tensor | None = None,
    ) -> Tensor:
        """(N,), of (N, L, V') log-probabilities, as `negative_log_likelihood`.

        Args:
            log_probability: (N, L, V').
            lengths: (N,) positions that are not padding.
            texts: (N, T).
            blank: the one of the V' classes that is the blank.
            classes: (N, T), which of the V' classes the characters are; None for `texts`.
        """
        if len(texts) == 0:
            # What F.ctc_loss refuses; yet connected to what it would be connected to.
            return log_probability.sum(dim=(1, 2))
        is_character = self._is_character(texts)
        possible = self._needed(texts) <= lengths
        judged = possible & (texts != Vocabulary.PADDING).any(dim=1)
        # Whatever is not judged is replaced by the empty text, whose likelihood is a number: what
        # is infinite has no gradient that a mask could make 0.
        targets = (texts if classes is None else classes).masked_fill(~is_character, 0)
        losses = F.ctc_loss(
            log_probability.transpose(0, 1),
            F.pad(targets, (0, 1)),  # not all PyTorch versions take targets without columns
            lengths.clamp(min=1),  # likewise; of a word that is all padding, one blank
            is_character.sum(dim=1) * judged,
            blank=blank,
            reduction="none",
        )
        return losses.masked_fill(~judged, 0).masked_fill(~possible, IMPOSSIBLE)

    def _judge(self, log_probability: Tensor, lengths: Tensor, texts: Tensor) -> Tensor:
        """(N, K), as `negative_log_likelihood`, of K texts per word, without gradient.

        Of all classes, a text's own characters and the blank are what its probability depends on:
        with these alone, many texts per word take little memory even if there are thousands of
        characters.

        Args:
            log_probability: (N, L, V).
            lengths: (N,).
            texts: (N, K, T).
        """
        n, k, t = texts.shape
        known = texts.masked_fill(~self._is_character(texts), self.blank)
        classes = F.pad(known, (0, 1), value=self.blank)
        # A character's class is the place where it occurs first, so that equal ones stay equal.
        first = (known[..., None] == known[..., None, :]).int().argmax(dim=-1)
        own = log_probability[:, None].expand(-1, k, -1, -1)
        own = own.gather(3, classes[:, :, None].expand(-1, -1, own.shape[2], -1))
        losses = self._negative_log_likelihood(
            own.flatten(0, 1),
            lengths.repeat_interleave(k),
            texts.flatten(0, 1),
            blank=t,
            classes=first.flatten(0, 1),
        )
        return losses.view(n, k)


def _log_softmax(logits: Tensor) -> Tensor:
    """Over the last dimension, in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)


def _prefix_search(
    log_probability: Tensor, *, width: int, max_length: int
) -> tuple[Tensor, Tensor]:
    """The `width` most probable texts of N words, see `CTCDecoder.k_best`.

    Args:
        log_probability: (N, L, V) float, the last class the blank; may be -inf.
        width: beams W of a word.
        max_length: characters of the longest text.

    Returns:
        (N, W, T) int64 characters, then `PADDING`, in no certain order; and (N, W) bool, whether
        there is such a text: those that there are differ from one another.
    """
    N, L, blank = len(log_probability), log_probability.shape[1], log_probability.shape[2] - 1
    never, device = float("-inf"), log_probability.device
    T = max(min(max_length, L), 1)
    # At each position, the classes by which a beam may grow. One more than there are beams is
    # enough: a class beyond these is less probable than W of them, even without the one that
    # repeats the beam's last character, and each of the W gives a better candidate, be it new or a
    # beam already.
    M = min(blank, width + 1)
    growths, growing = log_probability[..., :blank].topk(M, dim=2)

    place = torch.arange(T, device=device)
    prefixes = torch.full((N, width, T), Vocabulary.PADDING, device=device)
    lengths = torch.zeros((N, width), dtype=torch.int64, device=device)
    last = torch.full_like(lengths, Vocabulary.PADDING)  # character of each prefix
    # Of the alignments of a prefix, those that end with a blank and those that end with its last
    # character. All begin alike: one beam is there, the others are absent.
    by_blank = log_probability.new_full((N, width), never)
    by_blank[:, 0] = 0
    by_character = torch.full_like(by_blank, never)

    for p in range(L):
        now, growth, grows = log_probability[:, p], growths[:, p], growing[:, p]
        total = torch.logaddexp(by_blank, by_character)

        # Whether prefix v (dim 1) is prefix w (dim 2) with one more character. Growing by that one,
        # w becomes v. An absent beam's prefix means nothing: there may be several of it.
        counts = ~total.isneginf() & (lengths > 0)
        shorter = prefixes.masked_fill(place == lengths[..., None] - 1, Vocabulary.PADDING)
        parent = (shorter[:, :, None] == prefixes[:, None]).all(dim=3) & counts[..., None]
        # The same character twice takes a blank between.
        repeats = last[:, :, None] == last[:, None]
        joining = torch.where(repeats, by_blank[:, None], total[:, None])
        joining = joining.masked_fill(~parent, never).logsumexp(dim=2)

        stay_by_blank = total + now[:, blank:]
        stay_by_character = torch.logaddexp(by_character, joining)
        stay_by_character = stay_by_character + now.gather(1, last.clamp(min=0))
        stay = torch.logaddexp(stay_by_blank, stay_by_character)

        repeats = last[..., None] == grows[:, None]
        grown = torch.where(repeats, by_blank[..., None], total[..., None]) + growth[:, None]
        joined = (parent[..., None] & repeats[:, :, None]).any(dim=1)
        grown = grown.masked_fill(joined | (lengths >= max_length)[..., None], never)

        scores, chosen = torch.cat([stay, grown.flatten(1)], dim=1).topk(width, dim=1)
        stays = chosen < width
        source = torch.where(stays, chosen, (chosen - width).div(M, rounding_mode="floor"))
        character = grows.gather(1, (chosen - width).clamp(min=0) % M)
        new = ~stays & ~scores.isneginf()

        by_blank = stay_by_blank.gather(1, source).masked_fill(~stays, never)
        by_character = torch.where(stays, stay_by_character.gather(1, source), scores)
        lengths = lengths.gather(1, source)
        prefixes = prefixes.gather(1, source[..., None].expand_as(prefixes))
        here = (place == lengths[..., None]) & new[..., None]
        prefixes = torch.where(here, character[..., None], prefixes)
        lengths = lengths + new
        last = torch.where(new, character, last.gather(1, source))

    return prefixes, ~torch.logaddexp(by_blank, by_character).isneginf()
