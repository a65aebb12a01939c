"""Values that cannot be meant are refused at the start, with key, value, and what is allowed."""

from pathlib import Path

import pytest
import yaml
from tiny_distillation import BASE

from dld_d2.engine.allowed_values import rules
from dld_d2.engine.config_sources import leaves
from dld_d2.engine.setup import ConfigError, default_cfg, setup_cfg

CONFIGS = Path(BASE).parents[1]

BAD = [
    # key, value as on a command line, what the message tells beside both
    ("SOLVER.CLIP_TOTAL_NORM", "-1", "at least 0 (0 turns it off)"),
    ("SOLVER.BASE_LR", "-0.1", "above 0"),
    ("SOLVER.BASE_LR", "0", "above 0"),
    ("SOLVER.BASE_LR", "100", "at most 10"),
    ("SOLVER.BASE_LR", "1e400", "a number above 0"),
    ("SOLVER.MAX_ITER", "0", "at least 1"),
    ("SOLVER.CHECKPOINT_PERIOD", "0", "at least 1"),
    ("SOLVER.IMS_PER_BATCH", "-2", "at least 1"),
    ("SOLVER.STEPS", "(5, 3)", "above the one before"),
    ("SOLVER.STEPS", "(1.5,)", "a whole number"),
    ("SOLVER.GAMMA", "10", "at most 1"),
    ("SOLVER.WARMUP_ITERS", "-10", "0 turns warming up off"),
    ("SOLVER.WARMUP_FACTOR", "7", "at most 1"),
    ("SOLVER.WARMUP_METHOD", "sine", "'linear', 'constant'"),
    ("SOLVER.LR_SCHEDULER_NAME", "Cosine", "'WarmupCosineLR'"),
    ("SOLVER.WEIGHT_DECAY", "-1", "at least 0"),
    ("SOLVER.MOMENTUM", "2", "below 1"),
    ("SOLVER.OPTIMIZER", "ADAM", "'ADAMW'"),
    ("SOLVER.EPOCHS", "-1", "at least 0"),
    ("SOLVER.CHECKPOINTS_TO_KEEP", "-1", "0 keeps all"),
    ("SOLVER.AMP.PRECISION", "float8", "'bfloat16'"),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full", "'value', 'norm'"),
    ("INPUT.AUG.BASE_SHORT_SIDE", "1", "at least 32"),
    ("INPUT.AUG.BASE_SHORT_SIDE", "1000000", "at most 16,384"),
    ("INPUT.AUG.SCALE_RANGE", "(0.001, 0.001)", "at least 0.05"),
    ("INPUT.AUG.SCALE_RANGE", "(1.0, 0.3)", "the smaller number first"),
    ("INPUT.AUG.SCALE_RANGE", "(0.3,)", "a list of 2"),
    ("INPUT.AUG.SCALE_RANGE", "('a', 'b')", "a number"),
    ("INPUT.AUG.CROP_PROB", "2", "at most 1"),
    ("INPUT.AUG.ROTATION", "400", "180"),
    ("INPUT.FORMAT", "RGBA", "'BGR', 'RGB'"),
    ("INPUT.MIN_SIZE_TEST", "1", "or 0 to leave images as they are"),
    ("INPUT.MIN_SIZE_TEST", "9999", "INPUT.MAX_SIZE_TEST (1280)"),
    ("INPUT.MAX_SIZE_TRAIN", "-1", "at least 32"),
    ("MODEL.META_ARCHITECTURE", "MaskRCNN", "'MaskRCNNSpotter'"),
    ("MODEL.DEVICE", "gpu", '"cuda"'),
    ("MODEL.PIXEL_STD", "[0.0, 1.0, 1.0]", "above 0"),
    ("MODEL.PIXEL_MEAN", "[1.0]", "a list of 3"),
    ("MODEL.BACKBONE.NAME", "resnet", "'build_resnet_fpn_backbone'"),
    ("MODEL.RESNETS.NORM", "BatchNorm", "'BN'"),
    ("MODEL.RESNETS.DEPTH", "19", "18, 34"),
    ("MODEL.RESNETS.STEM_OUT_CHANNELS", "-16", "at least 1"),
    ("MODEL.FPN.OUT_CHANNELS", "-1", "at least 1"),
    ("MODEL.FPN.FUSE_TYPE", "max", "'sum', 'avg'"),
    ("MODEL.FPN.IN_FEATURES", "['res4', 'res9']", "'res5'"),
    ("MODEL.RPN.IN_FEATURES", "['p9']", "'p6'"),
    ("MODEL.RPN.IOU_THRESHOLDS", "[0.7, 0.3]", "above the one before"),
    ("MODEL.RPN.NMS_THRESH", "2", "at most 1"),
    ("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "0", "at least 1"),
    ("MODEL.RPN.CONV_DIMS", "[-16]", "at least 1"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "[[-8], [16], [32], [64], [128]]", "above 0"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "[[8], [16]]", "each of the 5"),
    ("MODEL.ROI_HEADS.NAME", "TextHeads", "'TextROIHeads'"),
    ("MODEL.ROI_HEADS.NUM_CLASSES", "80", "one class"),
    ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "5", "at most 1"),
    ("MODEL.ROI_HEADS.IN_FEATURES", "[]", "at least 1"),
    ("MODEL.ROI_BOX_HEAD.FC_DIM", "-1", "at least 1"),
    ("MODEL.ROI_MASK_HEAD.NUM_CONV", "-3", "at least 0"),
    ("MODEL.MASK_ON", "False", "found by their masks"),
    ("MODEL.KEYPOINT_ON", "True", "no keypoints"),
    ("MODEL.RECOGNITION.MAX_LENGTH", "-3", "at least 1"),
    ("MODEL.RECOGNITION.MAX_LENGTH", "1000000", "at most 1,000"),
    ("MODEL.RECOGNITION.VOCABULARY", "nowhere.txt", "a file that exists"),
    ("MODEL.RECOGNITION.VOCABULARY", "/tmp", "which a folder is not"),
    ("MODEL.ROI_TEXT_HEAD.NAME", "CTC", "'AttentionTextHead'"),
    ("MODEL.ROI_TEXT_HEAD.IN_FEATURE", "p9", "'p2'"),
    ("MODEL.ROI_TEXT_HEAD.LOSS_WEIGHT", "-1", "at least 0"),
    ("MODEL.ROI_TEXT_HEAD.JITTER", "0.7", "below 0.5"),
    ("MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION", "(4, 32)", "a height of at least 8"),
    ("MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", "roi", "'map', 'crop'"),
    ("MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM", "-16", "at least 1"),
    ("MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM", "-16", "at least 1"),
    ("MODEL.DYNAMIC.SPOTTER", "Mask", "'PPOCRSpotter'"),
    ("MODEL.DYNAMIC.SCALES", "(0.001, 0.5)", "at least 0.05"),
    ("MODEL.DYNAMIC.SCALES", "()", "at least 1"),
    ("MODEL.DYNAMIC.SCALES", "(0.5, 0.5)", "nothing occurs twice"),
    ("MODEL.DYNAMIC.POLICY", "best", "'selector', 'fixed', 'random'"),
    ("MODEL.DYNAMIC.COST", "free", "tools/flops.py"),
    ("MODEL.DYNAMIC.COST_BIAS", "1e400", "a number"),
    ("MODEL.DYNAMIC.SELECTOR.CHANNELS", "(-8, 8)", "at least 1"),
    ("MODEL.DYNAMIC.SELECTOR.NORM", "XN", "'FrozenBN'"),
    ("MODEL.DISTILL.TERMS", "('roi', 'roi')", "each term once"),
    ("MODEL.DISTILL.NO_GRAD_PRECISION", "half", "'float16'"),
    ("MODEL.DISTILL.PSEUDO_LABELS.MIN_SCORE", "90", "at most 1"),
    ("MODEL.DISTILL.SELECTOR.LEARNING", "guess", "'best_scale', 'gumbel'"),
    ("MODEL.DISTILL.SELECTOR.TAU_INIT", "0", "above 0"),
    ("MODEL.DISTILL.SELECTOR.TAU_DECAY", "5", "at most 1"),
    ("MODEL.DISTILL.SELECTOR.BATCH_FRACTION", "3", "at most 1"),
    ("MODEL.DISTILL.ROI.WEIGHT", "-1", "take 'roi' out of MODEL.DISTILL.TERMS"),
    ("MODEL.DISTILL.SEQUENCE.NUM_SEQUENCES", "9", "BEAM_WIDTH (5)"),
    ("MODEL.DISTILL.BEST_SCALE.REGRET_POWER", "7", "at most 1"),
    ("MODEL.PP_OCR.LEARN", "('all',)", "'detector', 'recogniser'"),
    ("MODEL.PP_OCR.JITTER", "(0.9, -1)", "below 0.5"),
    ("MODEL.PP_OCR.SHRINK_RATIO", "3", "below 1"),
    ("MODEL.PP_OCR.PIXEL_THRESH_TEST", "30", "at most 1"),
    ("DATASETS.TRAIN", "(3,)", "the name of a data set"),
    ("DATASETS.ON_BAD_ANNOTATION", "ignore", "'raise', 'skip'"),
    ("DATALOADER.NUM_WORKERS", "-1", "at least 0"),
    ("TEST.MASK_THRESH", "7", "at most 1"),
    ("TEST.MATCH_IOU", "2", "below 1"),
    ("TEST.LEXICONS", "('strang',)", "'strong'"),
    ("TEST.NUM_PICTURES", "-1", "0 writes none"),
    ("TEST.EVAL_PERIOD", "-1", "0 evaluates at the end only"),
    ("OUTPUT_DIR", "", "the name of a folder"),
    ("SEED", "99999999999999999999999", "-1 draws one"),
]


