"""Comparing recipes by their runs."""

import json

import pytest
from compare_runs import main


def write(folder, right, images=20, scale=0.5):
    """A run that reads so many of ten words in each image."""
    results = {
        "metrics": {"e2e_none_hmean": right / 10, "e2e_strong_hmean": 0.9},
        "images": {
            f"img_{number}": {
                "counts": {
                    "e2e_none": [10, 10, 10, 10, right],
                    "e2e_strong": [10, 10, 10, 10, 9],
                },
                "cost_whole": 2.0,
                "cost_published": 1.0,
                "scale": scale,
            }
            for number in range(images)
        },
    }
    where = folder / "inference" / "my_test"
    where.mkdir(parents=True)
    (where / "results.json").write_text(json.dumps(results))
    return str(folder)


@pytest.fixture
def runs(tmp_path):
    return [write(tmp_path / str(right), right) for right in (5, 6, 8)]


def test_rows_are_compared_with_the_first(runs, tmp_path, capsys):
    five, six, eight = runs
    output = tmp_path / "table.md"
    rows = ["--row", "plain", five, six, "--row", "distilled", eight, six]
    assert main(["--dataset", "my_test", *rows, "--output", str(output)]) == 0
    lines = output.read_text().splitlines()
    assert lines[2] == "| plain | 50.0, 60.0 | - | 90.0, 90.0 | - | 2.00 | 0.50 |"
    # The mean of 80 and 60 over that of 50 and 60; all images are alike, so that none is by chance.
    assert lines[3].startswith("| distilled | 80.0, 60.0 | +15.0 (+15.0 to +15.0) |")
    assert "distilled" in capsys.readouterr().out


def test_what_cannot_be_compared_is_told(runs, tmp_path, capsys):
    call = ["--dataset", "my_test", "--row", "plain", runs[0]]
    less = write(tmp_path / "less", 5, images=19)
    for more, said in (
        (["--row", "other"], "--row other: needs the folder of at least one run"),
        (["--row", "other", str(tmp_path)], "was not evaluated on my_test"),
        (["--row", "other", less], "is of other images than the first run"),
        (["--case", "e2e_full"], "has e2e_none, e2e_strong"),
    ):
        assert main([*call, *more]) == 2
        assert said in capsys.readouterr().err
