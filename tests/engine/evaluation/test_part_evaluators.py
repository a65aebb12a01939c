"""Each evaluator alone, as Detectron2 uses evaluators."""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset
from detectron2.modeling import build_model
from three_images import SIZE, Reader, chooser
from tiny_distillation import BASE, SMALL

from dld_d2.engine.evaluation.cost import CostEvaluator
from dld_d2.engine.evaluation.found_words import words_found
from dld_d2.engine.evaluation.pictures import PictureEvaluator
from dld_d2.engine.evaluation.regions import RegionEvaluator
from dld_d2.engine.evaluation.spotting import SpottingEvaluator
from dld_d2.engine.evaluation.text_spotting import build_evaluator
from dld_d2.engine.evaluation.timing import TimingEvaluator
from dld_d2.engine.evaluation.truth import first_images, read_lexicons, read_truth, rrc_names
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.dynamic_spotter import cost_of


@pytest.fixture
def loader(dataset, make_cfg):
    return SpotterTrainer.build_test_loader(make_cfg(), dataset)


def alone(model, loader, evaluator):
    return dict(inference_on_dataset(model.eval(), loader, evaluator)["text_spotting"])


def spotting(dataset, folder):
    return SpottingEvaluator(
        dataset,
        read_truth(dataset),
        read_lexicons(dataset, ["weak"]),
        match_iou=0.5,
        output_dir=folder,
    )


def pictures(dataset, folder):
    truth = read_truth(dataset)
    return PictureEvaluator(
        first_images(dataset, 2),
        truth,
        rrc_names(truth),
        lexicon=("none", None),
        match_iou=0.5,
        folder=folder / "pictures",
    )


def test_spotting(dataset, loader, tmp_path, evaluate):
    whole = evaluate(Reader())
    metrics = alone(Reader(), loader, spotting(dataset, tmp_path / "alone"))
    assert len(metrics) == 3 * 3
    assert metrics == {key: whole[key] for key in metrics}
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["submission.zip"]


def test_regions(loader, evaluate, out):
    whole = evaluate(Reader())
    model = Reader()
    metrics = alone(model, loader, RegionEvaluator(model))
    assert metrics == {key: whole[key] for key in ("rec_accuracy", "rec_accuracy_ci")}
    images = json.loads((out / "results.json").read_text())["images"]
    regions = {name: row["regions"] for name, row in images.items()}
    assert regions == {"img_1": [2, 0, 1], "img_2": [1, 0, 0], "img_3": [0, 0, 0]}
    # Regions are read from what the pass has computed.
    assert model.passes == [["img_1"], ["img_2"], ["img_3"]]


def test_regions_of_a_data_set_without_any(dataset, make_cfg):
    for image in DatasetCatalog.get(dataset):
        image["annotations"] = [word for word in image["annotations"] if word["ignore"]]
    loader = SpotterTrainer.build_test_loader(make_cfg(), dataset)
    model = Reader()
    assert alone(model, loader, RegionEvaluator(model)) == {}


def test_a_region_is_read_at_the_scale_that_was_chosen(dataset, make_cfg, loader):
    model = chooser()
    seen = []
    model.spotter.read = lambda look, regions: (
        seen.append((look.size, regions.gt_boxes.tensor.tolist())) or [""] * len(regions)
    )
    alone(model, loader, RegionEvaluator(model))
    assert seen == [
        ((15, 20), [[0, 0, 5, 2.5], [0, 5, 5, 7.5]]),
        ((30, 40), [[0, 0, 10, 5]]),
        ((15, 20), []),
    ]


