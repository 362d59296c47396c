"""The default controller: history proposes, the trainings of this search decide how far it is believed.

1. ``Prior`` (nas/controllers/prior.py): what past datasets expect of every candidate. Evaluation 1 is its favourite, or
   the earlier winner where this very dataset has been searched before.
2. From then on Gaussian processes on what the prior leaves unexplained, one per way of believing it (``BELIEFS``: fully
   with small or large deviations, half, not at all), weighed by prior mass x marginal likelihood; expected improvement
   is averaged with those weights. A misleading history loses its weight within a few trainings.
3. Evaluation 3 looks where nothing has been seen, whatever history says (``INSURANCE``): without it a consistently
   negated history confirms itself (controller study, H2).

Without history: the space's default, four random choices, then the scratch model alone.

Symbols: n told, m candidates; z [n] squashed scores; p(x) the prior's expectation of candidate x;
    z = c (b p(x) + f(x) + e),   f ~ GP(0, 1 + r k(D / length)),   e ~ N(0, noise)
so c is the scale of the scores in units of ``squash``, and 1 the variance of what all candidates have in common.
No model belongs here (nas/surrogate.py), nor what history says (prior.py), nor how choices become arrays
(candidates.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.base import Explanation, Problem, fresh, generator, identity
from nas.controllers.candidates import Candidates, Encoder, computation, drawn
from nas.controllers.prior import FEWEST_DATASETS, Lesson, Prior, lessons
from nas.surrogate import GaussianProcess, Parameters, distances, expected_improvement

if TYPE_CHECKING:
    from nas.controllers.base import Controller, Identity
    from nas.record import Record
    from nas.space import Choices

FROM_HISTORY = 200  # candidates from past datasets, their best
INSURANCE = 2  # records told before the choice that ignores history
RANDOM_START = 5  # evaluations without a model where there is no history, the default among them
HEAVIEST, FAINTEST = 10, 0.03  # hypotheses that vote: at most, and with at least this part of the heaviest's weight

BELIEFS = ((1.0, 0.15, 0.3), (1.0, 0.5, 0.3), (0.5, 0.5, 0.3), (0.0, 1.0, 0.1))  # b, r, prior mass
LENGTHS = (0.5, 1.0, 2.0)  # in mean distances between candidates
NOISES = ((0.03, 0.1), (0.2, 1.0))  # variance, share of the squared standard errors: rows common to all make no noise
SCALES = (0.35, 0.6, 1.0, 1.7, 3.0)  # c, log-normal around 1


def squash(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores y [n] in units of their upper half, and the slope dz/dy [n] at each.

    The median becomes 0, the unit is the root mean square above it, and u < -1 becomes -1 - ln(-u), so that failures do
    not hide the differences between good candidates (controller study, H2).
    """
    centred = y - np.median(y)
    above = centred[centred > 0]
    unit = float(np.sqrt(np.mean(above**2))) if len(above) else float(np.std(y))
    u = centred / (unit or 1.0)
    low = np.minimum(u, -1.0)
    return np.where(u < -1.0, -1.0 - np.log(-low), u), np.where(u < -1.0, -1.0 / low, 1.0) / (unit or 1.0)


@dataclass(frozen=True)
class Observations:
    """n candidates with squashed scores ``z`` [n] and noise variances ``v`` [n]."""

    at: Candidates
    z: np.ndarray
    v: np.ndarray

    def plus(self, candidate: Candidates, value: float) -> Observations:
        """Returns these and one more, without noise."""
        return Observations(self.at + candidate, np.append(self.z, value), np.append(self.v, 0.0))


