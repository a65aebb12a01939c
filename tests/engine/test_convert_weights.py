import os
import pickle
import re

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.resnet import build_resnet_backbone

from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.convert_weights import convert, main
from dld_d2.engine.setup import setup_cfg


def make_backbone(depth):
    opts = ["MODEL.RESNETS.DEPTH", str(depth), "MODEL.RESNETS.STRIDE_IN_1X1", "False"]
    opts += ["MODEL.RESNETS.OUT_FEATURES", "['res5']", "MODEL.RESNETS.NORM", "BN"]
    if depth == 18:
        opts += ["MODEL.RESNETS.RES2_OUT_CHANNELS", "64"]
    return build_resnet_backbone(setup_cfg("", opts), ShapeSpec(channels=3)).eval()


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_resnet_computes_the_same_afterwards(tmp_path, depth, suffix):
    torch.manual_seed(0)
    original = getattr(torchvision.models, f"resnet{depth}")().eval()
    for name, value in original.state_dict().items():
        if "bn" in name and value.is_floating_point():
            value.add_(0.1 * torch.rand_like(value))
    file = tmp_path / f"in{suffix}"
    save = torch.save if suffix == ".pth" else safetensors.torch.save_file
    save(original.state_dict(), file)
    main([str(file), str(tmp_path / "out.pth")])

    backbone = make_backbone(depth)
    SpotterCheckpointer(backbone).load(str(tmp_path / "out.pth"))
    # In double precision, since the random network amplifies rounding errors.
    rgb = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    layers = torch.nn.Sequential(*list(original.children())[:-2]).double()
    with torch.no_grad():
        torch.testing.assert_close(backbone.double()(rgb.flip(1))["res5"], layers(rgb))


def test_reads_pickles_of_the_model_zoo(tmp_path):
    backbone = make_backbone(18)
    arrays = {name: value.numpy() for name, value in backbone.state_dict().items()}
    data = {"model": arrays, "__author__": "someone", "matching_heuristics": True}
    (tmp_path / "in.pkl").write_bytes(pickle.dumps(data, protocol=2))
    assert convert(tmp_path / "in.pkl", tmp_path / "out.pth") == len(arrays)
    other = make_backbone(18)
    SpotterCheckpointer(other).load(str(tmp_path / "out.pth"))
    for name, value in other.state_dict().items():
        assert torch.equal(value, backbone.state_dict()[name]), name


def test_leaves_the_momentum_of_old_pickles_out(tmp_path):
    blobs = {"conv1_w": np.ones(2, np.float32), "conv1_w_momentum": np.ones(2), "lr": 0.1}
    (tmp_path / "in.pkl").write_bytes(pickle.dumps({"blobs": blobs}))
    assert convert(tmp_path / "in.pkl", tmp_path / "out.pth") == 1
    out = torch.load(tmp_path / "out.pth", weights_only=True)
    assert out["__author__"] == "Caffe2"
    assert list(out["model"]) == ["conv1_w"]


class RunsCode:
    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_never_runs_code_from_a_pickle(tmp_path):
    evil = RunsCode()
    evil.folder = str(tmp_path / "hacked")
    (tmp_path / "in.pkl").write_bytes(pickle.dumps({"model": evil, "__author__": "x"}))
    with pytest.raises(ValueError, match=r"in\.pkl.*mkdir, which is no array"):
        convert(tmp_path / "in.pkl", tmp_path / "out.pth")
    assert not (tmp_path / "hacked").exists()
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize(
    ("name", "content", "target", "message"),
    [
        ("in.pkl", b"hello", "out.pth", r"in\.pkl: not a pickle of arrays"),
        ("in.pkl", pickle.dumps([1]), "out.pth", "found a list"),
        ("in.pkl", pickle.dumps({"a": 1}), "out.pth", "no array"),
        ("in.pkl", pickle.dumps({}), "out.bin", r"a \.pth file"),
        ("other.pkl", b"", "out.pth", "no such file"),
    ],
)
def test_reports_what_cannot_be_converted(tmp_path, name, content, target, message, capsys):
    (tmp_path / name.replace("other", "unused")).write_bytes(content)
    assert main([str(tmp_path / name), str(tmp_path / target)]) == 2
    assert re.fullmatch(rf"error: .*{message}.*\n", capsys.readouterr().err)


def test_reports_another_model(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "in.pth")
    with pytest.raises(ValueError, match="not a ResNet"):
        convert(tmp_path / "in.pth", tmp_path / "out.pth")
