"""What a node or an edge may hold: an operation, a repetition, a choice of such, a whole space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from nas.errors import SpaceError
from nas.operations import Operation
from nas.space.domain import Choice, Domain, Value

if TYPE_CHECKING:
    from nas.space.space import SearchSpace

    Body: TypeAlias = "str | Op | Choice | Repeat | SearchSpace"


class Op:
    """An operation by name, with parameters that are values or domains."""

    def __init__(self, name: str, **parameters: Value | Domain) -> None:
        self.name, self.parameters = name, parameters


class Repeat:
    """The same body several times in a row: ``times`` is a whole number >= 1, or a domain of such numbers.

    Every repetition takes the same decisions, as the cells of a stage do.
    """

    def __init__(self, body: Body, times: int | Domain) -> None:
        self.body, self.times = body, times
        self.name = str(getattr(body, "name", body))
        values = times.values if isinstance(times, Domain) else (times,)
        if not values or not all(isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in values):
            raise SpaceError(f"`times >= 1` must hold for every whole number of a Repeat, but got {values}.")


def operations_of(body: Any) -> Iterator[str]:
    """Yields the names of the operations a body holds, nested ones included."""
    if isinstance(body, Choice):
        for alternative in body.alternatives.values():
            yield from operations_of(alternative)
    elif isinstance(body, Repeat):
        yield from operations_of(body.body)
    elif isinstance(body, str | Op):
        yield body.name if isinstance(body, Op) else body
    else:
        yield from used(body)


def used(space: SearchSpace) -> set[str]:
    """The names of the operations a space holds, nested ones included."""
    bodies = [data["body"] for _, data in space._graph.nodes(data=True) if data["kind"] == "node"]
    bodies += [data["op"] for _, _, data in space._graph.edges(data=True)]
    return {name for body in bodies for name in operations_of(body)}


def declared(body: Body, operations: Mapping[str, Operation]) -> set[str]:
    """The parameters that operations within a body declare."""
    return {parameter for name in operations_of(body) for parameter in operations[name].parameters}


def described(part: Any) -> Any:
    """A part of a space as JSON."""
    if isinstance(part, Choice) and any(
        not isinstance(a, str | int | float | None) for a in part.alternatives.values()
    ):
        return {
            "kind": "choice",
            "name": part.name,
            "alternatives": [described(a) for a in part.alternatives.values()],
        }
    if isinstance(part, Domain):
        return part.to_dict() | ({"name": part.name} if part.name else {})
    if isinstance(part, Op):
        return {"op": part.name, "parameters": described(part.parameters)}
    if isinstance(part, Repeat):
        return {"repeat": described(part.body), "times": described(part.times)}
    if isinstance(part, dict):
        return {name: described(value) for name, value in part.items()}
    return part if part is None or isinstance(part, str | int | float) else part.to_dict()
