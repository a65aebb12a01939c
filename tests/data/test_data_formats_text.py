"""Formats with one word per line."""

import numpy as np
import pytest
from image_files import read, write_image, write_set

from dld_d2.data import AnnotationError

BOM = b"\xef\xbb\xbf"
QUAD = [(10, 20), (30, 20), (30, 40), (10, 40)]


def only_words(root, format, **options):
    (record,), _ = read(root, format, **options)
    return [
        (polygon.tolist(), text, ignore)
        for polygon, text, ignore in zip(
            record.polygons, record.texts, record.ignore.tolist(), strict=True
        )
    ]


def quad(points=QUAD):
    return [list(map(float, point)) for point in points]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('10, 20, 30, 40, "Tiredness"', "Tiredness"),
        ('10,20,30,40,"Tiredness"', "Tiredness"),
        ('10 20 30 40 "Tiredness"', "Tiredness"),
        ('10, 20, 30, 40, "a, b"', "a, b"),
        ('10 20 30 40 "say \\"no\\" \\\\"', 'say "no" \\'),
        ('10 20 30 40 """', '"'),
        ("10,20,30,20,30,40,10,40,Tiredness", "Tiredness"),
        ("10,20,30,20,30,40,10,40,5,50", "5,50"),
    ],
)
def test_icdar2013_line_forms(tmp_path, line, text):
    write_set(tmp_path, "100.jpg", "gt_100.txt", line + "\r\n")
    assert only_words(tmp_path, "icdar2013") == [(quad(), text, False)]


def test_icdar2013_dont_care(tmp_path):
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", '10 20 30 40 "###"\n10 20 30 40 "a"\n')
    assert [ignore for _, _, ignore in only_words(tmp_path, "icdar2013")] == [True, False]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("10, 20, 30, 40, Tiredness", "neither"),
        ("10 20 30 40", "neither"),
        ('10 20 thirty 40 "a"', "'thirty' is not a number"),
        ('30 20 10 40 "a"', "not right below"),
        ('10 20 10 40 "a"', "no area"),
        ('nan 20 30 40 "a"', "finite"),
        ('200 20 230 40 "a"', "outside"),
    ],
)
def test_icdar2013_bad_lines_name_file_and_line(tmp_path, line, message):
    path = write_set(tmp_path, "1.jpg", "gt_1.txt", '10 20 30 40 "good"\n\n' + line + "\n")
    with pytest.raises(AnnotationError) as error:
        read(tmp_path, "icdar2013")
    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)


def test_icdar2015_bom_commas_and_dont_care(tmp_path):
    content = BOM + (
        b"10,20,30,20,30,40,10,40,$5,50\r\n"
        b"10,20,30,20,30,40,10,40,STRAPS,\r\n"
        b"10,20,30,20,30,40,10,40,###\r\n"
        b"10,20,30,20,30,40,10,40,caf\xc3\xa9 \r\n"
        b"10,20,30,20,30,40,10,40,\r\n\r\n"
    )
    write_set(tmp_path, "img_1.png", "gt_img_1.txt", content)
    words = only_words(tmp_path, "icdar2015")
    assert [text for _, text, _ in words] == ["$5,50", "STRAPS,", "###", "café", ""]
    assert [ignore for _, _, ignore in words] == [False, False, True, False, False]
    assert all(polygon == quad() for polygon, _, _ in words)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"10,20,30,20,30,40,10,40", "found 8 fields"),
        (b"10,20,30,20,30,40,10,x,text", "'x' is not a number"),
        (b"10,20,30,20,30,40,10,4_0,text", "'4_0' is not a number"),
        (b"10,20,30,20,30,40,10,inf,text", "finite"),
        (b"10,20,20,30,30,40,40,50,text", "no area"),
        (b"10,90,30,90,30,95,10,95,text", "outside"),
        (b"10,80,30,80,30,95,10,95,text", "outside"),
        (b"10,20,30,20,30,40,10,40,caf\xe9", "not UTF-8"),
    ],
)
def test_icdar2015_bad_lines(tmp_path, line, message):
    good = b"10,20,30,20,30,40,10,40,good\n"
    path = write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", BOM + good + line + b"\n" + good)
    with pytest.raises(AnnotationError) as error:
        read(tmp_path, "icdar2015")
    assert str(error.value).startswith(f"{path}:2: ")
    assert message in str(error.value)

    (record,), report = read(tmp_path, "icdar2015", on_bad="skip")
    assert list(record.texts) == ["good", "good"]
    (skip,) = report.skips
    assert skip.where == f"{path}:2" and message in skip.message
    assert report.counts() == {skip.reason: 1}


