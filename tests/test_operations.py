"""Operations: shapes agree with the modules, wrong inputs are refused, everything exports and runs under autocast."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas import layers
from nas.errors import ArchitectureError, ShapeError
from nas.operations import BUILTIN, Operation, Shape, Value

VECTORS: list[Shape] = [(1,), (7,), (16,)]
IMAGES: list[Shape] = [(1, 2, 2), (3, 8, 8), (4, 5, 7), (6, 13, 4)]
SERIES: list[Shape] = [(1, 1, 4), (3, 1, 17)]
CATEGORIES: list[Shape] = [(1, 2), (3, 5)]
ANY = {"zero", "identity", "relu", "gelu", "silu", "selu", "mish", "tanh", "dropout", "flatten"}
BOTH = {"layer_norm", "batch_norm", "feature_scale"}
ON_VECTORS = {"linear", "gated_linear", "periodic_embedding", "piecewise_linear"}
ON_CATEGORIES = {"category_embedding"}
ON_SERIES = {"conv1d", "separable1d", "avg_pool1d", "max_pool1d"}
VARIANTS: dict[str, list[dict[str, Value]]] = {
    "linear": [{}, {"width": 5}],
    "gated_linear": [{}, {"width": 5, "dropout": 0.2}],
    "dropout": [{}, {"p": 0.3}],
    "conv1x1": [{}, {"width": 5}, {"stride": 2}],
    "conv1d": [{}, {"width": 5, "kernel": 7, "dilation": 2}, {"kernel": 15, "stride": 3}],
    "separable1d": [{}, {"width": 5, "kernel": 5, "dilation": 4, "stride": 2}],
    "avg_pool1d": [{}, {"size": 3}],
    "max_pool1d": [{}, {"size": 4}],
    "conv3x3": [{}, {"width": 5, "stride": 2}],
    "conv5x5": [{}, {"width": 5, "stride": 2}],
    "separable3x3": [{}, {"width": 5, "stride": 2}],
    "avg_pool3x3": [{}, {"stride": 2}],
    "max_pool3x3": [{}, {"stride": 2}],
    "relu_conv1x1_bn": [{}, {"width": 5}],
    "relu_conv3x3_bn": [{}, {"width": 5}],
    "reduction": [{}, {"width": 5}],
    "periodic_embedding": [{}, {"frequencies": 3, "sigma": 1.0, "size": 2}],
    "piecewise_linear": [{}, {"bins": 4}],
    "category_embedding": [{}, {"size": 3}],
}


def shapes_of(name: str) -> list[Shape]:
    """The shapes an operation takes, by what its documentation says."""
    if name in ANY:
        return VECTORS + CATEGORIES + IMAGES
    if name in BOTH:
        return VECTORS + IMAGES
    if name in ON_VECTORS:
        return VECTORS
    if name in ON_SERIES:
        return SERIES
    return CATEGORIES if name in ON_CATEGORIES else IMAGES


def module_of(name: str, shape: Shape, **parameters: Value) -> nn.Module:
    torch.manual_seed(0)
    return BUILTIN[name].build(shape, **parameters)


def cases() -> list[tuple[str, Shape, dict[str, Value]]]:
    return [(name, shape, given) for name in BUILTIN for shape in shapes_of(name) for given in VARIANTS.get(name, [{}])]


def test_every_shape_function_says_what_the_module_does():
    for name, shape, parameters in cases():
        said = BUILTIN[name].shape(shape, **parameters)
        for training in (True, False):
            module = module_of(name, shape, **parameters).train(training)
            out = module(torch.rand(3, *shape))
            assert tuple(out.shape) == (3, *said), (name, shape, parameters)
            assert torch.isfinite(out).all(), (name, shape, parameters)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(BUILTIN)), st.integers(1, 6), st.integers(2, 9), st.integers(2, 9), st.integers(1, 2))
def test_shapes_agree_on_random_sides(name: str, channels: int, height: int, width: int, stride: int):
    operation = BUILTIN[name]
    shape: Shape = shapes_of(name)[0]
    height = 1 if name in ON_SERIES else height
    shape = {1: (channels,), 2: (channels, height), 3: (channels, height, width)}[len(shape)]
    parameters: dict[str, Value] = {"stride": stride} if "stride" in operation.parameters else {}
    out = operation.build(shape, **parameters).eval()(torch.rand(2, *shape))
    assert tuple(out.shape[1:]) == operation.shape(shape, **parameters)


def test_the_wrong_rank_is_refused_in_one_sentence_before_anything_is_built():
    refused = 0
    for name, operation in BUILTIN.items():
        for shape in VECTORS + CATEGORIES + IMAGES:
            if shape in shapes_of(name):
                continue
            with pytest.raises(ShapeError, match=r"takes .*but got an input of shape .*; \w+") as caught:
                operation.shape(shape)
            assert str(caught.value).count("\n") == 0
            assert str(shape) in str(caught.value)
            refused += 1
    assert refused > 60


def test_operations_over_steps_are_those_of_torch_in_one_dimension():
    x = torch.rand(2, 3, 1, 40)
    for stride, dilation in ((1, 1), (2, 1), (1, 4), (3, 2)):
        ours = module_of("conv1d", (3, 1, 40), width=5, kernel=7, stride=stride, dilation=dilation)
        theirs = nn.Conv1d(3, 5, 7, stride, padding=3 * dilation, dilation=dilation)
        theirs.load_state_dict({"weight": ours.weight[:, :, 0], "bias": ours.bias})
        torch.testing.assert_close(ours(x)[:, :, 0], theirs(x[:, :, 0]))
    torch.testing.assert_close(module_of("max_pool1d", (3, 1, 40), size=3)(x)[:, :, 0], nn.MaxPool1d(3)(x[:, :, 0]))
    torch.testing.assert_close(module_of("global_max_pool", (3, 1, 40))(x), x[:, :, 0].max(dim=2).values)
    with pytest.raises(ArchitectureError, match="must be odd"):
        BUILTIN["conv1d"].shape((3, 1, 40), kernel=4)
    with pytest.raises(ShapeError, match="pool of 41 steps"):
        BUILTIN["avg_pool1d"].shape((3, 1, 40), size=41)


def test_an_image_too_small_to_halve_is_refused():
    with pytest.raises(ShapeError, match="at least 2 x 2"):
        BUILTIN["max_pool2x2"].shape((3, 1, 4))
    assert BUILTIN["reduction"].shape((3, 1, 1)) == (6, 1, 1)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("linear", (4,), {"width": 0}),
        ("linear", (4,), {"width": 10**12}),
        ("linear", (4,), {"width": True}),
        ("linear", (4,), {"width": "wide"}),
        ("conv3x3", (3, 8, 8), {"stride": 0}),
        ("dropout", (4,), {"p": 1.0}),
        ("dropout", (4,), {"p": math.nan}),
        ("gated_linear", (4,), {"dropout": -0.1}),
        ("piecewise_linear", (4,), {"bins": 0}),
        ("periodic_embedding", (4,), {"size": 1}),
        ("category_embedding", (4, 2), {"size": 2.5}),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, shape: Shape, parameters: dict[str, Value]):
    with pytest.raises(ArchitectureError, match="must hold"):
        BUILTIN[name].shape(shape, **parameters)


def test_nothing_loads_torch_before_a_module_is_built():
    code = (
        "import sys; from nas.operations import BUILTIN; BUILTIN['linear'].shape((3,), width=4); "
        "assert not [m for m in ('torch', 'sklearn', 'numpy') if m in sys.modules]; BUILTIN['relu'].build((3,)); "
        "assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_operation_of_a_users_own():
    wave = Operation("wave", 1, lambda shape: nn.Identity(), lambda shape: shape)
    assert set(BUILTIN | {"wave": wave}) == {*BUILTIN, "wave"}
    assert "lambda" in wave.source
    assert "nn.Linear" in BUILTIN["linear"].source
    with pytest.raises(ArchitectureError, match="version >= 1"):
        Operation("wave", 0, wave.build, wave.shape)
    with pytest.raises(TypeError):
        BUILTIN["wave"] = wave  # type: ignore[index]


# --- what they compute, against formulas written differently


def test_activations_that_are_computed_our_own_way_equal_torchs():
    x = torch.linspace(-40.0, 40.0, 4001, requires_grad=True)
    ours = layers.Mish().train()(x)
    (slope,) = torch.autograd.grad(ours.sum(), x)
    exact = x.detach().double().requires_grad_()
    theirs = nn.functional.mish(exact)
    (exact_slope,) = torch.autograd.grad(theirs.sum(), exact)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-6, atol=1e-6)
    with torch.inference_mode():
        torch.testing.assert_close(layers.Mish().eval()(x.detach()).double(), theirs.detach(), rtol=1e-6, atol=1e-6)


def test_an_exported_network_names_mish():
    program = torch.export.export(layers.Mish().eval(), (torch.ones(2, 3),), strict=False)
    assert "aten.mish.default" in [str(node.target) for node in program.graph.nodes]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.95])
def test_dropout_drops_the_share_it_says_and_keeps_the_mean(p: float):
    torch.manual_seed(0)
    drop = layers.Dropout(p).train()
    out = drop(torch.ones(401, 1003))
    n = out.numel()
    assert abs(float((out == 0).float().mean()) - p) < 5 * math.sqrt(p * (1 - p) / n)
    assert torch.unique(out).numel() == 2
    assert abs(float(out.mean()) - 1.0) < 5 * math.sqrt(p / (1 - p) / n)
    kept = (out != 0).float()
    assert abs(float((kept[:, 1:] * kept[:, :-1]).mean()) - (1 - p) ** 2) < 0.01  # neighbours are independent
    assert torch.equal(drop.eval()(torch.ones(3)), torch.ones(3))


def test_dropout_that_follows_the_training_setting():
    own, following = module_of("dropout", (3,), p=0.2), module_of("dropout", (3,))
    for module in (own, following):
        assert isinstance(module, layers.Dropout)
        module.follow(0.4)
    assert (own.p, following.p) == (0.2, 0.4)


def test_piecewise_linear_fills_its_bins_one_after_the_other():
    out = module_of("piecewise_linear", (2,), bins=4)(torch.tensor([[0.0, 1.0], [0.3, 0.75]]))
    expected = [[0, 0, 0, 0, 1, 1, 1, 1], [1, 0.2, 0, 0, 1, 1, 1, 0]]
    torch.testing.assert_close(out, torch.tensor(expected, dtype=torch.float32))


def test_periodic_embedding_keeps_the_number_and_adds_waves_of_its_own_feature():
    module = module_of("periodic_embedding", (2,), frequencies=3, sigma=0.5, size=4)
    assert isinstance(module, layers.PeriodicEmbedding)
    x = torch.tensor([[0.7, -1.2]])
    out = module(x)[0].detach().numpy().reshape(2, 4)
    v, u = (t.detach().numpy().reshape(2, 3) for t in (module.frequency, module.phase))
    w, b = module.weight.detach().numpy(), module.bias.detach().numpy().reshape(2, 3)
    for feature in range(2):
        value = float(x[0, feature])
        waves = np.cos(2 * np.pi * v[feature] * value + u[feature])
        np.testing.assert_allclose(out[feature], [value, *(waves @ w[feature] + b[feature])], rtol=1e-5, atol=1e-6)


def test_category_embedding_looks_up_and_gives_zeros_for_the_unknown():
    module = module_of("category_embedding", (2, 3), size=4)
    assert isinstance(module, layers.CategoryEmbedding)
    x = torch.zeros(1, 2, 3)
    x[0, 1, 2] = 1.0
    out = module(x)[0]
    torch.testing.assert_close(out, torch.cat((torch.zeros(4), module.weight[1, 2])))


def test_reduction_is_nas_bench_201s_on_even_sides():
    module = module_of("reduction", (3, 8, 6), width=5).eval()
    assert isinstance(module, layers.Reduction)
    x = torch.rand(2, 3, 8, 6)
    conv = module.skip[1]
    assert isinstance(conv, nn.Conv2d)
    expected = module.block(x) + conv(nn.AvgPool2d(2, 2)(x))
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize(("source", "target"), [((8, 8), (4, 2)), ((7, 9), (3, 4)), ((5, 6), (5, 3)), ((4, 4), (1, 1))])
def test_resize_is_adaptive_average_pooling(source: tuple[int, int], target: tuple[int, int]):
    x = torch.rand(2, 3, *source)
    torch.testing.assert_close(layers.Resize(source, target)(x), nn.AdaptiveAvgPool2d(target)(x))


# --- where they must run


class Many(nn.Module):
    """Several modules on one input, every result an output."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(part(x) for part in self.parts)


