"""Architectures as JSON by strangers: anything is an architecture or one sentence, quickly, and nothing is executed."""

from __future__ import annotations

import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from watching import one_sentence, watch

from nas.architecture import MAX_NODES, Architecture
from nas.canonical import WORK_LIMIT
from nas.draw import svg
from nas.errors import ArchitectureError, NasError
from nas.model import Signature, build, count, shapes
from nas.operations import BUILTIN

SIGNATURE = Signature({"x": (6,)}, 3)
EXAMPLES = int(os.environ.get("NAS_FUZZ_EXAMPLES", "40"))


def text_of(nodes, edges=(), version=1):
    return json.dumps({"version": version, "nodes": nodes, "edges": edges})


X, OUT = {"op": "input", "parameters": {"name": "x"}}, {"op": "output"}


def chain_of(*nodes):
    """Returns the JSON of nodes one after the other, between an input and the output."""
    return text_of([X, *nodes, OUT], [[i, i + 1, 1] for i in range(len(nodes) + 1)])


def layered(widths):
    """Returns the JSON of layers in which each node is joined to all of the next one: as symmetric as can be."""
    nodes, edges, last = [X], [], [0]
    for width in widths:
        layer = list(range(len(nodes), len(nodes) + width))
        nodes += [{"op": "tanh"}] * width
        edges += [[s, t, 1] for t in layer for s in last]
        last = layer
    return text_of([*nodes, OUT], [*edges, *([s, len(nodes), 1] for s in last)])


