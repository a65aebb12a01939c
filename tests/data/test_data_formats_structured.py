"""Formats in MATLAB and JSON files, and Total-Text's text form."""

import json

import numpy as np
import pytest
from image_files import read, write_image, write_set
from scipy.io import savemat

from dld_d2.data import AnnotationError

BOX = [10, 20, 30, 20, 30, 40, 10, 40]


def cells(*values):
    array = np.empty((1, len(values)), dtype=object)
    array[0, :] = values
    return array


# Total-Text


def total_text_rows(*words):
    """Cell array as in the published files: x:, x, y:, y, text, orientation."""
    rows = np.empty((len(words), 6), dtype=object)
    for row, (x, y, text, orientation) in zip(rows, words, strict=True):
        values = ["x:", np.array([x], np.int16), "y:", np.array([y], np.int16), text, orientation]
        for i, value in enumerate(values):
            row[i] = value
    return rows


def write_total_text(root, rows, variable="polygt", image="img1"):
    write_image(root / "images" / f"{image}.jpg")
    path = root / "gt" / f"poly_gt_{image}.mat"
    path.parent.mkdir(exist_ok=True)
    savemat(path, {variable: rows})
    return path


@pytest.mark.parametrize("variable", ["polygt", "gt"])
def test_totaltext_matlab(tmp_path, variable):
    rows = total_text_rows(
        ([10, 20, 30, 30, 20, 10], [20, 18, 20, 40, 38, 40], "nauGHTY", "c"),
        ([10, 30, 30, 10], [20, 20, 40, 40], "#", "#"),
        ([10, 30, 30, 10], [20, 20, 40, 40], np.empty((0,)), "h"),
        ([10, 30, 30, 10], [20, 20, 40, 40], "seen", "#"),
        ([5], [5], "#", "#"),
    )
    write_total_text(tmp_path, rows, variable)
    (record,), report = read(tmp_path, "totaltext")
    assert record.file_name == "img1.jpg"
    assert list(record.texts) == ["nauGHTY", "#", "#", "seen"]
    assert record.ignore.tolist() == [False, True, True, True]
    assert record.polygons[0].tolist() == [
        [10, 20], [20, 18], [30, 20], [30, 40], [20, 38], [10, 40],
    ]  # fmt: skip
    assert report.notes == {"don't-care entries without a region": 1}


def test_totaltext_matlab_does_not_overflow_bytes(tmp_path):
    rows = total_text_rows(([90, 99, 99, 90], [20, 20, 40, 40], "a", "h"))
    rows[0, 1] = np.array([[90, 200, 200, 90]], np.uint8)
    write_total_text(tmp_path, rows)
    write_image(tmp_path / "images" / "img1.jpg", width=300)
    (record,), _ = read(tmp_path, "totaltext")
    assert record.polygons[0][:, 0].tolist() == [90, 200, 200, 90]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (([10, 30], [20, 20], "text", "h"), "at least 3 points, this 2"),
        (([10, 30, 30], [20, 20, 40, 40], "text", "h"), "3 x coordinates and 4 y"),
        (([10, 20, 30], [20, 30, 40], "text", "h"), "no area"),
    ],
)
def test_totaltext_matlab_bad_words(tmp_path, word, message):
    good = ([10, 30, 30, 10], [20, 20, 40, 40], "good", "h")
    path = write_total_text(tmp_path, total_text_rows(good, word))
    with pytest.raises(AnnotationError, match=message) as error:
        read(tmp_path, "totaltext")
    assert str(error.value).startswith(f"{path}, word 2: ")
    (record,), report = read(tmp_path, "totaltext", on_bad="skip")
    assert list(record.texts) == ["good"] and len(report.skips) == 1


def test_totaltext_unusable_matlab_files(tmp_path):
    write_total_text(tmp_path, total_text_rows(([10, 30, 30], [20, 20, 40], "good", "h")))
    rectangles = write_total_text(tmp_path, np.zeros((1, 8)), "rectgt", "img2")
    with pytest.raises(AnnotationError, match="has no variable 'polygt'") as error:
        read(tmp_path, "totaltext")
    assert str(rectangles) in str(error.value)
    rectangles.write_bytes(b"damaged")
    with pytest.raises(AnnotationError, match="cannot be read as a MATLAB file"):
        read(tmp_path, "totaltext")
    records, report = read(tmp_path, "totaltext", on_bad="skip")
    assert [record.file_name for record in records] == ["img1.jpg"]
    assert report.counts() == {"unreadable annotation": 1}


