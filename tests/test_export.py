"""One file holds all that a spotter needs, and nothing that is unsafe or of its makers' machine."""

import importlib.util
import json
import os
from pathlib import Path

import cv2
import pytest
import safetensors
import safetensors.torch
import torch
import yaml
from tiny_distiller import CONFIG, picture, write_checkpoint

import dld_d2
from dld_d2.analysis.scale_costs import ScaleCosts
from dld_d2.engine.export import export_spotter, load_spotter
from dld_d2.engine.setup import ConfigError, setup_cfg
from dld_d2.predictor import TextSpotter

ROOT = Path(__file__).resolve().parents[1]


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def opts(folder):
    return write_checkpoint(folder / "model_final.pth", ["MODEL.DISTILL.SELECTOR.COST_BIAS", "0.5"])


@pytest.fixture(scope="module")
def exported(folder, opts):
    """One file per format."""
    files = [folder / "student.pth", folder / "student.safetensors"]
    for file in files:
        export_spotter(setup_cfg(CONFIG, opts), file)
    return files


def described(result):
    words = [(w.text, w.score, w.detection_score, w.polygon.tolist()) for w in result]
    return words, result.scale, result.relative_cost


@pytest.mark.parametrize("number", [0, 1])
def test_the_file_reads_as_config_and_weights_do(exported, opts, number):
    before = TextSpotter(setup_cfg(CONFIG, opts))
    after = TextSpotter.from_file(exported[number])
    assert after.cost_bias == 0.5 and after.scales == (0.4, 0.6, 1.0)
    scales = set()
    for seed in range(4):
        result = after(picture(seed))
        assert described(result) == described(before(picture(seed)))
        scales.add(result.scale)
    assert len(scales) > 1


def test_a_spotter_without_selector(tmp_path):
    cfg = setup_cfg(CONFIG, write_checkpoint(tmp_path / "w.pth", distiller=False))
    export_spotter(cfg, tmp_path / "teacher.pth")
    spotter = TextSpotter.from_file(tmp_path / "teacher.pth")
    result = spotter(picture(0))
    assert described(result) == described(TextSpotter(cfg)(picture(0)))
    assert (result.scale, result.relative_cost, spotter.scales) == (1.0, 1.0, (1.0,))
    with pytest.raises(ValueError, match="no resolution selector"):
        spotter.cost_bias = 1.0


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_the_size(exported, opts, tmp_path, suffix):
    file = tmp_path / f"half{suffix}"
    export_spotter(setup_cfg(CONFIG, opts), file, half=True)
    whole = load_spotter(exported[0])[1].state_dict()
    halved = load_spotter(file)[1].state_dict()
    for name, value in whole.items():
        assert halved[name].dtype == value.dtype, name
        exact = value.ndim < 2 or not value.is_floating_point()
        torch.testing.assert_close(
            halved[name], value if exact else value.half().float(), rtol=0, atol=0
        )
    assert file.stat().st_size < 0.75 * exported[0].stat().st_size
    assert (
        TextSpotter.from_file(file).model.student.backbone.fpn_output2.weight.dtype == torch.float32
    )


def test_halving_refuses_what_would_overflow(tmp_path):
    opts = write_checkpoint(tmp_path / "w.pth")
    saved = torch.load(tmp_path / "w.pth", weights_only=True)
    saved["model"]["policy.selector.classifier.weight"][0, 0] = 1e6
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"policy\.selector\.classifier\.weight .* float16"):
        export_spotter(setup_cfg(CONFIG, opts), tmp_path / "s.pth", half=True)
    assert not (tmp_path / "s.pth").exists()


