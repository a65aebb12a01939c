"""The compact index: round trip, damage, sharing with workers."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import write_image
from torch.utils.data import DataLoader

import dld_d2.data.index_writer as index_writer
from dld_d2.data import AnnotationError, ImageRecord, TextDataset, TextIndex, write_index

coordinate = st.floats(0, 1000, width=32)
polygon = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
word = st.tuples(polygon, text, st.booleans())


@st.composite
def records(draw):
    images = draw(st.lists(st.lists(word, max_size=4), max_size=8))
    return [
        ImageRecord(
            file_name=f"{draw(st.sampled_from(['', 'ä b/', '1/2/']))}img_{i}.jpg",
            height=draw(st.integers(1, 5000)),
            width=draw(st.integers(1, 5000)),
            polygons=[np.array(p, np.float32) for p, _, _ in words],
            texts=[t for _, t, _ in words],
            ignore=np.array([flag for _, _, flag in words], dtype=bool),
        )
        for i, words in enumerate(images)
    ]


def some_records(count=5):
    rng = np.random.default_rng(0)
    return [
        ImageRecord(
            f"{i}.jpg",
            480,
            640,
            [rng.random((3 + j, 2), dtype=np.float32) for j in range(i)],
            [f"word{j}" for j in range(i)],
            np.arange(i) % 2 == 1,
        )
        for i in range(count)
    ]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records(), st.integers(1, 4))
def test_round_trip_is_exact(tmp_path_factory, monkeypatch, expected, batch):
    monkeypatch.setattr(index_writer, "_BATCH", batch)
    folder = tmp_path_factory.mktemp("round") / "set.index"
    info = write_index(folder, iter(expected))
    assert info["images"] == len(expected)
    assert info["words"] == sum(len(record.texts) for record in expected)
    loaded = TextIndex.load(folder)
    assert list(loaded) == expected
    assert list(TextIndex.from_records(expected)) == expected
    assert list(pickle.loads(pickle.dumps(loaded))) == expected


def test_the_arrays_are_plain_numpy_files(tmp_path):
    write_index(tmp_path / "a.index", some_records())
    vertices = np.load(tmp_path / "a.index" / "vertices.npy")
    expected = np.concatenate([p for record in some_records() for p in record.polygons])
    np.testing.assert_array_equal(vertices, expected)
    info = json.loads((tmp_path / "a.index" / "index.json").read_text())
    assert info["images"] == 5 and info["words"] == 10 and info["vertices"] == len(vertices)


def test_records_are_copies_and_bounds_are_checked(tmp_path):
    write_index(tmp_path / "a.index", some_records())
    index = TextIndex.load(tmp_path / "a.index")
    index[4].polygons[0][:] = -1
    assert index[4] == index[-1] == some_records()[4]
    for outside in (5, -6):
        with pytest.raises(IndexError):
            index[outside]


def test_nothing_is_left_behind_when_a_record_fails(tmp_path):
    def failing():
        yield from some_records()
        raise AnnotationError("bad line")

    with pytest.raises(AnnotationError, match="bad line"):
        write_index(tmp_path / "a.index", failing())
    assert list(tmp_path.iterdir()) == []
    write_index(tmp_path / "a.index", some_records(2))
    with pytest.raises(AnnotationError, match="bad line"):
        write_index(tmp_path / "a.index", failing(), overwrite=True)
    assert len(TextIndex.load(tmp_path / "a.index")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.index"]


def test_overwriting_is_explicit_and_spares_other_folders(tmp_path):
    write_index(tmp_path / "a.index", some_records(2))
    with pytest.raises(AnnotationError, match="overwrite"):
        write_index(tmp_path / "a.index", some_records(3))
    write_index(tmp_path / "a.index", some_records(3), overwrite=True)
    assert len(TextIndex.load(tmp_path / "a.index")) == 3
    (tmp_path / "photos").mkdir()
    with pytest.raises(AnnotationError, match="is no index"):
        write_index(tmp_path / "photos", some_records(3), overwrite=True)


def damage_version(folder):
    info = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**info, "version": 99}))


def damage_shape(folder):
    np.save(folder / "sizes.npy", np.zeros((5, 3), np.int32))


def damage_type(folder):
    np.save(folder / "vertices.npy", np.load(folder / "vertices.npy").astype(np.float64))


def damage_length(folder):
    np.save(folder / "ignore.npy", np.load(folder / "ignore.npy")[:-1])


def damage_bytes(folder):
    path = folder / "vertices.npy"
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "index.json").unlink(), "is no index"),
        (lambda folder: (folder / "index.json").write_text("{"), r"index\.json: cannot be read"),
        (lambda folder: (folder / "index.json").write_text("{}"), "does not describe"),
        (damage_version, "version 99, this dld_d2 reads version 1"),
        (lambda folder: (folder / "ignore.npy").unlink(), r"ignore\.npy"),
        (lambda folder: (folder / "ignore.npy").write_bytes(b""), r"ignore\.npy"),
        (damage_shape, "array sizes should be int32"),
        (damage_type, "array vertices should be float32"),
        (damage_length, "fits neither"),
        (damage_bytes, r"vertices\.npy"),
    ],
)
def test_damaged_indexes_are_refused(tmp_path, damage, message):
    folder = tmp_path / "a.index"
    write_index(folder, some_records())
    damage(folder)
    with pytest.raises(AnnotationError, match=message) as error:
        TextIndex.load(folder)
    assert str(folder) in str(error.value) and "prepare_dataset" in str(error.value)


def identity(items):
    return items


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_dataset_in_loader_workers(tmp_path, method):
    write_index(tmp_path / "a.index", some_records())
    dataset = TextDataset(TextIndex.load(tmp_path / "a.index"), tmp_path)
    assert len(pickle.dumps(dataset)) < 1000
    loader = DataLoader(
        dataset, batch_size=2, num_workers=1, collate_fn=identity, multiprocessing_context=method
    )
    assert [item for batch in loader for item in batch] == list(dataset)


def test_dataset_dicts(tmp_path):
    polygons = [np.array([[1, 2], [30.5, 4], [30, 40]], np.float32), np.eye(3, 2, dtype=np.float32)]
    write_image(tmp_path / "a" / "b.jpg")
    record = ImageRecord("a/b.jpg", 80, 100, polygons, ["Joe's", ""], np.array([False, True]))
    (item,) = TextDataset(TextIndex.from_records([record]), tmp_path)
    assert item["file_name"] == str(tmp_path / "a" / "b.jpg")
    assert (item["image_id"], item["height"], item["width"]) == ("a/b", 80, 100)
    assert item["annotations"][0] == {
        "bbox": [1, 2, 30.5, 40],
        "bbox_mode": 0,
        "category_id": 0,
        "segmentation": [[1, 2, 30.5, 4, 30, 40]],
        "text": "Joe's",
        "ignore": False,
    }
    assert item["annotations"][1]["ignore"] is True
