"""Counts of single layers and operators, against closed forms.

Which operator a layer runs as, and how PyTorch's counter looks operators up, changes between its
versions, so that a layer can come to count nothing without any error. Every expected count here is
above zero, but for those of what is meant to count nothing, which stands beside what counts.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dld_d2.modeling.cost.multiply_adds import module_cost, on_meta

DEVICES = ["cpu", "meta"]

N, C, H, W = IMAGE = (2, 4, 7, 9)
ELEMENTS = N * C * H * W

# Of an LSTM with 5 inputs and 7 units: four gates, of the input and of the hidden state.
LSTM_STEP = 4 * 7 * (5 + 7)
# Of the second layer of a bidirectional one, which reads both directions of the first.
SECOND_LSTM_STEP = 4 * 7 * (2 * 7 + 7)

CONVOLUTIONS = {
    "convolution": (nn.Conv2d(4, 6, 3, padding=1), IMAGE, N * H * W * 9 * 4 * 6),
    "strided": (nn.Conv2d(4, 6, 3, 2, padding=1), IMAGE, N * 4 * 5 * 9 * 4 * 6),
    "dilated": (nn.Conv2d(4, 6, 3, dilation=2), IMAGE, N * 3 * 5 * 9 * 4 * 6),
    "grouped": (nn.Conv2d(4, 6, 3, padding=1, groups=2), IMAGE, N * H * W * 9 * 2 * 6),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), IMAGE, N * H * W * 9 * 4),
    "of a sequence": (nn.Conv1d(4, 6, 3), (2, 4, 9), 2 * 7 * 3 * 4 * 6),
    # Every pixel of the input is multiplied by the whole kernel.
    "transposed": (nn.ConvTranspose2d(4, 6, 2, 2), IMAGE, N * H * W * 4 * 4 * 6),
    "transposed, grouped": (
        nn.ConvTranspose2d(4, 6, 2, 2, groups=2),
        IMAGE,
        N * H * W * 4 * 2 * 6,
    ),
}

RECURRENT = {
    "LSTM": (nn.LSTM(5, 7), (11, 2, 5), 11 * 2 * LSTM_STEP),
    "LSTM, one sequence": (nn.LSTM(5, 7), (11, 5), 11 * LSTM_STEP),
    "LSTM, batch first": (nn.LSTM(5, 7, batch_first=True), (2, 11, 5), 2 * 11 * LSTM_STEP),
    "LSTM, without biases": (nn.LSTM(5, 7, bias=False), (11, 2, 5), 11 * 2 * LSTM_STEP),
    "LSTM, both directions": (
        nn.LSTM(5, 7, bidirectional=True),
        (11, 2, 5),
        2 * 11 * 2 * LSTM_STEP,
    ),
    "LSTM, stacked": (
        nn.LSTM(5, 7, num_layers=2, bidirectional=True, batch_first=True),
        (2, 11, 5),
        2 * 2 * 11 * (LSTM_STEP + SECOND_LSTM_STEP),
    ),
    "LSTM cell": (nn.LSTMCell(5, 7), (3, 5), 3 * LSTM_STEP),
    "GRU": (nn.GRU(5, 7, bidirectional=True), (11, 2, 5), 2 * 11 * 2 * 3 * 7 * (5 + 7)),
    "GRU cell": (nn.GRUCell(5, 7), (3, 5), 3 * 3 * 7 * (5 + 7)),
}

NORMALISATIONS = {
    "batch": (nn.BatchNorm2d(4), IMAGE, 2 * ELEMENTS),
    "batch, not affine": (nn.BatchNorm2d(4, affine=False), IMAGE, ELEMENTS),
    "batch, of vectors": (nn.BatchNorm1d(4), (3, 4), 2 * 3 * 4),
    "batch, without statistics": (
        nn.BatchNorm2d(4, track_running_stats=False),
        IMAGE,
        2 * ELEMENTS,
    ),
    "batch, synchronised": (nn.SyncBatchNorm(4), IMAGE, 2 * ELEMENTS),
    "group": (nn.GroupNorm(2, 4), IMAGE, 5 * ELEMENTS),
    "group, not affine": (nn.GroupNorm(2, 4, affine=False), IMAGE, 4 * ELEMENTS),
    "layer": (nn.LayerNorm(W), IMAGE, 5 * ELEMENTS),
    "layer, not affine": (nn.LayerNorm(W, elementwise_affine=False), IMAGE, 4 * ELEMENTS),
}

UPSAMPLING = {
    "nearest": (nn.Upsample(scale_factor=2), IMAGE, 4 * ELEMENTS),
    "nearest, to a size": (nn.Upsample(size=(5, 6)), IMAGE, N * C * 5 * 6),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE, 4 * 4 * ELEMENTS),
    "bilinear, aligned": (
        nn.Upsample(size=(5, 6), mode="bilinear", align_corners=True),
        IMAGE,
        4 * N * C * 5 * 6,
    ),
    "bilinear, antialiased": (
        lambda x: F.interpolate(x, size=(3, 5), mode="bilinear", antialias=True),
        IMAGE,
        4 * N * C * 3 * 5,
    ),
}

PRODUCTS = {
    "linear": (nn.Linear(4, 6), (5, 4), 5 * 4 * 6),
    "linear, of a sequence": (nn.Linear(4, 6), (3, 5, 4), 3 * 5 * 4 * 6),
    "linear, of a vector": (nn.Linear(4, 6), (4,), 4 * 6),
    "linear, without bias": (nn.Linear(4, 6, bias=False), (3, 5, 4), 3 * 5 * 4 * 6),
    "batch of matrices": (lambda x: torch.bmm(x, x.transpose(1, 2)), (2, 5, 8), 2 * 5 * 5 * 8),
    "matrices": (lambda x: x @ x.transpose(-1, -2), (2, 3, 5, 8), 2 * 3 * 5 * 5 * 8),
    "einsum": (lambda x: torch.einsum("nik,njk->nij", x, x), (2, 5, 8), 2 * 5 * 5 * 8),
    "matrices and a vector": (lambda x: x @ x[0, 0], (2, 5, 8), 2 * 5 * 8),
    "added matrix and vector": (lambda x: torch.addmv(x[:, 0], x, x[0]), (5, 8), 5 * 8),
    "two vectors": (lambda x: x @ x, (8,), 8),
}


def self_attention(x):
    return F.scaled_dot_product_attention(x, x, x)


def cross_attention(x):
    """Of five queries, to three keys with values of another width."""
    return F.scaled_dot_product_attention(x, x[:, :, :3], x[:, :, :3, :6])


class MultiheadAttention(nn.MultiheadAttention):
    def __init__(self, need_weights):
        super().__init__(8, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x):
        # The parent's fast path depends on how it is called.
        return super().forward(x, x, x, need_weights=self.need_weights)


# Four projections of 5 elements of width 8, and their products, all heads together.
MULTIHEAD = 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8
# With a perceptron of 16 hidden units, and normalised twice.
TRANSFORMER = MULTIHEAD + 2 * 5 * 8 * 16 + 2 * 5 * (5 * 8)

ATTENTION = {
    "to itself": (self_attention, (2, 3, 5, 8), 2 * 3 * 5 * 5 * (8 + 8)),
    "to others": (cross_attention, (2, 3, 5, 8), 2 * 3 * 5 * 3 * (8 + 6)),
    "multi-head": (MultiheadAttention(need_weights=True), (2, 5, 8), 2 * MULTIHEAD),
    "multi-head, fused": (MultiheadAttention(need_weights=False), (2, 5, 8), 2 * MULTIHEAD),
    "transformer": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        (2, 5, 8),
        2 * TRANSFORMER,
    ),
}

LAYERS = {
    f"{kind}: {name}": layer
    for kind, layers in {
        "convolution": CONVOLUTIONS,
        "recurrent": RECURRENT,
        "normalisation": NORMALISATIONS,
        "upsampling": UPSAMPLING,
        "product": PRODUCTS,
        "attention": ATTENTION,
    }.items()
    for name, layer in layers.items()
}


def prepare(module, device):
    """In evaluation mode on the device, where it is a module."""
    if not isinstance(module, nn.Module):
        return module
    return on_meta(module) if device == "meta" else copy.deepcopy(module).eval()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_count_as_in_closed_form(name, device):
    module, shape, expected = LAYERS[name]
    assert expected > 0
    assert module_cost(prepare(module, device), torch.zeros(shape, device=device)) == expected


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", LAYERS)
def test_inference_tensors_count_the_same(name, device):
    """PyTorch hands operators that consist of others over undivided then."""
    module, shape, expected = LAYERS[name]
    with torch.inference_mode():
        module = prepare(module, device)
        if isinstance(module, nn.Module):
            assert all(parameter.is_inference() for parameter in module.parameters())
        assert module_cost(module, torch.zeros(shape, device=device)) == expected


@pytest.mark.parametrize("device", DEVICES)
def test_packed_sequences_count_their_elements(device):
    lengths = torch.tensor([11, 4])
    lstm = prepare(nn.LSTM(5, 7, batch_first=True), device)
    x = nn.utils.rnn.pack_padded_sequence(torch.zeros(2, 11, 5), lengths, batch_first=True)
    assert module_cost(lstm, x.to(device)) == (11 + 4) * LSTM_STEP


@pytest.mark.parametrize("device", DEVICES)
def test_doubles_count_the_same(device):
    """oneDNN's operator takes single precision only, and other operators stand in for it."""
    lstm = prepare(nn.LSTM(5, 7).double(), device)
    x = torch.zeros(11, 2, 5, device=device, dtype=torch.double)
    assert module_cost(lstm, x) == 11 * 2 * LSTM_STEP


