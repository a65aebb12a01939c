import pytest
import torch
from tiny_dynamic_spotter import CONFIG, save_pictures, write_checkpoint

from dld_d2.deployment.model_file import export_spotter
from dld_d2.engine.setup import setup_cfg


@pytest.fixture
def weights(tmp_path):
    torch.save({"model": {"number": torch.tensor([7.0])}}, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.fixture
def config_file(tmp_path, weights):
    file = tmp_path / "config.yaml"
    file.write_text(
        "MODEL:\n  META_ARCHITECTURE: BrightBlockSpotter\n  DEVICE: cpu\n"
        f"  WEIGHTS: {weights}\nINPUT:\n  MIN_SIZE_TEST: 100\n  MAX_SIZE_TEST: 300\n"
    )
    return str(file)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("deployment")


@pytest.fixture(scope="session")
def opts(folder):
    return write_checkpoint(folder / "weights.pth")


@pytest.fixture(scope="session")
def student(folder, opts):
    export_spotter(setup_cfg(CONFIG, opts), folder / "student.pth")
    return str(folder / "student.pth")


@pytest.fixture(scope="session")
def files(folder):
    return save_pictures(folder / "images", [(96, 128)] * 6 + [(150, 100), (96, 200)] * 3)


@pytest.fixture(scope="session")
def biased(folder):
    """Options of a model with a cost bias."""
    return write_checkpoint(folder / "model_final.pth", ["MODEL.DYNAMIC.COST_BIAS", "0.5"])


@pytest.fixture(scope="session")
def exported(folder, biased):
    """One file per format."""
    files = [folder / "biased.pth", folder / "biased.safetensors"]
    for file in files:
        export_spotter(setup_cfg(CONFIG, biased), file)
    return files
