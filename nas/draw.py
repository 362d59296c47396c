"""Pictures of architectures: an SVG that stands alone, with no font, script or picture from elsewhere.

Here belongs where boxes and edges go and what they look like. Where Graphviz's ``dot`` is installed it says where
things go (it is given numbers and sizes, no names); otherwise a layered layout of our own does (Sugiyama et al. 1981).
"""

from __future__ import annotations

import html
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.architecture import Architecture, Node

Point = tuple[float, float]

CHARACTER, HEIGHT, GAP, LAYER = 7.2, 30.0, 24.0, 34.0  # pixels: width of a letter, a box, between boxes, between layers
LETTERS = 40  # of a label at most
SWEEPS = 8  # passes that move boxes towards their neighbours
MAX_BENDS = 20_000  # places where long edges may bend; beyond, they go straight
SECONDS = 10  # that ``dot`` may take
COLOURS = {"input": "#dbeafe", "output": "#dcfce7", "": "#f8fafc"}


@dataclass(frozen=True)
class Layout:
    """Where things go, in pixels from the upper left corner: centres of boxes, and the points of each edge."""

    size: Point
    centres: Sequence[Point]
    edges: Sequence[Sequence[Point]]


def svg(architecture: Architecture) -> str:
    """Returns the drawing of an architecture: a box for each node with its parameters, from inputs down to the output.

    A box that joins several predecessors says how (+ or concat); an edge counted several times says so. Names are
    escaped. The same architecture gives the same text on one machine.
    """
    labels = [_label(node) for node in architecture.nodes]
    widths = [max(50.0, CHARACTER * len(label) + 18.0) for label in labels]
    pairs = [(source, target) for source, target, _ in architecture.edges]
    layout = _dot(widths, pairs) or layered(widths, pairs)
    joined = {target for _, target in pairs if sum(other == target for _, other in pairs) > 1}
    parts = [_edge(points, times) for points, (_, _, times) in zip(layout.edges, architecture.edges, strict=True)]
    for number, (node, label) in enumerate(zip(architecture.nodes, labels, strict=True)):
        join = ("concat" if node.join == "concat" else "+") if number in joined and node.op != "output" else ""
        parts.append(_box(node, label, join, layout.centres[number], widths[number]))
    width, height = layout.size
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}" font-family="sans-serif" font-size="13" role="img">\n'
        f"<title>{_escaped(architecture.summary())}</title>\n"
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#64748b"/></marker></defs>\n' + "\n".join(parts) + "\n</svg>\n"
    )


# --- what things look like --------------------------------------------------------------------------------------------


def _label(node: Node) -> str:
    parameters = dict(node.parameters)
    if node.op == "input":
        return _short(str(parameters["name"]))
    width = parameters.pop("width", None)
    words = [node.op if width is None else f"{node.op} {width}"]
    words += [f"{name} {value}" for name, value in parameters.items() if value is not None]
    return _short(", ".join(words))


def _short(text: str) -> str:
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def _escaped(text: str) -> str:
    return html.escape("".join(char if char.isprintable() else "\ufffd" for char in text))


def _box(node: Node, label: str, join: str, centre: Point, width: float) -> str:
    x, y = centre
    colour = COLOURS.get(node.op, COLOURS[""])
    every = ", ".join(f"{name}={value}" for name, value in node.parameters)
    place = f'x="{x - width / 2 - 3:.1f}" y="{y - 7:.1f}" text-anchor="end"'
    sign = f'<text {place} fill="#64748b" font-size="11">{join}</text>' if join else ""
    return (
        f"<g><title>{_escaped(f'{node.op}({every})')}</title>"
        f'<rect x="{x - width / 2:.1f}" y="{y - HEIGHT / 2:.1f}" width="{width:.1f}" height="{HEIGHT:.0f}" rx="6"'
        f' fill="{colour}" stroke="#334155"/>'
        f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle" fill="#0f172a">{_escaped(label)}</text>{sign}</g>'
    )


def _edge(points: Sequence[Point], times: int) -> str:
    """Returns a smooth line through ``points``, from top to bottom."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x, y), (next_x, next_y) in pairwise(points):
        middle = (y + next_y) / 2
        path += f"C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {next_y:.1f}"
    line = f'<path d="{path}" fill="none" stroke="#64748b" marker-end="url(#arrow)"/>'
    if times == 1:
        return line
    (x, y), (next_x, next_y) = points[len(points) // 2 - 1 : len(points) // 2 + 1]
    return f'{line}<text x="{(x + next_x) / 2 + 4:.1f}" y="{(y + next_y) / 2:.1f}" fill="#64748b">{times}x</text>'


# --- where things go --------------------------------------------------------------------------------------------------


def _dot(widths: Sequence[float], pairs: Sequence[tuple[int, int]]) -> Layout | None:
    """Returns the layout of Graphviz, None where it is not installed or has no answer."""
    program = shutil.which("dot")
    if program is None or not widths:
        return None
    nodes = [f"{i} [width={width / 72:.4f} height={HEIGHT / 72:.4f}]" for i, width in enumerate(widths)]
    edges = [f"{source} -> {target}" for source, target in pairs]
    head = 'digraph {node [shape=box fixedsize=true label=""] nodesep=.35 ranksep=.45; edge [headport=n tailport=s];'
    try:
        done = subprocess.run(
            [program, "-Tplain"],
            input="\n".join([head, *nodes, *edges, "}"]),
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        return _read_plain(done.stdout, len(widths), pairs)
    except (OSError, subprocess.SubprocessError, ValueError, LookupError):
        return None


def _read_plain(text: str, count: int, pairs: Sequence[tuple[int, int]]) -> Layout:
    """Returns the layout in Graphviz's plain format: inches, from the lower left corner."""
    lines = [line.split() for line in text.splitlines()]
    width, height = (72 * float(word) for word in lines[0][2:4])
    margin = GAP
    centres: dict[int, Point] = {}
    edges: dict[tuple[int, int], list[Point]] = {}
    for words in lines:
        if words[0] == "node":
            centres[int(words[1])] = 72 * float(words[2]) + margin, height - 72 * float(words[3]) + margin
        elif words[0] == "edge":
            numbers = [72 * float(word) for word in words[4 : 4 + 2 * int(words[3])]]
            knots = list(zip(numbers[::2], numbers[1::2], strict=True))[::3]  # the ends of its Bezier curves
            edges[int(words[1]), int(words[2])] = [(x + margin, height - y + margin) for x, y in knots]
    for (_, target), points in edges.items():
        points[-1] = points[-1][0], centres[target][1] - HEIGHT / 2
    size = width + 2 * margin, height + 2 * margin
    return Layout(size, [centres[i] for i in range(count)], [edges[pair] for pair in pairs])


