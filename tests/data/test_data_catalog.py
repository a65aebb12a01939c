"""Registration: lazy, from Python and from YAML; the built-in sets; real data where it lies."""

import logging
import runpy
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from image_files import write_image, write_set

from dld_d2.config import add_dld_config
from dld_d2.data import (
    AnnotationError,
    TextDataset,
    register_configured_datasets,
    register_from_yaml,
    register_text_dataset,
)
from dld_d2.data.builtin import BUILTIN_DATASETS

GOOD = "10,20,30,20,30,40,10,40,good\n"
BAD = "10,20,30,20,bad\n"
REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY.parent / "shared" / "data" / "icdar2015_sample"


pytestmark = pytest.mark.usefixtures("clean_catalogs")


@pytest.fixture
def text_set(tmp_path):
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", GOOD)
    return tmp_path


def register(root, name="t_set", **arguments):
    register_text_dataset(name, root / "images", root / "gt", "icdar2015", **arguments)


def test_registering_reads_nothing(tmp_path):
    register(tmp_path / "missing")
    with pytest.raises(AnnotationError, match=r"data set 't_set': .*images: does not exist"):
        DatasetCatalog.get("t_set")


def test_dataset_and_metadata(text_set, caplog):
    register(text_set, lexicons={"generic": text_set / "words.txt"})
    with caplog.at_level(logging.INFO):
        dataset = get_detection_dataset_dicts("t_set")
    assert isinstance(dataset, TextDataset) and dataset[0]["annotations"][0]["text"] == "good"
    assert "t_set: 1 images with 1 words and 0 don't-care regions" in caplog.text
    metadata = MetadataCatalog.get("t_set")
    assert metadata.thing_classes == ["text"]
    assert metadata.evaluator_type == "text_spotting"
    assert metadata.ground_truth == str(text_set / "gt")
    assert metadata.image_root == str(text_set / "images")
    assert metadata.format == "icdar2015"
    assert metadata.lexicons == {"generic": str(text_set / "words.txt")}


def test_a_set_is_read_once(text_set):
    register(text_set)
    first = DatasetCatalog.get("t_set")
    (text_set / "gt" / "gt_img_1.txt").unlink()
    assert DatasetCatalog.get("t_set") is first


def test_several_sets_are_concatenated(text_set):
    register(text_set)
    register(text_set, "t_other")
    assert len(get_detection_dataset_dicts(["t_set", "t_other"])) == 2


def test_registering_twice(text_set):
    register(text_set)
    register(text_set)
    with pytest.raises(ValueError, match="'t_set' is registered already, with other arguments"):
        register(text_set, on_bad="skip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "icdar2051"}, "unknown annotation format 'icdar2051'; known are: coco_text, "),
        ({"lexicons": {"stong": "a"}}, "unknown lexicon stong"),
        ({"on_bad": "ignore"}, "'ignore'"),
        ({"options": {"points": 4}}, "no option points"),
        ({"format": "index", "options": {"points": 4}}, "has no options"),
        ({"part": "10/10"}, "part is '10/10'"),
        ({"part": "a tenth"}, "part is 'a tenth'"),
        ({"image_root": "$DLD_NO_SUCH_VARIABLE/a"}, "variable DLD_NO_SUCH_VARIABLE is not set"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, message):
    arguments = {"image_root": "a", "annotations": "b", "format": "icdar2015", **arguments}
    with pytest.raises(ValueError, match=message):
        register_text_dataset("t_set", **arguments)
    assert "t_set" not in DatasetCatalog


def test_parts_of_a_set(tmp_path):
    for number in range(1, 26):
        write_set(tmp_path, f"img_{number}.jpg", f"gt_img_{number}.txt", GOOD)
    register(tmp_path, "t_few", part="9/10")
    register(tmp_path, "t_rest", part="not 9/10")
    few, rest = ([x["image_id"] for x in DatasetCatalog.get(n)] for n in ("t_few", "t_rest"))
    assert few == ["img_10", "img_20"]
    assert sorted(few + rest) == sorted(f"img_{number}" for number in range(1, 26))
    register(tmp_path, "t_none", part="30/31")
    with pytest.raises(AnnotationError, match="of 25 images none is in the part '30/31'"):
        DatasetCatalog.get("t_none")


def test_policy_for_bad_annotations(tmp_path, caplog):
    path = write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", GOOD + BAD)
    register(tmp_path)
    register(tmp_path, "t_strict", on_bad="raise")
    with pytest.raises(AnnotationError, match="found 5 fields"):
        DatasetCatalog.get("t_set")
    cfg = get_cfg()
    add_dld_config(cfg)
    cfg.DATASETS.ON_BAD_ANNOTATION = "skip"
    register_configured_datasets(cfg)
    with caplog.at_level(logging.WARNING):
        assert len(DatasetCatalog.get("t_set")[0]["annotations"]) == 1
    assert "left out 1 (malformed line: 1)" in caplog.text and f"{path}:2" in caplog.text
    with pytest.raises(AnnotationError, match="found 5 fields"):
        DatasetCatalog.get("t_strict")
    cfg.DATASETS.ON_BAD_ANNOTATION = "sometimes"
    with pytest.raises(ValueError, match=r"DATASETS\.ON_BAD_ANNOTATION: .*'sometimes'"):
        register_configured_datasets(cfg)


def yaml_file(root, content):
    path = root / "sets.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_yaml_through_the_configuration(text_set, monkeypatch):
    monkeypatch.setenv("DLD_TEST_WORDS", str(text_set / "lists"))
    path = yaml_file(
        text_set,
        """
        datasets:
          t_own:
            image_root: images
            annotations: gt
            format: polygon
            lexicons: {weak: words.txt, generic: $DLD_TEST_WORDS/all.txt}
            on_bad: skip
            options: {points: 4}
        """,
    )
    cfg = get_cfg()
    add_dld_config(cfg)
    cfg.DATASETS.REGISTER = str(path)
    register_configured_datasets(cfg)
    register_configured_datasets(cfg)
    assert DatasetCatalog.get("t_own")[0]["annotations"][0]["text"] == "good"
    assert MetadataCatalog.get("t_own").lexicons == {
        "weak": str(text_set / "words.txt"),
        "generic": str(text_set / "lists" / "all.txt"),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("datasets: [", "is not YAML"),
        ("t: {}", "expected a mapping 'datasets'"),
        ("datasets: {t: 5}", "data set 't': expected a mapping"),
        ("datasets: {}\nextra: 1", "unknown key 'extra'"),
        ("datasets: {t: {image_root: a, format: icdar2015}}", "data set 't': lacks annotations"),
        (
            "datasets: {t: {image_rot: a, annotations: b, format: icdar2015}}",
            "unknown key 'image_rot'; did you mean image_root?",
        ),
        ("datasets: {t: {image_root: 5, annotations: b, format: c}}", "image_root is a string"),
        ("datasets: {t: {image_root: a, annotations: b, format: c}}", "unknown annotation format"),
        (
            "datasets: {t: {image_root: a, annotations: b, format: index, lexicons: w.txt}}",
            "lexicons is a mapping",
        ),
    ],
)
def test_wrong_yaml_is_refused_by_name(tmp_path, content, message):
    path = yaml_file(tmp_path, content)
    with pytest.raises(AnnotationError, match=message) as error:
        register_from_yaml(path)
    assert str(error.value).startswith(str(path))


