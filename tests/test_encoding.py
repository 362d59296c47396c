"""Encodings: equal for equal computations, different for different ones, columns that keep their names."""

from __future__ import annotations

import math
import random

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.encoding import Steps, decisions, matrix, space_free
from nas.errors import SpaceError
from nas.space import Choice, Float, Integer, Op, SearchSpace
from search_spaces import image, tabular


def chain(*ops: str, skip: bool = False, join: str = "add", source: str = "x", **parameters: object) -> Architecture:
    """An input, the operations one after another, the output; every operation has the parameters."""
    graph = nx.DiGraph()
    graph.add_node(0, op="input", parameters={"name": source})
    graph.add_nodes_from((i + 1, {"op": op, "parameters": parameters}) for i, op in enumerate(ops))
    graph.add_node(len(ops) + 1, op="output")
    nx.add_path(graph, range(len(ops) + 2))
    if skip:
        graph.add_edge(0, len(ops))
        graph.nodes[len(ops)]["join"] = join
    return Architecture.from_graph(graph)


def test_the_numbers_say_what_their_names_say():
    graph = nx.DiGraph()
    graph.add_node("x", op="input", parameters={"name": "x"})
    graph.add_node("a", op="linear", parameters={"width": 64})
    graph.add_node("b", op="linear", parameters={"width": 256})
    graph.add_node("act", op="mish")
    graph.add_node("all", op="identity", join="concat")
    graph.add_node("p", op="dropout", parameters={"p": 0.25, "mode": "channel"})
    graph.add_node("y", op="output")
    nx.add_path(graph, ["x", "a", "act", "all", "p", "y"])
    nx.add_path(graph, ["x", "b", "all"])
    graph.add_edge("x", "y", times=3)
    found = space_free(Architecture.from_graph(graph), {"learning_rate": 0.01, "nesterov": True, "dropout": 0.0})
    log = math.log
    assert found == pytest.approx(
        {
            "input.x": 1,
            "op.linear": log(3),
            "op.mish": log(2),
            "op.dropout": log(2),
            "path.linear": log(2),
            "path.mish": log(2),
            "path.dropout": log(2),
            "pair.input>linear": log(3),
            "pair.linear>mish": log(2),
            "pair.linear>dropout": log(2),
            "pair.mish>dropout": log(2),
            "pair.dropout>output": log(2),
            "pair.input>output": log(4),
            "operations": log(5),
            "edges": log(10),
            "depth": log(4),
            "ways": log(6),
            "join.add": log(2),
            "join.concat": log(2),
            "times": log(3),
            "width.mean": 7,
            "width.least": 6,
            "width.most": 8,
            "width.first": 7,
            "width.last": 7,
            "width.total": math.log2(320),
            "parameter.dropout.p": 0.25,
            "parameter.dropout.p.log": math.log10(250_001),
            "parameter.dropout.mode=channel": log(2),
            "setting.learning_rate": 0.01,
            "setting.learning_rate.log": math.log10(10_001),
            "setting.nesterov=True": 1,
        }
    )


def test_a_constant_says_nothing_of_operations():
    found = space_free(chain("zero"), {})
    assert not any(name.startswith(("op.", "pair.", "path.", "width.", "parameter.")) for name in found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chain("linear"), chain("gated_linear")),
        (chain("linear"), chain("linear", "linear")),
        (chain("linear", width=64), chain("linear", width=128)),
        (chain("linear", width=64), chain("linear")),
        (chain("linear", "relu"), chain("relu", "linear")),
        (chain("linear", "relu"), chain("linear", "relu", skip=True)),
        (chain("linear", "relu", skip=True), chain("linear", "relu", skip=True, join="concat")),
        (chain("linear"), chain("linear", source="numeric")),
        (chain("periodic", sigma=0.1), chain("periodic", sigma=0.3)),
        (chain("conv", mode="same"), chain("conv", mode="valid")),
        (chain("conv", bias=True), chain("conv", bias=False)),
        (chain("conv", bias=None), chain("conv")),
        (chain("dropout", p=0), chain("dropout", p=1e-3)),
    ],
)
def test_clearly_different_architectures_differ(one, other):
    assert one != other
    assert space_free(one, {}) != space_free(other, {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"learning_rate": 0.01}, {"learning_rate": 0.03}),
        ({"weight_decay": 0.0}, {"weight_decay": 1e-6}),
        ({"optimiser": "adam"}, {"optimiser": "sgd"}),
        ({"clip": True}, {"clip": False}),
        ({"clip": True}, {"clip": 1}),
        ({"clip": None}, {}),
        ({"shift": -1.0}, {"shift": 1.0}),
    ],
)
def test_settings_that_differ_differ(one, other):
    assert space_free(chain("a"), one) != space_free(chain("a"), other)


