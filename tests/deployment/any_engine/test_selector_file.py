"""A selector learns which photographs need which scale, and reads them so without PyTorch."""

import json

import numpy as np
import onnx
import pytest
import torch
from block_engine import photograph, read

import dld_d2
from dld_d2.deployment.any_engine.collecting import collect
from dld_d2.deployment.any_engine.examples import Example, examples_of
from dld_d2.deployment.any_engine.network import MistakeMap, TextFeatures, WholeSelector
from dld_d2.deployment.any_engine.own_truth import sure_words
from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.deployment.any_engine.selector_file import NOTICE, save_selector
from dld_d2.deployment.any_engine.training import Schedule, View, predict, train, views_of
from dld_d2.deployment.runtime import Dynamic, ScaleSelector
from dld_d2.deployment.runtime.engines import Sides
from dld_d2.deployment.runtime.network_file import METADATA_KEY
from dld_d2.deployment.runtime.scale_selector import SelectorCard

SCALES = (0.5, 1.0)
COST = (0.3, 1.0)
CARD = SelectorCard(
    engine="blocks",
    scales=SCALES,
    relative_cost=COST,
    reference=1.0,
    cost_bias=1.5,
    input_scale=0.5,
    sides=Sides(),
    made_with=dld_d2.__version__,
    notice=NOTICE,
)


@pytest.fixture(scope="module")
def features():
    return TextFeatures.pretrained().eval()


@pytest.fixture(scope="module")
def views(features, photographs, tmp_path_factory):
    file = ReadingsFile(tmp_path_factory.mktemp("r") / "r.jsonl", "blocks", Sides())
    list(collect(read, photographs, SCALES, file))
    truth = {image: sure_words(file.at(image, 1.0).words, 0.9) for image in photographs}
    examples = examples_of(file, photographs, SCALES, truth)
    # Blocks of 34 pixels are read at any scale, those of 10 pixels at the larger one only.
    assert [example.mistakes.tolist() for example in examples[:2]] == [[0, 0], [3, 0]]
    return list(views_of(examples, features, Sides(), CARD.input_scale))


@pytest.fixture(scope="module")
def model(views):
    return train(views[:24], COST, Schedule(epochs=25, batch_size=8))


@pytest.fixture
def path(features, model, tmp_path):
    path = tmp_path / "selector.onnx"
    save_selector(features, model, CARD, path)
    return path


def test_it_learns_how_many_words_go_wrong(views, model):
    wrong = -predict(model, views[24:])
    assert wrong[::2, 0].max() < 1 and wrong[1::2, 0].min() > 2 and wrong[:, 1].max() < 1