def test_missing_yaml(tmp_path):
    with pytest.raises(AnnotationError, match=r"no\.yaml: no such file"):
        register_from_yaml(tmp_path / "no.yaml")


def test_builtin_sets_are_registered():
    assert set(BUILTIN_DATASETS) <= set(DatasetCatalog)
    for name in ("icdar2013", "icdar2015"):
        assert set(MetadataCatalog.get(f"{name}_test").lexicons) == {"strong", "weak", "generic"}
    assert set(MetadataCatalog.get("totaltext_test").lexicons) == {"full"}
    assert MetadataCatalog.get("icdar2015_train").lexicons == {}


def prepare(root, *arguments):
    main = runpy.run_path(str(REPOSITORY / "tools" / "prepare_dataset.py"))["main"]
    paths = {"image-root": root / "images", "annotations": root / "gt", "output": root / "a.index"}
    named = [text for key, path in paths.items() for text in (f"--{key}", str(path))]
    return main(["--format", "icdar2015", *named, *arguments])


def test_prepared_index_equals_the_original(text_set, capsys):
    write_set(text_set, "img_2.jpg", "gt_img_2.txt", GOOD + GOOD.replace("good", "###"))
    assert prepare(text_set) == 0
    assert "2 images, 2 words, 1 don't-care regions" in capsys.readouterr().out
    register(text_set)
    register_text_dataset("t_index", text_set / "images", text_set / "a.index", "index")
    assert list(DatasetCatalog.get("t_index")) == list(DatasetCatalog.get("t_set"))
    assert prepare(text_set) == 2
    assert "overwrite" in capsys.readouterr().err
    assert prepare(text_set, "--overwrite") == 0


def test_preparing_bad_annotations(tmp_path, capsys):
    path = write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", GOOD + BAD)
    assert prepare(tmp_path) == 2
    assert f"error: {path}:2: " in capsys.readouterr().err
    assert not (tmp_path / "a.index").exists()
    assert prepare(tmp_path, "--skip-bad") == 0
    assert "left out 1 (malformed line: 1)" in capsys.readouterr().out
    listed = (tmp_path / "a.index.skipped.tsv").read_text(encoding="utf-8")
    assert f"{path}:2\tmalformed line\t" in listed


def test_index_errors_name_the_set(tmp_path):
    register_text_dataset("t_index", tmp_path, tmp_path / "a.index", "index")
    with pytest.raises(AnnotationError, match=r"data set 't_index': .*prepare_dataset"):
        DatasetCatalog.get("t_index")


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="needs the sample of real photographs")
def test_real_photographs():
    register_text_dataset("t_sample", SAMPLE / "images", SAMPLE / "gt", "icdar2015")
    dataset = DatasetCatalog.get("t_sample")
    assert len(dataset) == 100
    texts = {item["image_id"]: item["annotations"] for item in dataset}
    for path in (SAMPLE / "gt").glob("*.txt"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        annotations = texts[path.stem.removeprefix("gt_")]
        expected = [line.split(",", 8)[8] for line in lines if line.strip()]
        assert [a["text"] for a in annotations] == [text.strip() for text in expected]
        assert sum(a["ignore"] for a in annotations) == expected.count("###")
    boxes = np.array([a["bbox"] for annotations in texts.values() for a in annotations])
    assert (boxes[:, :2] < boxes[:, 2:]).all() and boxes.min() >= 0
    assert boxes[:, 2].max() <= 1280 and boxes[:, 3].max() <= 720


def test_images_without_words_stay(tmp_path):
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", GOOD)
    write_image(tmp_path / "images" / "img_2.jpg")
    (tmp_path / "gt" / "gt_img_2.txt").touch()
    register(tmp_path)
    assert [len(item["annotations"]) for item in get_detection_dataset_dicts("t_set")] == [1, 0]
