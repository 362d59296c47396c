"""Partitions of rows: shuffled, stratified by class, by whole groups, or by time.

Here belongs only which rows go where, from codes and a generator; what the rows hold belongs to ``nas.dataset.value``.
Symbols: n rows, k classes, g groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.errors import DataError

ATTEMPTS = 20
"""Orders of groups that are tried; the one that keeps most classes on both sides is taken."""


@dataclass(frozen=True, eq=False)
class Split:
    """Two disjoint sets of row numbers (int64), each in random order: a prefix is a sample.

    Together they are all rows, in a split by time those up to some moment.
    """

    train: np.ndarray
    validation: np.ndarray


def split(
    n: int, fraction: float, rng: np.random.Generator, codes: np.ndarray | None = None, groups: np.ndarray | None = None
) -> Split:
    """Returns a split whose validation part holds about ``fraction`` of ``n`` rows, at least one.

    Args:
        n: rows, at least two.
        fraction: between 0 and 1, both excluded.
        rng: source of the shuffle.
        codes: ``[n]`` class codes; every class of m >= 2 rows then has between 1 and m - 1 of them in validation, as
            near ``fraction * m`` as rounding allows, and a class of one row is in train. None: no stratification.
        groups: ``[n]`` group codes; no group is then on both sides, and classes are kept on both sides where the
            groups allow.

    Raises:
        DataError: fraction outside (0, 1), fewer than two rows or groups, or no class with two rows.
    """
    if not 0.0 < fraction < 1.0:
        raise DataError(f"0 < fraction < 1 must hold for a split, but got {fraction}; a usual value is 0.25.")
    if n < 2:
        raise DataError(f"a split needs at least two rows, but got {n}; give more rows.")
    if groups is not None:
        chosen = _grouped(fraction, rng, codes, groups)
    elif codes is not None:
        chosen = _stratified(fraction, rng, codes)
    else:
        chosen = np.zeros(n, dtype=bool)
        chosen[rng.permutation(n)[: min(max(round(n * fraction), 1), n - 1)]] = True
    return Split(rng.permutation(np.flatnonzero(~chosen)), rng.permutation(np.flatnonzero(chosen)))


def split_by_time(time: np.ndarray, fraction: float, rng: np.random.Generator, share: float = 1.0) -> Split:
    """Returns a split whose validation rows are all later than its training rows.

    Args:
        time: ``[n]`` codes in the order of time; rows of one moment stay on one side.
        fraction: between 0 and 1, both excluded: about so many of the rows looked at are in validation.
        rng: source of the order inside each part.
        share: about this share of the rows, the earliest, are looked at; the later ones are on neither side.

    Raises:
        DataError: fraction outside (0, 1), or all rows are of one moment.
    """
    if not 0.0 < fraction < 1.0:
        raise DataError(f"0 < fraction < 1 must hold for a split, but got {fraction}; a usual value is 0.25.")
    moments, counts = np.unique(time, return_counts=True)
    if len(moments) < 2:
        raise DataError("a split by time needs at least two moments, but all rows have one; leave time= out.")
    until = np.cumsum(counts)
    end = max(int(np.argmin(np.abs(until - share * len(time)))), 1)
    cut = int(np.argmin(np.abs(until[end] - until[:end] - fraction * until[end])))
    train, validation = time <= moments[cut], (time > moments[cut]) & (time <= moments[end])
    return Split(rng.permutation(np.flatnonzero(train)), rng.permutation(np.flatnonzero(validation)))


def _stratified(fraction: float, rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """Returns the mask of validation rows; quotas of classes by largest remainders, ties by chance."""
    counts = np.bincount(codes)
    if counts.max() < 2:
        raise DataError(f"a stratified split needs a class with two rows, but all {len(codes)} rows differ in class.")
    exact = counts * fraction
    most = np.maximum(counts - 1, 0)
    quota = np.clip(np.floor(exact).astype(np.int64), np.minimum(most, 1), most)
    wanting = np.where(quota < most, exact - quota, -np.inf)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-wanting[order], kind="stable")]
    missing = max(round(len(codes) * fraction) - int(quota.sum()), 0)
    quota[[c for c in order[:missing] if wanting[c] > 0.0]] += 1
    shuffled = rng.permutation(len(codes))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    place = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.zeros(len(codes), dtype=bool)
    chosen[by_class[place < quota[codes[by_class]]]] = True
    return chosen


def _grouped(fraction: float, rng: np.random.Generator, codes: np.ndarray | None, groups: np.ndarray) -> np.ndarray:
    """Returns the mask of validation rows made of whole groups, the best of ``ATTEMPTS`` random orders."""
    _, groups = np.unique(groups, return_inverse=True)
    sizes = np.bincount(groups)
    if len(sizes) < 2:
        raise DataError("a split by groups needs at least two groups, but all rows are in one; leave groups= out.")
    total = np.bincount(codes) if codes is not None else np.zeros(1, dtype=np.int64)
    best, best_loss = np.zeros(len(groups), dtype=bool), (np.inf, np.inf)
    for _ in range(ATTEMPTS):
        order = rng.permutation(len(sizes))
        rows = np.cumsum(sizes[order])
        take = min(int(np.argmin(np.abs(rows - fraction * len(groups)))) + 1, len(sizes) - 1)
        picked = np.zeros(len(sizes), dtype=bool)
        picked[order[:take]] = True
        mask = picked[groups]
        here = np.bincount(codes[mask], minlength=len(total)) if codes is not None else total
        lacking = float(((total > 1) & ((here == 0) | (here == total))).sum()) if codes is not None else 0.0
        uneven = float(np.abs(here - fraction * total).sum()) + abs(float(mask.sum()) - fraction * len(groups))
        if (lacking, uneven) < best_loss:
            best, best_loss = mask, (lacking, uneven)
    return best
