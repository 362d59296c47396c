"""Whether meta-features tell which datasets are alike, asked of datasets on which much was trained.

Datasets with like meta-features want like architectures: a covariance of tasks (``nas.surrogate``), its weights learned
from past scores. Whether it foretells more than the average of all is asked of history, one family left out at a time;
where it does not, meta-features are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from nas.surrogate import Hierarchy

FEWEST_DATASETS = 20  # for meta-features to pay: they mislead below 10 and help from 20 on (tabular study)
FIT_RECORDS = 960  # for the weights of meta-features
FAR = 0.95  # a dataset less like its nearest than this share of past ones were is like none


@dataclass(frozen=True)
class Resemblance:
    """What meta-features are worth.

    Attributes:
        names: [p] meta-features.
        known: [T, p] those of the past datasets, NaN where unknown.
        used: Whether they are worth anything.
        near: Likeness k_T to its nearest that a dataset must have, or it is like none.
        gain: Mean gain of correlation with the truth over the average of all, over left-out families.
        error: Its standard error.
    """

    names: tuple[str, ...]
    known: np.ndarray
    used: bool
    near: float
    gain: float
    error: float

    def features(self, metafeatures: Mapping[str, float]) -> np.ndarray | None:
        """Returns a dataset's normal scores [p] among the past ones; None where nothing is known of it."""
        new = np.array([metafeatures.get(name, np.nan) for name in self.names], dtype=float)
        return _placed(self.known, new)[1] if np.isfinite(new).any() else None


def learn(
    metafeatures: Sequence[Mapping[str, float]], groups: Sequence[str], plain: Hierarchy
) -> tuple[Resemblance | None, Hierarchy]:
    """Returns what meta-features are worth, None with too few datasets, and the hierarchy that knows them if it is.

    Args:
        metafeatures: [T] of the past datasets.
        groups: [T] equal where two describe the same data.
        plain: Of their records, without meta-features.
    """
    names = tuple(sorted({name for each in metafeatures for name, value in each.items() if np.isfinite(value)}))
    table = np.array([[each.get(name, np.nan) for name in names] for each in metafeatures], dtype=float)
    table = table.reshape(len(metafeatures), len(names))
    varied = np.array([len(set(column[np.isfinite(column)].tolist())) > 1 for column in table.T], dtype=bool)
    names, table = tuple(n for n, kept in zip(names, varied, strict=True) if kept), table[:, varied]
    if len(set(groups)) < FEWEST_DATASETS or not names:
        return None, plain
    features, _ = _placed(table, np.full(len(names), np.nan))
    each = max(FIT_RECORDS // plain.tasks, 1)
    some = np.concatenate([np.flatnonzero(plain.owner == t)[:each] for t in range(plain.tasks)])
    smoothness = plain.smoothness.described(plain.C[some], plain.z[some], plain.owner[some], features)
    described = Hierarchy.of(plain.C, plain.z, plain.owner, plain.group, smoothness, features)
    gains, nearest = [], []
    for before, now in zip(plain.left_out(), described.left_out(), strict=True):
        z = plain.z[now.rows]
        gains.append(agreement(now.weights[0] @ now.parts, z) - agreement(before.weights[0] @ before.parts, z))
        nearest.append(described.likeness[now.task, plain.group != plain.group[now.task]].max())
    families = plain.group
    means = np.array([np.mean(np.array(gains)[families == f]) for f in np.unique(families)])
    gain, error = float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))
    used = gain > max(error, 1e-6)
    found = Resemblance(names, table, used, float(np.quantile(nearest, 1.0 - FAR)), gain, error)
    return found, described if used else plain


def agreement(expected: np.ndarray, z: np.ndarray) -> float:
    """Returns the correlation, 0 where one of the two is constant."""
    spread = expected.std() * z.std()
    return float(((expected - expected.mean()) * (z - z.mean())).mean() / spread) if spread > 0 else 0.0


def _placed(known: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Meta-features as normal scores among the known [T, p], those of a new dataset [p] between them; unknown are 0."""
    G, g = np.zeros(known.shape), np.zeros(len(new))
    for j, column in enumerate(known.T):
        values = np.sort(column[np.isfinite(column)])
        for target, value in ((G[:, j], column), (g[j : j + 1], new[j : j + 1])):
            middle = 0.5 * (np.searchsorted(values, value, "left") + np.searchsorted(values, value, "right"))
            place = ndtri(np.clip(middle / max(len(values), 1), 0.5 / (len(values) + 1), 1 - 0.5 / (len(values) + 1)))
            target[:] = np.where(np.isfinite(value), place, 0.0)
    return G, g
