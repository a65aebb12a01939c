import numpy as np

from dld_d2.deployment.batches import similar_sizes


def test_batches_hold_each_image_once_and_little_padding():
    generator = np.random.default_rng(0)
    sizes = [tuple(size) for size in generator.integers(50, 400, (60, 2)).tolist()]
    for batch_size in (1, 4, 16):
        batches = similar_sizes(sizes, batch_size, max_padding=0.2)
        assert sorted(i for batch in batches for i in batch) == list(range(60))
        for batch in batches:
            assert 1 <= len(batch) <= batch_size
            height, width = np.max([sizes[i] for i in batch], axis=0)
            used = sum(sizes[i][0] * sizes[i][1] for i in batch)
            assert used >= 0.8 * len(batch) * height * width
    assert len(similar_sizes([(90, 120), (120, 90)] * 4, 4)) == 2
    assert similar_sizes([], 4) == []
