"""One file holds all that a spotter needs, and nothing that is unsafe or of its makers' machine."""

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tiny_dynamic_spotter import CONFIG, described, picture, write_checkpoint

import dld_d2
from dld_d2.deployment import TextSpotter, model_file
from dld_d2.deployment.model_file import export_spotter, load_spotter
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.setup import ConfigError, default_cfg, setup_cfg
from dld_d2.modeling.cost.scale_costs import ScaleCosts
from dld_d2.modeling.dynamic_spotter import DynamicSpotter


@pytest.mark.parametrize("number", [0, 1])
def test_the_file_reads_as_config_and_weights_do(exported, biased, number):
    before = TextSpotter(setup_cfg(CONFIG, biased))
    after = TextSpotter.from_file(exported[number])
    assert after.cost_bias == 0.5 and after.scales == (0.4, 0.6, 1.0)
    scales = set()
    for seed in range(4):
        result = after(picture(seed))
        assert described(result) == described(before(picture(seed)))
        scales.add(result.scale)
    assert len(scales) > 1


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_spotter_without_selector(tmp_path, suffix):
    cfg = setup_cfg(CONFIG, write_checkpoint(tmp_path / "w.pth", dynamic=False))
    export_spotter(cfg, tmp_path / f"teacher{suffix}")
    spotter = TextSpotter.from_file(tmp_path / f"teacher{suffix}")
    result = spotter(picture(0))
    assert described(result) == described(TextSpotter(cfg)(picture(0)))
    assert (result.scale, result.relative_cost, spotter.scales) == (1.0, 1.0, (1.0,))
    with pytest.raises(ValueError, match="no resolution selector"):
        spotter.cost_bias = 1.0


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_the_size(exported, biased, tmp_path, suffix):
    file = tmp_path / f"half{suffix}"
    export_spotter(setup_cfg(CONFIG, biased), file, half=True)
    whole = load_spotter(exported[0])[1].state_dict()
    halved = load_spotter(file)[1].state_dict()
    for name, value in whole.items():
        assert halved[name].dtype == value.dtype, name
        exact = value.ndim < 2 or not value.is_floating_point()
        torch.testing.assert_close(
            halved[name], value if exact else value.half().float(), rtol=0, atol=0
        )
    assert file.stat().st_size < 0.75 * exported[0].stat().st_size
    spotter = TextSpotter.from_file(file).model.spotter
    assert spotter.backbone.fpn_output2.weight.dtype == torch.float32


def test_halving_refuses_what_would_overflow(tmp_path):
    opts = write_checkpoint(tmp_path / "w.pth")
    saved = torch.load(tmp_path / "w.pth", weights_only=True)
    saved["model"]["policy.selector.classifier.weight"][0, 0] = 1e6
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"policy\.selector\.classifier\.weight .* float16"):
        export_spotter(setup_cfg(CONFIG, opts), tmp_path / "s.pth", half=True)
    assert not (tmp_path / "s.pth").exists()


def test_a_student_of_fixed_scale(tmp_path):
    fixed = ["MODEL.DYNAMIC.POLICY", "fixed", "MODEL.DYNAMIC.FIXED_SCALE", "0.6"]
    cfg = setup_cfg(CONFIG, write_checkpoint(tmp_path / "w.pth", fixed))
    export_spotter(cfg, tmp_path / "s.pth")
    spotter = TextSpotter.from_file(tmp_path / "s.pth")
    assert spotter(picture(0)).scale == 0.6
    with pytest.raises(ValueError, match="no resolution selector"):
        spotter.scale_logits([picture(0)])


