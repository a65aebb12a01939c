"""Model files of version 0.1: format version 1, a whole configuration as text, old names."""

import json

import pytest
import safetensors
import safetensors.torch
import torch
import yaml
from tiny_dynamic_spotter import CONFIG, SMALL, described, picture, write_checkpoint
from version_0_1 import old_model_file

from dld_d2.deployment import TextSpotter
from dld_d2.deployment.model_file import load_spotter, save_spotter
from dld_d2.deployment.pretrained import weights_file
from dld_d2.engine.config_sources import leaves
from dld_d2.engine.renamed_keys import RENAMED
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter

# What version 0.1 wrote of a model, all of it unlike the defaults.
CONFIG_OF_0_1 = """
DATALOADER: {NUM_WORKERS: 7}
INPUT:
  CROP: {ENABLED: false}
  FORMAT: RGB
  MAX_SIZE_TEST: 180
  MIN_SIZE_TEST: 80
  MIN_SIZE_TRAIN: [800]
MODEL:
  ANCHOR_GENERATOR:
    ASPECT_RATIOS: [[0.5, 1.0]]
    SIZES: [[24], [48], [96], [192], [384]]
  BACKBONE: {FREEZE_AT: 0, NAME: build_narrow_resnet_fpn_backbone}
  DEVICE: cpu
  DISTILL:
    BEAM_WIDTH: 3
    CONTEXT_WEIGHT: 2.0
    DRS_WEIGHT: 3.0
    FIXED_SCALE: 0.6
    FREEZE_STUDENT: false
    NUM_SEQUENCES: 2
    SCALES: [0.6, 0.9]
    SELECTION: dynamic
    SELECTOR:
      CHANNELS: [8, 16]
      COST: measured
      COST_BIAS: 0.75
      COST_EXPONENT: 2.5
      ESTIMATOR: best_scale
      INPUT_SCALE: 0.5
      NORM: BN
      POOLING: mean_max
      TARGET_TEMPERATURE: 0.2
    SKD_WEIGHT: 0.5
    SPOTTER: MaskRCNNSpotter
    TEACHER_OPTS: []
    TEACHER_WEIGHTS: ''
  FPN:
    IN_FEATURES: [res2, res3, res4, res5]
    OUT_CHANNELS: 16
  MASK_ON: true
  META_ARCHITECTURE: DynamicResolutionDistiller
  PIXEL_MEAN: [99.0, 98.0, 97.0]
  PIXEL_STD: [50.0, 51.0, 52.0]
  PROPOSAL_GENERATOR: {NAME: TextRPN}
  RECOGNITION:
    CONTEXT: {HIDDEN_DIM: 8, NUM_LAYERS: 1}
    CTC_WEIGHT: 1.0
    DECODER: {HIDDEN_DIM: 24}
    ENCODER: {CONV_DIM: 32, NUM_CONV: 2}
    IN_FEATURE: p3
    LOSS_WEIGHT: 2.0
    MAX_LENGTH: 6
    NORM: GN
    ROI:
      CONV_DIM: 32
      CONV_ON: map
      ENLARGE: 2
      JITTER: 0.1
      SIZE: [16, 64]
      TRANSPOSE_RATIO: 2.0
    VOCABULARY: ''
  RESNETS:
    DEPTH: 18
    NORM: BN
    OUT_FEATURES: [res2, res3, res4, res5]
    RES2_OUT_CHANNELS: 8
    STEM_OUT_CHANNELS: 8
    STRIDE_IN_1X1: false
  ROI_BOX_HEAD:
    CLS_AGNOSTIC_BBOX_REG: true
    FC_DIM: 32
    NAME: FastRCNNConvFCHead
    NUM_FC: 1
    POOLER_RESOLUTION: 7
  ROI_HEADS:
    IN_FEATURES: [p2, p3, p4, p5]
    NAME: TextROIHeads
    NMS_THRESH_TEST: 0.3
    NUM_CLASSES: 1
    SCORE_THRESH_TEST: 0.0
  ROI_MASK_HEAD:
    CLS_AGNOSTIC_MASK: true
    CONV_DIM: 16
    NAME: MaskRCNNConvUpsampleHead
    NUM_CONV: 1
    POOLER_RESOLUTION: 14
  RPN:
    CONV_DIMS: [16]
    IN_FEATURES: [p2, p3, p4, p5, p6]
    POST_NMS_TOPK_TEST: 50
    PRE_NMS_TOPK_TEST: 60
  WEIGHTS: ''
SOLVER: {BASE_LR: 0.5, A_KEY_THAT_IS_GONE: 3}
TEST:
  DETECTIONS_PER_IMAGE: 3
  MASK_THRESH: 0.4
  POLYGON_TOLERANCE: 0.02
VERSION: 2
"""
COST = [0.25, 0.875]
# The same in today's names.
TODAY = {
    "INPUT.FORMAT": "RGB",
    "INPUT.MAX_SIZE_TEST": 180,
    "INPUT.MIN_SIZE_TEST": 80,
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0]],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[24], [48], [96], [192], [384]],
    "MODEL.DYNAMIC.COST_BIAS": 0.75,
    "MODEL.DYNAMIC.FIXED_SCALE": 0.6,
    "MODEL.DYNAMIC.POLICY": "selector",
    "MODEL.DYNAMIC.SCALES": (0.6, 0.9),
    "MODEL.DYNAMIC.SELECTOR.CHANNELS": (8, 16),
    "MODEL.DYNAMIC.SELECTOR.INPUT_SCALE": 0.5,
    "MODEL.DYNAMIC.SELECTOR.NORM": "BN",
    "MODEL.DYNAMIC.SELECTOR.POOLING": "mean_max",
    "MODEL.DYNAMIC.SPOTTER": "MaskRCNNSpotter",
    "MODEL.META_ARCHITECTURE": "DynamicSpotter",
    "MODEL.PIXEL_MEAN": [99.0, 98.0, 97.0],
    "MODEL.PIXEL_STD": [50.0, 51.0, 52.0],
    "MODEL.RECOGNITION.MAX_LENGTH": 6,
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM": 8,
    "MODEL.ROI_TEXT_HEAD.CONTEXT.NUM_LAYERS": 1,
    "MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM": 24,
    "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM": 32,
    "MODEL.ROI_TEXT_HEAD.ENCODER.NUM_CONV": 2,
    "MODEL.ROI_TEXT_HEAD.IN_FEATURE": "p3",
    "MODEL.ROI_TEXT_HEAD.NORM": "GN",
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM": 32,
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON": "map",
    "MODEL.ROI_TEXT_HEAD.POOLER_ENLARGE": 2,
    "MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": (16, 64),
    "MODEL.ROI_TEXT_HEAD.POOLER_TRANSPOSE_RATIO": 2.0,
    "TEST.DETECTIONS_PER_IMAGE": 3,
    "TEST.MASK_THRESH": 0.4,
    "TEST.POLYGON_TOLERANCE": 0.02,
}
# Of training in 0.1, by today's names: not in a file's model, whatever it says.
LEFT_OUT = {
    "MODEL.DISTILL.SELECTOR.LEARNING": "gumbel",
    "MODEL.DISTILL.SELECTOR.LOSS_WEIGHT": 1.0,
    "MODEL.DISTILL.SEQUENCE.BEAM_WIDTH": 5,
    "MODEL.ROI_TEXT_HEAD.CTC_WEIGHT": 0.0,
    "MODEL.ROI_TEXT_HEAD.JITTER": 0.0,
    "SOLVER.BASE_LR": 0.001,
}


