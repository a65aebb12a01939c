"""What a model file holds: all that the model is built of, and nothing that only training needs."""

import json

import pytest
import safetensors
import torch
from detectron2.modeling import build_model
from recorded_keys import recorded_keys
from tiny_dynamic_spotter import CONFIG, DYNAMIC, SMALL, described, picture, write_checkpoint

import dld_d2
from dld_d2.deployment import TextSpotter
from dld_d2.deployment.model_file import export_spotter, load_spotter
from dld_d2.engine.config_sources import leaves
from dld_d2.engine.setup import default_cfg, setup_cfg

SECTIONS = {
    "INPUT.FORMAT",
    "INPUT.MAX_SIZE_TEST",
    "INPUT.MIN_SIZE_TEST",
    "MODEL.ANCHOR_GENERATOR",
    "MODEL.BACKBONE",
    "MODEL.DEVICE",
    "MODEL.FPN",
    "MODEL.MASK_ON",
    "MODEL.META_ARCHITECTURE",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.PROPOSAL_GENERATOR",
    "MODEL.RECOGNITION",
    "MODEL.RESNETS",
    "MODEL.ROI_BOX_HEAD",
    "MODEL.ROI_HEADS",
    "MODEL.ROI_MASK_HEAD",
    "MODEL.ROI_TEXT_HEAD",
    "MODEL.RPN",
    "TEST.DETECTIONS_PER_IMAGE",
    "TEST.MASK_THRESH",
    "TEST.POLYGON_TOLERANCE",
}
"""Of the keys in a spotter's file: two words of a key in MODEL, whole keys elsewhere."""

TRAINING_ONLY = {
    # The file holds the characters and the costs themselves.
    "MODEL.RECOGNITION.VOCABULARY",
    "MODEL.DYNAMIC.COST",
    "MODEL.DYNAMIC.COST_EXPONENT",
    # There are no keypoints, and the pictures are of training.
    "MODEL.KEYPOINT_ON",
    "VIS_PERIOD",
    # Whether a layer learns.
    "MODEL.BACKBONE.FREEZE_STATISTICS",
    "MODEL.BACKBONE.FREEZE_AT",
    # What a loss is of, and how much it weighs.
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT",
    "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES",
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA",
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES",
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS",
    "MODEL.ROI_TEXT_HEAD.CTC_WEIGHT",
    "MODEL.ROI_TEXT_HEAD.LOSS_WEIGHT",
    "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT",
    "MODEL.RPN.LOSS_WEIGHT",
    "MODEL.RPN.SMOOTH_L1_BETA",
    # What is sampled for a loss.
    "MODEL.IGNORE_IOA_THRESH",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE",
    "MODEL.ROI_HEADS.IOU_LABELS",
    "MODEL.ROI_HEADS.IOU_THRESHOLDS",
    "MODEL.ROI_HEADS.POSITIVE_FRACTION",
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT",
    "MODEL.ROI_TEXT_HEAD.JITTER",
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE",
    "MODEL.RPN.BOUNDARY_THRESH",
    "MODEL.RPN.IOU_LABELS",
    "MODEL.RPN.IOU_THRESHOLDS",
    "MODEL.RPN.POSITIVE_FRACTION",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN",
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN",
}
"""Keys that a model is built of and that its file leaves out."""


def content(file):
    """Of a model file, without the weights, and the weights' names."""
    if file.suffix == ".pth":
        found = torch.load(file, weights_only=True)
        return found, set(found.pop("model"))
    with safetensors.safe_open(file, framework="pt") as stream:
        return json.loads(stream.metadata()["dld_d2 spotter"]), set(stream.keys())


def place(key):
    return ".".join(key.split(".")[:2]) if key.startswith("MODEL.") else key


@pytest.fixture(scope="module")
def teacher(folder):
    opts = write_checkpoint(folder / "teacher_weights.pth", dynamic=False)
    export_spotter(setup_cfg(CONFIG, opts), folder / "teacher.pth")
    return folder / "teacher.pth"


