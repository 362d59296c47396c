"""The labelling on graphs that colour refinement cannot tell apart, and on those with many symmetries."""

from __future__ import annotations

import random
import time
from itertools import product

import networkx as nx
import pytest
from graphs import architecture, graph_of, shuffled

from nas.architecture import Architecture
from nas.canonical import canonical_order
from nas.errors import ArchitectureError


def incidence(graph: nx.Graph) -> nx.DiGraph:
    """Operations for the nodes of an undirected graph feed operations for its edges."""
    result = nx.DiGraph()
    result.add_node("x", op="input", parameters={"name": "x"})
    result.add_node("y", op="output")
    for node in graph:
        result.add_node(("node", node), op="a")
        result.add_edge("x", ("node", node))
    for edge in graph.edges:
        result.add_node(edge, op="b")
        result.add_edge(edge, "y")
        result.add_edges_from((("node", node), edge) for node in edge)
    return result


def shrikhande() -> nx.Graph:
    """Strongly regular with the parameters of the 4 x 4 rook's graph, but not isomorphic to it (Shrikhande 1959)."""
    steps = [(0, 1), (1, 0), (1, 1)]
    cells = list(product(range(4), range(4)))
    return nx.Graph(((i, j), ((i + a) % 4, (j + b) % 4)) for i, j in cells for a, b in steps)


def rook() -> nx.Graph:
    return nx.line_graph(nx.complete_bipartite_graph(4, 4))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))),
        (nx.cycle_graph(12), nx.disjoint_union(nx.cycle_graph(5), nx.cycle_graph(7))),
        (nx.petersen_graph(), nx.circular_ladder_graph(5)),
        (nx.dodecahedral_graph(), nx.desargues_graph()),
        (rook(), shrikhande()),
        (nx.hypercube_graph(4), nx.disjoint_union(nx.hypercube_graph(3), nx.hypercube_graph(3))),
    ],
)
def test_what_colour_refinement_cannot_tell_is_told(first, second):
    rng = random.Random(0)
    keys = [{Architecture.from_graph(shuffled(incidence(g), rng)).key for _ in range(5)} for g in (first, second)]
    assert [len(k) for k in keys] == [1, 1]
    assert keys[0] != keys[1]


def test_layers_are_counted_as_matrices_up_to_permutations():
    """Binary matrices up to permutations of rows and columns: 36 of 3 x 3, 87 of 3 x 4 (OEIS A002724, A028657)."""
    for rows, columns, classes in ((2, 2, 7), (3, 3, 36), (3, 4, 87)):
        forms = set()
        for bits in product((0, 1), repeat=rows * columns):
            pairs = product(range(1, rows + 1), range(rows + 1, rows + columns + 1))
            edges = [(i, j, 1) for (i, j), bit in zip(pairs, bits, strict=True) if bit]
            edges += [(0, node, 1) for node in range(1, rows + columns + 1)]
            colours = ["x"] + ["row"] * rows + ["column"] * columns
            order = canonical_order(colours, edges)
            place = {node: i for i, node in enumerate(order)}
            forms.add(tuple(sorted((place[s], place[t]) for s, t, _ in edges)) + tuple(colours[i] for i in order))
        assert len(forms) == classes


@pytest.mark.parametrize("depth", [1, 3])
def test_ten_equal_branches_take_milliseconds(depth):
    text = "; ".join("x " + " ".join(f"a{i}{j}0" for j in range(depth)) + " c y" for i in range(10))
    started = time.process_time()
    found = architecture(text)
    assert time.process_time() - started < 0.5
    assert len(found.nodes) == 10 * depth + 3


def test_nested_symmetry_exchanges_and_long_chains_are_fast():
    all_but_own = "; ".join(f"x a{i} b{j} y" for i in range(10) for j in range(10) if i != j)
    graph = nx.DiGraph(graph_of(all_but_own))
    nested = graph_of("; ".join(f"x fork{i} a{i}{j}0 join{i} y" for i in range(8) for j in range(8)))
    nested = nx.DiGraph(nested)
    chain = graph_of("x " + " ".join(f"a{i}" for i in range(3000)) + " y")
    started = time.process_time()
    for each in (graph, nested, chain, incidence(nx.complete_graph(8)), incidence(nx.hypercube_graph(4))):
        rng = random.Random(1)
        assert Architecture.from_graph(each) == Architecture.from_graph(shuffled(nx.MultiDiGraph(each), rng))
    assert time.process_time() - started < 5


def test_too_much_symmetry_is_said_not_suffered(monkeypatch):
    monkeypatch.setattr("nas.canonical.WORK_LIMIT", 500_000)
    started = time.process_time()
    with pytest.raises(ArchitectureError, match="symmetries"):
        Architecture.from_graph(incidence(nx.random_regular_graph(3, 1000, seed=1)))
    assert time.process_time() - started < 3
