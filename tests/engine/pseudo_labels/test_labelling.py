"""What a teacher reads becomes annotations, once, whatever interrupts it."""

import json
import logging
import signal
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from photos import (
    NAMES,
    NUM_IMAGES,
    Teacher,
    forget,
    label,
    make_cfg,
    summary,
    write_photo,
    write_photos,
)
from runs import spawn

from dld_d2.data import AnnotationError, AnnotationReport, read_records
from dld_d2.engine.pseudo_labels import labelling
from dld_d2.engine.setup import ConfigError

SCRIPT = str(Path(__file__).with_name("photos.py"))
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ALL = list(range(NUM_IMAGES))
MIN_SCORE = "MODEL.DISTILL.PSEUDO_LABELS.MIN_SCORE"
MIN_DETECTION_SCORE = "MODEL.DISTILL.PSEUDO_LABELS.MIN_DETECTION_SCORE"


def expected(number, *texts):
    """Texts of a photograph, by default those that the default thresholds leave."""
    if number == NUM_IMAGES - 2:
        return []
    return list(texts) or [f"sure{number}", "###", "###", "###"]


EXPECTED = {Path(name).name: expected(number) for number, name in enumerate(NAMES)}


pytestmark = pytest.mark.usefixtures("clean_catalogs")


@pytest.fixture
def folder(tmp_path):
    write_photos(tmp_path)
    return tmp_path


def files(folder, pattern):
    return sorted((folder / "out" / "pseudo_labels").glob(pattern))


def label_file(folder):
    (file,) = files(folder, "photos-*.json")
    return file


def readings_file(folder):
    (file,) = files(folder, "photos-*.readings*")
    return file


def test_readings_become_annotations(folder, caplog):
    teacher = Teacher()
    with caplog.at_level(logging.INFO, logger="dld_d2"):
        dataset = label(folder, teacher)
    assert sorted(teacher.read) == ALL
    assert summary(dataset) == EXPECTED
    # In the order of the set, with folders first as its reader has them.
    names = [item["image_id"] for item in DatasetCatalog.get("photos")]
    assert [item["image_id"] for item in dataset] == names
    word = dataset[0]["annotations"][0]
    assert word["segmentation"][0] == pytest.approx([5, 2, 40.13, 2, 40.13, 12, 5, 12], abs=1e-5)
    assert "the teacher reads 7 of 7 images first" in caplog.text
    assert "the teacher has read 7 of 7 images" in caplog.text
    assert "7 images with 6 words that the teacher is sure of and 18 don't-care" in caplog.text
    assert f"1 images have neither ({label_file(folder)})" in caplog.text


def test_the_file_is_a_datalist_that_tells_what_was_read(folder):
    dataset = label(folder, Teacher())
    report = AnnotationReport()
    records = list(read_records("datalist", folder / "photos", label_file(folder), report))
    assert records == list(dataset.index)
    lines = label_file(folder).read_text().splitlines()
    assert len(lines) == NUM_IMAGES + 2  # one for each image
    words = json.loads(label_file(folder).read_text())["4.png"]["content_ann"]
    assert words["texts"] == ["sure4", "###", "###", "###"] and words["cares"] == [1, 0, 0, 0]
    assert words["readings"] == ["sure4", "doubt", "faint", ""]
    assert words["scores"] == pytest.approx([0.95, 0.6, 0.95, 0.99])
    assert words["detection_scores"] == pytest.approx([0.9, 0.9, 0.3, 0.99])


@pytest.mark.parametrize(
    ("opts", "texts"),
    [
        ([MIN_SCORE, "0.6"], ["sure4", "doubt", "###", "###"]),
        ([MIN_DETECTION_SCORE, "0.3"], ["sure4", "###", "faint", "###"]),
        ([MIN_DETECTION_SCORE, "0.91"], ["###"] * 4),
        ([MIN_SCORE, "0", MIN_DETECTION_SCORE, "0"], ["sure4", "doubt", "faint", "###"]),
    ],
)
def test_thresholds_need_no_other_reading(folder, opts, texts):
    label(folder, Teacher())
    teacher = Teacher()
    assert summary(label(folder, teacher, *opts))["4.png"] == texts
    assert teacher.read == []
    assert len(files(folder, "photos-*.json")) == 2 and readings_file(folder)


def test_scores_are_compared_as_they_are(folder):
    """0.6 in single precision is above 0.6; it passes at 0.6 and not above."""
    assert summary(label(folder, Teacher(), MIN_SCORE, "0.6001"))["4.png"][1] == "###"


