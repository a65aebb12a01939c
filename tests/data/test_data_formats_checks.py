"""What all readers share: geometry, image sizes, the report."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import read, write_image, write_set
from PIL import Image

from dld_d2.data import FORMATS, AnnotationError, AnnotationReport
from dld_d2.data.geometry import clip_to_image, region_area
from dld_d2.data.image_size import read_image_size
from dld_d2.data.images import read_image


def covered(points, height, width):
    """Share of pixel centres inside a simple polygon and the image, by the even-odd rule."""
    x, y = np.meshgrid(np.arange(-20, width + 20) + 0.5, np.arange(-20, height + 20) + 0.5)
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside & (x > 0) & (x < width) & (y > 0) & (y < height)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-15, 45),
    st.floats(-15, 35),
    st.floats(3, 18),
    st.integers(3, 9),
    st.floats(0, 6.28),
    st.booleans(),
)
def test_clipping_keeps_exactly_what_is_inside(x, y, radius, count, turn, clockwise):
    angles = turn + np.arange(count) * 2 * np.pi / count * (1 if clockwise else -1)
    points = np.array([x, y]) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    height, width = 20, 30
    expected = covered(points, height, width)
    clipped = clip_to_image(points, height, width)
    if clipped is None:
        assert expected.sum() <= 1
        return
    assert (clipped >= 0).all() and (clipped <= (width, height)).all()
    assert np.count_nonzero(covered(clipped, height, width) != expected) <= 2


def test_clipping_keeps_direction_and_start():
    points = np.array([[5, 5], [40, 5], [40, 10], [5, 10]], float)
    clipped = clip_to_image(points, 20, 30)
    assert clipped.tolist() == [[5, 5], [30, 5], [30, 10], [5, 10]]
    assert clip_to_image(points[::-1], 20, 30).tolist() == [[5, 10], [30, 10], [30, 5], [5, 5]]


def test_clipping_takes_the_largest_part():
    # An arch whose bar lies above the image; its right leg is the wider one.
    arch = np.array([[2, 9], [2, -5], [20, -5], [20, 9], [14, 9], [14, -2], [5, -2], [5, 9]], float)
    clipped = clip_to_image(arch, 20, 30)
    assert clipped.min(axis=0).tolist() == [14, 0] and clipped.max(axis=0).tolist() == [20, 9]


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([(0, 0), (10, 0), (10, 5), (0, 5)], 50),
        ([(0, 5), (10, 5), (10, 0), (0, 0)], 50),
        ([(0, 0), (5, 5), (10, 10)], 0),
        ([(3, 3), (3, 3), (3, 3), (3, 3)], 0),
        ([(0, 0), (10, 10), (10, 0), (0, 10)], 50),  # two triangles whose signed areas cancel
        ([(0.1, 0.1), (700.1, 500.3), (350.1, 250.2), (0.1, 0.1)], 0),
    ],
)
def test_region_area(points, area):
    assert region_area(np.array(points, dtype=float)) == pytest.approx(area)


def test_polygons_are_clipped_counted_and_otherwise_untouched(tmp_path):
    lines = (
        "-5,20,30,20,30,40,-5,40,clipped\n"
        "0,0,100,0,100,80,0,80,whole image\n"
        "10,20,30,40,30,20,10,40,crossing\n"
        "90,20,130,60,130,20,90,60,crossing edge\n"
    )
    write_set(tmp_path, "img_1.jpg", "gt_img_1.txt", lines)
    (record,), report = read(tmp_path, "icdar2015")
    clipped, whole, crossing, edge = record.polygons
    assert clipped.tolist() == [[0, 20], [30, 20], [30, 40], [0, 40]]
    assert whole.tolist() == [[0, 0], [100, 0], [100, 80], [0, 80]]
    assert crossing.tolist() == [[10, 20], [30, 40], [30, 20], [10, 40]]
    assert edge.max(axis=0)[0] == 100 and all(p.dtype == np.float32 for p in record.polygons)
    assert report.notes == {"polygons clipped to the image": 2}
    assert not report.skips


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_image_size_is_that_of_the_image_that_is_read(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write_image(tmp_path / f"image.{suffix}", width=30, height=20, exif=exif)
    assert read_image_size(path) == read_image(path, "BGR").shape[:2]


def test_image_size_without_metadata(tmp_path, monkeypatch):
    path = write_image(tmp_path / "image.png", width=30, height=20)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded the pixels"))
    assert read_image_size(path) == (20, 30)


def test_report_writes_one_warning_with_everything(caplog, tmp_path):
    report = AnnotationReport("skip")
    report.bad("a.txt:3", "zero area", "the polygon has no area")
    report.bad("b.txt:1", "zero area", "the polygon has no area")
    report.bad("c.jpg", "missing image", "does not\texist")
    report.note("polygons clipped to the image")
    with caplog.at_level(logging.INFO):
        report.log("set", logging.getLogger("test"))
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "left out 3 (zero area: 2, missing image: 1)" in warning
    assert all(place in warning for place in ("a.txt:3", "b.txt:1", "c.jpg"))
    report.write(tmp_path / "report.tsv")
    lines = (tmp_path / "report.tsv").read_text().splitlines()
    assert lines[0] == "where\treason\tmessage"
    assert lines[3] == "c.jpg\tmissing image\tdoes not exist"


def test_report_raises_by_default_and_tells_the_way_out():
    with pytest.raises(AnnotationError, match=r"^a\.txt:3: has no area .*--skip-bad"):
        AnnotationReport().bad("a.txt:3", "zero area", "has no area")
    with pytest.raises(ValueError, match="'ignore'"):
        AnnotationReport("ignore")


def test_a_reader_cannot_take_the_name_of_a_built_in_format():
    def polygon(image_root, annotations, report):
        yield from ()

    with pytest.raises(AssertionError, match="'polygon' is a built-in annotation format"):
        FORMATS.register(polygon)
    assert FORMATS.get("polygon") is not polygon
