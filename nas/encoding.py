"""Encodings: an architecture and its settings, or the decisions of a space, as named numbers; many of them as a matrix.

Belongs here: what an encoding says, under a name with a version, so that stored columns keep their meaning. Not here:
scaling, distances and models (``nas.controllers``), costs and data sizes (an architecture has none).

An encoding is a sparse dict: what is absent is 0. Columns are told by name, so rows of any two spaces align.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from nas.architecture import Architecture, Node, Value
from nas.errors import SpaceError, nearest

if TYPE_CHECKING:
    from nas.space import SearchSpace

SPACE_FREE = "space_free/1"
DECISIONS = "decisions/1"
_PLACES = ("input", "output", "identity")  # nodes where values enter, leave or meet; every other node is an operation
_SMALL = 1e-6  # below this, a setting or a parameter counts as none


def space_free(architecture: Architecture, settings: Mapping[str, Value]) -> dict[str, float]:
    """Returns the encoding ``space_free/1``, equal for isomorphic architectures and known without any search space.

    Counts n are log(1 + n), widths log2. A number v is there twice: as it is, and (``.log``) as
    sign(v) log10(1 + |v| / 1e-6), which is nearly log10 v + 6 and 0 at 0.

    - ``input.NAME``; ``op.NAME`` how often; ``path.NAME`` how often at most on one way from an input to the output;
      ``pair.A>B`` how often A feeds B (identities are passed through).
    - ``operations``, ``edges``, ``depth`` (operations on the longest way), ``shortcut`` (on the shortest), ``ways``
      (number of ways), ``join.add`` and ``join.concat`` (places where values meet), ``times`` (beyond 1, at most).
    - ``width.mean``, ``.least``, ``.most``, ``.first``, ``.last`` (mean over nodes of least, greatest depth) and
      ``.total``, of every parameter called width.
    - ``parameter.OP.NAME``: mean over the nodes that have it; ``parameter.OP.NAME=VALUE``: how often, where no number.
    - ``setting.NAME``; ``setting.NAME=VALUE``: 1, where no number.
    """
    nodes = architecture.nodes
    found = {f"input.{name}": 1.0 for name in architecture.inputs}
    found |= _counts("op", (node.op for node in nodes if node.op not in _PLACES))
    found |= _structure(architecture)
    found |= _widths(architecture)
    found |= _parameters(nodes)
    for name, value in settings.items():
        found |= _numbers(f"setting.{name}", [value]) if _is_number(value) else {f"setting.{name}={value}": 1.0}
    return {name: value for name, value in found.items() if value}


def decisions(space: SearchSpace, choices: Mapping[str, Value]) -> dict[str, float]:
    """Returns the encoding ``decisions/1``: of every decision taken, its place in [0, 1] where numbers, else one-hot.

    Columns are ``decision.PATH`` and ``decision.PATH=VALUE``; a decision not taken leaves its columns at 0.

    Raises:
        SpaceError: where the space has no such decision.
    """
    domains = space.decisions()
    found: dict[str, float] = {}
    for path, value in choices.items():
        if path not in domains:
            raise SpaceError(
                f"a choice must decide what space {space.name!r} asks, but {path!r} is not asked;"
                f"{nearest(path, domains)} encode choices with the space they were made in."
            )
        if domains[path].ordered:
            found[f"decision.{path}"] = domains[path].unit(value)
        else:
            found[f"decision.{path}={value}"] = 1.0
    return found


def matrix(
    rows: Sequence[Mapping[str, float]], names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the rows as float64 [n, d] and the d column names.

    Args:
        rows: n encodings.
        names: the columns wanted: a row without one of them is 0 there, and what a row has beyond them is left out.
            By default all that occur, sorted.
    """
    names = tuple(sorted(set().union(*rows))) if names is None else tuple(names)
    column = {name: j for j, name in enumerate(names)}
    X = np.zeros((len(rows), len(names)))
    for i, row in enumerate(rows):
        for name, value in row.items():
            if (j := column.get(name)) is not None:
                X[i, j] = value
    return X, names


