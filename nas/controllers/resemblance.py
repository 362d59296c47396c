"""Which meta-features tell how alike two datasets are, learned from datasets on which much was trained.

Two datasets are alike if the same architectures are good on both: one minus the correlation of what each prefers is
explained by the differences of their meta-features, with weights >= 0 (least squares, Lawson and Hanson 1974). A new
dataset then borrows the preferences of those it is like. Whether that foretells more than the average of all is asked
of history, one family left out at a time; where it does not, nobody is borrowed from.

Symbols: T datasets, p meta-features, u reference candidates; a [T] shares of the datasets, summing to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import ndtri

from nas.surrogate import LeftOut

FEWEST_DATASETS = 20  # for meta-features to pay: they mislead below 10 and help from 20 on (tabular study)
REACHES = (0.05, 0.1, 0.2)  # of the shares, in units of one minus correlation
AMOUNTS = (0.5, 1.0, 2.0)  # of the borrowed deviation: shrunk by the hierarchy, it may deserve more than 1
PENALTY = 20.0  # on squared weights, as strong as 20 pairs of datasets
FAR = 0.95  # a dataset farther from its nearest than this share of past ones were is like none


@dataclass(frozen=True)
class Resemblance:
    """Learned likeness.

    Attributes:
        names: [p] meta-features.
        known: [T, p] those of the past datasets, NaN where unknown.
        weights: [p] of a difference of normal scores.
        reach, amount: How far likeness reaches, and how much of it is borrowed; amount 0 is off.
        far: Distance beyond which a dataset is like none.
        gain: Mean gain of correlation with the truth over the average of all, over left-out families.
        error: Its standard error.
    """

    names: tuple[str, ...]
    known: np.ndarray
    weights: np.ndarray
    reach: float
    amount: float
    far: float
    gain: float
    error: float

    def shares(self, metafeatures: Mapping[str, float]) -> tuple[np.ndarray, float]:
        """Returns a [T] for a dataset and its distance to the nearest; zeros where it is off, or the dataset is far."""
        new = np.array([metafeatures.get(name, np.nan) for name in self.names], dtype=float)
        G, g = _placed(self.known, new)
        distance = np.abs(G - g) @ self.weights
        if self.amount == 0 or not np.isfinite(new).any() or distance.min() > self.far:
            return np.zeros(len(distance)), float(distance.min())
        return _shares(distance, self.reach), float(distance.min())


def learn(
    metafeatures: Sequence[Mapping[str, float]],
    groups: Sequence[str],
    heads: np.ndarray,
    left_out: Sequence[LeftOut],
    z: np.ndarray,
) -> tuple[Resemblance | None, dict[int, np.ndarray]]:
    """Returns the likeness learned and, for every task of ``left_out``, the shares it would have had; None if too few.

    Args:
        metafeatures: [T] of the past datasets.
        groups: [T] equal where two describe the same data.
        heads: [T, u] how each past dataset deviates from the average, at reference candidates.
        left_out: Every past dataset as a new one.
        z: [N] scores of all records, which ``LeftOut.rows`` point to.
    """
    names = tuple(sorted({name for each in metafeatures for name, value in each.items() if np.isfinite(value)}))
    table = np.array([[each.get(name, np.nan) for name in names] for each in metafeatures], dtype=float)
    table = table.reshape(len(metafeatures), len(names))
    varied = np.array([len(set(column[np.isfinite(column)].tolist())) > 1 for column in table.T], dtype=bool)
    names, table = tuple(n for n, kept in zip(names, varied, strict=True) if kept), table[:, varied]
    group = np.unique(np.array(groups), return_inverse=True)[1]
    if len(set(groups)) < FEWEST_DATASETS or not names:
        return None, {}
    G, _ = _placed(table, np.full(len(names), np.nan))
    pairs = _Pairs(G, heads, group)
    distances = {}
    for each in left_out:
        distance = np.abs(G - G[each.task]) @ pairs.weights(each.task)
        distances[each.task] = np.where(group == group[each.task], np.inf, distance)
    (reach, amount), gain, error, borrowed = _chosen(left_out, z, distances, group)
    nearest = np.array([d.min() for d in distances.values()])
    helps = gain > max(error, 1e-6) and bool(pairs.weights(None).any())
    found = Resemblance(
        names,
        table,
        pairs.weights(None),
        reach,
        amount if helps else 0.0,
        float(np.quantile(nearest, FAR)),
        gain,
        error,
    )
    return found, borrowed if helps else {}


class _Pairs:
    """The least squares over pairs of datasets, from sums out of which a family can be taken."""

    def __init__(self, G: np.ndarray, heads: np.ndarray, group: np.ndarray) -> None:
        unlike = 1.0 - np.corrcoef(heads + 1e-9 * np.arange(heads.shape[1]))
        self._group = group
        T, p = G.shape
        self._A, self._b = np.zeros((T, p + 1, p + 1)), np.zeros((T, p + 1))  # sums over the pairs of each dataset
        self._own: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._rows = [np.column_stack([np.abs(G - G[t]), np.ones(T)]) for t in range(T)]
        self._unlike = unlike

    def weights(self, without: int | None) -> np.ndarray:
        """Weights [p] from all pairs of datasets of different families, none of them that of ``without``."""
        from scipy.optimize import nnls

        p = self._rows[0].shape[1]
        A, b = np.zeros((p, p)), np.zeros(p)
        for t, rows in enumerate(self._rows):
            if without is not None and self._group[t] == self._group[without]:
                continue
            used = self._group != self._group[t]
            if without is not None:
                used &= self._group != self._group[without]
            A += 0.5 * rows[used].T @ rows[used]
            b += 0.5 * rows[used].T @ self._unlike[t][used]
        A[np.diag_indices(p - 1)] += PENALTY
        L = np.linalg.cholesky(A + 1e-9 * np.trace(A) * np.eye(p))
        found, _ = nnls(L.T, np.linalg.solve(L, b))
        return found[:-1]


def _chosen(
    left_out: Sequence[LeftOut], z: np.ndarray, distances: Mapping[int, np.ndarray], group: np.ndarray
) -> tuple[tuple[float, float], float, float, dict[int, np.ndarray]]:
    """Reach and amount that correlate best with the truth, the gain over the average, its error, the shares."""
    gains: dict[tuple[float, float], np.ndarray] = {}
    for reach, amount in product(REACHES, AMOUNTS):
        each = []
        for out in left_out:
            borrowed = amount * _shares(distances[out.task], reach) @ out.heads[1:]
            each.append(agreement(out.heads[0] + borrowed, z[out.rows]) - agreement(out.heads[0], z[out.rows]))
        gains[reach, amount] = np.array(each)
    best = max(gains, key=lambda setting: float(gains[setting].mean()))
    families = group[[out.task for out in left_out]]
    means = np.array([gains[best][families == f].mean() for f in np.unique(families)])
    error = float(means.std(ddof=1) / np.sqrt(len(means)))
    return (
        best,
        float(means.mean()),
        error,
        {out.task: best[1] * _shares(distances[out.task], best[0]) for out in left_out},
    )


def agreement(expected: np.ndarray, z: np.ndarray) -> float:
    """Returns the correlation, 0 where one of the two is constant."""
    spread = expected.std() * z.std()
    return float(((expected - expected.mean()) * (z - z.mean())).mean() / spread) if spread > 0 else 0.0


def _shares(distance: np.ndarray, reach: float) -> np.ndarray:
    a = np.exp(-(distance - distance.min()) / reach)
    return a / a.sum()


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