def test_mlt2017_script_column(tmp_path):
    lines = (
        "10,20,30,20,30,40,10,40,Latin,Theatre\n"
        "10,20,30,20,30,40,10,40,Chinese,你好\n"
        "10,20,30,20,30,40,10,40,None,###\n"
        "10,20,30,20,30,40,10,40,Symbols,1,5\n"
    )
    write_set(tmp_path, "img_1.gif", "gt_img_1.txt", lines)
    words = only_words(tmp_path, "mlt2017")
    assert [text for _, text, _ in words] == ["Theatre", "你好", "###", "1,5"]
    assert [ignore for _, _, ignore in words] == [False, False, True, False]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("10,20,30,20,30,40,10,40,Theatre", "found 9 fields"),
        ("10,20,30,20,30,40,10,40,Theatre,Royal", "'Theatre' is none of the scripts"),
        ("a,20,30,20,30,40,10,40,Latin,Royal", "'a' is not a number"),
    ],
)
def test_mlt2017_bad_lines(tmp_path, line, message):
    path = write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", line)
    with pytest.raises(AnnotationError, match=message) as error:
        read(tmp_path, "mlt2017")
    assert str(error.value).startswith(f"{path}:1: ")


def test_mlt2017_of_some_scripts(tmp_path):
    quad_line = "10,20,30,20,30,40,10,40"
    write_set(
        tmp_path, "img_1.jpg", "gt_img_1.txt", f"{quad_line},Latin,To\n{quad_line},Korean,길\n"
    )
    write_set(tmp_path, "img_2.jpg", "gt_img_2.txt", f"{quad_line},Korean,길\n")
    write_set(tmp_path, "img_3.jpg", "gt_img_3.txt", f"{quad_line},Latin,###\n")
    write_set(tmp_path, "img_4.jpg", "gt_img_4.txt", "")
    records, _ = read(tmp_path, "mlt2017", scripts=["Latin"])
    (record,) = records
    assert record.file_name == "img_1.jpg"
    assert record.texts[0] == "To" and record.ignore.tolist() == [False, True]
    records, _ = read(tmp_path, "mlt2017", scripts=["Latin", "Korean"])
    assert [r.file_name for r in records] == ["img_1.jpg", "img_2.jpg"]
    assert len(read(tmp_path, "mlt2017")[0]) == 4


@pytest.mark.parametrize("scripts", [["latin"], [], "Latin"])
def test_mlt2017_unknown_scripts(tmp_path, scripts):
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", "10,20,30,20,30,40,10,40,Latin,To\n")
    with pytest.raises(AnnotationError, match=r"option scripts: .* is no list of some of Arabic"):
        read(tmp_path, "mlt2017", scripts=scripts)


@pytest.mark.parametrize("prefix", ["", "gt_", "poly_gt_"])
def test_polygon_any_number_of_points(tmp_path, prefix):
    lines = "10,20,30,20,20,40,three\n10,20,20,15,30,20,30,40,10,40,1984\n"
    write_set(tmp_path, "img1.jpg", f"{prefix}img1.txt", lines)
    first, second = only_words(tmp_path, "polygon")
    assert (len(first[0]), first[1]) == (3, "three")
    assert (len(second[0]), second[1]) == (5, "1984")


def test_polygon_with_known_number_of_points_allows_commas(tmp_path):
    write_set(tmp_path, "img1.jpg", "img1.txt", "10,20,30,20,30,40,10,40,1,000,000\n")
    assert only_words(tmp_path, "polygon", points=4) == [(quad(), "1,000,000", False)]