def test_a_file_holds_no_key_of_training(exported, teacher):
    wanted = {exported[0]: {*SECTIONS, "MODEL.DYNAMIC"}, exported[1]: {*SECTIONS, "MODEL.DYNAMIC"}}
    for file, sections in {**wanted, teacher: SECTIONS}.items():
        found, weights = content(file)
        assert set(found) == {"format", "version", "made_with", "config", "vocabulary"}
        assert (found["format"], found["version"]) == ("dld_d2 spotter", 2)
        assert found["made_with"] == dld_d2.__version__
        keys = set(found["config"])
        assert {place(key) for key in keys} == sections
        assert not keys & TRAINING_ONLY
        for word in ("TRAIN", "LOSS", "WEIGHTS", "JITTER", "CTC", "DISTILL", "SOLVER", "DATA"):
            assert not [key for key in keys if word in key and "REG_WEIGHTS" not in key], word
        for word in ("ctc", "terms", "teacher", "aligner"):
            assert not [name for name in weights if word in name]


def test_costs_are_among_the_weights_where_there_is_a_choice(exported, teacher):
    assert all("relative_cost" in content(file)[1] for file in exported)
    assert "relative_cost" not in content(teacher)[1]


def test_weights_of_ctc_are_in_checkpoints_alone(biased, exported):
    checkpoint = torch.load(biased[biased.index("MODEL.WEIGHTS") + 1], weights_only=True)["model"]
    left = set(checkpoint) - content(exported[0])[1]
    head = "spotter.roi_heads.text_head.ctc"
    assert left == {f"{head}.weight", f"{head}.bias"}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("more", [[], ["MODEL.DYNAMIC.POLICY", "fixed"]])
def test_what_a_model_is_built_of_is_in_its_file(exported, teacher, dynamic, more):
    """Or it is known to be of training alone. A key that is read anew must be put in one of both
    places: into the `inference_keys` of what reads it, or into the list here."""
    fixed = ["MODEL.DYNAMIC.FIXED_SCALE", "0.6"]
    cfg = setup_cfg(CONFIG, [*SMALL, *(DYNAMIC if dynamic else []), *more, *fixed])
    with recorded_keys(cfg) as read:
        build_model(cfg)
    assert len(read) > 90
    kept = set(content(exported[0] if dynamic else teacher)[0]["config"])
    assert read - kept - TRAINING_ONLY == set()
    assert read.isdisjoint({"MODEL.WEIGHTS", "OUTPUT_DIR"})


def test_what_images_are_prepared_by_is_in_the_file(exported):
    cfg = setup_cfg(CONFIG, [*SMALL, *DYNAMIC])
    model = build_model(cfg)
    with recorded_keys(cfg) as read:
        TextSpotter(cfg, model=model)
    assert read == {"INPUT.FORMAT", "INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST"}
    assert read <= set(content(exported[0])[0]["config"])


def test_the_lists_are_of_keys_that_exist():
    known = dict(leaves(default_cfg()))
    assert known.keys() >= TRAINING_ONLY
    assert {place(key) for key in known} >= SECTIONS


def test_a_configuration_comes_back_as_it_was(biased, exported):
    before = dict(leaves(setup_cfg(CONFIG, biased)))
    for file in exported:
        after = dict(leaves(load_spotter(file)[0]))
        kept = content(file)[0]["config"]
        assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
        defaults = dict(leaves(default_cfg()))
        others = {key for key in after if after[key] != defaults[key]} - set(kept)
        assert others == {"MODEL.DYNAMIC.COST"}  # the file's own take its place


