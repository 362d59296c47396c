"""Canonical order of a coloured acyclic graph: two graphs have the same ordered form iff they are isomorphic.

Belongs here: the labelling algorithm. Not here: what a node means, how a graph is simplified (``nas.architecture``).

1. Refine: nodes of one cell (an ordered class of nodes not yet told apart) that see different neighbours are split, in
   sweeps along and against the edges, until nothing splits (colour refinement, one-dimensional Weisfeiler-Leman).
2. Split: between two cells one relation (mostly "no edge") is the usual one. Parts connected by unusual relations only
   are independent; each is ordered alone, then parts are ranked by their certificates. Equal parts are interchangeable,
   so k identical branches cost k, not k! (component recursion, Junttila and Kaski 2011).
3. Individualise: a part that does not split tries each node of its smallest cell as the first one and keeps the least
   certificate. A node whose first leaf has been seen before is an automorphic image of an earlier one and is skipped
   (McKay and Piperno 2014, "Practical graph isomorphism, II").
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from nas.errors import ArchitectureError

Edge = tuple[int, int, int]  # source, target, times
Cell = list[int]
Certificate = tuple[tuple[int, ...], tuple[Edge, ...]]

WORK_LIMIT = 5_000_000  # neighbours looked at, two to four seconds; networks need thousands


def canonical_order(colours: Sequence[str], edges: Sequence[Edge]) -> list[int]:
    """Returns the nodes in canonical order, which is topological.

    Args:
        colours: [n] what a node is; only nodes of equal colour can be exchanged.
        edges: (source, target, times) with source < target, each pair at most once.

    Raises:
        ArchitectureError: where the graph is so symmetric that the search exceeds ``WORK_LIMIT``.
    """
    levels = [0] * len(colours)
    for source, target, _ in sorted(edges):
        levels[target] = max(levels[target], levels[source] + 1)
    cells: dict[tuple[int, str], Cell] = defaultdict(list)
    for node, kind in enumerate(zip(levels, colours, strict=True)):
        cells[kind].append(node)
    try:
        return _Labelling(len(colours), edges).order([cells[kind] for kind in sorted(cells)])
    except RecursionError:
        raise _too_symmetric(len(colours)) from None


class _Labelling:
    """The search in one graph: the automorphisms met (nodes they do not name stay in place), the work done so far."""

    def __init__(self, size: int, edges: Sequence[Edge]) -> None:
        self.sources: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        self.targets: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        for source, target, times in edges:
            self.sources[target].append((source, times))
            self.targets[source].append((target, times))
        self.automorphisms: list[dict[int, int]] = []
        self.work = 0

    def order(self, cells: list[Cell], first_only: bool = False) -> list[int]:
        """Returns the nodes of ``cells`` in canonical order (in some leaf's order with ``first_only``)."""
        cells = self._refine(cells)
        if all(len(cell) == 1 for cell in cells):
            return [cell[0] for cell in cells]
        parts = self._parts(cells)
        if len(parts) == 1:
            return self._individualise(cells, first_only)
        colour = {node: index for index, cell in enumerate(cells) for node in cell}
        orders = [self.order(part, first_only) if len(part) > 1 else part[0] for part in parts]
        ranked = sorted((self._certificate(order, colour), order) for order in orders)
        for (one, nodes), (other, images) in pairwise(ranked):
            if one == other:
                self.automorphisms.append(dict(zip(nodes + images, images + nodes, strict=True)))
        return sorted((node for _, order in ranked for node in order), key=colour.__getitem__)

    def _refine(self, cells: list[Cell]) -> list[Cell]:
        """Returns the coarsest ordered refinement in which all nodes of a cell see the same cells equally often."""
        colour: dict[int, int] = {}
        for cell in cells:
            colour.update(dict.fromkeys(cell, len(colour)))
        while len(cells) < len(colour):
            before = len(cells)
            for neighbours, step in ((self.sources, 1), (self.targets, -1)):
                pieces = [piece for cell in cells[::step] for piece in self._pieces(cell, neighbours, colour)[::step]]
                cells = pieces[::step]
            if len(cells) == before:
                break
        return cells

    def _pieces(self, cell: Cell, neighbours: list[list[tuple[int, int]]], colour: dict[int, int]) -> list[Cell]:
        """Returns ``cell`` split by the colours of its nodes' neighbours; updates ``colour`` to match."""
        if len(cell) == 1:
            return [cell]
        seen: dict[tuple[tuple[int, int], ...], Cell] = defaultdict(list)
        for node in cell:
            self._spend(1 + len(neighbours[node]))
            seen[tuple(sorted((colour[other], t) for other, t in neighbours[node] if other in colour))].append(node)
        pieces = [seen[signature] for signature in sorted(seen)]
        position = colour[cell[0]]
        for piece in pieces:
            colour.update(dict.fromkeys(piece, position))
            position += len(piece)
        return pieces

    def _parts(self, cells: list[Cell]) -> list[list[Cell]]:
        """Returns the parts between which every relation is the usual one of its two cells, each as its own cells."""
        index = {node: i for i, cell in enumerate(cells) for node in cell if len(cell) > 1}
        links: dict[tuple[int, int], dict[tuple[int, int], int]] = defaultdict(dict)
        for source in index:
            self._spend(1 + len(self.targets[source]))
            for target, times in self.targets[source]:
                if target in index:
                    links[index[source], index[target]][source, target] = times
        root = {node: node for cell in cells for node in cell}
        for (i, j), times_of in links.items():
            for source, target in self._unusual(cells[i], cells[j], times_of):
                root[_find(root, source)] = _find(root, target)
        parts: dict[int, list[Cell]] = defaultdict(list)
        for cell in cells:
            members: dict[int, Cell] = defaultdict(list)
            for node in cell:
                members[_find(root, node)].append(node)
            for part, nodes in members.items():
                parts[part].append(nodes)
        return list(parts.values())

    def _unusual(self, sources: Cell, targets: Cell, times_of: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
        """Returns the pairs whose multiplicity (0: no edge) is not the commonest one between the two cells."""
        counts = Counter(times_of.values())
        counts[0] = len(sources) * len(targets) - len(times_of)
        usual = min(counts, key=lambda times: (-counts[times], times))
        if usual == 0:
            return list(times_of)
        self._spend(len(sources) * len(targets))
        return [(s, t) for s in sources for t in targets if times_of.get((s, t), 0) != usual]

    def _individualise(self, cells: list[Cell], first_only: bool) -> list[int]:
        """Returns the order with the least certificate over the nodes of the smallest cell, each put first in turn."""
        chosen = min((i for i, cell in enumerate(cells) if len(cell) > 1), key=lambda i: len(cells[i]))
        colour = {node: index for index, cell in enumerate(cells) for node in cell}
        orbit = {node: node for node in colour}
        known = len(self.automorphisms)
        seen: dict[Certificate, list[int]] = {}  # any leaf serves to recognise an image
        least: Certificate | None = None  # of the leaves that the rules choose
        tried: list[int] = []
        for node in cells[chosen]:
            if any(_find(orbit, node) == _find(orbit, other) for other in tried):
                continue
            others = [other for other in cells[chosen] if other != node]
            trial = self._refine([*cells[:chosen], [node], others, *cells[chosen + 1 :]])
            leaf = self.order(trial, first_only=True)
            if first_only:
                return leaf
            tried.append(node)
            certificate = self._certificate(leaf, colour)
            if certificate in seen:
                self.automorphisms.append(dict(zip(seen[certificate], leaf, strict=True)))
            else:
                order = self.order(trial)
                final = self._certificate(order, colour)
                least = final if least is None else min(least, final)
                seen |= {certificate: leaf, final: order}
            for automorphism in self.automorphisms[known:]:
                for one, image in automorphism.items():
                    orbit[_find(orbit, one)] = _find(orbit, image)
            known = len(self.automorphisms)
        assert least is not None
        return seen[least]

    def _certificate(self, order: list[int], colour: dict[int, int]) -> Certificate:
        """Returns the colours and the inner edges of ``order``: equal for two orders only if they are isomorphic."""
        position = {node: i for i, node in enumerate(order)}
        edges = []
        for node, i in position.items():
            self._spend(1 + len(self.targets[node]))
            edges += [(i, position[other], times) for other, times in self.targets[node] if other in position]
        return tuple(colour[node] for node in order), tuple(sorted(edges))

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > WORK_LIMIT:
            raise _too_symmetric(len(self.sources))


def _find(root: dict[int, int], node: int) -> int:
    """Returns the representative of ``node`` in a union-find forest, halving paths on the way."""
    while root[node] != node:
        root[node] = root[root[node]]
        node = root[node]
    return node


def _too_symmetric(size: int) -> ArchitectureError:
    return ArchitectureError(
        f"an architecture must be small or irregular enough to be named exactly, but this one of {size} nodes has too "
        "many symmetries; use fewer nodes, or break the symmetry with parameters."
    )
