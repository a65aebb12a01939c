"""Synthetic sets: dictionaries, catalog, lexicons, the frozen test set, files."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.build import get_detection_dataset_dicts
from detectron2.structures import BoxMode
from PIL import Image

import dld_d2.synthetic.builtin  # noqa: F401  (registers the sets)
from dld_d2.analysis.contact_sheet import contact_sheet
from dld_d2.data import TextDatasetMapper, TextIndex
from dld_d2.data.mapper import load_image
from dld_d2.data.report import AnnotationReport
from dld_d2.engine.evaluation.text_spotting import build_evaluator
from dld_d2.engine.setup import setup_cfg
from dld_d2.evaluation import evaluate
from dld_d2.structures.vocabulary import Vocabulary
from dld_d2.synthetic import SceneConfig, SyntheticDataset, register_synthetic_dataset
from dld_d2.synthetic.lexicons import generic_lexicon, strong_lexicons, weak_lexicon
from dld_d2.synthetic.texts import word_list
from dld_d2.synthetic.writer import write_annotations, write_lexicons

# What all of synthetic_test's annotations hash to. It changes only with LAYOUT_VERSION, and then
# results on the set before and after cannot be compared.
TEST_SET_DIGEST = "852ad0c9995b011f0f5be75234838ef6ad823ade66f22f66e0e475d746226836"
TEST_SET_PIXELS = Path(__file__).with_name("synthetic_test_pixels.json")


@pytest.fixture(scope="module")
def small_set():
    return SyntheticDataset(12, 21, prefix="tiny")


def thumbnail(image):
    """(4, 4, 3) mean colours: what a picture shows, whatever its edges' smoothing."""
    return cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA).astype(int)


def test_test_set_is_frozen():
    dataset = DatasetCatalog.get("synthetic_test")
    assert len(dataset) == 500
    assert dataset.digest() == TEST_SET_DIGEST


def test_pictures_of_the_test_set_are_frozen():
    dataset = DatasetCatalog.get("synthetic_test")
    expected = json.loads(TEST_SET_PIXELS.read_text())
    assert len(expected) == 8
    for index, values in expected.items():
        found = thumbnail(load_image(dataset[int(index)], "BGR"))
        assert np.abs(found - np.array(values)).max() <= 3


def test_items_are_standard_dictionaries(small_set):
    item = small_set[3]
    assert item["annotations"] == small_set[3 - len(small_set)]["annotations"]
    prefix, number, regime = item["image_id"].split("_")
    assert (prefix, number) == ("tiny", "00003") and regime in SceneConfig().regimes
    assert item["file_name"] == f"{item['image_id']}.png"
    assert (item["height"], item["width"]) == (512, 512)
    for word in item["annotations"]:
        assert word["bbox_mode"] == BoxMode.XYXY_ABS and word["category_id"] == 0
        points = np.reshape(word["segmentation"][0], (-1, 2))
        assert word["bbox"] == [*points.min(axis=0), *points.max(axis=0)]
        assert isinstance(word["text"], str) and isinstance(word["ignore"], bool)
    bgr, rgb = (item["read_image"](order) for order in ("BGR", "RGB"))
    assert np.array_equal(bgr, rgb[:, :, ::-1])
    with pytest.raises(ValueError, match="YUV"):
        item["read_image"]("YUV")
    with pytest.raises(IndexError):
        small_set[12]
    assert len(list(small_set)) == 12


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least one"):
        SyntheticDataset(0, 1)
    with pytest.raises(ValueError, match="seed"):
        SyntheticDataset(1, -1)


def test_mapper_draws_the_picture(small_set):
    mapper = TextDatasetMapper(
        False, augmentations=[], image_format="RGB", vocabulary=Vocabulary(), max_length=32
    )
    given = small_set[5]
    result = mapper(given)
    assert "read_image" in given and "read_image" not in result
    expected = torch.from_numpy(given["read_image"]("RGB")).permute(2, 0, 1)
    assert torch.equal(result["image"], expected)
    assert len(result["instances"]) == len(given["annotations"])
    cared = [not word["ignore"] for word in given["annotations"]]
    assert result["instances"].gt_readable.tolist() == cared
    pickle.dumps(result)


