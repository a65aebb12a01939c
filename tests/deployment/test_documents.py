"""Pages of TIFF and PDF files, made here by Pillow."""

import numpy as np
import pytest
from PIL import Image

from dld_d2.deployment import documents
from dld_d2.deployment.documents import count_pages, is_document, read_pages

COLOURS = ("red", "lime", "blue")
BGR = ((0, 0, 255), (0, 255, 0), (255, 0, 0))


def save_pages(path, size=(72, 36), **more):
    first, *others = [Image.new("RGB", size, colour) for colour in COLOURS]
    first.save(path, save_all=True, append_images=others, **more)
    return str(path)


def test_pages_of_a_tiff(tmp_path):
    file = save_pages(tmp_path / "a.TIFF")
    assert is_document(file) and count_pages(file) == 3
    pages = list(read_pages(file))
    assert [page.shape for page in pages] == [(36, 72, 3)] * 3
    for page, colour in zip(pages, BGR, strict=True):
        assert (page == colour).all()


def test_pages_of_other_depths(tmp_path):
    first, second = Image.new("1", (9, 5), 1), Image.fromarray(np.full((5, 9), 65535, np.uint16))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second, Image.new("L", (4, 4))])
    pages = list(read_pages(str(tmp_path / "a.tif")))
    assert [int(page.min()) for page in pages] == [255, 255, 0]


def test_smaller_copies_are_no_pages(tmp_path):
    page, copy = Image.new("RGB", (80, 60), "red"), Image.new("RGB", (8, 6), "red")
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(tmp_path / "a.tif", save_all=True, append_images=[copy, page])
    file = str(tmp_path / "a.tif")
    with Image.open(file) as image:
        assert image.n_frames == 3
    assert count_pages(file) == 2
    assert [image.shape for image in read_pages(file)] == [(60, 80, 3)] * 2


def test_a_damaged_page_among_others(tmp_path, monkeypatch):
    file = save_pages(tmp_path / "a.tif", compression="tiff_deflate")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(file) as image:
        image.seek(1)
        offset = image.tag_v2[273][0]
    content[offset : offset + 20] = bytes(20)
    (tmp_path / "a.tif").write_bytes(content)
    first, second, third = read_pages(file)
    assert (first == BGR[0]).all() and (third == BGR[2]).all()
    assert isinstance(second, OSError) and str(second).startswith(f"{file}, page 2: cannot be read")
    monkeypatch.setattr(documents, "MAX_PIXELS", 1000)
    assert all("72 x 36 pixels, more than 1000" in str(page) for page in read_pages(file))


def test_pages_of_a_pdf(tmp_path, monkeypatch):
    pytest.importorskip("pypdfium2")
    file = save_pages(tmp_path / "a.pdf", resolution=72)  # one inch by half an inch
    assert is_document(file) and count_pages(file) == 3
    pages = list(read_pages(file))
    assert [page.shape for page in pages] == [(100, 200, 3)] * 3
    for page, colour in zip(pages, BGR, strict=True):
        assert np.abs(page[50, 100].astype(int) - colour).max() < 8  # JPEG's
    # A page of many inches is drawn coarser.
    monkeypatch.setattr(documents, "MAX_PIXELS", 5000)
    assert [page.shape for page in read_pages(file)] == [(50, 100, 3)] * 3


@pytest.mark.parametrize("name", ["a.pdf", "a.tif"])
def test_what_is_no_document(tmp_path, name):
    if name == "a.pdf":
        pytest.importorskip("pypdfium2")
    file = str(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        count_pages(file)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(OSError, match=rf"{name}: cannot be read as a document \(.+\)"):
        count_pages(file)
    assert not is_document("a.png")
