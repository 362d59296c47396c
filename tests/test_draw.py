"""Drawings: one box a node, edges downwards, no overlap, nothing from elsewhere, names as text."""

from __future__ import annotations

import time
from itertools import pairwise
from xml.etree import ElementTree

import networkx as nx
import pytest
from conformance_export import IMAGE_BRANCHES, TABLE_BRANCHES, chain, exported, model, parallel
from hypothesis import given, settings
from hypothesis import strategies as st

from nas import draw
from nas.architecture import Architecture
from nas.export import export_architecture

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>&\"'\x00\u202e" + "é" * 99


def boxes(text):
    """Returns (left, top, right, bottom) of every box."""
    rects = ElementTree.fromstring(text).iter(f"{SVG}rect")
    numbers = [[float(rect.get(key)) for key in ("x", "y", "width", "height")] for rect in rects]
    return [(x, y, x + width, y + height) for x, y, width, height in numbers]


@pytest.fixture(params=["dot", "own"])
def layout(request, monkeypatch):
    """Draws with Graphviz where it is installed, and with the layout of our own."""
    if request.param == "own":
        monkeypatch.setattr(draw.shutil, "which", lambda program: None)
    elif draw.shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    return request.param


@pytest.mark.parametrize("branches", [TABLE_BRANCHES, IMAGE_BRANCHES], ids=["table", "image"])
def test_each_node_has_a_box_inside_the_picture_and_none_overlap(branches, layout):
    architecture = parallel(branches)
    text = draw.svg(architecture)
    found = boxes(text)
    assert len(found) == len(architecture.nodes)
    width, height = (float(ElementTree.fromstring(text).get(key)) for key in ("width", "height"))
    for i, (left, top, right, bottom) in enumerate(found):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert not any(left < r and x < right and top < b and y < bottom for x, y, r, b in found[:i])
    assert text.count("marker-end") == len(architecture.edges)
    assert text == draw.svg(architecture)
    assert "concat" in text


def test_names_are_text_whatever_they_hold(layout):
    graph = nx.DiGraph()
    graph.add_node("in", op="input", parameters={"name": HOSTILE})
    graph.add_node("a", op=HOSTILE, parameters={HOSTILE: HOSTILE})
    graph.add_node("out", op="output")
    nx.add_path(graph, ["in", "a", "out"], times=3)
    text = draw.svg(Architecture.from_graph(graph))
    tree = ElementTree.fromstring(text)
    assert {element.tag.removeprefix(SVG) for element in tree.iter()} <= {
        *("svg", "title", "defs", "marker", "path", "g", "rect", "text")
    }
    assert "<script" not in text
    assert "href" not in text
    assert "url(" not in text.replace("url(#arrow)", "")
    assert "3x" in text


@given(st.integers(1, 25), st.data())
@settings(max_examples=60, deadline=None)
def test_boxes_of_any_graph_are_apart_and_edges_lead_down(count, data):
    pairs = sorted({(s, t) for t in range(1, count) for s in data.draw(st.sets(st.integers(0, t - 1), max_size=3))})
    widths = data.draw(st.lists(st.floats(20, 300), min_size=count, max_size=count))
    found = draw.layered(widths, pairs)
    assert len(found.edges) == len(pairs)
    for (source, target), points in zip(pairs, found.edges, strict=True):
        assert points[0][0] == found.centres[source][0]
        assert points[-1][0] == found.centres[target][0]
        assert all(y < next_y for (_, y), (_, next_y) in pairwise(points))
    for i in range(count):
        for j in range(i):
            if found.centres[i][1] == found.centres[j][1]:
                distance = abs(found.centres[i][0] - found.centres[j][0])
                assert distance >= (widths[i] + widths[j]) / 2 + draw.GAP - 1e-6
        assert widths[i] / 2 <= found.centres[i][0] <= found.size[0] - widths[i] / 2


def test_a_chain_is_a_straight_line():
    found = draw.layered([60.0] * 9, [(i, i + 1) for i in range(8)])
    assert len({x for x, _ in found.centres}) == 1


@pytest.mark.parametrize("shape", ["deep", "dense", "wide"])
def test_large_graphs_are_drawn_in_moderate_time(shape, monkeypatch):
    monkeypatch.setattr(draw.shutil, "which", lambda program: None)
    pairs = {
        "deep": [(i, i + 1) for i in range(3000)] + [(0, i) for i in range(2, 3001)],  # as many bends as squares
        "dense": [(i, j) for j in range(150) for i in range(j)],
        "wide": [(0, i) for i in range(1, 3001)],
    }[shape]
    start = time.process_time()
    draw.layered([60.0] * (max(t for _, t in pairs) + 1), pairs)
    assert time.process_time() - start < 10


def test_a_drawing_is_a_file_too(tmp_path):
    report = export_architecture(chain("tanh"), tmp_path / "a.svg")
    assert len(boxes(report.path.read_text())) == 3
    assert report.largest_difference is None
    architecture = model("houses")[0].network.architecture
    files, _ = exported("houses", ".svg")
    assert files["houses.svg"].decode() == draw.svg(architecture)


def test_a_constant_network_is_one_box(layout):
    graph = nx.DiGraph()
    graph.add_node("out", op="output")
    assert len(boxes(draw.svg(Architecture.from_graph(graph)))) == 1
