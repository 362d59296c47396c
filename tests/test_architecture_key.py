"""The exact key of an architecture against networkx, and against counts of NAS-Bench-201 where it is present."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from itertools import product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from graphs import OUT, X, graphs, isomorphic, shuffled
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nas.architecture import Architecture, Node


def decorated(graph: nx.MultiDiGraph, rng: random.Random) -> nx.MultiDiGraph:
    """The same computation with identities on edges, zeros beside them, parallel edges, nodes that lead nowhere."""
    result = nx.MultiDiGraph(graph)
    for step in range(rng.randint(1, 6) if graph.edges else 0):
        new, join = ("new", step), rng.choice(["add", "concat"])
        source, target, key, data = rng.choice(list(result.edges(keys=True, data=True)))
        match rng.choice(["identity", "zero", "dead end", "dead start", "parallel"]):
            case "identity":
                result.remove_edge(source, target, key)
                result.add_node(new, op="identity", join=join)
                result.add_edge(source, new, times=1)
                result.add_edge(new, target, times=data["times"])
            case "zero":
                result.add_node(new, op="zero", join=join)
                result.add_edge(source, new, times=1)
                result.add_edge(new, target, times=2)
            case "dead end":
                result.add_node(new, op="b", join=join)
                result.add_edge(source, new, times=3)
            case "dead start":
                result.add_node(new, op="a", join=join)
                result.add_edge(new, target, times=1)
            case "parallel" if data["times"] > 1:
                result.edges[source, target, key]["times"] -= 1
                result.add_edge(source, target, times=1)
    return result


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_names_order_and_dead_parts_do_not_matter(graph, rng):
    found = Architecture.from_graph(graph)
    other = Architecture.from_graph(shuffled(decorated(graph, rng), rng))
    assert (other.nodes, other.edges, other.key) == (found.nodes, found.edges, found.key)


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_one_change_gives_another_key_iff_the_normal_forms_are_not_isomorphic(graph, rng):
    found = Architecture.from_graph(graph)
    changed = shuffled(found.graph, rng)
    inner = [n for n, data in changed.nodes(data=True) if data["op"] not in ("input", "output")]
    edges = list(changed.edges(keys=True))
    kind = rng.randrange(5)
    if kind == 0 and inner:
        changed.nodes[rng.choice(inner)]["op"] = rng.choice("abc")
    elif kind == 1 and edges:
        changed.edges[rng.choice(edges)]["times"] = rng.choice([1, 2, 3])
    elif kind == 2 and edges:
        changed.remove_edge(*rng.choice(edges))
    elif kind == 3 and inner:
        changed.nodes[rng.choice(inner)]["join"] = rng.choice(["add", "concat"])
    elif len(edges) > 1:
        (s1, t1, k1), (s2, t2, k2) = rng.sample(edges, 2)
        changed.remove_edges_from([(s1, t1, k1), (s2, t2, k2)])
        changed.add_edges_from([(s1, t2, {"times": 1}), (s2, t1, {"times": 1})])
        assume(nx.is_directed_acyclic_graph(changed))
    other = Architecture.from_graph(changed)
    assert (found.key == other.key) is isomorphic(found.graph, other.graph)


@given(st.lists(graphs(ops="a", most=4), min_size=2, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_keys_agree_with_networkx_on_every_pair(many):
    found = [Architecture.from_graph(graph) for graph in many]
    for first, second in product(found, found):
        assert (first.key == second.key) is (first == second) is isomorphic(first.graph, second.graph)


# --- NAS-Bench-201: 15,625 cells

TABLE = Path(__file__).parents[2] / "shared" / "tables" / "nb201_12epochs.npz"


@pytest.fixture(scope="module")
def cells() -> tuple[list[tuple[str, str, str]], np.ndarray, list[str]]:
    """(source, target, ...) of the six edges, the operation of each [15625, 6], and the keys."""
    if not TABLE.exists():
        pytest.skip("the table of NAS-Bench-201 is not beside the repository")
    with np.load(TABLE, allow_pickle=False) as table:
        decisions = json.loads(str(table["decisions"]))
        ops = np.stack([np.array(d["values"])[table["arch"][:, j]] for j, d in enumerate(decisions)], axis=1)
    ends = [(int(d["source"]), int(d["target"])) for d in decisions]
    names = {"none": "zero", "skip_connect": "identity"}
    nodes = {op: Node(names.get(op, op)) for op in np.unique(ops).tolist()}
    plain = (X, Node("identity"), Node("identity"), OUT)
    edges = tuple((s, 4 + i, 1) for i, (s, _) in enumerate(ends)) + tuple(
        (4 + i, t, 1) for i, (_, t) in enumerate(ends)
    )
    keys = [Architecture(plain + tuple(nodes[op] for op in row), edges).key for row in ops.tolist()]
    return ends, ops, keys


Form = tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str, int]]]  # (node, op); (source, target, times)


def simplified_cell(ends: list[tuple[int, int]], row: list[str]) -> Form:
    """Simplified by matrix algebra: entry (s, t) of (1 - S)^-1 counts the ways from s to t over skips alone."""
    skips = np.zeros((4, 4), dtype=int)
    for end, op in zip(ends, row, strict=True):
        skips[end] += op == "skip_connect"
    ways = (np.eye(4, dtype=int) + skips + skips @ skips + skips @ skips @ skips).tolist()
    ops = {f"{s}{t}": op for (s, t), op in zip(ends, row, strict=True) if op not in ("none", "skip_connect")}
    leaves = {"in": 0} | {name: int(name[1]) for name in ops}
    enters = {"out": 3} | {name: int(name[0]) for name in ops}
    edges = {(u, v, ways[leaves[u]][enters[v]]) for u in leaves for v in enters if ways[leaves[u]][enters[v]]}
    fed, useful = {"in"}, {"out"}
    for _ in range(4):  # as long as the longest path
        fed |= {v for u, v, _ in edges if u in fed}
        useful |= {u for u, v, _ in edges if v in useful}
    live = fed & useful
    nodes = frozenset((name, ops.get(name, name)) for name in live | {"out"})
    return nodes, frozenset(edge for edge in edges if edge[0] in live and edge[1] in live)


def invariant(form: Form) -> tuple[object, ...]:
    """What isomorphic forms share: the operations with those before and after them."""
    op = dict(form[0])
    before = {name: sorted((op[u], times) for u, v, times in form[1] if v == name) for name in op}
    after = {name: sorted((op[v], times) for u, v, times in form[1] if u == name) for name in op}
    return tuple(sorted((op[name], tuple(before[name]), tuple(after[name])) for name in op))


def drawn(form: Form) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from((name, {"op": op}) for name, op in form[0])
    graph.add_edges_from((u, v, {"times": times}) for u, v, times in form[1])
    return graph


def test_nb201_keys_are_the_classes_of_brute_force_isomorphism(cells):
    """5,425 classes, found without nas: simplified by matrices, compared by networkx inside buckets of invariants.

    Two equal operations on one input stay two (they may be trained apart); a value added twice counts twice. Pooling
    has no weights, so some of the 5,425 still compute the same function; that is beyond isomorphism.
    """
    ends, ops, keys = cells
    forms = [simplified_cell(ends, row) for row in ops.tolist()]
    buckets: dict[object, list[nx.DiGraph]] = defaultdict(list)
    label: dict[Form, tuple[object, int]] = {}
    for form in set(forms):
        bucket = buckets[invariant(form)]
        graph = drawn(form)
        index = next((i for i, other in enumerate(bucket) if isomorphic(graph, other)), len(bucket))
        if index == len(bucket):
            bucket.append(graph)
        label[form] = invariant(form), index
    classes = [label[form] for form in forms]
    assert len(set(classes)) == 5425
    assert len(set(keys)) == len(set(zip(keys, classes, strict=True))) == 5425


def test_nb201_string_rule_is_neither_finer_nor_coarser(cells):
    """The published rule (``to_unique_str(consider_zero=True)``, NAS-Bench-201): 6,466 strings against 5,425 keys.

    Strings split what is equal: they keep a zero as a summand (``#``) and do not flatten a sum inside a sum. Strings
    also join what is not equal: they are trees, so one convolution used twice reads like two with weights of their own.
    Together both rules see 7,122 kinds.
    """
    ends, ops, keys = cells
    strings = []
    for row in ops.tolist():
        chosen = dict(zip(ends, row, strict=True))
        text = {0: "0"}
        for target in (1, 2, 3):
            terms = []
            for source in range(target):
                op = chosen[source, target]
                if op == "none" or text[source] == "#":
                    terms.append("#")
                elif op == "skip_connect":
                    terms.append(text[source])
                else:
                    terms.append(f"({text[source]})@{op}")
            text[target] = "+".join(sorted(terms))
        strings.append(text[3])
    assert (len(set(strings)), len(set(keys))) == (6466, 5425)
    assert len(set(zip(strings, keys, strict=True))) == 7122
