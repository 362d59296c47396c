"""The graph of choices: nodes and edges that hold operations, choices of operations, or whole spaces.

A ``SearchSpace`` describes architectures; it builds none of torch's modules, holds no data size and no weights.
Decisions are named by path: ``node``, ``node.parameter``, ``node.alternative.parameter``, ``source->target``,
``source->target.kept``, ``target.input``, ``node.times``, ``settings.name``; inside a nested space the path of the node
that holds it goes in front. A domain with a name of its own is one decision wherever it is used.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import networkx as nx

from nas.architecture import Architecture
from nas.errors import SpaceError, nearest
from nas.operations import BUILTIN, Operation
from nas.space import decisions as tree
from nas.space.body import Op, Repeat, declared, described, used
from nas.space.builder import Builder, decisions_of, leaf, new_node
from nas.space.decisions import Choices, Decision
from nas.space.domain import Choice, Domain, Value

if TYPE_CHECKING:
    import numpy as np
    import optuna

    from nas.space.body import Body

JOINS = ("add", "concat")
ATTEMPTS = 32  # draws to find an architecture that is allowed
JUMP = 0.25  # share of mutations of a number that leave its neighbourhood, so that no local optimum is a trap


class SearchSpace:
    """A space of architectures and training settings, written as a directed acyclic graph of choices.

    Args:
        name: Part of the identity of the space, beside the fingerprint of its content.
        operations: What the nodes and edges may use, by name: ``BUILTIN | {"mine": Operation(...)}`` for one's own.
    """

    def __init__(self, name: str, operations: Mapping[str, Operation] = BUILTIN) -> None:
        if not name or not isinstance(name, str):
            raise SpaceError(f"a space needs a name, but got {name!r}.")
        self.name = name
        self.operations = dict(operations)
        self._graph = nx.MultiDiGraph()
        self._settings: dict[str, Domain] = {}
        self._nested = False
        self._allowed: Callable[[Architecture], bool] | None = None
        self._tree: tuple[Decision, ...] | None = None
        self._fingerprint: str | None = None

    # ---- building ----------------------------------------------------------------------------------------------

    def add_input(self, name: str) -> None:
        """Adds an input; at the top it reads the view of the data with that name (``x`` is all of it)."""
        self._add(name, kind="input")

    def add_output(self, name: str, *, join: str | Choice = "add") -> None:
        """Adds the output; a space has exactly one."""
        if any(data["kind"] == "output" for _, data in self._graph.nodes(data=True)):
            raise SpaceError(f"a space has exactly one output, but {self.name!r} would get a second one, {name!r}.")
        self._add(name, kind="output", join=_checked_join(join))

    def add_node(
        self, name: str, body: Body = "identity", *, join: str | Choice = "add", **parameters: Value | Domain
    ) -> None:
        """Adds a node.

        Args:
            name: Its name, the root of its decisions' paths.
            body: An operation's name, ``Op``, ``Choice`` of such, ``Repeat``, or a space with one input and one output.
            join: What happens where several edges meet: ``add`` (projected to a common shape) or ``concat``.
            parameters: Reach every operation inside ``body`` that declares such a parameter and is not given it.
        """
        if "." in name or "->" in name or name == "settings":
            raise SpaceError(f"a node's name has no '.' and no '->' and is not 'settings', but got {name!r}.")
        self._check(body)
        reached = declared(body, self.operations)
        for parameter in parameters:
            if parameter not in reached:
                raise SpaceError(
                    f"a parameter must be declared by an operation of node {name!r}, but {parameter!r} is not one of "
                    f"{sorted(reached)};{nearest(parameter, reached)} correct the name."
                )
        self._add(name, kind="node", body=body, join=_checked_join(join), parameters=dict(parameters))

    def add_edge(self, source: str | Choice, target: str, op: Body = "identity", *, optional: bool = False) -> None:
        """Adds an edge, with an operation on it if ``op`` is given.

        Args:
            source: A node's name, or a ``Choice`` of names: then the target chooses which of them feeds it.
            target: A node's name.
            op: Anything a node may hold.
            optional: Whether the edge may also be left out, which is then a decision.
        """
        self._check(op)
        names = [str(v) for v in source.values] if isinstance(source, Choice) else [source]
        for name in [*names, target]:
            if name not in self._graph:
                raise SpaceError(
                    f"an edge joins nodes that were added, but {name!r} was not;{nearest(name, self._graph)} add it."
                )
        if self._graph.nodes[target]["kind"] == "input" or any(self._graph.nodes[n]["kind"] == "output" for n in names):
            raise SpaceError(f"edges leave inputs and enter outputs, but got {names} -> {target!r}; turn it round.")
        for name in names:
            if name == target or nx.has_path(self._graph, target, name):
                raise SpaceError(f"a space has no cycle, but the edge {name!r} -> {target!r} would close one; drop it.")
        if isinstance(source, Choice):
            taken = {
                data["path"] for _, _, data in self._graph.in_edges(target, data=True) if data["source"] is not None
            }
            path = f"{target}.input{len(taken) + 1 if taken else ''}"
        else:
            path = f"{source}->{target}"
            if self._graph.has_edge(source, target, key=path):
                raise SpaceError(
                    f"two nodes are joined by one edge, but {path!r} is there already; add a node between."
                )
        chosen = source if isinstance(source, Choice) else None
        for name in names:
            self._graph.add_edge(name, target, key=path, path=path, op=op, optional=optional, source=chosen)
        self._changed()

    def add_setting(self, name: str, domain: Domain) -> None:
        """Adds a training setting, a field of ``nas.training.Recipe``: ``learning_rate`` or ``shift``."""
        if name in self._settings or not isinstance(domain, Domain):
            raise SpaceError(f"a setting is added once, with a domain, but got {name!r}: {domain!r}.")
        self._settings[name] = domain
        self._changed()

    def within(self, allowed: Callable[[Architecture], bool]) -> SearchSpace:
        """The same space, name and fingerprint included, that draws only architectures for which ``allowed`` is true.

        ``sample``, ``mutate`` and ``cross_over`` give another choice only where ``ATTEMPTS`` draws found none;
        ``enumerate`` leaves them out. ``contains`` still says what the space can hold, ``allows`` what it should.
        """
        limited = copy.copy(self)
        limited._allowed = allowed
        return limited

    @property
    def limited(self) -> bool:
        """Whether ``within`` limits what is drawn."""
        return self._allowed is not None

    @property
    def graph(self) -> nx.MultiDiGraph:
        """A read-only view of the graph itself: node attributes ``kind``, ``body``, ``join``, ``parameters``; edge
        attributes ``path``, ``op``, ``optional``, ``source`` (the ``Choice`` the edge is an alternative of)."""
        return self._graph.copy(as_view=True)

    # ---- choices -----------------------------------------------------------------------------------------------

    def decisions(self) -> dict[str, Domain]:
        """Every decision that can occur, by path, training settings last."""
        return tree.domains(self._decisions())

    @property
    def size(self) -> float:
        """The number of choices, exact; infinite where a decision is a ``Float``."""
        return tree.count(self._decisions())

    def default(self) -> Choices:
        """The choice of every decision's default."""
        return tree.walk(self._decisions(), lambda path, domain: domain.default)

    def sample(self, rng: np.random.Generator) -> Choices:
        """A choice drawn decision by decision."""
        return self._first_allowed(lambda: tree.walk(self._decisions(), lambda path, domain: domain.sample(rng)))

    def mutate(self, choices: Choices, rng: np.random.Generator, edits: int = 1) -> Choices:
        """The choice with ``edits`` decisions changed in turn; decisions that then begin to exist are sampled."""
        return self._first_allowed(lambda: self._mutated(choices, rng, edits))

    def _mutated(self, choices: Choices, rng: np.random.Generator, edits: int) -> Choices:
        for _ in range(edits):
            known = self.decisions()
            movable = [path for path in known if path in choices and known[path].size > 1]
            if not movable:
                return dict(choices)
            path = movable[int(rng.integers(len(movable)))]
            domain, value = known[path], choices[path]
            moved = domain.sample(rng) if domain.ordered and rng.random() < JUMP else value
            if moved == value:
                moved = domain.neighbour(value, rng)
            choices = self._completed({**choices, path: moved}, rng)
        return choices

    def cross_over(self, first: Choices, second: Choices, rng: np.random.Generator) -> Choices:
        """A child that takes every decision from one of two parents, and samples what neither has."""
        return self._first_allowed(lambda: self._crossed(first, second, rng))

    def _crossed(self, first: Choices, second: Choices, rng: np.random.Generator) -> Choices:
        heads = {path: rng.random() < 0.5 for path in self.decisions() if path in first or path in second}
        mixed = {p: (first if (p in first and (heads[p] or p not in second)) else second)[p] for p in heads}
        return self._completed(mixed, rng)

    def adapt(self, choices: Mapping[str, object]) -> Choices:
        """The choice of this space that is nearest to one of another, or of an earlier version of this one.

        Decisions of the same path are taken over, numbers outside a domain as its nearest value; all else is default.
        """

        def decide(path: str, domain: Domain) -> Value:
            value = choices.get(path)
            if domain.contains(value):
                return value  # type: ignore[return-value]
            if domain.ordered and isinstance(value, int | float) and not isinstance(value, bool):
                return domain.nearest(value)
            return domain.default

        return tree.walk(self._decisions(), decide)

    def enumerate(self, *, settings: bool = True) -> Iterator[Choices]:
        """Every choice once; with ``settings=False`` the training settings stay at their defaults.

        Raises:
            SpaceError: If a decision to be enumerated is a range that cannot be listed.
        """
        if settings:
            yield from filter(self.allows, tree.enumerate_choices(self._decisions()))
            return
        fixed = {f"settings.{name}": domain.default for name, domain in self._settings.items()}
        for choices in tree.enumerate_choices(self._structure()):
            if self.allows({**choices, **fixed}):
                yield {**choices, **fixed}

    def contains(self, choices: Mapping[str, object]) -> bool:
        """Whether ``choices`` takes exactly the decisions that are active, each within its domain."""
        try:
            return not self._violation(choices)
        except TypeError:
            return False

    def allows(self, choices: Choices) -> bool:
        """Whether the architecture of a choice is one that ``within`` allows; always so in an unlimited space."""
        return self._allowed is None or self._allowed(self.architecture(choices))

    def suggest(self, trial: optuna.trial.BaseTrial) -> Choices:
        """The choice that an Optuna trial suggests, one ``suggest_*`` per active decision."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        def decide(path: str, domain: Domain) -> Value:
            d = domain.distribution()
            if isinstance(d, CategoricalDistribution):
                return trial.suggest_categorical(path, d.choices)
            if isinstance(d, IntDistribution):
                return trial.suggest_int(path, d.low, d.high, log=d.log)
            assert isinstance(d, FloatDistribution)
            return trial.suggest_float(path, d.low, d.high, log=d.log)

        return tree.walk(self._decisions(), decide)

    def distributions(self, choices: Choices) -> dict[str, optuna.distributions.BaseDistribution]:
        """The Optuna distribution of every decision that ``choices`` takes."""
        known = self.decisions()
        return {path: known[path].distribution() for path in choices}

    # ---- what a choice means -----------------------------------------------------------------------------------

    def architecture(self, choices: Choices) -> Architecture:
        """The architecture that a choice describes, in normal form.

        Raises:
            SpaceError: If the space does not contain the choice.
        """
        if problem := self._violation(choices):
            raise SpaceError(problem)
        graph = nx.MultiDiGraph()
        inputs = {}
        for name, data in self._graph.nodes(data=True):
            if data["kind"] == "input":
                inputs[name] = new_node(graph, "input", {"name": name})
        last = Builder(graph, choices, self.operations).space(self, "", inputs, {})
        graph.add_edge(last, new_node(graph, "output", {}))
        return Architecture.from_graph(graph)

    def settings(self, choices: Choices) -> dict[str, Value]:
        """The training settings of a choice, by name."""
        return {name: choices[f"settings.{name}"] for name in self._settings}

    # ---- identity ----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The content of the space as JSON: what is there, never how it is built."""
        nodes = [
            {"name": n, **{k: described(v) for k, v in d.items() if v not in ({}, None)}}
            for n, d in self._graph.nodes(data=True)
        ]
        edges = [
            {
                "from": u,
                "to": v,
                "path": d["path"],
                "op": described(d["op"]),
                "optional": d["optional"],
                "chosen": d["source"] is not None,
            }
            for u, v, d in self._graph.edges(data=True)
        ]
        names = sorted(used(self))
        return {
            "name": self.name,
            "nodes": nodes,
            "edges": edges,
            "settings": {name: described(domain) for name, domain in self._settings.items()},
            "operations": {name: self.operations[name].version for name in names},
        }

    @property
    def fingerprint(self) -> str:
        """A SHA-256 over the content."""
        if self._fingerprint is None:
            text = json.dumps(self.to_dict(), sort_keys=True)
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()
        return self._fingerprint

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {self._graph.number_of_nodes()} nodes, {len(self.decisions())} decisions)"

    # ---- inside ------------------------------------------------------------------------------------------------

    def _add(self, name: str, **data: Any) -> None:
        if name in self._graph:
            raise SpaceError(f"nodes of a space have distinct names, but {name!r} is there already.")
        self._graph.add_node(name, **data)
        self._changed()

    def _changed(self) -> None:
        if self._nested:
            raise SpaceError(f"a space that is part of another does not change, but {self.name!r} is; finish it first.")
        self._tree = self._fingerprint = None

    def _check(self, body: object) -> None:
        """Refuses unknown operations, parameters and bodies where they are written, and closes nested spaces."""
        if isinstance(body, Choice):
            for alternative in body.alternatives.values():
                self._check(alternative)
        elif isinstance(body, Repeat):
            self._check(body.body)
        elif isinstance(body, SearchSpace):
            kinds = [data["kind"] for _, data in body._graph.nodes(data=True)]
            if kinds.count("input") != 1 or kinds.count("output") != 1 or body._settings:
                raise SpaceError(
                    f"a nested space has one input, one output and no settings, but {body.name!r} has not."
                )
            for name in used(body):
                if self.operations.setdefault(name, body.operations[name]) is not body.operations[name]:
                    raise SpaceError(f"one name is one operation, but {body.name!r} has another {name!r}; rename it.")
            body._nested = True
        elif isinstance(body, str | Op):
            name, given = (body, {}) if isinstance(body, str) else (body.name, body.parameters)
            if name not in self.operations:
                raise SpaceError(
                    f"the space has no operation {name!r};{nearest(name, self.operations)} "
                    "pass one of your own as operations=BUILTIN | {...}."
                )
            declared = self.operations[name].parameters
            for parameter in given:
                if parameter not in declared:
                    raise SpaceError(
                        f"operation {name!r} declares {sorted(declared)}, but got {parameter!r}; "
                        f"{nearest(parameter, declared)} correct it."
                    )
        else:
            raise SpaceError(
                f"a node or an edge holds an operation's name, Op, Choice, Repeat or SearchSpace, but got {body!r}."
            )

    def _structure(self) -> tuple[Decision, ...]:
        return decisions_of(self, "", {}, self.operations)

    def _decisions(self) -> tuple[Decision, ...]:
        if self._tree is None:
            if not any(data["kind"] == "output" for _, data in self._graph.nodes(data=True)):
                raise SpaceError(f"a space has exactly one output, but {self.name!r} has none; call add_output.")
            settings = tuple(leaf(f"settings.{name}", domain) for name, domain in self._settings.items())
            built = self._structure() + settings
            tree.domains(built)
            self._tree = built
        return self._tree

    def _completed(self, wanted: Choices, rng: np.random.Generator) -> Choices:
        def decide(path: str, domain: Domain) -> Value:
            return wanted[path] if path in wanted and domain.contains(wanted[path]) else domain.sample(rng)

        return tree.walk(self._decisions(), decide)

    def _first_allowed(self, draw: Callable[[], Choices]) -> Choices:
        """The first draw that is allowed, the last one where none is."""
        choices = draw()
        for _ in range(ATTEMPTS if self._allowed else 0):
            if self.allows(choices):
                break
            choices = draw()
        return choices

    def _violation(self, choices: Mapping[str, object]) -> str:
        """What is wrong with a choice, in one sentence, or nothing."""
        wrong: list[str] = []

        def decide(path: str, domain: Domain) -> Value:
            if path not in choices:
                wrong.append(f"a choice takes every active decision of space {self.name!r}, but {path!r} is missing.")
            elif not domain.contains(choices[path]):
                wrong.append(f"decision {path!r} must lie in {domain.to_dict()}, but got {choices[path]!r}.")
            else:
                return choices[path]  # type: ignore[return-value]
            return domain.default

        active = tree.walk(self._decisions(), decide)
        wrong += [
            f"space {self.name!r} has no active decision {p!r};{nearest(p, active)} drop it."
            for p in choices
            if p not in active
        ]
        return wrong[0] if wrong else ""


def _checked_join(join: str | Choice) -> str | Choice:
    for value in join.values if isinstance(join, Choice) else (join,):
        if value not in JOINS:
            raise SpaceError(f"edges are joined by one of {JOINS}, but got {value!r}.")
    return join
