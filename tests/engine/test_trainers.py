import pytest
from detectron2.modeling import META_ARCH_REGISTRY
from tiny_distillation import BASE

from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.focus_trainer import FocusTrainer
from dld_d2.engine.setup import ConfigError, setup_cfg
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.engine.trainers import trainer_for
from dld_d2.modeling.dynamic_spotter import DynamicSpotter


@META_ARCH_REGISTRY.register()
class SomebodysDynamicSpotter(DynamicSpotter):
    pass


@META_ARCH_REGISTRY.register()
def somebodys_function(cfg):
    raise NotImplementedError


def trainer_of(name):
    return trainer_for(setup_cfg(BASE, ["MODEL.META_ARCHITECTURE", name]))


def test_dynamic_spotters_are_distilled_and_all_else_learns_by_itself():
    assert trainer_of("DynamicSpotter") is DistillTrainer
    assert trainer_of("SomebodysDynamicSpotter") is DistillTrainer
    assert trainer_of("FocusMap") is FocusTrainer
    for name in ("MaskRCNNSpotter", "TextSizeEstimator", "somebodys_function"):
        assert trainer_of(name) is SpotterTrainer


def test_models_that_do_not_read_are_refused():
    with pytest.raises(ConfigError, match=r"GeneralizedRCNN, which reads no text.*MaskRCNNSpo"):
        trainer_for(setup_cfg("", []))  # Detectron2's default
    assert trainer_of("GeneralizedRCNN") is SpotterTrainer  # with heads that read
    with pytest.raises(ConfigError, match=r"ARCHITECTURE is 'Unknown'; expected one of .*MaskRCNN"):
        trainer_of("Unknown")
