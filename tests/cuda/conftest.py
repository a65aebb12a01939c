"""Tests that a GPU has to pass. They share what is tiny with other tests."""

import sys
from pathlib import Path

import pytest
import torch
from rehearsal import REHEARSED

TESTS = Path(__file__).parents[1]
for folder in ("modeling", "distillation", "engine"):
    sys.path.insert(0, str(TESTS / folder))


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("cuda") is None or REHEARSED:
            continue
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="PyTorch finds no GPU"))
        elif item.get_closest_marker("two_gpus") and torch.cuda.device_count() < 2:
            item.add_marker(pytest.mark.skip(reason="needs two GPUs, and there is one"))


@pytest.fixture
def device():
    return "cpu" if REHEARSED else "cuda"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What `generate` makes: images to distil on, and teachers."""
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from tiny_distillation import generate

    folder = tmp_path_factory.mktemp("data")
    generate(folder)
    yield folder
    if "generated" in DatasetCatalog.list():
        DatasetCatalog.remove("generated")
        MetadataCatalog.remove("generated")
