"""Graphs for tests of architectures: from short texts, drawn at random, and in another order."""

from __future__ import annotations

import random
from itertools import pairwise

import networkx as nx
from hypothesis import strategies as st

from nas.architecture import Architecture, Node

X = Node("input", parameters=(("name", "x"),))
OUT = Node("output")


def graph_of(text: str, **attributes: object) -> nx.MultiDiGraph:
    """A graph from paths such as ``x a b y``: a node's op is its name without digits; x is an input, y the output."""
    graph = nx.MultiDiGraph()
    for line in text.split(";"):
        names = line.split()
        for name in names:
            op = {"x": "input", "z": "input", "y": "output"}.get(name, name.rstrip("0123456789"))
            graph.add_node(name, op=op, parameters={"name": name} if op == "input" else {})
            graph.nodes[name].update(attributes.get(name, {}))  # type: ignore[call-overload]
        graph.add_edges_from(pairwise(names))
    return graph


def architecture(text: str, **attributes: object) -> Architecture:
    return Architecture.from_graph(graph_of(text, **attributes))


def isomorphic(first: nx.DiGraph, second: nx.DiGraph) -> bool:
    return bool(nx.is_isomorphic(first, second, node_match=dict.__eq__, edge_match=dict.__eq__))


@st.composite
def graphs(draw, ops="abc", most=7):
    """Small graphs, mostly alike, so that equal and unequal pairs are both common."""
    size = draw(st.integers(1, most))
    graph = nx.MultiDiGraph()
    graph.add_node(0, op="input", parameters={"name": "x"})
    for node in range(1, size + 1):
        op = draw(st.sampled_from([*ops, "identity", "zero"]))
        join = draw(st.sampled_from(["add", "add", "concat"]))
        graph.add_node(node, op=op, join=join, parameters={"width": draw(st.sampled_from([1, 2]))} if op == "a" else {})
    graph.add_node(size + 1, op="output")
    for source in range(size + 1):
        for target in range(max(source + 1, 1), size + 2):
            if draw(st.booleans()):
                graph.add_edge(source, target, times=draw(st.sampled_from([1, 1, 1, 2])))
    return graph


def shuffled(graph: nx.MultiDiGraph, rng: random.Random) -> nx.MultiDiGraph:
    names = list(graph)
    new = dict(zip(names, rng.sample(range(10_000), len(names)), strict=True))
    result = nx.MultiDiGraph()
    result.add_nodes_from((new[n], dict(graph.nodes[n])) for n in rng.sample(names, len(names)))
    edges = [(new[s], new[t], dict(data)) for s, t, data in graph.edges(data=True)]
    result.add_edges_from(rng.sample(edges, len(edges)))
    return result
