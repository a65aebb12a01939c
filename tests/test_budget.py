"""Cost biases against a search over many values, and the tools that take or find them."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from tiny_distiller import CONFIG, picture, save_pictures, write_checkpoint

from dld_d2.data.mapper import read_image
from dld_d2.engine.budget import choose_cost_bias
from dld_d2.engine.export import export_spotter
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.size_batches import similar_sizes
from dld_d2.modeling.distillation import select
from dld_d2.predictor import TextSpotter

ROOT = Path(__file__).resolve().parents[1]
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
        assert chosen == budget.mean_cost <= target
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("budget")


@pytest.fixture(scope="module")
def opts(folder):
    return write_checkpoint(folder / "weights.pth")


@pytest.fixture(scope="module")
def student(folder, opts):
    export_spotter(setup_cfg(CONFIG, opts), folder / "student.pth")
    return str(folder / "student.pth")


@pytest.fixture(scope="module")
def files(folder):
    return save_pictures(folder / "images", [(96, 128)] * 6 + [(150, 100), (96, 200)] * 3)


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


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tool_finds_what_the_predictor_finds(student, opts, files, folder, tmp_path, capsys):
    choose = tool("choose_cost_bias")
    expected = TextSpotter.from_file(student).set_target_cost(files, 0.4)
    by_file = ["--model", student, "--images", str(folder / "images")]
    at = opts.index("MODEL.WEIGHTS")
    by_config = ["--config-file", CONFIG, "--weights", opts[at + 1], "--images", *files]
    for source, last in ((by_file, []), (by_config, ["--opts", *opts[:at]])):
        assert choose.main([*source, "--target-cost", "0.4", "0.8", *last]) == 0
        told = capsys.readouterr().out
        assert f"{expected.cost_bias:.6g}" in told and f"{expected.mean_cost:.4f}" in told
        assert "12 images" in told
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    assert choose.main(["--model", student, "--target-cost", "0.4", "--images", *files, str(bad)])
    streams = capsys.readouterr()
    assert "bad.jpg" in streams.err and "1 images could not be read" in streams.err
    assert f"{expected.cost_bias:.6g}" in streams.out


def test_the_tool_with_a_data_set(student, files, capsys):
    choose = tool("choose_cost_bias")
    DatasetCatalog.register("budget_set", lambda: [{"file_name": file} for file in files])
    try:
        arguments = ["--model", student, "--target-cost", "0.4", "--dataset", "budget_set"]
        assert choose.main(arguments) == 0
        assert "note" not in capsys.readouterr().err
        testing = ["--opts", "DATASETS.TEST", "('budget_set',)"]
        assert choose.main([*arguments, *testing]) == 0
        assert "budget_set is in DATASETS.TEST" in capsys.readouterr().err

        # Images that are in no file.
        DatasetCatalog.remove("budget_set")
        drawn = [{"read_image": lambda order, f=f: read_image(f, order)} for f in files]
        DatasetCatalog.register("budget_set", lambda: drawn)
        assert choose.main(arguments) == 0
        expected = TextSpotter.from_file(student).set_target_cost(files, 0.4)
        assert f"{expected.cost_bias:.6g}" in capsys.readouterr().out
    finally:
        DatasetCatalog.remove("budget_set")


def test_the_tool_says_what_is_wrong(student, files, tmp_path, capsys):
    choose = tool("choose_cost_bias")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["--images", *files, "--target-cost", "0.1"], "out of reach"),
        (["--images", str(tmp_path / "empty"), "--target-cost", "0.5"], "there are no images in"),
        (["--images", "nowhere.png", "--target-cost", "0.5"], "none of the 1 images"),
        (["--dataset", "nothing", "--target-cost", "0.5"], "'nothing' is not registered"),
        (["--images", *files, "--target-cost", "0.5", "--batch-size", "0"], "batch size of 0"),
    ):
        assert choose.main(["--model", student, *arguments]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        choose.main(["--config-file", CONFIG, "--images", *files, "--target-cost", "0.5"])
    assert "go together" in capsys.readouterr().err


def test_the_demo_meets_a_target(student, files, tmp_path, capsys, monkeypatch):
    demo = tool("demo")
    monkeypatch.setattr(demo, "setup_logger", lambda **_: None)
    out = ["--output", str(tmp_path), "--no-pictures", "--batch-size", "4"]
    inputs = ["--model", student, "--input", *files, "missing.png"]
    assert demo.main([*inputs, *out, "--target-cost", "0.4"]) == 1
    expected = TextSpotter.from_file(student).set_target_cost(files, 0.4)
    message = capsys.readouterr().err
    assert f"cost bias {expected.cost_bias:.6g}: mean relative cost" in message
    whole = json.loads((tmp_path / "results.json").read_text())
    assert [entry["file"] for entry in whole["failed"]] == ["missing.png"]
    mean = np.mean([image["relative_cost"] for image in whole["images"]])
    assert mean == pytest.approx(expected.mean_cost, abs=1e-5)
    assert demo.main([*inputs, *out, "--target-cost", "0.01"]) == 2
    assert "out of reach" in capsys.readouterr().err
    assert demo.main([*inputs, *out, "--cost-bias", "1e4"]) == 1
    whole = json.loads((tmp_path / "results.json").read_text())
    assert {image["scale"] for image in whole["images"]} == {0.4}