@pytest.mark.parametrize("key", [MIN_SCORE, MIN_DETECTION_SCORE])
@pytest.mark.parametrize("value", ["-0.1", "90"])
def test_a_threshold_that_is_no_score(folder, key, value):
    with pytest.raises(ConfigError, match=rf"{key} is {float(value)}; expected .*\(a score\)"):
        label(folder, Teacher(), key, value)


def test_a_second_start_reads_nothing(folder, caplog):
    first = label(folder, Teacher())
    before = {file: file.read_bytes() for file in files(folder, "*")}
    assert len(before) == 2
    forget()
    teacher = Teacher()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="dld_d2"):
        assert list(label(folder, teacher).index) == list(first.index)
    assert teacher.read == [] and "the teacher reads" not in caplog.text
    assert {file: file.read_bytes() for file in files(folder, "*")} == before


def test_what_readings_depend_on(folder):
    label(folder, Teacher())
    for number, (opts, sha256) in enumerate(
        [
            ((), "1" * 64),
            (("INPUT.MIN_SIZE_TEST", "120"), "0" * 64),
            (("INPUT.FORMAT", "RGB"), "0" * 64),
            (("MODEL.RECOGNITION.MAX_LENGTH", "9"), "0" * 64),
        ]
    ):
        teacher = Teacher()
        label(folder, teacher, *opts, sha256=sha256)
        assert sorted(teacher.read) == ALL
        assert len(files(folder, "*.readings.jsonl")) == number + 2
    # Which device it was does not matter, nor what training alone knows.
    teacher = Teacher()
    label(folder, teacher, "SOLVER.BASE_LR", "0.5", "INPUT.AUG.BASE_SHORT_SIDE", "99")
    assert teacher.read == []


def test_images_are_read_at_full_resolution(folder):
    teacher = Teacher()
    dataset = label(folder, teacher, "INPUT.MIN_SIZE_TEST", "120", "INPUT.MAX_SIZE_TEST", "240")
    sizes = dict(zip(teacher.read, teacher.sizes, strict=True))
    assert sizes[0] == (120, 200) and sizes[6] == (116, 240)
    # Annotations are in pixels of the image itself.
    assert dataset[0]["annotations"][0]["bbox"] == pytest.approx([5, 2, 40.13, 12], abs=1e-5)


def test_full_resolution_is_that_of_the_training_not_the_teachers(folder):
    teacher = Teacher()
    cfg, other = make_cfg(folder), make_cfg(folder, "INPUT.MIN_SIZE_TEST", "240")
    labelling.label_images("photos", teacher, "", cfg, other)
    assert {height for height, _ in teacher.sizes} == {60}


def test_workers_load_the_images(folder):
    teacher = Teacher()
    assert summary(label(folder, teacher, "DATALOADER.NUM_WORKERS", "2")) == EXPECTED


def interrupt():
    raise KeyboardInterrupt


def test_a_reading_that_is_interrupted_goes_on(folder):
    teacher = Teacher(4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        label(folder, teacher)
    assert 0 < len(teacher.read) < NUM_IMAGES and not files(folder, "photos-*.json")
    second = Teacher()
    assert summary(label(folder, second)) == EXPECTED
    assert sorted(teacher.read + second.read) == ALL
    # A change of what makes a word, too, finds all that was read.
    third = Teacher()
    label(folder, third, MIN_SCORE, "0.5")
    assert third.read == [] and len(files(folder, "*")) == 3


def test_a_reading_that_is_killed_goes_on(folder, caplog):
    killed = spawn(SCRIPT, str(folder), "--kill-at", "4")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (part,) = files(folder, "*part0*")
    done = len(part.read_text().splitlines()) - 1
    assert 0 < done < NUM_IMAGES
    # As if it had been writing.
    whole = part.read_text()
    part.write_text(whole[: len(whole) - 20])
    teacher = Teacher()
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        assert summary(label(folder, teacher)) == EXPECTED
    assert len(teacher.read) == NUM_IMAGES - done + 1
    assert "part0.jsonl: lines that are damaged: 1; their images are read again" in caplog.text
    assert len(files(folder, "*")) == 2


def test_damaged_readings_are_made_again(folder, caplog):
    label(folder, Teacher())
    label_file(folder).unlink()
    store = readings_file(folder)
    lines = store.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"doubt", b"\xff")
    lines[4] = lines[4].replace(b'"words"', b'"wards"')
    store.write_bytes(b"\n".join(lines))
    teacher = Teacher()
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        assert summary(label(folder, teacher)) == EXPECTED
    assert len(teacher.read) == 2
    assert f"{store}: lines that are damaged: 2" in caplog.text


