"""What every controller shares: the problem it is given, the two calls it answers, the account it gives of itself.

The loop of every search, whoever the controller is::

    controller = create("meta", problem)
    while trials remain:
        wanted = controller.ask(4)          # four choices; asking again gives the same four
        records = train(wanted)             # in any order, some may have failed
        controller.tell(records)            # only what is new: what one tell said is never said again

Two sentences prevent most bugs here: ``tell`` receives only what is new, and ``ask`` does not change what later asks
return (Vizier's ``Designer`` has the same two). So a controller is a function of (problem, what it was told, in order),
and a search that was interrupted continues by telling the records again. No algorithm belongs in this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from textwrap import wrap
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from nas.readable import counted, one_line
from nas.space import identity

if TYPE_CHECKING:
    from pathlib import Path

    from nas.record import PastDataset, Record
    from nas.space import Choices, Identity, SearchSpace


@dataclass(frozen=True)
class Problem:
    """What is known before the first training of a search.

    Attributes:
        space: What may be chosen.
        seed: Decides every draw, together with the number of records told.
        past: Earlier datasets with their records; may be empty, may come from other spaces.
        metafeatures: The new dataset by name, NaN where one could not be computed.
        dataset: Fingerprint of the new dataset.
        kin: Fingerprints of past datasets that are this one grown or cut down: last week's, for example.
        task: "classification" or "regression".
        kind: "tabular", "image" or "series".
        priors: Folder in which what a past teaches is kept once it was worked out; None for nowhere.
    """

    space: SearchSpace
    seed: int = 0
    past: tuple[PastDataset, ...] = ()
    metafeatures: Mapping[str, float] = field(default_factory=dict)
    dataset: str = ""
    kin: frozenset[str] = frozenset()
    task: str = "classification"
    kind: str = "tabular"
    priors: Path | None = None


@dataclass(frozen=True)
class Explanation:
    """Whom a controller listens to.

    Attributes:
        weights: Share of each past dataset in what is predicted, by name, in [0, 1], largest first.
        own: Share of what was learned from this search alone. With ``weights`` it sums to 1, or all are 0 where the
            controller predicts nothing.
        turned: Of ``own``, the part that is history turned round: the contrary of what it says is believed.
        ignored: Past datasets without a say, by name, and why.
        notes: Sentences for the reader.
        course: Share of history after some numbers of trainings, from 0 on; empty where it cannot change.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    own: float = 0.0
    ignored: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    course: Mapping[int, float] = field(default_factory=dict)
    turned: float = 0.0

    @property
    def line(self) -> str:
        """The account in one line: the three datasets with the most to say, the search's own model, who was ignored."""
        heard = [(name, share) for name, share in self.weights.items() if share > 0]
        parts = ["  ".join(f"{one_line(name)} {share:.0%}" for name, share in heard[:3])]
        if rest := heard[3:]:
            parts[0] += f"  {len(rest)} more {sum(share for _, share in rest):.0%}"
        turned = self.turned if self.turned >= QUIET else 0.0
        parts.append(f"own model {self.own - turned:.0%}" if heard or turned else "no past dataset")
        parts += [f"the contrary of history {turned:.0%}"] if turned else []
        if self.ignored:
            parts.append(f"ignored {len(self.ignored)} ({Counter(self.ignored.values()).most_common(1)[0][0]})")
        return "listening to " + " | ".join(part for part in parts if part)

    def __str__(self) -> str:
        loud = {name: share for name, share in self.weights.items() if round(share, 3) >= QUIET}
        rows = [f"{share:7.1%}  {one_line(name)}" for name, share in loud.items()]
        if quiet := {name: share for name, share in self.weights.items() if share > 0 and name not in loud}:
            named = _listed([f"{name} {share:.1%}" for name, share in quiet.items()])
            who = counted(len(quiet), "dataset")
            rows += _row(sum(quiet.values()), f"{who} with less than {QUIET:.0%} each: {named}")
        turned = self.turned if self.turned >= QUIET else 0.0
        rows.append(f"{self.own - turned:7.1%}  what this search has seen itself")
        rows += _row(turned, "history turned round: the contrary of what it says") if turned else []
        silent = {"nothing to say here": [name for name, share in self.weights.items() if share <= 0]}
        for name, reason in self.ignored.items():
            silent.setdefault(f"ignored: {reason}", []).append(name)
        for reason, names in silent.items():
            if names:
                rows += _row(0.0, f"{counted(len(names), 'dataset')} ({reason}): {_listed(names)}")
        return "\n".join([*rows, *self.notes])


QUIET = 0.01  # share of the prediction below which a past dataset has no line of its own
NAMED = 50  # datasets of one line whose names are given


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - NAMED:,} more"] if len(names) > NAMED else []
    return ", ".join([*map(one_line, names[:NAMED]), *more])


def _row(share: float, text: str) -> list[str]:
    return wrap(text, 110, initial_indent=f"{share:7.1%}  ", subsequent_indent=" " * 9)


@runtime_checkable
class Controller(Protocol):
    """Chooses what to train next. ``tests/conformance.py`` holds what each must pass, also yours."""

    def ask(self, count: int = 1) -> list[Choices]:
        """Returns ``count`` choices of the space, none told before and none twice as long as the space has others.

        Draws come from ``rng(seed, number told)``; state does not change, so that asking again gives the same.
        """

    def tell(self, records: Sequence[Record]) -> None:
        """Takes in new records, in order; those without a score failed."""

    def explain(self) -> Explanation:
        """Returns whom the next choice listens to."""


Factory = Callable[[Problem], Controller]


class Told:
    """What a controller was told, every evaluation once.

    An evaluation that is already on record may be met again (a search that goes on, a dataset searched before): by its
    key it is the same training, so it is not counted a second time, neither as evidence nor in the draws. ``choices``
    also holds the other names under which it came.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.choices: set[Identity] = set()
        self._keys: set[str] = set()

    def __len__(self) -> int:
        return len(self.records)

    def new(self, records: Sequence[Record]) -> list[Record]:
        """Takes ``records`` in and returns those that had not been told."""
        found = []
        for record in records:
            self.choices.add(identity(record.choices))
            if record.key not in self._keys:
                self._keys.add(record.key)
                found.append(record)
        self.records += found
        return found


def generator(problem: Problem, told: int) -> np.random.Generator:
    """Returns the generator of the ask that follows ``told`` records."""
    return np.random.default_rng([problem.seed, told])


def unseen(candidates: Iterable[Choices], seen: set[Identity]) -> Choices | None:
    """Returns the first candidate that is not in ``seen``, or None."""
    return next((choices for choices in candidates if identity(choices) not in seen), None)


def fresh(space: SearchSpace, seen: set[Identity], rng: np.random.Generator, attempts: int = 64) -> Choices:
    """Returns a uniform draw that is not in ``seen``, a repeat only where nothing else is left.

    Where ``attempts`` draws all repeat, few choices can be left: a space of at most ``LISTED`` is then listed and one
    of the rest drawn.
    """
    draws = (space.sample(rng) for _ in range(attempts))
    choices = unseen(draws, seen)
    if choices is None and space.size <= LISTED:
        rest = [c for c in islice(space.enumerate(), LISTED) if identity(c) not in seen]
        choices = rest[int(rng.integers(len(rest)))] if rest else None
    return space.sample(rng) if choices is None else choices


LISTED = 20_000  # choices a space may have to be listed in full, about a second
