"""Architecture: the normal form, the exact key against networkx and against published counts, JSON from strangers."""

from __future__ import annotations

import json
import pickle
import random
import time
from collections import Counter, defaultdict
from itertools import pairwise, product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nas.architecture import MAX_EDGES, MAX_NODES, MAX_TIMES, Architecture, Node
from nas.canonical import canonical_order
from nas.errors import ArchitectureError, NasError

TABLE = Path(__file__).parents[2] / "shared" / "tables" / "nb201_12epochs.npz"

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


CONCAT = {"join": "concat"}


# --- the normal form


@pytest.mark.parametrize(
    ("first", "second", "concat"),
    [
        ("x a y", "x identity identity2 a identity3 y", ()),
        ("x a y", "x a y; x zero y", ()),
        ("x a y", "x a y; x b; c a", ()),
        ("x a y", "x a y; x zero b y", ()),
        ("x a c y; x b c", "x a identity c y; x b identity", ()),
        ("x a c y; x b c", "x a identity c y; x b identity; x zero identity", ()),
        ("x a c y; x b c; x c", "x a c y; x b identity c; x identity", ()),
        ("x a y; x b y", "x a identity y; x b identity", ("identity", "y")),
        ("x a c y; x b c", "x a identity c y; x b identity", ("identity", "c")),
        ("x a y", "x a y", ("a",)),
    ],
)
def test_what_simplifies_to_the_same(first, second, concat):
    attributes = dict.fromkeys(concat, CONCAT)
    if "c" in concat:
        assert architecture(first, c=CONCAT) == architecture(second, **attributes)
    else:
        assert architecture(first) == architecture(second, **attributes)


def test_a_lone_predecessor_hands_its_join_on():
    through = architecture("x a identity c y; x b identity", identity=CONCAT)
    assert through == architecture("x a c y; x b c", c=CONCAT)
    assert through != architecture("x a c y; x b c")


def test_a_concatenation_inside_a_sum_stays_as_one_identity():
    found = architecture("x a identity c y; x b identity; x c", identity=CONCAT)
    assert [n for n in found.nodes if n.op == "identity"] == [Node("identity", join="concat")]
    twice = architecture(
        "x a identity c y; x b identity; x c; x a identity2 d y; x b identity2; x d", identity=CONCAT, identity2=CONCAT
    )
    assert sum(n.op == "identity" for n in twice.nodes) == 1, "equal joins of equal members are one value"


def test_multiplicities_multiply_through_nested_sums():
    found = architecture("x a identity identity2 c y; a identity; a identity; identity identity2; x c")
    assert [times for source, target, times in found.edges if found.nodes[target].op == "c"] in ([1, 6], [6, 1])
    assert architecture("x a c y; a c") != architecture("x a c y")
    assert architecture("x a c y; a c", c=CONCAT) != architecture("x a c y; a c")


def test_both_joins_mean_the_same_at_the_output():
    plain = architecture("x a y; x b y; x y")
    assert plain == architecture("x a y; x b y; x y", y=CONCAT)
    nested = architecture("x a identity identity2 y; x b identity; x identity2", identity=CONCAT)
    assert nested == plain
    assert all(node.op != "identity" for node in nested.nodes)


def test_separate_operations_stay_separate():
    assert architecture("x a c y; x a2 c") != architecture("x a c y; a c")
    assert architecture("x a b y; x a2 c y") != architecture("x a b y; a c y")


def test_a_network_nothing_reaches_is_a_constant():
    for text in ("y", "x zero y", "a y", "x a; b y"):
        found = architecture(text)
        assert (found.nodes, found.edges, found.inputs) == ((OUT,), (), ())
    assert architecture("y").summary() == "constant"


def test_order_is_topological_with_the_output_last():
    found = architecture("x a b c y; z b; a c; x y")
    assert found.nodes[-1].op == "output"
    assert all(source < target for source, target, _ in found.edges)
    assert found.inputs == ("x", "z")
    assert found.without_inputs(["z"]) == architecture("x a b c y; a c; x y")
    assert found.without_inputs(["z", "x"]).edges == ()
    assert found.without_inputs([]) == found == found.without_inputs(["unknown"])


def test_inputs_of_one_name_are_one():
    graph = graph_of("x a c y; z b c")
    graph.nodes["z"]["parameters"] = {"name": "x"}
    assert Architecture.from_graph(graph) == architecture("x a c y; x b c")