def test_files_that_the_configuration_names_travel_along(tmp_path):
    vocabulary, costs = tmp_path / "characters.txt", tmp_path / "costs.json"
    vocabulary.write_text("éa b0", encoding="utf-8")
    ScaleCosts((1.0, 0.6, 0.4), (9.0, 5.0, 3.0), 10.0).save(costs)
    named = [
        *("MODEL.RECOGNITION.VOCABULARY", str(vocabulary)),
        *("MODEL.DYNAMIC.COST", str(costs)),
    ]
    opts = write_checkpoint(tmp_path / "w.pth", named)
    opts += ["MODEL.DISTILL.TEACHER_WEIGHTS", str(tmp_path / "teacher.pth")]
    opts += ["MODEL.DISTILL.SELECTOR.WEIGHTS", str(tmp_path / "text_size.pth")]
    opts += ["OUTPUT_DIR", str(tmp_path / "run")]
    export_spotter(setup_cfg(CONFIG, opts), tmp_path / "student.pth")
    for name in ("characters.txt", "costs.json", "w.pth"):
        os.remove(tmp_path / name)
    spotter = TextSpotter.from_file(tmp_path / "student.pth")
    assert spotter.model.spotter.vocabulary.characters == "éa b0"
    assert spotter.model.spotter.roi_heads.text_head.vocabulary.characters == "éa b0"
    expected = torch.tensor([0.3, 0.5, 0.9])
    assert torch.equal(spotter.model.relative_cost, expected)
    assert spotter(picture(0)).relative_cost in expected.tolist()
    content = torch.load(tmp_path / "student.pth", weights_only=True)
    assert str(tmp_path) not in str({**content, "model": None})


@pytest.mark.parametrize("number", [0, 1])
def test_its_configuration_can_be_overridden(exported, number):
    file = exported[number]
    cfg, model = load_spotter(file, ["INPUT.MIN_SIZE_TEST", "64"])
    assert cfg.INPUT.MIN_SIZE_TEST == 64 and not model.training and cfg.is_frozen()
    with pytest.raises(ConfigError, match=r"command line: there is no .*MODEL\.DYNAMIK\.SCALES"):
        load_spotter(file, ["MODEL.DYNAMIK.SCALES", "(1.0,)"])
    with pytest.raises(ConfigError, match=r"MODEL\.DISTILL\.SCALES is called MODEL\.DYNAMIC\.SC"):
        load_spotter(file, ["MODEL.DISTILL.SCALES", "(1.0,)"])
    with pytest.raises(ConfigError, match="pairs of key and value"):
        load_spotter(file, ["MODEL.DEVICE"])
    with pytest.raises(ValueError, match=rf"{file.name}: its weights do not fit .*FC_DIM 8"):
        load_spotter(file, ["MODEL.ROI_BOX_HEAD.FC_DIM", "8"])


def test_other_scales_have_other_costs(exported, tmp_path):
    """A selector chooses among as many as it has learnt to choose among."""
    message = r"do not fit .* MODEL\.DYNAMIC\.SCALES \(0\.4, 1\.0\): (.|\n)*classifier"
    with pytest.raises(ValueError, match=message):
        load_spotter(exported[0], ["MODEL.DYNAMIC.SCALES", "(0.4, 1.0)"])
    _, model = load_spotter(exported[0], ["MODEL.DYNAMIC.SCALES", "(0.25, 0.5, 1.0)"])
    # Of 96 x 192 pixels, padded to 32 x 64 and 64 x 96.
    expected = torch.tensor([1 / 9, 1 / 3, 1.0])
    torch.testing.assert_close(model.relative_cost, expected, rtol=0.01, atol=0)
    fixed = ["MODEL.DYNAMIC.POLICY", "fixed", "MODEL.DYNAMIC.FIXED_SCALE", "0.6"]
    cfg = setup_cfg(CONFIG, write_checkpoint(tmp_path / "w.pth", fixed))
    export_spotter(cfg, tmp_path / "s.pth")
    _, model = load_spotter(tmp_path / "s.pth", ["MODEL.DYNAMIC.SCALES", "(0.6,)"])
    assert model.scales == (0.6,) and model.relative_cost.item() == pytest.approx(4 / 9, rel=0.01)


def test_a_model_that_trained_with_ctc_goes_where_there_is_none_and_back(tmp_path):
    """Only training has that layer; as a teacher or a start a model file is good all the same."""
    opts = write_checkpoint(tmp_path / "w.pth", dynamic=False)
    file = tmp_path / "s.pth"
    export_spotter(setup_cfg(CONFIG, opts), file)
    assert not any("ctc" in name for name in torch.load(file, weights_only=True)["model"])
    for weight, source in (("1.0", file), ("0.0", tmp_path / "w.pth")):
        cfg = setup_cfg(CONFIG, [*opts, "MODEL.ROI_TEXT_HEAD.CTC_WEIGHT", weight])
        model = build_model(cfg)
        SpotterCheckpointer(model).load_exactly(str(source), checkpointables=[])
        assert (model.roi_heads.text_head.ctc is not None) == (weight == "1.0")


