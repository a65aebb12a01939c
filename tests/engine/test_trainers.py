from detectron2.modeling import META_ARCH_REGISTRY

from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.setup import setup_cfg
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
    return trainer_for(setup_cfg("", ["MODEL.META_ARCHITECTURE", name]))


def test_dynamic_spotters_are_distilled_and_all_else_learns_by_itself():
    assert trainer_of("DynamicSpotter") is DistillTrainer
    assert trainer_of("SomebodysDynamicSpotter") is DistillTrainer
    for name in ("MaskRCNNSpotter", "TextSizeEstimator", "GeneralizedRCNN", "somebodys_function"):
        assert trainer_of(name) is SpotterTrainer
    # The trainer itself says that there is none.
    assert trainer_of("Unknown") is SpotterTrainer
