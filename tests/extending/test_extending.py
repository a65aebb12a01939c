"""The spotter and the term of docs/extending.md: distilled with all terms on, exported, read again.

A one-stage spotter with a parallel decoder, of which no other code knows.
"""

import importlib
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from documented_code import ROOT, write_config, write_images, write_modules

from dld_d2.commands.train import main as train
from dld_d2.deployment import TextSpotter
from dld_d2.deployment.model_file import export_spotter
from dld_d2.distillation.distiller import Distiller
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.build import build_spotter

ALL_TERMS = "('roi', 'context', 'sequence')"
DYNAMIC = ["MODEL.META_ARCHITECTURE", "DynamicSpotter", "MODEL.DYNAMIC.SPOTTER", "GridSpotter"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as a user's: modules, images, a configuration, and a trained teacher."""
    folder = tmp_path_factory.mktemp("mine")
    assert write_modules(folder) == ["my_terms.py", "grid_spotter.py", "train_mine.py"]
    sys.path.insert(0, str(folder))
    importlib.import_module("grid_spotter")
    config = str(write_config(folder, write_images(folder)))
    teacher = ["MODEL.META_ARCHITECTURE", "GridSpotter", "OUTPUT_DIR", str(folder / "teacher")]
    assert train(["--config-file", config, *teacher]) == 0
    yield folder
    sys.path.remove(str(folder))


def distilling(place, *opts):
    weights = str(place / "teacher" / "model_final.pth")
    return [*DYNAMIC, "MODEL.DISTILL.TEACHER_WEIGHTS", weights, *opts]


def test_it_is_distilled_exported_and_read_again(place):
    config, output = str(place / "config.yaml"), place / "student"
    opts = distilling(place, "MODEL.DISTILL.TERMS", ALL_TERMS, "OUTPUT_DIR", str(output))
    assert train(["--config-file", config, *opts]) == 0
    losses = (output / "metrics.json").read_text()
    for name in ("loss_score", "loss_rec", "loss_roi", "loss_con", "loss_seq", "loss_acc"):
        assert name in losses
    weights = str(output / "model_final.pth")
    opts += ["MODEL.DYNAMIC.COST_BIAS", "0.1"]
    before = TextSpotter(setup_cfg(config, [*opts, "MODEL.WEIGHTS", weights]))
    with torch.no_grad():  # found words are wanted, whatever three iterations have taught
        before.model.spotter.detect.bias[0] = 1
    trained = before.model.state_dict()
    torch.save({"model": trained}, output / "finds.pth")
    cfg = setup_cfg(config, [*opts, "MODEL.WEIGHTS", str(output / "finds.pth")])
    file = place / "student.safetensors"
    export_spotter(cfg, file)
    after = TextSpotter.from_file(file)
    assert all(torch.equal(trained[k], v) for k, v in after.model.state_dict().items())
    assert after.cost_bias == 0.1
    image = cv2.imread(str(place / "images" / "img_0.png"))
    expected, words = before(image), after(image)
    assert len(words) > 0 and words.scale in (0.5, 0.8)
    assert [w.text for w in words] == [w.text for w in expected]
    for a, b in zip(words, expected, strict=True):
        assert np.array_equal(a.polygon, b.polygon)
    cost = after.cost(words)
    assert [part.name for part in cost.parts] == [
        *("resolution selector", "backbone", "detection", "reading")
    ]
    assert all(part.total(cost.workload) > 0 for part in cost.parts)


def test_two_processes_train_it_as_one_does(place):
    """By the script of the documentation."""
    output = place / "two"
    opts = distilling(place, "MODEL.DISTILL.TERMS", ALL_TERMS, "OUTPUT_DIR", str(output))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(place)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(place / "train_mine.py")]
    done = subprocess.run(
        [*command, "--config-file", str(place / "config.yaml"), *opts],
        capture_output=True,
        text=True,
        cwd=place,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    state = torch.load(output / "model_final.pth", weights_only=True)
    assert state["iteration"] == 2
    assert all(torch.isfinite(v).all() for v in state["model"].values())


def make_distiller(place, *opts):
    cfg = setup_cfg(str(place / "config.yaml"), distilling(place, *opts))
    torch.manual_seed(0)
    student, teacher = build_model(cfg), build_spotter(cfg)
    return Distiller(cfg, student, teacher).train(), cfg


@pytest.mark.parametrize("words", [True, False], ids=["words", "no words"])
def test_every_parameter_of_it_gets_a_gradient(place, words):
    distiller, cfg = make_distiller(place, "MODEL.DISTILL.TERMS", ALL_TERMS)
    mapper = SpotterTrainer.build_mapper(cfg, is_train=True)
    images = DatasetCatalog.get("documented")
    inputs = [mapper(images[i]) for i in ((0, 2) if words else (3, 3))]
    losses = distiller(inputs)
    if not words:
        for name in ("loss_rec", "loss_roi", "loss_con", "loss_seq", "loss_acc"):
            assert losses[name].item() == 0, name
    sum(losses.values()).backward()
    assert [n for n, p in distiller.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in distiller.parameters())


def test_what_it_does_not_offer_is_refused(place):
    with pytest.raises(ValueError, match=r"looks needs the features attention.*GridSpotter"):
        make_distiller(place, "MODEL.DISTILL.TERMS", "('roi', 'my_terms.looks')")


def test_the_documented_term_is_one_word_in_a_config(place):
    """Its keys are there, with the defaults beside the term, and its loss is in the sum."""
    base = str(ROOT / "configs" / "tiny" / "Base-dld.yaml")
    file = place / "looks.yaml"
    file.write_text(
        f'_BASE_: "{base}"\nMODEL:\n  DISTILL:\n    TERMS: ("roi", "my_terms.looks")\n'
        "    LOOKS: {WEIGHT: 0.5}\n"
    )
    assert setup_cfg(str(file)).MODEL.DISTILL.LOOKS.WEIGHT == 0.5
    words = "('my_terms.looks',)"
    cfg = setup_cfg(base, ["MODEL.DISTILL.TERMS", words, "MODEL.DYNAMIC.COST", "power"])
    assert cfg.MODEL.DISTILL.LOOKS.WEIGHT == 2.0
    distiller = Distiller(cfg, build_model(cfg), build_spotter(cfg))
    assert [term.name for term in distiller.terms] == ["looks"] and distiller.want == {"attention"}
    with pytest.raises(ConfigError, match=r"command line: .*TERMS.*my_terms\.nothing"):
        setup_cfg(base, ["MODEL.DISTILL.TERMS", "('my_terms.nothing',)"])


def test_its_loss_is_the_mean_over_characters(place):
    attention_distance = importlib.import_module("my_terms").attention_distance
    student = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    teacher = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]])
    valid = torch.tensor([[True, False]])
    assert attention_distance(student, teacher, valid).item() == 1.0
    assert attention_distance(student, teacher, torch.ones_like(valid)).item() == 0.75
    assert attention_distance(student[:0], teacher[:0], valid[:0]).item() == 0


