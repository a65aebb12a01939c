"""Collecting an engine's readings: nothing that was read is lost, and what is wrong is named."""

import json

import numpy as np
import pytest
from block_engine import fails_on_white, read

from dld_d2.deployment.any_engine.collecting import collect
from dld_d2.deployment.any_engine.readings import ReadingsFile
from dld_d2.deployment.runtime.engines import Sides
from dld_d2.structures.errors import UsageError

SCALES = (0.5, 1.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "readings.jsonl"


def read_all(path, images, engine=read, scales=SCALES, name="blocks"):
    file = ReadingsFile(path, name, Sides())
    found = list(collect(engine, images, scales, file))
    file.close()
    return found


def counted(calls):
    def engine(image):
        calls.append(image.shape)
        return read(image)

    return engine


def test_readings_come_back_as_they_were(path, photographs):
    assert read_all(path, photographs[:2]) == photographs[:2]
    file = ReadingsFile(path)
    assert (file.engine, file.sides) == ("blocks", Sides())
    images, scales = file.table()
    assert images == photographs[:2] and tuple(scales) == SCALES
    large, small = (file.at(image, 0.5) for image in images)
    assert len(large.words) == 6 and not small.words and len(file.at(images[1], 1.0).words) == 6
    assert large.size == (160, 240) and large.seconds > 0 and large.cpu_seconds >= 0
    # In pixels of the image, although it was read at half its size.
    assert max(word.polygon[:, 1].max() for word in large.words) > 80
    assert {word.text for word in large.words} == {"w2"}


def test_only_what_is_missing_is_read_again(path, photographs):
    read_all(path, photographs[:1])
    calls = []
    read_all(path, photographs[:2], counted(calls), (0.5, 1.0, 2.0))
    # One for warming up, one of the first image, three of the second.
    assert len(calls) == 5 and calls[1] == (320, 480, 3)
    calls = []
    read_all(path, photographs[:2], counted(calls), (0.5, 1.0, 2.0))
    assert calls == []


def test_a_stop_loses_only_what_was_being_read(path, photographs):
    calls = []

    def stopped(image):
        if len(calls) == 4:
            raise KeyboardInterrupt
        return counted(calls)(image)

    with pytest.raises(KeyboardInterrupt):
        read_all(path, photographs[:4], stopped)
    with path.open("ab") as stream:
        stream.write(b'{"image": "half a l')
    assert len(ReadingsFile(path)) == 3
    assert read_all(path, photographs[:4]) == photographs[:4]
    assert len(ReadingsFile(path)) == 8


def test_hostile_images_are_named_and_the_others_read(path, photographs, tmp_path):
    (tmp_path / "no.jpg").write_bytes(b"\xff\xd8 nothing")
    images = [str(tmp_path / "no.jpg"), str(tmp_path / "gone.png"), photographs[0]]
    first, second, third = read_all(path, images)
    assert "no.jpg" in str(first) and isinstance(first, OSError)
    assert "gone.png: there is no such image file" in str(second)
    assert third == photographs[0]


def test_an_engine_that_fails_is_told_with_the_image(path, photographs, tmp_path):
    import cv2

    white = str(tmp_path / "white.png")
    cv2.imwrite(white, np.full((40, 60, 3), 255, dtype=np.uint8))
    failed, done = read_all(path, [white, photographs[0]], fails_on_white)
    assert str(failed) == f"{white}: the engine failed: RuntimeError: nothing here"
    assert done == photographs[0]
    (other,) = read_all(path, photographs[1:2], lambda image: [("no polygon", "a")])
    assert "is no list of words" in str(other)


def test_readings_of_something_else_are_refused(path, photographs):
    read_all(path, photographs[:1])
    with pytest.raises(UsageError, match="holds readings of blocks, not of stones"):
        ReadingsFile(path, "stones", Sides())
    with pytest.raises(UsageError, match="with --min-side 0 --max-side 0, not with --min-side 736"):
        ReadingsFile(path, "blocks", Sides(736, 2000))
    with pytest.raises(FileNotFoundError, match="select read` makes it"):
        ReadingsFile(path.with_name("no.jsonl"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0}, "the scale is 0"),
        ({"scale": float("nan")}, "the scale is nan"),
        ({"seconds": -1}, "the times are"),
        ({"size": [0, 3]}, "a size of 0 x 3"),
        ({"words": [[[[0, 0], [1, 1]], "a", 1.0]]}, "K >= 3"),
        ({"words": [[[[0, 0], [1, 1], [1e9, 0]], "a", 1.0]]}, "beyond"),
        ({"words": 3}, "is no reading"),
    ],
)
def test_a_line_that_is_no_reading_is_named(path, photographs, change, message):
    read_all(path, photographs[:1])
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=message) as error:
        ReadingsFile(path)
    assert f"{path}, line 2" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b"[" * 100_000, b'{"format": 1}'])
def test_a_file_of_another_kind_is_refused(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UsageError, match="holds no readings of an engine"):
        ReadingsFile(path)
