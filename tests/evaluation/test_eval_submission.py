import random
import zipfile

import numpy as np
import pytest

from dld_d2.evaluation import (
    EvaluationInputError,
    EvaluationWarning,
    Word,
    evaluate,
    read_ground_truth,
    read_submission,
    write_submission,
)

SQUARE = [(0, 0), (5, 0), (5, 5), (0, 5)]


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read_line(tmp_path, line, **kwargs):
    path = make_zip(tmp_path / "sub.zip", {"img_1.txt": line})
    (word,) = read_submission(path, **kwargs)["1"]
    return word


@pytest.mark.parametrize(
    ("read", "name", "image_id"),
    [
        (read_ground_truth, "gt_img_12.txt", "12"),
        (read_ground_truth, "poly_gt_img12.txt", "12"),
        (read_ground_truth, "0012.txt", "0012"),
        (read_submission, "img_12.txt", "12"),
        (read_submission, "res_img_12.txt", "12"),
        (read_submission, "img12.txt", "12"),
        (read_submission, "res_img12.txt", "12"),
        (read_submission, "12.txt", "12"),
        (read_submission, "res_12.txt", "12"),
    ],
)
def test_known_names(tmp_path, read, name, image_id):
    path = make_zip(tmp_path / "x.zip", {name: "0,0,5,0,5,5,0,5,a"})
    assert list(read(path)) == [image_id]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_text("0,0,5,0,5,5,0,5,a")
    assert list(read(folder)) == [image_id]


def test_own_names(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"result-foo.csv": "0,0,5,0,5,5,a"})
    assert list(read_submission(path, pattern=r"result-(.+)\.csv")) == ["foo"]


def test_lines_bom_crlf_and_blank_lines(tmp_path):
    content = "\ufeff0,0,5,0,5,5,0,5,a b\r\n\r\n-1, +2,3.7,4,5e0,6,Z\u2028É\n".encode()
    path = make_zip(tmp_path / "sub.zip", {"img_1.txt": content, "img_2.txt": ""})
    images = read_submission(path)
    first, second = images["1"]
    assert (first.text, first.score, first.polygon.dtype) == ("a b", None, np.float64)
    assert first.polygon.tolist() == [[0, 0], [5, 0], [5, 5], [0, 5]]
    assert second.text == "Z\u2028É"
    assert second.polygon.tolist() == [[-1, 2], [3.7, 4], [5, 6]]
    assert images["2"] == []


@pytest.mark.parametrize(
    ("line", "kwargs", "points", "text", "score"),
    [
        ("0,0,5,0,5,5,0,5,558", {}, 4, "558", None),
        ("0,0,5,0,5,5,0,5,", {}, 4, "", None),
        ("0,0,5,0,5,5,0,5,###", {}, 4, "###", None),
        ("0,0,5,0,5,5,0,5,12,558", {"points": 4}, 4, "12,558", None),
        ("0,0,5,0,5,5,0,5,STRAPS,", {"points": 4}, 4, "STRAPS,", None),
        ("0,0,5,0,5,5,0,5,0.25,word", {"scores": True}, 4, "word", 0.25),
        ("0,0,5,0,5,5,1e-3,7", {"scores": True}, 3, "7", 0.001),
        ("0,0,5,0,5,5,0,5,0.25,a,b", {"scores": True, "points": 4}, 4, "a,b", 0.25),
    ],
)
def test_fields(tmp_path, line, kwargs, points, text, score):
    word = read_line(tmp_path, line, **kwargs)
    assert (len(word.polygon), word.text, word.score) == (points, text, score)


def test_commas_that_can_only_be_text_are_taken_so_with_a_warning(tmp_path):
    with pytest.warns(EvaluationWarning, match=r"1 transcriptions .* img_1.txt, line 1: '\$5,50'"):
        assert read_line(tmp_path, "0,0,5,0,5,5,0,5,$5,50").text == "$5,50"