def test_totaltext_text_form(tmp_path):
    content = (
        "x: [[10 20 30 30 20\n 10]], y: [[20 18 20\n 40 38 40]], ornt: [u'c'], "
        "transcriptions: [u'nauGHTY']\n"
        "x: [[10 30 30 10]], y: [[20 20 40 40]], ornt: [u'h'], transcriptions: [u\"Joe's, [1]\"]\n"
        "x: [[10 30 30 10]], y: [[20 20 40 40]], ornt: [u'#'], transcriptions: [u'#']\n"
        "x: [[10 30 30 10]], y: [[20 20 40 40]], ornt: [u'm'], transcriptions: [u'caf\\xe9']\n"
        "x: [[10 30 30 10]], y: [[20 20 40 40]], ornt: [], transcriptions: []\n"
        "x: [[  -3   30 30 -3]], y: [[20 20 40 40]], ornt: [u'm'], transcriptions: [u'edge']\n"
    )
    write_set(tmp_path, "img1.jpg", "poly_gt_img1.txt", content)
    (record,), report = read(tmp_path, "totaltext")
    assert list(record.texts) == ["nauGHTY", "Joe's, [1]", "#", "café", "#", "edge"]
    assert record.ignore.tolist() == [False, False, True, False, True, False]
    assert [len(polygon) for polygon in record.polygons] == [6, 4, 4, 4, 4, 4]
    assert record.polygons[-1][:, 0].min() == 0
    assert report.notes == {"polygons clipped to the image": 1}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("x: [[10 30 30]], y: [[20 20 40]], ornt: [u'm']", "expected x:"),
        ("x: [[10 30 3o]], y: [[20 20 40]], ornt: [u'm'], transcriptions: [u'a']", "'3o' is not"),
        ("x: [[10 30 30]], y: [[20 20 40]], ornt: [u'm'], transcriptions: [a]", "not a list"),
        ("x: [[10 30]], y: [[20 20]], ornt: [u'm'], transcriptions: [u'a']", "at least 3"),
        ("x: [[10 30 30]], y: [[20 20]], ornt: [u'm'], transcriptions: [u'a']", "3 x coord"),
    ],
)
def test_totaltext_text_form_bad_entries(tmp_path, entry, message):
    good = "x: [[10 30\n 30]], y: [[20 20 40]], ornt: [u'm'], transcriptions: [u'good']\n"
    path = write_set(tmp_path, "img1.jpg", "poly_gt_img1.txt", good + entry + "\n" + good)
    with pytest.raises(AnnotationError, match=message) as error:
        read(tmp_path, "totaltext")
    assert str(error.value).startswith(f"{path}:3: ")
    (record,), _ = read(tmp_path, "totaltext", on_bad="skip")
    assert list(record.texts) == ["good", "good"]


# SynthText


def synthtext_box(left=10.5, top=20.25):
    return np.array([[left, left + 20, left + 20, left], [top, top, top + 10, top + 10]])


def write_synthtext(root, names, boxes, texts):
    for name in names:
        write_image(root / "images" / name)
    path = root / "gt.mat"
    savemat(
        path,
        {
            "imnames": cells(*names),
            "wordBB": cells(*boxes),
            "charBB": cells(*boxes),
            "txt": cells(*texts),
        },
        do_compression=True,
    )
    return path


def test_synthtext(tmp_path):
    three = np.stack([synthtext_box(), synthtext_box(40), synthtext_box(70)], axis=2)
    write_synthtext(
        tmp_path,
        ["8/a_1.jpg", "9/b_2.jpg"],
        [three, synthtext_box(50)],
        [np.array(["Lines:\nI ", "lost    "]), np.array(["  one  "])],
    )
    records, report = read(tmp_path, "synthtext", "gt.mat")
    assert [record.file_name for record in records] == ["8/a_1.jpg", "9/b_2.jpg"]
    assert list(records[0].texts) == ["Lines:", "I", "lost"]
    assert list(records[1].texts) == ["one"]
    np.testing.assert_array_equal(records[0].polygons[1], synthtext_box(40).T.astype(np.float32))
    np.testing.assert_array_equal(records[1].polygons[0], synthtext_box(50).T.astype(np.float32))
    assert report.expected == 2


