"""Whatever holds an image becomes an array of 8-bit colours."""

import io
import os

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dld_d2.data.image_size import read_image_size
from dld_d2.data.images import as_bgr, describe_image, read_image, reduced_bgr

MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "LA",
    "PA",
    "RGBX",
    "RGBa",
    "La",
)
RAMP = np.linspace(0, 65535, 24 * 32).reshape(24, 32)
ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 3),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def colours(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)


def encoded(image, format="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(image[..., ::-1]).save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_files_are_read_in_the_order_that_is_asked_for(tmp_path, order):
    image = colours()
    (tmp_path / "a.png").write_bytes(encoded(image))
    for name in (tmp_path / "a.png", str(tmp_path / "a.png")):
        read = read_image(name, order)
        assert read.dtype == np.uint8
        assert np.array_equal(read, image if order == "BGR" else image[..., ::-1])
    with pytest.raises(ValueError, match="BGR or RGB, not 'YUV'"):
        read_image(tmp_path / "a.png", "YUV")


def test_all_that_holds_an_image_gives_the_same(tmp_path):
    image = colours()
    data = encoded(image)
    (tmp_path / "a.png").write_bytes(data)
    for given in (
        image,
        np.asfortranarray(image),
        image.astype(np.uint16) * 257,
        (image.astype(np.uint16) * 257).astype(">u2"),
        np.dstack([image, np.full((24, 32), 255, np.uint8)]),
        data,
        bytearray(data),
        memoryview(data),
        Image.fromarray(image[..., ::-1]),
        Image.open(tmp_path / "a.png"),
        str(tmp_path / "a.png"),
        tmp_path / "a.png",
    ):
        assert np.array_equal(as_bgr(given), image), describe_image(given)


def test_gray_becomes_three_equal_channels():
    gray = colours()[..., 0]
    expected = np.dstack([gray] * 3)
    for given in (gray, gray[..., None], Image.fromarray(gray), gray.astype(np.uint16) * 257):
        assert np.array_equal(as_bgr(given), expected)


def test_16_bits_are_scaled_by_their_whole_range(tmp_path):
    deep = RAMP.round().astype(np.uint16)
    expected = np.rint(RAMP / 257)
    assert np.array_equal(as_bgr(deep)[..., 0], expected)
    for suffix, channels in ((".png", 1), (".tif", 1), (".png", 3), (".tif", 3), (".png", 4)):
        image = np.dstack([deep] * channels)
        if channels == 4:
            image[..., 3] = 65535
        file = tmp_path / f"{channels}{suffix}"
        file.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
        for read in (read_image(file, "BGR"), as_bgr(file.read_bytes())):
            assert read.shape == (24, 32, 3) and read.dtype == np.uint8
            # Pillow drops the low bits of 16-bit colours on reading.
            assert np.abs(read[..., 0] - expected).max() <= (channels > 1)
    for mode in ("I;16", "I;16B"):
        given = Image.frombytes(mode, (32, 24), deep.astype(f"{'>' if mode[-1] == 'B' else '<'}u2"))
        assert np.array_equal(as_bgr(given)[..., 1], expected)


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("I", RAMP.round()),
        ("I", (RAMP / 257).round()),
        ("I", RAMP.round() * 1000),
        ("I", RAMP.round() - 30000),
        ("F", RAMP / 65535),
        ("F", RAMP / 257),
        ("F", RAMP),
        ("F", RAMP / 65535 - 0.5),
    ],
)
def test_modes_without_a_range_are_spread_over_it(mode, values):
    given = Image.fromarray(values.astype(np.int32 if mode == "I" else np.float32))
    assert given.mode == mode
    assert np.abs(as_bgr(given)[..., 0] - RAMP / 257).max() <= 0.51


def test_an_image_of_one_value_and_one_that_is_not_finite():
    assert (as_bgr(Image.new("I", (5, 4), -7)) == 0).all()
    assert (as_bgr(Image.new("F", (5, 4), 1.0)) == 255).all()
    with pytest.raises(OSError, match=r"mode F, 5 x 4: .*NaN or infinite"):
        as_bgr(Image.new("F", (5, 4), float("nan")))


@pytest.mark.parametrize("mode", MODES)
def test_any_mode_of_pillow(mode, tmp_path):
    image = as_bgr(Image.new(mode, (30, 20)))
    assert image.shape == (20, 30, 3) and image.dtype == np.uint8
    if mode not in ("LAB", "HSV", "RGBX", "RGBa", "La", "YCbCr", "PA"):
        file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
        Image.new("RGB", (30, 20), (10, 20, 30)).convert(mode).save(file)
        assert read_image(file, "BGR").shape == (20, 30, 3)


