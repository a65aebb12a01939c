"""Photographs that nobody annotated, as a data set."""

import logging
import os
import runpy
import sys
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from image_files import write_image, write_set

from dld_d2.data import (
    AnnotationError,
    AnnotationReport,
    is_labelled,
    policy_of,
    read_records,
    register_from_yaml,
    register_text_dataset,
    set_default_policy,
)

REPOSITORY = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("clean_catalogs")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("img_10.jpg", "img_2.PNG", "holiday/sea.webp", "holiday/deep/b.jpg"):
        write_image(folder / name)
    write_image(folder / ".thumbnails" / "img_2.jpg")
    write_image(folder / "._img_10.jpg")
    (folder / "notes.txt").write_text("not an image")
    return folder


def read(folder, on_bad="raise"):
    report = AnnotationReport(on_bad)
    return list(read_records("unlabelled", folder, None, report)), report


def write_yaml(root, text):
    path = root / "sets.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_images_of_all_visible_folders_in_natural_order(photos):
    records, report = read(photos)
    assert [record.file_name for record in records] == [
        "holiday/deep/b.jpg",
        "holiday/sea.webp",
        "img_2.PNG",
        "img_10.jpg",
    ]
    assert all((r.height, r.width, len(r.polygons)) == (80, 100, 0) for r in records)
    assert report.expected == 4 and not report.skips


def test_hidden_folders_are_no_part_of_other_formats_either(tmp_path):
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", "10,20,30,20,30,40,10,40,good\n")
    write_image(tmp_path / "images" / ".cache" / "img_2.jpg")
    register_text_dataset("t_set", tmp_path / "images", tmp_path / "gt", "icdar2015")
    assert len(DatasetCatalog.get("t_set")) == 1


def test_registered_by_a_file_without_annotations(photos, caplog):
    path = write_yaml(
        photos.parent,
        "datasets:\n  t_photos: {image_root: photos/, format: unlabelled, on_bad: skip}\n",
    )
    assert register_from_yaml(path) == ["t_photos"]
    register_from_yaml(path)
    with caplog.at_level(logging.INFO):
        dataset = DatasetCatalog.get("t_photos")
    assert "t_photos: 4 images without annotations" in caplog.text
    assert [item["annotations"] for item in dataset] == [[]] * 4
    assert Path(dataset[2]["file_name"]) == photos / "img_2.PNG"
    metadata = MetadataCatalog.get("t_photos")
    assert metadata.labelled is False and metadata.ground_truth is None
    assert metadata.format == "unlabelled"
    assert not is_labelled("t_photos") and policy_of("t_photos") == "skip"


def test_all_other_sets_are_labelled(tmp_path):
    register_text_dataset("t_set", tmp_path, tmp_path, "icdar2015")
    assert MetadataCatalog.get("t_set").labelled is True
    DatasetCatalog.register("t_foreign", list)
    before = set(MetadataCatalog)
    assert all(map(is_labelled, ("t_set", "t_foreign", "synthetic_train", "t_nothing")))
    assert "t_nothing" not in set(MetadataCatalog) - before
    assert policy_of("t_set") == policy_of("t_foreign") == "raise"
    set_default_policy("skip")
    assert policy_of("t_set") == policy_of("t_foreign") == "skip"


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("image_root: a, annotations: b, format: unlabelled", r"leave annotations \(.*b\) out"),
        ("image_root: a, format: unlabelled, lexicons: {weak: w}", "leave lexicons out"),
        ("image_root: a, format: unlabelled, options: {points: 4}", "no option points"),
        ("format: unlabelled", "lacks image_root"),
        ("image_root: a, format: icdar2015", "lacks annotations"),
    ],
)
def test_what_such_a_set_cannot_have(tmp_path, description, message):
    path = write_yaml(tmp_path, f"datasets: {{t_photos: {{{description}}}}}")
    with pytest.raises(AnnotationError, match=f"data set 't_photos': .*{message}"):
        register_from_yaml(path)
    assert "t_photos" not in DatasetCatalog


def test_other_formats_need_annotations(tmp_path):
    for format in ("icdar2015", "index"):
        with pytest.raises(ValueError, match=f"format '{format}' needs annotations"):
            register_text_dataset("t_set", tmp_path, None, format)
    with pytest.raises(ValueError, match="'datalist' needs annotations"):
        list(read_records("datalist", tmp_path, None, AnnotationReport()))


def test_images_that_cannot_be_used(photos):
    (photos / "broken.jpg").write_text("no image")
    write_image(photos / "img_2.jpg")
    with pytest.raises(AnnotationError, match=r"broken\.jpg cannot be read"):
        read(photos)
    records, report = read(photos, "skip")
    assert len(records) == 4
    assert report.counts() == {"unreadable image": 1, "duplicate image": 1}
    assert str(photos) in report.skips[1].where and "None" not in report.skips[1].where


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_unicode(photos):
    os.rename(os.fsencode(photos / "img_10.jpg"), os.fsencode(photos) + b"/\xff.jpg")
    with pytest.raises(AnnotationError, match="name is not UTF-8; rename it"):
        read(photos)
    records, report = read(photos, "skip")
    assert len(records) == 3 and report.counts() == {"not Unicode": 1}


def test_a_folder_without_images(tmp_path):
    with pytest.raises(AnnotationError, match=r"no usable image \(0 left out\) in it or its sub"):
        read(tmp_path)
    with pytest.raises(AnnotationError, match=r"nowhere: does not exist \(image folder\)"):
        read(tmp_path / "nowhere")
    with pytest.raises(AnnotationError, match=r"a\.jpg: is no folder of images"):
        read(write_image(tmp_path / "a.jpg"))


def test_there_is_nothing_to_prepare(tmp_path, capsys):
    main = runpy.run_path(str(REPOSITORY / "tools" / "prepare_dataset.py"))["main"]
    paths = ["--image-root", str(tmp_path), "--annotations", str(tmp_path), "--output", "x"]
    with pytest.raises(SystemExit):
        main(["--format", "unlabelled", *paths])
    assert "invalid choice: 'unlabelled'" in capsys.readouterr().err