def test_pickled_set_gives_the_same_pictures(small_set):
    copy = pickle.loads(pickle.dumps(small_set))
    assert copy.digest() == small_set.digest()
    item = pickle.loads(pickle.dumps(small_set[2]))
    assert np.array_equal(item["read_image"]("BGR"), copy[2]["read_image"]("BGR"))


def test_built_in_sets_are_registered():
    for split, length in (("train", 20_000), ("val", 200), ("test", 500)):
        dataset = DatasetCatalog.get(f"synthetic_{split}")
        assert len(dataset) == length
        assert dataset[0]["image_id"].startswith(f"{split}_00000_")
        metadata = MetadataCatalog.get(f"synthetic_{split}")
        assert metadata.evaluator_type == "text_spotting" and metadata.thing_classes == ["text"]
    found = get_detection_dataset_dicts(["synthetic_train", "synthetic_val"], filter_empty=False)
    assert len(found) == 20_200 and found[20_000]["image_id"].startswith("val_")


def test_registration_may_be_repeated_only_alike():
    register_synthetic_dataset("my_scenes", length=3, seed=5)
    register_synthetic_dataset("my_scenes", length=3, seed=5)
    with pytest.raises(ValueError, match="my_scenes"):
        register_synthetic_dataset("my_scenes", length=3, seed=6)
    with pytest.raises(ValueError, match="at least one"):
        register_synthetic_dataset("no_scenes", length=0, seed=5)
    assert "no_scenes" not in DatasetCatalog


def test_lexicons_hold_the_words(small_set):
    weak, generic = weak_lexicon(small_set), generic_lexicon(small_set)
    strong = strong_lexicons(small_set)
    upper = {word.upper() for word in weak}
    assert len(upper) == len(weak) and upper <= {word.upper() for word in generic}
    assert {w.upper() for w in word_list() if len(w) > 2} <= {word.upper() for word in generic}
    for item in small_set:
        words = strong[item["image_id"]]
        assert len(words) == min(100, len(weak)) and {word.upper() for word in words} <= upper
        for word in item["annotations"]:
            text = word["text"]
            if not word["ignore"] and len(text) > 2 and text.isalpha():
                assert text.upper() in {word.upper() for word in words}


def perfect_outputs(dataset):
    from detectron2.structures import Instances

    for item in dataset:
        words = [word for word in item["annotations"] if not word["ignore"]]
        found = Instances((item["height"], item["width"]))
        found.pred_polygons = [np.reshape(word["segmentation"][0], (-1, 2)) for word in words]
        found.pred_texts = [word["text"] for word in words]
        found.scores = torch.ones(len(words))
        yield item, {"instances": found}


def test_reading_everything_scores_one_with_every_lexicon(tmp_path):
    register_synthetic_dataset("perfect_scenes", length=15, seed=31)
    cfg = setup_cfg("", ["OUTPUT_DIR", str(tmp_path), "TEST.NUM_PICTURES", "1"])
    evaluator = build_evaluator(cfg, "perfect_scenes")
    evaluator.reset()
    dataset = DatasetCatalog.get("perfect_scenes")
    for item, output in perfect_outputs(dataset):
        evaluator.process([item], [output])
    metrics = evaluator.evaluate()["text_spotting"]
    assert metrics["det_hmean"] == 1
    for lexicon in ("none", "strong", "weak", "generic"):
        assert metrics[f"e2e_{lexicon}_hmean"] == 1
    for lexicon in ("strong", "weak", "generic"):
        assert metrics[f"ws_{lexicon}_hmean"] == 1
    pictures = tmp_path / "inference" / "perfect_scenes" / "pictures"
    assert (pictures / f"{dataset[0]['image_id']}.jpg").is_file()


