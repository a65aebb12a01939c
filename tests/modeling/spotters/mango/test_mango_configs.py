"""The published settings of the one-stage spotter, and what its network costs."""

import pytest
import torch
from tiny_spotter import CONFIGS

from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.mango.spotter import MANGOSpotter


def load(file):
    return setup_cfg(str(CONFIGS / "mango" / file), [])


def test_the_published_network_costs_what_it_should():
    """10^9 multiply-adds at 896 x 1344, as counted by hand."""
    cfg = setup_cfg(str(CONFIGS / "mango" / "Base-MANGO-R50-FPN.yaml"), ["MODEL.DEVICE", "cpu"])
    with torch.device("meta"):
        spotter = MANGOSpotter(cfg)
    table = SpotterCost(spotter).table(896, 1344)
    parts = {part.name: part for part in table.parts}
    pixels = 224 * 336
    square, wide = 9 * 256**2 * pixels / 1e9, 7 * 256**2 * pixels / 1e9
    expected = {
        "centre lines": 2 * square + 2 * wide,
        "mask features": 4 * square + 2 * 9 * 256 * pixels / 1e9 + 256**2 * pixels / 1e9,
        "fusion": 4 * square,
    }
    for name, cost in expected.items():
        assert parts[name].per_image / 1e9 == pytest.approx(cost, rel=0.005)
        assert parts[name].published
    assert [round(cost) for cost in expected.values()] == [158, 183, 178]
    # Attention and gathering, 25 characters each.
    assert parts["attention"].per_region / 1e9 == pytest.approx(0.96, abs=0.01)
    assert not parts["attention"].published


@pytest.mark.parametrize(
    ("file", "rate", "epochs", "steps"),
    [
        ("teacher_pretrain_attention.yaml", 0.01, 5, (2, 3, 4)),
        ("teacher_pretrain_synthtext.yaml", 0.001, 10, (4, 7, 9)),
        ("teacher_mixed.yaml", 0.001, 60, (30, 50)),
        ("teacher_tt.yaml", 0.001, 60, (30, 50)),
    ],
)
def test_stages_of_the_teacher(file, rate, epochs, steps):
    cfg = load(file)
    solver, mango = cfg.SOLVER, cfg.MODEL.MANGO
    assert (solver.OPTIMIZER, solver.MOMENTUM, solver.WEIGHT_DECAY) == ("SGD", 0.9, 1e-4)
    assert (rate, epochs, steps) == (solver.BASE_LR, solver.EPOCHS, solver.STEP_EPOCHS)
    assert (solver.CLIP_TOTAL_NORM, solver.WARMUP_ITERS) == (35.0, 500)
    assert (solver.IMS_PER_BATCH, solver.REFERENCE_WORLD_SIZE) == (16, 8)
    assert (mango.GRID_SIZE, mango.NORM, mango.ROWS) == (40, "GN", "cells")
    assert cfg.MODEL.RECOGNITION.MAX_LENGTH == 24
    first = file == "teacher_pretrain_attention.yaml"
    weights = (mango.MASK_LOSS_WEIGHT, mango.READING_LOSS_WEIGHT)
    assert weights == ((3.0, 0.0) if first else (0.0, 1.0))
    assert cfg.TEST.MATCH_IOU == 0.1


def test_table_8():
    sides = [896, 768, 640, 512, 384, 256]
    for side in sides:
        cfg = load(f"vanilla_{side}_tt.yaml")
        assert side == cfg.INPUT.MIN_SIZE_TEST
        assert f"{load('teacher_tt.yaml').OUTPUT_DIR}/model_final.pth" == cfg.MODEL.WEIGHTS
        assert (cfg.DATASETS.TEST, cfg.TEST.MATCH_IOU) == (("totaltext_test",), 0.1)
    for file, gamma in (("dld_tt.yaml", 0.1), ("dld_tt_gamma0.3.yaml", 0.3)):
        cfg = load(file)
        assert gamma == cfg.MODEL.DISTILL.SELECTOR.GAMMA
        assert cfg.MODEL.DYNAMIC.SCALES == (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
        solver = cfg.SOLVER
        assert (solver.OPTIMIZER, solver.BASE_LR, solver.WEIGHT_DECAY) == ("ADAMW", 1e-3, 0.0)
        assert (solver.EPOCHS, solver.STEP_EPOCHS) == (50, (30, 40))
        assert (cfg.INPUT.MIN_SIZE_TEST, cfg.TEST.MATCH_IOU) == (896, 0.1)


def test_small_ones_are_evaluated_likewise():
    for file in ("teacher", "dld", "dld_gamma0.3", "overfit"):
        assert load(f"tiny/{file}.yaml").TEST.MATCH_IOU == 0.1