@pytest.mark.parametrize("content", ["", "no header\n", "of another"])
def test_foreign_readings_are_made_again(folder, caplog, content):
    label(folder, Teacher())
    label_file(folder).unlink()
    store = readings_file(folder)
    changed = store.read_text().replace(f'"teacher": "{"0" * 64}"', f'"teacher": "{"1" * 64}"')
    store.write_text(changed if content == "of another" else content)
    teacher = Teacher()
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        assert summary(label(folder, teacher)) == EXPECTED
    assert sorted(teacher.read) == ALL
    assert f"{store}: holds no readings of this teacher" in caplog.text
    label_file(folder).unlink()
    again = Teacher()
    assert summary(label(folder, again)) == EXPECTED and again.read == []


def test_corrections_are_taken_as_they_stand(folder):
    label(folder, Teacher())
    file = label_file(folder)
    content = json.loads(file.read_text())
    words = content["4.png"]["content_ann"]
    words["texts"][1], words["cares"][1] = "certain", 1
    words["texts"][0], words["cares"][0] = "###", 0
    content["3.png"] = {"content_ann": {"bboxes": [[5, 5, 20, 15]], "texts": ["new"]}}
    file.write_text(json.dumps(content))
    before = file.read_bytes()
    teacher = Teacher()
    found = summary(label(folder, teacher))
    corrected = {"4.png": ["###", "certain", "###", "###"], "3.png": ["new"]}
    assert found == EXPECTED | corrected
    assert teacher.read == [] and file.read_bytes() == before
    # They stay when a photograph is added.
    write_photo(folder, 6).unlink()
    forget()
    assert len(label(folder, teacher)) == NUM_IMAGES - 1
    assert file.read_bytes() == before
    del content["6.png"]
    file.write_text(json.dumps(content))
    readings_file(folder).unlink()
    write_photo(folder, 6)
    forget()
    assert summary(label(folder, teacher)) == found
    assert teacher.read == [6] and json.loads(file.read_text())["3.png"] == content["3.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"0.png": {"height": 60,\n "width" 5}}',
            r":2: is no JSON there .*; correct it, or remove",
        ),
        ("[]", "expected a JSON object, found list; correct it, or remove the file"),
        ('{"other.jpg": {}}', "holds none of the images of photos; correct it, or remove the file"),
        ('{"4.png": {"content_ann": 5}}', "image '4.png': has no 'content_ann'"),
        ('{"4.png": {"content_ann": {"bboxes": [[5, 5]]}}}', "image '4.png', word 1: "),
    ],
)
def test_corrections_that_cannot_be_read(folder, content, message):
    label(folder, Teacher())
    file = label_file(folder)
    file.write_text(content)
    with pytest.raises(AnnotationError, match=message) as error:
        label(folder, Teacher())
    assert str(error.value).startswith(str(file))


def test_another_photograph_of_the_name_is_read(folder, caplog):
    label(folder, Teacher())
    write_photo(folder, 3, grey=0).open("ab").write(b"another size")
    write_photo(folder, 5).write_bytes((folder / "photos" / NAMES[4]).read_bytes())
    forget()
    teacher = Teacher()
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        found = summary(label(folder, teacher))
    assert sorted(teacher.read) == [3, 4]
    assert found == EXPECTED | {"5.png": expected(4)}
    assert f"{label_file(folder)}: 2 images are others now" in caplog.text


def test_photographs_that_cannot_be_read(folder, caplog):
    file = folder / "photos" / NAMES[2]
    file.write_bytes(file.read_bytes()[:2000])  # its header is whole
    with pytest.raises(AnnotationError, match=rf"^{file}: cannot be read as an image"):
        label(folder, Teacher())
    teacher = Teacher()
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        found = summary(label(folder, teacher, name="photos_skip"))
    assert found == {name: texts for name, texts in EXPECTED.items() if name != "2.png"}
    assert "photos_skip: left out 1 (unreadable image: 1)" in caplog.text
    # It is tried again, alone, whenever there is a chance that it has been mended.
    caplog.clear()
    teacher = Teacher()
    with caplog.at_level(logging.WARNING, logger="dld_d2"):
        assert summary(label(folder, teacher, name="photos_skip")) == found
    assert teacher.read == [] and "left out 1" in caplog.text
    write_photo(folder, 2)
    forget()
    assert summary(label(folder, teacher, name="photos_skip")) == EXPECTED
    assert teacher.read == [2]


