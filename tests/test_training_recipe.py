"""The recipe against independent references: batch sizes, schedule, learning rates by fan-in, the score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trainings import chain, linear

from nas import metrics
from nas.architecture import Architecture
from nas.errors import SearchError
from nas.model import Signature, build
from nas.training import Recipe, batch_size, precision
from nas.training.learn import Task
from nas.training.optimizer import Moving, fan_ins
from nas.training.recipe import coslog4, cpu_has_bfloat16, faster_in_bfloat16
from nas.training.stack import Stacks


def test_batch_sizes():
    assert [batch_size(n) for n in (1, 5, 20, 100, 511, 512, 8192, 8193, 32_768, 32_769)] == [
        1, 5, 8, 16, 112, 128, 128, 256, 256, 512,
    ]  # fmt: skip


def test_coslog4_is_four_cycles_each_twice_as_long():
    """The factor is 0 where 1 + 15 t is a power of 2 and 1 half way between, on the logarithmic scale."""
    steps = 150_000
    at = lambda t: coslog4(round(t * steps), steps)  # noqa: E731
    for k in range(4):
        assert at((2**k - 1) / 15) < 1e-6
        assert at((2 ** (k + 0.5) - 1) / 15) > 1 - 1e-6
    assert coslog4(steps - 1, steps) < 1e-6


def test_settings_are_checked_by_name_and_range():
    assert Recipe.of({}) == Recipe(0.03, 0.02, 0.1, 0.0)
    with pytest.raises(SearchError, match=r"'learning_rat' is not a training setting; did you mean 'learning_rate'\?"):
        Recipe.of({"learning_rat": 0.1})
    for value in (math.nan, -1.0, "high", True):
        with pytest.raises(SearchError, match="must hold, but got learning_rate="):
            Recipe.of({"learning_rate": value})


def test_only_images_train_in_bfloat16_and_only_where_the_device_computes_in_it():
    assert precision("image", "cuda:0") == "bfloat16"
    assert {precision("tabular", "cpu"), precision("tabular", "cuda"), precision("image", "mps")} == {"float32"}
    assert precision("image", "cpu") == ("bfloat16" if cpu_has_bfloat16() else "float32")
    intel, amd = (
        "vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx512_bf16",
        "vendor_id\t: AuthenticAMD\nflags\t\t: avx512_bf16",
    )
    found = [faster_in_bfloat16(text) for text in (intel, f"{intel} amx_bf16", amd, "flags\t\t: sse2", "")]
    assert found == [False, True, True, False, False]


class Ntk(nn.Module):
    """The NTK parametrisation: weights divided by sqrt(fan-in) in the forward pass, activations in between."""

    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([layer.weight.detach() * math.sqrt(layer.in_features) for layer in layers])
        self.biases = nn.ParameterList([layer.bias.detach().clone() for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (nn.functional.silu(x) if i else x) @ weight.T / math.sqrt(weight.shape[1]) + bias
        return x


@pytest.mark.parametrize("widths", [(5, 16, 48, 3), (40, 7, 3)])
def test_the_learning_rate_is_that_of_the_ntk_parametrisation_under_adam(widths: tuple[int, ...]):
    """Adam's epsilon is the only difference: it is compared with a gradient sqrt(fan-in) times as large."""
    torch.manual_seed(0)
    ops = [op for width in widths[1:-1] for op in (linear(width), "silu")]
    network = build(chain(*ops), Signature({"x": (widths[0],)}, widths[-1]), seed=0)
    ours = [module for module in network.modules() if isinstance(module, nn.Linear)]
    nn.init.normal_(ours[-1].weight, std=0.1)
    theirs = Ntk(ours)
    recipe = Recipe(learning_rate=0.03, weight_decay=0.02)
    stacks = Stacks([[network]], [[recipe]], [[Moving.of(network, recipe)]], stacked=True)
    reference = torch.optim.AdamW(
        [
            {"params": list(theirs.weights), "lr": 0.03, "weight_decay": 0.02},
            {"params": list(theirs.biases), "lr": 0.003, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        fused=False,
        foreach=False,
    )
    x, y = torch.randn(64, widths[0]), torch.randint(0, widths[-1], (64,))
    for step in range(6):
        for group, base in zip(reference.param_groups, (0.03, 0.003), strict=True):
            group["lr"] = base * (1.0 - step / 10)
        with torch.no_grad():
            answer, back = stacks.stacks[0].forward({"x": x.unsqueeze(0)})
            back(Task(True).gradient(answer, Task(True).targets(y, widths[-1], 0.0).unsqueeze(0)))
            stacks.optimizer.step(1.0 - step / 10)
        reference.zero_grad()
        nn.functional.cross_entropy(theirs(x), y).backward()
        reference.step()
    torch.testing.assert_close(network({"x": x}), theirs(x), rtol=1e-3, atol=1e-4)
    for layer, weight in zip(ours, theirs.weights, strict=True):
        torch.testing.assert_close(layer.weight * math.sqrt(layer.in_features), weight.data, rtol=1e-3, atol=1e-3)


def test_fan_ins_are_read_from_shapes_or_from_the_module():
    data = Signature({"x": (6,), "categorical": (2, 3)}, 2)
    g = chain("periodic_embedding", "feature_scale", "layer_norm", linear(4)).graph
    g.add_node("c", op="input", parameters={"name": "categorical"})
    g.add_node("e", op="category_embedding", parameters={"size": 5})
    g.add_edges_from([("c", "e"), ("e", next(n for n in g if g.nodes[n]["op"] == "output"))])
    network = build(Architecture.from_graph(g), data)
    found = {
        (type(network.get_submodule(path.rpartition(".")[0])).__name__, path.rpartition(".")[2]): fan_in
        for path, fan_in in fan_ins(network).items()
    }
    assert found["PeriodicEmbedding", "weight"] == 16
    assert found["PeriodicEmbedding", "frequency"] is None
    assert found["FeatureScale", "weight"] == 1
    assert found["CategoryEmbedding", "weight"] == 1
    assert found["LayerNorm", "weight"] is None
    conv = build(chain(("conv3x3", {"width": 4})), Signature({"x": (3, 8, 8)}, 2))
    assert sorted(filter(None, fan_ins(conv).values())) == [4, 27]


def test_the_score_on_the_device_is_that_of_the_metrics():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 4, 50)
    found = Task(True).score(torch.from_numpy(logits), torch.from_numpy(y))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(float(found), metrics.score("classification", p, y), rtol=1e-5)
    z, truth = rng.normal(size=50).astype(np.float32), rng.normal(size=50).astype(np.float32)
    found = Task(False).score(torch.from_numpy(z)[:, None], torch.from_numpy(truth))
    expected = metrics.score("regression", 7.0 * z + 100.0, 7.0 * truth + 100.0, scale=7.0)
    np.testing.assert_allclose(float(found), expected, rtol=1e-4)
