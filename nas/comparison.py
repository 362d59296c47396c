"""What was found against no search, boosted trees and a linear model, on the same fresh splits.

Differences are paired: both models predict the same validation rows, and the error of their difference comes from those
rows. A row that is in several validation parts counts once, with its mean; rows of one group are one cluster of the
error.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.metrics import Metric, Predicted, display, mean_error
from nas.protocol import fresh_splits, stop_epoch
from nas.readable import in_bytes, short

if TYPE_CHECKING:
    from nas.dataset import Dataset, Split
    from nas.result import Result
    from nas.training import Candidate

FOUND, NO_SEARCH, TREES, LINEAR, CONSTANT = "found", "no search", "boosted trees", "linear", "constant"


@dataclass(frozen=True)
class Contender:
    """One row of the comparison.

    Attributes:
        name: ``found``, ``no search``, ``boosted trees``, ``linear`` or ``constant`` (the commonest class, the mean).
        value: Accuracy (classification), R² (regression) or the metric asked for, on the validation rows of the fresh
            splits.
        error: Its standard error over rows (or groups); NaN where one group is all there is.
        milliseconds: Median time to predict one row alone, on this machine.
        size: Bytes of its numbers.
        difference: ``found`` minus this one, on the same rows; 0 for ``found`` itself.
        difference_error: Standard error of that difference.
        note: What was left out to keep it affordable, if anything.
    """

    name: str
    value: float
    error: float
    milliseconds: float
    size: int
    difference: float
    difference_error: float
    note: str = ""

    @property
    def as_good(self) -> bool:
        """Whether ``found`` is not better than this one by more than two standard errors."""
        return not self.difference > 2 * self.difference_error  # an error that is not known shows nothing


@dataclass(frozen=True)
class Comparison:
    """The contenders, ``found`` first, and the metric that is shown."""

    metric: str
    contenders: tuple[Contender, ...]

    def __getitem__(self, name: str) -> Contender:
        return next(c for c in self.contenders if c.name == name)

    @property
    def advice(self) -> str:
        """One sentence for whoever has to choose: what is better, else the simplest that is not shown to be worse.

        Shown means: by more than two standard errors of the paired difference.
        """
        if self[CONSTANT].as_good:
            return "no network is shown to predict better than a constant here: can these columns foretell the target?"
        others = [c for c in self.contenders if c.name != FOUND]
        better = [c for c in others if c.difference < -2 * c.difference_error]
        if better:
            best = max(better, key=lambda c: c.value)
            by = f"{-best.difference:.4f} ±{best.difference_error:.4f}"
            return f"{_NAMES[best.name]} better here, by {by}: use {_it(best)}"
        for name in (LINEAR, TREES):
            if self[name].as_good:
                return f"{_NAMES[name]} as good here, within two standard errors: use {_it(self[name])}"
        if self[NO_SEARCH].as_good:
            return "the default network is as good here as the one found, within two standard errors"
        return "the network found is better than every other row by more than two standard errors"

    def __str__(self) -> str:
        title = {"accuracy": "accuracy", "r2": "R²"}.get(self.metric, self.metric)
        lines = [f"{'':15s}{title + ', fresh splits':24s}{'one row':>10s}{'size':>10s}   found minus this"]
        for c in self.contenders:
            value = f"{short(c.value)} ±{short(c.error)}"
            line = f"{c.name:15s}{value:24s}{c.milliseconds:7.2f} ms{in_bytes(c.size):>10s}"
            line += "" if c.name == FOUND else f"   {c.difference:+.4f} ±{c.difference_error:.4f}"
            lines.append(line + (f"   ({c.note})" if c.note else ""))
        return "\n".join([*lines, f"-> {self.advice}"])


@dataclass(frozen=True, eq=False)
class Run:
    """One contender on every split.

    Attributes:
        name: As in ``Contender``, and so are ``milliseconds``, ``size`` and ``note``.
        predictions: For each split ``[m, classes]`` probabilities or ``[m]`` values of its validation rows, in order.
    """

    name: str
    predictions: list[np.ndarray]
    milliseconds: float
    size: int
    note: str = ""


_NAMES = {LINEAR: "a linear model is", TREES: "boosted trees are", NO_SEARCH: "the default network is"}


def _it(contender: Contender) -> str:
    return "them" if contender.name == TREES else "it"


def compare(result: Result, metric: Metric | None = None) -> Comparison:
    """Trains all contenders on the fresh splits of a search and compares them row by row.

    Args:
        result: of the search.
        metric: what is shown instead of accuracy or R², higher is better; by default that of the task.
    """
    from nas.baselines import evaluate
    from nas.training import Candidate, train

    data, best = result.dataset, result.best
    rows_used = best.fidelity.rows  # the same for all contenders
    drawn = fresh_splits(data, result.seed, part=2)
    splits = [replace(split, train=split.train[:rows_used]) for split in drawn]
    choices = result.space.default()
    default = Candidate(result.space.architecture(choices), result.space.settings(choices))
    screened = train(
        [default],
        data,
        data.splits(best.fidelity.splits, result.seed),
        best.fidelity,
        seed=result.seed,
        device=result.device,
        operations=result.space.operations,
        metric=metric,
    )[0]
    plans = [
        (FOUND, Candidate(best.architecture, best.settings), stop_epoch(best)),
        (NO_SEARCH, default, round(float(np.median(screened.best_epochs))) if screened.best_epochs else None),
    ]
    runs = [_network(name, candidate, stop, result, splits) for name, candidate, stop in plans]
    for name, key in ((TREES, "boosted_trees"), (LINEAR, "linear")):
        found = evaluate(key, data, splits)
        runs.append(Run(name, found.predictions, found.milliseconds_per_row, found.size_bytes, found.note))
    constants = [_constant(data, split) for split in splits]
    runs.append(Run(CONSTANT, constants, 0.0, constants[0][:1].nbytes))
    return compared(data, splits, runs, metric)


def _network(name: str, candidate: Candidate, stop: int | None, result: Result, splits: Sequence[Split]) -> Run:
    """A candidate trained on every split as the best one was; ``stop`` is the epoch it ends after, if not the last."""
    from nas.training import fit

    data, predictions = result.dataset, []
    for split in splits:
        trained = fit(
            candidate,
            data,
            split.train,
            epochs=result.best.fidelity.epochs,
            seed=result.seed,
            stop_epoch=stop,
            device=result.device,
            operations=result.space.operations,
        )
        predictions.append(trained.predict(data, split.validation))
    size = sum(t.numel() * t.element_size() for t in trained.predictor.state_dict().values())
    return Run(name, predictions, milliseconds(trained.predictor, data), size)


def _constant(data: Dataset, split: Split) -> np.ndarray:
    """What is known of the validation rows without looking at them: how common each class is, or the mean."""
    if data.task == "regression":
        return np.full(len(split.validation), data.moments(split.train)[0])
    weights = None if data.weights is None else data.weights[split.train]
    counts = np.bincount(data.y[split.train], weights, minlength=data.outputs)
    return np.tile(counts / counts.sum(), (len(split.validation), 1))


def milliseconds(predictor: Any, data: Dataset, repeats: int = 50) -> float:
    """The median time in milliseconds to predict one row alone."""
    import torch

    device = next(iter(predictor.state_dict().values())).device
    row = [torch.as_tensor(array[:1], device=device) for array in data.inputs.values()]
    predictor.eval()
    times = []
    with torch.inference_mode():
        for _ in range(repeats):
            started = time.perf_counter()
            predictor(*row)
            times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def compared(data: Dataset, splits: Sequence[Split], runs: Sequence[Run], metric: Metric | None = None) -> Comparison:
    """Returns the comparison of runs on the same splits, that of ``FOUND`` among them; ``metric`` as in ``compare``."""
    if metric is not None and metric.scorer is not None:
        return _by_scorer(data, splits, runs, metric)
    return _by_rows(data, splits, runs)


def _by_rows(data: Dataset, splits: Sequence[Split], runs: Sequence[Run]) -> Comparison:
    """The comparison by accuracy or R², which are means over rows."""
    seen = np.unique(np.concatenate([split.validation for split in splits]))
    clusters, weights = data.clusters(seen), None if data.weights is None else data.weights[seen]
    values = {each.name: _by_row(data, splits, each.predictions)[seen] for each in runs}
    found = values[FOUND]
    contenders = []
    for each in runs:
        value = mean_error(values[each.name], clusters, weights)
        difference = mean_error(found - values[each.name], clusters, weights) if each.name != FOUND else (0.0, 0.0)
        contenders.append(Contender(each.name, *value, each.milliseconds, each.size, *difference, each.note))
    return Comparison(display(data.task), tuple(contenders))


def _by_scorer(data: Dataset, splits: Sequence[Split], runs: Sequence[Run], metric: Metric) -> Comparison:
    """The comparison by a scorer that is no mean over rows: errors by the jackknife, the same blocks for all."""
    parts = {each.name: _predicted(data, splits, each.predictions) for each in runs}
    found = parts[FOUND]
    contenders = []
    for each in runs:
        part = parts[each.name]
        value = metric.score(part), metric.standard_error(part)
        difference = (0.0, 0.0)
        if each.name != FOUND:
            difference = metric.score(found) - value[0], metric.difference_error(found, part)
        contenders.append(Contender(each.name, *value, each.milliseconds, each.size, *difference, each.note))
    return Comparison(metric.name, tuple(contenders))


def _predicted(data: Dataset, splits: Sequence[Split], predictions: Sequence[np.ndarray]) -> list[Predicted]:
    weights = data.weights
    return [
        Predicted(
            predicted,
            data.y[split.validation],
            data.clusters(split.validation),
            data.moments(split.train)[1],
            None if weights is None else weights[split.validation],
        )
        for split, predicted in zip(splits, predictions, strict=True)
    ]


def _by_row(data: Dataset, splits: Sequence[Split], predictions: Sequence[np.ndarray]) -> np.ndarray:
    """What each row adds to the metric (its mean over validation rows, by weight), shape (rows,), 0 elsewhere."""
    total, times = np.zeros(len(data)), np.zeros(len(data))
    for split, predicted in zip(splits, predictions, strict=True):
        y = data.y[split.validation]
        if data.task == "classification":
            value = (predicted.argmax(axis=1) == y).astype(float)
        else:
            value = 1 - ((predicted - y) / data.moments()[1]) ** 2
        total[split.validation] += value
        times[split.validation] += 1
    return total / np.maximum(times, 1)