def test_synthtext_boxes_and_words_differ(tmp_path):
    two = np.stack([synthtext_box(), synthtext_box(40)], axis=2)
    path = write_synthtext(
        tmp_path,
        ["8/a_1.jpg", "9/b_2.jpg"],
        [synthtext_box(), two],
        [np.array(["one"]), np.array(["one two three"])],
    )
    with pytest.raises(AnnotationError, match="2 boxes for 3 words") as error:
        read(tmp_path, "synthtext", "gt.mat")
    assert str(error.value).startswith(f"{path}, image 2 (9/b_2.jpg)")
    (record,), report = read(tmp_path, "synthtext", "gt.mat", on_bad="skip")
    assert record.file_name == "8/a_1.jpg"
    assert report.counts() == {"boxes and words differ": 1}


def test_synthtext_bad_words_and_images(tmp_path):
    boxes = np.stack([synthtext_box(), synthtext_box(200)], axis=2)
    path = write_synthtext(
        tmp_path,
        ["1/a.jpg", "2/b.jpg", "1/a.jpg"],
        [boxes, synthtext_box(), synthtext_box()],
        [np.array(["in out"]), np.array(["gone"]), np.array(["again"])],
    )
    (tmp_path / "images" / "2" / "b.jpg").unlink()
    with pytest.raises(AnnotationError, match="outside its image") as error:
        read(tmp_path, "synthtext", "gt.mat")
    assert str(error.value).startswith(f"{path}, image 1 (1/a.jpg), word 2: ")
    (record,), report = read(tmp_path, "synthtext", "gt.mat", on_bad="skip")
    assert list(record.texts) == ["in"]
    assert report.counts() == {"outside the image": 1, "missing image": 1, "duplicate image": 1}


def test_synthtext_incomplete_file(tmp_path):
    (tmp_path / "images").mkdir()
    savemat(tmp_path / "gt.mat", {"imnames": cells("a.jpg")})
    with pytest.raises(AnnotationError, match=r"gt\.mat: has no variable wordBB, txt"):
        read(tmp_path, "synthtext", "gt.mat")
    (tmp_path / "gt.mat").write_bytes(b"")
    with pytest.raises(AnnotationError, match=r"gt\.mat: cannot be read as a MATLAB file"):
        read(tmp_path, "synthtext", "gt.mat", on_bad="skip")


# JSON


def write_json(root, content, name="gt.json"):
    path = root / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def coco_text(anns, images=("train",)):
    return {
        "cats": {},
        "info": {},
        "imgs": {
            str(i): {"id": i, "set": part, "width": 100, "height": 80, "file_name": f"c_{i}.jpg"}
            for i, part in enumerate(images)
        },
        "anns": {str(key): {"id": key, "image_id": 0, **ann} for key, ann in anns.items()},
        "imgToAnns": {"0": list(anns)},
    }


LEGIBLE = {"mask": BOX, "legibility": "legible", "language": "english", "utf8_string": "STOP"}
ILLEGIBLE = {"mask": BOX, "legibility": "illegible", "language": "na", "utf8_string": ""}


def test_coco_text(tmp_path):
    write_image(tmp_path / "images" / "c_0.jpg")
    write_image(tmp_path / "images" / "c_1.jpg")
    write_json(tmp_path, coco_text({45346: LEGIBLE, 45347: ILLEGIBLE}, ("train", "val")))
    (first, second), _ = read(tmp_path, "coco_text", "gt.json")
    assert list(first.texts) == ["STOP", ""]
    assert first.ignore.tolist() == [False, True]
    assert first.polygons[0].ravel().tolist() == BOX
    assert second.file_name == "c_1.jpg" and len(second.polygons) == 0
    for split, name in (("train", "c_0.jpg"), ("val", "c_1.jpg")):
        (record,), _ = read(tmp_path, "coco_text", "gt.json", split=split)
        assert record.file_name == name
    with pytest.raises(AnnotationError, match=r"no image is in set 'test'; sets are \['train', "):
        read(tmp_path, "coco_text", "gt.json", split="test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": BOX[:7]}, "odd number"),
        ({"mask": BOX[:4]}, "at least 3 points"),
        ({"mask": None}, "is NoneType, not a list"),
        ({"mask": [*BOX[:7], "40"]}, "'40' among its coordinates"),
        ({"legibility": "maybe"}, "'legibility' 'maybe'"),
        ({"utf8_string": 5}, "'utf8_string' is 5"),
    ],
)
def test_coco_text_bad_annotations(tmp_path, change, message):
    write_image(tmp_path / "images" / "c_0.jpg")
    path = write_json(tmp_path, coco_text({1: LEGIBLE, 2: {**LEGIBLE, **change}}))
    with pytest.raises(AnnotationError, match=message) as error:
        read(tmp_path, "coco_text", "gt.json")
    assert str(error.value).startswith(f"{path}, annotation 2: ")
    (record,), report = read(tmp_path, "coco_text", "gt.json", on_bad="skip")
    assert len(record.texts) == 1 and len(report.skips) == 1