def test_order_of_numbers_is_kept_on_both_scales():
    rows = [space_free(chain("a"), {"weight_decay": value}) for value in (0, 1e-5, 1e-4, 0.02, 0.1, 1.0)]
    X, _ = matrix(rows, ["setting.weight_decay", "setting.weight_decay.log"])
    assert (np.diff(X, axis=0) > 0).all()
    assert (X[0] == 0).all()
    assert np.diff(X[1:3, 1]) == pytest.approx(1, abs=0.05), "a factor of ten is one, far above 1e-6"


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_isomorphic_architectures_have_one_encoding(seed):
    rng, order = np.random.default_rng(seed), random.Random(seed)
    for space in (tabular(), image()):
        graph = space.architecture(space.sample(rng)).graph
        names = dict(zip(graph, order.sample(range(1000), len(graph)), strict=True))
        other = nx.DiGraph()
        other.add_nodes_from((names[n], graph.nodes[n]) for n in order.sample(list(graph), len(graph)))
        other.add_edges_from((names[s], names[t], data) for s, t, data in graph.edges(data=True))
        source, target, data = order.choice(list(other.edges(data=True)))
        other.remove_edge(source, target)
        other.add_node("between", op="identity")
        other.add_edge(source, "between")
        other.add_edge("between", target, **data)
        other.add_node("dead", op="linear", parameters={"width": 7})
        other.add_edge(source, "dead")
        first, second = (space_free(Architecture.from_graph(g), {}) for g in (graph, other))
        assert list(first.items()) == list(second.items())
        assert all(isinstance(value, float) and math.isfinite(value) and value for value in first.values())


def test_ways_and_depths_are_those_of_networkx():
    rng = np.random.default_rng(0)
    for _ in range(30):
        graph = nx.DiGraph()
        graph.add_node(0, op="input", parameters={"name": "x"})
        graph.add_nodes_from(range(1, 8), op="a")
        graph.add_node(8, op="output")
        graph.add_edges_from((s, t) for s in range(8) for t in range(s + 1, 9) if rng.random() < 0.4)
        live = {0, 8} | (nx.descendants(graph, 0) & nx.ancestors(graph, 8))
        lengths = [len(path) - 2 for path in nx.all_simple_paths(graph.subgraph(live), 0, 8)]
        found = space_free(Architecture.from_graph(graph), {})
        expected = [len(lengths), max(lengths, default=0), min(lengths, default=0), max(lengths, default=0)]
        names = ["ways", "depth", "shortcut", "path.a"]
        assert [found.get(name, 0) for name in names] == pytest.approx([math.log(1 + n) for n in expected])


def test_columns_are_told_by_name():
    rows = [{"b": 2.0, "a": 1.0}, {"c": 3.0}, {}]
    X, names = matrix(rows)
    assert names == ("a", "b", "c")
    np.testing.assert_array_equal(X, [[1, 2, 0], [0, 0, 3], [0, 0, 0]])
    X, names = matrix(rows, ["c", "unknown", "a"])
    assert names == ("c", "unknown", "a")
    np.testing.assert_array_equal(X, [[0, 0, 1], [3, 0, 0], [0, 0, 0]])
    X, names = matrix([])
    assert (X.shape, names) == ((0, 0), ())


def test_rows_of_two_spaces_align():
    rng = np.random.default_rng(0)
    rows = []
    for space in (tabular(), image()):
        choices = [space.sample(rng) for _ in range(20)]
        rows += [space_free(space.architecture(c), space.settings(c)) for c in choices]
    X, names = matrix(rows)
    again, _ = matrix(rows[20:], names)
    np.testing.assert_array_equal(X[20:], again)
    assert X[:, names.index("setting.learning_rate")].all()
    assert not X[:20, names.index("op.conv3x3")].any()


def test_decisions_are_places_and_one_hots():
    space = SearchSpace("mine")
    space.add_input("x")
    space.add_node("a", Choice(Op("linear", width=Integer(1, 256, log=True)), "relu"))
    space.add_node("b", Op("dropout", p=Float(0, 0.5)))
    space.add_output("y")
    space.add_edge("x", "a")
    space.add_edge("a", "b", optional=True)
    space.add_edge("x", "b")
    space.add_edge("b", "y")
    space.add_setting("learning_rate", Choice(0.01, 0.1, 0.2))
    choices = {"a": "linear", "a.linear.width": 16, "a->b.kept": True, "b.p": 0.125, "settings.learning_rate": 0.1}
    assert space.contains(choices)
    assert decisions(space, choices) == {
        "decision.a=linear": 1.0,
        "decision.a.linear.width": 0.5,
        "decision.a->b.kept=True": 1.0,
        "decision.b.p": 0.25,
        "decision.settings.learning_rate": 0.5,
    }
    with pytest.raises(SpaceError, match=r"'b\.q' is not asked; did you mean 'b\.p'"):
        decisions(space, choices | {"b.q": 0.1})


def test_decisions_tell_all_choices_of_a_space_apart():
    space = SearchSpace("small")
    space.add_input("x")
    space.add_node("a", Choice("linear", Op("gated_linear", dropout=Choice(0.0, 0.1, 0.5))), width=Choice(8, 16, 64))
    space.add_output("y")
    space.add_edge("x", "a", Choice("identity", "zero"))
    space.add_edge("a", "y")
    space.add_edge("x", "y", optional=True)
    rows = [decisions(space, choices) for choices in space.enumerate()]
    X, _ = matrix(rows)
    assert len(np.unique(X, axis=0)) == len(rows) == space.size