def test_inside_the_package_a_term_is_a_file_and_a_spotter_a_folder(place, tmp_path):
    """Nothing else is touched: they are found, and so are their keys."""
    package = tmp_path / "dld_d2"
    shutil.copytree(
        ROOT / "dld_d2", package, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
    )
    shutil.copy(place / "my_terms.py", package / "distillation" / "terms" / "looks.py")
    folder = package / "modeling" / "spotters" / "grid"
    folder.mkdir()
    (folder / "__init__.py").touch()
    shutil.copy(place / "grid_spotter.py", folder / "spotter.py")
    (folder / "config.py").write_text("def add_config(cfg):\n    cfg.MODEL.GRID_WIDTH = 16\n")
    program = (
        "from dld_d2.engine.setup import setup_cfg\n"
        "from dld_d2.modeling.build import build_spotter\n"
        "opts = ['MODEL.DYNAMIC.SPOTTER', 'GridSpotter', 'MODEL.DISTILL.TERMS', \"('looks',)\"]\n"
        "cfg = setup_cfg('', [*opts, 'MODEL.GRID_WIDTH', '8', 'MODEL.DEVICE', 'cpu'])\n"
        "print(type(build_spotter(cfg)).__name__, cfg.MODEL.DISTILL.LOOKS.WEIGHT)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["GridSpotter", "2.0"]
