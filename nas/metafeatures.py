"""A dataset as a fixed list of named numbers, by which histories of other datasets are compared with it.

Here belongs what is measured on the rows given, and nothing else: the caller passes the rows a search may see, and
distances between datasets belong to ``nas.metadataset`` and the controllers. What carries signal was measured on 62
datasets: the errors of small quick models ("landmarkers", Pfahringer et al. 2000) far above sizes, statistics least.

The landmarkers are trained on at most 600 rows and tested on at most 300 others. scikit-learn is imported inside
functions. Everything is deterministic and finite.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.dataset.images import pool
from nas.dataset.series import windows
from nas.dataset.splits import split

if TYPE_CHECKING:
    from nas.dataset import Dataset

VERSION = 1
"""Raised when a number changes its meaning; histories recompute or ignore those of another version."""

LANDMARKERS = ("linear", "tree", "boosting", "extra_trees", "nn1", "nn10")
"""Logistic or ridge regression, a tree of depth 6, 10-40 rounds of boosting, 20 extra trees, 1 and 10 neighbours."""

_SIZES = (
    "is_regression",
    "is_image",
    "log_rows",
    "log_columns",
    "log_rows_per_column",
    "fraction_categorical",
    "log_pixels",
    "channels",
    "log_classes",
    "log_rows_per_class",
    "class_entropy",
    "minority",
    "y_distinct",
    "y_commonest",
    "y_skew",
    "y_tails",
)
_COLUMNS = (
    "missing",
    "missing_rows",
    "missing_columns",
    "log_levels",
    "log_most_levels",
    "binary_columns",
    "few_valued_columns",
    "distinct",
    "zeros",
    "skew",
    "outliers",
    "correlation",
    "dimension",
    "target_correlation",
    "target_correlation_best",
)
_DIFFERENCES = (
    "tree_minus_linear",
    "boosting_minus_linear",
    "extra_trees_minus_linear",
    "boosting_minus_tree",
    "nn10_minus_linear",
    "nn1_minus_nn10",
    "best_error",
    "best_relative",
    "loss_linear",
    "loss_boosting",
    "loss_extra_trees",
)
NAMES: tuple[str, ...] = (
    *_SIZES,
    *_COLUMNS,
    *(f"error_{name}" for name in LANDMARKERS),
    *(f"relative_{name}" for name in LANDMARKERS),
    *_DIFFERENCES,
)
"""Keys of the result, in order. Shares and errors lie in [0, 1], relative errors and losses in [0, 2], differences in
[-2, 2]; ``log_`` is the natural logarithm of one more than a count. Errors are rates, in regression RMSE / std of the
target (at most 2); relative ones are divided by those of always predicting the commonest class or the mean, losses
(Brier, squared error) by those of the class shares or the mean. A series has ``log_pixels`` of its steps and its
channels, and is no image; its columns are those of ``_steps``."""

ROWS, TRAIN_SHARE, CLASSES, WIDTH, PIXELS, WINDOWS = 900, 2 / 3, 10, 100, 8, 32
"""Landmarkers: rows used, share of them for training, classes kept apart, columns used, side of the pixel grid, windows
of a channel of a series."""
STATISTICS_ROWS, STATISTICS_COLUMNS, STATISTICS_CELLS = 2000, 1000, 400_000
"""Rows, columns and cells that the statistics of columns look at."""

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def metafeatures(dataset: Dataset) -> dict[str, float]:
    """Returns every number of ``NAMES``, finite, the same for the same rows; .4-.8 s for 10,000 rows of 50 columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # models that stop early are meant to
        values = _sizes(dataset) | _columns(dataset) | _landmarks(dataset)
    return {name: round(float(np.nan_to_num(values[name], posinf=1e6, neginf=-1e6)), 6) for name in NAMES}


def _sizes(dataset: Dataset) -> dict[str, float]:
    n, columns = len(dataset), dataset.columns
    categorical = dataset.inputs.get("categorical", np.zeros((n, 0))).shape[1]
    height, width, channels = 0, 0, 0
    if dataset.kind == "image":
        height, width, channels = dataset.inputs["image"].shape[1:]
    elif dataset.kind == "series":  # told from tables by its steps, from images by is_image
        height, (channels, width) = 1, dataset.inputs["series"].shape[1:]
    values: dict[str, float] = {
        "is_regression": dataset.task == "regression",
        "is_image": dataset.kind == "image",
        "log_rows": np.log1p(n),
        "log_columns": np.log1p(columns),
        "log_rows_per_column": np.log1p(n) - np.log1p(columns),
        "fraction_categorical": categorical / columns,
        "log_pixels": np.log1p(height * width),
        "channels": channels,
    }
    return values | (_numbers_target(dataset.y) if dataset.task == "regression" else _classes_target(dataset.y))


