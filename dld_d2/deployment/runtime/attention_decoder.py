"""Reading words character by character; `AttentionDecoder.greedy` without PyTorch."""

from __future__ import annotations

import numpy as np
import onnxruntime

from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["read_words"]


def read_words(
    step: onnxruntime.InferenceSession,
    context: np.ndarray,
    keys: np.ndarray,
    vocabulary: Vocabulary,
    max_length: int,
) -> tuple[list[str], list[float]]:
    """
    Args:
        step: see `dld_d2.modeling.recognition.onnx_graphs`.
        context: (N, L, C) and
        keys: (N, L, D), of N >= 1 words.
        vocabulary: the classes.
        max_length: characters after which a word ends whether it says so or not.

    Returns:
        Texts, and the geometric means of the probabilities of their characters and ends.
    """
    count = len(context)
    state = np.zeros((2, count, keys.shape[2]), dtype=np.float32)
    previous = np.full(count, vocabulary.begin, dtype=np.int64)
    ended = np.zeros(count, dtype=bool)
    log_probability = np.zeros(count, dtype=np.float32)
    steps = np.zeros(count, dtype=np.float32)
    classes = np.full((count, max_length), vocabulary.end, dtype=np.int64)
    for position in range(max_length):
        inputs = {"context": context, "keys": keys, "previous": previous}
        predicted, best, *state = step.run(None, {**inputs, "hidden": state[0], "cell": state[1]})
        log_probability += np.where(ended, 0, best)
        steps += ~ended
        previous = np.where(ended, vocabulary.end, predicted)
        ended = previous == vocabulary.end
        if ended.all():
            break
        classes[:, position] = previous
    scores = np.exp(log_probability / np.maximum(steps, 1))
    return [vocabulary.decode(row) for row in classes.tolist()], scores.tolist()
