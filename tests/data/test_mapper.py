"""The mapper: what the model receives, for training and for testing."""

import copy
import pickle

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.utils.env import seed_all_rng

from dld_d2.data.mapper import TextDatasetMapper, image_to_tensor
from dld_d2.data.report import AnnotationError
from dld_d2.engine.setup import setup_cfg
from dld_d2.structures.vocabulary import Vocabulary

HEIGHT, WIDTH = 120, 200
VOCABULARY = Vocabulary()


def annotation(polygon, text, ignore=False):
    polygon = np.asarray(polygon, dtype=float)
    return {
        "bbox": [*polygon.min(axis=0).tolist(), *polygon.max(axis=0).tolist()],
        "bbox_mode": 0,
        "category_id": 0,
        "segmentation": [polygon.ravel().tolist()],
        "text": text,
        "ignore": ignore,
    }


def rectangle(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def make_dict(tmp_path, annotations, name="image.png"):
    file = tmp_path / name
    if not file.exists():
        rng = np.random.default_rng(0)
        cv2.imwrite(str(file), rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    return {
        "file_name": str(file),
        "image_id": "image",
        "height": HEIGHT,
        "width": WIDTH,
        "annotations": annotations,
    }


WORDS = [
    annotation(rectangle(10, 10, 60, 30), "Hello"),
    annotation(rectangle(70, 10, 120, 30), "###", ignore=True),
    annotation(rectangle(10, 50, 90, 70), "straße"),
    annotation([(100, 50), (130, 45), (160, 50), (160, 70), (130, 65), (100, 70)], "x" * 9),
    annotation(rectangle(10, 90, 60, 110), ""),
    annotation(rectangle(100, 90, 150, 110), "a b"),
]


def mapper(is_train=True, augmentations=(), max_length=8, **kwargs):
    return TextDatasetMapper(
        is_train,
        augmentations=list(augmentations),
        image_format="BGR",
        vocabulary=VOCABULARY,
        max_length=max_length,
        **kwargs,
    )


def check_fields(instances, max_length):
    number = len(instances)
    assert instances.gt_boxes.tensor.shape == (number, 4)
    assert instances.gt_boxes.tensor.dtype == torch.float32
    assert instances.gt_classes.dtype == torch.int64 and instances.gt_classes.shape == (number,)
    assert not instances.gt_classes.any()
    assert len(instances.gt_masks) == number
    assert instances.gt_texts.shape == (number, max_length + 1)
    assert instances.gt_texts.dtype == torch.int64
    for flags in (instances.gt_ignore, instances.gt_readable):
        assert flags.dtype == torch.bool and flags.shape == (number,)


@pytest.mark.parametrize("is_train", [True, False])
def test_fields_without_augmentation(tmp_path, is_train):
    given = make_dict(tmp_path, WORDS)
    before = copy.deepcopy(given)
    result = mapper(is_train)(given)
    assert given == before
    expected_keys = {"file_name", "image_id", "height", "width", "image", "instances"}
    assert set(result) == expected_keys | (set() if is_train else {"texts"})

    assert result["image"].dtype == torch.uint8 and result["image"].is_contiguous()
    on_disk = cv2.imread(given["file_name"])
    assert (result["image"].permute(1, 2, 0).numpy() == on_disk).all()

    instances = result["instances"]
    check_fields(instances, 8)
    assert instances.image_size == (HEIGHT, WIDTH)
    assert instances.gt_ignore.tolist() == [False, True, False, False, False, False]
    assert instances.gt_readable.tolist() == [True, False, False, False, False, True]
    assert [VOCABULARY.decode(row) for row in instances.gt_texts.tolist()] == [
        *["Hello", "", "", "", "", "a b"]
    ]
    assert (instances.gt_texts[~instances.gt_readable] == Vocabulary.PADDING).all()
    assert instances.gt_boxes.tensor[3].tolist() == [100, 45, 160, 70]
    assert instances.gt_masks.vertices[3].flatten().tolist() == WORDS[3]["segmentation"][0]
    if not is_train:
        assert result["texts"] == [word["text"] for word in WORDS]


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("annotations", [[], None])
def test_image_without_instances(tmp_path, is_train, annotations):
    given = make_dict(tmp_path, annotations)
    if annotations is None:
        del given["annotations"]
    cfg = setup_cfg("", ["MODEL.DEVICE", "cpu"])
    result = TextDatasetMapper(cfg, is_train)(given)
    assert len(result["instances"]) == 0
    check_fields(result["instances"], 32)
    assert result["instances"].image_size == tuple(result["image"].shape[1:])
    assert is_train or result["texts"] == []


def test_instances_stay_aligned_through_the_real_augmentations(tmp_path):
    # Each word is a block of a colour of its own, so that image, polygon and text name each other.
    rng = np.random.default_rng(1)
    image = np.full((300, 500, 3), 128, dtype=np.uint8)
    words, color_of = [], {}
    for row in range(4):
        for column in range(4):
            x, y = 20 + 120 * column, 15 + 72 * row
            text = f"w{row}{column}"
            color_of[text] = rng.choice([0, 90, 255], 3).astype(np.uint8)
            image[y : y + 40, x : x + 80] = color_of[text]
            words.append(annotation(rectangle(x, y, x + 80, y + 40), text, ignore=column == 3))
    file = tmp_path / "blocks.png"
    cv2.imwrite(str(file), image)
    given = {"file_name": str(file), "image_id": "b", "height": 300, "width": 500}
    given["annotations"] = words
    cfg = setup_cfg(
        "", ["MODEL.DEVICE", "cpu", "INPUT.AUG.BASE_SHORT_SIDE", "300", "INPUT.AUG.COLOR_PROB", "0"]
    )
    training = TextDatasetMapper(cfg, True)
    sizes = set()
    for seed in range(25):
        seed_all_rng(seed)
        result = training(given)
        instances = result["instances"]
        check_fields(instances, 32)
        pixels = result["image"].permute(1, 2, 0).numpy()
        sizes.add(len(instances))
        assert (~instances.gt_ignore).any()
        assert (instances.gt_readable == ~instances.gt_ignore).all()
        for row in torch.where(instances.gt_readable)[0].tolist():
            text = VOCABULARY.decode(instances.gt_texts[row].tolist())
            assert not text.endswith("3")
            x, y = instances.gt_masks.vertices[row].mean(dim=0).int().tolist()
            assert np.abs(pixels[y, x].astype(int) - color_of[text]).max() <= 2
    assert len(sizes) > 3


def test_cut_words_become_dont_care_and_lost_ones_go(tmp_path):
    words = [
        annotation(rectangle(20, 10, 60, 30), "whole"),
        annotation(rectangle(60, 50, 101, 70), "nearly"),  # 40 of 41 pixels are left
        annotation(rectangle(60, 80, 140, 100), "half"),
        annotation(rectangle(120, 10, 160, 30), "gone"),
    ]
    crop = T.CropTransform(0, 0, 100, HEIGHT)
    given = make_dict(tmp_path, words)
    result = mapper(False, [crop])(given)
    assert result["texts"] == ["whole", "nearly", "half"]
    instances = result["instances"]
    assert instances.gt_ignore.tolist() == [False, False, True]
    assert instances.gt_readable.tolist() == [True, True, False]
    assert instances.gt_boxes.tensor[1:].tolist() == [[60, 50, 100, 70], [60, 80, 100, 100]]
    strict = mapper(False, [crop], min_visible=0.99)(given)["instances"]
    assert strict.gt_ignore.tolist() == [False, True, True]


def test_same_seed_same_result(tmp_path):
    training = TextDatasetMapper(setup_cfg("", ["MODEL.DEVICE", "cpu"]), True)
    given = make_dict(tmp_path, WORDS)
    results = []
    for seed in (5, 5, 6):
        seed_all_rng(seed)
        results.append(training(given))
    same = results[0]["image"].shape == results[1]["image"].shape
    assert same and (results[0]["image"] == results[1]["image"]).all()
    first, second = (r["instances"].gt_boxes.tensor for r in results[:2])
    assert torch.equal(first, second)
    assert results[2]["image"].shape != results[0]["image"].shape


def test_mapper_pickles_for_loader_workers(tmp_path):
    training = TextDatasetMapper(setup_cfg("", ["MODEL.DEVICE", "cpu"]), True)
    given = make_dict(tmp_path, WORDS)
    seed_all_rng(0)
    here = training(given)
    seed_all_rng(0)
    there = pickle.loads(pickle.dumps(training))(given)
    assert torch.equal(here["image"], there["image"])


def test_config_reaches_the_mapper(tmp_path):
    vocabulary = tmp_path / "chars.txt"
    vocabulary.write_text("abß", encoding="utf-8")
    opts = ["INPUT.FORMAT", "RGB", "MODEL.RECOGNITION.VOCABULARY", str(vocabulary)]
    opts += [
        "MODEL.RECOGNITION.MAX_LENGTH",
        "3",
        "INPUT.MIN_SIZE_TEST",
        "60",
        "MODEL.DEVICE",
        "cpu",
    ]
    testing = TextDatasetMapper(setup_cfg("", opts), False)
    words = [annotation(rectangle(10, 10, 60, 30), text) for text in ("aß", "abab", "abc")]
    given = make_dict(tmp_path, words)
    result = testing(given)
    assert result["image"].shape == (3, 60, 100)
    assert (result["height"], result["width"]) == (HEIGHT, WIDTH)
    assert result["instances"].gt_readable.tolist() == [True, False, False]
    assert result["instances"].gt_texts[0].tolist() == [0, 2, 4, Vocabulary.PADDING]
    assert result["instances"].gt_boxes.tensor[0].tolist() == [5, 5, 30, 15]
    opts[opts.index("INPUT.MIN_SIZE_TEST") + 1] = "0"
    rgb = TextDatasetMapper(setup_cfg("", opts), False)(given)["image"]
    on_disk = cv2.imread(given["file_name"])[..., ::-1]
    assert (rgb.permute(1, 2, 0).numpy() == on_disk).all()


def test_an_image_that_is_too_thin_is_named(tmp_path):
    file = tmp_path / "thin.png"
    cv2.imwrite(str(file), np.zeros((1, 5000, 3), np.uint8))
    given = {"file_name": str(file), "image_id": "thin", "height": 1, "width": 5000}
    cfg = setup_cfg("", ["MODEL.DEVICE", "cpu", "INPUT.AUG.CROP_PROB", "0.0"])
    for is_train in (True, False):
        with pytest.raises(AnnotationError, match=r"thin\.png: an image of 5000 x 1 pixels is too"):
            TextDatasetMapper(cfg, is_train)(given)


def test_16_bits_are_scaled(tmp_path):
    deep = np.linspace(0, 65535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    given = make_dict(tmp_path, [])
    cv2.imwrite(given["file_name"], deep)
    image = mapper()(given)["image"]
    assert np.abs(image[0].numpy() - deep / 257).max() <= 0.5


def test_wrong_size_and_wrong_annotations_are_named(tmp_path):
    given = make_dict(tmp_path, WORDS) | {"width": 300}
    with pytest.raises(SizeMismatchError, match=r"image\.png"):
        mapper()(given)
    bad = copy.deepcopy(WORDS[0])
    bad["segmentation"] *= 2
    with pytest.raises(ValueError, match=r"image\.png.*'Hello' has 2"):
        mapper()(make_dict(tmp_path, [bad]))


def test_image_to_tensor_takes_any_strides():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    flipped = image_to_tensor(image[:, ::-1, ::-1])
    assert flipped.shape == (3, 2, 4) and flipped.is_contiguous()
    assert flipped[0, 0, 0] == image[0, 3, 2]
