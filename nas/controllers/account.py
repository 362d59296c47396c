"""The account a search gives of itself: whom it listens to, how that changed, what history was worth, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.base import Explanation, Problem
from nas.controllers.beliefs import EXPECTED, FIRST
from nas.controllers.candidates import Pool
from nas.controllers.resemblance import FEWEST_DATASETS, agreement
from nas.readable import counted
from nas.surrogate import normal_scores

if TYPE_CHECKING:
    from nas.controllers.base import Told
    from nas.controllers.prior import Expectation, Prior
    from nas.record import Record
    from nas.surrogate import Part

MILESTONES = (1, 3, 5, 10, 20, 50, 100, 200)  # evaluations after which the shares are told
FAVOURITES = 10  # candidates that history expects most of, for whom the shares are computed
LITTLE = 0.1  # share below which history is hardly believed
NAMED, LOUD = 3, 2.0  # meta-features named, at most; how many times as much as most each must weigh
FEWEST_TOLD = 3  # trainings from which on it is told what history was worth


def account(
    problem: Problem, expectation: Expectation, pool: Pool, told: Told, parts: Callable[[int | None], list[Part]]
) -> Explanation:
    """Returns shares and notes.

    ``own`` is one minus the trust in history, averaged over the beliefs; of it, what trusts in the contrary is
    ``turned``. The rest is divided among past datasets as their records enter what the beliefs expect of history's ten
    favourite candidates.
    """
    prior = expectation.prior
    if not expectation.tasks:
        return Explanation(own=1.0, ignored=prior.ignored, notes=("no history speaks: this search learns alone",))
    now = parts(None)
    shares = _shares(expectation, pool, now)
    names = [lesson.name for lesson in prior.lessons]
    order = np.argsort(-shares, kind="stable")
    weights = {names[i]: float(shares[i]) for i in order}
    own = max(0.0, 1.0 - sum(weights.values()))
    notes = _about_history(prior)
    course = {n: trust(parts(n)) for n in (0, *MILESTONES) if n < len(told)} | {len(told): trust(now)}
    notes += [
        _about_likeness(problem, expectation),
        *_about_trust(course, now),
        *_about_worth(expectation, told.records),
    ]
    if expectation.same:
        what = "a dataset with many of these rows" if problem.kin else "this very dataset"
        notes.append(f"{what} has been searched before: its winner is tried first")
    return Explanation(weights, own, prior.ignored, tuple(notes), course, min(_turned(now), own))


def trust(parts: Sequence[Part]) -> float:
    """Returns how much of what history expects is believed, in [0, 1]."""
    return float(sum(part.weight * max(part.belief.trust, 0.0) for part in parts))


def _turned(parts: Sequence[Part]) -> float:
    """How much of the contrary of what history expects is believed, in [0, 1]."""
    return float(sum(part.weight * max(-part.belief.trust, 0.0) for part in parts))


def _shares(expectation: Expectation, pool: Pool, parts: Sequence[Part]) -> np.ndarray:
    """[T] the share of each lesson; sums to the trust in history."""
    T = expectation.tasks
    group, hierarchy = pool.fixed, expectation.prior.hierarchy
    assert hierarchy is not None, "who has lessons has a hierarchy of them"
    best = np.argsort(-group.means[EXPECTED], kind="stable")[:FAVOURITES]
    said = np.abs(hierarchy.parts(group.X[best])).sum(axis=1)
    together = _divided(np.abs(expectation.weights) * said)
    found = np.zeros(T)
    for part in parts:
        weight = part.weight * max(part.belief.trust, 0.0)
        if weight and part.belief.mean >= FIRST:
            found[part.belief.mean - FIRST] += weight
        elif weight:
            found += weight * together
    return found


def _about_history(prior: Prior) -> list[str]:
    """How much teaches; a dataset of which there are several lessons is one."""
    here, away = ([lesson for lesson in prior.lessons if lesson.here == of] for of in (True, False))
    notes = []
    if here:
        trainings, datasets = sum(lesson.trainings for lesson in here), len({lesson.fingerprint for lesson in here})
        notes.append(f"history: {counted(trainings, 'training')} on {counted(datasets, 'dataset')}")
    if away:
        datasets = len({lesson.fingerprint for lesson in away})
        notes.append(
            f"history of other spaces, as far as they share operations or settings: {counted(datasets, 'dataset')}"
        )
    return notes


def _divided(amounts: np.ndarray) -> np.ndarray:
    total = amounts.sum()
    return amounts / total if total > 0 else np.full(len(amounts), 1.0 / max(len(amounts), 1))


def about_likeness(prior: Prior) -> str:
    """Returns whether what a dataset is like changes what is expected of it, and why not where it does not."""
    found = prior.resemblance
    if found is None and len({lesson.group for lesson in prior.lessons}) < FEWEST_DATASETS:
        return f"what a dataset is like is taken into account from {FEWEST_DATASETS} past datasets on"
    if found is None:
        return "what a dataset is like is not used: the past datasets have no meta-features that tell them apart"
    gain = f"gain in correlation {found.gain:+.3f}, standard error {found.error:.3f}, on past datasets"
    if not prior.described:
        return (
            f"what a dataset is like is not used: it foretold no more than the average of all, or than chance ({gain})"
        )
    weights = prior.smoothness.weights
    order = np.argsort(-weights, kind="stable")
    most = LOUD * weights[order[len(order) // 2]]
    loud = [found.names[i].replace("_", " ") for i in order[:NAMED] if weights[i] >= most]
    shown = f"; it shows most in {', '.join(loud)}" if loud else ""
    return f"what a dataset is like is used ({gain}){shown}"


def _about_likeness(problem: Problem, expectation: Expectation) -> str:
    prior = expectation.prior
    if prior.resemblance is None or not prior.described or expectation.described:
        return about_likeness(prior)
    if prior.resemblance.features(problem.metafeatures, prior.smoothness.weights) is None:
        return "what a dataset is like is not used: of this one too little is known"
    return "what a dataset is like is not used: in the meta-features that tell most, this one is unlike every past one"


def _about_trust(course: Mapping[int, float], now: Sequence[Part]) -> list[str]:
    """How the share of history changed over the search."""
    *before, final = course.values()
    notes = []
    if before:
        changed = [f"{share:.0%} after {n}" for n, share in course.items() if 0 < n < max(course)]
        start = f"{before[0]:.0%} before the first training"
        notes.append(f"share of history: {', '.join([start, *changed, f'{final:.0%} now'])}")
    if final < LITTLE:
        notes.append("history is hardly believed: the trainings of this search say otherwise")
    if (turned := _turned(now)) > 0.5:
        notes.append(
            f"the trainings say the contrary of history, and {turned:.0%} of what is expected is history turned round: "
            "look whether its scores have the right sign"
        )
    return notes


def _about_worth(expectation: Expectation, records: Sequence[Record]) -> list[str]:
    """What the first choice, which was history's alone, was worth, and how far history foretold what came out."""
    scored = [r for r in records if r.score is not None]
    scores = np.array([r.score for r in scored], dtype=float)
    if len(scores) < FEWEST_TOLD or records[0].score is None or scores.min() == scores.max():
        return []
    first, best, median = (float(v) / 2 for v in (scores[0], scores.max(), np.median(scores)))  # differences are finite
    better = int((scores > scores[0]).sum())
    if not better:
        worth = f"history's first choice: the best of all {len(scores)} trainings"
    else:
        place = f"{(first - median) / (best - median):.0%} of the way from" if first >= median else "not as good as"
        rest = "their median to the best" if first >= median else "their median"
        worth = (
            f"history's first choice: {better} of {len(scores) - 1} later trainings were better; it is {place} {rest}"
        )
    means, _ = expectation.means(expectation.prior.columns.encode([r.choices for r in scored]))
    trusted = [belief for belief in expectation.beliefs if belief.trust > 0]
    expected = np.sum([b.mass * b.trust * means[b.mean] for b in trusted], axis=0)
    agree = agreement(normal_scores(expected), normal_scores(scores)) if np.ptp(expected) > 0 else 0.0
    return [
        worth,
        f"what history expected of the {len(scores)} trainings, and what came out: rank correlation {agree:+.2f}",
    ]
