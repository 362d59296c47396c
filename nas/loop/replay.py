"""What history is worth, asked of history: searches played again on what is on record, each family left out in turn.

A dataset whose family no history knows is searched among the candidates that were trained on it: warm, with what all
other families teach; in the order of their plain average; and cold. Nothing is trained, and every score is what it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.controllers import Problem
from nas.metadataset.audit import families

if TYPE_CHECKING:
    from nas.controllers import Controller
    from nas.controllers.lesson import Lesson
    from nas.controllers.prior import Prior
    from nas.record import PastDataset, Record
    from nas.space import Choices, SearchSpace

EVALUATIONS = 10  # of a search that is played again
FEWEST = 2 * EVALUATIONS  # candidates a dataset must have: where all are tried, every search ends alike
SEEDS = 5  # a cold search draws evaluations 2 to 5, a warm one what tests history and breaks ties; each time others
REDRAWN = 200  # times that scores are drawn anew within their standard errors
CLIP = 4.0  # regret at most, so that one terrible first candidate does not decide a mean
LITTLE = 0.02  # difference of mean regrets that is called none


@dataclass(frozen=True)
class Tested:
    """One dataset that history did not know.

    Regrets are (best - incumbent) / (best - median) over what was measured, after 1, 2, ... evaluations.

    Attributes:
        name, family: Of the dataset.
        candidates: How many could be chosen.
        warm: Regret with history; mean over seeds, as ``cold``, where the searches are played again.
        average: Regret of trying what is best on average of history, whatever comes out; empty where not asked.
        cold: Regret without history.
        error: Standard error of the mean of ``cold - warm`` over evaluations (``doubt``).
        described: Whether meta-features changed what was expected.
    """

    name: str
    family: str
    candidates: int
    warm: tuple[float, ...]
    average: tuple[float, ...]
    cold: tuple[float, ...]
    error: float
    described: bool

    @property
    def gain(self) -> float:
        """Mean over evaluations of what history saved in regret."""
        return float(np.mean(self.cold) - np.mean(self.warm))

    @property
    def verdict(self) -> str:
        """Whether history helped, harmed, or made no difference beyond two standard errors."""
        clear = max(2.0 * self.error, LITTLE)
        return "helped" if self.gain > clear else "harmed" if self.gain < -clear else "no difference"

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields, the gain and the verdict as a JSON-ready dict."""
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return fields | {"gain": self.gain, "verdict": self.verdict}


def held_out(past: Sequence[PastDataset], space: SearchSpace, names: Collection[str] = ()) -> list[list[int]]:
    """Returns the places in ``past`` of datasets that can be played again, those of one family together.

    Args:
        past: Of all families.
        space: In which they must have been searched.
        names: Of the datasets that are wanted; all where empty.
    """
    groups: dict[int, list[int]] = {}
    for place, family in enumerate(families([each.info for each in past])):
        if not names or past[place].info.name in names:
            groups.setdefault(family, []).append(place)
    playable = [[p for p in places if _lesson(past[p], space) is not None] for places in groups.values()]
    return [places for places in playable if places]


def replayed(past: Sequence[PastDataset], space: SearchSpace, places: Sequence[int]) -> Iterator[Tested]:
    """Yields how searches of one family's datasets go with what all other families teach, and without.

    Args:
        past: Of all families.
        space: Which is searched.
        places: Of the family's datasets to play, as ``held_out`` gives them.
    """
    from nas.controllers.stored import prior_of

    family = families([each.info for each in past])
    others = tuple(each for each, of in zip(past, family, strict=True) if of != family[places[0]])
    prior = prior_of(Problem(space, past=others))
    for place in places:
        lesson = _lesson(past[place], space)
        assert lesson is not None
        yield _played(past[place], lesson, space, prior)