def test_coco_text_other_json(tmp_path):
    write_image(tmp_path / "images" / "c_0.jpg")
    write_json(tmp_path, {"images": [], "annotations": []})
    with pytest.raises(AnnotationError, match="has no object 'imgs'; is it the file of COCO-Text"):
        read(tmp_path, "coco_text", "gt.json")


def datalist_entry(bboxes, texts, cares=None, height=80, width=100):
    content = {"bboxes": bboxes, "texts": texts, "cares": cares or [1] * len(bboxes)}
    return {"height": height, "width": width, "content_ann": content}


def test_datalist(tmp_path):
    write_image(tmp_path / "images" / "train" / "img1.jpg")
    write_image(tmp_path / "images" / "train" / "img2.jpg")
    boxes = [BOX, [10, 20, 30, 40], [1.5, 2, 20, 2, 20, 9, 1.5, 9, 1, 5], BOX]
    write_json(
        tmp_path,
        {
            "train/img1.jpg": datalist_entry(boxes, ["a,b", "c", "###", "###"], [1, 0, 0, 1]),
            "train/img2.jpg": {"content_ann": {"bboxes": [BOX]}},
        },
    )
    (first, second), _ = read(tmp_path, "datalist", "gt.json")
    assert list(first.texts) == ["a,b", "c", "###", "###"]
    assert first.ignore.tolist() == [False, True, True, True]
    assert first.polygons[1].ravel().tolist() == BOX  # a rectangle's corners
    assert len(first.polygons[2]) == 5
    assert list(second.texts) == [""] and second.ignore.tolist() == [False]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (datalist_entry([BOX], ["a"], height=100, width=80), "80 x 100, its annotation says 100 x"),
        (datalist_entry([BOX], ["a", "b"]), "1 'bboxes' but 'texts' is 2"),
        ({"height": 80, "width": 100}, "no 'content_ann'"),
        (datalist_entry([BOX], [None]), "word 1: 'cares' is 1 and 'texts' None"),
        (datalist_entry([BOX], ["a"], [2]), "word 1: 'cares' is 2"),
        (datalist_entry([[1, 2, 3]], ["a"]), "word 1: the box has 3 coordinates"),
        (datalist_entry([BOX], ["\ud800"]), "word 1: .*lone surrogate"),
    ],
)
def test_datalist_bad_entries(tmp_path, entry, message):
    write_image(tmp_path / "images" / "img1.jpg")
    write_image(tmp_path / "images" / "img2.jpg")
    path = write_json(tmp_path, {"img1.jpg": datalist_entry([BOX], ["a"]), "img2.jpg": entry})
    with pytest.raises(AnnotationError, match=message) as error:
        read(tmp_path, "datalist", "gt.json")
    assert str(error.value).startswith(f"{path}, image 'img2.jpg'")
    records, report = read(tmp_path, "datalist", "gt.json", on_bad="skip")
    assert records[0].file_name == "img1.jpg" and len(report.skips) == 1


def test_datalist_missing_and_repeated_images(tmp_path):
    write_image(tmp_path / "images" / "img1.jpg")
    path = write_json(
        tmp_path, {"img1.jpg": datalist_entry([], []), "no.jpg": datalist_entry([], [])}
    )
    with pytest.raises(AnnotationError, match=r"'no\.jpg'.*no\.jpg does not exist"):
        read(tmp_path, "datalist", "gt.json")
    _, report = read(tmp_path, "datalist", "gt.json", on_bad="skip")
    assert report.counts() == {"missing image": 1}
    entry = json.dumps(datalist_entry([], []))
    write_json(tmp_path, f'{{"img1.jpg": {entry}, "img1.jpg": {entry}}}')
    with pytest.raises(AnnotationError, match=r"key 'img1\.jpg': occurs twice") as error:
        read(tmp_path, "datalist", "gt.json")
    assert str(path) in str(error.value)


def test_broken_json_names_the_line(tmp_path):
    write_image(tmp_path / "images" / "img1.jpg")
    path = write_json(tmp_path, '{\n "a": 1,\n "b" 2\n}')
    with pytest.raises(AnnotationError) as error:
        read(tmp_path, "datalist", "gt.json")
    assert str(error.value).startswith(f"{path}:3: ")
    write_json(tmp_path, "[]")
    with pytest.raises(AnnotationError, match="expected a JSON object, found list"):
        read(tmp_path, "datalist", "gt.json")