LINES = [
    ("0,0,5,0,5,5,0,a", {}, "7 coordinates, an odd number"),
    ("0,0,5,0,5,5,0,5", {}, "7 coordinates, an odd number"),
    ("0,0,5,0,5,5,0,5,0.9,a", {}, r"9 coordinates, an odd number; .*\(--scores\)"),
    ("0,0,5,0,5,5,0,5,a", {"scores": True}, "7 coordinates, an odd number; a confidence must"),
    ("0,0,5,5,a", {}, "4 coordinates; .* 3 points.*four corners"),
    ("0,0,a", {}, "2 coordinates; a polygon needs at least 3 points"),
    ("hello", {}, "0 coordinates"),
    (" ", {}, "0 coordinates"),
    ("0,0,x,0,5,5,0,5,a", {}, r"field 3 \('x'\) is not a number"),
    ("0,0,5,0,5,5,x,5,a", {}, r"field 7 \('x'\) is not a number"),
    ("0,0,1_0,0,5,5,0,5,a", {}, r"field 3 \('1_0'\) is not a number"),
    ("0,0,٣,0,5,5,0,5,a", {}, r"field 3 \('٣'\) is not a number"),
    ("0,0,,0,5,5,0,5,a", {}, r"field 3 \(''\) is not a number"),
    ("0,0,5,0,x,5,0,5,a", {"points": 4}, r"field 5 \('x'\) is not a number"),
    ("0,0,5,0,5,5,a", {"points": 4}, "7 fields; expected 8 coordinates and a transcription"),
    ("0,0,nan,0,5,5,0,5,a", {}, "field 3 is nan; only finite numbers"),
    ("0,0,-inf,0,5,5,0,5,a", {}, "field 3 is -inf; only finite"),
    ("0,0,1e999,0,5,5,0,5,a", {}, "field 3 is 1e999; only finite"),
    ("0,0,5,0,5,5,0,5,nan,a", {"scores": True}, "field 9 is nan"),
    ("0,0,5,0,5,5,0,1000001,a", {}, "coordinate 8 is 1000001, beyond 1000000 pixels"),
    ("0,0,5,0,5,5,0,-99999999999999999999,a", {}, "coordinate 8 is -9999.* beyond"),
]


@pytest.mark.parametrize(("line", "kwargs", "message"), LINES)
def test_bad_lines(tmp_path, line, kwargs, message):
    path = make_zip(tmp_path / "sub.zip", {"img_7.txt": f"0,0,5,0,5,5,0,5,a\n{line}\n"})
    if kwargs.get("scores"):
        path = make_zip(path, {"img_7.txt": f"0,0,5,0,5,5,0,5,0.5,a\n{line}\n"})
    with pytest.raises(EvaluationInputError, match=f"sub.zip: img_7.txt, line 2: {message}"):
        read_submission(path, **kwargs)


def test_a_line_of_digits_neither_hangs_nor_floods_the_message(tmp_path):
    path = make_zip(tmp_path / "sub.zip", {"img_1.txt": "0,0," + "1" * 1_000_000 + "x,5,5,5,a"})
    with pytest.raises(EvaluationInputError, match=r"field 3 \('1+\.\.\.'\)") as caught:
        read_submission(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("limit", [1_000_000, -1_000_000])
def test_largest_coordinate_is_accepted(tmp_path, limit):
    assert read_line(tmp_path, f"0,0,5,0,5,{limit},a").polygon[2, 1] == limit


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"foo.txt": ""}, r"unexpected file 'foo.txt'; expected img_N.txt or res_img_N.txt or"),
        ({"img_1.txt": "", "img_2.txt": "", "x.md": ""}, "'x.md'; expected img_N.txt like"),
        ({"img_1.txt": "", "xres_img_2.txt": ""}, "unexpected file 'xres_img_2.txt'"),
        ({"img_1.txt.bak": ""}, "unexpected file 'img_1.txt.bak'"),
        ({"img_1.txt": "", "sub.zip": ""}, "'sub.zip'; .*pass the inner one"),
        ({"res/img_1.txt": ""}, r"'res/img_1.txt' lies in the folder 'res'; zip the files"),
        ({"res/": "", "img_1.txt": ""}, "lies in the folder 'res'"),
        ({"../img_1.txt": ""}, "path traversal"),
        ({"a/../../img_1.txt": ""}, "path traversal"),
        ({"/img_1.txt": ""}, "path traversal"),
        ({"..\\img_1.txt": ""}, "path traversal"),
        ({"C:\\img_1.txt": ""}, "path traversal"),
        ({"res\\img_1.txt": ""}, "lies in the folder 'res'"),
        ({}, "holds no files"),
        (
            {"img_1.txt": b"0,0,5,0,5,5,a\n0,0,5,0,5,5,\xff"},
            r"img_1.txt, line 2: not UTF-8 \(byte 26",
        ),
        ({"img_1.txt": "a".encode("utf-16")}, "not UTF-8"),
    ],
)
def test_bad_archives(tmp_path, files, message):
    path = make_zip(tmp_path / "sub.zip", files)
    with pytest.raises(EvaluationInputError, match=f"sub.zip.*{message}"):
        read_submission(path)
    assert sorted(tmp_path.rglob("*")) == [path]  # nothing unpacked


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_images(tmp_path):
    path = tmp_path / "sub.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("img_1.txt", "")
        archive.writestr("img_1.txt", "")
    with pytest.raises(EvaluationInputError, match=r"'img_1.txt' occurs twice"):
        read_submission(path)
    make_zip(path, {"img_1.txt": "", "img-1.txt": ""})
    with pytest.raises(EvaluationInputError, match=r"'img_1.txt' and 'img-1.txt' are both image 1"):
        read_submission(path, pattern=r"img[-_]([0-9]+)\.txt")


