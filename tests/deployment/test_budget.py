"""Cost biases against a search over many values, and spotters that meet a budget."""

import numpy as np
import pytest
import torch
from tiny_dynamic_spotter import picture

from dld_d2.deployment import TextSpotter
from dld_d2.deployment.budget import choose_cost_bias
from dld_d2.modeling.selection.selector import select

COST = torch.tensor([0.09, 0.16, 0.25, 0.36, 0.49, 0.64])


def mean_cost(logits, cost, bias):
    """In plain Python: mean over images of the cost of the best candidate, the first on a tie."""
    chosen = []
    for row in logits.double().tolist():
        values = [value - bias * c for value, c in zip(row, cost.double().tolist(), strict=True)]
        chosen.append(cost.double().tolist()[values.index(max(values))])
    return sum(chosen) / len(chosen)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", [0.1, 0.2, 0.35, 0.5, 0.63])
def test_the_mean_is_the_nearest_that_is_not_above(seed, target):
    generator = torch.manual_seed(seed)
    logits = 3 * torch.randn(7, 6, generator=generator)
    cost = COST[torch.randperm(6, generator=generator)]
    budget = choose_cost_bias(logits, cost, target)
    assert budget.mean_cost == pytest.approx(mean_cost(logits, cost, budget.cost_bias))
    assert budget.mean_cost <= target
    assert sum(s * c for s, c in zip(budget.shares, cost.tolist(), strict=True)) == pytest.approx(
        budget.mean_cost
    )
    reachable = {mean_cost(logits, cost, bias) for bias in np.linspace(-150, 150, 6001)}
    assert max(mean for mean in reachable if mean <= target) <= budget.mean_cost + 1e-9
    # A step of its own, not its edge: nothing changes close by.
    for near in (budget.cost_bias - 1e-6, budget.cost_bias + 1e-6):
        assert mean_cost(logits, cost, near) == pytest.approx(budget.mean_cost)


def test_inference_chooses_what_was_promised():
    logits = 3 * torch.randn(1000, 6, generator=torch.manual_seed(1))
    for target in torch.linspace(0.1, 0.63, 12).tolist():
        budget = choose_cost_bias(logits, COST, target)
        chosen = COST[select(logits, budget.cost_bias, COST)].double().mean().item()
        assert chosen == pytest.approx(budget.mean_cost, rel=1e-12)
        assert budget.mean_cost <= target
        assert target - chosen < 0.005  # a thousand images: steps are small


def test_extremes_ties_and_no_choice():
    logits = torch.randn(5, 6, generator=torch.manual_seed(2))
    assert choose_cost_bias(logits, COST, 0.09).shares[0] == 1.0
    assert choose_cost_bias(logits, COST, 0.64).shares[-1] == 1.0
    same = torch.zeros(4, 3)
    budget = choose_cost_bias(same, torch.tensor([0.2, 0.5, 0.5]), 0.3)
    assert budget.mean_cost == pytest.approx(0.2) and budget.cost_bias > 0
    alone = choose_cost_bias(torch.zeros(4, 1), torch.tensor([0.25]), 0.25)
    assert (alone.cost_bias, alone.mean_cost, alone.shares) == (0.0, 0.25, (1.0,))
    # As it was trained, where that is what is wanted.
    trained = mean_cost(logits, COST, 0.0)
    assert choose_cost_bias(logits, COST, trained).cost_bias == 0.0


def test_what_cannot_be_chosen():
    logits = torch.randn(5, 6, generator=torch.manual_seed(2))
    for target in (0.05, 0.7, float("nan")):
        with pytest.raises(ValueError, match=r"out of reach.* allow 0\.0900 to 0\.6400"):
            choose_cost_bias(logits, COST, target)
    with pytest.raises(ValueError, match="there are none"):
        choose_cost_bias(logits[:0], COST, 0.3)
    logits[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        choose_cost_bias(logits, COST, 0.3)


def test_a_spotter_meets_its_budget(student, files):
    spotter = TextSpotter.from_file(student)
    trained = [spotter(file).relative_cost for file in files]
    budget = spotter.set_target_cost(files, 0.4, batch_size=4)
    assert spotter.cost_bias == budget.cost_bias
    results = list(spotter.predict_many(files, batch_size=4))
    assert [result.scale for result in results] == [spotter(file).scale for file in files]
    mean = np.mean([result.relative_cost for result in results])
    assert mean == pytest.approx(budget.mean_cost) and mean <= 0.4 < np.mean(trained)
    spotter.cost_bias = 0.0
    assert [spotter(file).relative_cost for file in files] == trained
    for bias, scale in ((1e4, 0.4), (-1e4, 1.0)):
        biased = TextSpotter.from_file(student, cost_bias=bias)
        assert {biased(file).scale for file in files} == {scale}
    with pytest.raises(ValueError, match="must be a finite number"):
        spotter.cost_bias = float("nan")
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        spotter.set_target_cost([*files, "missing.png"], 0.4)


def test_images_of_one_size_read_alike_in_batches(student):
    spotter = TextSpotter.from_file(student)
    images = [picture(seed) for seed in range(6)]
    for image, result in zip(images, spotter.predict_many(images, batch_size=6), strict=True):
        alone = spotter(image)
        assert result.scale == alone.scale
        for word, same in zip(result, alone, strict=True):
            assert word.text == same.text
            np.testing.assert_allclose(word.polygon, same.polygon, atol=1e-2)


def test_cost_of_a_result(student, files):
    spotter = TextSpotter.from_file(student)
    result = spotter(files[0])
    table = spotter.cost(result)
    assert table.workload.num_regions == len(result) == 3
    assert table.workload.num_characters == max(len(word.text) for word in result) + 1
    spotter.cost_bias = 1e4
    cheap = spotter(files[0])
    spotter.cost_bias = -1e4
    assert spotter.cost(cheap).published < spotter.cost(spotter(files[0])).published
    assert any(part.selects and part.per_image > 0 for part in table.parts)