def run_tool(*arguments):
    import importlib.util

    path = Path(__file__).parents[2] / "tools" / "generate_synthetic.py"
    spec = importlib.util.spec_from_file_location("generate_synthetic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "scenes"
    arguments = ("--split", "test", "--num", 6, "--sheet", 2, "--output", folder)
    assert run_tool(*arguments) == 0
    return folder


def test_crowded_scenes_hold_about_twice_as_many_words():
    counts = {}
    for name in ("synthetic_train", "synthetic_dense"):
        dataset = DatasetCatalog.get(name)
        records = [dataset.record(index) for index in range(60)]
        counts[name] = sum(int((~record.ignore).sum()) for record in records)
    assert counts["synthetic_dense"] > 1.6 * counts["synthetic_train"]


def test_written_files_give_the_same_records_and_pixels(written):
    from dld_d2.data import read_records

    dataset = DatasetCatalog.get("synthetic_test")
    expected = [dataset.record(index) for index in range(6)]
    index = TextIndex.load(written / "scenes.index")
    assert list(index) == expected
    report = AnnotationReport("raise")
    polygons = list(read_records("polygon", written / "images", written / "gt", report))
    assert polygons == expected
    quadrilaterals = read_records(
        "icdar2015", written / "images", written / "gt_icdar2015", AnnotationReport("raise")
    )
    for found, wanted in zip(quadrilaterals, expected, strict=True):
        assert list(found.texts) == list(wanted.texts)
        assert np.array_equal(found.ignore, wanted.ignore)
        for polygon, original in zip(found.polygons, wanted.polygons, strict=True):
            if len(original) == 4:
                assert np.array_equal(polygon, original)
    for number, record in enumerate(expected):
        image = np.asarray(Image.open(written / "images" / record.file_name))
        assert np.array_equal(image, dataset[number]["read_image"]("RGB"))


def test_written_set_can_be_scored_by_its_files(written):
    from dld_d2.evaluation import read_ground_truth

    truth = read_ground_truth(written / "gt", pattern=r"gt_(.+)\.txt")
    assert len(truth) == 6
    lexicons = {
        "strong": written / "lexicons" / "strong_lexicon.zip",
        "weak": written / "lexicons" / "test_vocabulary.txt",
        "generic": written / "lexicons" / "GenericVocabulary.txt",
    }
    report = evaluate(truth, truth, ious=0.5, lexicons=lexicons)
    for lexicon in lexicons:
        assert report.case("end_to_end", lexicon).spotting.hmean == 1


def test_crowded_scenes_of_ones_own_are_written(tmp_path):
    assert run_tool("--seed", 3, "--num", 2, "--dense", "--sheet", 0, "--output", tmp_path) == 0
    about = json.loads((tmp_path / "scenes.json").read_text())
    assert about["config"]["regimes"]["small"]["share"] == 0.35
    assert run_tool("--split", "val", "--dense", "--output", tmp_path / "other") == 2


def test_contact_sheets_and_description_are_written(written):
    for name in ("contact_sheet.png", "contact_sheet_annotated.png"):
        height, width = cv2.imread(str(written / name)).shape[:2]
        assert width == 2 * 512 + 8 and height > 512
    about = json.loads((written / "scenes.json").read_text())
    assert about["scenes"] == 6 and about["config"]["regimes"]["small"]["share"] == 0.25


def test_tool_refuses_what_it_cannot_do(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert run_tool("--num", 1, "--output", tmp_path) == 2
    assert "not empty" in capsys.readouterr().err
    assert run_tool("--split", "test", "--size", 256, 256, "--output", tmp_path / "new") == 2
    assert "is fixed" in capsys.readouterr().err
    assert run_tool("--num", 1, "--backgrounds", tmp_path, "--output", tmp_path / "b") == 2
    assert "holds no images" in capsys.readouterr().err


def test_sheet_without_annotation_and_other_sizes(tmp_path):
    dataset = SyntheticDataset(3, 0, SceneConfig(height=256, width=320))
    sheet = contact_sheet(dataset, 1, annotated=False)
    assert sheet.shape[1] == 320
    write_annotations(dataset, tmp_path)
    write_lexicons(dataset, tmp_path / "lexicons")
    assert len(list((tmp_path / "gt").iterdir())) == 3
