"""What stands beside this file can be imported by tests in folders below, too, and so can the small
spotters of `tests/modeling`."""

import sys
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from tiny_distillation import generate

sys.path.insert(0, str(Path(__file__).parents[1] / "modeling"))


@pytest.fixture
def write(tmp_path):
    """Writes a file, its folder as well, and gives its path."""

    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(file)

    return write


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What `generate` makes: images to distil on, and teachers."""
    folder = tmp_path_factory.mktemp("data")
    generate(folder)
    yield folder
    if "generated" in DatasetCatalog.list():
        DatasetCatalog.remove("generated")
        MetadataCatalog.remove("generated")
