"""Costs against closed forms, fvcore, the paper's figures, and a real forward pass."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.nn import functional as F

from dld_d2.analysis.cost import measure_scale_costs
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.cost.multiply_adds import module_cost, on_meta
from dld_d2.modeling.cost.parts import PAPER_UNIT, CostTable, PartCost, Workload
from dld_d2.modeling.cost.resizing import full_resolution_sizes
from dld_d2.modeling.cost.scale_costs import ScaleCosts
from dld_d2.modeling.selection.policies import DynamicScale, FixedScale
from dld_d2.modeling.selection.selector import ResolutionSelector
from dld_d2.modeling.spotter_cost import SpotterCost

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED_CONFIG = str(ROOT / "configs" / "Base-MaskRCNN-Spotter-R50-FPN.yaml")
TINY = str(ROOT / "configs" / "tiny" / "Base-tiny.yaml")
SCALES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def tiny_spotter(*opts: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(setup_cfg(TINY, list(opts)))


@pytest.fixture(scope="module")
def spotter():
    return tiny_spotter()


@pytest.fixture(scope="module")
def tiny_cost(spotter):
    return SpotterCost(spotter)


@pytest.fixture(scope="module")
def published_cost():
    return SpotterCost(build_model(setup_cfg(PUBLISHED_CONFIG, ["MODEL.DEVICE", "cpu"])))


LSTM_GATES = 4 * 7 * (5 + 7)  # hidden 7, input 5


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), (2, 4, 7, 9), 2 * 4 * 5 * 9 * 2 * 6),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (2, 4, 7, 9), 2 * 7 * 9 * 4 * 6 * 4),
        (nn.Linear(4, 6), (3, 5, 4), 3 * 5 * 4 * 6),
        (nn.LSTM(5, 7, batch_first=True), (2, 11, 5), 2 * 11 * LSTM_GATES),
        (nn.LSTM(5, 7, bidirectional=True), (11, 2, 5), 2 * 2 * 11 * LSTM_GATES),
        (nn.LSTMCell(5, 7), (3, 5), 3 * LSTM_GATES),
        (nn.BatchNorm2d(4), (2, 4, 7, 9), 2 * 2 * 4 * 7 * 9),
        (nn.BatchNorm2d(4, affine=False), (2, 4, 7, 9), 2 * 4 * 7 * 9),
        (nn.GroupNorm(2, 4), (2, 4, 7, 9), 5 * 2 * 4 * 7 * 9),
        (nn.LayerNorm(9), (2, 4, 7, 9), 5 * 2 * 4 * 7 * 9),
        (nn.Upsample(scale_factor=2), (2, 4, 7, 9), 4 * 2 * 4 * 7 * 9),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (2, 4, 7, 9), 4 * 4 * 2 * 4 * 7 * 9),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), (2, 4, 7, 9), 0),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_closed_forms(module, shape, expected, device):
    module = on_meta(module) if device == "meta" else module.eval()
    assert module_cost(module, torch.zeros(shape, device=device)) == expected


def test_measuring_leaves_the_model_alone(spotter):
    spotter.train()
    before = {name: tensor.clone() for name, tensor in spotter.state_dict().items()}
    SpotterCost(spotter).table(64, 96, num_regions=3, num_characters=2)
    assert spotter.training
    assert all(p.device.type == "cpu" for p in spotter.parameters())
    for name, tensor in spotter.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (224, 32)])
def test_detection_agrees_with_fvcore(spotter, tiny_cost, size):
    """At sizes whose number of p6 pixels is odd as well."""

    class Detection(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.rpn = spotter.backbone, spotter.proposal_generator

        def forward(self, image):
            features = self.backbone(image)
            return self.rpn.rpn_head([features[name] for name in self.rpn.in_features])

    flops = FlopCountAnalysis(Detection().eval(), torch.zeros(1, 3, *size))
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert tiny_cost.table(*size).published == flops.total()


@pytest.mark.parametrize("conv_on", ["map", "crop"])
def test_parts_sum_to_a_real_forward_pass(conv_on):
    """Count what an actual image takes, from its pixels to its words."""
    spotter = tiny_spotter(
        *("MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", conv_on),
        *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "TEST.DETECTIONS_PER_IMAGE", "7"),
        *("MODEL.RPN.POST_NMS_TOPK_TEST", "20"),
    ).eval()
    seen = {"proposals": 0, "steps": 0}
    heads, decoder = spotter.roi_heads, spotter.roi_heads.text_head.decoder
    heads.box_head.register_forward_pre_hook(
        lambda _, inputs: seen.update(proposals=len(inputs[0]))
    )
    decoder.classifier.register_forward_hook(lambda *_: seen.update(steps=seen["steps"] + 1))
    image = torch.randint(0, 256, (3, 90, 150), dtype=torch.uint8)
    images, _ = spotter.preprocess([{"image": image}])
    found = []
    counted = module_cost(lambda x: found.extend(spotter.inference(x)), images)
    assert (len(found[0]), seen["proposals"]) == (7, 20)
    table = SpotterCost(spotter).table(
        90, 150, num_regions=7, num_characters=seen["steps"], num_proposals=20
    )
    assert table.size == (96, 160)
    assert table.total == counted


def test_regions_proposals_and_characters_add_up(tiny_cost):
    def total(regions, characters, proposals=0):
        return tiny_cost.table(
            96, 160, num_regions=regions, num_characters=characters, num_proposals=proposals
        ).total

    assert total(10, 6) - total(5, 6) == total(5, 6) - total(0, 6) > 0
    assert total(5, 12) - total(5, 6) == total(5, 6) - total(5, 0) > 0
    assert total(0, 6) == total(0, 0)
    assert total(5, 6, 20) - total(5, 6, 10) == total(5, 6, 10) - total(5, 6) > 0
    assert tiny_cost.table(96, 160).workload.num_proposals == 100  # POST_NMS_TOPK_TEST


def test_recognition_in_closed_form(published_cost):
    """Parts of the published branch, by hand."""
    parts = {part.name: part for part in published_cost.table(64, 64).parts}
    c, crop = 256, 8 * 32
    norm = 2 * c
    assert parts["RoI masking, conv on map"].per_image == 16 * 16 * (9 * c * c + norm)
    on_crops = ["MODEL.DEVICE", "cpu", "MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", "crop"]
    fast = SpotterCost(build_model(setup_cfg(PUBLISHED_CONFIG, on_crops))).table(64, 64).parts
    (masking,) = (part for part in fast if part.name == "RoI masking, conv on crops")
    assert masking.per_region == crop * (9 * c * c + norm)
    encoder = 4 * crop * (9 * c * c + norm) + (2 * 34 + 33) * (4 * c * c + norm)
    assert parts["encoder"].per_region == encoder
    lstm = 2 * 4 * 256 * (256 + 256)
    assert parts["context"].per_region == 2 * 33 * (lstm + 512 * 256)
    assert parts["decoder"].per_region == 33 * 256 * 256
    step = 256 * 256 + 33 * 256 + 4 * 256 * (256 + 97 + 256) + 256 * 97
    assert parts["decoder"].per_character == step
    mask = 4 * 14 * 14 * 9 * c * c + 14 * 14 * 4 * c * c + 28 * 28 * c
    assert parts["mask head"].per_region == mask
    assert parts["box head"].per_proposal == 49 * c * 1024 + 1024 * 1024 + 1024 * 6


@pytest.mark.parametrize(("short_side", "published"), [(1280, 517.2), (640, 129.3)])
def test_published_figures_of_icdar2015(published_cost, short_side, published):
    """The FLOPs column of the paper for its 1280 x 720 images."""
    ((height, width),) = full_resolution_sizes([(720, 1280)], short_side, 3000)
    table = published_cost.table(height, width)
    assert table.published / PAPER_UNIT == pytest.approx(published, rel=1e-3)
    lower = published_cost.table(1280, 2276, scale=short_side / 1280)
    assert lower == table


def test_the_released_code_counts_the_selector_too():
    parts = (
        PartCost("selector", per_image=7, selects=True),
        PartCost("backbone", per_image=100, published=True),
        PartCost("box head", per_proposal=3),
        PartCost("encoder", per_region=11),
    )
    table = CostTable(parts, Workload(num_proposals=10, num_regions=2))
    assert (table.published, table.released, table.total) == (100, 107, 107 + 30 + 22)
    assert CostTable(parts[1:], table.workload).released == 100


def test_scales_count_rounding_and_padding(tiny_cost):
    size = (75, 133)
    table = tiny_cost.table(*size, scale=0.5)
    assert table == tiny_cost.table(round(37.5), round(66.5))
    assert table.size == (64, 96)
    costs = measure_scale_costs(tiny_cost, [size], SCALES)
    assert costs.relative[2] == table.published / tiny_cost.table(*size).published
    assert list(costs.cost) == sorted(costs.cost)
    assert tiny_cost.table(1, 1, scale=0.3).size == (32, 32)


def test_whole_costs_fall_less_with_scale(tiny_cost):
    sizes = [(320, 480)]
    counts = {"num_regions": 10, "num_characters": 5}
    whole = measure_scale_costs(tiny_cost, sizes, SCALES, counts="whole", **counts)
    published = measure_scale_costs(tiny_cost, sizes, SCALES, **counts)
    assert all(w > p for w, p in zip(whole.relative, published.relative, strict=True))
    assert whole.full_cost == tiny_cost.table(*sizes[0], **counts).total
    assert whole.workload.num_regions == 10


def test_mean_over_images(tiny_cost):
    sizes = [(96, 160), (64, 64), (96, 160)]
    mean = tiny_cost.average(sizes, num_regions=4, num_characters=2)
    totals = [tiny_cost.table(*s, num_regions=4, num_characters=2).total for s in sizes]
    assert mean.total == pytest.approx(sum(totals) / 3, rel=1e-12)
    assert mean.size is None
    same = tiny_cost.average(sizes[:1] * 3)
    assert same == tiny_cost.table(*sizes[0])


def test_sizes_follow_the_resizing_of_testing():
    images = [(720, 1280), (1280, 720), (100, 1000), (480, 640)]
    assert full_resolution_sizes(images, 1280, 3000) == [
        (1280, 2276),
        (2276, 1280),
        (300, 3000),
        (1280, 1707),
    ]
    assert full_resolution_sizes(images, 0, 3000) == images


def selector_cost(height, width, num_scales):
    """By hand, for batch norm and channels of 32, 64, 128, 256."""
    height, width = height // 2, width // 2
    cost = height * width * (49 * 3 * 32 + 2 * 32)
    for i, o in ((32, 32), (32, 64), (64, 128), (128, 256)):
        height, width = height // 2, width // 2
        cost += height * width * (9 * i * o + 9 * o * o + i * o + 3 * 2 * o)
    return cost + 256 * num_scales


def test_selector_is_counted_at_full_resolution(spotter, tiny_cost):
    cost = SpotterCost(spotter, DynamicScale(ResolutionSelector(num_scales=6)))
    table = cost.table(128, 192, scale=0.5)
    selecting = selector_cost(128, 192, 6)
    assert table.parts[0].per_image == selecting
    assert table.spotter == tiny_cost.table(64, 96).total == table.total - selecting
    assert table.published == tiny_cost.table(64, 96).published
    with_selector = measure_scale_costs(cost, [(128, 192)], [0.5])
    assert with_selector.relative == measure_scale_costs(tiny_cost, [(128, 192)], [0.5]).relative


def test_a_fixed_scale_costs_nothing_to_choose(spotter, tiny_cost):
    cost = SpotterCost(spotter, FixedScale(2, 6))
    assert cost.table(128, 192).total == tiny_cost.table(128, 192).total


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0}, "at least 1 x 1 pixels, got 0 x 64"),
        ({"scale": 0.0}, "scale must be above 0 and at most 1, got 0.0"),
        ({"scale": 1.5}, "got 1.5"),
        ({"num_regions": -1}, "num_regions must not be negative, got -1"),
    ],
)
def test_bad_arguments(tiny_cost, arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_cost.table(**{"height": 64, "width": 64, **arguments})


def test_nothing_to_average(tiny_cost):
    with pytest.raises(ValueError, match="no images"):
        measure_scale_costs(tiny_cost, [], SCALES)
    with pytest.raises(ValueError, match="scales is empty"):
        measure_scale_costs(tiny_cost, [(64, 64)], [])
    with pytest.raises(ValueError, match="published, whole"):
        measure_scale_costs(tiny_cost, [(64, 64)], SCALES, counts="all")


@pytest.fixture(scope="module")
def flops_tool():
    spec = importlib.util.spec_from_file_location("flops_tool", ROOT / "tools" / "flops.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_tool_writes_figures_and_cost_table(flops_tool, tmp_path, capsys):
    figures, table = tmp_path / "figures.json", tmp_path / "costs.json"
    arguments = ["--config-file", TINY, "--size", "96", "150", "--size", "64", "64"]
    arguments += ["--scales", "0.5", "0.8", "--regions", "3", "--characters", "4"]
    arguments += ["--json", str(figures), "--write-cost-table", str(table)]
    assert flops_tool.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "mean of 2 images" in printed and "encoder" in printed
    figures = json.loads(figures.read_text())
    assert figures["num_images"] == 2 and figures["padded_size"] is None
    total = sum(part["total"] for part in figures["parts"])
    assert figures["total"] == pytest.approx(total)
    costs = ScaleCosts.load(table)
    assert costs.scales == (0.5, 0.8) and costs.num_images == 2 and costs.counts == "published"
    assert costs.full_cost == pytest.approx(figures["published"])
    assert costs.config == TINY and len(costs.config_sha256) == 64


def test_tool_measures_scenes_that_are_in_no_file(flops_tool, capsys, tmp_path):
    file = tmp_path / "cost.json"
    arguments = ["--dataset", "synthetic_val", "--json", str(file)]
    assert flops_tool.main(["--config-file", TINY, *arguments]) == 0
    assert json.loads(file.read_text())["num_images"] == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nowhere"], "no text data set 'nowhere'; registered are: "),
        (["--image-root", "no/such/folder"], "no/such/folder is no folder"),
        (["--scales", "2"], "at most 1, got 2.0"),
        (["--opts", "MODEL.DEPTH", "50"], "no configuration key MODEL.DEPTH"),
    ],
)
def test_tool_says_what_is_wrong(flops_tool, capsys, arguments, message):
    assert flops_tool.main(["--config-file", TINY, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_attention_and_products_count_like_their_matrices():
    def attend(x):
        return F.scaled_dot_product_attention(x, x, x)

    x = torch.zeros(2, 3, 5, 8, device="meta")
    assert module_cost(attend, x) == 2 * (2 * 3 * 5 * 5 * 8)