@pytest.mark.parametrize("line", ["10,20,30,20,text", "10,20,30,20,30,40,10,40,5,50", "10,20,30"])
def test_polygon_bad_lines(tmp_path, line):
    path = write_set(tmp_path, "img1.jpg", "img1.txt", line)
    with pytest.raises(AnnotationError, match="expected") as error:
        read(tmp_path, "polygon")
    assert str(error.value).startswith(f"{path}:1: ")


def test_unknown_option_is_named(tmp_path):
    write_set(tmp_path, "img1.jpg", "img1.txt", "")
    with pytest.raises(ValueError, match="no option pionts; it has: points"):
        read(tmp_path, "polygon", pionts=4)
    with pytest.raises(ValueError, match="no option points; it has none"):
        read(tmp_path, "icdar2015", points=4)


def test_images_in_natural_order_and_in_subfolders(tmp_path):
    for name in ("img_10", "img_2", "a/img_1"):
        write_image(tmp_path / "images" / f"{name}.jpg")
        path = tmp_path / "gt" / f"{name}.txt"
        path = path.with_name("gt_" + path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_image(tmp_path / "images" / ".hidden.jpg")
    records, report = read(tmp_path, "icdar2015")
    assert [r.file_name for r in records] == ["a/img_1.jpg", "img_2.jpg", "img_10.jpg"]
    assert report.expected == 3
    assert all(len(r.polygons) == 0 and r.ignore.dtype == np.bool_ for r in records)


def test_files_without_counterpart(tmp_path):
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", "10,20,30,20,30,40,10,40,a")
    lonely = write_image(tmp_path / "images" / "img_2.jpg")
    with pytest.raises(AnnotationError, match=r"has no gt_img_2\.txt") as error:
        read(tmp_path, "icdar2015")
    assert str(error.value).startswith(str(lonely))
    lonely.unlink()
    stray = tmp_path / "gt" / "readme.txt"
    stray.touch()
    with pytest.raises(AnnotationError, match="gt_<image name>") as error:
        read(tmp_path, "icdar2015")
    assert str(error.value).startswith(str(stray))

    write_image(tmp_path / "images" / "img_2.jpg")
    records, report = read(tmp_path, "icdar2015", on_bad="skip")
    assert [record.file_name for record in records] == ["img_1.jpg"]
    assert report.counts() == {"annotation without image": 1, "image without annotation": 1}


def test_duplicate_image_names(tmp_path):
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", "")
    write_image(tmp_path / "images" / "img_1.png")
    with pytest.raises(AnnotationError, match="same name but for the extension"):
        read(tmp_path, "icdar2015")
    records, report = read(tmp_path, "icdar2015", on_bad="skip")
    assert [record.file_name for record in records] == ["img_1.jpg"]
    assert report.counts() == {"duplicate image": 1}


def test_two_annotation_files_for_one_image(tmp_path):
    write_set(tmp_path, "img1.jpg", "img1.txt", "")
    write_set(tmp_path, "img1.jpg", "gt_img1.txt", "")
    with pytest.raises(AnnotationError, match="annotates the same image"):
        read(tmp_path, "polygon")


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(AnnotationError, match=r"images: does not exist .*README"):
        read(tmp_path, "icdar2015")
    write_image(tmp_path / "images" / "img_1.jpg")
    with pytest.raises(AnnotationError, match="gt: does not exist"):
        read(tmp_path, "icdar2015")
    (tmp_path / "images" / "img_1.jpg").unlink()
    (tmp_path / "gt").mkdir()
    with pytest.raises(AnnotationError, match="no usable image"):
        read(tmp_path, "icdar2015")


def test_unreadable_image(tmp_path):
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", "")
    write_set(tmp_path, "img_2.jpg", "gt_img_2.txt", "")
    (tmp_path / "images" / "img_2.jpg").write_bytes(b"no image")
    with pytest.raises(AnnotationError, match=r"img_2\.jpg cannot be read"):
        read(tmp_path, "icdar2015")
    records, report = read(tmp_path, "icdar2015", on_bad="skip")
    assert len(records) == 1 and report.counts() == {"unreadable image": 1}
