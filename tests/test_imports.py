"""What importing a part of the package loads, each time in a fresh interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "torchvision", "detectron2", "cv2"}


def loaded(statements: str) -> set[str]:
    """Names of all modules that are loaded after the statements."""
    program = f"{statements}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    # lazy_loader would import everything at once if this were set.
    environment = {k: v for k, v in os.environ.items() if k != "EAGER_IMPORT"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def own(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] == "dld_d2"}


@pytest.mark.parametrize(
    "statements",
    [
        "import dld_d2.evaluation",
        "from dld_d2.evaluation import *",
        "import dld_d2.evaluation.cli",
        "from dld_d2.structures import DONT_CARE, LEXICONS, Vocabulary, Word, scaled_size",
    ],
)
def test_scoring_needs_neither_torch_nor_detectron2(statements):
    assert not loaded(statements) & HEAVY


def test_reading_by_exported_networks_needs_neither_torch_nor_detectron2():
    pytest.importorskip("onnxruntime")
    kinds = "mango, mask_rcnn, pp_ocr, text_perceptron"
    found = loaded(f"from dld_d2.deployment.runtime import OnnxSpotter, {kinds}")
    assert not found & {"torch", "torchvision", "detectron2", "fvcore", "matplotlib"}


def test_serving_needs_neither_torch_nor_detectron2():
    for package in ("onnxruntime", "starlette", "prometheus_client"):
        pytest.importorskip(package)
    statements = "import dld_d2.commands.serve, dld_d2.deployment.service.app"
    found = loaded(f"{statements}\nfrom dld_d2.deployment.runtime import OnnxSpotter, pp_ocr")
    assert not found & {"torch", "torchvision", "detectron2", "fvcore", "matplotlib"}


@pytest.mark.parametrize(
    ("module", "modules"),
    [
        ("dld_d2.evaluation", {"dld_d2", "dld_d2.evaluation"}),
        ("dld_d2.data.geometry", {"dld_d2", "dld_d2.data", "dld_d2.data.geometry"}),
        ("dld_d2.structures.word", {"dld_d2", "dld_d2.structures", "dld_d2.structures.word"}),
    ],
)
def test_leaf_loads_nothing_else(module, modules):
    found = loaded(f"import {module}")
    assert own(found) == modules
    assert not found & HEAVY


def test_reader_is_imported_when_it_is_asked_for():
    statements = "from dld_d2.data.formats import FORMATS, get_reader; assert 'polygon' in FORMATS"
    readers = {"dld_d2.data.formats.polygon", "dld_d2.data.formats.synthtext"}
    found = loaded(statements)
    assert not found & (readers | HEAVY)
    found = loaded(f"{statements}\nget_reader('polygon')")
    assert found & readers == {"dld_d2.data.formats.polygon"}
    assert loaded(f"{statements}\nassert len(list(FORMATS)) == 9") >= readers


@pytest.mark.parametrize(
    ("statements", "names"),
    [
        ("import dld_d2.data.builtin", ["icdar2015_test", "synthtext_train"]),
        ("from dld_d2.data import register_configured_datasets", ["totaltext_train"]),
        ("import dld_d2.synthetic.builtin", ["synthetic_train", "synthetic_test"]),
    ],
)
def test_built_in_sets_are_registered_by_their_module(statements, names):
    loaded(
        f"{statements}\n"
        "from detectron2.data import DatasetCatalog\n"
        f"assert set({names!r}) <= set(DatasetCatalog), list(DatasetCatalog)"
    )


def test_all_public_names_can_be_imported():
    packages = ("structures", "evaluation", "data", "data.formats", "synthetic")
    loaded("\n".join(f"from dld_d2.{package} import *" for package in packages))
