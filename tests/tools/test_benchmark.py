"""The benchmark on tiny sizes: what it compares is alike, what it forces happens; no timings."""

import json
from pathlib import Path

import benchmark
import numpy as np
import pytest
import torch
from benchmark_suite.forcing import force_scale, forced_detections, forced_length
from benchmark_suite.released import ReleasedScheme, bitmaps
from benchmark_suite.stages import stage_seconds
from benchmark_suite.terms import measure_terms
from benchmark_suite.timing import Clock, Seconds, interleave
from benchmark_suite.training import compare_losses, cost_model
from benchmark_suite.workload import Workload, build_cfg, build_distiller, calibrate, make_batch
from detectron2.utils.events import EventStorage

from dld_d2.distillation.terms.term import known_terms

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "tiny" / "Base-tiny.yaml")
SMALL = [
    # Not 8: oneDNN 3.13 (PyTorch 2.15 on CPUs) writes out of bounds in the backward pass of a 1x1
    # convolution of stride 2 with channels last and fewer than 16 of them.
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "16"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", "16"),
    *("MODEL.FPN.OUT_CHANNELS", "16"),
    *("MODEL.RPN.CONV_DIMS", "[16]"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", "16"),
    *("MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM", "16"),
    *("MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM", "16"),
    *("MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM", "16"),
    *("MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM", "16"),
]
TWO_SCALES = ["MODEL.DYNAMIC.SCALES", "(0.5, 0.8)"]
WORKLOAD = Workload(size=(160, 256), words=4, repeats=1)


def prepared(*opts, workload=WORKLOAD):
    distiller = build_distiller(build_cfg(CONFIG, [*SMALL, *opts]))
    inputs = make_batch(workload.size, batch=workload.batch, words=workload.words)
    calibrate(distiller, inputs)
    force_scale(distiller, workload.scale)
    return distiller, inputs


class TestReleasedScheme:
    @pytest.mark.parametrize("scale", [0.3, 0.5, 0.8])
    def test_gives_the_same_losses(self, scale):
        losses = compare_losses(CONFIG, SMALL, Workload((160, 256), words=4, scale=scale))
        assert {"loss_rec", "loss_roi", "loss_con", "loss_seq", "loss_acc", "loss_flops"} <= set(
            losses
        )
        for name, (ours, released) in losses.items():
            assert ours == pytest.approx(released, rel=1e-4, abs=1e-6), name
        assert losses["loss_acc"][0] > 0  # calibrated weights make the passes differ

    def test_gives_the_same_losses_where_rounding_and_padding_matter(self):
        workload = Workload((171, 301), batch=2, words=5, scale=0.7, seed=1)
        for name, (ours, released) in compare_losses(CONFIG, SMALL, workload).items():
            assert ours == pytest.approx(released, rel=1e-4, abs=1e-6), name

    def test_gives_the_same_gradients(self):
        distiller, inputs = prepared("MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", "map", *TWO_SCALES)
        images, targets = distiller.student.spotter.preprocess(inputs)

        def gradients(losses):
            torch.manual_seed(0)
            distiller.zero_grad()
            with EventStorage():
                sum(losses().values()).backward()
            return {n: p.grad.clone() for n, p in distiller.named_parameters()}

        ours = gradients(lambda: distiller.losses(images, targets))
        released = ReleasedScheme(distiller)
        theirs = gradients(lambda: released.losses(images, targets, bitmaps(targets)))
        for name, gradient in ours.items():
            size = gradient.norm() + 1e-6
            assert (gradient - theirs[name]).norm() / size < 1e-3, name


class TestWorkload:
    def test_synchronised_norms_become_plain_ones(self):
        base = Path(CONFIG).parents[1] / "Base-DLD-R50-FPN.yaml"
        cfg = build_cfg(str(base), [])
        assert cfg.MODEL.RESNETS.NORM == cfg.MODEL.ROI_TEXT_HEAD.NORM == "BN"
        assert cfg.MODEL.META_ARCHITECTURE == "DynamicSpotter"

    @pytest.mark.parametrize("words", [1, 5, 50])
    def test_words_lie_apart_within_the_photograph(self, words):
        (item,) = make_batch((448, 672), batch=1, words=words)
        boxes = item["instances"].gt_boxes.tensor.numpy()
        assert len(boxes) == words
        assert boxes.min() > 0
        assert (boxes[:, 2] < 672).all() and (boxes[:, 3] < 448).all()
        assert ((boxes % 2 == 1) & (boxes % 5 != 0)).all()
        canvas = np.zeros((448, 672), dtype=int)
        for x0, y0, x1, y1 in boxes.astype(int):
            canvas[y0:y1, x0:x1] += 1
        assert canvas.max() == 1

    def test_student_and_teacher_agree_at_full_resolution(self):
        distiller, inputs = prepared()
        images, targets = distiller.student.spotter.preprocess(inputs)
        distiller.eval()
        with torch.no_grad():
            student = distiller.student.spotter.recognize(images, targets, {"roi"})
            teacher = distiller.teacher.recognize(images, targets)
        torch.testing.assert_close(student.logits, teacher.logits)
        assert 0.01 < student.features["roi"].std() < 100


class TestForcing:
    def test_takes_the_scale_with_gradient_into_the_selector(self):
        distiller, inputs = prepared()
        images, _ = distiller.student.spotter.preprocess(inputs)
        student, policy = distiller.student, distiller.student.policy
        choice = distiller.learning.draw(policy, images)
        assert choice.index.tolist() == [2, 2]
        assert choice.selection.detach().argmax(dim=1).tolist() == [2, 2]
        (choice.selection * torch.arange(6.0)).sum().backward()
        assert policy.policy.selector.classifier.weight.grad.abs().sum() > 0
        assert policy.choose(images, student.relative_cost).tolist() == [2, 2]

    def test_an_unknown_scale_is_refused(self):
        distiller, _ = prepared()
        with pytest.raises(ValueError, match=r"--scale 0\.45 is not among .*0\.3, 0\.4"):
            force_scale(distiller, 0.45)

    def test_words_are_found_at_their_places_and_read_so_far(self):
        distiller, inputs = prepared()
        inputs, truth = inputs[:1], inputs[0]["instances"]
        distiller.eval()
        with forced_detections(distiller.student.spotter, truth, characters=6):
            found = distiller(inputs)[0]["instances"]
        torch.testing.assert_close(
            found.pred_boxes.tensor, truth.gt_boxes.tensor, atol=1e-3, rtol=0
        )
        assert [len(text) for text in found.pred_texts] == [6] * len(truth)
        for polygon, box in zip(found.pred_polygons, truth.gt_boxes.tensor.numpy(), strict=True):
            (x, y), (width, height) = polygon.T, box[2:] - box[:2]
            area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
            assert 0.3 < area / (width * height) < 0.95  # an ellipse has 0.79
            assert (polygon >= box[:2] - 1e-3).all() and (polygon <= box[2:] + 1e-3).all()
        # Outside the context all is as it was.
        heads = distiller.student.spotter.roi_heads
        assert "step" not in vars(heads.text_head.decoder)
        assert "inference" not in vars(heads.box_predictor)
        assert not heads.mask_head._forward_hooks

    def test_forced_length_survives_several_words(self):
        decoder = prepared()[0].teacher.roi_heads.text_head.decoder
        context = torch.randn(3, 33, decoder.key.in_features)
        with forced_length(decoder, 4):
            for _ in range(2):
                assert decoder.greedy(context, 32)[0].shape == (3, 4)


class TestTiming:
    def test_calls_alternate_and_warm_up(self):
        calls = []
        seconds = interleave(
            {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
            repeats=2,
            clock=Clock("cpu"),
        )
        assert calls == ["a", "b"] * 3
        assert [len(seconds[name]) for name in "ab"] == [2, 2]

    def test_a_ratio_is_the_median_of_the_rounds_ratios(self):
        seconds = Seconds(a=[1.0, 10.0, 3.0], b=[2.0, 5.0, 1.0])
        assert seconds.ratio("a", "b") == 2.0
        assert seconds.median("a") == 3.0

    @pytest.mark.parametrize(("device", "kind"), [("cuda", "cpu"), ("cpu", "sun")])
    def test_a_clock_that_cannot_measure_is_refused(self, device, kind):
        with pytest.raises(ValueError, match="--clock"):
            Clock(device, kind)

    def test_the_cost_model_of_the_paper(self):
        scales = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
        assert cost_model(scales, 0.5) == pytest.approx(1 + 1.99 + 0.75)


def test_stages_cover_the_step_and_leave_nothing_behind():
    distiller, inputs = prepared(*TWO_SCALES)
    images, targets = distiller.student.spotter.preprocess(inputs)

    def step():
        sum(distiller.losses(images, targets).values()).backward()

    before = torch.Tensor.backward
    with EventStorage():
        seconds = stage_seconds(distiller, step, Clock("cpu"), repeats=1)
    stages = ("teacher", "selector", "views", "selected", "candidates", "beam search", "backward")
    assert set(stages) <= seconds.keys()
    assert sum(seconds[s] for s in (*stages, "sequence decoder")) <= seconds["step"]
    for stage in ("teacher", "selected", "candidates"):
        parts = sum(v for name, v in seconds.items() if name.startswith(f"{stage}/"))
        assert 0 < parts <= seconds[stage]
    assert torch.Tensor.backward is before
    spotter = distiller.student.spotter
    assert not {"recognize", "losses"} & vars(spotter).keys()
    assert not any("forward" in vars(module) for module in spotter.modules())


class TestCommand:
    SIZE = ("--size", "96", "160", "--words", "2", "--repeats", "1", "--batch", "1")

    def test_train_and_inference_write_all_figures(self, tmp_path, capsys):
        out = tmp_path / "figures.json"
        for measurement in ("train", "inference"):
            options = ["--config-file", CONFIG, *self.SIZE, "--json", str(out)]
            assert benchmark.main([measurement, *options, "--opts", *SMALL, *TWO_SCALES]) == 0
            figures = json.loads(out.read_text())
            assert figures["workload"]["size"] == [96, 160]
            assert {"processor", "threads", "torch"} <= figures["machine"].keys()
            if measurement == "train":
                assert figures["train"]["ours_over_teacher"] > 0
                assert figures["losses"].keys() >= {"loss_rec"}
            else:
                assert [r["scale"] for r in figures["inference"]["words"]["50"]["scales"]] == [
                    0.5,
                    0.8,
                ]
                assert figures["selector"]["over_full"].keys() == {"1.0", "0.5", "0.25"}
        assert "peak memory" not in capsys.readouterr().out

    def test_memory_runs_each_setting_in_a_process_of_its_own(self, tmp_path, capsys):
        if not Path("/proc/self/status").exists():
            pytest.skip("memory of a process is read from /proc")
        out = tmp_path / "figures.json"
        options = ["memory", "--config-file", CONFIG, *self.SIZE, "--json", str(out)]
        assert benchmark.main([*options, "--opts", *SMALL]) == 0
        peaks = json.loads(out.read_text())["memory"]
        assert peaks.keys() == {"SKD-only", "DLD"}
        # Student with gradients and teacher, at least.
        parameters = sum(p.numel() for p in prepared()[0].student.parameters())
        assert min(peaks.values()) > 3 * 4 * parameters
        assert "SKD-only" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--repeats", "0"], "--repeats: must be at least 1"),
            (["--size", "8", "8"], "--size: must be at least 64"),
            (["--clock", "cpu", "--threads", "2"], "--threads 1"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, options, message, capsys):
        with pytest.raises(SystemExit):
            benchmark.main(["train", "--config-file", CONFIG, *options])
        assert message in capsys.readouterr().err

    def test_a_missing_configuration_is_told(self, capsys):
        assert benchmark.main(["train", "--config-file", "none.yaml"]) == 2
        assert "'none.yaml' does not exist" in capsys.readouterr().err

    def test_a_scale_that_is_no_candidate_is_told(self, capsys):
        assert benchmark.main(["train", "--config-file", CONFIG, *self.SIZE, "--scale", "0.9"]) == 2
        assert "--scale 0.9 is not among" in capsys.readouterr().err


class TestTerms:
    def test_each_is_measured_alone(self, tmp_path, capsys):
        out = tmp_path / "figures.json"
        size = ["--size", "160", "256", "--words", "4", "--repeats", "1", "--json", str(out)]
        assert benchmark.main(["terms", "--config-file", CONFIG, *size, "--opts", *SMALL]) == 0
        figures = json.loads(out.read_text())
        names = {"affinity", "attention", "context", "hint", "logits", "pyramid", "roi", "sequence"}
        measured = known_terms().keys() - figures["refused"].keys()
        assert names <= measured == set(figures["losses"]) == set(figures["over_none"])
        assert all(size > 0 for size in figures["losses"].values())
        assert set(figures["seconds"]) == {*measured, "none", "teacher's pass"}
        assert "score_map" in figures["refused"]
        assert "with one term" in capsys.readouterr().out

    def test_its_losses_are_those_of_a_step(self):
        """Weighted as the configuration has it, with a teacher that knows no more."""
        heavy = ["MODEL.DISTILL.ROI.WEIGHT", "10.0"]
        one, ten = (
            measure_terms(CONFIG, [*SMALL, *opts], WORKLOAD)["losses"] for opts in ([], heavy)
        )
        assert ten["roi"] == pytest.approx(10 * one["roi"]) and ten["hint"] == one["hint"]

    def test_another_scale_leaves_pyramids_out(self):
        workload = Workload(size=(160, 256), words=4, repeats=1, scale=0.8)
        refused = measure_terms(CONFIG, SMALL, workload)["refused"]
        assert set(refused) == {"pyramid", "score_map"} and "half" in refused["pyramid"]