aten = torch.ops.aten


def statistics(x):
    return [torch.ones(C, device=x.device) for _ in range(4)]


# What batch normalisation runs as elsewhere: on GPUs, or once taken apart.
BATCH_NORMS = {
    "native_batch_norm": lambda x: aten.native_batch_norm(x, *statistics(x), False, 0.1, 1e-5),
    "_native_batch_norm_legit": lambda x: aten._native_batch_norm_legit(
        x, *statistics(x), False, 0.1, 1e-5
    ),
    "_native_batch_norm_legit, no statistics": lambda x: aten._native_batch_norm_legit(
        x, *statistics(x)[:2], True, 0.1, 1e-5
    ),
    "_native_batch_norm_legit_no_training": lambda x: aten._native_batch_norm_legit_no_training(
        x, *statistics(x), 0.1, 1e-5
    ),
    "_batch_norm_no_update": lambda x: aten._batch_norm_no_update(x, *statistics(x), 0.1, 1e-5),
    "_batch_norm_with_update": lambda x: aten._batch_norm_with_update(x, *statistics(x), 0.1, 1e-5),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", BATCH_NORMS)
def test_every_operator_of_batch_normalisation_counts(name, device):
    if not hasattr(aten, name.split(",")[0]):
        pytest.skip(f"this PyTorch has no {name}")
    assert module_cost(BATCH_NORMS[name], torch.ones(IMAGE, device=device)) == 2 * ELEMENTS


class Pretend(TorchDispatchMode):
    """Operators of GPUs, which give their input back here instead of running."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.__name__.split(".")[0] in GPU_OPERATORS:
            return (args[0],) * len(func._schema.returns)
        return func(*args, **(kwargs or {}))


def gpu_lstm(operator, *more):
    """All layers and directions of it are one operator."""

    def lstm(x):
        sizes = [(28, 5), (28, 7), (28,), (28,)] * 2 + [(28, 14), (28, 7), (28,), (28,)] * 2
        weights = [torch.empty(size) for size in sizes]
        state = torch.empty(4, 2, 7)
        setting = (2, False, 0.0, False, True, [], None)
        return operator(x, weights, 4, *more[:1], state, state, 2, 7, *more[1:], *setting)

    return lstm


STACKED_LSTM = 2 * 11 * 2 * (LSTM_STEP + SECOND_LSTM_STEP)
GPU_OPERATORS = {
    "cudnn_batch_norm": (
        lambda x: aten.cudnn_batch_norm(x, *statistics(x), False, 0.1, 1e-5),
        IMAGE,
        2 * ELEMENTS,
    ),
    "miopen_batch_norm": (
        lambda x: aten.miopen_batch_norm(x, *statistics(x), False, 0.1, 1e-5),
        IMAGE,
        2 * ELEMENTS,
    ),
    # cuDNN's takes a buffer of all weights and the size of a projection as well.
    "_cudnn_rnn": (gpu_lstm(aten._cudnn_rnn, None, 0), (11, 2, 5), STACKED_LSTM),
    "miopen_rnn": (gpu_lstm(aten.miopen_rnn), (11, 2, 5), STACKED_LSTM),
}


@pytest.mark.parametrize("name", GPU_OPERATORS)
def test_operators_of_gpus_count(name):
    function, shape, expected = GPU_OPERATORS[name]
    with Pretend():
        assert module_cost(function, torch.zeros(shape)) == expected


@pytest.mark.parametrize("device", DEVICES)
def test_frozen_batch_norm_counts_as_batch_norm(device):
    """Detectron2's runs as batch normalisation where no gradients are needed."""
    layers = pytest.importorskip("detectron2.layers")
    norm = prepare(layers.FrozenBatchNorm2d(C), device)
    assert module_cost(norm, torch.zeros(IMAGE, device=device)) == 2 * ELEMENTS


FREE = {
    "embedding bag": lambda x: F.embedding_bag(torch.zeros_like(x[:, :3], dtype=torch.long), x),
    "weighted embedding bag": lambda x: F.embedding_bag(
        torch.zeros_like(x[:, :3], dtype=torch.long),
        x,
        per_sample_weights=x[:, :3],
        mode="sum",
    ),
    "embedding": lambda x: F.embedding(torch.zeros_like(x[:, 0], dtype=torch.long), x),
    "activation": lambda x: F.relu(x).sigmoid().tanh().softmax(-1),
    "sums and products": lambda x: (x + x) * x[:1],
    "pooling": lambda x: F.avg_pool1d(F.max_pool1d(x[None], 3, 1, 1), 3, 1, 1)[0],
    "sorting": lambda x: x.sort(-1).values,
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", FREE)
def test_gathering_and_what_is_elementwise_count_nothing(name, device):
    linear = prepare(nn.Linear(4, 6), device)
    x = torch.zeros(5, 4, device=device)
    assert module_cost(lambda x: linear(FREE[name](x)), x) == 5 * 4 * 6


def test_counts_add_up_and_end_with_the_call():
    conv, norm = nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6)
    module = on_meta(nn.Sequential(conv, norm, nn.ReLU(), nn.Upsample(scale_factor=2)))
    x = torch.zeros(IMAGE, device="meta")
    expected = N * H * W * (9 * 4 * 6 + 2 * 6 + 4 * 6)
    assert [module_cost(module, x) for _ in range(2)] == [expected] * 2
    inner = []
    assert module_cost(lambda x: inner.append(module_cost(module, x)), x) == expected
    assert inner == [expected]


def test_values_are_those_without_counting():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8)
    module = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    counted = []
    module_cost(lambda x: counted.append(module(x)), x)
    with torch.no_grad():
        torch.testing.assert_close(counted[0], module(x))


def test_settings_are_as_before_whatever_is_raised():
    def fail():
        raise KeyError("no such word")

    with pytest.raises(KeyError, match="no such word"):
        module_cost(fail)
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.is_grad_enabled()