def test_no_zip_empty_zip_broken_zip(tmp_path):
    path = tmp_path / "sub.zip"
    with pytest.raises(EvaluationInputError, match="no such file or folder"):
        read_submission(path)
    path.write_bytes(b"")
    with pytest.raises(EvaluationInputError, match="is empty"):
        read_submission(path)
    path.write_bytes(b"0,0,5,0,5,5,a")
    with pytest.raises(EvaluationInputError, match="not a readable zip"):
        read_submission(path)
    make_zip(path, {"img_1.txt": "0,0,5,0,5,5,hello"})
    path.write_bytes(path.read_bytes().replace(b"hello", b"jello"))
    with pytest.raises(EvaluationInputError, match="not a readable zip: Bad CRC-32"):
        read_submission(path)
    content = bytearray(make_zip(path, {"img_1.txt": "x"}).read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1  # says it is encrypted
    path.write_bytes(content)
    with pytest.raises(EvaluationInputError, match="is encrypted"):
        read_submission(path)


def test_zip_bombs(tmp_path, monkeypatch):
    path = tmp_path / "sub.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("img_1.txt", b"0" * (8 * 2**20))
    with pytest.raises(EvaluationInputError, match=r"'img_1.txt' holds 8388608 bytes .*bomb"):
        read_submission(path)
    monkeypatch.setattr("dld_d2.evaluation.archive.MAX_TOTAL_BYTES", 1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"img_{number}.txt", b"\n" * 300)
    with pytest.raises(EvaluationInputError, match="more than 1000 bytes unpacked"):
        read_submission(path)
    monkeypatch.setattr("dld_d2.evaluation.archive.MAX_FILES", 3)
    monkeypatch.setattr("dld_d2.evaluation.archive.MAX_TOTAL_BYTES", 2000)
    with pytest.raises(EvaluationInputError, match="holds 4 files, the limit is 3"):
        read_submission(path)


def test_a_bomb_that_lies_about_its_size(tmp_path):
    path = tmp_path / "sub.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("img_1.txt", b"0" * (8 * 2**20))
    real, claimed = (8 * 2**20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(real, claimed))
    with pytest.raises(EvaluationInputError, match="not a readable zip"):
        read_submission(path)


def test_bad_folders(tmp_path):
    with pytest.raises(EvaluationInputError, match="holds no files"):
        read_submission(tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(EvaluationInputError, match="holds the folder 'inner'"):
        read_submission(tmp_path)
    (tmp_path / "inner" / "sub.zip").write_bytes(b"")
    with pytest.raises(EvaluationInputError, match=r"'sub.zip'; .*pass the inner one"):
        read_submission(tmp_path / "inner")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("img_(", "unterminated subpattern"),
        (r"img_[0-9]+\.txt", "has 0 groups; one must hold the image id"),
        (r"(img)_([0-9]+)\.txt", "has 2 groups"),
        (r"img([0-9]+)\.txt", r"unexpected file 'img_1.txt'; expected img\(\[0-9\]"),
    ],
)
def test_bad_patterns(tmp_path, pattern, message):
    path = make_zip(tmp_path / "sub.zip", {"img_1.txt": ""})
    with pytest.raises(EvaluationInputError, match=message):
        read_submission(path, pattern=pattern)


