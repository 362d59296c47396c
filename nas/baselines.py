"""What needs no search: a linear model and boosted trees from scikit-learn, on splits that are given.

Here belongs training, timing and sizing these two; comparing them with a network belongs to whoever has both.
scikit-learn is imported inside functions.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.dataset.images import pool
from nas.dataset.series import windows
from nas.errors import DataError, nearest
from nas.metrics import metrics

if TYPE_CHECKING:
    from nas.dataset import Dataset, Split

NAMES = ("linear", "boosted_trees")
MAX_ROWS = 10_000
"""Training rows used at most, drawn at random."""
PIXELS = 16
"""Images are averaged to at most this many pixels a side (half of it for trees with very many classes)."""
STEPS = 512
"""Series are averaged to so many windows in all channels together, at least 8 in each (an eighth for such trees)."""
LINEAR_WORK = 1.5e10
"""Bound on iterations * rows * columns * classes of the logistic regression, some 15 s on one core."""
TREE_SECONDS = 10.0
"""Bound on the estimated time of the trees on one core, kept by fewer iterations with a higher learning rate."""
_ITERATIONS = {"linear": 200, "boosted_trees": 100}


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """One baseline on every split.

    Attributes:
        name: "linear" or "boosted_trees".
        predictions: for each split ``[m, classes]`` probabilities or ``[m]`` values of its validation rows, in order.
        metrics: every standard metric, averaged over the splits.
        milliseconds_per_row: median time to predict one row alone, from raw inputs, after the last split.
        size_bytes: bytes of all arrays in the fitted model of the last split (an estimate of a file without overhead).
        note: what was reduced to stay quick, empty if nothing.
    """

    name: str
    predictions: list[np.ndarray]
    metrics: dict[str, float]
    milliseconds_per_row: float
    size_bytes: int
    note: str = ""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A model with its columns: ``predict(raw inputs)``, and what it holds."""

    predict: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    holds: Any
    note: str = ""


def evaluate(name: str, dataset: Dataset, splits: Sequence[Split]) -> BaselineResult:
    """Returns the baseline trained on the training rows of every split and measured on its validation rows.

    ``linear``: logistic regression (C = 1) or ridge (alpha = 1) on standardised numbers (missing = median) and one-hot
    categories. ``boosted_trees``: histogram gradient boosting with its defaults (above two classes with an L2 penalty
    of 1, and leaves of 5 rows where a class has fewer than 100; leaves of a twentieth of the rows, at least 2, where
    that is fewer), categories of up to 255 levels native. Rows count by their weights where the dataset has them.
    At most ``MAX_ROWS`` rows and some 20 s a split on one core; the note says what was cut.

    Raises:
        DataError: an unknown name, or no splits.
    """
    if name not in NAMES:
        raise DataError(f"a baseline must be one of {', '.join(NAMES)}, but got {name!r};{nearest(name, NAMES)}")
    if not splits:
        raise DataError("a baseline needs at least one split, but got none; see Dataset.splits.")
    predictions, measured = [], []
    for split in splits:
        rows = np.random.default_rng(0).permutation(split.train)[:MAX_ROWS]
        fitted = _fit(name, dataset.subset(rows))
        predicted = fitted.predict(_take(dataset, split.validation))
        truth, scale = dataset.y[split.validation], dataset.moments(split.train)[1]
        weights = None if dataset.weights is None else dataset.weights[split.validation]
        predictions.append(predicted)
        measured.append(metrics(dataset.task, predicted, truth, scale, weights))
    rows_note = f"trained on {MAX_ROWS:,} rows" if max(len(split.train) for split in splits) > MAX_ROWS else ""
    return BaselineResult(
        name=name,
        predictions=predictions,
        metrics={key: float(np.mean([values[key] for values in measured])) for key in measured[0]},
        milliseconds_per_row=_milliseconds(fitted, _take(dataset, splits[-1].validation[:1])),
        size_bytes=_array_bytes(fitted.holds),
        note="; ".join(part for part in (rows_note, fitted.note) if part),
    )


