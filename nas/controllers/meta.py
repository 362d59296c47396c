"""The default controller: history proposes, the trainings of this search decide how far it is believed.

1. ``Prior`` (nas/controllers/prior.py): what past datasets expect of every candidate, turned towards this dataset by
   its meta-features. Evaluation 1 is its favourite, or the earlier winner where this dataset has been searched before.
2. From then on every way of believing history (nas/controllers/beliefs.py) is weighed by prior mass x marginal
   likelihood, and expected improvement is averaged with those weights. A misleading history loses its weight within a
   few trainings; that it says the contrary of the truth is a belief too. Where only what history prefers
   was trained, nothing weighs it yet: evaluation 5 is then one that it does not.

Without history: the space's default, four random choices, then the scratch model alone.

No model belongs here (nas/surrogate), nor what history says (prior.py), nor how choices become arrays (candidates.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.account import account
from nas.controllers.base import Explanation, Problem, Told, fresh, generator
from nas.controllers.candidates import Group, Pool, computation
from nas.controllers.curves import at_full_length
from nas.controllers.stored import prior_of
from nas.errors import SearchError
from nas.space import identity
from nas.surrogate import Observations, Part, improvement, posterior, squash

if TYPE_CHECKING:
    from nas.controllers.base import Controller
    from nas.controllers.prior import Expectation, Prior
    from nas.record import Record
    from nas.space import Choices, Identity

RANDOM_START = 5  # evaluations without a model where there is no history, the default among them
UNTESTED = 4  # trainings after which history must have been tested
SHALLOW = 0.3  # variance added to scores of another fidelity than that of most evaluations


@dataclass(frozen=True)
class Seen:
    """What was told, as arrays: candidates, squashed scores with their noise, which of them history had already."""

    group: Group
    z: np.ndarray
    v: np.ndarray
    counted: np.ndarray

    def plus(self, one: Group, value: float) -> Seen:
        """Returns these and one more, without noise."""
        return Seen(self.group + one, np.append(self.z, value), np.append(self.v, 0.0), np.append(self.counted, True))


class MetaController:
    """Starts from history, continues with a surrogate that history informs; see the module.

    Args:
        problem: What is known before the first training.
        pool: Random candidates, where the space is too large to be looked at as a whole.
        prior: What the problem's past teaches, if that has been fitted before (``nas.controllers.prior.fit``).

    Raises:
        SearchError: If the prior is of another space.
    """

    def __init__(self, problem: Problem, pool: int = 1000, prior: Prior | None = None) -> None:
        if prior is not None and prior.space != problem.space.name:
            raise SearchError(
                f"a prior must be fitted to the space that is searched, {problem.space.name!r}, but this one is of "
                f"{prior.space!r}; fit another."
            )
        self._problem = problem
        self._size = pool
        self._given = prior
        self._told = Told()
        self._inside: list[Record] = []  # of those told, what the space has
        self._computed: set[Identity] = set()
        self._repeats: set[Identity] = set()  # choices that were found to compute what was computed

    def ask(self, count: int = 1) -> list[Choices]:
        rng = generator(self._problem, len(self._told))
        group, seen = self._pool.all(self._best(3), rng), self._seen
        closed, computed = set(self._told.choices), set(self._computed)
        free = self._pool.free(group, closed)
        asked: list[Choices] = []
        for number in range(len(self._told), len(self._told) + count):
            row, parts = self._next(number, group, seen, free, computed, rng)
            asked.append(fresh(self._problem.space, closed, rng) if row is None else dict(group.choices[row]))
            closed.add(identity(asked[-1]))
            if row is not None and len(asked) < count:
                seen = seen.plus(_row(group, row), self._believed(_row(group, row), seen, parts))
        return asked

    def tell(self, records: Sequence[Record]) -> None:
        for record in self._told.new(records):
            self._computed.add(computation(record.architecture, record.settings))
            if self._problem.space.contains(record.choices):
                self._inside.append(record)
        self.__dict__.pop("_seen", None)

    def explain(self) -> Explanation:
        """Returns the shares of past datasets and of this search in what is expected of its candidates."""
        return account(self._problem, self._expectation, self._pool, self._told, self._parts)

    def predict(self, choices: Sequence[Choices]) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and deviation [q] of the scores expected of choices, squashed; something must have been told."""
        observed = self._observations(self._seen)
        group = Group.of([dict(c) for c in choices], self._expectation)
        at = group.seen_from(self._seen.group, self.prior)
        mean, square = np.zeros(len(choices)), np.zeros(len(choices))
        for part in self._parts():
            expected, slope = part.mean(at, observed)
            mean += part.weight * expected
            square += part.weight * (part.deviation(at, observed, slope) ** 2 + expected**2)
        return mean, np.sqrt(np.maximum(square - mean**2, 1e-12))

    @property
    def described(self) -> bool:
        """Whether what the dataset is like changes what is expected."""
        return self._expectation.described

    # ---- what is known, computed when first asked for ----------------------------------------------------------------

    @cached_property
    def prior(self) -> Prior:
        """What history teaches."""
        return self._given or prior_of(self._problem)

    @cached_property
    def _expectation(self) -> Expectation:
        problem = self._problem
        return self.prior.towards(problem.metafeatures, {problem.dataset, *problem.kin} - {""})

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self._problem.space, self._expectation, self._size, self._problem.seed)

    @cached_property
    def _known(self) -> set[str]:
        """Keys of evaluations that history has of this very dataset: told again, they are no evidence for it."""
        same = [past for past in self._problem.past if past.info.fingerprint == self._problem.dataset]
        return {record.key for past in same for record in past.records}

    @cached_property
    def _seen(self) -> Seen:
        """What was told; a failure counts as the worst score there is."""
        group = Group.of([dict(r.choices) for r in self._inside], self._expectation)
        z, v = _scores(self._inside)
        return Seen(group, z, v, np.array([r.key not in self._known for r in self._inside], dtype=bool))

    def _parts(self, first: int | None = None) -> list[Part]:
        """The beliefs given what was told, or the first of it."""
        seen = self._seen
        rows = slice(0, len(seen.z) if first is None else first)
        group = Group(seen.group.choices[rows], seen.group.X[rows], seen.group.means[:, rows], seen.group.D[:, rows])
        some = Seen(group, seen.z[rows], seen.v[rows], seen.counted[rows])
        return posterior(self._expectation.beliefs, self._observations(some))

    def _observations(self, seen: Seen) -> Observations:
        at = seen.group.seen_from(seen.group, self.prior)
        return Observations(at, seen.z, seen.v, seen.counted)

    def _best(self, count: int) -> list[Choices]:
        scored = [r for r in self._inside if r.score is not None]
        return [dict(r.choices) for r in sorted(scored, key=lambda r: -(r.score or 0.0))[:count]]

    # ---- what is chosen ----------------------------------------------------------------------------------------------

    def _next(
        self, number: int, group: Group, seen: Seen, free: np.ndarray, computed: set[Identity], rng: np.random.Generator
    ) -> tuple[int | None, list[Part]]:
        """Row of evaluation ``number`` (from 0), None where none is left, and the beliefs that chose it.

        Rows that are taken, not allowed, or compute what another one did, are no longer free.
        """
        space, worth, parts = self._problem.space, np.zeros(0), list[Part]()
        while free.any():
            if not len(worth):
                worth, parts = self._worth(number, group, seen, free, rng)
                free &= self._pool.free(group, self._repeats)
                continue
            row = int(np.argmax(np.where(free, worth, -np.inf)))
            free[row] = False
            key = computation(space.architecture(group.choices[row]), space.settings(group.choices[row]))
            if key not in computed and space.allows(group.choices[row]):
                computed.add(key)
                return row, parts
            if key in self._computed:
                self._repeats.add(identity(group.choices[row]))
        return None, parts

    def _worth(
        self, number: int, group: Group, seen: Seen, free: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[Part]]:
        """[m] how much each candidate is wanted next, ties at random, and the beliefs that say so."""
        if not self._expectation.tasks and number < RANDOM_START:
            return self._start(group, number), []
        if not len(seen.z):
            return self._favour(group), []
        observed = self._observations(seen)
        parts = posterior(self._expectation.beliefs, observed)
        contrast = self._contrast(group, seen)
        if (contrast & free).any():
            return contrast * generator(self._problem, UNTESTED).random(len(group)), parts  # the same while under way
        worth = improvement(parts, observed, self._pool.seen_from(group, seen.group), free)
        return worth + 1e-12 * worth.max() * rng.random(len(worth)), parts

    def _believed(self, one: Group, seen: Seen, parts: Sequence[Part]) -> float:
        """What is expected of a candidate under way (kriging believer, Ginsbourger et al. 2010)."""
        at = one.seen_from(seen.group, self.prior)
        observed = self._observations(seen)
        return float(sum(part.weight * part.mean(at, observed)[0][0] for part in parts))

    def _start(self, group: Group, number: int) -> np.ndarray:
        """The default, then random choices, those of a number the same whenever they are asked for."""
        worth, drawn = np.zeros(len(group)), len(self._pool.fixed)
        worth[:drawn] = generator(self._problem, number).random(drawn)
        if number == 0:
            default = identity(self._problem.space.default())
            worth[[identity(choices) == default for choices in group.choices]] = 2.0
        return worth

    def _contrast(self, group: Group, seen: Seen) -> np.ndarray:
        """[m] which candidates would tell whether history is right; none where its word has been tested already.

        While all that was trained is of the half that history prefers, equally good and equally bad look alike: one of
        the other half, drawn at random, is what history that is right survives and history that misleads does not.
        """
        known = self._expectation.same  # history of these very rows needs no test
        if not self._expectation.tasks or known or len(self._seen.z) < UNTESTED:
            return np.zeros(len(group), dtype=bool)
        foretold = self._foretold(group)
        fixed = np.arange(len(group)) < len(self._pool.fixed)  # the same whatever else has been trained by now
        middle = float(np.median(foretold[fixed]))
        untested = bool((self._foretold(seen.group) >= middle).all())
        return fixed & (foretold < middle) & untested

    def _foretold(self, group: Group) -> np.ndarray:
        """What history expects of candidates [m], before any is trained."""
        trusting = [belief for belief in self._expectation.beliefs if belief.trust > 0]
        return np.zeros(len(group)) + sum(b.mass * b.trust * group.means[b.mean] for b in trusting)

    def _favour(self, group: Group) -> np.ndarray:
        """What history expects; earlier winners on this very dataset or its kin come first, the latest before all."""
        worth = self._foretold(group)
        space, lessons = self._problem.space, self.prior.lessons
        for latest, i in enumerate(self._expectation.same, 1):
            winner = identity(space.adapt(lessons[i].winners[0]))
            worth[[identity(choices) == winner for choices in group.choices]] += 1e6 * latest
        return worth


