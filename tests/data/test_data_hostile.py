"""Annotations that once took minutes, gigabytes or a traceback: one line each now."""

import json
import os
import random
import zlib

import numpy as np
import pytest
from image_files import read, write_image, write_set
from matlab_bytes import CELL, NUMBERS, STRUCT, TEXT, array, bomb, element, write
from scipy.io import savemat

from dld_d2.data import (
    AnnotationError,
    AnnotationReport,
    ImageRecord,
    TextIndex,
    read_records,
    write_index,
)
from dld_d2.data.formats.matlab import load_variables
from dld_d2.data.registration_file import register_from_yaml

QUAD = "0,0,9,0,9,9,0,9,"


def random_polygon(points):
    rng = random.Random(0)
    return ",".join(str(rng.randint(0, 70)) for _ in range(2 * points))


def refused(message, call, *arguments, **options):
    with pytest.raises(AnnotationError, match=message) as caught:
        call(*arguments, **options)
    assert len(str(caught.value)) < 2500
    return str(caught.value)


LINES = [
    ("polygon", random_polygon(2000) + ",a", "1.txt:1: the polygon has 2000 points"),
    ("polygon", random_polygon(500) + ",a", "1.txt:1: the polygon crosses itself"),
    ("icdar2015", "0,0,1e300,0,1e300,1e300,0,1e300,a", r"1.txt:1: .* 1000000 pixels \(1e\+300\)"),
    ("icdar2015", "0,0," + "1" * 400 + ",0,9,9,0,9,a", "1.txt:1: coordinates are finite"),
    ("icdar2015", QUAD + "a" * 4_000_000, "1.txt:1: the transcription has 4000000 characters"),
    ("icdar2015", "0,0," + "a" * 3_000_000, "1.txt:1: expected eight coordinates"),
    ("icdar2015", (QUAD + "a\n") * 300_000, "1.txt: has 5400001 bytes, more than 4194304"),
    ("totaltext", "x: [[1]], y: [[1]], ornt: [" + "], transcriptions: [" * 20_000,
     "1.txt:1: it has 4000.. characters, more than 20000"),
    ("totaltext", "x: [[1]], y: [[1]], ornt: [], transcriptions: [" + "-" * 9000 + "1]",
     "1.txt:1: .* is not a list with one string"),
    ("totaltext", "x: [[1]], y: [[1]], ornt: [], transcriptions: [" + "[" * 5000 + "]" * 5001,
     "1.txt:1: .* is not a list with one string"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "content", "message"), LINES)
def test_lines_that_no_data_set_holds(tmp_path, format, content, message):
    write_set(tmp_path, "1.jpg", "gt_1.txt", content + "\n")
    refused(message, read, tmp_path, format)


def test_what_is_left_out_is_counted_and_listed(tmp_path):
    lines = [QUAD + "a", QUAD + "a" * 2000, random_polygon(500) + ",b", QUAD + "c"]
    write_set(tmp_path, "1.jpg", "gt_1.txt", "\n".join(lines))
    (record,), report = read(tmp_path, "polygon", on_bad="skip")
    assert list(record.texts) == ["a", "c"]
    assert report.counts() == {"beyond the limits": 2}


def test_a_million_words_in_one_image(tmp_path, monkeypatch):
    monkeypatch.setattr("dld_d2.data.records.MAX_WORDS", 200)
    write_image(tmp_path / "images" / "1.jpg")
    annotation = {"mask": [0, 0, 9, 0, 9, 9], "utf8_string": "a", "legibility": "legible"}
    content = {
        "imgs": {"1": {"file_name": "1.jpg", "set": "train"}},
        "anns": {"1": annotation},
        "imgToAnns": {"1": [1] * 1_000_000},
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    refused("annotation 1: an image has at most 200;", read, tmp_path, "coco_text", "a.json")


def datalist(box):
    return f'{{"1.jpg": {{"content_ann": {{"bboxes": [[0, 0, {box}, 0, 9, 9]]}}}}}}'


JSON = [
    ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "a.json: is nested too deep"),
    ('{"a": ' * 5000 + "1" + "}" * 5000, "a.json: is nested too deep"),
    (datalist("1e300"), r"image '1.jpg', word 1: .* beyond 1000000 pixels"),
    (datalist("1" * 400), "image '1.jpg', word 1: .* more than 300 digits"),
    (datalist("1" * 5000), "a.json: holds what is no annotation"),
    (json.dumps({"a" * 100_000: {"content_ann": {"bboxes": []}}}), "a.json, image 'aaa"),
]