@pytest.mark.parametrize("shape", [(6,), (3, 5), (3, 9, 6)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own, while exporting
def test_every_operation_exports_with_a_dynamic_batch(shape: Shape, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    names = [n for n in BUILTIN if len(shape) in map(len, shapes_of(n)) and n not in ("identity", "zero")]
    parts = [module_of(name, shape, **given) for name in names for given in VARIANTS.get(name, [{}])]
    parts += [layers.Resize((9, 6), (4, 3)), layers.Resize((9, 6), (3, 2))] if len(shape) == 3 else []
    many = Many(parts).train()
    x = torch.rand(5, *shape)
    many(x)  # moves the running moments of batch norms
    many.eval()
    traced = torch.export.export(many, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
    program = torch.onnx.export(traced, dynamo=True, verbose=False)
    assert program is not None
    program.save(tmp_path / "many.onnx")
    session = ort.InferenceSession(str(tmp_path / "many.onnx"), providers=["CPUExecutionProvider"])
    for rows in (1, 4):
        x = torch.rand(rows, *shape)
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        for expected, got in zip(many(x), found, strict=True):
            np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_every_operation_trains_under_bfloat16_autocast():
    for name in set(BUILTIN) - {"zero"}:
        shape = shapes_of(name)[-1]
        module = module_of(name, shape).train()
        x = torch.rand(4, *shape, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            out = module(x)
        out.float().square().sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all(), name
        with torch.no_grad():
            plain = module.eval()(x)
            with torch.autocast("cpu", torch.bfloat16):
                torch.testing.assert_close(module(x).float(), plain, rtol=0.05, atol=0.1)