def _played(past: PastDataset, lesson: Lesson, space: SearchSpace, prior: Prior) -> Tested:
    from nas.controllers.beliefs import EXPECTED
    from nas.controllers.meta import MetaController
    from nas.space import identity
    from nas.space.measured import MeasuredSpace

    measured = MeasuredSpace(space, lesson.choices)
    places = {identity(choices): row for row, choices in enumerate(lesson.choices)}
    tried = lesson.records
    scores = scores_of(tried)
    info = past.info
    problem = Problem(
        measured, metafeatures=info.metafeatures, dataset=info.fingerprint, task=info.task, kind=info.kind
    )

    def played(controller: Controller) -> list[int]:
        """Places of what was tried among what was measured."""
        found = []
        for _ in range(EVALUATIONS):
            (choices,) = controller.ask()
            found.append(places[identity(choices)])
            controller.tell([replace(tried[found[-1]], choices=choices)])
        return found

    seeds = [replace(problem, seed=seed) for seed in range(SEEDS)]
    warm = [played(MetaController(each, prior=prior)) for each in seeds]
    cold = [played(MetaController(each)) for each in seeds]
    means, _ = prior.towards({}).means(prior.columns.encode(lesson.choices))
    order = np.argsort(-means[EXPECTED], kind="stable")[:EVALUATIONS]
    return Tested(
        name=info.name,
        family=info.family or info.name,
        candidates=len(lesson.choices),
        warm=_mean_regrets(warm, scores),
        average=tuple(regrets(scores[order], scores).tolist()),
        cold=_mean_regrets(cold, scores),
        error=doubt(tried, warm, cold),
        described=prior.towards(info.metafeatures).described,
    )


def doubt(records: Sequence[Record], warm: Sequence[Sequence[int]], cold: Sequence[Sequence[int]]) -> float:
    """Returns the standard error of the mean regret of ``cold`` less that of ``warm``.

    Two causes add up. Seeds: the spread of the mean regrets of the searches of each side over the root of their number;
    of one search alone, that of its own trainings in another order, as if it had drawn them. Measurement: how the
    difference varies when every score is drawn anew within its standard error, where that is known, independent of the
    others; rows that all candidates share make this too large rather than too small.

    Args:
        records: [n] of everything that was measured.
        warm, cold: Of each search, the places in ``records`` of what it tried, in order.
    """
    scores = scores_of(records)
    rng = np.random.default_rng(0)
    variance = 0.0
    for side in (warm, cold):
        orders = side if len(side) > 1 else [rng.permutation(side[0]).tolist() for _ in range(REDRAWN)]
        variance += float(np.var([regrets(scores[order], scores).mean() for order in orders], ddof=1)) / len(side)
    known = [0.0 if r.score is None else r.outcome.standard_error or 0.0 for r in records]
    redrawn = scores + np.array(known) * rng.standard_normal((REDRAWN, len(scores)))
    gains = [np.mean(_mean_regrets(cold, drawn)) - np.mean(_mean_regrets(warm, drawn)) for drawn in redrawn]
    return float(np.sqrt(variance + np.var(gains, ddof=1)))


def _mean_regrets(found: Sequence[Sequence[int]], scores: np.ndarray) -> tuple[float, ...]:
    """Regret after each evaluation, mean over searches."""
    return tuple(np.mean([regrets(scores[list(order)], scores) for order in found], axis=0).tolist())


def _lesson(past: PastDataset, space: SearchSpace) -> Lesson | None:
    """What was trained on a dataset in this space, every choice once; None where that is too little to play."""
    from nas.controllers.lessons import lessons
    from nas.space import identity

    found, _ = lessons(Problem(space, past=(past,)))
    if not found or not found[0].here:
        return None
    lesson = found[0]
    rows = list({identity(choices): row for row, choices in reversed(list(enumerate(lesson.choices)))}.values())
    rows = [row for row in sorted(rows) if space.contains(lesson.choices[row])]
    scores = scores_of([lesson.records[row] for row in rows]) if rows else np.zeros(0)
    if len(rows) < FEWEST or scores.max() <= np.median(scores):
        return None
    choices: list[Choices] = [lesson.choices[row] for row in rows]
    return replace(
        lesson,
        choices=tuple(choices),
        scores=lesson.scores[rows],
        rows=tuple(lesson.rows[row] for row in rows),
    )


def scores_of(records: Sequence[Record], worst: float | None = None) -> np.ndarray:
    """Returns scores [n]; a failure is the worst there is."""
    known = [record.score for record in records if record.score is not None]
    least = min(known) if worst is None else worst
    return np.array([least if record.score is None else record.score for record in records])


def regrets(found: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns (best - incumbent) / (best - median) after each of ``found``, at most ``CLIP``; best of ``scores``."""
    best, median = scores.max(), np.median(scores)
    return np.minimum((best - np.maximum.accumulate(found)) / max(best - median, 1e-12), CLIP)
