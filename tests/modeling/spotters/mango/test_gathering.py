"""Attention, what it gathers, and the loss on it, against loops."""

import pytest
import torch
from detectron2.structures import ImageList

from dld_d2.modeling.spotters.mango.cell_rows import CellRows
from dld_d2.modeling.spotters.mango.character_attention import CharacterAttention, Kernels
from dld_d2.modeling.spotters.mango.character_slices import Slices
from dld_d2.modeling.spotters.mango.gathering import gather_by_attention, gather_slices
from dld_d2.modeling.spotters.mango.grid import grid_of
from dld_d2.modeling.spotters.mango.losses import category_loss, center_line_loss, mask_loss
from dld_d2.modeling.spotters.mango.targets import CenterLineTargets, WordCells
from dld_d2.structures.vocabulary import Vocabulary

LENGTH, PIXELS, CHANNELS = 3, 20, 5
COUNTS = [2, 0, 3]
IMAGE = [0, 0, 2, 2, 2]


def draw(seed=0, place=True, dtype=torch.float64):
    """Kernels of five cells in three images, and maps."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    kernels = Kernels(normal(5, LENGTH, 4), normal(5, LENGTH, 5).float() if place else None)
    masks, values = normal(3, 4, PIXELS), normal(3, CHANNELS, PIXELS)
    coordinates = torch.rand(3, 2, PIXELS, generator=generator)
    seen = torch.rand(3, PIXELS, generator=generator) < 0.7
    return kernels, masks, values, coordinates, seen


SLICES = Slices(
    row=torch.tensor([0, 0, 0, 2, 2, 4]),
    channel=torch.tensor([0, 0, 1, 0, 2, 1]),
    pixel=torch.tensor([3, 4, 7, 3, 19, 0]),
    stops=[3, 3, 5, 5, 6],
)


def naive_attention(kernels, masks, coordinates):
    """(5, L, P)"""
    rows = []
    for n, image in enumerate(IMAGE):
        logits = torch.stack([(kernels.content[n, c] @ masks[image]) for c in range(LENGTH)])
        if kernels.place is not None:
            x, y = coordinates[image]
            for c in range(LENGTH):
                f = kernels.place[n, c]
                logits[c] = logits[c] + (f[0] + f[1] * x + f[2] * y + f[3] * x * x + f[4] * y * y)
        rows.append(logits.sigmoid())
    return torch.stack(rows)


@pytest.mark.parametrize("most", [2**20, LENGTH * PIXELS], ids=["at once", "cell by cell"])
@pytest.mark.parametrize("place", [True, False])
def test_features_are_summed_by_attention(most, place):
    kernels, masks, values, coordinates, seen = draw(place=place)
    inputs = [t for t in (*kernels, masks, values) if t is not None]
    found = gather_by_attention(
        kernels, masks, values, coordinates, seen, COUNTS, SLICES, most_elements=most
    )
    attention = naive_attention(kernels, masks, coordinates)
    counted = attention * seen[IMAGE][:, None]
    expected = torch.einsum("nlp,ncp->nlc", counted, values[IMAGE])
    torch.testing.assert_close(found.total, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.weight, counted.sum(-1).float(), rtol=1e-4, atol=1e-5)
    squares = (attention.square() * seen[IMAGE][:, None]).sum(-1).float()
    torch.testing.assert_close(found.squares, squares, rtol=1e-4, atol=1e-5)
    inside = torch.zeros(5, LENGTH, dtype=attention.dtype)
    for row, channel, pixel in zip(SLICES.row, SLICES.channel, SLICES.pixel, strict=True):
        inside[row, channel] += attention[row, channel, pixel]
    torch.testing.assert_close(found.inside, inside.float(), rtol=1e-4, atol=1e-5)
    mean = expected / (counted.sum(-1)[..., None] + 1)
    torch.testing.assert_close(found.pooled("mean"), mean, rtol=1e-4, atol=1e-5)
    assert found.pooled("sum") is found.total

    def total(gathered, inside, squares):
        return gathered.square().sum() + inside.square().sum() + squares.sum()

    own = torch.autograd.grad(total(found.total, found.inside, found.squares), inputs)
    naive = torch.autograd.grad(total(expected, inside, squares), inputs)
    for a, b in zip(own, naive, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_slices_give_what_is_in_them():
    _, _, values, _, _ = draw()
    found = gather_slices(SLICES, values, torch.tensor(IMAGE), LENGTH)
    assert found.weight.tolist() == SLICES.counts(5, LENGTH).tolist()
    torch.testing.assert_close(found.total[0, 0], values[0, :, 3] + values[0, :, 4])
    torch.testing.assert_close(found.total[4, 1], values[2, :, 0])
    assert (found.total[1] == 0).all() and (found.total[0, 2] == 0).all()


def test_the_loss_of_masks():
    kernels, masks, values, coordinates, seen = draw()
    seen = torch.ones_like(seen)
    found = gather_by_attention(kernels, masks, values, coordinates, seen, COUNTS, SLICES)
    attention = naive_attention(kernels, masks, coordinates)
    wanted = torch.zeros(5, LENGTH, PIXELS)
    wanted.view(-1)[SLICES.flat(PIXELS, LENGTH)] = 1
    counts = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=torch.bool)
    losses = []
    for c in range(LENGTH):
        p, t = attention[counts[:, c], c].flatten(), wanted[counts[:, c], c].flatten()
        losses.append(1 - (2 * (p * t).sum() + 1) / ((p * p).sum() + (t * t).sum() + 1))
    loss = mask_loss(found, SLICES.counts(5, LENGTH), counts)
    torch.testing.assert_close(loss, torch.stack(losses).mean().float(), rtol=1e-4, atol=1e-5)


def test_positions_that_are_judged():
    padding = Vocabulary.PADDING
    rows = CellRows(
        number=torch.zeros(3, dtype=torch.int64),
        image_index=torch.zeros(3, dtype=torch.int64),
        counts=[3],
        texts=torch.tensor([[5, 96, padding], [5, 6, 96], [padding] * 3]),
        sides=torch.zeros(3, 14, 2),
        first=torch.arange(3),
    )
    # A word's characters, and the end, where nothing is to be seen.
    expected = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert rows.judged_positions(4, False).int().tolist() == expected
    assert rows.judged_positions(4, True).int().tolist() == [[1] * 4, [1] * 4, [0] * 4]


def test_the_loss_of_center_lines():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 6, generator=generator)
    wanted = torch.rand(2, 4, 6, generator=generator) < 0.3
    counts = torch.rand(2, 4, 6, generator=generator) < 0.8
    found = center_line_loss(logits, CenterLineTargets(wanted, counts))
    for image in range(2):
        inside = squares = number = 0.0
        for i in range(4):
            for j in range(6):
                if counts[image, i, j]:
                    p = logits[image, i, j].sigmoid()
                    inside += p * wanted[image, i, j]
                    squares += p * p
                    number += float(wanted[image, i, j])
        torch.testing.assert_close(found[image], 1 - (2 * inside + 1) / (squares + number + 1))
    nothing = CenterLineTargets(torch.zeros_like(wanted), torch.zeros_like(counts))
    assert center_line_loss(logits, nothing).tolist() == [0, 0]


def test_the_loss_of_categories():
    logits = torch.tensor([[[0.3, -1.0], [2.0, 0.5]]])
    cells = WordCells(torch.tensor([[4, -1, 0, -1]]), torch.tensor([[True, True, True, False]]))
    p = logits.sigmoid().flatten()
    expected = -(p[0].log() + (1 - p[1]).log() + p[2].log()) / 3
    torch.testing.assert_close(category_loss(logits, cells), expected)


def test_a_place_that_is_foretold_is_the_highest():
    """The attention of a kernel without content is a hill around its cell, moved by its bias."""
    torch.manual_seed(0)
    module = CharacterAttention(4, 8, num_conv=1, norm="BN", length=2, local=True)
    with torch.no_grad():
        module.kernel.weight.zero_()
        module.place.weight.zero_()
        module.place.bias.view(2, 5)[1, :2] = torch.tensor([2.0, -1.0])
    images = ImageList(torch.zeros(1, 3, 64, 96), [(64, 96)])
    grid = grid_of(images, side=8, shape=(16, 24), over="image")
    kernels = module.kernels(torch.rand(1, 8), torch.tensor([4 * 8 + 3]), 8)
    coordinates = (grid.map_coordinates() + 1) / 2 * 8
    values = coordinates.flatten(2)
    found = gather_by_attention(
        kernels, torch.zeros(1, 8, 384), values, values, grid.seen().flatten(1), [1]
    )
    attention = naive_peak(kernels, values[0])
    # The middle of row 4, column 3; and two cells to the right of it, one up.
    torch.testing.assert_close(attention[0], torch.tensor([3.5, 4.5]), rtol=0, atol=0.26)
    torch.testing.assert_close(attention[1], torch.tensor([5.5, 3.5]), rtol=0, atol=0.26)
    assert found.total.shape == (1, 2, 2)


def naive_peak(kernels, coordinates):
    x, y = coordinates
    basis = torch.stack([torch.ones_like(x), x, y, x * x, y * y])
    return coordinates[:, (kernels.place[0] @ basis).argmax(dim=1)].t()