@pytest.mark.parametrize(
    ("key", "one", "other", "equal"),
    [
        ("width", 64, 64.0, True),
        ("width", np.int64(64), 64, True),
        ("p", np.float32(0.5), 0.5, True),
        ("width", 64, 65, False),
        ("width", 64, "64", False),
        ("flag", True, 1, False),
        ("flag", None, False, False),
        ("p", -0.0, 0, True),
        ("p", 0.1, np.nextafter(0.1, 1), False),
    ],
)
def test_parameters_are_compared_by_value(key, one, other, equal):
    first, second = (architecture("x a y", a={"parameters": {key: value}}) for value in (one, other))
    assert (first == second) is (first.key == second.key) is (hash(first) == hash(second)) is equal
    assert first != architecture("x a y")


def test_versions_and_joins_are_part_of_the_key():
    assert architecture("x a y", a={"version": 2}) != architecture("x a y")
    assert architecture("x a c y; x b c", c=CONCAT) != architecture("x a c y; x b c")


# --- the key against independent truth


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


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_the_normal_form_is_its_own_and_survives_every_trip(graph):
    found = Architecture.from_graph(graph)
    assert Architecture(found.nodes, found.edges) == found
    for copy in (
        Architecture.from_graph(found.graph),
        Architecture.from_json(found.to_json()),
        Architecture.from_dict(json.loads(json.dumps(found.to_dict(), sort_keys=True))),
        pickle.loads(pickle.dumps(found)),
    ):
        assert (copy.nodes, copy.edges, copy.key) == (found.nodes, found.edges, found.key)
        assert copy.to_json() == found.to_json()


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_the_normal_form_computes_the_same_number(graph):
    """Sums of arbitrary functions modulo a prime; what no input reaches is nothing, what is nothing feeds nothing."""
    nx.set_node_attributes(graph, "add", "join")

    def value(graph: nx.DiGraph) -> int | None:
        values: dict[object, int | None] = {}
        for node in nx.topological_sort(graph):
            op = graph.nodes[node]["op"]
            fed = [(values[s], data["times"]) for s, _, data in graph.in_edges(node, data=True)]
            terms = [term * times for term, times in fed if term is not None]
            total = sum(terms) if terms and op != "zero" else None
            power = {"a": 3, "b": 5, "c": 7}.get(op)
            if op == "input":
                values[node] = 123_456_789
            elif power is None or total is None:
                values[node] = total
            else:
                values[node] = (pow(total, power, 2**61 - 1) * (3 + sum(graph.nodes[node]["parameters"].values()))) + 1
        return next(values[n] for n, data in graph.nodes(data=True) if data["op"] == "output")

    assert value(graph) == value(Architecture.from_graph(graph).graph)


# --- the labelling on graphs that colour refinement cannot tell apart


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


# --- NAS-Bench-201: 15,625 cells


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


# --- what is refused


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


def test_too_much_symmetry_is_said_not_suffered(monkeypatch):
    monkeypatch.setattr("nas.canonical.WORK_LIMIT", 500_000)
    started = time.process_time()
    with pytest.raises(ArchitectureError, match="symmetries"):
        Architecture.from_graph(incidence(nx.random_regular_graph(3, 1000, seed=1)))
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


def test_values_cannot_be_changed():
    found = architecture("x a y", a={"parameters": {"width": 3}})
    graph = found.graph
    graph.nodes[1]["parameters"]["width"] = 4
    graph.remove_node(0)
    assert found == architecture("x a y", a={"parameters": {"width": 3}})
    with pytest.raises(AttributeError):
        found.key = "0"


# --- for people


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x linear mish linear2 mish2 y", "2x linear(8) mish, plain"),
        ("x linear c y; x c", "linear(8) c, residual"),
        ("x y", "inputs straight to the output"),
    ],
)
def test_summaries_are_short(text, expected):
    wide = {"parameters": {"width": 8}}
    assert architecture(text, linear=wide, linear2=wide).summary() == expected


@given(graphs(most=12))
@settings(max_examples=50, deadline=None)
def test_summaries_fit_a_line(graph):
    assert 0 < len(Architecture.from_graph(graph).summary()) <= 60
    assert Counter(n.op for n in Architecture.from_graph(graph).nodes)["output"] == 1
