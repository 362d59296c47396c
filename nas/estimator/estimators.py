"""``NASClassifier`` and ``NASRegressor``: ``nas.search`` with the manners of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from numbers import Integral
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from nas.dataset import Dataset, load
from nas.dataset.target import label
from nas.errors import DataError, ExportError
from nas.estimator.file import from_bytes, to_bytes
from nas.estimator.fitted import Fitted
from nas.estimator.reading import read_rows, read_target, read_training, read_weights
from nas.operations import BUILTIN, Operation
from nas.placed import check_place, placed
from nas.record import Fidelity

if TYPE_CHECKING:
    from nas.controllers import ControllerSpec, Explanation
    from nas.loop.arguments import MetricSpec
    from nas.metadataset.histories import Source
    from nas.record import Record
    from nas.result import Result
    from nas.space import SearchSpace

HERE = ("history", "storage")  # parameters that name a place on this machine: no file carries them


class _Searcher(BaseEstimator):
    """What both estimators share: the parameters of a search, its fit, and the file it leaves."""

    _result: Result | None
    _fitted: Fitted

    def __init__(
        self,
        *,
        trials: int = 30,
        seconds: float | None = None,
        space: SearchSpace | None = None,
        controller: ControllerSpec = "meta",
        history: Source = "yours",
        storage: Source = None,
        random_state: int | np.random.RandomState | None = 0,
        fidelity: Fidelity | str | None = None,
        metric: MetricSpec = None,
        workers: int = 1,
        candidate_seconds: float | None = None,
        max_size: str | float | None = None,
        max_latency: str | float | None = None,
        device: str | None = None,
    ) -> None:
        self.trials = trials
        self.seconds = seconds
        self.space = space
        self.controller = controller
        self.history = history
        self.storage = storage
        self.random_state = random_state
        self.fidelity = fidelity
        self.metric = metric
        self.workers = workers
        self.candidate_seconds = candidate_seconds
        self.max_size = max_size
        self.max_latency = max_latency
        self.device = device

    # ---- after a fit ---------------------------------------------------------------------------------------------

    @property
    def result_(self) -> Result:
        """The result of the search: its records, ``export``, ``compare``; AttributeError in a copy read from a file."""
        check_is_fitted(self)
        if self._result is None:
            raise AttributeError(
                "`result_` holds the training rows and stays with the estimator that was fitted; "
                "a pickled or loaded one has record_ and explain()."
            )
        return self._result

    @property
    def record_(self) -> Record:
        """The record of the candidate that was chosen: architecture, settings, score ± error, cost."""
        check_is_fitted(self)
        return self._fitted.record

    def explain(self) -> Explanation:
        """Returns which past datasets spoke and with what weight, which were ignored and why; print it."""
        check_is_fitted(self)
        return self._fitted.explanation

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the fitted estimator to one file that ``load`` reads: safetensors with JSON in its header.

        The file holds the network, what it reads raw rows by (names of columns, words of categories, quantiles of
        numbers), labels and parameters. It holds no row of the training data, no code, and neither ``history`` nor
        ``storage``. Parameters that JSON cannot hold (a space, a sampler, a scorer, a RandomState) come back as their
        defaults, which only matters to another ``fit``.

        Raises:
            ExportError: the file cannot be written.
            NotFittedError: there is nothing to write yet.
        """
        check_is_fitted(self)
        path = Path(path).expanduser()
        check_place(path)
        content = to_bytes(self._fitted, self._description())
        from_bytes(content, path.name, self._operations())
        with placed(path) as file:
            file.write_bytes(content)

    @classmethod
    def load(cls, path: str | PathLike[str], operations: Mapping[str, Operation] = BUILTIN) -> Self:
        """Returns the fitted estimator that ``save`` wrote to ``path``; it predicts the same bits.

        Args:
            path: The file; whoever wrote it, nothing in it is executed.
            operations: Name -> operation, where the search space had some of its own.

        Raises:
            ExportError: the file is missing, damaged, newer, of another estimator, or names an unknown operation.
        """
        path = Path(path).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ExportError(
                f"{fspath(path)!r} must be a file that save wrote, but cannot be read: {error.strerror or error}."
            ) from error
        fitted, description = from_bytes(content, path.name, operations)
        return cls._described(description, fitted, path.name)

    def __getstate__(self) -> dict[str, Any]:
        """The state with the fitted network as bytes: safetensors and JSON, without the training rows."""
        state = dict(super().__getstate__())
        state.pop("_result", None)
        fitted = state.pop("_fitted", None)
        return state if fitted is None else state | {"_bytes": to_bytes(fitted, {})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        content = state.pop("_bytes", None)
        super().__setstate__(state)
        if content is not None:
            self._fitted, _ = from_bytes(content, type(self).__name__, self._operations())
            self._result = None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        tags.non_deterministic = self.workers > 1 or self.seconds is not None or self.candidate_seconds is not None
        return tags

    # ---- inside --------------------------------------------------------------------------------------------------

    def _searched(self, dataset: Dataset, columns: tuple[str, ...] | None) -> Self:
        from nas.loop import search

        result = search(
            dataset,
            space=deepcopy(self.space),  # a space remembers what it was asked, a parameter stays as it was
            trials=self.trials,
            seconds=self.seconds,
            controller=self.controller,
            history=self.history,
            storage=self.storage,
            seed=self._seed(),
            fidelity=self.fidelity,
            metric=self.metric,
            workers=self.workers,
            candidate_seconds=self.candidate_seconds,
            max_size=self.max_size,
            max_latency=self.max_latency,
            device=self.device,
        )
        self._fitted = Fitted(result.model(), dataset.schema(), columns, result.best, result.explain())
        self._result = result
        return self

    def _forget(self) -> None:
        """Lets go of an earlier fit, so that no half of it survives a fit that fails."""
        for name in ("_fitted", "_result"):
            self.__dict__.pop(name, None)

    def _predicted(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._fitted.predict(read_rows(self, X, self._fitted.columns))

    def _seed(self) -> int:
        state = self.random_state
        if isinstance(state, Integral):
            return int(state)
        return int(check_random_state(state).randint(np.iinfo(np.int32).max))

    def _operations(self) -> Mapping[str, Operation]:
        return BUILTIN if self.space is None else self.space.operations

    def _description(self) -> dict[str, Any]:
        """Returns what a file keeps of the estimator besides its network, as JSON values."""
        kept = {key: _plain(value) for key, value in self.get_params(deep=False).items() if key not in HERE}
        names = getattr(self, "feature_names_in_", None)
        return {
            "class": type(self).__name__,
            "parameters": {key: value for key, value in kept.items() if value is not None},
            "n_features_in": int(self.n_features_in_),
            "feature_names_in": None if names is None else [str(name) for name in names],
        }

    @classmethod
    def _described(cls, description: Any, fitted: Fitted, file: str) -> Self:
        """Returns the estimator that ``_description`` describes."""
        try:
            kind, parameters = description["class"], dict(description["parameters"])
            features, names = description["n_features_in"], description["feature_names_in"]
            if isinstance(parameters.get("fidelity"), dict):
                parameters["fidelity"] = Fidelity.from_dict(parameters["fidelity"])
            fine = type(features) is int and (names is None or [type(name) for name in names] == [str] * features)
            fine = fine and set(parameters) <= set(cls._get_param_names()) - set(HERE)
        except (TypeError, LookupError, ValueError):
            kind, fine = cls.__name__, False
        if kind != cls.__name__:
            raise ExportError(f"{file} must hold a {cls.__name__}, but holds a {kind}; use {kind}.load.")
        if not fine:
            raise ExportError(f"{file} must describe an estimator, but the description is malformed; save it again.")
        found = cls(**parameters)
        found.n_features_in_ = features
        if names is not None:
            found.feature_names_in_ = np.array(names, dtype=object)
        found._fitted, found._result = fitted, None
        return found


class NASClassifier(ClassifierMixin, _Searcher):
    """A neural network for classification, found by a search that remembers.

    ``X`` may be numbers with NaN, words, dates, a DataFrame of them, a sparse matrix, images (uint8, [n, height,
    width(, channels)]), or series ([n, channels, steps], NaN after the end of a shorter one).

    Every fit is remembered in the user's own history, and later ones learn from it. The same fit again is found there
    and trains nothing; a larger ``trials`` continues it. In a cross-validation the folds learn from each other, whose
    rows overlap: for an estimate free of that pass ``history=None``.

    Args:
        trials: Trainings of new candidates, >= 1.
        seconds: Time for the search, its finalists included (``nas.search``); the final training comes on top. The
            result then depends on the machine's speed.
        space: The search space; chosen for the data unless given.
        controller: ``meta``, ``reinforce``, ``maml``, ``evolution``, ``random``, ``tpe``, a sampler of Optuna, or a
            function of a ``Problem``.
        history: What may be learned from: a path, a database URL, or ``None`` for a cold search.
        storage: Where the search is recorded; by default in ``history``, or in the user's own where that is no place.
        random_state: Seed of splits, initial weights and draws, >= 0: 0 unless given, so that the same fit is the same.
            ``None`` and a ``RandomState`` draw one at every fit.
        fidelity: Epochs, rows and splits of an evaluation, or ``"hyperband"`` or ``"history"`` to stop candidates early
            (``nas.search``); chosen for the size of the data unless given.
        metric: What the search maximises: a scorer of scikit-learn or its name, such as ``roc_auc``, or a function
            ``(estimator, X, y) -> float``, which sees the labels of ``y``. ``score`` stays accuracy, or R².
        workers: Candidates trained at the same time, each in a process of its own; with several the result is not the
            same every time.
        candidate_seconds: What a candidate may take; one that takes longer, or hangs, is ended and counts as failed.
        max_size: Bytes of the exported ONNX file at most, such as ``"200kB"``.
        max_latency: Time at most to predict one row on one thread, such as ``"1ms"``, measured.
        device: ``cpu``, ``cuda`` or, of several GPUs, ``cuda:1``; a GPU is used where there is one.

    Attributes:
        classes_: The labels, in the order of the probabilities.
        n_features_in_: Number of columns in ``fit``; ``feature_names_in_`` their names, where they had some.
        record_: The record of the candidate chosen: architecture, settings, score ± error, cost.
        result_: The ``Result`` of the search, as ``nas.search`` returns it, while the estimator is where it was fitted.
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Searches for a network for these rows and trains it on all of them.

        Args:
            X: Rows, shape (rows, columns) or images.
            y: Labels, shape (rows,).
            groups: Rows of one group never stand on both sides of a split of the search; shape (rows,).
            sample_weight: How much a row counts in losses and scores, >= 0; shape (rows,).

        Raises:
            ValueError: The rows cannot be learned from; all of the library's own errors are ValueErrors.
        """
        self._forget()
        labels = read_target(self, y, numeric=False)
        check_classification_targets(labels)
        X = read_training(self, X)
        check_consistent_length(X, labels)
        weights = read_weights(sample_weight, X)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        counted = np.unique(codes if weights is None else codes[weights > 0])
        if len(counted) < 2:
            only = self.classes_[counted].tolist()[0]
            raise DataError(
                f"`y` must hold two classes in rows of a weight above 0, but has one class, {only!r}; add others."
            )
        dataset = load((X, codes), target=_name_of(y), task="classification", groups=groups, weights=weights)
        dataset = replace(dataset, classes=tuple(map(label, self.classes_.tolist())))
        return self._searched(dataset, _columns_of(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns the probability of each class in the order of ``classes_``, float32, shape (rows, classes)."""
        return self._predicted(X)

    def predict(self, X: Any) -> np.ndarray:
        """Returns the most probable label of each row, shape (rows,)."""
        found = self._predicted(X)
        return self.classes_[found.argmax(axis=1)]

    def _description(self) -> dict[str, Any]:
        labels = self.classes_
        if labels.dtype.kind not in "biufU" and not all(type(label) is str for label in labels):
            raise ExportError(f"labels in a file are text or numbers, but these are {labels.dtype}; convert y.")
        kept = {"dtype": "object" if labels.dtype.kind == "O" else labels.dtype.str, "labels": labels.tolist()}
        return super()._description() | {"classes": kept}

    @classmethod
    def _described(cls, description: Any, fitted: Fitted, file: str) -> Self:
        found = super()._described(description, fitted, file)
        try:
            kind, labels = description["classes"]["dtype"], description["classes"]["labels"]
            fine = kind == "object" or np.dtype(kind).kind in "biufU"
            found.classes_ = np.array(labels, dtype=kind)
            fine = fine and found.classes_.tolist() == labels and len(labels) == len(fitted.schema["classes"])
        except (TypeError, LookupError, ValueError, OverflowError):
            fine = False
        if not fine:
            raise ExportError(f"{file} must hold the labels of its classes, but they are malformed; save it again.")
        return found


class NASRegressor(RegressorMixin, _Searcher):
    """A neural network for regression, found by a search that remembers.

    ``X`` may be numbers with NaN, words, dates, a DataFrame of them, a sparse matrix, images (uint8, [n, height,
    width(, channels)]), or series ([n, channels, steps], NaN after the end of a shorter one).
    Parameters and attributes are those of ``NASClassifier``, without ``classes_``.
    """

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Self:
        """Searches for a network for these rows and trains it on all of them.

        Args:
            X: Rows, shape (rows, columns) or images.
            y: Numbers, not all equal, shape (rows,).
            groups: Rows of one group never stand on both sides of a split of the search; shape (rows,).
            sample_weight: How much a row counts in losses and scores, >= 0; shape (rows,).

        Raises:
            ValueError: The rows cannot be learned from; all of the library's own errors are ValueErrors.
        """
        self._forget()
        values = read_target(self, y, numeric=True)
        X = read_training(self, X)
        check_consistent_length(X, values)
        weights = read_weights(sample_weight, X)
        dataset = load((X, values), target=_name_of(y), task="regression", groups=groups, weights=weights)
        return self._searched(dataset, _columns_of(X))

    def predict(self, X: Any) -> np.ndarray:
        """Returns the value of each row in the units of the target, float32, shape (rows,)."""
        return self._predicted(X)


def _columns_of(X: Any) -> tuple[str, ...] | None:
    return tuple(map(str, X.columns)) if hasattr(X, "columns") else None


def _name_of(y: Any) -> str:
    return str(getattr(y, "name", None) or "y")


def _plain(value: object) -> Any:
    """Returns a parameter as a JSON value, None where it is none."""
    if isinstance(value, Fidelity):
        return value.to_dict()
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else None