def _row(group: Group, row: int) -> Group:
    some = slice(row, row + 1)
    return Group([group.choices[row]], group.X[some], group.means[:, some], group.D[:, some])


def _scores(told: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Squashed scores [n] and their noise variances [n], evaluations of one metric, rows and splits among themselves.

    What was evaluated otherwise than most says something too, with more noise, as does what was stopped early.
    """
    z, v = np.full(len(told), -1.0), np.zeros(len(told))
    kinds: dict[object, list[int]] = {}
    for i, record in enumerate(told):
        kinds.setdefault((record.metric, record.fidelity.rows, record.fidelity.splits), []).append(i)
    for place, rows in enumerate(sorted(kinds.values(), key=len, reverse=True)):
        scores, doubt = at_full_length([told[i] for i in rows])
        known = [score for score in scores if score is not None]
        if known:
            z[rows], slope = squash(np.array([min(known) if score is None else score for score in scores]))
            errors = np.array([told[i].outcome.standard_error or 0.0 for i in rows])
            v[rows] = (slope * errors) ** 2 + slope**2 * np.where(np.isinf(doubt), 0.0, doubt)
        v[rows] += SHALLOW * ((place > 0) | np.isinf(doubt))
    return z, v


if TYPE_CHECKING:
    _: type[Controller] = MetaController