def test_timing(loader):
    model = Reader()
    metrics = alone(model, loader, TimingEvaluator(model))
    assert set(metrics) == {"fps", "seconds_per_image"}
    assert metrics["fps"] == pytest.approx(1 / metrics["seconds_per_image"])
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_time_of_other_evaluators_does_not_count(dataset, make_cfg, loader, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("dld_d2.analysis.timing.time.perf_counter", lambda: next(clock))
    model = Reader().eval()
    timing = TimingEvaluator(model)
    both = DatasetEvaluators([RegionEvaluator(model), timing])
    both.reset()
    for batch in loader:
        outputs = model(batch)
        for _ in range(10):
            next(clock)
        both.process(batch, outputs)
    # A second for each pass, of which the last alone counts: all are among the first.
    assert dict(timing.evaluate()["text_spotting"]) == {"fps": 1.0, "seconds_per_image": 1.0}


def test_timing_without_images():
    evaluator = TimingEvaluator(Reader())
    assert dict(evaluator.evaluate()["text_spotting"]) == {}


def test_costs(loader, evaluate):
    whole = evaluate(chooser())
    model = chooser()
    metrics = alone(model, loader, CostEvaluator(model))
    assert metrics == {
        key: value for key, value in whole.items() if key.startswith(("mean_", "share_", "cost_"))
    }
    # Of a model that is not known the scales alone, those that it chose.
    metrics = alone(model, loader, CostEvaluator(None))
    assert set(metrics) == {
        "mean_scale",
        "mean_relative_cost",
        "share_scale_0.25",
        "share_scale_0.5",
    }
    assert alone(Reader(), loader, CostEvaluator(None)) == {}


def test_pictures(dataset, loader, tmp_path, evaluate, out):
    evaluate(Reader(), "TEST.NUM_PICTURES", "2")
    assert alone(Reader(), loader, pictures(dataset, tmp_path / "alone")) == {}
    for name in ("1.jpg", "2.jpg"):
        expected = (out / "pictures" / name).read_bytes()
        assert (tmp_path / "alone" / "pictures" / name).read_bytes() == expected


def test_pictures_of_images_that_were_not_passed(dataset, inputs, tmp_path):
    evaluator = pictures(dataset, tmp_path)
    evaluator.reset()
    evaluator.process(inputs[:1], Reader().eval()(inputs[:1]))
    assert dict(evaluator.evaluate()["text_spotting"]) == {}
    assert len(list((tmp_path / "pictures").iterdir())) == 2


def test_words_of_an_output(inputs):
    (output,) = Reader().eval()(inputs[:1])
    words = words_found(output)
    assert [(word.text, word.polygon.tolist()) for word in words] == [
        ("hello", [[0, 0], [20, 0], [20, 10], [0, 10]]),
        ("43", [[0, 20], [20, 20], [20, 30], [0, 30]]),
    ]
    assert [word.score for word in words] == pytest.approx([0.9, 0.5])


@pytest.fixture(scope="module", params=["MaskRCNNSpotter", "DynamicSpotter"])
def real(request):
    settings = {
        **SMALL,
        "MODEL.META_ARCHITECTURE": request.param,
        "MODEL.RECOGNITION.MAX_LENGTH": 9,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "TEST.DETECTIONS_PER_IMAGE": 2,
    }
    torch.manual_seed(0)
    opts = [str(word) for item in settings.items() for word in item]
    return build_model(setup_cfg(BASE, opts)).eval()


def test_costs_are_those_of_each_image(dataset, inputs, real):
    """As measured for each image alone."""
    evaluator = CostEvaluator(real)
    evaluator.reset()
    sizes = {"img_1": (64, 96), "img_2": (64, 130), "img_3": (96, 64)}
    chooses = hasattr(real, "scales")
    wanted = []
    for item, scale in zip(inputs, (0.5, 0.7, 0.5), strict=True):
        (output,) = Reader().eval()([item])
        if chooses:
            output |= {"scale": scale, "relative_cost": scale**2}
        size = sizes[item["image_id"]]
        evaluator.process([{**item, "image": torch.zeros(3, *size)}], [output])
        texts = output["instances"].pred_texts
        wanted.append(
            cost_of(real).table(
                *size,
                num_regions=len(texts),
                num_characters=max(map(len, texts), default=-1) + 1,
                scale=scale if chooses else 1.0,
            )
        )
    summary = evaluator.summarize([evaluator.seen()])
    rows, metrics = summary.images.values(), summary.metrics
    published = [table.published / 2**30 for table in wanted]
    whole = [table.total / 2**30 for table in wanted]
    assert [row["cost_published"] for row in rows] == pytest.approx(published)
    assert [row["cost_whole"] for row in rows] == pytest.approx(whole)
    assert metrics["cost_published"] == pytest.approx(sum(published) / 3)
    assert metrics["cost_whole"] == pytest.approx(sum(whole) / 3)
    assert ("mean_scale" in metrics) == chooses
    assert any(part.selects for part in wanted[0].parts) == chooses


def test_a_real_spotter_passes_each_image_once(dataset, make_cfg, real):
    spotter = getattr(real, "spotter", real)
    passes = []
    handle = spotter.backbone.register_forward_hook(lambda *args: passes.append(args))
    cfg = make_cfg("TEST.NUM_PICTURES", "3")
    loader = SpotterTrainer.build_test_loader(cfg, dataset)
    metrics = alone(real, loader, build_evaluator(cfg, dataset, real))
    handle.remove()
    assert len(passes) == 3
    assert {"rec_accuracy", "fps", "cost_whole"} <= set(metrics)


def test_what_a_pass_left_is_read_as_the_image_itself_is(inputs, real):
    """The same texts as of a pass that is for reading alone, at the same scale."""
    outputs = real(inputs)
    found = real.read_regions(inputs, outputs)
    assert [len(texts) for texts in found] == [2, 1, 0]
    spotter = getattr(real, "spotter", real)
    for item, output, texts in zip(inputs, outputs, found, strict=True):
        images, targets = spotter.preprocess([item])
        if "scale" in output:
            choice = [real.scales.index(output["scale"])]
            images, targets = real.view_with_targets(images, targets, choice)
        words = targets[0][~targets[0].gt_ignore]
        with torch.no_grad():
            features = spotter.features(images)
        look = output["look"]._replace(features=features, index=0)
        assert look.size == images.image_sizes[0]
        assert spotter.read(look, words) == texts
        assert output["instances"].image_size == SIZE
