"""The drawing of an architecture that a report holds."""

from __future__ import annotations

from markupsafe import Markup

from nas.architecture import Architecture, Node

BOX, LAYER, GAP = 148, 50, 16  # width of a box, distance of layers, gap between boxes
MOST_NODES = 120  # a picture with more says nothing


def picture(architecture: Architecture) -> Markup | None:
    """Returns the operation graph as SVG, inputs on top; None where it is too large to be read."""
    if len(architecture.nodes) > MOST_NODES:
        return None
    depth = [0] * len(architecture.nodes)
    for source, target, _ in architecture.edges:  # sorted by source, and nodes are in topological order
        depth[target] = max(depth[target], depth[source] + 1)
    layers: dict[int, list[int]] = {}
    for node, layer in enumerate(depth):
        layers.setdefault(layer, []).append(node)
    width = max(len(layer) for layer in layers.values()) * (BOX + GAP) + 2 * LAYER
    at = {
        node: (width / 2 + (i - (len(layer) - 1) / 2) * (BOX + GAP), 24 + LAYER * level)
        for level, layer in layers.items()
        for i, node in enumerate(layer)
    }
    parts = [
        Markup("<path d='{}' fill='none' stroke='#8a8a8a'/>").format(_edge(at[s], at[t]))
        for s, t, _ in architecture.edges
    ]
    parts += [_box(architecture.nodes[node], *at[node]) for node in at]
    height = LAYER * (len(layers) - 1) + 48
    head = Markup('<svg viewBox="0 0 {} {}" style="max-width:{}px" role="img" aria-label="the network found">')
    return Markup("\n").join([head.format(width, height, width), *parts, Markup("</svg>")])


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Returns the path of an edge; one that passes layers leaves to the right."""
    (x1, y1), (x2, y2) = start, end
    if y2 - y1 <= LAYER:
        return f"M{x1:g} {y1 + 18:g}L{x2:g} {y2 - 18:g}"
    out = max(x1, x2) + BOX / 2 + 12 + 8 * ((y2 - y1) / LAYER % 5)
    return f"M{x1 + BOX / 2:g} {y1:g}C{out:g} {y1:g} {out:g} {y2:g} {x2 + BOX / 2:g} {y2:g}"


def _box(node: Node, x: float, y: float) -> Markup:
    parameters = dict(node.parameters)
    name = str(parameters.pop("name")) if node.op == "input" else node.op
    text = ", ".join(f"{key} {value}" for key, value in parameters.items() if value is not None)
    below = Markup('<text x="{}" y="{}" class="small">{}</text>').format(f"{x:g}", f"{y + 12:g}", text[:26])
    box = Markup('<rect x="{}" y="{}" width="{}" height="36" rx="4" fill="#f6f8fa" stroke="#8a8a8a"/>')
    label = Markup('<text x="{}" y="{}">{}</text>').format(f"{x:g}", f"{y - 1 if text else y + 5:g}", name[:22])
    return box.format(f"{x - BOX / 2:g}", f"{y - 18:g}", BOX) + label + (below if text else Markup(""))
