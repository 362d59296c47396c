"""Encodings: an architecture and its settings, or the decisions of a space, as named numbers; many of them as a matrix.

Belongs here: what an encoding says, under a name with a version, so that stored columns keep their meaning. Not here:
scaling, distances and models (``nas.controllers``), costs and data sizes (an architecture has none).

An encoding is a sparse dict: what is absent is 0. Columns are told by name, so rows of any two spaces align.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from nas.architecture import Architecture, Node, Value
from nas.errors import SpaceError, nearest

if TYPE_CHECKING:
    from nas.space import SearchSpace
    from nas.space.domain import Domain

STEPS = "steps/1"
_LEVELS = 16  # of a decision whose numbers are too many to list
_ABSENT = object()  # what a decision not taken is, unlike any value
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


@dataclass(frozen=True)
class Steps:
    """The encoding ``steps/1`` of the decisions of a space: columns of 0 and 1, whose differences count disagreements.

    An unordered decision has one column a value, [x = value]; so has one of two numbers. Any other ordered decision has
    one a step, [x > number]: between all its values where they are few, else at 16 even levels of its own scale. A
    decision not taken is 0 in all its columns. Values that only ``also`` (an older form of the space, say) has got
    columns too, so that what is no longer offered is not mistaken for something else; where only words are offered,
    only words.

    Attributes:
        paths: [d] the decision of each column.
        values: [d] the value, or the number to exceed.
        above: [d] whether the column is a step.
        decisions: How many decisions there are that leave a choice.
    """

    paths: tuple[str, ...]
    values: tuple[Value, ...]
    above: tuple[bool, ...]
    decisions: int

    @classmethod
    def of(cls, domains: Mapping[str, Domain], also: Iterable[Mapping[str, Value]] = ()) -> Steps:
        """Returns the columns for ``domains`` and what is met elsewhere; decisions no longer asked are left out."""
        alike: dict[object, dict[tuple[str, Value], Value]] = {}  # what decisions between the same values have met
        offers = {path: _offer(path, domain) for path, domain in domains.items()}
        met = {path: alike.setdefault(offer, {}) for path, offer in offers.items()}
        for choices in also:
            for path, value in choices.items():
                if path in met and (offers[path] == path or isinstance(value, str)):
                    met[path][type(value).__name__, value] = value
        found: list[tuple[str, Value, bool]] = []
        for path, domain in domains.items():
            numbers = domain.ordered and all(_is_number(value) for value in met[path].values())
            steps = _steps(domain, met[path].values()) if numbers else None
            if steps is None:
                listed = {(type(v).__name__, v): v for v in domain.values or ()} | met[path]
                found += [(path, value, False) for value in listed.values()] if len(listed) > 1 else []
            else:
                found += [(path, step, True) for step in steps]
        paths, values, above = zip(*found, strict=True) if found else ((), (), ())
        return cls(paths, values, above, max(len(set(paths)), 1))

    @property
    def base(self) -> np.ndarray:
        """[d] weights that make every decision count alike: 1/2 by the number of decisions, less for many steps."""
        steps = Counter(path for path, above in zip(self.paths, self.above, strict=True) if above)
        return np.array([min(1.0, 3.0 / steps[p]) if steps[p] else 1.0 for p in self.paths]) * 0.5 / self.decisions

    @property
    def counts(self) -> np.ndarray:
        """[d, q] by which columns become the shares of decisions that took each of q words, wherever they stand.

        Counted together are decisions between the same words (names of operations, as a rule; those that history knows
        included), where there are several; q may be 0. Numbers and flags mean something else in every place.
        """
        places: dict[str, dict[Value, int]] = defaultdict(dict)
        for column, (path, value) in enumerate(zip(self.paths, self.values, strict=True)):
            places[path][value] = column
        alike: dict[frozenset[Value], list[dict[Value, int]]] = defaultdict(list)
        for of in places.values():
            if all(isinstance(value, str) for value in of):
                alike[frozenset(of)].append(of)
        found = [
            np.bincount([of[value] for of in together], minlength=len(self.paths)) / len(together)
            for together in alike.values()
            for value in (together[0] if len(together) > 1 else ())
        ]
        return np.array(found).T if found else np.zeros((len(self.paths), 0))

    def encode(self, choices: Sequence[Mapping[str, Value]]) -> np.ndarray:
        """Returns float32 [n, d] of zeros and ones."""
        X = np.zeros((len(choices), len(self.paths)), dtype=np.float32)
        for path in dict.fromkeys(self.paths):
            columns = [j for j, other in enumerate(self.paths) if other == path]
            bits: dict[tuple[type, object], int] = {}
            rows: list[list[bool]] = []
            places = []
            for taken in choices:
                value: object = taken.get(path, _ABSENT)
                key = (value.__class__, value)
                if key not in bits:
                    bits[key] = len(rows)
                    rows.append([self._bit(j, value) for j in columns])
                places.append(bits[key])
            X[:, columns] = np.array(rows, dtype=np.float32).reshape(-1, len(columns))[places]
        return X

    def _bit(self, column: int, value: object) -> bool:
        if self.above[column]:
            return _is_number(value) and value > self.values[column]  # type: ignore[operator]
        own = self.values[column]
        return (type(value) is type(own) or (_is_number(value) and _is_number(own))) and value == own

    def to_dict(self) -> dict[str, Any]:
        """Returns the columns as JSON, under the name and version of the encoding."""
        columns = list(zip(self.paths, self.values, self.above, strict=True))
        return {"encoding": STEPS, "decisions": self.decisions, "columns": [list(column) for column in columns]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Steps:
        """Returns the columns that ``to_dict`` described.

        Raises:
            SpaceError: If they are those of another encoding.
        """
        if data.get("encoding") != STEPS:
            raise SpaceError(f"columns must be of the encoding {STEPS!r}, but got {data.get('encoding')!r}; fit again.")
        columns = [tuple(column) for column in data["columns"]]
        paths, values, above = zip(*columns, strict=True) if columns else ((), (), ())
        return cls(paths, values, above, int(data["decisions"]))


def _offer(path: str, domain: Domain) -> object:
    """What is equal for decisions between the same words; the path of any other."""
    words = domain.values or ()
    return frozenset(words) if words and all(isinstance(word, str) for word in words) else path


def _steps(domain: Domain, also: Iterable[Value]) -> list[float] | None:
    """Numbers between which an ordered decision changes, None where two values are all there are."""
    numbers = sorted({float(v) for v in (*(domain.values or ()), *also)})  # type: ignore[arg-type]
    if domain.values is not None and len(numbers) <= _LEVELS + 1:
        return numbers[:-1] if len(numbers) > 2 else None
    low, high = getattr(domain, "low", None), getattr(domain, "high", None)
    if low is None or high is None:
        return [numbers[len(numbers) * level // _LEVELS] for level in range(1, _LEVELS)]
    levels = np.arange(1, _LEVELS) / _LEVELS
    return (low * (high / low) ** levels if getattr(domain, "log", False) else low + (high - low) * levels).tolist()


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


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)
