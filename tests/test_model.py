"""Models: joins and outputs against hand-written networks, canonical parameters, costs without allocation."""

from __future__ import annotations

import math
import time
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.architecture import Architecture
from nas.errors import ArchitectureError, ShapeError
from nas.model import Network, Predictor, Signature, build, count, parameters, plan, present, shapes
from nas.operations import BUILTIN, Operation

Spec = dict[str, tuple[Any, ...]]


def architecture(nodes: dict[str, Any], edges: list[tuple[Any, ...]]) -> Architecture:
    """Nodes: name -> op, or (op, parameters), or (op, parameters, join); "x" and "y" are the input and the output."""
    g = nx.DiGraph()
    g.add_node("x", op="input", parameters={"name": "x"})
    for name, what in nodes.items():
        op, *rest = (what,) if isinstance(what, str) else what
        g.add_node(name, op=op, parameters=rest[0] if rest else {}, join=rest[1] if len(rest) > 1 else "add")
    g.add_node("y", op="output")
    for source, target, *times in edges:
        g.add_edge(source, target, times=times[0] if times else 1)
    return Architecture.from_graph(g)


def mlp(width: int = 8, act: str = "mish", wide: bool = True) -> Architecture:
    nodes = {"a": ("linear", {"width": width}), "b": act, "c": ("linear", {"width": width}), "d": act}
    edges = [("x", "a"), ("a", "b"), ("b", "c"), ("c", "d"), ("d", "y")] + ([("x", "y")] if wide else [])
    return architecture(nodes, edges)


def named(network: Network, op: str) -> list[nn.Module]:
    """The modules of an operation, in the order of the nodes."""
    return [network.nodes[str(step.node)] for step in network.steps if step.operation == op]


def awake(network: Network) -> Network:
    """The network with random instead of zero output maps."""
    torch.manual_seed(7)
    for head in network.heads.values():
        for parameter in head.parameters():
            nn.init.normal_(parameter)
    return network.eval()


def head(network: Network, source: int) -> nn.Linear:
    module = network.heads[str(source)]
    linear = module[-1] if isinstance(module, nn.Sequential) else module
    assert isinstance(linear, nn.Linear)
    return linear


# --- what is computed


def test_a_chain_with_a_wide_skip_is_the_sum_of_two_linear_maps():
    network = awake(build(mlp(), Signature({"x": (5,)}, 3), seed=0))
    x = torch.randn(6, 5)
    a, b = named(network, "linear")
    deep = nn.functional.mish(b(nn.functional.mish(a(x))))
    expected = head(network, 0)(x) + head(network, 4)(deep)
    torch.testing.assert_close(network({"x": x}), expected)
    assert [head(network, i).bias is not None for i in (0, 4)] == [True, False]


def test_an_untrained_network_says_nothing_yet():
    network = build(mlp(), Signature({"x": (5,)}, 3), seed=0)
    assert torch.equal(network({"x": torch.randn(4, 5)}), torch.zeros(4, 3))


def test_add_projects_to_the_widest_and_counts_edges():
    nodes = {"a": ("linear", {"width": 4}), "b": ("linear", {"width": 6}), "s": "relu"}
    found = architecture(nodes, [("x", "a"), ("x", "b"), ("a", "s", 3), ("b", "s"), ("x", "s"), ("s", "y")])
    network = awake(build(found, Signature({"x": (5,)}, 2), seed=0))
    step = next(step for step in network.steps if step.operation == "relu")
    assert step.joined == (6,)
    x = torch.randn(3, 5)
    values = {step.node: module(x) for step, module in zip(network.steps[1:3], named(network, "linear"), strict=True)}
    values[0] = x
    total = torch.zeros(3, 6)
    for source, times in step.sources:
        value = values[source]
        if value.shape[1] != 6:
            adapter = network.adapters[f"{source}_{step.node}"]
            assert isinstance(adapter, nn.Linear)
            assert adapter.bias is None
            value = value @ adapter.weight.T
        total = total + times * value
    torch.testing.assert_close(network({"x": x}), head(network, step.node)(torch.relu(total)))
    assert sorted(times for _, times in step.sources) == [1, 1, 3]


def test_a_shortcut_is_projected_to_the_width_of_what_it_goes_round():
    nodes = {"a": ("linear", {"width": 4}), "b": "relu", "s": "tanh"}
    found = architecture(nodes, [("x", "a"), ("a", "b"), ("b", "s"), ("x", "s"), ("s", "y")])
    for width in (3, 4, 9):
        step = next(s for s in plan(found, Signature({"x": (width,)}, 2)) if s.operation == "tanh")
        assert step.joined == (4,)