TRAINED_OTHERWISE = [
    *("MODEL.BACKBONE.FREEZE_AT", "5", "MODEL.IGNORE_IOA_THRESH", "0.9"),
    *("MODEL.RPN.IOU_THRESHOLDS", "[0.2, 0.6]", "MODEL.RPN.BBOX_REG_LOSS_TYPE", "giou"),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", "7", "MODEL.RPN.BOUNDARY_THRESH", "0"),
    *("MODEL.ROI_HEADS.IOU_THRESHOLDS", "[0.7]", "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", "False"),
    *("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "giou", "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA", "0.3"),
    *("MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", "True", "MODEL.ROI_TEXT_HEAD.CTC_WEIGHT", "0.0"),
    *("MODEL.ROI_TEXT_HEAD.JITTER", "0.4", "MODEL.ROI_TEXT_HEAD.LOSS_WEIGHT", "3.0"),
    *("MODEL.DISTILL.TERMS", "()", "MODEL.DISTILL.SELECTOR.LEARNING", "best_scale"),
    *("SOLVER.EPOCHS", "3", "SEED", "9", "VIS_PERIOD", "0"),
]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_how_a_model_was_trained_does_not_matter(tmp_path, suffix):
    opts = write_checkpoint(tmp_path / "w.pth", TRAINED_OTHERWISE)
    file = tmp_path / f"s{suffix}"
    export_spotter(setup_cfg(CONFIG, opts), file)
    before, after = TextSpotter(setup_cfg(CONFIG, opts)), TextSpotter.from_file(file)
    for seed in range(3):
        assert described(after(picture(seed))) == described(before(picture(seed)))


BUILT_OTHERWISE = [
    *("MODEL.RESNETS.DEPTH", "34", "MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.STEM_OUT_CHANNELS"),
    *("32", "MODEL.RESNETS.RES2_OUT_CHANNELS", "32", "MODEL.FPN.FUSE_TYPE", "avg"),
    *("MODEL.FPN.OUT_CHANNELS", "32", "MODEL.FPN.NORM", "GN"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[24], [48], [96], [192], [384]]"),
    *("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[0.5, 1.0]]"),
    *("MODEL.ANCHOR_GENERATOR.OFFSET", "0.5", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "2"),
    *("MODEL.RPN.CONV_DIMS", "[8, 8]", "MODEL.RPN.BBOX_REG_WEIGHTS", "(2.0, 2.0, 1.0, 1.0)"),
    *("MODEL.RPN.NMS_THRESH", "0.6", "MODEL.RPN.PRE_NMS_TOPK_TEST", "90"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "40", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.01"),
    *("MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.4", "MODEL.ROI_HEADS.IN_FEATURES", "['p2', 'p3']"),
    *("MODEL.ROI_BOX_HEAD.NUM_FC", "1", "MODEL.ROI_BOX_HEAD.NUM_CONV", "1"),
    *("MODEL.ROI_BOX_HEAD.CONV_DIM", "8", "MODEL.ROI_BOX_HEAD.FC_DIM", "24"),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "5", "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlign"),
    *("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", "(5.0, 5.0, 2.0, 2.0)"),
    *("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", "2"),
    *("MODEL.ROI_MASK_HEAD.NUM_CONV", "1", "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "10"),
    *("MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION", "(16, 64)", "MODEL.ROI_TEXT_HEAD.NORM", "GN"),
    *("MODEL.ROI_TEXT_HEAD.POOLER_ENLARGE", "0", "MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", "map"),
    *("MODEL.ROI_TEXT_HEAD.POOLER_TRANSPOSE_RATIO", "1.0", "MODEL.ROI_TEXT_HEAD.IN_FEATURE", "p3"),
    *("MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM", "32", "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM", "32"),
    *("MODEL.ROI_TEXT_HEAD.ENCODER.NUM_CONV", "2", "MODEL.ROI_TEXT_HEAD.CONTEXT.NUM_LAYERS", "1"),
    *("MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM", "8", "MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM"),
    *("8", "MODEL.RECOGNITION.MAX_LENGTH", "7", "MODEL.PIXEL_MEAN", "[99.0, 98.0, 97.0]"),
    *("MODEL.PIXEL_STD", "[50.0, 51.0, 52.0]", "INPUT.FORMAT", "RGB", "INPUT.MIN_SIZE_TEST", "80"),
    *("INPUT.MAX_SIZE_TEST", "120", "TEST.DETECTIONS_PER_IMAGE", "4", "TEST.MASK_THRESH", "0.4"),
    *("TEST.POLYGON_TOLERANCE", "0.05", "MODEL.DYNAMIC.SCALES", "(0.5, 0.75)"),
    *("MODEL.DYNAMIC.SELECTOR.INPUT_SCALE", "0.5", "MODEL.DYNAMIC.SELECTOR.CHANNELS", "(32,)"),
    *("MODEL.DYNAMIC.SELECTOR.NORM", "GN", "MODEL.DYNAMIC.SELECTOR.POOLING", "mean_max"),
    *("MODEL.DYNAMIC.COST_BIAS", "0.25"),
]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_everything_that_a_model_is_built_of_comes_back(tmp_path, suffix):
    opts = write_checkpoint(tmp_path / "w.pth", BUILT_OTHERWISE)
    file = tmp_path / f"s{suffix}"
    export_spotter(setup_cfg(CONFIG, opts), file)
    before, after = TextSpotter(setup_cfg(CONFIG, opts)), TextSpotter.from_file(file)
    assert after.scales == (0.5, 0.75) and after.cost_bias == 0.25
    words = 0
    for seed in range(3):
        result = after(picture(seed))
        assert described(result) == described(before(picture(seed)))
        words += len(result)
    assert words > 0
