"""Configurations that are not made to be trained with."""

import pytest
from tiny_training import TinyTrainer, tiny_cfg

from dld_d2.engine.setup import ConfigError


def test_a_configuration_for_evaluation_does_not_train(tmp_path):
    cfg = tiny_cfg(tmp_path, "TEST.EVAL_ONLY", "True")
    with pytest.raises(ConfigError, match=r"for --eval-only \(TEST.EVAL_ONLY\)"):
        TinyTrainer(cfg)
    assert not list(tmp_path.glob("*.pth"))


def test_statistics_of_random_weights_are_not_frozen(tmp_path):
    opts = ["MODEL.BACKBONE.FREEZE_STATISTICS", "True"]
    with pytest.raises(ConfigError, match=r"MODEL.BACKBONE.FREEZE_STATISTICS .*set it to False"):
        TinyTrainer(tiny_cfg(tmp_path, *opts))