def test_a_student_of_fixed_scale(tmp_path):
    fixed = ["MODEL.DISTILL.SELECTION", "fixed", "MODEL.DISTILL.FIXED_SCALE", "0.6"]
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
        *("MODEL.DISTILL.SELECTOR.COST", str(costs)),
    ]
    opts = write_checkpoint(tmp_path / "w.pth", named)
    opts += ["MODEL.DISTILL.TEACHER_WEIGHTS", str(tmp_path / "teacher.pth")]
    opts += ["MODEL.DISTILL.SELECTOR.WEIGHTS", str(tmp_path / "text_size.pth")]
    opts += ["OUTPUT_DIR", str(tmp_path / "run")]
    export_spotter(setup_cfg(CONFIG, opts), tmp_path / "student.pth")
    for name in ("characters.txt", "costs.json", "w.pth"):
        os.remove(tmp_path / name)
    spotter = TextSpotter.from_file(tmp_path / "student.pth")
    assert spotter.model.student.recognition.vocabulary.characters == "éa b0"
    expected = torch.tensor([0.3, 0.5, 0.9])
    assert torch.equal(spotter.model.relative_cost, expected)
    assert torch.equal(spotter.model.policy.relative_cost, expected)
    assert spotter(picture(0)).relative_cost in expected.tolist()
    content = torch.load(tmp_path / "student.pth", weights_only=True)
    assert str(tmp_path) not in content["config"]
    costs = yaml.safe_load(content["config"])["MODEL"]["DISTILL"]["SELECTOR"]["COST"]
    assert costs == "measured"


def test_what_only_training_needs_stays_behind(tmp_path):
    larger = ["MODEL.DISTILL.TEACHER_OPTS", "('MODEL.RECOGNITION.ROI.SIZE', '(16, 64)')"]
    cfg = setup_cfg(CONFIG, write_checkpoint(tmp_path / "w.pth", larger))
    export_spotter(cfg, tmp_path / "s.pth")
    names = torch.load(tmp_path / "s.pth", weights_only=True)["model"]
    assert any(name.startswith("aligner.") for name in torch.load(cfg.MODEL.WEIGHTS)["model"])
    assert {name.split(".")[0] for name in names} == {"student", "policy"}
    assert described(TextSpotter.from_file(tmp_path / "s.pth")(picture(0))) == described(
        TextSpotter(cfg)(picture(0))
    )


def test_the_configuration_is_whole_and_can_be_overridden(exported, opts):
    text = torch.load(exported[0], weights_only=True)["config"]
    flat = yaml.safe_load(text)
    assert flat["INPUT"]["MIN_SIZE_TEST"] == 96 and set(flat) == set(setup_cfg(CONFIG, opts))
    loaded, model = load_spotter(exported[0], ["INPUT.MIN_SIZE_TEST", "64"])
    assert loaded.INPUT.MIN_SIZE_TEST == 64 and not model.training
    with pytest.raises(ConfigError, match=r"command line: there is no .*MODEL\.DISTIL\.SCALES"):
        load_spotter(exported[0], ["MODEL.DISTIL.SCALES", "(1.0,)"])
    with pytest.raises(ValueError, match=r"student\.pth: its weights do not fit .*FC_DIM"):
        load_spotter(exported[0], ["MODEL.ROI_BOX_HEAD.FC_DIM", "8"])
    with pytest.raises(ValueError, match=r"costs of 3 scales.*has 2"):
        load_spotter(exported[0], ["MODEL.DISTILL.SCALES", "(0.4, 1.0)"])


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
    with pytest.raises(ValueError, match=r"damaged\.\w+: not"):
        load_spotter(damaged)


class Unsafe:
    def __reduce__(self):
        return (os.mkdir, ("this-must-not-be-made",))


def test_code_in_a_file_does_not_run(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"other than tensors and plain Python values"):
        load_spotter(rewritten(exported[0], tmp_path, extra=Unsafe()))
    assert not Path("this-must-not-be-made").exists()


