"""``Architecture``: a frozen graph of operations in normal form, with an exact canonical key and JSON.

Belongs here: names, versions and parameters of operations, how they are joined, when two architectures are the same.
Not here: what an operation computes (``nas.operations``), how networks are built (``nas.model``), data sizes.

Normal form. A node applies its operation to the sum or the (unordered) concatenation of its predecessors. Zeros, nodes
that no input reaches and nodes that do not reach the output are removed. An identity is only a place where edges meet:
it is contracted, sums of sums and concatenations of concatenations are flattened, and what cannot be flattened (a
concatenation inside a sum, a sum inside a concatenation) stays as one ``identity`` node, shared by all that use that
join. The output gives each predecessor a map of its own, so there both joins mean the same and both are flattened.
Inputs of one name are one node. Each node's value is worked out once, after its predecessors', so no order of
simplifications can matter.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
import textwrap
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import networkx as nx

from nas.canonical import Edge, canonical_order
from nas.errors import ArchitectureError

Value = str | int | float | bool | None
Join = Literal["add", "concat"]

SCHEMA_VERSION = 1
MAX_NODES = 4096
MAX_EDGES = 65_536
MAX_TIMES = 2**31 - 1
MAX_TEXT = 2**24  # characters of JSON
_MAX_NAME = 1024  # characters
_MAX_INTEGER = 2**53  # every JSON reader keeps integers up to here


@dataclass(frozen=True)
class Node:
    """One operation: its name, version and parameters (sorted by name), and how its predecessors are joined.

    ``input`` nodes have the one parameter ``name``; exactly one node is the ``output``. Whole floats are kept as
    integers, so that 1 and 1.0 are one value.

    Raises:
        ArchitectureError: where a field has the wrong type or range.
    """

    op: str
    version: int = 1
    parameters: tuple[tuple[str, Value], ...] = ()
    join: Join = "add"

    def __post_init__(self) -> None:
        _check_name("op", self.op)
        _check_integer("version", self.version, 1, MAX_TIMES)
        if self.join not in ("add", "concat"):
            raise ArchitectureError(f"`join` must be 'add' or 'concat', but {_shown(self.join)} was given.")
        if self.parameters:
            parameters = {name: _checked(name, value) for name, value in self.parameters}
            if len(parameters) < len(self.parameters):
                raise ArchitectureError(f"parameter names must differ, but {self.op!r} was given one twice.")
            object.__setattr__(self, "parameters", tuple(sorted(parameters.items())))
        if self.op == "input" and not (
            len(self.parameters) == 1 and isinstance(dict(self.parameters).get("name"), str)
        ):
            raise ArchitectureError(
                f"an input must have one parameter, `name`, but got {_shown(dict(self.parameters))}."
            )


@dataclass(frozen=True)
class Architecture:
    """An operation graph, brought to normal form at birth; two are equal iff their computations are isomorphic.

    Attributes:
        nodes: in canonical order, which is topological; the output is the last.
        edges: sorted (source, target, times); ``times`` is how often the source is summed or concatenated.
        key: SHA-256 of the normal form, 64 hexadecimal digits.

    Raises:
        ArchitectureError: on a cycle, no or several outputs, edges into an input or out of the output, too many nodes.
    """

    nodes: tuple[Node, ...] = field(compare=False)
    edges: tuple[Edge, ...] = field(compare=False)
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nodes, edges = _simplified(self.nodes, self.edges)
        tokens = [_token(node) for node in nodes]
        order = canonical_order(tokens, edges)
        place = {node: i for i, node in enumerate(order)}
        object.__setattr__(self, "nodes", tuple(nodes[i] for i in order))
        object.__setattr__(self, "edges", tuple(sorted((place[s], place[t], times) for s, t, times in edges)))
        text = ";".join(["nas.architecture/1", *(tokens[i] for i in order), json.dumps(self.edges)])
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest())

    @classmethod
    def from_graph(cls, graph: nx.DiGraph) -> Architecture:
        """Returns the architecture of a networkx graph.

        Args:
            graph: a DiGraph or MultiDiGraph. Node attributes: ``op``, ``version`` (1), ``parameters`` (a dict, {}),
                ``join`` ("add"). Edge attribute: ``times`` (1); parallel edges add up. Other attributes are ignored.
        """
        if not isinstance(graph, nx.DiGraph):
            raise ArchitectureError(
                f"an architecture needs a networkx.DiGraph, but a {type(graph).__name__} was given."
            )
        _check_size(graph.number_of_nodes(), graph.number_of_edges())
        place = {name: i for i, name in enumerate(graph)}
        nodes = []
        for name, data in graph.nodes(data=True):
            if "op" not in data:
                raise ArchitectureError(f"every node needs an attribute `op`, but {_shown(name)} has none.")
            nodes.append(_node(data))
        edges = [(place[s], place[t], data.get("times", 1)) for s, t, data in graph.edges(data=True)]
        return cls(tuple(nodes), tuple(edges))

    @property
    def graph(self) -> nx.DiGraph:
        """A fresh networkx graph with the attributes that ``from_graph`` reads."""
        graph = nx.DiGraph()
        for i, n in enumerate(self.nodes):
            graph.add_node(i, op=n.op, version=n.version, parameters=dict(n.parameters), join=n.join)
        graph.add_edges_from((source, target, {"times": times}) for source, target, times in self.edges)
        return graph

    @property
    def inputs(self) -> tuple[str, ...]:
        """Sorted names of the inputs that reach the output."""
        return tuple(sorted(str(dict(node.parameters)["name"]) for node in self.nodes if node.op == "input"))

    def without_inputs(self, names: Collection[str]) -> Architecture:
        """Returns the architecture with the named inputs, and all that only they feed, removed."""
        gone = {i for i, n in enumerate(self.nodes) if n.op == "input" and dict(n.parameters)["name"] in names}
        nodes = tuple(Node("zero") if i in gone else node for i, node in enumerate(self.nodes))
        return Architecture(nodes, self.edges) if gone else self

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; ``version`` 1, no ``parameters`` and ``join`` "add" of a node are left out."""
        return {
            "version": SCHEMA_VERSION,
            "nodes": [
                {"op": n.op}
                | ({"version": n.version} if n.version != 1 else {})
                | ({"parameters": dict(n.parameters)} if n.parameters else {})
                | ({"join": n.join} if n.join != "add" else {})
                for n in self.nodes
            ],
            "edges": [list(edge) for edge in self.edges],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Architecture:
        """Returns the architecture that ``to_dict`` wrote; a stranger's data are checked, nothing is executed."""
        _check_keys("an architecture", data, {"version", "nodes", "edges"}, {"version", "nodes", "edges"})
        _check_integer("version", data["version"], 1, SCHEMA_VERSION)
        nodes, edges = data["nodes"], data["edges"]
        if not isinstance(nodes, list | tuple) or not isinstance(edges, list | tuple):
            raise ArchitectureError("`nodes` and `edges` of an architecture must be lists.")
        _check_size(len(nodes), len(edges))
        for node in nodes:
            _check_keys("a node", node, {"op", "version", "parameters", "join"}, {"op"})
        pairs = set()
        for edge in edges:
            if not isinstance(edge, list | tuple) or len(edge) != 3:
                raise ArchitectureError(f"an edge must be [source, target, times], but {_shown(edge)} was given.")
            _check_edge(edge, len(nodes))
            pairs.add((edge[0], edge[1]))
        if len(pairs) < len(edges):
            raise ArchitectureError("every edge must be given once, but one is there twice; use its `times` instead.")
        return cls(tuple(map(_node, nodes)), tuple((source, target, times) for source, target, times in edges))

    def to_json(self) -> str:
        """Returns ``to_dict`` as one line of ASCII."""
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Returns the architecture that ``to_json`` wrote; see ``from_dict``."""
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise ArchitectureError(f"an architecture must be JSON text of at most {MAX_TEXT} characters.")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArchitectureError(
                f"an architecture must be JSON text, but reading it gave {_shown(str(error))}."
            ) from None
        return cls.from_dict(data)

    def summary(self) -> str:
        """Returns at most 60 characters for people, such as ``3x linear(128) mish, residual``."""
        inner = [node for node in self.nodes if node.op not in ("input", "output", "identity")]
        if not inner:
            return "inputs straight to the output" if self.edges else "constant"
        labels = sorted(Counter(map(_label, inner)).items(), key=lambda item: (item[0][-1] != ")", -item[1]))
        groups: dict[int, list[str]] = defaultdict(list)  # by how often; those with widths come first
        for label, count in labels:
            groups[count].append(label)
        parts = [f"{count}x\xa0" * (count > 1) + " ".join(group) for count, group in groups.items()]
        summed = Counter[int]()
        for _, target, times in self.edges:
            summed[target] += times
        joins = {node.join for i, node in enumerate(self.nodes) if summed[i] > 1}
        tail = ", residual" * ("add" in joins) + ", concat" * ("concat" in joins) or ", plain"
        return textwrap.shorten(", ".join(parts), 60 - len(tail), placeholder=" ...").replace("\xa0", " ") + tail


Bag = tuple[Join, dict[int, int]]  # a join and how often it holds each node; one node once: that node itself


class _Simplification:
    """The normal form under construction: nodes so far and the times of the edges into each."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.sources: list[dict[int, int]] = []
        self.joins: dict[tuple[Join, frozenset[tuple[int, int]]], int] = {}
        self.work = 0

    def add(self, node: Node, sources: dict[int, int]) -> int:
        self.nodes.append(node)
        self.sources.append(sources)
        return len(self.nodes) - 1

    def node_of(self, bag: Bag) -> int:
        """Returns the node that stands for ``bag``: its only member, or an identity shared by all equal bags."""
        join, times_of = bag
        if _is_node(bag):
            return next(iter(times_of))
        name = join, frozenset(times_of.items())
        if name not in self.joins:
            self.joins[name] = self.add(Node("identity", join=join), times_of)
        return self.joins[name]

    def joined(self, join: Join, members: list[tuple[Bag, int]]) -> Bag:
        """Returns the join of ``members`` (bag, times), flattened where the kinds agree."""
        if len(members) == 1 and members[0][1] == 1:
            return members[0][0]
        total: Counter[int] = Counter()
        for bag, times in members:
            kind, inner = bag
            for node, count in (inner if kind == join or _is_node(bag) else {self.node_of(bag): 1}).items():
                total[node] += count * times
                _check_integer("times", total[node], 1, MAX_TIMES)
            self.work += len(inner)
            _check_size(0, self.work // 16)
        return join, dict(total)

    def close(self, members: list[tuple[Bag, int]]) -> None:
        """Adds the output; sums and concatenations in front of it are flattened, whatever they hold."""
        total = Counter(dict(self.joined("add", members)[1])) if members else Counter[int]()
        for node in reversed(range(len(self.nodes))):
            if total[node] and self.nodes[node].op == "identity":
                times = total.pop(node)
                for source, count in self.sources[node].items():
                    total[source] += count * times
                    _check_integer("times", total[source], 1, MAX_TIMES)
        self.add(Node("output"), {node: times for node, times in total.items() if times})

    def live(self) -> tuple[list[Node], list[Edge]]:
        """Returns the nodes that reach the output, renumbered in order, and the edges between them."""
        alive = {len(self.nodes) - 1}
        for node in reversed(range(len(self.nodes))):
            if node in alive:
                alive.update(self.sources[node])
        place = {node: i for i, node in enumerate(sorted(alive))}
        edges = [(place[s], place[node], times) for node in place for s, times in self.sources[node].items()]
        _check_size(len(place), len(edges))
        return [self.nodes[node] for node in place], edges


def _simplified(nodes: tuple[Node, ...], edges: tuple[Edge, ...]) -> tuple[list[Node], list[Edge]]:
    """Returns the normal form in some topological order, the output last."""
    _check_size(len(nodes), len(edges))
    sources = _sources(nodes, edges)
    result = _Simplification()
    values: dict[int, Bag] = {}  # of nodes that an input reaches
    named: dict[Node, int] = {}
    outputs: list[tuple[Bag, int]] = []
    for i in _topological(sources):
        node = nodes[i]
        members = [(values[source], times) for source, times in sources[i].items() if source in values]
        if node.op == "input":
            plain = Node("input", node.version, node.parameters)
            named[plain] = named[plain] if plain in named else result.add(plain, {})
            values[i] = "add", {named[plain]: 1}
        elif node.op == "output":
            outputs = members
        elif members and node.op != "zero":
            join, times_of = bag = result.joined(node.join, members)
            join = "add" if _is_node(bag) else join
            if node.op == "identity":
                values[i] = join, times_of
            else:
                values[i] = "add", {result.add(Node(node.op, node.version, node.parameters, join), times_of): 1}
    result.close(outputs)
    return result.live()


def _sources(nodes: tuple[Node, ...], edges: tuple[Edge, ...]) -> list[dict[int, int]]:
    """Returns for each node its predecessors and their times; parallel edges add up."""
    outputs = sum(node.op == "output" for node in nodes)
    if outputs != 1:
        raise ArchitectureError(f"an architecture must have one node with op 'output', but {outputs} were given.")
    sources: list[dict[int, int]] = [{} for _ in nodes]
    for edge in edges:
        _check_edge(edge, len(nodes))
        source, target, times = edge
        if nodes[source].op == "output" or nodes[target].op == "input":
            raise ArchitectureError("edges must lead out of inputs and into the output, but one goes the other way.")
        sources[target][source] = sources[target].get(source, 0) + times
    return sources


def _topological(sources: list[dict[int, int]]) -> list[int]:
    """Returns the nodes, each after its predecessors."""
    targets: list[list[int]] = [[] for _ in sources]
    for target, inner in enumerate(sources):
        for source in inner:
            targets[source].append(target)
    waiting = [len(inner) for inner in sources]
    order = [node for node, count in enumerate(waiting) if not count]
    for node in order:  # grows while it is read
        for target in targets[node]:
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    if len(order) < len(sources):
        raise ArchitectureError("an architecture must have no cycle, but its edges form one; remove an edge of it.")
    return order


def _is_node(bag: Bag) -> bool:
    return len(bag[1]) == 1 and next(iter(bag[1].values())) == 1


def _token(node: Node) -> str:
    """Returns text that is equal for two nodes only if they are; true and 1 differ."""
    return json.dumps([node.op, node.version, node.parameters, node.join])


def _label(node: Node) -> str:
    width = dict(node.parameters).get("width")
    return node.op if width is None else f"{node.op}({width})"


def _node(data: Mapping[str, Any]) -> Node:
    """Returns the node of a mapping with ``op`` and perhaps ``version``, ``parameters``, ``join``."""
    parameters = data.get("parameters", {})
    if not isinstance(parameters, Mapping):
        raise ArchitectureError(f"`parameters` must map names to values, but {_shown(parameters)} was given.")
    return Node(data["op"], data.get("version", 1), tuple(parameters.items()), data.get("join", "add"))


def _checked(name: object, value: Any) -> Value:
    """Returns a parameter's value as plain Python; whole floats as integers."""
    _check_name("a parameter's name", name)
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value == int(value) and abs(value) <= _MAX_INTEGER else float(value)
    if value is None or isinstance(value, bool):
        return value
    if (isinstance(value, int) and abs(value) <= _MAX_INTEGER) or (isinstance(value, str) and len(value) <= _MAX_NAME):
        return value
    raise ArchitectureError(
        f"parameter {name!r} must be a short text, a finite number of moderate size, true, false or null, "
        f"but {_shown(value)} was given."
    )


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise ArchitectureError(f"{what} must be a text of 1 to {_MAX_NAME} characters, but {_shown(name)} was given.")


def _check_integer(what: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ArchitectureError(f"`{what}` must be an integer from {low} to {high}, but {_shown(value)} was given.")


def _check_edge(edge: Iterable[Any], size: int) -> None:
    source, target, times = edge
    _check_integer("source", source, 0, size - 1)
    _check_integer("target", target, 0, size - 1)
    _check_integer("times", times, 1, MAX_TIMES)


def _check_size(nodes: int, edges: int) -> None:
    if nodes > MAX_NODES or edges > MAX_EDGES:
        raise ArchitectureError(
            f"an architecture must have at most {MAX_NODES} nodes and {MAX_EDGES} edges once its sums are flattened, "
            "but this one has more."
        )


def _check_keys(what: str, data: object, known: set[str], needed: set[str]) -> None:
    if not isinstance(data, Mapping):
        raise ArchitectureError(f"{what} must be a mapping, but {_shown(data)} was given.")
    if data.keys() - known or needed - data.keys():
        raise ArchitectureError(
            f"{what} must have the keys {sorted(needed)} of {sorted(known)}, but has {_shown(list(data))}."
        )


def _shown(value: object) -> str:
    """Returns a short text for error messages, whatever the value."""
    try:
        return reprlib.repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"