def test_concat_puts_vectors_side_by_side_as_often_as_the_edge_counts():
    nodes = {"a": ("linear", {"width": 4}), "c": ("linear", {"width": 2}, "concat")}
    found = architecture(nodes, [("x", "a"), ("x", "c", 2), ("a", "c"), ("c", "y")])
    network = awake(build(found, Signature({"x": (5,)}, 2), seed=0))
    x = torch.randn(3, 5)
    a, c = named(network, "linear")
    sources = next(step.sources for step in network.steps if step.join == "concat")
    parts = [x if source == 0 else a(x) for source, times in sources for _ in range(times)]
    torch.testing.assert_close(network({"x": x}), head(network, 2)(c(torch.cat(parts, dim=1))))


def test_images_meet_at_the_smallest_side_and_the_widest_channels():
    nodes = {"a": ("conv3x3", {"width": 4, "stride": 2}), "s": "relu"}
    found = architecture(nodes, [("x", "a"), ("a", "s"), ("x", "s"), ("s", "y")])
    signature = Signature({"x": (3, 7, 8)}, 2)
    assert shapes(found, signature)[-2] == (4, 4, 4)
    network = awake(build(found, signature, seed=0))
    x = torch.randn(2, 3, 7, 8)
    (conv,) = named(network, "conv3x3")
    resize, project = network.adapters["0_2"]  # type: ignore[misc]
    small = nn.functional.adaptive_avg_pool2d(x, (4, 4))
    torch.testing.assert_close(resize(x), small)
    total = conv(x) + nn.functional.conv2d(small, project.weight)
    torch.testing.assert_close(network({"x": x}), head(network, 2)(torch.relu(total).mean(dim=(2, 3))))


@pytest.mark.parametrize("join", ["add", "concat"])
def test_an_image_that_meets_a_vector_becomes_its_mean_over_pixels(join: str):
    nodes = {
        "v": ("input", {"name": "v"}),
        "c": ("conv1x1", {"width": 6}),
        "s": ("relu", {}, join),
    }
    found = architecture(nodes, [("x", "c"), ("c", "s"), ("v", "s"), ("s", "y")])
    network = awake(build(found, Signature({"x": (3, 4, 4), "v": (6,)}, 2), seed=0))
    x, v = torch.randn(2, 3, 4, 4), torch.randn(2, 6)
    pooled = named(network, "conv1x1")[0](x).mean(dim=(2, 3))
    step = next(step for step in network.steps if step.operation == "relu")
    order = [v if network.steps[source].operation == "input" else pooled for source, _ in step.sources]
    joined = order[0] + order[1] if join == "add" else torch.cat(order, dim=1)
    torch.testing.assert_close(network({"x": x, "v": v}), head(network, step.node)(torch.relu(joined)))


def test_one_hot_blocks_are_flattened_where_they_meet_vectors_and_at_the_output():
    nodes = {"k": ("input", {"name": "categorical"}), "e": ("category_embedding", {"size": 2})}
    found = architecture(nodes, [("x", "y"), ("k", "e"), ("e", "y"), ("k", "y")])
    network = awake(build(found, Signature({"x": (3,), "categorical": (2, 4)}, 2), seed=0))
    x, k = torch.randn(5, 3), torch.eye(4)[torch.randint(0, 4, (5, 2))]
    assert network({"x": x, "categorical": k}).shape == (5, 2)
    assert {head(network, s).in_features for s, _ in network.steps[-1].sources} == {3, 8, 4}


def test_a_network_no_input_reaches_is_a_bias():
    found = architecture({}, [])
    network = build(found, Signature({"x": (4,)}, 3), seed=0)
    assert [tuple(p.shape) for p in network.parameters()] == [(3,)]
    with torch.no_grad():
        network.get_parameter("bias").copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(network({"x": torch.randn(2, 4)}), torch.tensor([[1.0, 2.0, 3.0]] * 2))


def test_inputs_the_data_lacks_are_removed_and_none_left_is_refused():
    nodes = {"k": ("input", {"name": "categorical"}), "e": "category_embedding", "a": ("linear", {"width": 4})}
    found = architecture(nodes, [("x", "a"), ("a", "y"), ("k", "e"), ("e", "y")])
    signature = Signature({"x": (3,)}, 2)
    assert present(found, signature).inputs == ("x",)
    assert build(found, signature, seed=1)({"x": torch.randn(2, 3)}).shape == (2, 2)
    with pytest.raises(ArchitectureError, match=r"reads 'categorical', 'x', but the data has 'image'; use"):
        build(found, Signature({"image": (3, 4, 4)}, 2))


def test_the_training_setting_reaches_only_the_dropouts_that_leave_it_open():
    found = architecture({"a": "dropout", "b": ("dropout", {"p": 0.3})}, [("x", "a"), ("a", "b"), ("b", "y")])
    network = build(found, Signature({"x": (4,)}, 2), dropout=0.15)
    assert [module.p for module in named(network, "dropout")] == [0.15, 0.3]