def _structure(architecture: Architecture) -> dict[str, float]:
    """Returns lengths and numbers of ways, and what meets where."""
    nodes = architecture.nodes
    sources = _sources(architecture)
    longest, shortest = _depths(architecture)
    ways = [int(node.op == "input") for node in nodes]
    most: list[Counter[str]] = []  # of each operation on one way to here
    for i, node in enumerate(nodes):
        here: Counter[str] = Counter()
        for source, times in sources[i]:
            ways[i] += ways[source] * times
            here |= most[source]
        most.append(here if node.op in _PLACES else here + Counter([node.op]))
    meets = Counter(node.join for i, node in enumerate(nodes) if sum(times for _, times in sources[i]) > 1)
    counts = {f"path.{op}": count for op, count in most[-1].items()} | _pairs(architecture)
    counts |= {
        "operations": sum(node.op not in _PLACES for node in nodes),
        "edges": sum(times for _, _, times in architecture.edges),
        "depth": longest[-1],
        "shortcut": shortest[-1],
        "ways": ways[-1],
        "join.add": meets["add"],
        "join.concat": meets["concat"],
        "times": max((times for _, _, times in architecture.edges), default=1) - 1,
    }
    return {name: math.log(1 + count) for name, count in counts.items()}


def _pairs(architecture: Architecture) -> dict[str, int]:
    """Returns how often the value of one operation enters another, directly or through identities."""
    nodes = architecture.nodes
    origins: list[Counter[int]] = []  # of each node's value: itself, or what an identity joins
    pairs: Counter[str] = Counter()
    for i, sources in enumerate(_sources(architecture)):
        entering: Counter[int] = Counter()
        for source, times in sources:
            for origin, count in origins[source].items():
                entering[origin] += count * times
        passed = nodes[i].op == "identity"
        origins.append(entering if passed else Counter([i]))
        for origin, count in entering.items():
            pairs[f"pair.{nodes[origin].op}>{nodes[i].op}"] += 0 if passed else count
    return dict(pairs)


def _depths(architecture: Architecture) -> tuple[list[int], list[int]]:
    """Returns for each node the operations on the longest and on the shortest way from an input to it, it included."""
    sources = _sources(architecture)
    longest, shortest = [0] * len(sources), [0] * len(sources)
    for i, node in enumerate(architecture.nodes):
        own = node.op not in _PLACES
        longest[i] = own + max((longest[source] for source, _ in sources[i]), default=0)
        shortest[i] = own + min((shortest[source] for source, _ in sources[i]), default=0)
    return longest, shortest


def _sources(architecture: Architecture) -> list[list[tuple[int, int]]]:
    """Returns for each node its predecessors and their times."""
    sources: list[list[tuple[int, int]]] = [[] for _ in architecture.nodes]
    for source, target, times in architecture.edges:
        sources[target].append((source, times))
    return sources


def _widths(architecture: Architecture) -> dict[str, float]:
    depth, _ = _depths(architecture)
    widths: dict[int, list[float]] = defaultdict(list)  # by depth
    for i, node in enumerate(architecture.nodes):
        width = dict(node.parameters).get("width")
        if _is_number(width) and width > 0:
            widths[depth[i]].append(width)
    if not widths:
        return {}
    every = [width for level in widths.values() for width in level]
    return {
        "width.mean": _mean(map(math.log2, every)),
        "width.least": math.log2(min(every)),
        "width.most": math.log2(max(every)),
        "width.first": _mean(map(math.log2, widths[min(widths)])),
        "width.last": _mean(map(math.log2, widths[max(widths)])),
        "width.total": math.log2(math.fsum(every)),
    }


def _parameters(nodes: Iterable[Node]) -> dict[str, float]:
    values: dict[str, list[Value]] = defaultdict(list)
    for node in nodes:
        for name, value in node.parameters:
            if node.op not in _PLACES and name != "width":
                values[f"parameter.{node.op}.{name}"].append(value)
    found: dict[str, float] = {}
    for name, each in values.items():
        found |= _counts(name, (str(value) for value in each if not _is_number(value)), between="=")
        found |= _numbers(name, [value for value in each if _is_number(value)])
    return found


def _numbers(name: str, values: Sequence[float]) -> dict[str, float]:
    """Returns the mean of ``values`` on both scales, nothing where there are none."""
    logs = [math.copysign(math.log10(1 + abs(value) / _SMALL), value) for value in values]
    return {name: _mean(values), f"{name}.log": _mean(logs)} if values else {}


def _counts(prefix: str, names: Iterable[str], between: str = ".") -> dict[str, float]:
    return {f"{prefix}{between}{name}": math.log(1 + count) for name, count in Counter(names).items()}


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)