def refused(*opts, config=BASE):
    with pytest.raises(ConfigError) as error:
        setup_cfg(config, opts)
    return str(error.value)


@pytest.mark.parametrize(("key", "value", "told"), BAD, ids=[f"{k} {v}" for k, v, _ in BAD])
def test_a_value_that_cannot_be_meant(key, value, told):
    message = refused(key, value)
    assert message.startswith(f"command line: {key} is ")
    assert told in message.partition("; expected ")[2]
    assert "\n" not in message and len(message) < 600


def test_there_are_many():
    assert len(BAD) > 100 and len({key for key, _, _ in BAD}) > 80


def test_each_rule_is_of_a_key_and_takes_its_default():
    cfg = default_cfg()
    values = dict(leaves(cfg))
    assert not set(rules()) - set(values)
    assert {k: values[k] for k, rule in rules().items() if rule(values[k]) is not None} == {}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "null"])
@pytest.mark.parametrize("key", ["BASE_LR", "RESCALE_INTERVAL", "BIAS_LR_FACTOR", "GAMMA"])
def test_no_number_at_all(write, key, value):
    value = value if value == "null" else f".{value}".replace(".-", "-.")
    file = write("run.yaml", f"_BASE_: {BASE}\nSOLVER:\n  {key}: {value}\n")
    message = refused(config=file)
    assert message.startswith(f"{file}: SOLVER.{key} is ")


