"""The metric a search maximises: our own scores, or any scorer of scikit-learn, with its standard error.

Here belongs what turns predictions on the rows of several splits into one number, higher is better, and its error.
scikit-learn is imported inside functions, and only its public names.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.errors import DataError, nearest
from nas.metrics.losses import check_task, checked, row_losses, score, standard_error

DEFAULT = {"classification": "brier", "regression": "nrmse"}
"""Task -> what the score is minus, unless another metric is asked for."""
BLOCKS = 20
"""Parts the rows are divided into, of which the jackknife leaves out one at a time."""
_OF_NUMBERS = (
    "r2",
    "explained_variance",
    "d2_absolute_error_score",
    "neg_max_error",
    "neg_mean",
    "neg_median",
    "neg_root",
)
"""How the names of scikit-learn's regression scorers begin."""


def sign_of(name: str) -> int:
    """Returns -1 for ``brier`` and ``nrmse``, errors that the score is minus, and 1 for what is a score itself.

    It turns a score into what is shown to people under the metric's name.
    """
    return -1 if name in DEFAULT.values() else 1


Scorer = Callable[..., float]
"""Called as ``scorer(estimator, X, y)``, also with ``sample_weight=``; higher is better."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a network says of the validation rows of one split, and the truth.

    Attributes:
        predictions: ``[n, classes]`` probabilities, or ``[n]`` values in the units of the target.
        y: ``[n]`` codes or values.
        clusters: ``[n]`` what each row belongs to in a standard error (``Dataset.clusters``).
        scale: standard deviation of the training target (``Dataset.moments``), 1 in classification.
        weights: ``[n]`` > 0, or None.
    """

    predictions: np.ndarray
    y: np.ndarray
    clusters: np.ndarray
    scale: float = 1.0
    weights: np.ndarray | None = None

    def without(self, clusters: np.ndarray) -> Predicted:
        """Returns the rows that belong to none of ``clusters``."""
        keep = ~np.isin(self.clusters, clusters)
        weights = None if self.weights is None else self.weights[keep]
        return Predicted(self.predictions[keep], self.y[keep], self.clusters[keep], self.scale, weights)


@dataclass(frozen=True, eq=False)
class Metric:
    """What is maximised.

    Attributes:
        name: ``brier`` or ``nrmse`` (whose negative is the score), else the scorer's.
        task: "classification" or "regression".
        scorer: of scikit-learn, None for the two of our own.
        labels: ``[classes]`` the classes as the scorer is to see them.
    """

    name: str
    task: str
    scorer: Scorer | None = None
    labels: np.ndarray | None = None

    def measure(
        self, predictions: np.ndarray, y: np.ndarray, *, weights: np.ndarray | None = None, scale: float = 1.0
    ) -> float:
        """Returns the value on the rows of one split, higher is better; NaN where it is not defined there.

        A scorer of probabilities sees those of the classes that occur in ``y``, scaled to sum to 1.

        Raises:
            DataError: the scorer cannot take these predictions.
        """
        if self.scorer is None:
            return score(self.task, predictions, y, scale, weights)
        p, y = checked(self.task, predictions, y)
        if not np.isfinite(p).all():
            return float("nan")
        options = {} if weights is None else {"sample_weight": np.asarray(weights, dtype=np.float64)}
        truth = y if self.labels is None else self.labels[y]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a precision without predictions counts as 0
                value = self.scorer(_estimator(p, y, self.labels), np.arange(len(y))[:, None], truth, **options)
            return float(value)
        except (ValueError, TypeError) as error:
            line = str(error).strip().split("\n")[0]
            raise DataError(f"metric {self.name!r} cannot score this {self.task}: {line}") from error

    def score(self, parts: Sequence[Predicted]) -> float:
        """Returns the mean of the values on several splits."""
        values = [self.measure(p.predictions, p.y, weights=p.weights, scale=p.scale) for p in parts]
        return float(np.mean(values))

    def standard_error(self, parts: Sequence[Predicted]) -> float:
        """Returns the standard error of ``score(parts)`` over rows or groups; NaN where there is too little.

        Of our own scores that of a mean (``nas.metrics.losses.standard_error``); of a scorer by the jackknife that
        leaves out one of ``BLOCKS`` blocks of clusters at a time (Kott 2001, Journal of Official Statistics 17).
        """
        if self.scorer is not None:
            return _spread(self._jackknife(parts))
        losses = np.concatenate([row_losses(self.task, p.predictions, p.y, p.scale) for p in parts])
        clusters = np.concatenate([p.clusters for p in parts])
        weights = [p.weights for p in parts if p.weights is not None]
        return standard_error(self.task, losses, clusters, np.concatenate(weights) if weights else None)

    def difference_error(self, parts: Sequence[Predicted], others: Sequence[Predicted]) -> float:
        """Returns the standard error of ``score(parts) - score(others)``, both of the same rows, by the jackknife."""
        return _spread(self._jackknife(parts) - self._jackknife(others))

    def _jackknife(self, parts: Sequence[Predicted]) -> np.ndarray:
        """Returns the score without each block of clusters, NaN where it is not defined; the same blocks for all."""
        distinct = np.random.default_rng(0).permutation(np.unique(np.concatenate([p.clusters for p in parts])))
        blocks = np.array_split(distinct, min(BLOCKS, len(distinct)))
        return np.array([self._left([p.without(block) for p in parts]) for block in blocks])

    def _left(self, parts: Sequence[Predicted]) -> float:
        try:
            return self.score(parts)
        except DataError:  # too few rows are left for this scorer
            return float("nan")