# --- refused


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("linaer", r"'linaer' is not known; did you mean 'linear'\?"),
        (("linear", {"widht": 4}), r"no parameter 'widht'; did you mean 'width'\?"),
        (("linear", {"width": 0}), "must hold"),
    ],
)
def test_what_is_unknown_is_refused_by_name(what: Any, message: str):
    with pytest.raises(ArchitectureError, match=message):
        build(architecture({"a": what}, [("x", "a"), ("a", "y")]), Signature({"x": (3,)}, 2))


def test_another_version_is_refused():
    g = architecture({"a": "relu"}, [("x", "a"), ("a", "y")]).graph
    g.nodes[1]["version"] = 2
    with pytest.raises(ArchitectureError, match="version 2, but version 1"):
        build(Architecture.from_graph(g), Signature({"x": (3,)}, 2))


def test_an_operation_that_cannot_take_what_reaches_it_is_refused():
    found = architecture({"a": "conv3x3"}, [("x", "a"), ("a", "y")])
    for call in (build, count, shapes):
        with pytest.raises(ShapeError, match="takes an image"):
            call(found, Signature({"x": (3,)}, 2))


def test_an_operation_of_a_users_own_is_built():
    double = Operation("double", 1, lambda shape: nn.Flatten(), lambda shape: (math.prod(shape),))
    found = architecture({"a": "double"}, [("x", "a"), ("a", "y")])
    assert build(found, Signature({"x": (3, 2)}, 2), BUILTIN | {"double": double})(
        {"x": torch.rand(4, 3, 2)}
    ).shape == (4, 2)


# --- the same architecture is the same network


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_isomorphic_architectures_get_the_same_parameters_bit_for_bit(seed: int):
    rng = np.random.default_rng(seed)
    g = random_graph(rng)
    names = list(g)
    shuffled = [names[i] for i in rng.permutation(len(names))]
    mapping = {name: f"n{i}" for i, name in enumerate(shuffled)}
    h = nx.DiGraph()
    for name in shuffled:
        h.add_node(mapping[name], **g.nodes[name])
    edges = list(g.edges(data=True))
    for i in rng.permutation(len(edges)):
        h.add_edge(mapping[edges[i][0]], mapping[edges[i][1]], **edges[i][2])
    signature = Signature({"x": (5,)}, 3)
    first, second = (build(Architecture.from_graph(each), signature, seed=3) for each in (g, h))
    assert list(first.state_dict()) == list(second.state_dict())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    x = torch.randn(4, 5)
    assert torch.equal(awake(first)({"x": x}), awake(second)({"x": x}))


def random_graph(rng: np.random.Generator) -> nx.DiGraph:
    g = nx.DiGraph()
    g.add_node("x", op="input", parameters={"name": "x"})
    names = ["x"]
    for i in range(int(rng.integers(1, 7))):
        op = str(rng.choice(["linear", "relu", "gated_linear", "identity", "layer_norm"]))
        width = {"width": int(rng.integers(2, 9))} if op in ("linear", "gated_linear") else {}
        g.add_node(i, op=op, parameters=width, join=str(rng.choice(["add", "concat"])))
        for source in names:
            if rng.random() < 0.5:
                g.add_edge(source, i, times=int(rng.integers(1, 3)))
        names.append(i)  # type: ignore[arg-type]
    g.add_node("y", op="output")
    for source in names:
        if rng.random() < 0.6:
            g.add_edge(source, "y")
    return g