def test_training_is_repeatable_and_leaves_the_generator_alone(views):
    state = torch.get_rng_state()
    first, second = (train(views[:4], COST, Schedule(epochs=2, seed=5)) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_views_of_different_sizes_learn_as_each_would_alone(views):
    """What fills up a batch neither counts nor is counted."""
    from dld_d2.deployment.any_engine.training import _loss

    model = MistakeMap(2).eval()
    large = views[1]
    small = View(
        large.features[..., :5, :7],
        large.density[..., :5, :7],
        large.density[0, :, :5, :7].sum((1, 2)),
    )
    schedule = Schedule(choice_weight=0.0)
    costs = torch.zeros(1, 2)
    together = _loss(model, [large, small], [0, 1], costs, schedule)
    alone = [_loss(model, [v], [m], costs, schedule) for v, m in ((large, 0), (small, 1))]
    # Features beyond the small one are 0 in the batch, as convolutions see them anyway.
    assert together.item() == pytest.approx((alone[0] + alone[1]).item() / 2, rel=0.02)


def test_words_are_shared_out_without_loss(features, tmp_path):
    import cv2

    file = str(tmp_path / "a.png")
    cv2.imwrite(file, photograph(0, 10, (90, 130)))
    boxes = np.array([[0, 0, 20, 10], [100, 70, 140, 95], [60, 40, 60, 40]], dtype=float)
    weights = np.array([[0.5, 0.0], [0.5, 0.5], [0.0, 1.0]])
    example = Example(file, (90, 130), weights.sum(0), boxes, weights)
    (view,) = views_of([example], features, Sides(), 1.0)
    assert view.density.shape[:2] == (2, 2) and view.density.shape[2:] == view.features.shape[2:]
    assert view.density.sum(dim=(2, 3)).tolist() == [[1.0, 1.5]] * 2
    # The first box lies at the upper left, and in the mirror at the upper right.
    assert view.density[0, 0, :2, :3].sum() == 0.5 and view.density[1, 0, :2, -4:].sum() == 0.5


def test_the_file_holds_the_network_and_its_card(path, features, model):
    selector = ScaleSelector(path)
    assert selector.card == CARD and path.stat().st_size < 1e6
    whole = WholeSelector(features, model).eval()
    for size in ((160, 240), (97, 203), (1, 1), (3, 400)):
        image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        from dld_d2.deployment.runtime.resizing import resize_by_area
        from dld_d2.structures.sizes import scaled_size

        view = torch.from_numpy(resize_by_area(image, scaled_size(size, 0.5)))[None]
        np.testing.assert_allclose(
            selector.logits(image), whole(view)[0].detach().numpy(), rtol=1e-3, atol=1e-4
        )


def test_dynamic_reads_each_photograph_at_its_scale(path):
    reader = Dynamic(read, path)
    large, small = reader(photograph(101, 34)), reader(photograph(102, 10))
    assert (large.scale, large.relative_cost) == (0.5, 0.3)
    assert (small.scale, small.relative_cost) == (1.0, 1.0)
    assert len(large) == len(small) == 6 and large.image_size == (160, 240)
    # Polygons are in pixels of the photograph whatever the scale.
    for word in large:
        x, y = word.polygon.mean(axis=0).astype(int)
        assert (photograph(101, 34)[y, x] == 20).all()
    assert large.text.split() == ["w2"] * 6


def test_the_cost_bias_slides_from_the_dearest_to_the_cheapest(path):
    reader = Dynamic(read, path, cost_bias=1000)
    image = photograph(102, 10)
    assert reader(image).scale == 0.5 and len(reader(image)) == 0
    reader.cost_bias = -1000
    assert reader(photograph(101, 34)).scale == 1.0
    reader.cost_bias = float("nan")
    with pytest.raises(ValueError, match="must be a finite number"):
        reader(image)


def test_what_cannot_be_read_is_told(path, tmp_path):
    reader = Dynamic(read, path)
    with pytest.raises(OSError, match=r"no\.jpg"):
        reader(tmp_path / "no.jpg")
    with pytest.raises(TypeError, match="one image is read at a time"):
        reader([photograph(0, 10)])
    with pytest.raises(ValueError, match="shape"):
        reader(np.zeros((4, 4, 7), dtype=np.uint8))
    with pytest.raises(TypeError, match="a str cannot"):
        Dynamic("rapidocr", path)
    with pytest.raises(ValueError, match="is no list of words"):
        Dynamic(lambda image: 3, path)(photograph(0, 10))


def changed_card(path, **changes):
    network = onnx.load(path)
    content = {**json.loads(CARD.to_json()), **changes}
    onnx.helper.set_model_props(network, {METADATA_KEY: json.dumps(content)})
    onnx.save(network, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "is no selector of an engine"),
        ({"version": 9}, "is of version 9"),
        ({"scales": [1.0]}, "not one cost for each scale"),
        ({"scales": [0.5, -1.0]}, "cannot be"),
        ({"cost_bias": float("inf")}, "cannot be"),
        ({"sides": {"min_side": 3}}, None),
        ({"sides": {"min_side": 30, "max_side": 3}}, "is incomplete"),
        ({"relative_cost": "a"}, "is incomplete"),
    ],
)
def test_a_card_that_cannot_be_is_refused(path, changes, message):
    changed_card(path, **changes)
    if message is None:
        assert ScaleSelector(path).card.sides == Sides(3, 0)
        return
    with pytest.raises(ValueError, match=message) as error:
        ScaleSelector(path)
    assert str(path) in str(error.value)


def test_a_damaged_file_is_refused(path, tmp_path):
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="ONNX Runtime does not take it"):
        ScaleSelector(path)
    with pytest.raises(FileNotFoundError, match="select train` makes one"):
        ScaleSelector(tmp_path / "no.onnx")
    with pytest.raises(OSError, match="is a folder"):
        ScaleSelector(tmp_path)
