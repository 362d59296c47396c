"""One candidate on one set of rows: ``fit`` gives a predictor to keep, ``begin`` a training to advance."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from nas.errors import DataError, SearchError
from nas.metrics import Metric
from nas.model import Network, Predictor, build, present
from nas.operations import BUILTIN, Operation
from nas.training.faults import device_of
from nas.training.judge import judge_of
from nas.training.learn import Budget, Task, Training, advance
from nas.training.recipe import Candidate, Recipe, derive, precision, watched_rows
from nas.training.resident import Fold, spread

if TYPE_CHECKING:
    from nas.dataset import Dataset

_PARAMETERS = 0  # purpose of a seed: the initial parameters
_PREDICT_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and how it came about.

    predictor: on the CPU, in evaluation mode, raw inputs to probabilities or values. curve: validation score after
    each epoch, empty without validation rows or with a stop epoch. best_epoch: the epoch whose weights it holds, from
    1. seconds: wall time.
    """

    predictor: Predictor
    curve: tuple[float, ...]
    best_epoch: int
    seconds: float

    def predict(self, data: Dataset, rows: np.ndarray | None = None) -> np.ndarray:
        """Returns probabilities [n, classes] or values [n] in the target's units, float32, for these rows (all)."""
        return predict(self.predictor, data, rows)


def predict(predictor: Predictor, data: Dataset, rows: np.ndarray | None = None) -> np.ndarray:
    """Returns what a predictor says of the rows (all) of a dataset that has the inputs it takes."""
    numbers = np.arange(len(data)) if rows is None else np.asarray(rows)
    raw = predictor.preprocess.raw
    missing = [name for name in raw if name not in data.inputs]
    if missing:
        raise DataError(f"the network takes {', '.join(missing)}, but the data has {', '.join(data.inputs)}.")
    parts = []
    with torch.inference_mode():
        for i in range(0, max(len(numbers), 1), _PREDICT_ROWS):
            some = numbers[i : i + _PREDICT_ROWS]
            parts.append(predictor(*(torch.from_numpy(data.inputs[name][some]) for name in raw)))
    return torch.cat(parts).numpy()


def fit(
    candidate: Candidate,
    data: Dataset,
    rows: np.ndarray,
    *,
    epochs: int,
    seed: int,
    validation: np.ndarray | None = None,
    stop_epoch: int | None = None,
    device: str = "cpu",
    operations: Mapping[str, Operation] = BUILTIN,
    seconds: float | None = None,
    metric: Metric | None = None,
) -> Trained:
    """Returns the candidate trained on ``rows`` of a dataset; each counts as much as its weight says.

    Args:
        candidate: What to train.
        data: Where ``rows`` and ``validation`` are row numbers of.
        rows: Training rows; preprocessing and the target's moments come from them alone.
        epochs: Length of the schedule.
        seed: Of the initial parameters, the order of the batches and dropout. On the CPU the result is a function of
            (candidate, data, rows, epochs, seed, versions), bit for bit.
        validation: With them the best epoch's weights are kept, without them the last epoch's.
        stop_epoch: Ends the same schedule after so many epochs (1 to ``epochs``) and keeps that epoch's weights.
        device: "cpu", "cuda" or "cuda:1".
        operations: Name -> operation.
        seconds: Wall time allowed.
        metric: Chooses the best epoch; the default score of the task unless given.

    Raises:
        ArchitectureError, ShapeError: The architecture cannot be built for the data.
        DataError: The metric has no value on the validation rows.
        SearchError: A setting or a number of epochs is out of range, or the device is not there.
        DivergedError: The loss or the score was not finite at the end of an epoch.
        OutOfTimeError: The seconds were over.
    """
    start = time.perf_counter()
    fold = Fold(data, rows, validation, device_of(device))
    training = begin(candidate, fold, Budget(epochs, stop_epoch), seed, operations, metric=metric)
    advance([training], epochs, math.inf if seconds is None else start + seconds)
    if training.state.failure is not None:
        raise training.state.failure
    predictor = as_predictor(training.finish(), fold)
    return Trained(predictor, training.state.curve, training.best_epoch, time.perf_counter() - start)


def begin(
    candidate: Candidate,
    fold: Fold,
    budget: Budget,
    seed: int,
    operations: Mapping[str, Operation] = BUILTIN,
    *,
    batch: int | None = None,
    metric: Metric | None = None,
) -> Training:
    """Returns the training of a candidate on a fold before its first step, in batches of ``batch_size`` rows.

    Validation rows (evenly spaced ones where there are many) are looked at only to choose the best epoch, hence not
    where ``budget`` names the last one.
    """
    recipe = Recipe.of(candidate.settings)
    if (recipe.shift or recipe.flip) and fold.data.kind != "image":
        raise SearchError(
            f"images alone are shifted or mirrored, but the data is {fold.data.kind}; leave shift and flip at 0."
        )
    architecture = present(candidate.architecture, fold.signature)
    network = build(architecture, fold.signature, operations, dropout=recipe.dropout, seed=derive(seed, _PARAMETERS))
    network = network.to(fold.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    views = fold.views(architecture)
    watched = judge = None
    if fold.validation_rows is not None and budget.stop_epoch is None:
        most = watched_rows(len(fold.train_rows))
        watched = fold.rows(views, training=False).spread(most)
        if metric is not None and metric.scorer is not None:
            numbers = fold.validation_rows[spread(len(fold.validation_rows), most).numpy()]
            judge = judge_of(metric, fold, numbers)
    return Training(
        network,
        fold.rows(views, training=True),
        watched,
        recipe,
        Task(fold.data.task == "classification"),
        budget,
        seed,
        batch=batch,
        bfloat16=precision(fold.data.kind, fold.device.type) == "bfloat16",
        judge=judge,
    )


def as_predictor(network: Network, fold: Fold) -> Predictor:
    """Returns the network with its preprocessing and head, on the CPU, in evaluation mode."""
    mean, std = fold.moments
    network = network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Predictor(
        fold.preprocess.only(fold.views(network.architecture)), network, fold.data.task, mean=mean, std=std
    ).eval()