def _spread(values: np.ndarray) -> float:
    """Returns the standard error that jackknife values show."""
    found = values[np.isfinite(values)]
    if len(found) < 2:
        return float("nan")
    return float(np.sqrt((len(values) - 1) / len(found) * np.sum((found - found.mean()) ** 2)))


def find_metric(
    metric: str | Scorer | Metric | None,
    task: str,
    y: np.ndarray,
    classes: Sequence[str] = (),
    weights: np.ndarray | None = None,
) -> Metric:
    """Returns the metric that is meant, tried on the target.

    Args:
        metric: None for the default, a name (``brier``, ``nrmse`` or a scorer's of scikit-learn, such as ``roc_auc``),
            a scorer object, or a function ``(estimator, X, y) -> float``. A scorer by name sees class codes (the second
            class is the positive one), any other the classes' names, or whole numbers where they all are.
        task: "classification" or "regression".
        y: ``[n]`` target of the rows to learn from.
        classes: names of the classes in the order of the codes.
        weights: ``[n]``, as in ``Dataset.weights``.

    Raises:
        DataError: no scorer has the name (the nearest is offered), or it cannot score this target.
    """
    check_task(task)
    if isinstance(metric, Metric):
        return metric
    if metric is None or metric == DEFAULT[task]:
        return Metric(DEFAULT[task], task)
    codes = np.arange(len(classes)) if classes else None
    if isinstance(metric, str):
        found = Metric(metric, task, _named(metric, task), codes)
    elif callable(metric):
        found = Metric(_name_of(metric), task, _checked_scorer(metric), None if codes is None else _labels(classes))
    else:
        raise DataError(f"metric= must be a name, a scorer or left out, but got {metric!r}; see sklearn.metrics.")
    if task == "classification":
        constant = np.tile(np.bincount(y, weights=weights, minlength=len(classes)) / _total(y, weights), (len(y), 1))
    else:
        constant = np.full(len(y), np.average(y, weights=weights))
    try:
        found.measure(constant, y, weights=weights)
    except DataError as error:
        raise DataError(f"{error}{_more_general(metric, len(classes))}") from error
    return found


def _more_general(metric: object, classes: int) -> str:
    """Returns a hint at the scorer of the same name that takes more than two classes, if there is one."""
    from sklearn.metrics import get_scorer_names

    names = [f"{metric}{suffix}" for suffix in ("_ovr", "_macro")] if classes > 2 else []
    known = [name for name in names if name in get_scorer_names()]
    return f"; with {classes} classes use {known[0]!r}." if known else ""


def _total(y: np.ndarray, weights: np.ndarray | None) -> float:
    return float(len(y) if weights is None else np.sum(weights))


def _named(name: str, task: str) -> Scorer:
    from sklearn.metrics import get_scorer, get_scorer_names

    known = [DEFAULT[task], *get_scorer_names()]
    if name not in known:
        raise DataError(
            f"metric= must be {DEFAULT[task]!r} or a scorer of scikit-learn, but got {name!r};{nearest(name, known)}"
            " sklearn.metrics.get_scorer_names() lists them."
        )
    if task == "classification" and name.startswith(_OF_NUMBERS):
        raise DataError(f"metric {name!r} measures numbers, but this is a classification; use 'roc_auc_ovr', for one.")
    scorer: Scorer = get_scorer(name)
    return scorer


def _checked_scorer(scorer: Any) -> Scorer:
    """Returns the scorer; DataError for a function of (y_true, y_pred), which is no scorer yet."""
    try:
        names = list(inspect.signature(scorer).parameters)
    except (TypeError, ValueError):
        names = []
    if names[:1] in (["y_true"], ["labels_true"]):
        raise DataError(
            f"metric= must be called as metric(estimator, X, y), but {_name_of(scorer)} takes ({', '.join(names[:2])});"
            " pass sklearn.metrics.make_scorer(it), with greater_is_better=False for an error."
        )
    found: Scorer = scorer
    return found


def _name_of(scorer: Any) -> str:
    name = getattr(scorer, "__qualname__", None)
    return f"{scorer.__module__}.{name}" if name else str(scorer)


def _labels(classes: Sequence[str]) -> np.ndarray:
    """Returns the classes as whole numbers where all are, as booleans where they are those, else as text."""
    if set(classes) == {"False", "True"}:
        return np.array([word == "True" for word in classes])
    try:
        return np.array([int(word) for word in classes])
    except ValueError:
        return np.array([str(word) for word in classes])


def _estimator(p: np.ndarray, y: np.ndarray, labels: np.ndarray | None) -> Any:
    """Returns what a scorer takes for a fitted model: X are row numbers, whose predictions are known."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    if labels is None:
        return _regressor(p)
    names: np.ndarray = labels
    seen = np.flatnonzero(np.bincount(y, minlength=p.shape[1])) if p.shape[1] > 2 else np.arange(p.shape[1])
    some = p[:, seen]
    shares = some / np.maximum(some.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)

    class Classifier(ClassifierMixin, BaseEstimator):
        classes_ = names[seen]

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, X: np.ndarray) -> np.ndarray:
            return names[p[np.asarray(X)[:, 0]].argmax(axis=1)]

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            return shares[np.asarray(X)[:, 0]]

    return Classifier()


def _regressor(p: np.ndarray) -> Any:
    from sklearn.base import BaseEstimator, RegressorMixin

    class Regressor(RegressorMixin, BaseEstimator):
        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, X: np.ndarray) -> np.ndarray:
            return p[np.asarray(X)[:, 0]]

    return Regressor()