def test_costs_are_those_of_the_file_unless_they_are_asked_for_anew(exported, tmp_path):
    learnt = torch.tensor([0.4, 0.6, 1.0]) ** 1.5  # the configured costs, POWER
    torch.testing.assert_close(load_spotter(exported[0])[1].relative_cost, learnt)
    # A cost bias is nothing about costs.
    _, model = load_spotter(exported[0], ["MODEL.DYNAMIC.COST_BIAS", "3.0"])
    torch.testing.assert_close(model.relative_cost, learnt)
    assert model.policy.cost_bias == 3.0
    _, model = load_spotter(exported[0], ["MODEL.DYNAMIC.COST_EXPONENT", "2.0"])
    torch.testing.assert_close(model.relative_cost, torch.tensor([0.16, 0.36, 1.0]))
    file = tmp_path / "costs.json"
    ScaleCosts((1.0, 0.6, 0.4), (9.0, 5.0, 3.0), 10.0).save(file)
    _, model = load_spotter(exported[0], ["MODEL.DYNAMIC.COST", str(file)])
    assert model.relative_cost.tolist() == pytest.approx([0.3, 0.5, 0.9])
    cfg = setup_cfg(
        CONFIG, [*write_checkpoint(tmp_path / "w.pth"), "MODEL.DYNAMIC.COST", "measured"]
    )
    _, model = load_spotter(exported[0], ["MODEL.DYNAMIC.COST", "measured"])
    measured = DynamicSpotter(cfg).relative_cost
    assert torch.equal(model.relative_cost, measured) and not torch.allclose(measured, learnt)


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_is_good_as_weights(exported, biased, number):
    expected = described(TextSpotter.from_file(exported[number])(picture(0)))
    named = ["MODEL.WEIGHTS", str(exported[number])]
    cfg = setup_cfg(CONFIG, [*biased, *named])
    assert described(TextSpotter(cfg)(picture(0))) == expected
    # But for the layer of CTC it has all that a checkpoint has.
    cfg = setup_cfg(CONFIG, [*biased, *named, "MODEL.ROI_TEXT_HEAD.CTC_WEIGHT", "0.0"])
    model = DynamicSpotter(cfg).eval()
    SpotterCheckpointer(model).load_exactly(cfg.MODEL.WEIGHTS, checkpointables=[])
    assert described(TextSpotter(cfg, model=model)(picture(0))) == expected


def rewritten(file, folder, **changes):
    content = torch.load(file, weights_only=True)
    torch.save({**content, **changes}, folder / "changed.pth")
    return folder / "changed.pth"


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_damaged_files(exported, tmp_path, number, keep):
    content = exported[number].read_bytes()
    damaged = tmp_path / f"damaged{exported[number].suffix}"
    damaged.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match=r"damaged\.\w+: (not a whole|damaged)"):
        load_spotter(damaged)


class Unsafe:
    def __reduce__(self):
        return (os.mkdir, ("this-must-not-be-made",))


def test_code_in_a_file_does_not_run(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"other than tensors and plain Python values"):
        load_spotter(rewritten(exported[0], tmp_path, extra=Unsafe()))
    assert not Path("this-must-not-be-made").exists()


