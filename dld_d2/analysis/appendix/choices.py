"""Which images and words the figures show: by rules, and none by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dld_d2.analysis.appendix.outcomes import WordPair

__all__ = ["draw_by_scale", "draw_words", "most_words", "smaller_without_loss"]


def draw_by_scale(
    chosen: Mapping[str, float], per_scale: int, seed: int = 0
) -> dict[float, list[str]]:
    """Images drawn at random from those that got each scale (Figure A1).

    Args:
        chosen: image id -> scale.
        per_scale: number, or as many as there are.
        seed: of the draws.

    Returns:
        Scale -> image ids, by ascending scale.
    """
    generator = np.random.default_rng(seed)
    drawn = {}
    for scale in sorted(set(chosen.values())):
        images = [image for image, other in chosen.items() if other == scale]
        places = generator.permutation(len(images))[:per_scale]
        drawn[scale] = [images[place] for place in places]
    return drawn


def most_words(
    pairs: Sequence[WordPair], counts: Callable[[WordPair], bool], most: int
) -> list[tuple[str, int]]:
    """The images with the most words of a kind (Figures A2, A3, A7).

    Args:
        pairs: words.
        counts: whether a word is of the kind.
        most: images, at most.

    Returns:
        Image ids with their numbers of such words, 1 or more; equal ones in the order of `pairs`.
    """
    numbers: dict[str, int] = {}
    for pair in pairs:
        if counts(pair):
            numbers[pair.image] = numbers.get(pair.image, 0) + 1
    return sorted(numbers.items(), key=lambda item: -item[1])[:most]


def smaller_without_loss(
    pairs: Sequence[WordPair], chosen: Mapping[str, float], scale: float
) -> str | None:
    """An image that the second spotter reads below `scale`, and loses no word of the first one's.

    Args:
        pairs: words of the first spotter, at `scale`, and of the second.
        chosen: image id -> scale of the second one.
        scale: of the first.

    Returns:
        The one with most words right, the first of several; None if there is none.
    """
    right: dict[str, int] = {}
    lost = set()
    for pair in pairs:
        if chosen[pair.image] < scale:
            right[pair.image] = right.get(pair.image, 0) + pair.right[1]
            if pair.right == (True, False):
                lost.add(pair.image)
    kept = {image: number for image, number in right.items() if number and image not in lost}
    return max(kept, key=kept.__getitem__, default=None)


def draw_words(pairs: Sequence[WordPair], most: int, seed: int = 0) -> list[WordPair]:
    """Words drawn at random among those that the first spotter reads and the second does not, of
    as many images as possible (Figure A4).

    Args:
        pairs: words.
        most: number, or as many as there are.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    lost = [pair for pair in pairs if pair.right == (True, False)]
    order = [lost[place] for place in generator.permutation(len(lost))]
    turn: dict[str, int] = {}
    turns = []
    for pair in order:
        turn[pair.image] = turn.get(pair.image, 0) + 1
        turns.append(turn[pair.image])
    return [order[place] for place in np.argsort(turns, kind="stable")[:most]]
