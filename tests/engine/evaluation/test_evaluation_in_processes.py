"""Evaluation by several processes: their images are one data set, and no process waits in vain."""

import json
from pathlib import Path

import pytest
from runs import spawn
from three_images import chooser

SCRIPT = str(Path(__file__).with_name("two_processes.py"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes made of all images, and of all but one: the folder, and for each process
    its outcomes."""
    folder = tmp_path_factory.mktemp("two")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = spawn(*launcher, SCRIPT, str(folder))
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_measure_as_one(two, evaluate, out):
    expected = evaluate(chooser(), "TEST.NUM_PICTURES", "2")
    folder, outcomes = two
    main, other = (outcome[0] for outcome in outcomes)
    # They share the images, and the main process alone has the metrics.
    assert main["passes"] + other["passes"] == ["img_1", "img_2", "img_3"]
    assert main["passes"] and other["passes"] and other["result"] == {}
    metrics = main["result"]["text_spotting"]
    assert list(metrics) == list(expected)
    for name, value in metrics.items():
        if name not in ("fps", "seconds_per_image"):
            assert value == pytest.approx(expected[name], abs=1e-12), name
    found = folder / "inference" / "three_images"
    one, both = (json.loads((place / "results.json").read_text()) for place in (out, found))
    assert both["images"] == one["images"] and both["cases"] == one["cases"]
    for name in ("submission.zip", "pictures/1.jpg", "pictures/2.jpg"):
        assert (found / name).read_bytes() == (out / name).read_bytes(), name


def test_a_missing_image_leaves_no_process_waiting(two):
    main, other = (outcome[1] for outcome in two[1])
    message = "1 of 3 images of three_images were not evaluated, the first is img_3"
    assert main["result"] == message
    assert other["result"] == {}
    assert len(main["passes"]) == len(other["passes"]) == 1