# ---- steps -----------------------------------------------------------------------------------------------------------


def disagreements(space: SearchSpace, a: dict, b: dict) -> float:
    """What the columns of two choices must differ by, decision by decision, without any columns."""
    total = 0.0
    for path, domain in space.decisions().items():
        values = list(domain.values or ())
        if len(values) == 1:
            continue
        taken = [c[path] for c in (a, b) if path in c]
        if domain.ordered and len(values) > 2:
            places = [sorted(values).index(value) for value in taken]
            total += abs(places[0] - places[1]) if len(places) == 2 else sum(places)
        else:
            total += 2 * (taken[0] != taken[1]) if len(taken) == 2 else len(taken)
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_columns_differ_by_the_number_of_disagreements_and_steps(seed):
    space, rng = tabular(), np.random.default_rng(seed)
    choices = [space.sample(rng) for _ in range(4)]
    X = Steps.of(space.decisions()).encode(choices)
    assert set(np.unique(X)) <= {0.0, 1.0}
    for i, a in enumerate(choices):
        for j, b in enumerate(choices):
            assert np.abs(X[i] - X[j]).sum() == disagreements(space, a, b)


def test_ranges_are_cut_into_even_steps_of_their_own_scale():
    columns = Steps.of({"rate": Float(1e-4, 1.0, log=True), "width": Integer(1, 1000), "few": Integer(1, 4)})
    rows = columns.encode([{"rate": 10.0 ** (0.1 - k), "width": 1 + 250 * k, "few": k} for k in (1, 2, 3, 4)])
    counts = {name: rows[:, [p == name for p in columns.paths]].sum(axis=1).tolist() for name in set(columns.paths)}
    assert counts["rate"] == [12.0, 8.0, 4.0, 0.0]
    assert counts["width"] == [4.0, 8.0, 12.0, 15.0]
    assert counts["few"] == [0.0, 1.0, 2.0, 3.0]


def test_what_only_history_knows_has_columns_of_its_own():
    domains = {"op": Choice("relu", "mish"), "width": Choice(64, 128), "flag": Choice(True, False)}
    old = [{"op": "tanh", "width": 32, "gone": 1}, {"op": "relu", "width": 64}]
    columns = Steps.of(domains, old)
    assert set(columns.paths) == {"op", "width", "flag"}
    X = columns.encode([*old, {"op": "mish", "width": 64, "flag": 1}, {"op": "mish", "width": 64, "flag": True}])
    assert len(np.unique(X, axis=0)) == 4, "1 is not True"
    assert [v for p, v in zip(columns.paths, columns.values, strict=True) if p == "width"] == [32.0, 64.0]
    assert Steps.from_dict(columns.to_dict()) == columns
    with pytest.raises(SpaceError, match="steps/1"):
        Steps.from_dict({**columns.to_dict(), "encoding": "steps/0"})


def test_a_space_without_a_choice_has_no_columns():
    columns = Steps.of({"only": Choice("relu")})
    assert columns.encode([{"only": "relu"}, {}]).shape == (2, 0)
    assert columns.base.shape == (0,)


def test_values_are_counted_over_the_decisions_that_offer_the_same() -> None:
    """Three decisions between the same words are counted together, whatever their order; others are not."""
    words = ("relu", "tanh", "silu")
    domains = {p: Choice(*words) for p in "ab"} | {"c": Choice(*words[::-1]), "d": Choice("relu", "tanh")}
    domains |= {"e": Integer(4, 64), **{p: Choice(True, False) for p in "fg"}, **{p: Choice(1, 2) for p in "hi"}}
    columns, rng = Steps.of(domains), np.random.default_rng(0)
    drawn = [{path: domain.sample(rng) for path, domain in domains.items()} for _ in range(20)]
    shares = [[[choices[p] for p in "abc"].count(word) / 3 for word in words] for choices in drawn]
    np.testing.assert_allclose(columns.encode(drawn) @ columns.counts, shares, atol=1e-6)


@pytest.mark.parametrize("domains", [{}, {"a": Choice("relu", "tanh"), "b": Choice("relu", "silu")}])
def test_where_no_two_decisions_offer_the_same_nothing_is_counted(domains: dict[str, Choice]) -> None:
    columns = Steps.of(domains)
    assert columns.counts.shape == (len(columns.paths), 0)


def test_what_only_history_knows_of_one_decision_leaves_the_others_counted_with_it() -> None:
    domains = {p: Choice("relu", "tanh") for p in "ab"}
    old = [{"a": "warp", "b": "relu"}, {"a": "relu", "b": "jump"}]
    columns = Steps.of(domains, [*old, {"a": None, "b": 3}])
    shares = [[0.5, 0.0, 0.5, 0.0], [0.5, 0.0, 0.0, 0.5]]  # of relu, tanh, warp, jump
    np.testing.assert_allclose(columns.encode(old) @ columns.counts, shares)
