"""Whether meta-features tell which datasets are alike, asked of datasets on which much was trained.

Datasets with like meta-features want like architectures: a covariance of tasks (``nas.surrogate``), its weights learned
from past scores. Whether it foretells more than the average of all is asked of history, the records of one family left
out at a time. The weights have seen them, so it must also foretell more than the same meta-features, dealt out anew
among the datasets and weighed in the same way. Where it does not, meta-features are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from nas.surrogate import Hierarchy

FEWEST_DATASETS = 20  # for meta-features to pay: they mislead below 10 and help from 20 on (tabular study)
FIT_RECORDS = 960  # for the weights of meta-features
SURE = 2.0  # standard errors that the gain must have
FAR = 0.95  # a dataset less like its nearest than this share of past ones were is like none
DESCRIBED = 0.5  # share of the weight of all meta-features that those known of a dataset must have
BEYOND = 1e3  # normal score from which on farther is no farther


@dataclass(frozen=True)
class Resemblance:
    """What meta-features are worth.

    Attributes:
        names: [p] meta-features.
        known: [T, p] those of the past datasets, NaN where unknown.
        used: Whether they are worth anything.
        near: Likeness k_task to its nearest that a dataset must have, or it is like none.
        gain: Mean gain of correlation with the truth, over left-out families: over the average of all, or over
            meta-features dealt out anew, whichever is less.
        error: Its standard error.
    """

    names: tuple[str, ...]
    known: np.ndarray
    used: bool
    near: float
    gain: float
    error: float

    def features(self, metafeatures: Mapping[str, float], weights: np.ndarray) -> np.ndarray | None:
        """Returns a dataset's normal scores [p] among the past ones; None where too little is known of it.

        Args:
            metafeatures: Of the dataset.
            weights: [p] how much each tells.
        """
        new = np.array([_number(metafeatures.get(name)) for name in self.names])
        if weights[np.isfinite(new)].sum() < DESCRIBED * weights.sum():
            return None
        return np.array([_scores(column, new[j : j + 1])[0] for j, column in enumerate(self.known.T)])


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
    features = placed(table)
    described = _described(plain, features)
    anew = np.random.default_rng(0).permutation(plain.tasks)
    true, chance, average = (_agreements(each) for each in (described, _described(plain, features[anew]), plain))
    gain, error = min(_mean(true - other, plain.group) for other in (chance, average))
    alike = np.where(plain.group[:, None] == plain.group, -np.inf, described.likeness)
    used = gain > max(SURE * error, 1e-6)
    near = float(np.quantile(alike.max(axis=1), 1.0 - FAR))
    return Resemblance(names, table, used, near, gain, error), described if used else plain


def _described(plain: Hierarchy, features: np.ndarray) -> Hierarchy:
    """The hierarchy of tasks with these features [T, p]."""
    each = max(FIT_RECORDS // plain.tasks, 1)
    some = np.concatenate([np.flatnonzero(plain.owner == t)[:each] for t in range(plain.tasks)])
    smoothness = plain.smoothness.with_features(plain.C[some], plain.z[some], plain.owner[some], features)
    return Hierarchy.of(plain.C, plain.z, plain.owner, plain.group, smoothness, features)


def _agreements(hierarchy: Hierarchy) -> np.ndarray:
    """[T] how what is expected of each task, as a new one, correlates with its scores."""
    return np.array([agreement(out.expected @ out.parts, hierarchy.z[out.rows]) for out in hierarchy.left_out])


def _mean(gains: np.ndarray, families: np.ndarray) -> tuple[float, float]:
    """Mean over families of the gains [T], and its standard error."""
    means = np.array([gains[families == f].mean() for f in np.unique(families)])
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


def agreement(expected: np.ndarray, z: np.ndarray) -> float:
    """Returns the correlation, 0 where one of the two is constant."""
    spread = expected.std() * z.std()
    return float(((expected - expected.mean()) * (z - z.mean())).mean() / spread) if spread > 0 else 0.0


def _number(value: object) -> float:
    """The number it is; NaN, which is unknown, if it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def placed(known: np.ndarray) -> np.ndarray:
    """Returns meta-features [T, p] as normal scores, feature by feature; unknown ones are 0."""
    return np.array([_scores(column, column) for column in known.T]).reshape(known.shape[::-1]).T


def _scores(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Normal scores of values [n] by their mean rank among the known [T]; unknown ones are in the middle.

    Beyond the ends they go on as steeply as they rise from end to end, so that what nobody has seen is far from all.
    """
    order = np.sort(known[np.isfinite(known)])
    if not len(order):
        return np.zeros(len(values))
    low, high = order[0], order[-1]
    ends = np.clip(values, low, high)
    found, (lowest, highest) = _ranked(order, ends), _ranked(order, order[[0, -1]])
    if low < high:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # of halves the difference is finite
            beyond = (values / 2 - ends / 2) / (high / 2 - low / 2) * (highest - lowest)
        found = np.where(values == ends, found, np.clip(found + beyond, -BEYOND, BEYOND))
    return np.where(np.isfinite(values), found, 0.0)


def _ranked(order: np.ndarray, values: np.ndarray) -> np.ndarray:
    middle = 0.5 * (np.searchsorted(order, values, "left") + np.searchsorted(order, values, "right"))
    return np.asarray(ndtri(middle / len(order)))
