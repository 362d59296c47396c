"""What history expects of an architecture before anything was trained on the new dataset.

Records of past datasets -> normal scores within each -> a forest from [meta-features, space-free encoding] to them.
Nothing here sees a result of the running search; how far the expectation is trusted is decided in
``nas/controllers/meta.py``.

Symbols: t datasets with something to say, N records of theirs, q architectures asked about, T trees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from nas.controllers.base import Problem
from nas.encoding import matrix, space_free

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

    from nas.record import PastDataset, Record

TREES = 100  # 25 trees scatter by .04 of regret at the first choice, 100 hardly
FEWEST_RECORDS = 5  # of a past dataset, to be ranked
FEWEST_DATASETS = 20  # for meta-features to pay (tabular study: they mislead below 10 and help from 20 on)
MOST_RECORDS = 6000  # of all datasets together, so that the forest grows in seconds


@dataclass(frozen=True)
class Lesson:
    """One past dataset as the prior sees it: ``records`` and their normal ``scores`` [n], best first."""

    name: str
    same: bool  # whether it is the dataset of the running search
    metafeatures: Mapping[str, float]
    records: tuple[Record, ...]
    scores: np.ndarray

    def thinned(self, most: int) -> Lesson:
        """Returns at most ``most`` records, evenly over the ranks, the best and the worst among them."""
        n = len(self.records)
        if n <= most:
            return self
        kept = np.unique(np.linspace(0, n - 1, most).round().astype(int))
        return Lesson(self.name, self.same, self.metafeatures, tuple(self.records[i] for i in kept), self.scores[kept])


def lessons(problem: Problem) -> tuple[list[Lesson], dict[str, str]]:
    """Returns the past datasets that have something to say, and of the others, by name, why they have not."""
    found: list[Lesson] = []
    ignored: dict[str, str] = {}
    names = Counter(past.info.name for past in problem.past)
    for past in problem.past:
        info = past.info
        name = info.name if names[info.name] == 1 and info.name else f"{info.name} ({info.fingerprint[:6]})"
        records = comparable([r for r in past.records if r.purpose == "screen" and r.space == problem.space.name])
        complete = {record.score for record in records if record.score is not None}
        if past.records and not any(record.space == problem.space.name for record in past.records):
            ignored[name] = "another search space"
        elif sum(record.score is not None for record in records) < FEWEST_RECORDS:
            ignored[name] = f"fewer than {FEWEST_RECORDS} trainings"
        elif len(complete) == 1:
            ignored[name] = "all trainings scored the same"
        else:
            found.append(_lesson(name, past, records, problem.dataset))
    most = max(MOST_RECORDS // max(len(found), 1), FEWEST_RECORDS)
    return [lesson.thinned(most) for lesson in found], ignored


def comparable(records: Sequence[Record]) -> list[Record]:
    """Returns those of the commonest metric and fidelity that scored or diverged; what a machine refused is not."""
    groups = Counter((r.metric, r.fidelity) for r in records if r.score is not None)
    if not groups:
        return []
    group = groups.most_common(1)[0][0]
    return [r for r in records if (r.metric, r.fidelity) == group and r.outcome.status in ("complete", "diverged")]


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Returns Phi^-1((rank - .5) / n) of ``values`` [n], ties sharing their mean rank; minus infinity is allowed."""
    from scipy.stats import rankdata

    return ndtri((rankdata(values) - 0.5) / len(values))


def _lesson(name: str, past: PastDataset, records: list[Record], dataset: str) -> Lesson:
    values = np.array([-np.inf if record.score is None else record.score for record in records])
    scores = normal_scores(values)
    order = np.argsort(-scores, kind="stable")
    same = bool(dataset) and past.info.fingerprint == dataset
    return Lesson(name, same, past.info.metafeatures, tuple(records[i] for i in order), scores[order])


