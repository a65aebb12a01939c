"""`dld-d2 read` of documents and videos, with a model that finds one bright block."""

import csv
import json

import cv2
import numpy as np
import pytest
from bright_block_spotter import picture, save
from PIL import Image

from dld_d2.commands import read
from dld_d2.deployment.image_paths import find_images
from dld_d2.deployment.sources import Source, find_sources, read_sources


def pillow(image):
    return Image.fromarray(image[:, :, ::-1])


@pytest.fixture
def files(tmp_path):
    """A photograph, a TIFF and a PDF file of three pages, and a video of three moments."""
    folder = tmp_path / "in"
    photograph = save(folder, "a.png")
    pages = [pillow(picture()), pillow(picture(None)), pillow(picture())]
    for name in ("b.tif", "c.pdf"):
        # 200 pixels per inch, as pages are drawn.
        pages[0].save(folder / name, save_all=True, append_images=pages[1:], resolution=200)
    clip = cv2.VideoWriter(str(folder / "d.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (300, 200))
    for block in [True] * 10 + [False] * 10 + [True] * 5:
        clip.write(picture() if block else picture(None))
    clip.release()
    return [photograph, *(str(folder / name) for name in ("b.tif", "c.pdf", "d.avi"))]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pages_and_moments_are_read(files, tmp_path, config_file, batch_size):
    pytest.importorskip("pypdfium2")
    out = tmp_path / "out"
    arguments = [*files, "--config-file", config_file, "--output", str(out)]
    arguments += ["--format", "json,csv,rrc", "--batch-size", str(batch_size)]
    assert read.main([*arguments, "--frames-per-second", "5"]) == 0
    images = json.loads((out / "results.json").read_text(encoding="utf-8"))["images"]
    assert [image["file"] for image in images] == [files[0], *(f for f in files[1:] for _ in "123")]
    assert [image.get("page") for image in images] == [None, 1, 2, 3, 1, 2, 3, None, None, None]
    assert [len(image["words"]) for image in images] == [1, 1, 0, 1, 1, 0, 1, 1, 0, 1]
    assert [(one.get("start"), one.get("end")) for one in images[6:]] == [
        (None, None),
        (0.0, 1.0),
        (1.0, 2.0),
        (2.0, 2.4),
    ]
    for image in images:
        assert (image["width"], image["height"]) == (300, 200)
        assert (out / image["picture"]).is_file()
    assert images[3]["picture"] == "pictures/b_page3.jpg"
    assert images[9]["picture"] == "pictures/d_2.00s.jpg"
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["page"] for row in rows] == ["", "1", "3", "1", "3", "", ""]
    assert [row["start"] for row in rows] == [""] * 5 + ["0.0", "2.0"]


def test_what_is_printed(files, config_file, capsys):
    assert read.main([files[1], files[3], "--config-file", config_file]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if files[0][:5] in line]
    tiff, clip = files[1], files[3]
    assert lines[:3] == [f"{tiff}, page {number}" for number in (1, 2, 3)]
    assert lines[3:] == [
        f"{clip}, 0.00 to 1.00 s",
        f"{clip}, 1.00 to 2.00 s",
        f"{clip}, 2.00 to 2.00 s",
    ]


def test_what_cannot_be_read_keeps_its_place(files, tmp_path, config_file, capsys):
    pytest.importorskip("pypdfium2")
    folder = tmp_path / "bad"
    folder.mkdir()
    bad = [str(folder / name) for name in ("x.pdf", "y.tif", "z.mp4")]
    for file in bad:
        with open(file, "wb") as stream:
            stream.write(b"nothing")
    damaged = folder / "w.tif"
    pages = [pillow(picture())] * 3
    pages[0].save(damaged, save_all=True, append_images=pages[1:], compression="tiff_deflate")
    with Image.open(damaged) as image:
        image.seek(1)
        entry = image.tag_v2[273][0]
    content = bytearray(damaged.read_bytes())
    content[entry : entry + 20] = bytes(20)
    damaged.write_bytes(content)
    out = tmp_path / "out"
    bad += [str(folder / name) for name in ("none.pdf", "none.mp4")]
    inputs = [bad[0], str(damaged), bad[1], files[0], *bad[2:]]
    for batch_size in ("1", "4"):
        more = ["--output", str(out), "--no-pictures", "--batch-size", batch_size]
        assert read.main([*inputs, "--config-file", config_file, *more]) == 1
        whole = json.loads((out / "results.json").read_text())
        found = [(one["file"], one.get("page")) for one in whole["images"]]
        assert found == [(str(damaged), 1), (str(damaged), 3), (files[0], None)]
        assert all(len(one["words"]) == 1 for one in whole["images"])
        failed = [(one["file"], one.get("page")) for one in whole["failed"]]
        assert failed[:4] == [(bad[0], None), (str(damaged), 2), (bad[1], None), (bad[2], None)]
        assert failed[4:] == [(bad[3], None), (bad[4], None)]
        for one in whole["failed"]:
            assert one["error"].startswith(one["file"]) and "\n" not in one["error"]
    assert "6 could not be read" in capsys.readouterr().err


def test_folders_have_no_videos(files, tmp_path):
    assert find_images([str(tmp_path / "in")]) == files[:3]
    sources = find_sources([files[0], files[1], files[3]])
    assert [source.name for source in sources] == [
        files[0],
        *(f"{files[1]}, page {number}" for number in (1, 2, 3)),
        files[3],
    ]


def test_a_tiff_of_one_page_is_an_image(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.tif")
    assert find_sources([str(tmp_path / "a.tif")]) == [Source(str(tmp_path / "a.tif"))]


def test_what_cannot_be_asked_of_videos(files, tmp_path, config_file, capsys):
    arguments = [files[3], "--config-file", config_file]
    assert read.main([*arguments, "--target-cost", "0.5"]) == 2
    assert "d.avi: --target-cost looks at all images first" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        read.main([*arguments, "--frames-per-second", "0"])
    assert "must be above 0" in capsys.readouterr().err


def test_pages_come_one_by_one(files):
    """No more than one page waits while nothing was asked for."""

    class Reader:
        def predict_many(self, images, batch_size):
            for image in images:
                yield np.shape(image)

    found = read_sources(Reader(), find_sources([files[1]]), 1, 2.0)
    first = next(found)
    assert first.source.page == 1 and first.result == (200, 300, 3)
    assert [one.source.page for one in found] == [2, 3]