@dataclass(frozen=True)
class Hypothesis:
    """One way of believing the prior, given the observations; ``weight`` is its posterior probability."""

    b: float
    c: float
    process: GaussianProcess
    weight: float
    seen: Observations

    def predict(self, prior: np.ndarray, D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and deviation [m] of squashed scores where ``prior`` [m] is expected, D [n, m] away."""
        trend = self.c * self.b
        mean, deviation = self.process.predict(self.seen.z - trend * self.seen.at.prior, D)
        return trend * prior + mean, deviation


def hypotheses(seen: Observations, with_prior: bool) -> list[Hypothesis]:
    """Returns every belief x length x noise x scale, heaviest first; the weights sum to 1."""
    beliefs = [belief for belief in BELIEFS if with_prior or belief[0] == 0.0]
    D = distances(seen.at.X, seen.at.X)
    found = []
    for r, length, (noise, share), c in product(sorted({r for _, r, _ in beliefs}), LENGTHS, NOISES, SCALES):
        process = GaussianProcess(D, share * seen.v, Parameters(length, c**2 * r, c**2, c**2 * noise))
        for b, _, mass in (belief for belief in beliefs if belief[1] == r):
            evidence = float(process.log_evidence(seen.z - c * b * seen.at.prior))
            found.append((np.log(mass) - 0.5 * (np.log(c) / 0.8) ** 2 + evidence, b, c, process))
    logs = np.array([log for log, *_ in found])
    weights = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    order = np.argsort(-weights, kind="stable")
    return [Hypothesis(b, c, process, float(weights[i]), seen) for i in order for _, b, c, process in [found[i]]]


class MetaController:
    """Starts from history, continues with a surrogate that history informs; see the module.

    Args:
        problem: What is known before the first training.
        pool: Candidates drawn once, beside those from history; later the best get neighbours, so that few suffice.
    """

    def __init__(self, problem: Problem, pool: int = 500) -> None:
        self._problem = problem
        self._size = pool
        self._told: list[tuple[Choices, float | None, float]] = []  # choices, score, standard error
        self._seen: set[Identity] = set()

    def ask(self, count: int = 1) -> list[Choices]:
        rng = generator(self._problem, len(self._told))
        candidates, observed, seen = self._candidates(rng), self._observations(), set(self._seen)
        asked: list[Choices] = []
        for number in range(len(self._told), len(self._told) + count):
            free = candidates.but(seen)
            if len(free):
                chosen, believed = self._choose(number, observed, free, rng)
                observed = observed.plus(chosen, believed)
                seen.add(chosen.keys[0])
                asked.append(dict(chosen.choices[0]))
            else:
                asked.append(fresh(self._problem.space, seen, rng))
            seen.add(identity(asked[-1]))
        return asked

    def tell(self, records: Sequence[Record]) -> None:
        for record in records:
            self._told.append((dict(record.choices), record.score, record.outcome.standard_error or 0.0))
            self._seen.add(identity(record.choices))
            self._seen.add(computation(record.architecture, record.settings))

    def explain(self) -> Explanation:
        """Returns the shares of past datasets and of this search in what is predicted.

        ``own`` is one minus the posterior mean of b: the part of the prior that is not believed and left to this
        search's trainings. The rest is divided as the records of each dataset entered, leaf by leaf, the prior's
        expectation of its ten favourite candidates.
        """
        past, ignored = self._lessons
        if self._prior is None:
            return Explanation(own=1.0, ignored=ignored, notes=("no history speaks: this search learns alone",))
        favourites = np.argsort(-self._pool.prior, kind="stable")[:10]
        shares = self._prior.weights([self._encoder.features(self._pool.choices[i]) for i in favourites])
        believed = sum(h.weight * h.b for h in hypotheses(self._observations(), True))
        weights = {name: believed * share for name, share in sorted(shares.items(), key=lambda item: -item[1])}
        notes = [f"history: {sum(len(lesson.records) for lesson in past)} trainings on {len(past)} datasets"]
        if not self._prior.uses_metafeatures:
            notes.append(f"what a dataset is like is taken into account from {FEWEST_DATASETS} past datasets on")
        if any(lesson.same for lesson in past):
            notes.append("this very dataset has been searched before")
        if believed < 0.1:
            notes.append("history is hardly believed: the trainings of this search say otherwise")
        return Explanation(weights, 1.0 - believed, ignored, tuple(notes))

    # ---- what is known, computed when first asked for ----------------------------------------------------------------

    @cached_property
    def _lessons(self) -> tuple[list[Lesson], dict[str, str]]:
        return lessons(self._problem)

    @cached_property
    def _prior(self) -> Prior | None:
        past, _ = self._lessons
        return Prior(past, self._problem.metafeatures, self._problem.seed) if past else None

    @cached_property
    def _drawn(self) -> list[Choices]:
        rng = np.random.default_rng([self._problem.seed, 0, 0])
        return list(drawn(self._problem.space, self._lessons[0], rng, self._size, FROM_HISTORY))

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self._problem.space, self._prior, self._drawn)

    @cached_property
    def _pool(self) -> Candidates:
        """What was drawn, and ten neighbours of each of the prior's ten favourites."""
        pool = self._encoder.distinct(self._drawn)
        if self._prior is None:
            return pool
        rng = np.random.default_rng([self._problem.seed, 0, 1])
        favourites = np.argsort(-pool.prior, kind="stable")[:10]
        near = [self._problem.space.mutate(pool.choices[i], rng) for i in favourites for _ in range(10)]
        return pool + self._encoder.distinct(near, pool.keys)

    def _candidates(self, rng: np.random.Generator) -> Candidates:
        """The pool, and ten neighbours of each of the three best so far."""
        space = self._problem.space
        scored = [(score, choices) for choices, score, _ in self._told if score is not None and space.contains(choices)]
        best = sorted(scored, key=lambda pair: -pair[0])[:3]
        near = [space.mutate(choices, rng, edits=1 + i % 2) for _, choices in best for i in range(10)]
        return self._pool + self._encoder.distinct(near, self._pool.keys)

    def _observations(self) -> Observations:
        """What was told; a failure counts as the worst score there is."""
        told = [t for t in self._told if self._problem.space.contains(t[0])]
        at = self._encoder.encode([choices for choices, _, _ in told])
        scores = [score for _, score, _ in told if score is not None]
        if not scores:
            return Observations(at, np.full(len(told), -1.0), np.zeros(len(told)))
        z, slope = squash(np.array([min(scores) if score is None else score for _, score, _ in told]))
        return Observations(at, z, (slope * np.array([error for _, _, error in told])) ** 2)

    # ---- what is chosen ----------------------------------------------------------------------------------------------

    def _choose(
        self, number: int, observed: Observations, free: Candidates, rng: np.random.Generator
    ) -> tuple[Candidates, float]:
        """Evaluation ``number`` (from 0), and what is expected of it (a kriging believer, Ginsbourger et al. 2010)."""
        if self._prior is not None and not len(observed.z):
            chosen = free.take([self._favourite(free)])
            return chosen, float(chosen.prior[0])
        hypos = hypotheses(observed, self._prior is not None)
        hypos = [h for h in hypos[:HEAVIEST] if h.weight >= FAINTEST * hypos[0].weight]
        D = distances(observed.at.X, free.X)
        if self._prior is None and number < RANDOM_START:
            default = self._encoder.key(self._problem.space.default())
            pick = free.keys.index(default) if default in free.keys else int(rng.integers(len(free)))
        elif self._prior is not None and number == INSURANCE:
            pick = int(np.argmax(D.min(axis=0)))
        else:
            pick = int(np.argmax(_improvement(hypos, free.prior, D)))
        believed = [h.predict(free.prior[[pick]], D[:, [pick]])[0][0] for h in hypos]
        return free.take([pick]), float(np.average(believed, weights=[h.weight for h in hypos]))

    def _favourite(self, free: Candidates) -> int:
        """The earlier winner on this very dataset, else the prior's favourite."""
        adapt = self._problem.space.adapt
        winners = {identity(adapt(lesson.records[0].choices)) for lesson in self._lessons[0] if lesson.same}
        again = [i for i, choices in enumerate(free.choices) if identity(choices) in winners]
        return again[0] if again else int(np.argmax(free.prior))


def _improvement(hypos: Sequence[Hypothesis], prior: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Expected improvement [m] over the best posterior mean among the observed, averaged over the hypotheses."""
    total = np.zeros(len(prior))
    for h in hypos:
        known, _ = h.predict(h.seen.at.prior, distances(h.seen.at.X, h.seen.at.X))
        mean, deviation = h.predict(prior, D)
        total += h.weight * expected_improvement(mean, deviation, float(np.max(known)))
    return total


if TYPE_CHECKING:
    _: type[Controller] = MetaController
