import json
import logging
import signal
from pathlib import Path

import pytest
import torch
from runs import StopAt, assert_same, load, spawn, tensors
from tiny_training import NUM_IMAGES, TinySpotter, TinyTrainer, tiny_cfg, train

from dld_d2.engine import precision
from dld_d2.engine.guard import NonFiniteLossError
from dld_d2.engine.setup import ConfigError

SCRIPT = str(Path(__file__).with_name("tiny_training.py"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    train(tiny_cfg(folder))
    return folder


def test_training_killed_and_resumed_reaches_the_same_state(undisturbed, tmp_path):
    """Optimiser, schedule and running statistics too, whatever the number of loader workers."""
    killed = spawn(SCRIPT, str(tmp_path), "DATALOADER.NUM_WORKERS", "2", "--kill-at", "7")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000005.pth"
    trainer = train(tiny_cfg(tmp_path), True)
    assert trainer.start_iter == 6
    assert_same(load(undisturbed), load(tmp_path))


def test_resuming_keeps_the_drawn_seed(tmp_path, undisturbed):
    stopped = tiny_cfg(tmp_path / "stopped", "SEED", "-1")
    with pytest.raises(KeyboardInterrupt):
        train(stopped, False, StopAt(7))
    seed = load(tmp_path / "stopped", "model_0000005.pth")["trainer"]["seed"]
    train(stopped, True)
    train(tiny_cfg(tmp_path / "whole", "SEED", str(seed)))
    assert_same(load(tmp_path / "stopped"), load(tmp_path / "whole"))
    with pytest.raises(AssertionError):
        assert_same(load(tmp_path / "stopped"), load(undisturbed))


def test_evaluating_in_training_changes_nothing(undisturbed, tmp_path):
    class Evaluating(TinyTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            torch.rand(5)
            return {"text_spotting": {"e2e_none_hmean": float(torch.rand(()))}}

    trainer = Evaluating(tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", "2"))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert_same(load(undisturbed), load(tmp_path))


def test_two_processes_train_as_one(tmp_path):
    """Same data, averaged gradients: the weights of one process with the whole batch."""
    opts = ["MODEL.RESNETS.NORM", "", "SOLVER.OPTIMIZER", "SGD", "SOLVER.IMS_PER_BATCH", "4"]
    done = spawn(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(SCRIPT, str(tmp_path / "two"), *opts),
    )
    assert done.returncode == 0, done.stderr
    train(tiny_cfg(tmp_path / "one", *opts))
    one, two = load(tmp_path / "one")["model"], load(tmp_path / "two")["model"]
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_stops_before_a_bad_loss_reaches_the_weights(tmp_path, factor):
    trainer = TinyTrainer(tiny_cfg(tmp_path, "SOLVER.CHECKPOINT_PERIOD", "1"))
    trainer.resume_or_load(resume=False)
    trainer.model.poison = {"img_4": factor}
    with pytest.raises(NonFiniteLossError, match=r"loss_b = (nan|inf) .*loss_a = .*4\.png"):
        trainer.train()
    positions = [trainer.data_loader.dataset.index_at(p) for p in range(2 * NUM_IMAGES)]
    bad = positions.index(4) // 2
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == [f"model_{i:07d}.pth" for i in range(max(bad - 2, 0), bad)]
    if bad:
        assert all(t.isfinite().all() for t in tensors(load(tmp_path, names[-1])).values())
        assert (tmp_path / "last_checkpoint").read_text() == names[-1]


def test_stops_before_a_bad_gradient_reaches_the_weights(tmp_path, monkeypatch):
    # Finite value, infinite derivative.
    monkeypatch.setattr(
        TinySpotter,
        "forward",
        lambda self, inputs: {
            "loss": (self.head.weight - self.head.weight.detach()).abs().sqrt().sum()
        },
    )
    trainer = TinyTrainer(tiny_cfg(tmp_path))
    trainer.resume_or_load(resume=False)
    before = trainer.model.head.weight.clone()
    with pytest.raises(FloatingPointError, match=r"head\.weight"):
        trainer.train()
    assert torch.equal(trainer.model.head.weight, before)


def test_keeps_the_last_checkpoints(undisturbed):
    assert sorted(path.name for path in undisturbed.glob("*.pth")) == [
        "model_0000005.pth",
        "model_0000008.pth",
        "model_final.pth",
    ]


def test_writes_logs(undisturbed):
    last = json.loads((undisturbed / "metrics.json").read_text().splitlines()[-1])
    assert {"total_loss", "loss_a", "loss_b", "lr", "grad_norm", "iteration"} <= set(last)
    assert last["iteration"] == 10
    assert list(undisturbed.glob("events.out.tfevents*"))


def test_starting_anew_forgets_the_earlier_training(tmp_path, caplog):
    train(tiny_cfg(tmp_path, "SOLVER.MAX_ITER", "3"))
    trainer = TinyTrainer(tiny_cfg(tmp_path))
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        trainer.resume_or_load(resume=False)
    assert "starts anew" in caplog.text
    assert trainer.start_iter == 0
    assert not trainer.checkpointer.has_checkpoint()


def test_epochs_set_the_length(tmp_path):
    opts = ["SOLVER.EPOCHS", "3", "SOLVER.STEP_EPOCHS", "(2,)", "SOLVER.EVAL_EPOCHS", "1"]
    cfg = TinyTrainer(tiny_cfg(tmp_path, *opts)).cfg
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.TEST.EVAL_PERIOD) == (11, (7,), 4)


def test_best_checkpoint_survives_a_resumption(tmp_path):
    scores = iter([0.5, 0.9, 0.7, 0.8, 0.95])

    class Scored(TinyTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            return {"text_spotting": {"e2e_none_hmean": next(scores)}}

    def run(resume, length):
        opts = ["TEST.EVAL_PERIOD", "3", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.MAX_ITER", length]
        metric = ["TEST.BEST_METRIC", "text_spotting/e2e_none_hmean"]
        trainer = Scored(tiny_cfg(tmp_path, *opts, *metric))
        trainer.resume_or_load(resume=resume)
        trainer.train()
        return json.loads((tmp_path / "model_best.json").read_text())

    assert run(False, "7") == {
        "metric": "text_spotting/e2e_none_hmean",
        "value": 0.9,
        "iteration": 5,
    }
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert run(True, "9")["value"] == 0.9
    assert run(True, "10")["value"] == 0.95
    assert list(load(tmp_path, "model_best.pth")) == ["model"]


def test_float16_on_the_cpu_says_that_it_is_off(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        trainer = train(tiny_cfg(tmp_path, "SOLVER.AMP.ENABLED", "True", "SOLVER.MAX_ITER", "1"))
    assert "single precision" in caplog.text
    assert not trainer.cfg.SOLVER.AMP.ENABLED


@pytest.mark.parametrize("has_lstms", [True, False])
def test_bfloat16_on_the_cpu_trains_in_it_and_evaluates_in_single_precision(
    tmp_path, monkeypatch, caplog, has_lstms
):
    """Where PyTorch has LSTMs in it; else the training says so, and is in single precision."""
    monkeypatch.setattr(precision, "_lstms_run_in_bfloat16", lambda: has_lstms)
    amp = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16"]
    trainer = TinyTrainer(tiny_cfg(tmp_path, *amp, "SOLVER.MAX_ITER", "2"))
    seen = []
    trainer.model.conv.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert seen == [torch.bfloat16 if has_lstms else torch.float32] * 2
    assert ("has no LSTM in bfloat16 for this processor" in caplog.text) == (not has_lstms)
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in trainer.model.parameters())
    trainer.model.eval()
    trainer.model([])
    trainer.model.conv(torch.zeros(1, 3, 8, 8))
    assert seen[-1] == torch.float32


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["DATASETS.TRAIN", "('tinny',)"], "no data set 'tinny'; did you mean tiny"),
        (["SOLVER.IMS_PER_BATCH", "0"], "IMS_PER_BATCH"),
        (["SOLVER.OPTIMIZER", "LION"], "expected one of 'ADAMW', 'SGD'"),
        (["SOLVER.CLIP_TOTAL_NORM", "-1"], "CLIP_TOTAL_NORM"),
        (["SOLVER.EPOCHS", "3", "SOLVER.STEP_EPOCHS", "(2, 1)"], "EPOCHS"),
        (["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "int8"], "PRECISION"),
        (["DATALOADER.ASPECT_RATIO_GROUPING", "True"], "ASPECT_RATIO_GROUPING"),
    ],
)
def test_refuses_bad_configurations(tmp_path, opts, message):
    with pytest.raises(ConfigError, match=message):
        TinyTrainer(tiny_cfg(tmp_path, *opts))


def test_evaluation_needs_weights(tmp_path):
    with pytest.raises(ConfigError, match=r"DATASETS\.TEST"):
        TinyTrainer.evaluate(tiny_cfg(tmp_path))
    with pytest.raises(ConfigError, match=r"MODEL\.WEIGHTS"):
        TinyTrainer.evaluate(tiny_cfg(tmp_path, "DATASETS.TEST", "('tiny',)"))


def test_the_log_tells_what_recognition_can_learn_from(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        TinyTrainer(tiny_cfg(tmp_path))
    assert f"{NUM_IMAGES} images: " in caplog.text
    assert "words train detection only" in caplog.text
