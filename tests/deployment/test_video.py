"""Videos, made here by OpenCV: which frames are read, when, and what is expected of their scale."""

import cv2
import numpy as np
import pytest

from dld_d2.deployment import video
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.video import is_still, is_video, read_frames, read_video

SIZE = (180, 320)


def frame(text="", noise=None):
    image = np.full((*SIZE, 3), 90, np.uint8)
    image[: SIZE[0] // 2] = 180
    cv2.putText(image, text, (30, 100), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    if noise is not None:
        image = np.clip(image + noise.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    return image


def save(path, frames, rate=10):
    fourcc = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), fourcc, rate, SIZE[::-1])
    for image in frames:
        writer.write(image)
    writer.release()
    return str(path)


class Reader:
    """Says in order what it is told of the scales, and notes what it is asked."""

    def __init__(self, *scales, candidates=None):
        self.scales = candidates or (0.5, 1.0)
        self.chooses = candidates is not None
        self.prior = None
        self.answers = list(scales)
        self.priors = []
        self.focused = False

    @property
    def scale_prior(self):
        if not self.chooses:
            raise ValueError("there is no selector")
        return self.prior

    @scale_prior.setter
    def scale_prior(self, value):
        assert self.chooses
        self.prior = value

    def __call__(self, image):
        self.priors.append(self.prior)
        scale = self.answers[len(self.priors) - 1] if self.answers else 1.0
        size = image.shape[:2]
        return SpottingResult((), size, size, scale, focused=self.focused)


@pytest.fixture
def noise():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_frames_at_equal_distances(tmp_path, name):
    file = save(tmp_path / name, [np.full((*SIZE, 3), 10 * i, np.uint8) for i in range(20)])
    assert is_video(file)
    for rate, numbers in ((2, [0, 5, 10, 15]), (1, [0, 10]), (100, range(20)), (4, None)):
        found = list(read_frames(file, rate))
        if numbers is None:  # it does not divide the video's
            assert len(found) == 8
            continue
        assert [time for time, _ in found] == pytest.approx([number / 10 for number in numbers])
        for (_, image), number in zip(found, numbers, strict=True):
            assert abs(float(image.mean()) - 10 * number) < 4


def test_still_frames_are_read_once(tmp_path, noise):
    texts = ["one"] * 10 + ["two"] * 5 + [""] * 5 + ["two"] * 10
    file = save(tmp_path / "a.mp4", [frame(text, noise) for text in texts])
    reader = Reader()
    moments = list(read_video(reader, file, 10))
    assert len(reader.priors) == 4
    times = [(moment.start, moment.end) for moment in moments]
    np.testing.assert_allclose(times, [(0, 1), (1, 1.5), (1.5, 2), (2, 2.9)], atol=1e-3)
    for moment, text in zip(moments, ("one", "two", "", "two"), strict=True):
        assert np.abs(moment.image.astype(int) - frame(text)).mean() < 8


def test_what_changes_slowly_is_read_again(tmp_path):
    """Frames are compared with the one that was read, not with the last one."""
    frames = [np.full((*SIZE, 3), 50 + 2 * i, np.uint8) for i in range(40)]
    reader = Reader()
    moments = list(read_video(reader, save(tmp_path / "a.avi", frames), 10))
    assert 6 <= len(moments) == len(reader.priors) <= 9


def test_a_letter_makes_a_difference(noise):
    copies = [video._small_copy(frame(text, noise)) for text in ("Exit 7", "Exit 7", "Exit 1")]
    assert is_still(copies[0], copies[1]) and not is_still(copies[0], copies[2])
    assert not is_still(copies[0], copies[0][1:])


def test_the_last_scale_is_likely(tmp_path):
    candidates = (0.3, 0.5, 0.7, 1.0)
    file = save(tmp_path / "a.avi", [frame(str(i)) for i in range(4)])
    # One of them is a mean over tiles.
    reader = Reader(0.5, 1.0, 0.61, 0.3, candidates=candidates)
    assert len(list(read_video(reader, file, 10))) == 4
    bonus = np.log(0.75 / (0.25 / 3))
    first, *others = reader.priors
    assert first is None and reader.scale_prior is None
    expected = [[0, bonus, 0, 0], [0, 0, 0, bonus], [0, 0, 0, bonus]]
    np.testing.assert_allclose(others, expected, rtol=1e-6)
    # Softmax of the prior alone: three in four.
    assert np.exp(bonus) / (np.exp(bonus) + 3) == pytest.approx(0.75)


def test_the_scale_of_parts_says_nothing_of_the_next_frame(tmp_path):
    reader = Reader(1.0, 1.0, candidates=(0.5, 1.0))
    reader.focused = True
    list(read_video(reader, save(tmp_path / "a.avi", [frame("1"), frame("2")]), 10))
    assert reader.priors == [None] * 2


def test_a_reader_without_a_choice_is_left_alone(tmp_path):
    reader = Reader()
    list(read_video(reader, save(tmp_path / "a.avi", [frame("1"), frame("2")]), 10))
    assert reader.priors == [None] * 2


def test_what_is_no_video(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        list(read_video(Reader(), str(tmp_path / "no.mp4")))
    (tmp_path / "a.mp4").write_bytes(b"nothing of the kind")
    with pytest.raises(OSError, match=r"a\.mp4: cannot be read as a video"):
        list(read_video(Reader(), str(tmp_path / "a.mp4")))
    file = save(tmp_path / "b.avi", [frame()])
    monkeypatch.setattr(video, "_MAX_PIXELS", 1000)
    with pytest.raises(OSError, match=r"b\.avi: its frames have 320 x 180 pixels, more than 1000"):
        list(read_video(Reader(), file))
    assert not is_video("a.png")
