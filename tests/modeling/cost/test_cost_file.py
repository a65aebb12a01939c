"""The file of costs by scale: round trip, and what is refused."""

import json

import pytest

from dld_d2.modeling.cost.parts import Workload
from dld_d2.modeling.cost.scale_costs import ScaleCosts, read_cost_table

COSTS = ScaleCosts(
    scales=(0.3, 0.5, 0.8),
    cost=(9.25, 25.5, 64.125),
    full_cost=102.0,
    counts="whole",
    workload=Workload(1000, 10, 7),
    num_images=500,
    config="configs/dld_ic15.yaml",
    config_sha256="ab" * 32,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "costs.json"
    COSTS.save(path)
    return path


def test_round_trip(path):
    assert ScaleCosts.load(path) == COSTS
    content = json.loads(path.read_text())
    assert content["unit"] == "multiply-adds"
    assert content["relative"] == [9.25 / 102, 0.25, 64.125 / 102]


def test_relative_costs_in_the_order_asked_for(path):
    assert read_cost_table(path, [0.8, 0.5]) == [64.125 / 102, 0.25]
    assert read_cost_table(path, [0.1 + 0.2]) == [9.25 / 102]  # 0.30000000000000004


def test_a_scale_that_was_not_measured(path):
    with pytest.raises(ValueError, match=r"costs.json: scale 0.4 was not measured, only 0.3, 0.5"):
        read_cost_table(path, [0.5, 0.4])


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.json' does not exist; .*tools/flops.py"):
        ScaleCosts.load(tmp_path / "nothing.json")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"text"', "{}", '{"kind": "other"}'])
def test_other_files(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other.json: .*write it again with tools/flops.py"):
        ScaleCosts.load(path)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "other.json"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"other.json: cannot be read as JSON"):
        ScaleCosts.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version is 2, expected 1"),
        ({"unit": "flops"}, "unit is 'flops', expected 'multiply-adds'"),
        ({"scales": None}, "scales is missing"),
        ({"scales": "0.3"}, "scales is '0.3', expected a list"),
        ({"scales": [0.3, "0.5", 0.8]}, r"scales\[1\] is '0.5', expected a float"),
        ({"scales": [0.3, 0.5]}, "there are 2 scales but 3 costs"),
        ({"scales": [0.3, 0.5, 0.5]}, "scales has one twice"),
        ({"scales": [0.3, 0.5, 1.5]}, "scales must be above 0 and at most 1, got 1.5"),
        ({"scales": [], "cost": [], "relative": []}, "scales is empty"),
        ({"cost": [1.0, -2.0, 3.0]}, "costs must be positive and finite, got -2.0"),
        ({"cost": [1.0, float("nan"), 3.0]}, "costs must be positive and finite, got nan"),
        ({"cost": [1.0, True, 3.0]}, r"cost\[1\] is True, expected a float"),
        ({"full_cost": 0}, "costs must be positive and finite, got 0"),
        ({"relative": [0.1, 0.25, 0.6]}, "relative is not cost divided by full_cost"),
        ({"relative": [0.1]}, "relative is not cost divided by full_cost"),
        ({"counts": "some"}, "counts must be one of published, whole, got 'some'"),
        ({"workload": {"num_proposals": 1}}, "num_regions is missing"),
        ({"workload": {"num_proposals": -1, "num_regions": 0, "num_characters": 0}}, "negative"),
        ({"num_images": 2.5}, "num_images is 2.5, expected a int"),
    ],
)
def test_damaged_files(path, change, message):
    content = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    with pytest.raises(ValueError, match=f"costs.json: .*{message}.*; write it again"):
        ScaleCosts.load(path)
