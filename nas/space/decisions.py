"""The decision tree of a space: which decisions there are, and which hang on which; no graph of operations.

A space is a program; a *choice* is a run of it, written down as ``{decision path: value}``. Everything that concerns
only choices (sampling, counting, mutation, walking an Optuna trial) is one traversal with another ``decide``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from nas.errors import SpaceError
from nas.space.domain import Domain, Value

Choices = dict[str, Value]
Identity = tuple[tuple[str, object], ...]
Decide = Callable[[str, Domain], Value]
Polynomial = dict[frozenset[tuple[str, int]], float]  # shared decisions that are active, with their value -> choices


@dataclass(frozen=True)
class Decision:
    """One decision, and for each of its values the decisions that only then exist."""

    path: str
    domain: Domain
    then: Mapping[Value, tuple[Decision, ...]]
    shared: bool = False  # may be met several times in one walk; it is taken once


def identity(choices: Mapping[str, object]) -> Identity:
    """Returns what two choices share exactly if they are the same, whatever the order of their decisions."""
    return tuple(sorted(choices.items(), key=lambda item: item[0]))


def walk(tree: tuple[Decision, ...], decide: Decide) -> Choices:
    """The choice that ``decide`` makes, asked once for every active decision, in the order of the tree."""
    choices: Choices = {}

    def visit(decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            if decision.path not in choices:
                choices[decision.path] = decide(decision.path, decision.domain)
            visit(decision.then.get(choices[decision.path], ()))

    visit(tree)
    return choices


def domains(tree: tuple[Decision, ...]) -> dict[str, Domain]:
    """Every decision that can occur, by path.

    Raises:
        SpaceError: If two decisions have the same path.
    """
    found: dict[str, Domain] = {}

    def visit(decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            if found.setdefault(decision.path, decision.domain) is not decision.domain:
                raise SpaceError(
                    f"every decision needs a path of its own, but two are called {decision.path!r}; rename one."
                )
            for below in decision.then.values():
                visit(below)

    visit(tree)
    return found


def enumerate_choices(tree: tuple[Decision, ...]) -> Iterator[Choices]:
    """Every choice once, the last decision varying fastest.

    Raises:
        SpaceError: If a decision has a range that cannot be listed.
    """
    prefix: list[int] = []
    while True:
        trail: list[tuple[int, int]] = []

        def decide(
            path: str, domain: Domain, trail: list[tuple[int, int]] = trail, prefix: list[int] = prefix
        ) -> Value:
            values = domain.values
            if values is None:
                raise SpaceError(f"only finite decisions can be enumerated, but {path!r} is a range; sample instead.")
            index = prefix[len(trail)] if len(trail) < len(prefix) else 0
            trail.append((index, len(values)))
            return values[index]

        yield walk(tree, decide)
        while trail and trail[-1][0] + 1 == trail[-1][1]:
            trail.pop()
        if not trail:
            return
        prefix = [index for index, _ in trail]
        prefix[-1] += 1


def count(tree: tuple[Decision, ...]) -> float:
    """The number of choices, exact (infinite where a ``Float`` is among the decisions).

    Unshared decisions multiply and add up. What is met more than once is kept as a factor (path, value) until the end,
    so that two meetings count once and contradicting ones not at all.
    """
    sizes: dict[tuple[str, int], float] = {}

    def polynomial(decisions: tuple[Decision, ...], shared: bool) -> Polynomial:
        total: Polynomial = {frozenset(): 1}
        for decision in decisions:
            total = _product(total, of(decision, shared or decision.shared))
        return total

    def of(decision: Decision, shared: bool) -> Polynomial:
        branches = [below for below in decision.then.values() if below]
        plain = decision.domain.size - len(branches)
        total: Polynomial = {}
        for index, below in enumerate([(), *branches]):
            ways = plain if index == 0 else 1
            factor: Polynomial = {frozenset(): ways}
            if shared:
                sizes[decision.path, index] = ways
                factor = {frozenset({(decision.path, index)}): 1}
            if ways:
                for key, number in _product(factor, polynomial(below, shared)).items():
                    total[key] = total.get(key, 0) + number
        return total

    result: float = 0
    for key, ways in polynomial(tree, False).items():
        for factor in key:
            ways *= sizes[factor]
        result += ways
    return result


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    total: Polynomial = {}
    for left, m in a.items():
        for right, n in b.items():
            key = left | right
            if len({path for path, _ in key}) == len(key):  # one value a decision
                total[key] = total.get(key, 0) + m * n
    return total
