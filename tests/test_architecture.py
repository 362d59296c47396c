"""Architecture: the normal form, what it computes, the trip through JSON, the summary."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from graphs import OUT, architecture, graph_of, graphs
from hypothesis import given, settings

from nas.architecture import Architecture, Node

CONCAT = {"join": "concat"}


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


def test_values_cannot_be_changed():
    found = architecture("x a y", a={"parameters": {"width": 3}})
    graph = found.graph
    graph.nodes[1]["parameters"]["width"] = 4
    graph.remove_node(0)
    assert found == architecture("x a y", a={"parameters": {"width": 3}})
    with pytest.raises(AttributeError):
        found.key = "0"


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
