"""One step, inference, evaluation and going on, on a GPU."""

import math

import pytest
import torch
from runs import StopAt, load
from tiny_distillation import make_cfg, train

from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.trainer import SpotterTrainer

pytestmark = pytest.mark.cuda


def trained(data, folder, device, **changes):
    """A trainer after two iterations, if not told otherwise, and the parameters before them."""
    cfg = make_cfg(data, folder, **{"MODEL__DEVICE": device, "SOLVER__MAX_ITER": 2, **changes})
    before = {
        name: value.detach().cpu().clone()
        for name, value in DistillTrainer(cfg).model.student.named_parameters()
    }
    return train(cfg), before


def assert_learnt(trainer, before, device):
    for name, value in trainer.model.student.named_parameters():
        assert value.device.type == device, name
        assert value.dtype == torch.float32 and value.isfinite().all(), name
        assert not torch.equal(value.cpu(), before[name]), name
    losses = {
        name: values.latest()
        for name, values in trainer.storage.histories().items()
        if "loss" in name
    }
    assert {"loss_rec", "loss_roi", "loss_con", "loss_seq", "loss_acc", "loss_mask"} <= set(losses)
    assert all(map(math.isfinite, losses.values())), losses


def test_a_step_in_float32(data, tmp_path, device):
    trainer, before = trained(data, tmp_path, device)
    assert_learnt(trainer, before, device)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_step_in_mixed_precision(data, tmp_path, device, precision):
    if device == "cpu" and precision == "float16":
        pytest.skip("float16 has an effect on GPUs alone")
    if device == "cuda" and precision == "bfloat16" and not torch.cuda.is_bf16_supported():
        pytest.skip("this GPU has no bfloat16")
    trainer, before = trained(
        data,
        tmp_path,
        device,
        SOLVER__AMP__ENABLED=True,
        SOLVER__AMP__PRECISION=precision,
        MODEL__DISTILL__NO_GRAD_PRECISION=precision,
        # Steps that overflow are left out, until the factor of the loss, 2^16 at first, is small
        # enough.
        SOLVER__MAX_ITER=12 if precision == "float16" else 2,
    )
    assert_learnt(trainer, before, device)


@pytest.fixture
def loaded(data, tmp_path, device):
    """A student with the configuration, and what a test loader gives."""
    cfg = make_cfg(data, tmp_path, MODEL__DEVICE=device, DATASETS__TEST=("generated",))
    trainer = DistillTrainer(cfg)
    loader = SpotterTrainer.build_test_loader(cfg, "generated")
    return cfg, trainer.model.student.eval(), [batch[0] for batch in loader]


def test_inference(loaded, device):
    _, student, inputs = loaded
    student.spotter.score_threshold = 0.0
    with torch.no_grad():
        outputs = student(inputs[:2])
    for output in outputs:
        found = output["instances"]
        assert output["scale"] in student.scales
        assert found.scores.isfinite().all()
        assert len(found) == len(found.pred_texts) == len(found.pred_polygons)


def test_readings_are_those_of_the_cpu(loaded, device):
    _, student, inputs = loaded
    readings = {}
    for kind in (device, "cpu"):
        spotter = student.spotter.to(kind)
        with torch.no_grad():
            batch = spotter.preprocess(inputs[:2])
            reading = spotter.recognize(*batch, {"roi", "context"})
        readings[kind] = {name: reading.features[name].float().cpu() for name in ("roi", "context")}
    for name, value in readings[device].items():
        expected = readings["cpu"][name]
        assert len(expected) > 0
        # Convolutions run in TensorFloat-32 by default: ten bits of a number.
        scale = expected.abs().max().item()
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-2 * scale, msg=name)


def test_evaluation(loaded, device):
    cfg, student, _ = loaded
    metrics = DistillTrainer.test(cfg, student)["text_spotting"]
    for key in ("det_hmean", "e2e_none_hmean", "cost_released", "mean_scale"):
        assert math.isfinite(metrics[key]), key
    assert metrics["cost_published"] < metrics["cost_released"] <= metrics["cost_whole"]


def test_going_on(data, tmp_path, device):
    cfg = make_cfg(data, tmp_path, MODEL__DEVICE=device, SOLVER__CHECKPOINT_PERIOD=2)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, False, StopAt(4))
    trainer = train(cfg, True)
    assert trainer.start_iter == 4 and trainer.iter == 7
    state = load(tmp_path)
    assert state["iteration"] == 6
    for kept in trainer.optimizer.state.values():
        assert kept["exp_avg"].device.type == device and kept["exp_avg"].isfinite().all()
