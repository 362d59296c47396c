"""Architectures by strangers: what is no normal graph of operations, too large or too deep ends in one sentence."""

from __future__ import annotations

import time

import networkx as nx
import pytest
from graphs import OUT, X, graph_of

from nas.architecture import MAX_EDGES, MAX_NODES, MAX_TIMES, Architecture, Node
from nas.errors import ArchitectureError, NasError


def hostile() -> dict[str, object]:
    node, edge = {"op": "a"}, [0, 1, 1]
    nodes = [{"op": "input", "parameters": {"name": "x"}}, node, {"op": "output"}]

    def version(**change: object) -> dict[str, object]:
        return {"version": 1, "nodes": nodes, "edges": [[0, 1, 1], [1, 2, 1]]} | change

    def with_node(**change: object) -> dict[str, object]:
        return version(nodes=[nodes[0], node | change, nodes[2]])

    return {
        "a list": [1],
        "a number": 7,
        "nothing": None,
        "empty": {},
        "unknown key": version(code="import os"),
        "missing key": {"version": 1, "nodes": []},
        "version 2": version(version=2),
        "version true": version(version=True),
        "version text": version(version="1"),
        "no output": version(nodes=nodes[:2], edges=[edge]),
        "two outputs": version(nodes=[*nodes, {"op": "output"}]),
        "nodes are text": version(nodes="abc"),
        "nodes are a mapping": version(nodes={"0": node}),
        "a node is text": version(nodes=["abc", *nodes]),
        "a node is null": version(nodes=[None, *nodes]),
        "million nodes": version(nodes=[node] * 1_000_000),
        "million edges": version(edges=[edge] * 1_000_000),
        "cycle": version(edges=[[0, 1, 1], [1, 1, 1], [1, 2, 1]]),
        "edge backwards": version(edges=[[1, 0, 1]]),
        "edge out of the output": version(edges=[[2, 1, 1]]),
        "edge twice": version(edges=[edge, edge]),
        "edge to nowhere": version(edges=[[0, 9, 1]]),
        "edge from -1": version(edges=[[-1, 1, 1]]),
        "edge of two": version(edges=[[0, 1]]),
        "edge is text": version(edges=["011"]),
        "edge with texts": version(edges=[["0", "1", "1"]]),
        "edge true": version(edges=[[False, True, True]]),
        "times 0": version(edges=[[0, 1, 0]]),
        "times -1": version(edges=[[0, 1, -1]]),
        "times 1.5": version(edges=[[0, 1, 1.5]]),
        "times huge": version(edges=[[0, 1, 10**30]]),
        "times nan": version(edges=[[0, 1, float("nan")]]),
        "unknown key in a node": with_node(weights="file:///"),
        "op is null": with_node(op=None),
        "op is empty": with_node(op=""),
        "op is long": with_node(op="a" * 100_000),
        "op is a list": with_node(op=["a"]),
        "join unknown": with_node(join="times"),
        "join is a list": with_node(join=[]),
        "node version 0": with_node(version=0),
        "node version huge": with_node(version=10**5000),
        "parameters are a list": with_node(parameters=[1]),
        "parameter nested": with_node(parameters={"a": {"b": 1}}),
        "parameter list": with_node(parameters={"a": [1]}),
        "parameter nan": with_node(parameters={"a": float("nan")}),
        "parameter infinite": with_node(parameters={"a": -float("inf")}),
        "parameter huge": with_node(parameters={"a": 10**400}),
        "parameter huger": with_node(parameters={"a": 10**5000}),
        "parameter long": with_node(parameters={"a": "b" * 100_000}),
        "parameter nameless": with_node(parameters={"": 1}),
        "parameter named 1": with_node(parameters={1: 1}),
        "input without a name": version(nodes=[{"op": "input"}, *nodes[1:]]),
        "input with a number": version(nodes=[{"op": "input", "parameters": {"name": 1}}, *nodes[1:]]),
        "input with more": version(nodes=[{"op": "input", "parameters": {"name": "x", "file": "y"}}, *nodes[1:]]),
    }


@pytest.mark.parametrize("case", hostile())
def test_hostile_data_are_one_sentence(case):
    started = time.process_time()
    with pytest.raises(ArchitectureError) as caught:
        Architecture.from_dict(hostile()[case])
    message = str(caught.value)
    assert len(message) < 400
    assert message.endswith(".")
    assert "\n" not in message
    assert isinstance(caught.value, NasError)
    assert isinstance(caught.value, ValueError)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"version": 1, "nodes": [{"op": "output"}], "edges": [[0, 0, NaN]]}',
        '{"version": 1, "nodes": [{"op": "output", "parameters": {"a": Infinity}}], "edges": []}',
        '{"version": 1, "nodes": [{"op": "output", "parameters": {"a": 1e999}}], "edges": []}',
        '{"version": 1, "nodes": [{"op": "output", "version": ' + "9" * 5000 + '}], "edges": []}',
        '"' + "a" * 2**24 + '"',
        b'{"version": 1}',
    ],
)
def test_hostile_texts_are_one_sentence(text):
    with pytest.raises(ArchitectureError) as caught:
        Architecture.from_json(text)
    assert len(str(caught.value)) < 400


def test_flattening_does_not_explode():
    doubling = [X, *[Node("identity")] * 40, OUT]
    with pytest.raises(ArchitectureError, match="times"):
        Architecture(tuple(doubling), tuple((i, i + 1, 2) for i in range(41)))
    size = 700  # every identity sums all before it, and every operation takes part
    nodes = [X] + [Node("a") if i % 2 else Node("identity", join="concat") for i in range(size)] + [OUT]
    edges = [(s, t, 1) for t in range(1, size + 2) for s in range(max(0, t - 90), t)]
    started = time.process_time()
    with pytest.raises(ArchitectureError):
        Architecture(tuple(nodes), tuple(edges))
    assert time.process_time() - started < 3


def test_the_largest_architectures_are_taken():
    chain = (X, *[Node("a")] * (MAX_NODES - 2), OUT)
    edges = tuple((i, i + 1, 1) for i in range(MAX_NODES - 1))
    assert len(Architecture(chain, edges).nodes) == MAX_NODES
    with pytest.raises(ArchitectureError, match=str(MAX_NODES)):
        Architecture((*chain, Node("a")), edges)
    with pytest.raises(ArchitectureError, match=str(MAX_EDGES)):
        Architecture((X, OUT), ((0, 1, 1),) * (MAX_EDGES + 1))
    assert Architecture((X, OUT), ((0, 1, MAX_TIMES),)).edges[0][2] == MAX_TIMES


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.Graph(), "DiGraph"),
        (nx.DiGraph([(1, 2)]), "op"),
        (nx.DiGraph(), "output"),
        (graph_of("x a b y; b a"), "cycle"),
        (graph_of("x y; a x"), "inputs"),
        (graph_of("x y", y={"op": "output", "version": 1.5}), "version"),
        (graph_of("x a y", a={"parameters": {"p": object()}}), "parameter 'p'"),
    ],
)
def test_bad_graphs_are_refused(graph, message):
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_graph(graph)