def test_a_photograph_that_replaced_one_that_was_read_but_is_broken(folder):
    label(folder, Teacher(), name="photos_skip")
    file = folder / "photos" / NAMES[2]
    file.write_bytes(file.read_bytes()[:2000])
    forget()
    assert "2.png" not in summary(label(folder, Teacher(), name="photos_skip"))


def test_memory_that_does_not_hold_an_image(folder, caplog):
    def stop():
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(AnnotationError, match=r"3\.png: .*lower INPUT\.MAX_SIZE_TEST"):
        label(folder, Teacher(3, stop))
    assert "3.png" not in summary(label(folder, Teacher(3, stop), name="photos_skip"))


def test_polygons_are_usable(folder, monkeypatch):
    shapes = [
        [(-5, 2), (40, 2), (40, 12), (-5, 12)],
        [(5, 16), (40, 16)],
        [(5, 30), (5, 30), (5, 30), (5, 30)],
        [(500, 2), (540, 2), (540, 12), (500, 12)],
    ]
    monkeypatch.setattr("photos.polygon", lambda row: shapes[row])
    dataset = label(folder, Teacher())
    words = dataset[0]["annotations"]
    assert [word["segmentation"][0] for word in words] == [[0, 2, 40, 2, 40, 12, 0, 12]]


def test_rounds_follow_one_another(folder, monkeypatch, caplog):
    monkeypatch.setattr(labelling, "_ROUND_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, logger="dld_d2"):
        assert summary(label(folder, Teacher())) == EXPECTED
    assert "has read 1 of 7" in caplog.text and "has read 7 of 7" in caplog.text


# Several processes.


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Folders whose photographs two processes read, one after another: all is well; a photograph
    is broken; the file of annotations is."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("well", "photo", "file")}
    for folder in folders.values():
        write_photos(folder)
    broken = folders["photo"] / "photos" / NAMES[3]
    broken.write_bytes(broken.read_bytes()[:2000])
    forget()
    label(folders["file"], Teacher())
    label_file(folders["file"]).write_text("{")
    forget()
    done = spawn(*TWO, SCRIPT, *map(str, folders.values()))
    assert done.returncode == 0, done.stderr
    return folders


def outcomes(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_share_the_images(two):
    folder = two["well"]
    main, other = outcomes(folder)
    assert len(main["read"]) == 4 and len(other["read"]) == 3
    assert sorted(main["read"] + other["read"]) == ALL
    assert main["found"] == other["found"] == EXPECTED
    assert len(files(folder, "*")) == 2
    # One process finds what two have read.
    teacher = Teacher()
    assert summary(label(folder, teacher)) == EXPECTED and teacher.read == []


@pytest.mark.parametrize("what", ["photo", "file"])
def test_what_fails_in_one_process_fails_in_both(two, what):
    """The photograph is one that the second was to read, the file is what the first writes."""
    folder = two[what]
    main, other = outcomes(folder)
    assert main["found"] == other["found"]
    message = {
        "photo": f"{folder / 'photos' / NAMES[3]}: cannot be read",
        "file": f"{label_file(folder) if what == 'file' else ''}:1: is no JSON",
    }
    assert main["found"].startswith(f"AnnotationError: {message[what]}")
    assert 3 not in main["read"] + other["read"]


def test_one_goes_on_where_two_were_killed(folder):
    assert spawn(*TWO, SCRIPT, str(folder), "--kill-at", "5").returncode != 0
    parts = files(folder, "*.part*")
    done = sum(len(part.read_text().splitlines()) - 1 for part in parts)
    assert len(parts) == 2 and done
    teacher = Teacher()
    assert summary(label(folder, teacher)) == EXPECTED
    assert len(teacher.read) == NUM_IMAGES - done
    assert len(files(folder, "*")) == 2


def test_any_error_reaches_the_others(monkeypatch):
    gathered = []

    def all_gather(data):
        gathered.append(data)
        return [data, (None, RuntimeError("process 2 failed: ZeroDivisionError()"))]

    monkeypatch.setattr(labelling.comm, "all_gather", all_gather)
    with pytest.raises(RuntimeError, match="process 2 failed"):
        labelling._together(lambda: 1)
    with pytest.raises(ZeroDivisionError):
        labelling._together(lambda: 1 / 0)
    assert str(gathered[1][1]).startswith("process 1 failed: ZeroDivisionError")
