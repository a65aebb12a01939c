"""From maps back to words."""

import numpy as np
import pytest
import torch
from mango_spotter import scenes, targets_and_grid

from dld_d2.evaluation.geometry import compute_overlaps
from dld_d2.modeling.spotters.mango.found_words import find_words
from dld_d2.modeling.spotters.mango.targets import center_line_targets, word_cells
from dld_d2.modeling.spotters.mango.voting import gather_cells, vote
from dld_d2.structures.vocabulary import Vocabulary

A, B, C, END = range(4)


@pytest.mark.parametrize(("short_side", "share"), [(512, 0.98), (384, 0.9)])
def test_perfect_maps_give_the_words_back(short_side, share):
    """At the lower resolution the centre lines of some words are too small. Regions overlap the
    words as far as the released form's do: all above 0.1."""
    vocabulary, ious, words = Vocabulary(), [], 0
    for item in scenes(8, short_side):
        targets, grid = targets_and_grid([item], side=24)
        target = targets[0]
        lines = center_line_targets(targets, grid, 0.4).wanted[0].float()
        owner = word_cells(targets, grid).owner[0]
        rows, columns = grid.visible(0)
        extent = tuple(grid.extent[0].tolist())
        found = find_words(
            lines[:rows, :columns].numpy(),
            (owner >= 0).float().view(24, 24).numpy(),
            extent=extent,
            stride=4,
        )
        assert (found.scores == 1).all()
        # Each cell reads its word.
        length = target.gt_texts.shape[1]
        texts = target.gt_texts.masked_fill(target.gt_texts < 0, vocabulary.end)
        logits = torch.full((len(found.cells), length, len(vocabulary)), -20.0)
        reads = texts[owner[torch.from_numpy(found.cells)]]
        logits.scatter_(2, reads[..., None], 20.0)
        classes, _ = vote(
            logits,
            torch.from_numpy(found.word),
            torch.from_numpy(found.weight),
            len(found.scores),
            vocabulary.end,
        )
        read = [vocabulary.decode(row) for row in classes.tolist()]
        cared = (~target.gt_ignore).nonzero()[:, 0].tolist()
        polygons = list(target.gt_masks.vertices.numpy())
        (overlaps,) = compute_overlaps([polygons], [list(found.polygons)])
        iou = np.zeros((len(polygons), len(found.polygons)))
        iou[overlaps.gt_index, overlaps.det_index] = overlaps.ious
        best = iou.argmax(axis=1)
        words += len(cared)
        for number in cared:
            text = item["texts"][number]
            if read[best[number]] == text:
                ious.append(iou[number, best[number]])
    assert words > 50
    assert len(ious) >= share * words
    assert min(ious) > 0.1


def blobs(size, *boxes):
    """A map with rectangles of 0.8."""
    found = np.zeros(size, dtype=np.float32)
    for top, left, bottom, right in boxes:
        found[top:bottom, left:right] = 0.8
    return found


def test_a_rectangle_around_pixels_and_its_score():
    lines = blobs((20, 40), (4, 8, 7, 18))
    category = np.zeros((4, 4), dtype=np.float32)
    category[1, 1] = 0.6  # rows 5 to 10, columns 10 to 20
    category[0, 0] = 0.4  # below the threshold
    found = find_words(lines, category, extent=(160, 80), stride=4)
    expected = [[32, 16], [72, 16], [72, 28], [32, 28]]
    np.testing.assert_allclose(found.polygons, [expected], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.8 * 0.6], rtol=1e-5)
    assert found.cells.tolist() == [5] and found.weight.tolist() == [1]
    # It grows by area * 1.5 / perimeter.
    grown = find_words(lines, category, extent=(160, 80), stride=4, unclip_ratio=1.5)
    d = 40 * 12 * 1.5 / 104
    outwards = np.array([[-d, -d], [d, -d], [d, d], [-d, d]])
    np.testing.assert_allclose(grown.polygons[0], expected + outwards, atol=1e-3)
    assert len(found.at_least(0.5).scores) == 0 and len(found.at_least(0.4).scores) == 1


