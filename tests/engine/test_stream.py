import random

import numpy as np
import pytest
import torch

from dld_d2.engine.stream import (
    PositionSampler,
    TrainingStream,
    build_stream_loader,
    seed_for,
    seeded,
)


def draw(image):
    """The image's number and one number from each global generator."""
    return (image, np.random.rand(), random.random(), float(torch.rand(())))  # noqa: NPY002


def make_stream(num_images=5, seed=1):
    return TrainingStream(list(range(num_images)), draw, seed)


def take(loader, count):
    batches = iter(loader)
    return [next(batches) for _ in range(count)]


def test_each_epoch_holds_each_image_once_in_another_order():
    stream = make_stream(20)
    epochs = [[stream.index_at(e * 20 + i) for i in range(20)] for e in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [make_stream(20, seed=2).index_at(i) for i in range(20)]


def test_an_element_depends_on_seed_and_position_only():
    stream = make_stream()
    forwards = [stream[position] for position in range(12)]
    random.seed(5)
    assert [stream[position] for position in reversed(range(12))] == forwards[::-1]
    assert [make_stream()[position] for position in range(12)] == forwards
    # The same image on its second visit looks different.
    visits = [element for element in forwards if element[0] == 0]
    assert len({element[1:] for element in visits}) == len(visits) >= 2


def test_the_generators_of_this_process_go_on_undisturbed():
    stream = make_stream()
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(4)
    expected = draw(0)
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(4)
    stream[3]
    assert draw(0) == expected


def test_generators_go_on_after_an_error():
    torch.manual_seed(0)
    expected = torch.rand(())
    torch.manual_seed(0)
    with pytest.raises(ZeroDivisionError), seeded(9):
        raise ZeroDivisionError
    assert torch.rand(()) == expected


def test_batches_are_the_same_for_any_number_of_workers_and_any_start():
    here = take(build_stream_loader(make_stream(), 3, num_workers=0), 6)
    assert take(build_stream_loader(make_stream(), 3, num_workers=2), 6) == here
    loader = build_stream_loader(make_stream(), 3, num_workers=0)
    loader.sampler.start = 9
    assert take(loader, 3) == here[3:]


def test_making_a_loader_iterate_draws_nothing():
    torch.manual_seed(0)
    expected = torch.rand(())
    torch.manual_seed(0)
    take(build_stream_loader(make_stream(), 2, num_workers=0), 1)
    assert torch.rand(()) == expected


def test_processes_share_a_batch_without_overlap():
    shares = []
    for rank in range(3):
        sampler = PositionSampler(rank, 3)
        sampler.start = 12
        positions = iter(sampler)
        shares.append([next(positions) for _ in range(4)])
    assert sorted(position for share in shares for position in share) == list(range(12, 24))
    # Whoever joins, the first global batch of six is positions 12 to 17.
    assert sorted(position for share in shares for position in share[:2]) == list(range(12, 18))


def test_seeds_of_neighbours_differ():
    seeds = {seed_for(seed, position) for seed in range(50) for position in range(50)}
    assert len(seeds) == 2500
    assert seed_for(1, 2) == seed_for(1, 2)


def test_refuses_an_empty_data_set():
    with pytest.raises(ValueError, match="no images"):
        make_stream(0)