class Prior:
    """Expected normal scores from at least one lesson, by extremely randomized trees (Geurts et al. 2006).

    Without bootstrap a prediction is exactly sum_i w_i z_i over records, w_i >= 0, sum_i w_i = 1, so that "how much of
    it came from which dataset" is a fact (``weights``). Meta-features need ``FEWEST_DATASETS`` of them; with fewer
    the forest averages over history, by structure. Where the very dataset is among the lessons, a forest of its own,
    which reproduces its n records, is mixed in with n / (n + 10) of the weight.
    """

    def __init__(self, lessons: Sequence[Lesson], metafeatures: Mapping[str, float], seed: int) -> None:
        self.lessons = tuple(lessons)
        self.uses_metafeatures = len(lessons) >= FEWEST_DATASETS and bool(metafeatures)
        rows = [space_free(record.architecture, record.settings) for lesson in lessons for record in lesson.records]
        self._z = np.concatenate([lesson.scores for lesson in lessons])  # [N]
        self._owner = np.repeat(np.arange(len(lessons)), [len(lesson.records) for lesson in lessons])  # [N]
        X, self._columns = matrix(rows)
        past, self._metafeatures = self._describe(metafeatures)
        self._parts: list[tuple[float, ExtraTreesRegressor, np.ndarray]] = []  # share, forest, rows it knows
        same = np.array([lesson.same for lesson in lessons])[self._owner]
        share = 1.0 if same.all() else same.sum() / (same.sum() + 10.0)
        self._past = past[self._owner]
        for part, known, leaf in ((share, same, 1), (1.0 - share, ~same, 3)):
            if part > 0:
                forest = self._grow(X[known], self._past[known], self._z[known], seed, leaf)
                self._parts.append((part, forest, np.flatnonzero(known)))
        self._leaves = [forest.apply(np.hstack([self._past[i], X[i]])) for _, forest, i in self._parts]  # [N, T] each

    def predict(self, rows: Sequence[Mapping[str, float]]) -> np.ndarray:
        """Returns the expected normal scores [q] of space-free encodings."""
        X = self._inputs(rows)
        expected = np.zeros(len(X))
        for part, forest, _ in self._parts:  # forest.predict, without its 30 ms of setting out to work in parallel
            expected += part / TREES * sum(tree.tree_.predict(X)[:, 0] for tree in forest.estimators_)
        return expected

    def record_weights(self, rows: Sequence[Mapping[str, float]]) -> np.ndarray:
        """Returns w [q, N], rows summing to 1, with ``predict = w @ scores``: who shares a leaf, over the trees."""
        X = self._inputs(rows)
        w = np.zeros((len(X), len(self._z)))
        for (part, forest, known), leaves in zip(self._parts, self._leaves, strict=True):
            for tree, asked in enumerate(forest.apply(X).T):
                together = asked[:, None] == leaves[None, :, tree]
                w[:, known] += part / leaves.shape[1] * together / together.sum(axis=1, keepdims=True)
        return w

    def weights(self, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Returns the share of each dataset's records in the mean prediction of ``rows``; sums to 1."""
        w = self.record_weights(rows).mean(axis=0)
        shares = np.bincount(self._owner, weights=w, minlength=len(self.lessons))
        return {lesson.name: float(share) for lesson, share in zip(self.lessons, shares, strict=True)}

    def _grow(self, X: np.ndarray, past: np.ndarray, z: np.ndarray, seed: int, leaf: int) -> ExtraTreesRegressor:
        from sklearn.ensemble import ExtraTreesRegressor

        forest = ExtraTreesRegressor(
            TREES, min_samples_leaf=leaf, max_features=0.5, bootstrap=False, n_jobs=1, random_state=seed % 2**32
        )
        return forest.fit(np.hstack([past, X]), z)

    def _describe(self, metafeatures: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the meta-features [t, m] of the lessons and [m] of the new dataset; unknown ones are the median."""
        names = sorted(metafeatures) if self.uses_metafeatures else []
        table = np.array([[lesson.metafeatures.get(name, np.nan) for name in names] for lesson in self.lessons])
        table = table.reshape(len(self.lessons), len(names))
        known = np.isfinite(table).any(axis=0)
        names, table = [name for name, kept in zip(names, known, strict=True) if kept], table[:, known]
        medians = np.nanmedian(table, axis=0) if names else np.zeros(0)
        new = np.array([metafeatures[name] for name in names], dtype=float)
        return np.where(np.isfinite(table), table, medians), np.where(np.isfinite(new), new, medians)

    def _inputs(self, rows: Sequence[Mapping[str, float]]) -> np.ndarray:
        X, _ = matrix(rows, self._columns)
        return np.hstack([np.tile(self._metafeatures, (len(X), 1)), X]).astype(np.float32)
