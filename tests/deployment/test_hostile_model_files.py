"""What is sent as a model may be made to do harm: each is refused in one line that names the file,
before it takes memory or time."""

import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny_dynamic_spotter import CONFIG, write_checkpoint

from dld_d2.commands.read import main
from dld_d2.deployment.config_limits import check_limits
from dld_d2.deployment.inference_keys import inference_config, keys_of
from dld_d2.deployment.model_file import export_spotter, load_spotter
from dld_d2.engine.config_sources import ConfigError, leaves
from dld_d2.engine.setup import setup_cfg

CONFIGS_FOLDER = Path(CONFIG).parents[1]
NAN = float("nan")
DEEP = 1
for _ in range(100):
    DEEP = [DEEP]
CONFIGS = [
    # No numbers of a model, or of one that nobody can run.
    ({"MODEL.PIXEL_STD": [0.0, 1.0, 1.0]}, r"MODEL\.PIXEL_STD is 0; allowed: 1e-06 to 1,000,000"),
    ({"MODEL.PIXEL_STD": [NAN, 1.0, 1.0]}, "PIXEL_STD is nan"),
    ({"MODEL.PIXEL_MEAN": ["a", "b", "c"]}, "no model can be built of its configuration"),
    ({"MODEL.PIXEL_MEAN": [1.0]}, "its weights do not fit its configuration"),
    ({"MODEL.RECOGNITION.MAX_LENGTH": -1}, "MAX_LENGTH is -1; allowed: 1 to 1,000"),
    ({"MODEL.RECOGNITION.MAX_LENGTH": 10**9}, "MAX_LENGTH is"),
    ({"MODEL.RECOGNITION.MAX_LENGTH": 10**400}, "MAX_LENGTH is huge"),
    ({"INPUT.MIN_SIZE_TEST": 10**6}, "MIN_SIZE_TEST"),
    ({"INPUT.MIN_SIZE_TEST": -5}, "MIN_SIZE_TEST is -5"),
    ({"INPUT.MAX_SIZE_TEST": -5}, "MAX_SIZE_TEST is -5"),
    ({"INPUT.FORMAT": "YUV"}, "INPUT.FORMAT is 'YUV'; allowed: BGR and RGB"),
    ({"MODEL.DYNAMIC.SCALES": [0.001, 0.6, 1.0]}, "SCALES is 0.001; allowed: 0.01 to 1"),
    ({"MODEL.DYNAMIC.SCALES": []}, "are not different numbers"),
    ({"MODEL.DYNAMIC.SCALES": ["a", "b", "c"]}, "no model can be built"),
    ({"MODEL.DYNAMIC.COST_BIAS": NAN}, "COST_BIAS is nan"),
    ({"MODEL.ROI_HEADS.SCORE_THRESH_TEST": NAN}, "SCORE_THRESH_TEST is nan"),
    # Layers that take more than there is.
    ({"MODEL.FPN.OUT_CHANNELS": 10**12}, "OUT_CHANNELS is 1,000,000,000,000"),
    ({"MODEL.FPN.OUT_CHANNELS": 99_999}, "far larger model|allocate"),
    ({"MODEL.FPN.OUT_CHANNELS": -4}, "OUT_CHANNELS is -4"),
    ({"MODEL.ROI_BOX_HEAD.FC_DIM": 99_999}, "far larger model|allocate"),
    ({"MODEL.ROI_BOX_HEAD.NUM_FC": 10**7}, "NUM_FC"),
    ({"MODEL.ROI_BOX_HEAD.NUM_CONV": 10_000}, "of a far larger model than its weights"),
    ({"MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 100_000}, "POOLER_RESOLUTION"),
    ({"MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 10**6}, "POOLER_SAMPLING_RATIO"),
    ({"MODEL.DYNAMIC.SELECTOR.CHANNELS": [10**6, 8]}, "far larger model|CHANNELS is"),
    ({"MODEL.RPN.POST_NMS_TOPK_TEST": -1}, "TOPK_TEST is -1"),
    ({"MODEL.ANCHOR_GENERATOR.SIZES": [[1.0] * 3000] * 5}, "SIZES has more than 1000 values"),
    # Names of nothing.
    ({"MODEL.BACKBONE.NAME": "nothing"}, "'nothing'"),
    ({"MODEL.FPN.NORM": "XX"}, "XX"),
    ({"MODEL.DEVICE": "banana"}, "MODEL.DEVICE is 'banana', which is no device"),
    ({"MODEL.DEVICE": "meta"}, "MODEL.DEVICE is 'meta', which is no device"),
    # Values that take time to read or fill the screen.
    ({"MODEL.FPN.OUT_CHANNELS": "9**9**9"}, "expected a whole number"),
    ({"MODEL.FPN.OUT_CHANNELS": "(" * 20_000}, "is a text of 20000 characters"),
    ({"MODEL.FPN.NORM": DEEP}, "NORM is nested too deep"),
    ({"MODEL.FPN.NORM": {"a": {"b": 1}}}, "NORM is a dict"),
    ({"A" * 10**6: 1}, "a key that is no name of one"),
    ({f"MODEL.X{i}": 1 for i in range(2000)}, "keys, too many"),
]
OTHERS = [
    ({"version": "2"}, "its format version is missing or no whole number"),
    ({"version": -3}, "no whole number from 1"),
    ({"version": 99}, "is of format version 99"),
    ({"vocabulary": ""}, "its vocabulary"),
    ({"vocabulary": "a\nb"}, "its vocabulary"),
    ({"vocabulary": "aa"}, "its vocabulary: characters occur twice"),
    ({"vocabulary": "".join(map(chr, range(0x4E00, 0x9000)))}, "do not fit|far larger"),
    ({"made_with": 7}, "its made_with is missing"),
    ({"config": []}, "its config is missing"),
    ({"model": {"a": 1}}, "its weights are missing"),
    ({"version": 1, "relative_cost": [], "config": "A: " + "[" * 500}, "nested too deep"),
    ({"version": 1, "relative_cost": [], "config": "[" * 10**6}, "is longer than"),
    (
        {
            "version": 1,
            "relative_cost": [],
            # Nine to the twelfth keys.
            "config": "A0: &a0 {x: 1}\n"
            + "\n".join(
                f"A{i}: &a{i} {{" + ", ".join(f"k{j}: *a{i - 1}" for j in range(9)) + "}"
                for i in range(1, 13)
            ),
        },
        "more than 5000 keys",
    ),
]


@pytest.fixture(scope="module")
def content(exported):
    return torch.load(exported[0], weights_only=True)


def refused(file, capsys, message):
    """It is refused in one line, also by a command, and without memory."""
    picture = str(file.with_name("x.png"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message) as told:
        load_spotter(file)
    assert isinstance(told.value, ConfigError)
    assert str(file) in str(told.value)
    assert "\n" not in str(told.value) and len(str(told.value)) < 1000 + len(str(file))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB
    assert main([picture, "--model", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {file}")


@pytest.mark.parametrize(("config", "message"), CONFIGS)
def test_hostile_configurations(content, tmp_path, capsys, config, message):
    (tmp_path / "x.png").touch()
    file = tmp_path / "hostile.pth"
    torch.save({**content, "config": {**content["config"], **config}}, file)
    refused(file, capsys, message)


@pytest.mark.parametrize(("changes", "message"), OTHERS)
def test_hostile_contents(content, tmp_path, capsys, changes, message):
    (tmp_path / "x.png").touch()
    torch.save({**content, **changes}, tmp_path / "hostile.pth")
    refused(tmp_path / "hostile.pth", capsys, message)


@pytest.mark.parametrize("keys", ["[" * 100_000, "x", "[]", '{"format": 1}'])
def test_hostile_keys_of_safetensors(content, tmp_path, keys):
    file = tmp_path / "hostile.safetensors"
    safetensors.torch.save_file(content["model"], file, {"dld_d2 spotter": keys})
    with pytest.raises(ConfigError, match=r"hostile\.safetensors: ") as told:
        load_spotter(file)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_weights_that_are_not_finite(content, tmp_path, capsys, value):
    (tmp_path / "x.png").touch()
    name = "spotter.backbone.fpn_lateral2.weight"
    weight = content["model"][name].clone()
    weight.view(-1)[3] = value
    torch.save({**content, "model": {**content["model"], name: weight}}, tmp_path / "hostile.pth")
    refused(tmp_path / "hostile.pth", capsys, rf"{name} holds infinite or NaN values")


def test_a_configuration_that_no_file_may_hold_is_not_exported(tmp_path):
    opts = write_checkpoint(tmp_path / "w.pth", ["INPUT.MAX_SIZE_TEST", "20000"])
    with pytest.raises(ConfigError, match=r"s\.pth: its configuration: INPUT\.MAX_SIZE_TEST"):
        export_spotter(setup_cfg(CONFIG, opts), tmp_path / "s.pth")
    assert not (tmp_path / "s.pth").exists()
    # Whoever has the memory may still say so.
    opts = write_checkpoint(tmp_path / "w.pth")
    export_spotter(setup_cfg(CONFIG, opts), tmp_path / "s.pth")
    cfg, _ = load_spotter(tmp_path / "s.pth", ["INPUT.MAX_SIZE_TEST", "20000"])
    assert cfg.INPUT.MAX_SIZE_TEST == 20_000


@pytest.mark.parametrize("file", sorted(CONFIGS_FOLDER.rglob("*.yaml")), ids=lambda file: file.stem)
def test_no_configuration_of_ours_is_beyond_the_limits(file):
    cfg = setup_cfg(str(file))
    # These two are in no file of a spotter.
    if cfg.MODEL.META_ARCHITECTURE not in ("TextSizeEstimator", "FocusMap"):
        check_limits("a file", inference_config(dict(leaves(cfg)), keys_of(cfg)))


@pytest.mark.parametrize("number", [0, 1])
def test_flipped_bits_in_an_exported_model_are_noticed(exported, tmp_path, number):
    damaged = tmp_path / f"damaged{exported[number].suffix}"
    content = bytearray(exported[number].read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 64):
        content[place] ^= 4
    damaged.write_bytes(content)
    message = r"damaged\.\w+: damaged: .* differs\); make it again with tools/export_student\.py"
    with pytest.raises(ConfigError, match=message):
        load_spotter(damaged)
