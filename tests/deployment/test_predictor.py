"""The predictor, with a model that finds one bright block."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from bright_block_spotter import picture, save
from PIL import Image

from dld_d2.deployment import TextSpotter, image_reader
from dld_d2.engine.setup import setup_cfg


def make_spotter(config_file, *opts):
    return TextSpotter(setup_cfg(config_file, opts))


KINDS = {
    "array": lambda file: picture(),
    "16 bits": lambda file: picture().astype(np.uint16) * 257,
    "BGRA": lambda file: np.dstack([picture(), np.full((200, 300), 255, np.uint8)]),
    "str": str,
    "path": Path,
    "bytes": lambda file: Path(file).read_bytes(),
    "bytearray": lambda file: bytearray(Path(file).read_bytes()),
    "memoryview": lambda file: memoryview(Path(file).read_bytes()),
    "Pillow": Image.open,
}


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
@pytest.mark.parametrize("kind", KINDS)
def test_words_come_in_pixels_of_the_given_image(tmp_path, config_file, image_format, kind):
    spotter = make_spotter(config_file, "INPUT.FORMAT", image_format)
    image = picture()
    given = KINDS[kind](save(tmp_path, "a.png", image))
    result = spotter(given)
    assert result.image_size == (200, 300) and result.input_size == (100, 150)
    assert (result.scale, result.relative_cost) == (1.0, 1.0)
    (word,) = result
    assert result[0] is word and result.words == (word,)
    assert word.text == "é7 150x100"  # the weights were loaded and the short side scaled
    assert word.score == 0.5 and word.detection_score == 0.75
    assert word.polygon.dtype == np.float32 and word.polygon.shape == (4, 2)
    assert np.abs(word.polygon - [[40, 60], [120, 60], [120, 90], [40, 90]]).max() <= 2
    assert (image == picture()).all()


def test_image_without_words(config_file):
    result = make_spotter(config_file)(picture(block=None))
    assert list(result) == [] and len(result) == 0 and result.words == ()


def test_any_contiguity(config_file):
    spotter = make_spotter(config_file)
    wide = np.zeros((200, 600, 3), dtype=np.uint8)
    wide[:, ::2] = picture()
    assert len(spotter(wide[:, ::2])) == 1


def test_photographs_are_turned_upright(tmp_path, config_file):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    stream = io.BytesIO()
    Image.fromarray(picture()[..., ::-1]).save(stream, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    for given in (tmp_path / "a.jpg", stream.getvalue(), Image.open(tmp_path / "a.jpg")):
        result = make_spotter(config_file)(given)
        assert result.image_size == (300, 200)
        assert np.abs(result[0].polygon.min(axis=0) - (110, 40)).max() <= 4


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_large_jpeg_files_are_decoded_at_reduced_size(tmp_path, config_file, image_format):
    large = picture((400, 600, 1200, 900), 2003, 3001)
    Image.fromarray(large[..., ::-1]).save(tmp_path / "a.jpg", quality=95)
    spotter = make_spotter(config_file, "INPUT.FORMAT", image_format)
    decoded = []
    resize = image_reader.resize_uint8

    def look(image, size):
        decoded.append(image.shape[:2])
        return resize(image, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_reader, "resize_uint8", look)
        found = spotter(tmp_path / "a.jpg")
        spotter.tiles = 1500
        tiles = spotter(tmp_path / "a.jpg")
    expected = make_spotter(config_file)(large)
    assert decoded[0] == (251, 376), "an eighth, which is twice the size at which it is read"
    assert decoded[1] == (2003, 3001), "in tiles all pixels are of use"
    assert (found.image_size, found.input_size) == (expected.image_size, expected.input_size)
    assert found.image_size == (2003, 3001) == tiles.image_size
    assert np.abs(found[0].polygon - expected[0].polygon).max() <= 21  # a pixel of those read
    assert np.abs(tiles[0].polygon - expected[0].polygon).max() <= 21


def test_gray_images(config_file):
    spotter = make_spotter(config_file)
    for gray in (picture()[..., 2], picture()[..., 2:], Image.fromarray(picture()[..., 2])):
        assert spotter(gray).image_size == (200, 300)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((20, 30, 3), 77.0), r"shape \(20, 30, 3\) and dtype float64"),
        (np.full((3, 20, 30), 77, np.uint8), r"array.transpose\(1, 2, 0\)"),
        (np.zeros((0, 20, 3), np.uint8), "no pixels"),
        (torch.full((3, 20, 30), 77), r"Tensor of shape \(3, 20, 30\)"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_image_is_refused(config_file, image, message):
    with pytest.raises(ValueError, match=message) as told:
        make_spotter(config_file)(image)
    assert "77" not in str(told.value)


def test_several_images_are_for_predict_many(config_file):
    for several in ([picture(), picture()], (b"77", b"77")):
        with pytest.raises(TypeError, match="of length 2; `predict_many` reads several") as told:
            make_spotter(config_file)(several)
        assert "77" not in str(told.value)


def test_unreadable_files_and_weights_are_named(tmp_path, config_file, weights):
    spotter = make_spotter(config_file)
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        spotter(tmp_path / "missing.png")
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        make_spotter(config_file, "MODEL.WEIGHTS", "")
    with pytest.raises(FileNotFoundError, match=r"other\.pth"):
        make_spotter(config_file, "MODEL.WEIGHTS", str(tmp_path / "other.pth"))
    # Weights of another model: what fits of them would read nonsense.
    more = {"number": torch.tensor([7.0]), "another": torch.tensor([8.0])}
    torch.save({"model": more}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"more\.pth.*another"):
        make_spotter(config_file, "MODEL.WEIGHTS", str(tmp_path / "more.pth"))


SIZES = [(200, 300), (300, 200), (200, 302), (100, 400), (200, 290), (600, 200), (100, 100)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batches_keep_order_and_report_what_cannot_be_read(tmp_path, config_file, batch_size):
    spotter = make_spotter(config_file)
    images = [picture(height=h, width=w) for h, w in SIZES]
    images[1] = save(tmp_path, "turned.png", images[1])
    images[3:3] = [tmp_path / "missing.png", None, np.zeros((5, 5)), b"77" * 5, [picture()]]
    images[-1] = Path(save(tmp_path, "last.png", images[-1])).read_bytes()
    results = list(spotter.predict_many(iter(images), batch_size=batch_size))
    assert len(results) == len(images)
    for image, result in zip(images, results, strict=True):
        if isinstance(result, Exception):
            continue
        assert [w.text for w in result] == [w.text for w in spotter(image)]
        assert [w.polygon.tolist() for w in result] == [w.polygon.tolist() for w in spotter(image)]
    missing, none, fractions, data, several = results[3:8]
    assert isinstance(missing, FileNotFoundError) and "missing.png" in str(missing)
    assert isinstance(none, ValueError) and "NoneType" in str(none)
    assert isinstance(fractions, ValueError) and "dtype float64" in str(fractions)
    assert isinstance(data, OSError) and "bytes of length 10: cannot be read" in str(data)
    assert isinstance(several, ValueError) and "list of length 1" in str(several)
    assert sum(isinstance(result, Exception) for result in results) == 5
    assert list(spotter.predict_many([])) == []


def test_batches_are_read_when_they_are_needed(config_file):
    read = []

    def images():
        for number in range(100):
            read.append(number)
            yield picture()

    results = make_spotter(config_file).predict_many(images(), batch_size=2)
    assert read == []
    assert next(results)[0].text == "é7 150x100"
    assert len(read) < 20


def test_one_image_that_is_too_large_for_the_device(config_file, monkeypatch):
    spotter = make_spotter(config_file)
    find, calls = spotter.model.forward, []

    def forward(inputs):
        calls.append(len(inputs))
        if any(item["image"].shape[2] > 200 for item in inputs):
            raise torch.cuda.OutOfMemoryError("no")
        return find(inputs)

    monkeypatch.setattr(spotter.model, "forward", forward)
    images = [picture(width=w) for w in (300, 410, 390)]
    narrow, wide, other = spotter.predict_many(images, batch_size=4)
    assert calls[0] > 1
    assert len(narrow) == len(other) == 1
    assert isinstance(wide, MemoryError) and "lower INPUT.MAX_SIZE_TEST" in str(wide)


def test_wrong_uses_of_batches_fail_at_once(config_file):
    spotter = make_spotter(config_file)
    for image, told in (
        ("photo.jpg", r"photo\.jpg"),
        (Path("photo.jpg"), r"photo\.jpg"),
        (b"77", "bytes of length 2"),
        (picture(), r"ndarray of shape \(200, 300, 3\) and dtype uint8"),
        (Image.new("L", (30, 20)), "Image of mode L, 30 x 20"),
    ):
        with pytest.raises(TypeError, match=f"expected several images, got one, {told}$"):
            spotter.predict_many(image)
    with pytest.raises(TypeError, match="not iterable"):
        spotter.predict_many(7)
    assert len(list(spotter.predict_many(np.stack([picture(), picture()])))) == 2
    with pytest.raises(ValueError, match="batch size of 0"):
        spotter.predict_many([picture()], batch_size=0)
    for use in (
        lambda: spotter.cost_bias,
        lambda: spotter.scale_logits([]),
        lambda: spotter.set_target_cost([], 0.5),
        lambda: TextSpotter(setup_cfg(config_file), cost_bias=1.0),
    ):
        with pytest.raises(ValueError, match="no resolution selector"):
            use()