def layered(widths: Sequence[float], pairs: Sequence[tuple[int, int]]) -> Layout:
    """Returns a layout in layers: each box below all its predecessors, long edges led through the layers between.

    Args:
        widths: of the boxes, numbered in topological order.
        pairs: (source, target) of the edges, source < target.
    """
    depth = [0] * len(widths)
    for source, target in sorted(pairs, key=lambda pair: pair[1]):
        depth[target] = max(depth[target], depth[source] + 1)
    bends = sum(depth[target] - depth[source] - 1 for source, target in pairs)
    sizes, chains = list(widths), []
    links: list[tuple[int, int]] = []
    for source, target in pairs:
        chain = [source]
        for level in range(depth[source] + 1, depth[target] if bends <= MAX_BENDS else 0):
            chain.append(len(sizes))
            sizes.append(0.0)
            depth.append(level)
        chain.append(target)
        chains.append(chain)
        links += pairwise(chain)
    layers: list[list[int]] = [[] for _ in range(max(depth, default=0) + 1)]
    for node, level in enumerate(depth):
        layers[level].append(node)
    x = _placed(layers, sizes, _neighbours(len(sizes), links))
    left = min((x[node] - size / 2 for node, size in enumerate(sizes)), default=0.0) - GAP - 30
    right = max((x[node] + size / 2 for node, size in enumerate(sizes)), default=0.0) + GAP
    top = GAP + HEIGHT / 2
    places = [(x[node] - left, top + depth[node] * (HEIGHT + LAYER)) for node in range(len(sizes))]
    edges = []
    for chain in chains:
        ends = [(x, y + side * HEIGHT / 2) for x, y in map(places.__getitem__, chain) for side in (-1, 1)]
        edges.append(ends[1:-1])  # straight down between the boxes of a layer
    height = 2 * GAP + len(layers) * HEIGHT + (len(layers) - 1) * LAYER
    return Layout((right - left, height), places[: len(widths)], edges)


def _neighbours(count: int, links: Sequence[tuple[int, int]]) -> Mapping[int, tuple[list[int], list[int]]]:
    """Returns for each place those above and those below it."""
    neighbours: dict[int, tuple[list[int], list[int]]] = {node: ([], []) for node in range(count)}
    for source, target in links:
        neighbours[target][0].append(source)
        neighbours[source][1].append(target)
    return neighbours


def _placed(
    layers: Sequence[list[int]], sizes: Sequence[float], neighbours: Mapping[int, tuple[list[int], list[int]]]
) -> list[float]:
    """Returns where each place goes from left to right: near its neighbours, without overlap."""
    x = [0.0] * len(sizes)
    for layer in layers:
        _spread(layer, [float(i) for i in range(len(layer))], sizes, x)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = []
            for node in layer:
                near = neighbours[node][0 if down else 1]
                wanted.append(sum(x[other] for other in near) / len(near) if near else x[node])
            order = sorted(range(len(layer)), key=lambda i: (wanted[i], x[layer[i]]))
            layer[:] = [layer[i] for i in order]
            _spread(layer, [wanted[i] for i in order], sizes, x)
    return x


def _spread(layer: Sequence[int], wanted: Sequence[float], sizes: Sequence[float], x: list[float]) -> None:
    """Places one layer: in order, as near to ``wanted`` as their widths allow; groups that touch share what is left."""
    groups: list[tuple[float, int, float]] = []  # sum of (wanted - offset), members, length
    for node, place in zip(layer, wanted, strict=True):
        size = sizes[node] + GAP
        total, members, length = place - size / 2, 1, size
        while groups and _left(groups[-1]) + groups[-1][2] > total / members:
            before, count, reach = groups.pop()
            total, members, length = before + total - members * reach, count + members, reach + length
        groups.append((total, members, length))
    index = 0
    for group in groups:
        left = _left(group)
        for node in layer[index : index + group[1]]:
            x[node] = left + (sizes[node] + GAP) / 2
            left += sizes[node] + GAP
        index += group[1]


def _left(group: tuple[float, int, float]) -> float:
    return group[0] / group[1]
