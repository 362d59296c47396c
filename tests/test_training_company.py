"""Trainings side by side: the bits of each are its own, whatever stands beside it; forms against their modules."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas import layers, load
from nas.architecture import Architecture
from nas.dataset import Dataset
from nas.model import Signature, build
from nas.operations import BUILTIN, Operation
from nas.record import Fidelity
from nas.training import Candidate, Recipe, train
from nas.training.fit import begin
from nas.training.forms import ALL, Place, form_of
from nas.training.learn import Budget, Task, Training, advance
from nas.training.optimizer import Moving
from nas.training.resident import Fold, Rows
from nas.training.stack import Stacks, can_stack
from nas.training.tape import looked_up

OPERATIONS = ["mish", "relu", "gelu", "silu", "selu", "tanh", "layer_norm", "feature_scale", "dropout"]


def architecture(kind: str, width: int = 24) -> Architecture:
    """Graphs that use every form: embeddings, gates, norms, both joins, shortcuts of other widths, multiple edges."""
    g = nx.DiGraph()
    for name in ("numeric", "quantile", "categorical"):
        g.add_node(name, op="input", parameters={"name": name})
    g.add_node("y", op="output")
    if kind == "chain":
        last = "numeric"
        for i, op in enumerate(["linear", "mish", "dropout", "linear", "relu", "dropout"]):
            g.add_node(i, op=op, parameters={"width": width} if op == "linear" else {})
            g.add_edge(last, i)
            last = i  # type: ignore[assignment]
        g.add_edge(last, "y")
        return Architecture.from_graph(g)
    g.add_node("periodic", op="periodic_embedding", parameters={"size": 3, "frequencies": 5})
    g.add_node("bins", op="piecewise_linear", parameters={"bins": 3})
    g.add_edges_from([("numeric", "periodic"), ("quantile", "bins")])
    if kind == "levels":  # which an embedding alone reads; two norms meet, each on its way back to a sum of its own
        g.add_node("levels", op="category_embedding", parameters={"size": 2})
        g.add_node("base", op="linear", join="concat", parameters={"width": width})
        g.add_edges_from([("categorical", "levels"), ("levels", "base"), ("bins", "base"), ("periodic", "base")])
        g.add_node("sum", op="relu", join="add")
        for name in ("one", "two"):
            g.add_node(name, op="layer_norm")
            g.add_edges_from([("base", name), (name, "sum")])
        g.add_node("end", op="dropout")
        g.add_edges_from([("sum", "end"), ("end", "y")])
        return Architecture.from_graph(g)
    g.add_node("features", op="feature_scale", join="concat")
    if kind in ("linear", "gated_linear"):  # which takes over the scale; of its columns some learn
        g.add_node("reader", op=kind, parameters={"width": width})
        g.add_node("end", op="mish")
        g.add_edges_from([("periodic", "features"), ("bins", "features"), ("categorical", "features")])
        g.add_edges_from([("features", "reader"), ("reader", "end"), ("end", "y")])
        return Architecture.from_graph(g)
    g.add_node("levels", op="category_embedding", parameters={"size": 2})
    g.add_edge("categorical", "levels")
    g.add_edges_from([("periodic", "features"), ("bins", "features"), ("levels", "features")])
    g.add_node("gate", op="gated_linear", parameters={"width": width, "dropout": 0.25})
    g.add_node("wide", op="linear", parameters={"width": width + 3})
    g.add_edges_from([("features", "gate"), ("gate", "wide"), ("features", "wide")])
    last = "wide"
    for i, op in enumerate(OPERATIONS):
        g.add_node(i, op=op)
        g.add_edge(last, i)
        last = i  # type: ignore[assignment]
    g.add_edges_from([(last, "y"), ("features", "y"), ("categorical", "y")])
    return Architecture.from_graph(g)


SIGNATURE = Signature({"numeric": (5,), "quantile": (5,), "categorical": (2, 3)}, 3)


def rows(n: int, seed: int, outputs: int = 3) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    numeric = torch.randn(n, 5, generator=generator)
    levels = nn.functional.one_hot(torch.randint(0, 3, (n, 2), generator=generator), 3).float()
    views = {"numeric": numeric, "quantile": numeric.sigmoid(), "categorical": levels}
    y = numeric[:, 0] + levels[:, 0, 0]
    return Rows(views, None, y if outputs == 1 else (y * 2).long().clamp(0, outputs - 1))


def training(
    graph: Architecture, i: int, *, n: int = 75, epochs: int = 4, outputs: int = 3, **options: Any
) -> Training:
    """Training number ``i`` of a kind: data, seed and settings of its own."""
    signature = Signature(SIGNATURE.inputs, outputs)
    recipe = Recipe(0.02 * (1 + i % 3), 0.1 * (i % 2), 0.2 * (i % 3), 0.1 * (i % 2) if outputs > 1 else 0.0)
    network = build(graph, signature, options.pop("operations", BUILTIN), dropout=recipe.dropout, seed=i)
    names = network.architecture.inputs
    every, watched = rows(n, 2 * i, outputs), rows(40, 2 * i + 1, outputs)
    some = [Rows({name: each.tensors[name] for name in names}, None, each.y) for each in (every, watched)]
    return Training(network, some[0], some[1], recipe, Task(outputs > 1), Budget(epochs), seed=i, **options)


def bits(of: Training) -> list[Tensor]:
    state = of.state
    curve = torch.tensor(state.curve, dtype=torch.float64)
    return [state.moving.u, state.moving.first, state.moving.second, curve, *state.best, *of.finish().parameters()]


def same(a: Training, b: Training) -> bool:
    return all(torch.equal(x, y) for x, y in zip(bits(a), bits(b), strict=True))


@pytest.mark.parametrize("width", [64, 24, 13, 1])
@pytest.mark.parametrize(
    ("kind", "outputs"), [("chain", 3), ("chain", 1), ("every", 3), ("linear", 1), ("gated_linear", 3), ("levels", 3)]
)
@pytest.mark.parametrize("n", [75, 40])
def test_a_training_has_the_same_bits_alone_in_any_company_and_taken_up_again(
    kind: str, outputs: int, width: int, n: int
):
    graph = architecture(kind, width)
    make = lambda i: training(graph, i, n=n, outputs=outputs, epochs=3)  # noqa: E731
    alone = [make(i) for i in range(5)]
    for each in alone:
        advance([each], 3)
    crowd = [make(i) for i in (3, 0, 4, 2, 1)]
    advance(crowd, 3)
    assert all(same(alone[i], other) for i, other in zip((3, 0, 4, 2, 1), crowd, strict=True))
    again = [make(i) for i in range(3)]
    advance(again, 1)
    advance([again[2], again[0]], 2)
    advance([again[1]], 2)
    advance(again, 3)
    assert all(same(a, b) for a, b in zip(alone, again, strict=False))


def test_a_training_has_the_same_bits_among_other_shapes():
    graphs = [architecture("chain", 40), architecture("every", 24), architecture("chain", 7), architecture("chain", 40)]
    make = lambda i: training(graphs[i % 4], i, epochs=3)  # noqa: E731
    alone = [make(i) for i in range(8)]
    for each in alone:
        advance([each], 3)
    crowd = [make(i) for i in range(8)]
    assert len({each.kind for each in crowd}) == 1
    assert len({each.shape for each in crowd}) == 3
    advance(crowd, 1)
    advance(crowd[::2], 3)
    advance(crowd[1::2][::-1], 3)
    assert all(same(a, b) for a, b in zip(alone, crowd, strict=True))


@pytest.mark.parametrize("kind", ["every", "linear", "gated_linear", "levels"])
def test_forms_compute_and_differentiate_as_their_modules_do(kind: str):
    graph = architecture(kind)
    networks = [build(graph, SIGNATURE, dropout=0.0, seed=i) for i in range(3)]
    for network in networks:
        for name, parameter in network.named_parameters():
            if name.startswith("heads"):
                nn.init.normal_(parameter, std=0.3)
            if parameter.dim() == 1 and bool((parameter == 1.0).all()):  # scales
                nn.init.uniform_(parameter, 0.5, 2.0)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    parts = [rows(16, i) for i in range(3)]
    parts[0].tensors["categorical"][:4] = 0.0  # levels that training never saw
    expected = []
    for network, part in zip(networks, parts, strict=True):
        answer = network.double()({name: view.double() for name, view in part.tensors.items()})
        nn.functional.cross_entropy(answer, part.y, label_smoothing=0.1).backward()
        expected.append([answer.detach(), *(p.grad.clone() for p in network.parameters())])
        network.float()
    recipe = Recipe()
    assert all(map(can_stack, networks))
    (stack,) = Stacks([networks], [[recipe] * 3], [[Moving.of(n, recipe) for n in networks]], stacked=True).stacks
    with torch.no_grad():
        names = looked_up(networks[0])
        assert names == ({"categorical"} if kind == "levels" else set())
        views = {name: torch.stack([p.with_levels(names)[name] for p in parts]) for name in SIGNATURE.inputs}
        answer, back = stack.forward(views)
        back(Task(True).gradient(answer, torch.stack([Task(True).targets(part.y, 3, 0.1) for part in parts])))
    for row, network in enumerate(networks):
        found = [answer[row].detach(), *(p.grad for p in network.parameters())]
        for one, other in zip(found, expected[row], strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6)


MODULES: list[tuple[nn.Module, tuple[int, ...]]] = [
    (layers.PeriodicEmbedding(5, 4, 0.5, 3), (5,)),
    (layers.PiecewiseLinear(3), (5,)),
    (layers.CategoryEmbedding(2, 3, 4), (2, 3)),
    (layers.FeatureScale((5,)), (5,)),
    (layers.GatedLinear(5, 4), (5,)),
    (layers.Mish(), (5,)),
    (nn.LayerNorm(5), (5,)),
    *[(activation(), (5,)) for activation in (nn.ReLU, nn.GELU, nn.SiLU, nn.SELU, nn.Tanh)],
]


@pytest.mark.parametrize(("module", "shape"), MODULES, ids=lambda value: type(value).__name__)
def test_the_gradients_of_a_form_are_those_of_autograd_for_inputs_too(module: nn.Module, shape: tuple[int, ...]):
    rows_, parameters = 2, dict(module.named_parameters())
    weights = {f"here.{name}": torch.stack([p.detach()] * rows_) for name, p in parameters.items()}
    gradients = {name: torch.full_like(weight, math.nan) for name, weight in weights.items()}
    x = torch.rand(rows_, 16, *shape) * 1.5 - 0.25
    with torch.no_grad():
        y, back = form_of(Place("here", [module] * rows_, weights, gradients, []))(x, ALL)
        slope = torch.randn_like(y)
        found = back(slope.clone())
    for row in range(rows_):
        alone = x[row].clone().requires_grad_()
        answer = module(alone)
        torch.testing.assert_close(y[row], answer.detach(), rtol=1e-4, atol=1e-6)
        learned = torch.autograd.grad(answer, [alone, *parameters.values()], slope[row], materialize_grads=True)
        zero = torch.zeros_like(alone)
        torch.testing.assert_close(zero if found is None else found[row], learned[0], rtol=1e-4, atol=1e-6)
        for name, expected in zip(parameters, learned[1:], strict=True):
            torch.testing.assert_close(gradients[f"here.{name}"][row], expected, rtol=1e-4, atol=1e-5)


def test_dropout_drops_the_share_it_is_told_and_keeps_the_mean():
    graph = architecture("chain", 64)
    networks = [build(graph, SIGNATURE, dropout=p, seed=0) for p in (0.0, 0.25, 0.9)]
    moving = [Moving.of(n, Recipe()) for n in networks]
    (stack,) = Stacks([networks], [[Recipe()] * 3], [moving], stacked=True).stacks
    views = {"numeric": torch.randn(3, 256, 5)}
    stack.draw([torch.Generator().manual_seed(i) for i in range(3)], views)
    dropped, _ = stack.dropouts[0](torch.ones(3, 256, 64))
    assert dropped[0].eq(1).all()
    for row, p in ((1, 0.25), (2, 0.9)):
        assert abs(float(dropped[row].eq(0).float().mean()) - p) < 0.01
        assert abs(float(dropped[row].mean()) - 1.0) < 0.05


class Masked(nn.Module):
    """Dropout with a mask that is known."""

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        return x * self.kept


def test_what_dropout_overwrites_is_needed_by_nobody():
    graph = architecture("chain", 64)
    networks = [build(graph, SIGNATURE, dropout=p, seed=i) for i, p in enumerate((0.25, 0.5))]
    for network in networks:
        for head in network.heads.values():
            nn.init.normal_(head.weight, std=0.3)
    recipe, task = Recipe(), Task(True)
    (stack,) = Stacks([networks], [[recipe] * 2], [[Moving.of(n, recipe) for n in networks]], stacked=True).stacks
    parts = [rows(32, i) for i in range(2)]
    views = {"numeric": torch.stack([part.tensors["numeric"] for part in parts])}
    with torch.no_grad():
        stack.draw([torch.Generator().manual_seed(i) for i in range(2)], views)
        answer, back = stack.forward(views)
        back(task.gradient(answer, torch.stack([task.targets(part.y, 3, 0.0) for part in parts])))
        masks = [each(torch.ones(2, 32, 64))[0] for each in stack.dropouts]
    found = [[p.grad.clone() for p in network.parameters()] for network in networks]
    for row, (network, part) in enumerate(zip(networks, parts, strict=True)):
        places = [name for name, module in network.nodes.items() if isinstance(module, layers.Dropout)]
        for place, mask in zip(places, masks, strict=True):
            network.nodes[place] = Masked(mask[row])
        alone = network({"numeric": part.tensors["numeric"]})
        torch.testing.assert_close(answer[row], alone.detach(), rtol=1e-4, atol=1e-6)
        learned = torch.autograd.grad(nn.functional.cross_entropy(alone, part.y), list(network.parameters()))
        for one, other in zip(found[row], learned, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_row_that_diverges_stops_alone_and_leaves_the_bits_beside_it():
    graph = architecture("chain", 64)
    crowd = [training(graph, i) for i in range(4)]
    crowd[1].rows.tensors["numeric"][:] = math.nan
    crowd[2].recipe = Recipe(100.0)
    advance(crowd, 4)
    assert "not finite in epoch 1" in str(crowd[1].state.failure)
    for i in (0, 3):
        alone = training(graph, i)
        advance([alone], 4)
        assert same(alone, crowd[i])
    assert crowd[0].done
    assert crowd[1].done


def test_what_is_raised_leaves_every_training_where_it_was():
    graph = architecture("chain", 64)
    crowd = [training(graph, i) for i in range(2)]
    advance(crowd, 2)
    with pytest.raises(TimeoutError):
        advance(crowd, 4, deadline=0.0)
    assert [each.state.epoch for each in crowd] == [2, 2]
    advance(crowd, 4)
    alone = training(graph, 1)
    advance([alone], 4)
    assert same(alone, crowd[1])


class Noise(nn.Module):
    """Draws from torch's own random state."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x) if self.training else x