@pytest.mark.parametrize(("content", "message"), JSON)
def test_json_that_no_data_set_holds(tmp_path, content, message):
    write_image(tmp_path / "images" / "1.jpg")
    (tmp_path / "a.json").write_text(content)
    refused(message, read, tmp_path, "datalist", "a.json")


@pytest.mark.parametrize("format", ["icdar2015", "totaltext", "datalist", "synthtext"])
def test_pipes_in_the_place_of_annotations(tmp_path, format):
    write_image(tmp_path / "images" / "1.jpg")
    (tmp_path / "gt").mkdir()
    place = {"icdar2015": "gt/gt_1.txt", "totaltext": "gt/poly_gt_1.mat"}.get(format, "pipe")
    os.mkfifo(tmp_path / place)
    annotations = "gt" if "/" in place else place
    refused(f"{place}: cannot be read .*is a pipe", read, tmp_path, format, annotations)


@pytest.mark.parametrize("format", ["icdar2015", "unlabelled"])
def test_pipes_in_the_place_of_images(tmp_path, format):
    write_set(tmp_path, "1.jpg", "gt_1.txt", "")
    os.mkfifo(tmp_path / "images" / "2.png")
    (tmp_path / "gt" / "gt_2.txt").touch()
    if format == "icdar2015":
        refused(r"2\.png cannot be read .*is a pipe", read, tmp_path, format)
        return
    records = read_records("unlabelled", tmp_path / "images", None, AnnotationReport())
    refused(r"2\.png cannot be read .*is a pipe", list, records)


def test_a_folder_that_links_to_itself(tmp_path):
    write_set(tmp_path, "1.jpg", "gt_1.txt", QUAD + "a")
    for folder in ("images", "gt"):
        for number in range(2):  # two loops would be walked 2 ** 40 times
            (tmp_path / folder / f"loop{number}").symlink_to(tmp_path / folder)
    records, _ = read(tmp_path, "icdar2015")
    assert [record.file_name for record in records] == ["1.jpg"]


def test_a_link_to_another_folder_is_followed(tmp_path):
    write_set(tmp_path / "other", "1.jpg", "gt_1.txt", QUAD + "a")
    for folder in ("images", "gt"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "more").symlink_to(tmp_path / "other" / folder)
    records, _ = read(tmp_path, "icdar2015")
    assert [record.file_name for record in records] == ["more/1.jpg"]


# --- MATLAB

EMPTY = element(14, b"")


def nested(depth):
    inner = EMPTY
    for _ in range(depth):
        inner = array(CELL, (1, 1), "polygt", inner)
    return inner


MATLAB = [
    (bomb("polygt", 70), r"inflates to more than .* \(a bomb\?\)"),
    (array(CELL, (40_000, 40_000), "polygt", b""), "a cell array of 1600000000 cells and not as"),
    (array(CELL, (-1, 5), "polygt", b""), r"an array has the shape \(-1, 5\)"),
    (array(TEXT, (1, 10**9), "polygt", element(4, b"")), "1000000000 elements and 0 bytes"),
    (array(NUMBERS, (9, 9), "polygt", element(9, bytes(9))), "81 elements and 9 bytes"),
    (array(STRUCT, (1, 1), "polygt", b""), "a struct where annotations are cells, text and num"),
    (array(CELL, (1, 1), "polygt", array(STRUCT, (1, 1), "", b"")), "a struct where"),
    (nested(3000), "cells in cells, more than 8 deep"),
    (array(CELL, (1, 2), "polygt", EMPTY), "2 cells and not as many|cut off"),
    (b"\x0e\0\0\0\xff\xff\0\0", "it is cut off"),
    (element(15, b"no zlib stream"), "incorrect header check"),
    (element(15, zlib.compress(b"abc")), "a variable is cut off"),
]


@pytest.mark.parametrize(("variable", "message"), MATLAB)
def test_matlab_files_that_are_none(tmp_path, variable, message):
    write_image(tmp_path / "images" / "1.jpg")
    write(tmp_path / "gt" / "poly_gt_1.mat", variable)
    refused(f"poly_gt_1.mat: cannot be read as a MATLAB file .*{message}",
            read, tmp_path, "totaltext")  # fmt: skip


def test_matlab_variables_of_other_names_are_left_alone(tmp_path):
    path = write(tmp_path / "x.mat", bomb("other", 20), array(STRUCT, (1, 1), "third", b""))
    assert load_variables(str(path), ["polygt"]) == {}


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_files_as_programs_write_them_are_accepted(tmp_path, compressed):
    names = np.array([[f"{i}/ballet_{i}.jpg" for i in range(2000)]], dtype=object)
    boxes = np.empty((1, 3), dtype=object)
    boxes[0] = [np.zeros((2, 4, 3)), np.zeros((2, 4), np.float32), np.int16(7)]
    content = {"imnames": names, "wordBB": boxes, "txt": np.array(["ab", "c"]), "other": {"a": 1}}
    savemat(tmp_path / "x.mat", content, do_compression=compressed)
    loaded = load_variables(str(tmp_path / "x.mat"), ["imnames", "wordBB", "txt"])
    assert loaded["imnames"][0, 1999].item() == "1999/ballet_1999.jpg"
    assert loaded["wordBB"][0, 0].shape == (2, 4, 3) and loaded["txt"].tolist() == ["ab", "c "]