@pytest.fixture(scope="module")
def today():
    """A configuration of today and its model, which is also the old one's, with weights of CTC."""
    beside = {
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 60,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 50,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    }
    opts = [str(word) for item in {**TODAY, **beside}.items() for word in item]
    cfg = setup_cfg(CONFIG, [*SMALL, *opts])
    torch.manual_seed(4)
    model = DynamicSpotter(cfg).eval()
    assert "spotter.roi_heads.text_head.ctc.weight" in model.state_dict()
    model.relative_cost.copy_(torch.tensor(COST))
    return cfg, model


@pytest.fixture(scope="module", params=[".pth", ".safetensors"])
def old_file(today, tmp_path_factory, request):
    file = tmp_path_factory.mktemp("old") / f"student{request.param}"
    content = old_model_file(CONFIG_OF_0_1, today[1].state_dict(), COST)
    if request.param == ".pth":
        torch.save(content, file)
    else:
        state = content.pop("model")
        safetensors.torch.save_file(state, file, {"dld_d2 spotter": json.dumps(content)})
    return file


def test_its_configuration_has_todays_names(old_file):
    cfg, model = load_spotter(old_file)
    found = dict(leaves(cfg))
    assert {key: found[key] for key in TODAY} == TODAY
    assert {key: found[key] for key in LEFT_OUT} == LEFT_OUT
    assert found["DATALOADER.NUM_WORKERS"] == 4 and found["INPUT.MIN_SIZE_TRAIN"] == (800,)
    assert not model.training and cfg.is_frozen()


def test_all_old_keys_of_the_model_are_tried_here():
    config = set(dict(leaves(yaml.safe_load(CONFIG_OF_0_1))))
    of_training = {old for old, new in RENAMED.items() if new.startswith("MODEL.DISTILL.")}
    assert set(RENAMED) - of_training <= config
    unlike = {
        "MODEL.DYNAMIC.COST",
        "MODEL.DYNAMIC.COST_EXPONENT",
        "MODEL.ROI_TEXT_HEAD.LOSS_WEIGHT",
    }
    assert {RENAMED[key] for key in set(RENAMED) - of_training} - unlike <= {*TODAY, *LEFT_OUT}