def test_what_has_no_form_is_trained_alone_and_taken_up_again():
    operations = BUILTIN | {"noise": Operation("noise", 1, lambda shape: Noise(), lambda shape: shape)}
    g = architecture("chain").graph
    last = next(iter(g.predecessors(next(n for n in g if g.nodes[n]["op"] == "output"))))
    output = next(n for n in g if g.nodes[n]["op"] == "output")
    g.remove_edge(last, output)
    g.add_node("noise", op="noise", parameters={})
    g.add_node("norm", op="batch_norm", parameters={})
    g.add_edges_from([(last, "noise"), ("noise", "norm"), ("norm", output)])
    graph = Architecture.from_graph(g)
    one, other = (training(graph, 1, operations=operations) for _ in range(2))
    assert not one.can_stack
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    advance([one], 4)
    assert torch.equal(torch.rand(1), expected)
    for epoch in range(1, 5):
        advance([other], epoch)
    assert same(one, other)
    with pytest.raises(TimeoutError):
        advance([training(graph, 1, operations=operations)], 4, deadline=0.0)


def blobs(n: int = 400) -> Dataset:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    x = (rng.normal(size=(n, 5)) + rng.normal(size=(3, 5))[y]).astype(np.float32)
    return Dataset("blobs", "tabular", "classification", {"numeric": x}, y, ("a", "b", "c"))