def _fit(name: str, data: Dataset) -> _Fitted:
    present = np.unique(data.y)
    if data.task == "classification" and len(present) == 1:
        certain = np.eye(data.outputs)[present[0]]
        return _Fitted(lambda raw: np.tile(certain, (len(next(iter(raw.values()))), 1)), certain, "one class to learn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model cut short is meant to be
        return _linear(data) if name == "linear" else _trees(data)


def _linear(data: Dataset) -> _Fitted:
    from sklearn.linear_model import LogisticRegression, Ridge

    columns = _Standardised.fit(data)
    X = columns.of(data.inputs)
    if data.task == "regression":
        model = Ridge(solver="lsqr" if min(X.shape) > 2000 else "auto")
        model.fit(X, data.y.astype(np.float64), sample_weight=_relative(data.weights))
        return _Fitted(lambda raw: model.predict(columns.of(raw)), (model, columns))
    most = _ITERATIONS["linear"]
    iterations = int(np.clip(LINEAR_WORK / (X.size * data.outputs), 10, most))
    rows = int(min(len(X), max(LINEAR_WORK / (iterations * X.shape[1] * data.outputs), 1000)))
    logistic = LogisticRegression(max_iter=iterations)
    weights = _relative(data.weights)
    logistic.fit(X[:rows], data.y[:rows], sample_weight=None if weights is None else weights[:rows])
    note = f"{iterations} of {most} iterations" if iterations < most else ""
    return _Fitted(lambda raw: _spread(logistic, columns.of(raw), data.outputs), (logistic, columns), note)


def _trees(data: Dataset) -> _Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    most, many = _ITERATIONS["boosted_trees"], data.outputs if data.outputs > 2 else 1
    columns = _Mixed.fit(data, PIXELS)
    notes = []
    if data.kind != "tabular" and 20 * many * _tree_seconds(len(data), columns.width) > TREE_SECONDS:
        columns = _Mixed.fit(data, PIXELS // 2)
        notes.append(f"images of {PIXELS // 2} pixels a side" if data.kind == "image" else "series of fewer steps")
    X = columns.of(data.inputs)
    iterations = int(np.clip(TREE_SECONDS / (many * _tree_seconds(*X.shape)), 3, most))
    settings: dict[str, Any] = {
        "max_iter": iterations,
        "learning_rate": float(min(0.1 * np.sqrt(most / iterations), 0.4)),
        "categorical_features": columns.categorical,
        "early_stopping": False,
        "random_state": 0,
    }
    leaf = min(20, max(2, len(X) // 20))  # of 40 rows, leaves of 20 leave no split
    settings["min_samples_leaf"] = leaf
    if many > 1:  # with rare classes the defaults diverge (kddcup99: accuracy .25, with the penalty .997)
        rarest = np.unique(data.y, return_counts=True)[1].min()
        settings |= {"l2_regularization": 1.0, "min_samples_leaf": min(leaf, 20 if rarest >= 100 else 5)}
    if iterations < most:
        notes.append(f"{iterations} of {most} iterations")
    weights = _relative(data.weights)
    if data.task == "regression":
        model = HistGradientBoostingRegressor(**settings)
        model.fit(X, data.y.astype(np.float64), sample_weight=weights)
        return _Fitted(lambda raw: model.predict(columns.of(raw)), model, ", ".join(notes))
    forest = HistGradientBoostingClassifier(**settings).fit(X, data.y, sample_weight=weights)
    return _Fitted(lambda raw: _spread(forest, columns.of(raw), data.outputs), forest, ", ".join(notes))


def _tree_seconds(rows: int, columns: int) -> float:
    """Returns the time one tree of 31 leaves takes on one core: about 20 ns a cell, 25 us a column, 1 ms."""
    return columns * (20e-9 * rows + 25e-6) + 1e-3


@dataclass(frozen=True, eq=False)
class _Standardised:
    """Columns of the linear model: numbers with median for missing, mean 0, deviation 1; indicators of levels."""

    median: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    sizes: tuple[int, ...]

    @classmethod
    def fit(cls, data: Dataset) -> _Standardised:
        X = _numbers(data.inputs, PIXELS)
        median = np.array([np.median(known) if len(known) else 0.0 for known in (x[~np.isnan(x)] for x in X.T)])
        filled = np.where(np.isnan(X), median, X)
        mean, spread = filled.mean(axis=0), filled.std(axis=0)
        spread = np.where(spread > 1e-12 * np.abs(mean), spread, np.inf)
        return cls(median, mean, spread, tuple(len(level) for level in data.levels))

    def of(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float64 ``[n, columns]``, numbers within +-100 deviations."""
        X = _numbers(raw, PIXELS)
        parts = [np.clip((np.where(np.isnan(X), self.median, X) - self.mean) / self.spread, -100.0, 100.0)]
        if "categorical" in raw:
            parts += [
                column[:, None] == np.arange(size)
                for column, size in zip(raw["categorical"].T, self.sizes, strict=True)
            ]
        return np.concatenate(parts, axis=1, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Mixed:
    """Columns of the trees: numbers and codes side by side, missing as NaN; those empty in training left out."""

    side: int
    used: np.ndarray
    categorical: np.ndarray

    @classmethod
    def fit(cls, data: Dataset, side: int) -> _Mixed:
        X = _codes_and_numbers(data.inputs, side)
        used = ~np.isnan(X).all(axis=0)
        native = np.zeros(X.shape[1], dtype=bool)
        native[X.shape[1] - len(data.levels) :] = [len(level) <= 255 for level in data.levels]
        return cls(side, used, native[used] if used.any() else np.zeros(1, dtype=bool))

    @property
    def width(self) -> int:
        """Number of columns, at least one."""
        return max(int(self.used.sum()), 1)

    def of(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float64 ``[n, width]`` with NaN."""
        X = _codes_and_numbers(raw, self.side)[:, self.used]
        return X if X.shape[1] else np.zeros((len(X), 1))


def _numbers(raw: Mapping[str, np.ndarray], side: int) -> np.ndarray:
    if "image" in raw:
        return pool(raw["image"], side).astype(np.float64)
    if "series" in raw:
        steps = STEPS if side == PIXELS else STEPS // 8
        return windows(raw["series"], max(8, steps // raw["series"].shape[1]))
    rows = len(next(iter(raw.values())))
    return raw.get("numeric", np.zeros((rows, 0))).astype(np.float64)


def _codes_and_numbers(raw: Mapping[str, np.ndarray], side: int) -> np.ndarray:
    X = _numbers(raw, side)
    if "categorical" not in raw:
        return X
    codes = raw["categorical"].astype(np.float64)
    return np.concatenate([X, np.where(codes < 0, np.nan, codes)], axis=1)


def _spread(model: Any, X: np.ndarray, outputs: int) -> np.ndarray:
    """Returns probabilities ``[n, outputs]``, 0 for classes the model has not seen."""
    out = np.zeros((len(X), outputs))
    out[:, model.classes_] = model.predict_proba(X)
    return out


def _take(data: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {key: array[rows] for key, array in data.inputs.items()}


def _relative(weights: np.ndarray | None) -> np.ndarray | None:
    """Returns weights of mean 1, so that penalties mean the same whatever their unit."""
    return None if weights is None else weights / weights.mean()


def _milliseconds(fitted: _Fitted, row: Mapping[str, np.ndarray], repeats: int = 20) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        fitted.predict(row)
        times.append(time.perf_counter() - started)
    return 1000.0 * float(np.median(times))


def _array_bytes(holder: Any, seen: set[int] | None = None) -> int:
    """Returns the bytes of every array reachable through attributes and containers, each counted once."""
    seen = set() if seen is None else seen
    if id(holder) in seen:
        return 0
    seen.add(id(holder))
    if isinstance(holder, np.ndarray) and holder.dtype != object:
        return int(holder.nbytes)
    if isinstance(holder, Mapping):
        parts = list(holder.values())
    elif isinstance(holder, list | tuple | np.ndarray):
        parts = list(holder)
    else:
        parts = list(getattr(holder, "__dict__", {}).values())
    return sum(_array_bytes(part, seen) for part in parts)