def test_a_value_of_a_base_names_the_base(write):
    base = write("base.yaml", f"_BASE_: {BASE}\nSOLVER:\n  MAX_ITER: 0\n")
    child = write("child.yaml", "_BASE_: base.yaml\nSEED: 1\n")
    assert refused(config=child).startswith(f"{base}: SOLVER.MAX_ITER is 0; expected a whole")
    assert setup_cfg(child, ["SOLVER.MAX_ITER", "3"]).SOLVER.MAX_ITER == 3


def test_a_default_that_does_not_fit_is_told_as_one():
    message = refused("MODEL.META_ARCHITECTURE", "MaskRCNNSpotter", config="")
    assert message.startswith("MODEL.MASK_ON is False, by default; expected True")


def test_channels_that_groups_cannot_share():
    opts = ["MODEL.ROI_TEXT_HEAD.NORM", "GN", "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM", "48"]
    assert "a multiple of 32" in refused(*opts)
    assert setup_cfg(BASE, opts[:2]).MODEL.ROI_TEXT_HEAD.NORM == "GN"
    opts = ["MODEL.DYNAMIC.SELECTOR.NORM", "GN", "MODEL.DYNAMIC.SELECTOR.CHANNELS", "(32, 48)"]
    assert "multiples of 32" in refused(*opts)


def test_a_fixed_scale_is_one_of_the_scales():
    opts = ["MODEL.DYNAMIC.POLICY", "fixed", "MODEL.DYNAMIC.FIXED_SCALE", "0.55"]
    assert "one of MODEL.DYNAMIC.SCALES, (0.3, 0.4" in refused(*opts)


def test_a_long_value_is_cut():
    assert len(refused("SOLVER.STEPS", str(tuple(range(5000))))) < 300


def test_values_at_the_edges_are_taken():
    opts = {
        "SOLVER.CLIP_TOTAL_NORM": 0.0,
        "SOLVER.WARMUP_ITERS": 0,
        "INPUT.MIN_SIZE_TEST": 0,
        "INPUT.AUG.BASE_SHORT_SIDE": 32,
        "INPUT.AUG.SCALE_RANGE": (1.0, 1.0),
        "MODEL.DYNAMIC.SCALES": (1.0,),
        "MODEL.DISTILL.SELECTOR.TAU_DECAY": 1.0,
        "MODEL.DISTILL.TERMS": (),
        "MODEL.DISTILL.ROI.WEIGHT": 0.0,  # of a term that is left out
        "SOLVER.STEPS": (),
        "SEED": -1,
        "OUTPUT_DIR": "0",
    }
    cfg = setup_cfg(BASE, [str(word) for item in opts.items() for word in item])
    found = dict(leaves(cfg))
    assert {key: found[key] for key in opts} == opts


def test_what_a_training_wrote_is_taken(write):
    file = write("config.yaml", setup_cfg(str(CONFIGS / "tiny" / "dld.yaml")).dump())
    assert yaml.safe_load(setup_cfg(file).dump())["SEED"] == 7