HOSTILE = {
    "unknown operation": (chain_of({"op": "liner"}), "did you mean 'linear'"),
    "path in a name": (chain_of({"op": "../../etc/passwd"}), "'../../etc/passwd' is not known"),
    "name of Python": (chain_of({"op": "__import__('os').system('id')"}), "is not known"),
    "path in an input": (text_of([{**X, "parameters": {"name": "/etc/passwd"}}, OUT], [[0, 1, 1]]), "'/etc/passwd'"),
    "unknown parameter": (chain_of({"op": "linear", "parameters": {"widht": 3}}), "did you mean 'width'"),
    "newer operation": (chain_of({"op": "linear", "version": 9}), "version 9"),
    "cycle": (text_of([X, {"op": "relu"}, {"op": "relu"}, OUT], [[0, 1, 1], [1, 2, 1], [2, 1, 1], [2, 3, 1]]), "cycle"),
    "edge to itself": (text_of([X, {"op": "relu"}, OUT], [[0, 1, 1], [1, 1, 1], [1, 2, 1]]), "cycle"),
    "edge to nowhere": (text_of([X, OUT], [[0, 7, 1]]), "`target` must be"),
    "negative edge": (text_of([X, OUT], [[0, -1, 1]]), "`target` must be"),
    "edge of truth": (text_of([X, OUT], [[False, True, 1]]), "`source` must be"),
    "no output": (text_of([X]), "one node with op 'output'"),
    "two outputs": (text_of([X, OUT, OUT], [[0, 1, 1]]), "one node with op 'output'"),
    "a million nodes": (text_of([{"op": "relu"}] * 1_000_000), f"at most {MAX_NODES} nodes|at most 16777216 char"),
    "too many nodes": (text_of([X, *[{"op": "relu"}] * MAX_NODES, OUT]), f"at most {MAX_NODES} nodes"),
    "a million edges": (
        text_of([X, OUT]).replace("[]", "[" + "[0,1,1]," * 999_999 + "[0,1,1]]"),
        "65536 edges|16777216 char",
    ),
    "huge width": (chain_of({"op": "linear", "parameters": {"width": 10**12}}), "width <= 1000000"),
    "huge product": (
        chain_of(
            {"op": "linear", "parameters": {"width": 10**6}}, {"op": "piecewise_linear", "parameters": {"bins": 999}}
        ),
        "elements a row",
    ),
    "huge times": (text_of([X, OUT], [[0, 1, 2**31]]), "`times` must be"),
    "times that multiply": (
        text_of(
            [X, *[{"op": "identity"}] * 3, OUT],
            [[0, 1, 2**20], [1, 2, 2**20], [2, 3, 2**20], [3, 4, 1]],
        ),
        "`times` must be",
    ),
    "concatenations that multiply": (
        text_of(
            [X, *[{"op": "tanh", "join": "concat"}] * 4, OUT],
            [[0, 1, 1000], [1, 2, 1000], [2, 3, 1000], [3, 4, 1000], [4, 5, 1]],
        ),
        "elements a row",
    ),
    "negative width": (chain_of({"op": "linear", "parameters": {"width": -1}}), "1 <= width"),
    "fraction": (chain_of({"op": "linear", "parameters": {"width": 1.5}}), "whole number"),
    "list as parameter": (chain_of({"op": "linear", "parameters": {"width": [1]}}), "must be a short text"),
    "long name": (chain_of({"op": "x" * 10_000}), "1 to 1024 characters"),
    "huge number": ('{"version": 1, "nodes": [' + "9" * 10_000 + '], "edges": []}', "JSON text|mapping"),
    "not a number": (chain_of({"op": "dropout", "parameters": {"p": float("nan")}}), "finite number"),
    "deep list": ("[" * 100_000, "JSON text"),
    "deep dictionary": ('{"a":' * 100_000, "JSON text"),
    "deep parameter": (
        '{"version":1,"edges":[],"nodes":[{"op":"a","parameters":' + "[" * 5000 + "]" * 5000 + "}]}",
        ".",
    ),
    "newer": (text_of([X, OUT], [[0, 1, 1]], version=2), "`version` must be"),
    "further key": ('{"version": 1, "nodes": [], "edges": [], "code": "import os"}', "must have the keys"),
    "key twice": ('{"version": 1, "nodes": [], "nodes": [], "edges": []}', "one node with op 'output'"),
    "empty": ("", "JSON text"),
    "binary": ("\x00\x01", "JSON text"),
    "null": ("null", "must be a mapping"),
    "surrogate": (chain_of({"op": "\ud800"}), "is not known|text"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_architecture_is_one_sentence(case):
    text, reason = HOSTILE[case]
    start = time.process_time()
    with pytest.raises(ArchitectureError, match=reason) as caught:
        shapes(Architecture.from_json(text), SIGNATURE)
    assert time.process_time() - start < 5
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2000


@pytest.mark.parametrize("widths", [[60] * 30, [1, 2000, 1], [7, 11] * 15], ids=str)
def test_symmetric_graphs_are_named_or_refused_in_seconds(widths):
    assert WORK_LIMIT == 5_000_000
    start = time.process_time()
    try:
        again = Architecture.from_json(layered(widths)).to_json()
        assert Architecture.from_json(again).to_json() == again
        refused = ""
    except ArchitectureError as error:
        refused = str(error)
    assert not refused or "too many" in refused or "at most" in refused
    assert time.process_time() - start < 20


# --- fuzzing: NAS_FUZZ_EXAMPLES says how long -------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))
names = st.sampled_from([*BUILTIN, "input", "output", "wavelet"])
parameters = st.dictionaries(
    st.sampled_from(["name", "width", "p", "size", "bins", "stride", "sigma", "x"]),
    st.sampled_from(["x", "numeric", 1, 2, 3, 64, 0.1, 1e9, True, None, "x"]),
    max_size=2,
)
nodes = st.fixed_dictionaries(
    {"op": names},
    optional={
        "version": st.sampled_from([1, 1, 1, 2, 0]),
        "parameters": parameters,
        "join": st.sampled_from(["add", "concat", "x"]),
    },
)


@st.composite
def graphs(draw):
    """Draws JSON that is nearly an architecture: an input, some nodes, an output, edges that mostly lead forward."""
    inner = draw(st.lists(st.just({"op": "tanh"}) | nodes, max_size=6))
    found = [X, *inner, OUT]
    ends = st.integers(0, len(found) - 1)
    forward = st.tuples(ends, ends).map(sorted)
    pairs = draw(st.lists(forward | st.tuples(ends, ends).map(list), unique_by=tuple, max_size=12))
    return {
        "version": 1,
        "nodes": found,
        "edges": [[s, t, draw(st.sampled_from([1, 1, 1, 2, 1000]))] for s, t in pairs],
    }


@st.composite
def mutated(draw):
    """Draws the text of such a graph with a piece cut out, doubled or replaced."""
    text = json.dumps(draw(graphs()))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 12)))
    middle = draw(st.sampled_from(["", text[start:end] * 2, "null", "-1", "1e999", "[", "]", "{", '"', "\\u0000", "é"]))
    return text[:start] + middle + text[end:]


def answer(function, *arguments):
    """Returns (what a function gives, ""), or (None, the sentence with which it refuses)."""
    try:
        return function(*arguments), ""
    except NasError as error:
        return None, str(error)


def check(text):
    """Reads ``text``; what is read can be written, read, counted and built, and what is not is one sentence."""
    architecture, refused = watch(lambda: answer(Architecture.from_json, text))
    if architecture is not None:
        again = Architecture.from_json(architecture.to_json())
        assert again == architecture
        assert again.to_json() == architecture.to_json()
        assert len(architecture.summary()) <= 60
        assert svg(architecture).startswith("<svg")
        given, refused = answer(shapes, architecture, SIGNATURE)
        if given is not None and sum(map(sum, given)) < 3000:
            assert count(architecture, SIGNATURE).parameters >= 0
            build(architecture, SIGNATURE, seed=0)
    assert not refused or one_sentence(refused, 2000)


@given(graphs())
@settings(max_examples=EXAMPLES, deadline=None)
def test_graphs_are_architectures_or_one_sentence(graph):
    check(json.dumps(graph))


@given(mutated() | st.text(max_size=40))
@settings(max_examples=EXAMPLES, deadline=None)
def test_damaged_text_is_an_architecture_or_one_sentence(text):
    check(text)


@given(st.dictionaries(st.sampled_from(["version", "nodes", "edges", "x"]), values) | values)
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_json_is_an_architecture_or_one_sentence(data):
    check(json.dumps(data))