def test_files_of_other_kinds(exported, opts, tmp_path):
    checkpoint = opts[opts.index("MODEL.WEIGHTS") + 1]
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
    for version in (2, "1", None):
        with pytest.raises(ValueError, match=rf"format version {version}.*up to 1; update"):
            load_spotter(rewritten(exported[0], tmp_path, version=version))
    config = torch.load(exported[0], weights_only=True)["config"]
    newer = config.replace("  SCALES:", "  GHOST_KEY: 1\n    SCALES:", 1)
    assert newer != config
    changed = rewritten(exported[0], tmp_path, config=newer, made_with="99.0")
    with pytest.raises(ConfigError) as error:
        load_spotter(changed)
    assert str(error.value) == (
        f"{changed}: its configuration: there is no configuration key MODEL.DISTILL.GHOST_KEY; "
        f"did you mean MODEL.DISTILL.SPOTTER? (made with dld_d2 99.0, "
        f"this is {dld_d2.__version__}: use that version, or a later one)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": 3}, "its config is missing or no text"),
        ({"config": "a: [b"}, "changed.pth"),
        ({"config": "_BASE_: other.yaml"}, "_BASE_"),
        ({"vocabulary": None}, "its vocabulary is missing"),
        ({"relative_cost": ["1"]}, "relative_cost is missing or no list of numbers"),
        ({"relative_cost": [1.0]}, "costs of 1 scales, but the configuration has 3"),
        ({"model": {}}, "its weights do not fit its configuration"),
        ({"model": None}, "its weights are missing"),
    ],
)
def test_contents_that_are_wrong(exported, tmp_path, changes, message):
    with pytest.raises(ValueError, match="changed") as error:
        load_spotter(rewritten(exported[0], tmp_path, **changes))
    assert message in str(error.value) and "/tmp/dld_d2_" not in str(error.value)


def test_unknown_architectures_are_named(exported, tmp_path):
    config = torch.load(exported[0], weights_only=True)["config"]
    config = config.replace("DynamicResolutionDistiller", "SomebodysDistiller")
    with pytest.raises(ValueError, match=r"SomebodysDistiller.*import the module"):
        load_spotter(rewritten(exported[0], tmp_path, config=config))


def test_what_cannot_be_exported(opts, tmp_path):
    cfg = setup_cfg(CONFIG, opts)
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
            export_spotter(setup_cfg(CONFIG, opts + changes), tmp_path / output)
        assert not (tmp_path / "s.pth").exists()


def test_the_tool_and_the_demo(folder, opts, tmp_path, capsys, monkeypatch):
    export, demo = tool("export_student"), tool("demo")
    monkeypatch.setattr(demo, "setup_logger", lambda **_: None)
    at = opts.index("MODEL.WEIGHTS")
    student = tmp_path / "student.safetensors"
    arguments = ["--config-file", CONFIG, "--weights", opts[at + 1], "--output", str(student)]
    assert export.main([*arguments, "--cost-bias", "-2.5", "--opts", *opts[:at]]) == 0
    told = capsys.readouterr().out
    assert "scales 0.4, 0.6, 1; cost bias -2.5" in told and "MiB, DynamicResolutionDist" in told
    with safetensors.safe_open(student, framework="pt") as file:
        assert json.loads(file.metadata()["dld_d2 spotter"])["version"] == 1

    image = tmp_path / "a.png"
    cv2.imwrite(str(image), picture(0))
    out = ["--input", str(image), "--output", str(tmp_path / "out")]
    assert demo.main(["--model", str(student), *out]) == 0
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["images"]
    expected = TextSpotter.from_file(student)(image)
    assert result["scale"] == expected.scale
    assert [word["text"] for word in result["words"]] == [word.text for word in expected]

    assert demo.main(["--model", opts[at + 1], *out]) == 2
    assert "not an exported spotter" in capsys.readouterr().err
    plain = ["MODEL.META_ARCHITECTURE", "MaskRCNNSpotter"]
    assert export.main([*arguments, "--cost-bias", "1", "--opts", *opts[:at], *plain]) == 2
    assert "no resolution selector" in capsys.readouterr().err