def test_what_is_no_word():
    category = np.ones((4, 4), dtype=np.float32)
    small = blobs((20, 40), (4, 8, 6, 12))  # eight pixels
    assert len(find_words(small, category, extent=(160, 80), stride=4).scores) == 0
    assert len(find_words(small, category, extent=(160, 80), stride=4, min_area=7).scores) == 1
    large = blobs((20, 40), (4, 8, 7, 18))
    none = find_words(large, np.zeros((4, 4), np.float32), extent=(160, 80), stride=4)
    assert len(none.scores) == len(none.cells) == 0 and none.polygons.shape == (0, 4, 2)
    # Pixels that touch at a corner are two components.
    corner = blobs((20, 40), (4, 8, 7, 18), (7, 18, 10, 28))
    assert len(find_words(corner, category, extent=(160, 80), stride=4).scores) == 2


def test_a_contested_cell_belongs_to_the_word_with_more_pixels_in_it():
    lines = blobs((20, 40), (0, 2, 3, 9), (3 + 1, 0, 5, 20))
    # Of the cell of rows 0 to 5 and columns 0 to 10 the first word has 21 pixels, the second 10.
    category = np.ones((4, 4), dtype=np.float32)
    found = find_words(lines, category, extent=(160, 80), stride=4)
    assert found.cells.tolist() == [0, 1] and found.word.tolist() == [0, 1]
    # Without the other cell the second word is dropped.
    category[0, 1] = 0
    found = find_words(lines, category, extent=(160, 80), stride=4)
    assert found.cells.tolist() == [0]
    np.testing.assert_allclose(found.polygons[0, 0], [8, 0], atol=1e-3)


def test_weights_are_shares_of_pixels():
    lines = blobs((20, 40), (1, 4, 3, 24))
    found = find_words(lines, np.ones((4, 4), np.float32), extent=(160, 80), stride=4)
    assert dict(zip(found.cells.tolist(), found.weight.round(4).tolist(), strict=True)) == {
        0: pytest.approx(0.3),
        1: pytest.approx(0.5),
        2: pytest.approx(0.2),
    }


def test_cells_of_a_batch():
    one = find_words(blobs((20, 40), (4, 8, 7, 18)), np.ones((4, 4)), extent=(160, 80), stride=4)
    none = find_words(blobs((20, 40)), np.ones((4, 4)), extent=(160, 80), stride=4)
    number, word, weight, count = gather_cells([one, none, one], torch.device("cpu"))
    assert count == 2
    assert word.tolist() == [*one.word.tolist(), *(one.word + 1).tolist()]
    assert number.tolist() == [*one.cells.tolist()] * 2
    torch.testing.assert_close(weight.sum(), torch.tensor(2.0))


def logits_of(*words, sure=0.9):
    """(K, 4, 4) logits of cells that read these classes with a probability."""
    rows = [[*word, *[END] * (4 - len(word))] for word in words]
    probability = torch.full((len(words), 4, 4), (1 - sure) / 3)
    return probability.scatter(2, torch.tensor(rows)[..., None], sure).log()


def test_votes():
    logits = logits_of([A, B, END], [A, C, END], [B, B, A, END], [C, END], [B, END])
    weight = torch.tensor([0.5, 0.2, 0.3, 0.4, 0.6])
    classes, scores = vote(logits, torch.tensor([0, 0, 0, 1, 1]), weight, 2, END)
    # A by 0.7, B by 0.8, the end by 0.7; and B by 0.6, the end by all.
    assert classes.tolist() == [[A, B, END, END], [B, END, END, END]]
    expected = [0.9 * (0.7 * 0.8 * 0.7) ** (1 / 3), 0.9 * 0.6**0.5]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_a_cell_says_nothing_after_its_end():
    logits = logits_of([A, END, C, C], [A, B, C, END])
    classes, _ = vote(logits, torch.tensor([0, 0]), torch.tensor([0.4, 0.6]), 1, END)
    assert classes.tolist() == [[A, B, C, END]]
    classes, _ = vote(logits, torch.tensor([0, 0]), torch.tensor([0.6, 0.4]), 1, END)
    assert classes.tolist() == [[A, END, END, END]]