def test_outcomes_do_not_depend_on_company_or_on_the_number_of_threads():
    data = blobs()
    graph = architecture("chain", 32)
    candidates = [Candidate(graph, {"learning_rate": rate, "dropout": p}) for rate in (0.01, 0.1) for p in (0.0, 0.3)]
    options: dict[str, Any] = {"data": data, "splits": data.splits(2, 0), "fidelity": Fidelity(3, 10**6, 2), "seed": 0}
    together = train(candidates, **options)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = [train([candidate], **options)[0] for candidate in candidates]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(together, alone, strict=True):
        assert (one.score, one.curve, one.metrics) == (other.score, other.curve, other.metrics)


def test_scores_of_wide_networks_do_not_depend_on_the_number_of_threads():
    """Products of these sizes are divided among threads, which changes their last bits, also where nothing learns."""
    data, threads = load("diabetes"), torch.get_num_threads()
    options: dict[str, Any] = {"data": data, "splits": data.splits(2, 0), "fidelity": Fidelity(1, 400, 2), "seed": 0}
    candidates = [Candidate(architecture("chain", width)) for width in (128, 256)]
    scores = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            scores.append([outcome.score for outcome in train(candidates, **options)])
    finally:
        torch.set_num_threads(threads)
    assert scores[0] == scores[1]


def test_splits_that_differ_by_a_rare_level_are_trained_side_by_side():
    codes = np.arange(34) % 17
    data = Dataset("rare", "tabular", "classification", {"categorical": codes[:, None]}, codes % 2, ("a", "b"))
    folds = [Fold(data, np.arange(17), None), Fold(data, np.arange(18), None)]
    folds[0].data.inputs["categorical"][16] = 0  # the last level is in one of them alone
    graph = nx.DiGraph([("x", "y")])
    nx.set_node_attributes(graph, {"x": {"op": "input", "parameters": {"name": "onehot"}}, "y": {"op": "output"}})
    pair = [begin(Candidate(Architecture.from_graph(graph)), fold, Budget(1), 0) for fold in folds]
    assert pair[0].shape == pair[1].shape