def test_results_for_images_the_ground_truth_lacks(tmp_path):
    gt = make_zip(tmp_path / "gt.zip", {"gt_img_1.txt": ""})
    sub = make_zip(tmp_path / "sub.zip", {"img_1.txt": "", "img_2.txt": ""})
    with pytest.raises(EvaluationInputError, match="1 images that the ground truth lacks: 2"):
        evaluate(gt, sub)


def test_too_few_points_asked_for(tmp_path):
    with pytest.raises(EvaluationInputError, match="points is 2"):
        read_submission(tmp_path, points=2)


@pytest.mark.parametrize("target", ["sub.zip", "deep/sub.ZIP", "folder"])
@pytest.mark.parametrize("scores", [False, True])
def test_round_trip(tmp_path, target, scores):
    rng = random.Random(0)
    images = {
        str(image): [
            Word(
                np.array([[rng.randint(-9, 900) for _ in "xy"] for _ in range(rng.randint(3, 9))]),
                "".join(rng.choice("aB1 é\u2028\"#.'") for _ in range(rng.randint(0, 5))),
                rng.random(),
            )
            for _ in range(rng.randint(0, 4))
        ]
        for image in (3, 1, 12, 5)
    }
    write_submission(tmp_path / target, images, scores=scores)
    back = read_submission(tmp_path / target, scores=scores)
    assert set(back) == set(images)
    for key, words in images.items():
        for word, other in zip(words, back[key], strict=True):
            assert word.text == other.text
            assert word.polygon.tolist() == other.polygon.tolist()
            assert other.score == (word.score if scores else None)


def test_what_is_written_scores_as_what_was_in_memory(tmp_path):
    square = [(0.9, 0.2), (7.6, -0.4), (7.7, 5.9), (0.1, 5.5)]
    gt = {1: [(square, "5,50")], 2: [(SQUARE, "abc")]}
    sub = {1: [(square, "5,5,0")], 2: []}
    write_submission(tmp_path / "gt.zip", gt, name="gt_img_{}.txt")
    write_submission(tmp_path / "sub.zip", sub)
    written = evaluate(tmp_path / "gt.zip", tmp_path / "sub.zip")
    assert written.to_dict() == evaluate(gt, sub).to_dict()
    with zipfile.ZipFile(tmp_path / "sub.zip") as archive:
        assert archive.namelist() == ["res_img_1.txt", "res_img_2.txt"]
        assert archive.read("res_img_1.txt") == b"0,0,7,0,7,5,0,5,550\n"


def test_writing_is_deterministic_and_leaves_nothing_else(tmp_path):
    write_submission(tmp_path / "a.zip", {1: [(SQUARE, "a")]})
    write_submission(tmp_path / "b.zip", {1: [(SQUARE, "a")]})
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]


@pytest.mark.parametrize(
    ("images", "kwargs", "message"),
    [
        ({1: [(SQUARE, "a\nb")]}, {}, "image 1, word 1: the text .* holds a line break"),
        ({1: [(SQUARE, "a\rb")]}, {}, "holds a line break"),
        ({1: [(SQUARE, "\ud800")]}, {}, "no valid Unicode"),
        ({1: [(SQUARE, "a")]}, {"scores": True}, "no score to write"),
        ({"../1": []}, {}, "makes no file name"),
        ({1: []}, {"name": "img.txt"}, "expected a file name with one {}"),
        ({1: []}, {"name": "../{}.txt"}, "expected a file name with one {}"),
    ],
)
def test_what_cannot_be_written(tmp_path, images, kwargs, message):
    with pytest.raises(EvaluationInputError, match=message):
        write_submission(tmp_path / "sub.zip", images, **kwargs)
    assert not list(tmp_path.iterdir())