def _classes_target(y: np.ndarray) -> dict[str, float]:
    counts = np.bincount(y)
    share = counts[counts > 0] / len(y)
    entropy = -(share * np.log(share)).sum() / np.log(len(share)) if len(share) > 1 else 0.0
    return {
        "log_classes": np.log1p(len(share)),
        "log_rows_per_class": np.log1p(len(y) / len(share)),
        "class_entropy": entropy,
        "minority": share.min(),
        "y_distinct": len(share) / len(y),
        "y_commonest": share.max(),
        "y_skew": 0.0,
        "y_tails": 0.0,
    }


def _numbers_target(y: np.ndarray) -> dict[str, float]:
    counts = np.unique(y, return_counts=True)[1]
    z = _standard(y.astype(np.float64)[:, None])[:, 0]
    none = dict.fromkeys(("log_classes", "log_rows_per_class", "class_entropy", "minority"), 0.0)
    return none | {
        "y_distinct": len(counts) / len(y),
        "y_commonest": counts.max() / len(y),
        "y_skew": _signed_log((z**3).mean()),
        "y_tails": np.log1p((z**4).mean()),
    }


def _columns(dataset: Dataset) -> dict[str, float]:
    """Statistics of the columns on a sample of rows and columns; pixels count as columns."""
    rng = np.random.default_rng(1)
    rows = _sample(len(dataset), STATISTICS_ROWS, rng)
    X, codes = _raw(dataset, rows)
    picked = _sample(X.shape[1], min(STATISTICS_COLUMNS, STATISTICS_CELLS // max(len(rows), 1)), rng)
    X = X[:, picked]
    gaps = np.concatenate([np.isnan(X), codes < 0], axis=1)
    levels = np.array([len(level) for level in dataset.levels]) if codes.shape[1] else np.zeros(1)
    values = {
        "missing": gaps.mean(),
        "missing_rows": gaps.any(axis=1).mean(),
        "missing_columns": gaps.any(axis=0).mean(),
        "log_levels": np.log1p(levels).mean(),
        "log_most_levels": np.log1p(levels.max()),
    }
    return values | _numeric(X) | _correlations(X, codes, dataset, rows)


def _numeric(X: np.ndarray) -> dict[str, float]:
    names = ("binary_columns", "few_valued_columns", "distinct", "zeros", "skew", "outliers")
    if X.shape[1] == 0:
        return dict.fromkeys(names, 0.0)
    distinct = _distinct(X)
    Z = _standard(X)
    skew = np.abs((Z**3).mean(axis=0))
    shares = (distinct == 2).mean(), (distinct <= 10).mean(), (distinct / len(X)).mean(), (X == 0).mean()
    return dict(zip(names, (*shares, np.log1p(skew).mean(), (np.abs(Z) > 3).mean()), strict=True))


def _correlations(X: np.ndarray, codes: np.ndarray, dataset: Dataset, rows: np.ndarray) -> dict[str, float]:
    Z = _standard(np.concatenate([X, _one_hot(codes, 3)], axis=1))
    y = dataset.y[rows]
    Y = _standard(y.astype(np.float64)[:, None] if dataset.task == "regression" else _indicators(_pooled(y, CLASSES)))
    with_target = np.abs(Z.T @ Y).max(axis=1, initial=0.0) / len(rows)
    Z = Z[:, _sample(Z.shape[1], 50, np.random.default_rng(2))]
    R = Z.T @ Z / len(rows)
    d = max(int((np.diag(R) > 0).sum()), 1)
    size = float((R**2).sum())
    return {
        "correlation": (np.abs(R).sum() - np.trace(R)) / max(d * (d - 1), 1),
        "dimension": np.trace(R) ** 2 / size / d if size > 0 else 0.0,  # participation ratio of the eigenvalues
        "target_correlation": with_target.mean() if len(with_target) else 0.0,
        "target_correlation_best": with_target.max(initial=0.0),
    }


def _landmarks(dataset: Dataset) -> dict[str, float]:
    """Errors of the landmarkers; those of the baseline where there is too little to learn from."""
    X, y, X_test, y_test = _landmark_data(dataset)
    numbers = dataset.task == "regression"
    truth = y_test if numbers else _indicators(y_test, int(max(y.max(), y_test.max())) + 1)
    prior = (
        np.full(len(y_test), y.mean())
        if numbers
        else np.tile(np.bincount(y, minlength=truth.shape[1]) / len(y), (len(y_test), 1))
    )
    fits = _regressors() if numbers else _classifiers(truth.shape[1])
    learnable = len(np.unique(y)) > 1 and len(y) >= 4 and X.shape[1] > 0
    predictions = {name: fits[name](X, y, X_test) if learnable else prior for name in LANDMARKERS}
    base_error, base_loss = _error(prior, truth), _loss(prior, truth)
    scale = base_error if numbers else 1.0
    errors = {name: _error(p, truth) for name, p in predictions.items()}
    relative = {name: _ratio(error, base_error) for name, error in errors.items()}
    losses = {name: _ratio(_loss(p, truth), base_loss) for name, p in predictions.items()}
    raw = {name: _ratio(error, scale) for name, error in errors.items()}
    return {
        **{f"error_{name}": value for name, value in raw.items()},
        **{f"relative_{name}": value for name, value in relative.items()},
        "tree_minus_linear": relative["tree"] - relative["linear"],
        "boosting_minus_linear": relative["boosting"] - relative["linear"],
        "extra_trees_minus_linear": relative["extra_trees"] - relative["linear"],
        "boosting_minus_tree": relative["boosting"] - relative["tree"],
        "nn10_minus_linear": relative["nn10"] - relative["linear"],
        "nn1_minus_nn10": relative["nn1"] - relative["nn10"],
        "best_error": min(raw.values()),
        "best_relative": min(relative.values()),
        **{f"loss_{name}": losses[name] for name in ("linear", "boosting", "extra_trees")},
    }


def _landmark_data(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns (X, y, X_test, y_test): at most ``ROWS`` rows and ``WIDTH`` standardised columns, y codes or numbers.

    Classes beyond the ten commonest are one, of which no more rows are used than of the commonest class.
    """
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(dataset))
    numbers = dataset.task == "regression"
    y = dataset.y.astype(np.float64) if numbers else _pooled(dataset.y, CLASSES)
    if not numbers and y.max() == CLASSES:
        others = rows[y[rows] == CLASSES]
        rows = rows[~np.isin(rows, others[np.bincount(y)[:CLASSES].max() :])]
    rows = rows[:ROWS]
    y = y[rows]
    if not numbers:
        y = np.unique(y, return_inverse=True)[1].ravel()
    train, test = _two_parts(y, dataset.groups[rows] if dataset.groups is not None else None, numbers, rng)
    raw, codes = _raw(dataset, rows)
    X = np.concatenate([raw, _one_hot(codes, CLASSES)], axis=1)
    X = X[:, ~np.isnan(X[train]).all(axis=0)]
    goal = y[train][:, None] if numbers else _indicators(y[train])
    chosen = np.sort(np.argsort(-_relevance(X[train], goal), kind="stable")[:WIDTH])
    X = _standard(X[:, chosen], train)
    return X[train], y[train], X[test], y[test]


def _two_parts(
    y: np.ndarray, groups: np.ndarray | None, numbers: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    if len(y) < 2 or (not numbers and np.bincount(y).max() < 2):
        return np.arange(len(y)), np.arange(len(y))
    if groups is not None and len(np.unique(groups)) < 2:
        groups = None
    parts = split(len(y), 1.0 - TRAIN_SHARE, rng, None if numbers else y, groups)
    return parts.train, parts.validation


def _classifiers(k: int) -> dict[str, Fit]:
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    def probabilities(model: Any) -> Fit:
        def fit(X: np.ndarray, y: np.ndarray, X_test: np.ndarray) -> np.ndarray:
            out = np.zeros((len(X_test), k))
            model.fit(X, y)
            out[:, model.classes_] = model.predict_proba(X_test)
            return out

        return fit

    def neighbours(count: int) -> Fit:
        return lambda X, y, X_test: _indicators(y, k)[_nearest(X, X_test, count)].mean(axis=1)

    rounds = int(np.clip(100 // k, 10, 40))
    return {
        "linear": probabilities(LogisticRegression(max_iter=50, tol=1e-3)),
        "tree": probabilities(DecisionTreeClassifier(max_depth=6, random_state=0)),
        "boosting": probabilities(HistGradientBoostingClassifier(**_boosting(rounds))),
        "extra_trees": probabilities(ExtraTreesClassifier(20, random_state=0)),
        "nn1": neighbours(1),
        "nn10": neighbours(10),
    }


def _regressors() -> dict[str, Fit]:
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.tree import DecisionTreeRegressor

    def values(model: Any) -> Fit:
        return lambda X, y, X_test: model.fit(X, y).predict(X_test)

    def neighbours(count: int) -> Fit:
        return lambda X, y, X_test: y[_nearest(X, X_test, count)].mean(axis=1)

    return {
        "linear": values(Ridge()),
        "tree": values(DecisionTreeRegressor(max_depth=6, random_state=0)),
        "boosting": values(HistGradientBoostingRegressor(**_boosting(40))),
        "extra_trees": values(ExtraTreesRegressor(20, random_state=0)),
        "nn1": neighbours(1),
        "nn10": neighbours(10),
    }


def _boosting(rounds: int) -> dict[str, Any]:
    return {
        "max_iter": rounds,
        "learning_rate": 0.2,
        "max_leaf_nodes": 15,
        "max_bins": 63,
        "l2_regularization": 1.0,
        "early_stopping": False,
        "random_state": 0,
    }


def _nearest(X: np.ndarray, X_test: np.ndarray, count: int) -> np.ndarray:
    """Returns the row numbers ``[m, count]`` of the nearest training rows, Euclidean, ties to the first."""
    distances = (X**2).sum(axis=1) - 2.0 * X_test @ X.T
    return np.argsort(distances, axis=1, kind="stable")[:, :count]


def _raw(dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (numbers float64 ``[rows, d]`` with NaN, codes int64 ``[rows, c]``); images as a grid of pixels."""
    if dataset.kind == "image":
        return pool(dataset.inputs["image"][rows], PIXELS).astype(np.float64), np.zeros((len(rows), 0), dtype=np.int64)
    if dataset.kind == "series":
        return _steps(dataset.inputs["series"][rows]), np.zeros((len(rows), 0), dtype=np.int64)
    empty = np.zeros((len(dataset), 0))
    numeric = dataset.inputs.get("numeric", empty)[rows].astype(np.float64)
    return numeric, dataset.inputs.get("categorical", empty)[rows].astype(np.int64)


def _steps(series: np.ndarray) -> np.ndarray:
    """Returns of each channel its mean over at most 32 windows, and deviation, roughness and range of the whole."""
    series = series.astype(np.float64)
    means = np.concatenate([windows(series[:, k : k + 1], WINDOWS) for k in range(series.shape[1])], axis=1)
    known = np.where(np.isnan(series).all(axis=2, keepdims=True), 0.0, series)
    changes = np.diff(known, axis=2) if known.shape[2] > 1 else np.zeros_like(known)
    whole = [
        np.nanstd(known, axis=2),
        np.nanmean(np.abs(changes), axis=2),
        np.nanmax(known, axis=2),
        np.nanmin(known, axis=2),
    ]
    return np.concatenate([means, *whole], axis=1)


def _one_hot(codes: np.ndarray, most: int) -> np.ndarray:
    """Returns indicators of the ``most`` commonest levels of each column, side by side."""
    parts = []
    for column in codes.T:
        levels, counts = np.unique(column, return_counts=True)
        commonest = levels[np.argsort(-counts, kind="stable")[:most]]
        parts.append((column[:, None] == commonest).astype(np.float64))
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(codes), 0))


def _standard(X: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Returns columns with mean 0 and deviation 1 on ``rows``, within +-10; NaN and constant columns become 0."""
    known = X if rows is None else X[rows]
    present = ~np.isnan(known)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, known, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(present, known - mean, 0.0) ** 2).sum(axis=0) / count)
    spread = np.where(spread > 1e-12 * np.abs(mean), spread, np.inf)
    return np.clip(np.where(np.isnan(X), 0.0, (X - mean) / spread), -10.0, 10.0)


def _relevance(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    return np.abs(_standard(X).T @ _standard(Y)).max(axis=1, initial=0.0)


def _distinct(X: np.ndarray) -> np.ndarray:
    """Returns how many different values each column has, NaN not counted."""
    ordered = np.sort(X, axis=0)
    return (np.diff(ordered, axis=0) > 0).sum(axis=0) + ~np.isnan(ordered[0])


def _pooled(y: np.ndarray, most: int) -> np.ndarray:
    """Returns codes by falling frequency, all beyond the ``most`` commonest classes as code ``most``."""
    order = np.argsort(-np.bincount(y), kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.minimum(rank[y], most)


def _indicators(y: np.ndarray, k: int | None = None) -> np.ndarray:
    return np.eye(int(y.max(initial=0)) + 1 if k is None else k)[y]


def _sample(n: int, most: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(n) if n <= most else np.sort(rng.permutation(n)[:most])


def _error(p: np.ndarray, truth: np.ndarray) -> float:
    if p.ndim == 1:
        return float(np.sqrt(np.mean((p - truth) ** 2)))
    return float((p.argmax(axis=1) != truth.argmax(axis=1)).mean())


def _loss(p: np.ndarray, truth: np.ndarray) -> float:
    return float(((p - truth) ** 2).sum() / len(truth))


def _ratio(value: float, base: float) -> float:
    """Returns value / base within [0, 2]; where the base is perfect 1 for as good and 2 for worse."""
    return float(np.clip(value / base, 0.0, 2.0)) if base > 0.0 else 1.0 + float(value > 0.0)


def _signed_log(value: float) -> float:
    return float(np.sign(value) * np.log1p(abs(value)))