# --- registrations


def alias_bomb():
    """Ten lines that name a list of a thousand million items."""
    lines = ["datasets:", " m:", "  image_root: x", "  annotations: x", "  format: icdar2015"]
    lines += ["  options:", "   a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, before in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"   {name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join([*lines, "  part: *j"])


def merge_bomb():
    lines = ["a: &a {" + ", ".join(f"k{i}: 1" for i in range(9)) + "}"]
    for name, before in zip("bcdefghij", "abcdefghi", strict=True):
        merged = ", ".join([f"*{before}"] * 9)
        lines.append(f"{name}: &{name} {{<<: [{merged}], {name}: 1}}")
    return "\n".join([*lines, "datasets: {}"])


YAML = [
    ("datasets: " + "[" * 2000 + "]" * 2000, "is nested too deep"),
    ("datasets: " + "{a: " * 5000 + "1" + "}" * 5000, "is nested too deep"),
    (alias_bomb(), "data set 'm': part is a string, not "),
    (merge_bomb(), "too much is merged into one mapping|unknown key"),
    ("datasets: &a {m: *a}", "data set 'm': unknown key 'm'"),
    ("datasets: {m: {image_root: 2020-99-99}}", "is not YAML: month must be in 1..12"),
    ("datasets: {m: " + "1" * 5000 + "}", "is not YAML: .* 5000 digits"),
    ("#" * 2_000_000, "has 2000000 bytes, more than 1048576"),
]


@pytest.mark.parametrize(("content", "message"), YAML)
def test_yaml_that_describes_nothing(tmp_path, content, message):
    (tmp_path / "sets.yaml").write_text(content)
    refused(f"sets.yaml.* {message}", register_from_yaml, tmp_path / "sets.yaml")


def test_yaml_from_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "sets.yaml")
    refused("sets.yaml: cannot be read .*is a pipe", register_from_yaml, tmp_path / "sets.yaml")


# --- indexes


@pytest.fixture
def index(tmp_path):
    square = np.array([(0, 0), (9, 0), (9, 9), (0, 9)], np.float32)
    records = [
        ImageRecord(f"{i}.jpg", 48, 64, [square], ["abc"], np.array([False])) for i in range(3)
    ]
    write_index(tmp_path / "x.index", records)
    return tmp_path / "x.index"


def load_all(folder):
    return list(TextIndex.load(folder))


DAMAGE = [
    ("word_offsets", lambda a: np.array([0, 10**15, 2, 3]), "number 0: word_offsets point nowhere"),
    ("text_offsets", lambda a: np.array([0, -5, 6, 9]), "number 0: text_offsets point nowhere"),
    ("name_offsets", lambda a: a[[0, 2, 1, 3]], "number 1: name_offsets point nowhere"),
    ("sizes", lambda a: -a, "number 0: its height x width is -48 x -64"),
    ("text_bytes", lambda a: a * 0 + 255, "image number 0: 'utf-8' codec"),
    ("vertices", lambda a: a * np.float32("nan"), "image number 0: a coordinate is NaN"),
]


@pytest.mark.parametrize(("name", "change", "message"), DAMAGE)
def test_arrays_that_are_damaged_within(index, name, change, message):
    path = index / f"{name}.npy"
    np.save(path, change(np.load(path)))
    refused(f"x.index.*{message}.*make the index again", load_all, index)


def test_an_array_that_claims_terabytes(index):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 2), }"
    padded = header.ljust(5000) + b"\n"
    size = len(padded).to_bytes(2, "little")
    (index / "vertices.npy").write_bytes(b"\x93NUMPY\x01\x00" + size + padded)
    refused(r"vertices\.npy: .*make the index again", load_all, index)


@pytest.mark.parametrize("name", ["vertices.npy", "index.json"])
def test_pipes_in_an_index(index, name):
    (index / name).unlink()
    os.mkfifo(index / name)
    refused(rf"{name}.*is a pipe", load_all, index)


def test_a_nested_index(index):
    (index / "index.json").write_text('{"kind": ' + "[" * 9000 + "]" * 9000 + "}")
    refused("index.json: cannot be read .*recursion", load_all, index)