def test_it_reads_as_its_model_does(today, old_file):
    cfg, model = today
    before, after = TextSpotter(cfg, model=model), TextSpotter.from_file(old_file)
    assert after.cost_bias == 0.75 and after.scales == (0.6, 0.9)
    words = 0
    for seed in range(3):
        result = after(picture(seed))
        assert described(result) == described(before(picture(seed)))
        assert result.relative_cost in COST
        words += len(result)
    assert words > 0


def whole_config(cfg):
    """Text of a configuration, all keys by the names of 0.1."""
    old_names = {new: old for old, new in RENAMED.items()}
    nested: dict = {}
    for key, value in leaves(cfg):
        *sections, last = old_names.get(key, key).split(".")
        node = nested
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(nested)


def test_a_teacher_without_scales(tmp_path):
    cfg = setup_cfg(CONFIG, write_checkpoint(tmp_path / "w.pth", dynamic=False))
    model = MaskRCNNSpotter(cfg).eval()
    content = old_model_file(whole_config(cfg), model.state_dict(), [])
    torch.save(content, tmp_path / "old.pth")
    after = TextSpotter.from_file(tmp_path / "old.pth")
    assert described(after(picture(0))) == described(TextSpotter(cfg, model=model)(picture(0)))
    assert after.scales == (1.0,)


def test_characters_that_are_not_ascii(tmp_path):
    (tmp_path / "characters.txt").write_text("éa b0", encoding="utf-8")
    named = ["MODEL.RECOGNITION.VOCABULARY", str(tmp_path / "characters.txt")]
    cfg = setup_cfg(CONFIG, [*SMALL, *named])
    model = MaskRCNNSpotter(cfg).eval()
    content = old_model_file(whole_config(cfg), model.state_dict(), [], vocabulary="éa b0")
    torch.save(content, tmp_path / "old.pth")
    (tmp_path / "characters.txt").unlink()
    loaded, found = load_spotter(tmp_path / "old.pth")
    assert found.vocabulary.characters == "éa b0" and loaded.MODEL.RECOGNITION.VOCABULARY == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": 3}, "its config is missing or no text"),
        ({"config": "a: [b"}, "its configuration is not plain YAML"),
        ({"config": "a"}, "its configuration holds no keys"),
        ({"config": CONFIG_OF_0_1.replace("Dynamic", "Somebodys")}, "SomebodysResolutionDistiller"),
        ({"config": CONFIG_OF_0_1.replace("MaskRCNNSpotter", "Other")}, "'Other' is not reg"),
        ({"config": CONFIG_OF_0_1.replace("DEPTH: 18", "DEPTH: deep")}, "MODEL.RESNETS.DEPTH is"),
        ({"vocabulary": None}, "its vocabulary is missing"),
        ({"relative_cost": ["1"]}, "relative_cost is missing or no list of numbers"),
        ({"relative_cost": [1.0]}, "its weights do not fit its configuration"),
        ({"relative_cost": []}, "the costs of its scales are missing"),
        ({"model": {}}, "its weights do not fit its configuration"),
        ({"model": None}, "its weights are missing"),
    ],
)
def test_contents_that_are_wrong(today, tmp_path, changes, message):
    file = tmp_path / "changed.pth"
    torch.save(old_model_file(CONFIG_OF_0_1, today[1].state_dict(), COST) | changes, file)
    with pytest.raises(ValueError) as error:
        load_spotter(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value) and "/tmp/dld_d2_" not in str(error.value)


@pytest.mark.parametrize("name", ["tiny_dld", "tiny_dld_gamma0.3", "tiny_teacher"])
def test_shipped_files_are_of_version_1_and_can_be_written_anew(name, tmp_path):
    with safetensors.safe_open(weights_file(name), framework="pt") as file:
        assert json.loads(file.metadata()["dld_d2 spotter"])["version"] == 1
    cfg, model = load_spotter(weights_file(name))
    # Shipped in half precision, so that nothing is lost by it.
    anew = tmp_path / "anew.safetensors"
    save_spotter(cfg, model, anew, half=True)
    image = picture(1, 200, 300)
    before, after = TextSpotter.pretrained(name), TextSpotter.from_file(anew)
    assert described(after(image)) == described(before(image))
    assert anew.stat().st_size < weights_file(name).stat().st_size
    with safetensors.safe_open(anew, framework="pt") as file:
        assert json.loads(file.metadata()["dld_d2 spotter"])["version"] == 2
