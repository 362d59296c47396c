"""From a space to its decisions, and from a choice to the operations it stands for: two walks of the same graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import networkx as nx

from nas.operations import Operation
from nas.space.body import Op, Repeat
from nas.space.decisions import Choices, Decision
from nas.space.domain import Choice, Domain, Value

if TYPE_CHECKING:
    from nas.space.body import Body
    from nas.space.space import SearchSpace

Parameters = Mapping[str, tuple[str, Value | Domain]]  # name -> (path it was given at, value or domain)


def leaf(
    path: str, domain: Domain, below: Mapping[Value, tuple[Decision, ...]] | None = None, shared: bool = False
) -> Decision:
    """Returns the decision of a domain at a path; one with a name of its own is shared under that."""
    return Decision(domain.name or path, domain, below or {}, shared or domain.name is not None)


def _given(value: Value | Domain, path: str, shared: bool = False) -> tuple[Decision, ...]:
    return (leaf(path, value, shared=shared),) if isinstance(value, Domain) else ()


def decisions_of(
    space: SearchSpace, prefix: str, inherited: Parameters, operations: Mapping[str, Operation]
) -> tuple[Decision, ...]:
    """Returns the decisions of a space in topological order of its nodes, each with those that hang on it.

    Args:
        space: With no operation that ``operations`` lacks.
        prefix: Of every path: the place of a nested space and a dot, or nothing.
        inherited: Parameters given to the node that holds the space; they reach the operations inside.
        operations: By name.
    """
    found: list[Decision] = []
    seen: set[str] = set()
    for name in nx.topological_sort(space._graph):
        data = space._graph.nodes[name]
        for _, _, edge in space._graph.in_edges(name, data=True):
            if edge["path"] not in seen:
                seen.add(edge["path"])
                found += _of_edge(edge, prefix, inherited, operations)
        if data["kind"] != "input":
            found += _given(data["join"], f"{prefix}{name}.join")
        if data["kind"] == "node":
            own = {p: (f"{prefix}{name}.{p}", v) for p, v in data["parameters"].items()}
            found += _of_body(data["body"], prefix + name, {**inherited, **own}, operations)
    return tuple(found)


def _of_edge(
    edge: Mapping[str, Any], prefix: str, inherited: Parameters, operations: Mapping[str, Operation]
) -> list[Decision]:
    path = prefix + edge["path"]
    below = _of_body(edge["op"], path if edge["source"] is None else f"{path}.op", inherited, operations)
    if edge["source"] is not None:
        below = (leaf(path, edge["source"]), *below)
    return [leaf(f"{path}.kept", KEPT, {True: below})] if edge["optional"] else list(below)


def _of_body(body: Body, path: str, inherited: Parameters, operations: Mapping[str, Operation]) -> tuple[Decision, ...]:
    if isinstance(body, Choice):
        root = body.name or path
        below = {label: _of_body(a, f"{root}.{label}", inherited, operations) for label, a in body.alternatives.items()}  # type: ignore[arg-type]
        return (leaf(path, body, below),)
    if isinstance(body, Repeat):
        return _given(body.times, f"{path}.times") + _of_body(body.body, path, inherited, operations)
    if not isinstance(body, str | Op):
        return decisions_of(body, f"{path}.", inherited, operations)
    given = body.parameters if isinstance(body, Op) else {}
    name = body.name if isinstance(body, Op) else body
    found: tuple[Decision, ...] = ()
    for parameter in operations[name].parameters:
        if parameter in given:
            found += _given(given[parameter], f"{path}.{parameter}")
        elif parameter in inherited:
            where, value = inherited[parameter]
            found += _given(value, where, shared=True)
    return found


KEPT = Choice(True, False)  # the decision of every optional edge


class Builder:
    """Reads a choice and lays down the operations it stands for."""

    def __init__(self, graph: nx.MultiDiGraph, choices: Choices, operations: Mapping[str, Operation]) -> None:
        self.graph, self.choices, self.operations = graph, choices, operations

    def taken(self, value: Value | Domain, path: str) -> Value:
        """Returns what was chosen for a domain at a path, a value as it is."""
        return self.choices[value.name or path] if isinstance(value, Domain) else value

    def space(self, space: SearchSpace, prefix: str, inputs: Mapping[str, int], inherited: Parameters) -> int:
        """Adds the space's nodes and edges; returns the node that is its output."""
        made: dict[str, int] = dict(inputs)
        for name in nx.topological_sort(space._graph):
            data = space._graph.nodes[name]
            if data["kind"] == "input":
                continue
            join = new_node(self.graph, "identity", {}, str(self.taken(data["join"], f"{prefix}{name}.join")))
            for source, _, edge in space._graph.in_edges(name, data=True):
                self.edge(edge, source, made, join, prefix, inherited)
            made[name] = join
            if data["kind"] == "node":
                own = {p: (f"{prefix}{name}.{p}", v) for p, v in data["parameters"].items()}
                made[name] = self.body(data["body"], prefix + name, join, {**inherited, **own})
            else:
                output = join
        return output

    def edge(
        self,
        edge: Mapping[str, Any],
        source: str,
        made: Mapping[str, int],
        join: int,
        prefix: str,
        inherited: Parameters,
    ) -> None:
        """Adds what an edge holds between ``source`` and node ``join``, unless it is left out or another was chosen."""
        path, chosen = prefix + edge["path"], edge["source"]
        if edge["optional"] and not self.taken(KEPT, f"{path}.kept"):
            return
        if chosen is not None and self.taken(chosen, path) != source:
            return
        end = self.body(edge["op"], path if chosen is None else f"{path}.op", made[source], inherited)
        self.graph.add_edge(end, join)

    def body(self, body: Body, path: str, source: int, inherited: Parameters) -> int:
        """Adds what ``body`` stands for behind node ``source``; returns its last node."""
        if isinstance(body, Choice):
            label = self.taken(body, path)
            return self.body(body.alternatives[label], f"{body.name or path}.{label}", source, inherited)  # type: ignore[arg-type]
        if isinstance(body, Repeat):
            for _ in range(int(self.taken(body.times, f"{path}.times"))):  # type: ignore[arg-type]
                source = self.body(body.body, path, source, inherited)
            return source
        if not isinstance(body, str | Op):
            name = next(n for n, data in body._graph.nodes(data=True) if data["kind"] == "input")
            return self.space(body, f"{path}.", {name: source}, inherited)
        return self.operation(body, path, source, inherited)

    def operation(self, body: str | Op, path: str, source: int, inherited: Parameters) -> int:
        """Adds one operation behind node ``source`` and returns it; parameters at their defaults are left out."""
        given = body.parameters if isinstance(body, Op) else {}
        operation = self.operations[body.name if isinstance(body, Op) else body]
        parameters: dict[str, Value] = {}
        for parameter, default in operation.parameters.items():
            if parameter in given:
                value = self.taken(given[parameter], f"{path}.{parameter}")
            elif parameter in inherited:
                value = self.taken(inherited[parameter][1], inherited[parameter][0])
            else:
                continue
            if value != default:  # the same computation, so the same architecture
                parameters[parameter] = value
        node = new_node(self.graph, operation.name, parameters, version=operation.version)
        self.graph.add_edge(source, node)
        return node


def new_node(graph: nx.MultiDiGraph, op: str, parameters: dict[str, Value], join: str = "add", version: int = 1) -> int:
    """Adds a node as ``Architecture.from_graph`` reads it, and returns it."""
    node = graph.number_of_nodes()
    graph.add_node(node, op=op, version=version, parameters=parameters, join=join)
    return node