def test_files_of_other_kinds(exported, biased, tmp_path):
    checkpoint = biased[biased.index("MODEL.WEIGHTS") + 1]
    with pytest.raises(ValueError, match=r"not an exported spotter.*export_student\.py"):
        load_spotter(checkpoint)
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not an exported spotter"):
        load_spotter(tmp_path / "other.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="not an exported spotter"):
        load_spotter(tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        load_spotter(tmp_path / "missing.pth")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.onnx: .* ends in \.pth or \.safetensors"):
        load_spotter(tmp_path / "a.onnx")


def test_files_of_later_versions(exported, tmp_path):
    with pytest.raises(ValueError, match=r"format version 3.*up to 2; update"):
        load_spotter(rewritten(exported[0], tmp_path, version=3))
    for version in ("1", None, True, 0, -2, 1.0):
        with pytest.raises(ValueError, match="its format version is missing or no whole number"):
            load_spotter(rewritten(exported[0], tmp_path, version=version))


def test_a_key_that_this_version_does_not_know(exported, tmp_path):
    config = torch.load(exported[0], weights_only=True)["config"]
    newer = {**config, "MODEL.DYNAMIC.GHOST_KEY": 1}
    changed = rewritten(exported[0], tmp_path, config=newer, made_with="99.0")
    with pytest.raises(ConfigError) as error:
        load_spotter(changed)
    message = str(error.value)
    key = "its configuration: there is no configuration key MODEL.DYNAMIC.GHOST_KEY"
    assert message.startswith(f"{changed}: {key}")
    assert message.endswith(
        f"(made with dld_d2 99.0, this is {dld_d2.__version__}: use that version, or a later one)"
    )
    # Of this very version it is damage, and no other version would help.
    changed = rewritten(exported[0], tmp_path, config=newer)
    with pytest.raises(ConfigError) as error:
        load_spotter(changed)
    assert "GHOST_KEY" in str(error.value) and "made with" not in str(error.value)


def test_keys_that_come_later_do_not_matter(exported, monkeypatch):
    """A version with more keys, for training or for models, reads what this one wrote."""
    expected = described(TextSpotter.from_file(exported[0])(picture(0)))

    def later_cfg():
        cfg = default_cfg()
        cfg.SOLVER.LATER_KEY = 3
        cfg.MODEL.DYNAMIC.LATER_KEY = ("a", 1)
        cfg.MODEL.ROI_TEXT_HEAD.LATER = CfgNode({"KEY": 0.5})
        cfg.INPUT.MIN_SIZE_TRAIN = (1,)  # other defaults, too
        return cfg

    monkeypatch.setattr(model_file, "default_cfg", later_cfg)
    cfg, model = load_spotter(exported[0])
    assert cfg.SOLVER.LATER_KEY == 3 and cfg.MODEL.ROI_TEXT_HEAD.LATER.KEY == 0.5
    assert described(TextSpotter(cfg, model=model)(picture(0))) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": 3}, "its config is missing or no dict"),
        ({"config": "MODEL: {}"}, "its config is missing or no dict"),
        ({"vocabulary": None}, "its vocabulary is missing"),
        ({"made_with": 3}, "its made_with is missing or no str"),
        ({"model": {}}, "the costs of its scales are missing"),
        ({"model": None}, "its weights are missing"),
        ({"model": {"spotter": torch.ones(2)}}, "the costs of its scales are missing"),
        ({"model": {"relative_cost": torch.ones(2)}}, "its weights do not fit its configuration"),
    ],
)
def test_contents_that_are_wrong(exported, tmp_path, changes, message):
    with pytest.raises(ValueError, match="changed") as error:
        load_spotter(rewritten(exported[0], tmp_path, **changes))
    assert message in str(error.value) and "/tmp/dld_d2_" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.META_ARCHITECTURE", "SomebodysSpotter", "SomebodysSpotter.*import the module"),
        ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "GeneralizedRCNN.*as a spotter"),
        ("MODEL.DYNAMIC.SPOTTER", "SomebodysSpotter", "SomebodysSpotter.*import the module"),
        ("INPUT.MIN_SIZE_TEST", "many", "INPUT.MIN_SIZE_TEST is 'many'.*expected a whole number"),
        ("_BASE_", "other.yaml", "no configuration key _BASE_"),
    ],
)
def test_configurations_that_are_wrong(exported, tmp_path, key, value, message):
    config = torch.load(exported[0], weights_only=True)["config"]
    with pytest.raises(ValueError, match=rf"changed\.pth: .*{message}"):
        load_spotter(rewritten(exported[0], tmp_path, config={**config, key: value}))


def test_what_cannot_be_exported(biased, tmp_path):
    cfg = setup_cfg(CONFIG, biased)
    content = torch.load(cfg.MODEL.WEIGHTS)
    next(iter(content["model"].values())).fill_(float("nan"))
    torch.save(content, tmp_path / "nan.pth")
    for changes, output, message in (
        (["MODEL.WEIGHTS", ""], "s.pth", "no weights to export"),
        ([], "s.onnx", r"s\.onnx.*ends in"),
        (["MODEL.WEIGHTS", str(tmp_path / "nan.pth")], "nan.pth", "overwrite the weights"),
        (["MODEL.WEIGHTS", str(tmp_path / "nan.pth")], "s.pth", "infinite or NaN"),
        (["MODEL.RPN.CONV_DIMS", "[8]"], "s.pth", "another model than the configured"),
    ):
        with pytest.raises(ValueError, match=message):
            export_spotter(setup_cfg(CONFIG, biased + changes), tmp_path / output)
        assert not (tmp_path / "s.pth").exists()