def test_what_is_transparent_shows_white(tmp_path):
    bgra = np.dstack([colours(), np.zeros((24, 32), np.uint8)])
    bgra[8:16, :, 3], bgra[16:, :, 3] = 128, 255
    share = bgra[..., 3:] / 255
    expected = bgra[..., :3] * share + 255 * (1 - share)
    pillow = Image.fromarray(bgra[..., [2, 1, 0, 3]])
    pillow.save(tmp_path / "a.png")
    for given in (bgra, bgra.astype(np.uint16) * 257, pillow, tmp_path / "a.png"):
        assert np.abs(as_bgr(given) - expected).max() <= 0.51
    # A palette with one colour that is not seen.
    palette = Image.fromarray(np.eye(8, dtype=np.uint8) * 255).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    assert (read_image(tmp_path / "p.png", "BGR") == 255).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_images_are_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(colours(), exif=exif)
    (tmp_path / "a.png").write_bytes(data)
    expected = ORIENTATIONS[orientation](colours())
    for given in (data, tmp_path / "a.png", Image.open(io.BytesIO(data))):
        assert np.array_equal(as_bgr(given), expected)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.jpg: there is no such image"):
        read_image(tmp_path / "missing.jpg", "BGR")
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    with pytest.raises(OSError, match=r"text\.jpg: cannot be read as an image \(its format is"):
        read_image(text, "BGR")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(encoded(colours(), "JPEG")[:900])
    with pytest.raises(OSError, match=r"cut\.jpg: cannot be read as an image.*truncated"):
        read_image(cut, "BGR")
    with pytest.raises(OSError, match=r"cut\.jpg|JpegImageFile of mode RGB.*truncated"):
        as_bgr(Image.open(cut))
    with pytest.raises(OSError, match="is a folder"):
        read_image(tmp_path, "BGR")


@pytest.mark.parametrize("read", [lambda path: read_image(path, "BGR"), as_bgr, read_image_size])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "x.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    kinds = {"x": "a pipe", "device": "a pipe, socket or device", "folder": "a folder"}
    for name, kind in kinds.items():
        with pytest.raises(OSError, match=rf"^\S+/{name}\.png: is {kind}"):
            read(tmp_path / f"{name}.png")


def test_too_many_pixels_for_pillow(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(colours()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(OSError, match=r"a\.png: .*raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        read_image(tmp_path / "a.png", "BGR")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((20, 30, 3), 7.25), r"shape \(20, 30, 3\) and dtype float64; scale its values"),
        (np.full((20, 30), 7, np.int32), r"dtype int32; scale"),
        (np.full((20, 30, 2), 77, np.uint8), r"\(20, 30, 2\) and dtype uint8$"),
        (np.full((3, 20, 30), 77, np.uint8), r"the channels come last: array.transpose\(1, 2, 0\)"),
        (np.full((2, 20, 30, 3), 77, np.uint8), "give one image at a time"),
        (np.zeros((0, 30, 3), np.uint8), "it has no pixels"),
        (np.array(["77777"]), "ndarray of shape"),
        (np.array(77, np.uint8), r"shape \(\)"),
        ([[77, 77]], "list of length 1"),
        (None, "NoneType"),
        (77, "got int$"),
        ({"a": 77}, "got dict$"),
        (torch.full((3, 20, 30), 77.0), r"Tensor of shape \(3, 20, 30\) and dtype torch.float32"),
    ],
)
def test_what_is_no_image_is_told_without_its_content(given, message):
    with pytest.raises(ValueError, match=message) as told:
        as_bgr(given)
    assert "77" not in str(told.value) and "7.25" not in str(told.value)


@pytest.mark.parametrize("data", [b"", b"secret" * 9])
def test_bytes_that_are_no_image_are_told_by_their_length(data):
    with pytest.raises(OSError, match=f"bytes of length {len(data)}: cannot be read") as told:
        as_bgr(data)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("least", "factor"), [((300, 400), 2), ((301, 400), 1), ((140, 200), 4), ((1, 1), 8), (None, 1)]
)
def test_jpeg_at_reduced_size(tmp_path, orientation, least, factor):
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (800, 600))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(smooth).save(stream, "JPEG", exif=exif, quality=95)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    turned = orientation == 6
    whole = as_bgr(tmp_path / "a.jpg")
    asked = []

    def wanted(size):
        asked.append(size)
        return least if least is None or not turned else least[::-1]

    for given in (tmp_path / "a.jpg", stream.getvalue()):
        image, size = reduced_bgr(given, wanted)
        assert size == asked.pop() == whole.shape[:2] == ((800, 600) if turned else (600, 800))
        assert image.shape[:2] == tuple(side // factor for side in size)
        expected = cv2.resize(whole, image.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(image.astype(int) - expected).mean() < 2


def test_other_formats_have_one_size(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    for given in (tmp_path / "a.png", image, Image.fromarray(image)):
        found, size = reduced_bgr(given, lambda size: (5, 5))
        assert size == (60, 80) and (found == as_bgr(given)).all()
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff no image")
    with pytest.raises(OSError, match=r"a\.jpg: cannot be read as an image"):
        reduced_bgr(tmp_path / "a.jpg", lambda size: (5, 5))
