"""Pages of print."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

import dld_d2.synthetic.builtin  # noqa: F401 (which registers)
from dld_d2.synthetic.pages import PageDataset, register_pages


def boxes_of(item):
    points = [np.array(a["segmentation"][0]).reshape(-1, 2) for a in item["annotations"]]
    return np.array([[*p.min(axis=0), *p.max(axis=0)] for p in points])


def test_a_page_is_a_function_of_seed_and_index():
    one, other = PageDataset(8, 5), PageDataset(99, 5)
    for index in (0, 7):
        mine, theirs = one[index], other[index]
        assert mine["annotations"] == theirs["annotations"]
        assert (mine["read_image"]("BGR") == theirs["read_image"]("BGR")).all()
    assert one[0]["annotations"] != PageDataset(8, 6)[0]["annotations"]
    assert one[-1]["image_id"] == one[7]["image_id"] == "page_00007"


def test_words_lie_on_the_page_and_apart_within_their_line():
    sizes = []
    for item in PageDataset(12, 1):
        boxes = boxes_of(item)
        sizes += (boxes[:, 3] - boxes[:, 1]).tolist()
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= item["width"]).all() and (boxes[:, 3] <= item["height"] + 1).all()
        line = np.abs(boxes[1:, 3] - boxes[:-1, 3]) < 1
        assert (boxes[1:, 0][line] > boxes[:-1, 2][line]).all()
    assert min(sizes) < 8 and max(sizes) > 25


def test_ink_is_where_the_words_are():
    for item in PageDataset(6, 2):
        image = item["read_image"]("BGR").astype(float).mean(axis=2)
        assert image.shape == (item["height"], item["width"])
        # Light falls off across the page, and with it both paper and ink.
        paper = np.median(image, axis=0)
        seen = [
            np.abs(
                image[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1] - paper[int(x0) : int(x1) + 1]
            ).max()
            for x0, y0, x1, y1 in boxes_of(item)
        ]
        assert np.quantile(seen, 0.02) > 40


def test_both_orders_of_the_channels_and_no_other():
    read = PageDataset(1, 3)[0]["read_image"]
    assert (read("RGB") == read("BGR")[:, :, ::-1]).all()
    with pytest.raises(ValueError, match="BGR or RGB"):
        read("L")


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least one page"):
        PageDataset(0, 1)
    with pytest.raises(ValueError, match="negative"):
        PageDataset(1, -1)
    with pytest.raises(IndexError, match="page 3 of 3"):
        PageDataset(3, 1)[3]


def test_registering():
    name = "pages_of_a_test"
    try:
        register_pages(name, length=3, seed=1)
        register_pages(name, length=3, seed=1)
        assert len(DatasetCatalog.get(name)) == 3
        with pytest.raises(ValueError, match="registered already"):
            register_pages(name, length=4, seed=1)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert len(DatasetCatalog.get("synthetic_pages")) == 400
