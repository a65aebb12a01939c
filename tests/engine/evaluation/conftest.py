import pytest
from three_images import register, unregister

from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.trainer import SpotterTrainer


@pytest.fixture
def dataset(tmp_path):
    """The three images under a name of their own."""
    name = f"three_images_{tmp_path.name}"
    register(name, tmp_path)
    yield name
    unregister(name)


@pytest.fixture
def make_cfg(dataset, tmp_path):
    def make_cfg(*opts):
        return setup_cfg(
            "",
            [
                *("DATASETS.TEST", f"('{dataset}',)", "OUTPUT_DIR", str(tmp_path / "run")),
                *("INPUT.MIN_SIZE_TEST", "60", "DATALOADER.NUM_WORKERS", "0", *opts),
            ],
        )

    return make_cfg


@pytest.fixture
def out(dataset, tmp_path):
    """Where an evaluation writes."""
    return tmp_path / "run" / "inference" / dataset


@pytest.fixture
def inputs(dataset, make_cfg):
    """What the loader gives, image by image."""
    return [batch[0] for batch in SpotterTrainer.build_test_loader(make_cfg(), dataset)]


@pytest.fixture
def evaluate(make_cfg):
    """Evaluates a model on all images, and gives the metrics."""

    def evaluate(model, *opts):
        return SpotterTrainer.test(make_cfg(*opts), model.eval())["text_spotting"]

    return evaluate