def test_seeds_differ_and_leave_the_global_state_alone():
    signature = Signature({"x": (5,)}, 3)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    one, two = build(mlp(), signature, seed=0), build(mlp(), signature, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(one.nodes["1"].weight, two.nodes["1"].weight)  # type: ignore[arg-type]


# --- costs


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_counted_shapes_and_parameters_are_those_of_the_real_network(seed: int):
    found = Architecture.from_graph(random_graph(np.random.default_rng(seed)))
    signature = Signature({"x": (5,)}, 3)
    network = build(found, signature, seed=0)
    assert count(found, signature).parameters == sum(p.numel() for p in network.parameters())
    values: dict[int, tuple[int, ...]] = {}
    for step in network.steps[:-1]:
        if step.operation != "input":
            network.nodes[str(step.node)].register_forward_hook(
                lambda _, __, out, node=step.node: values.__setitem__(node, tuple(out.shape[1:]))
            )
    network({"x": torch.randn(2, 5)})
    said = shapes(found, signature)
    assert all(said[node] == shape for node, shape in values.items())
    assert len(values) == sum(step.operation not in ("input", "output") for step in network.steps)


def test_flops_and_parameters_by_hand():
    counted = count(mlp(width=16), Signature({"x": (5,)}, 3))
    assert counted.parameters == (5 * 16 + 16) + (16 * 16 + 16) + (5 * 3 + 3) + 16 * 3
    assert counted.flops == 2 * (5 * 16 + 16 * 16 + 5 * 3 + 16 * 3)
    conv = architecture({"a": ("conv3x3", {"width": 4, "stride": 2})}, [("x", "a"), ("a", "y")])
    counted = count(conv, Signature({"x": (3, 8, 6)}, 10))
    assert counted.parameters == 4 * 3 * 9 + 4 + 4 * 10 + 10
    assert counted.flops == 2 * (4 * 3 * (4 * 3 * 9)) + 2 * 4 * 10


def test_memory_is_parameters_activations_and_what_passes_through():
    """By hand: linear keeps its input (not a parameter), ReLU its output; the input view itself is not counted."""
    found = architecture({"a": ("linear", {"width": 100}), "b": "relu"}, [("x", "a"), ("a", "b"), ("b", "y")])
    counted = count(found, Signature({"x": (50,)}, 10), batch=64)
    assert counted.memory == 20 * counted.parameters + 64 * 4 * 100 + 2 * 4 * 64 * 100
    more = count(found, Signature({"x": (50,)}, 10), batch=128)
    assert more.memory - counted.memory == 64 * 4 * 100 * 3


def test_a_huge_network_is_counted_without_being_allocated():
    names = [f"n{i}" for i in range(6)]
    nodes = {name: ("linear", {"width": 1_000_000}) for name in names}
    found = architecture(nodes, [*zip(["x", *names], [*names, "y"], strict=True)])
    start = time.process_time()
    counted = count(found, Signature({"x": (64,)}, 10))
    assert time.process_time() - start < 10
    assert counted.parameters == 64 * 10**6 + 10**6 + 5 * (10**12 + 10**6) + 10**7 + 10
    assert counted.memory > 20 * counted.parameters


def test_the_largest_architecture_allowed_is_counted_in_seconds():
    names = [f"n{i}" for i in range(4094)]
    found = architecture(dict.fromkeys(names, "relu"), [*zip(["x", *names], [*names, "y"], strict=True)])
    start = time.process_time()
    assert count(found, Signature({"x": (4,)}, 2)).parameters == 4 * 2 + 2
    assert time.process_time() - start < 30


def test_values_that_grow_without_bound_are_refused():
    names = [f"n{i}" for i in range(20)]
    nodes = {name: ("relu", {}, "concat") for name in names}
    found = architecture(nodes, [(a, b, 10) for a, b in zip(["x", *names], [*names, "y"], strict=True)])
    with pytest.raises(ArchitectureError, match="use smaller widths or fewer concatenations"):
        count(found, Signature({"x": (64,)}, 10))
    with pytest.raises(ArchitectureError, match="elements a row"):
        Signature({"x": (2**20, 2**20)}, 2)


def test_the_plan_names_every_node():
    steps = plan(mlp(), Signature({"x": (5,)}, 3))
    assert [step.operation for step in steps] == ["input", "linear", "mish", "linear", "mish", "output"]
    assert [step.shape for step in steps] == [(5,), (8,), (8,), (8,), (8,), (3,)]


# --- the predictor


class Doubled(nn.Module):
    """Stands for a preprocessing: one raw tensor, one view."""

    raw = ("numeric",)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"x": 2.0 * x}


def test_a_predictor_gives_probabilities_or_values_in_the_targets_units():
    x = torch.randn(4, 5)
    network = awake(build(mlp(), Signature({"x": (5,)}, 3), seed=0))
    predictor = Predictor(Doubled(), network, "classification")  # type: ignore[arg-type]
    torch.testing.assert_close(predictor(x), torch.softmax(network({"x": 2 * x}), dim=1))
    network = awake(build(mlp(), Signature({"x": (5,)}, 1), seed=0))
    predictor = Predictor(Doubled(), network, "regression", mean=100.0, std=10.0)  # type: ignore[arg-type]
    torch.testing.assert_close(predictor(x), network({"x": 2 * x})[:, 0] * 10.0 + 100.0)


@pytest.mark.parametrize("space", ["tabular", "image", "cell"])
def test_parameters_are_counted_as_the_built_network_has_them(space):
    import search_spaces

    space = getattr(search_spaces, space)()
    views = {"x": (3, 16, 16)} if "tabular" not in space.name else {"x": (7,), "numeric": (5,), "quantile": (5,)}
    signature, rng = Signature(views, 4), np.random.default_rng(0)
    for _ in range(25):
        architecture = space.architecture(space.sample(rng))
        assert parameters(architecture, signature) == count(architecture, signature).parameters
