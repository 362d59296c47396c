"""Candidates for their scores: every split of each, failures turned into outcomes."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from nas import metrics
from nas.errors import SearchError
from nas.model import Count, count
from nas.operations import BUILTIN, Operation
from nas.record import Cost, Fidelity, Outcome
from nas.training.faults import (
    DivergedError,
    OutOfMemoryError,
    OutOfTimeError,
    device_of,
    free_memory,
    is_out_of_memory,
)
from nas.training.fit import fit_fold
from nas.training.learn import Budget, outputs
from nas.training.optimizer import warm_up
from nas.training.recipe import Candidate, batch_size, derive
from nas.training.resident import Fold

if TYPE_CHECKING:
    from nas.dataset import Dataset
    from nas.dataset.splits import Split

_SPLIT, _SUBSAMPLE = 10, 11  # purposes of seeds


def train(
    candidates: Sequence[Candidate],
    data: Dataset,
    splits: Sequence[Split],
    fidelity: Fidelity,
    *,
    seed: int,
    device: str = "cpu",
    operations: Mapping[str, Operation] = BUILTIN,
    stop_epoch: int | None = None,
    seconds: float | None = None,
    max_memory: int | None = None,
) -> list[Outcome]:
    """Returns the outcome of each candidate, in order; a candidate that fails is an outcome, never an exception.

    A candidate is trained on the first ``fidelity.splits`` splits for ``fidelity.epochs`` epochs on at most
    ``fidelity.rows`` training rows of each (a shuffle by seed decides which; a smaller number takes a part of a
    larger one's). The score is the mean over splits, its standard error comes from the losses of all validation rows;
    the curve, which chooses the best epoch, is of at most ``watched_rows`` of them. On the CPU an outcome, its
    seconds aside, depends on (candidate, data, splits, fidelity, seed) alone, not on the others.

    Args:
        candidates: What to train.
        data: The rows the splits number.
        splits: At least ``fidelity.splits`` of them.
        fidelity: Epochs, rows and splits.
        seed: Of everything random.
        device: "cpu", "cuda" or "cuda:1".
        operations: Name -> operation.
        stop_epoch: Ends every schedule after so many epochs and scores what is there, so that no epoch is chosen on the
            rows it is scored on; without it the best epoch's weights are kept and scored.
        seconds: Wall time allowed for each candidate, over all its splits.
        max_memory: Bytes a candidate may need; by default what is free on the device when its turn comes.
    """
    place = device_of(device)
    folds = [_fold(data, split, fidelity, seed, i, place) for i, split in enumerate(splits[: fidelity.splits])]
    if len(folds) < fidelity.splits:
        raise SearchError(f"fidelity.splits must be at most the {len(splits)} splits given, but is {fidelity.splits}.")
    for fold in folds:
        fold.preprocess  # noqa: B018  so that no candidate is charged for it
    warm_up(place)
    return [
        _outcome(each, folds, Budget(fidelity.epochs, stop_epoch), seed, operations, seconds, max_memory)
        for each in candidates
    ]


def _fold(data: Dataset, split: Split, fidelity: Fidelity, seed: int, index: int, device: torch.device) -> Fold:
    rows = training_rows(split, fidelity.rows, seed, index)
    return Fold(data, rows, np.asarray(split.validation), device)


def training_rows(split: Split, most: int, seed: int, index: int) -> np.ndarray:
    """Returns at most ``most`` training rows of split ``index``, sorted; fewer are a part of more."""
    rows = np.asarray(split.train)
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(derive(seed, _SUBSAMPLE, index)).permutation(rows)[:most])


def split_seed(seed: int, index: int) -> int:
    """Returns the seed with which ``fit`` repeats what ``train(seed=seed)`` does on split ``index``."""
    return derive(seed, _SPLIT, index)


def _outcome(
    candidate: Candidate,
    folds: Sequence[Fold],
    budget: Budget,
    seed: int,
    operations: Mapping[str, Operation],
    seconds: float | None,
    max_memory: int | None,
) -> Outcome:
    start = time.perf_counter()
    device = folds[0].device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    counted = Count(0, 0, 0)
    try:
        batch = batch_size(len(folds[0].train_rows))
        counted = count(candidate.architecture, folds[0].signature, operations, batch=batch)
        _check_memory(counted, batch, device, max_memory)
        budget = replace(budget, deadline=math.inf if seconds is None else start + seconds)
        outcome = _complete(candidate, folds, budget, seed, operations)
    except Exception as error:
        outcome = _failure(error)
    if outcome.status == "oom":
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else counted.memory
    spent = time.perf_counter() - start
    return replace(outcome, cost=Cost(spent, counted.flops, counted.parameters, memory, str(device)))


def _check_memory(counted: Count, batch: int, device: torch.device, most: int | None) -> None:
    """Raises OutOfMemoryError where a step on ``batch`` rows, or the weights on their way there, would not fit."""
    free = free_memory(device) if most is None else most
    if free is not None and counted.memory > free:
        raise OutOfMemoryError(
            f"a step on {batch} rows needs about {counted.memory / 2**20:,.0f} MiB, but {free / 2**20:,.0f} are free; "
            f"the network has {counted.parameters:,} parameters."
        )
    host = free_memory(torch.device("cpu")) if device.type != "cpu" else None  # networks are built there
    if host is not None and 4 * counted.parameters > host:
        raise OutOfMemoryError(
            f"{counted.parameters:,} parameters are built in the host's memory, where {host / 2**20:,.0f} MiB are free."
        )


def _failure(error: Exception) -> Outcome:
    text = str(error).strip().split("\n")[0]
    if isinstance(error, DivergedError):
        return Outcome("diverged", text)
    if isinstance(error, OutOfTimeError):
        return Outcome("timeout", text)
    if is_out_of_memory(error):
        return Outcome("oom", text or "memory ran out.")
    return Outcome("error", f"{type(error).__name__}: {text}")


def _complete(
    candidate: Candidate,
    folds: Sequence[Fold],
    budget: Budget,
    seed: int,
    operations: Mapping[str, Operation],
) -> Outcome:
    task = folds[0].data.task
    losses: list[np.ndarray] = []
    measured: list[dict[str, float]] = []
    curves: list[tuple[float, ...]] = []
    best_epochs: list[int] = []
    for index, fold in enumerate(folds):
        network, learned = fit_fold(candidate, fold, budget, split_seed(seed, index), operations)
        answer = outputs(network, fold.rows(fold.views(network.architecture), training=False))
        predictions, y, scale = _predictions(answer, fold)
        losses.append(metrics.row_losses(task, predictions, y, scale))
        measured.append(metrics.metrics(task, predictions, y, scale))
        curves.append(learned.curve)
        best_epochs.append(learned.best_epoch)
    score = float(np.mean([metrics.score_of(task, each) for each in losses]))
    if not math.isfinite(score):
        raise DivergedError("the predictions of the best epoch are not finite; a smaller learning rate may help.")
    rows = np.concatenate([fold.validation_rows for fold in folds if fold.validation_rows is not None])
    return Outcome(
        "complete",
        score=score,
        standard_error=metrics.standard_error(task, np.concatenate(losses), folds[0].data.clusters(rows)),
        metrics={name: float(np.mean([each[name] for each in measured])) for name in measured[0]},
        curve=tuple(float(value) for value in np.mean(curves, axis=0)),
        best_epochs=tuple(best_epochs),
    )


def _predictions(answer: torch.Tensor, fold: Fold) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns predictions, truth and scale as ``nas.metrics`` takes them."""
    mean, std = fold.moments
    y = fold.data.y[fold.validation_rows]
    if fold.data.task == "classification":
        return torch.softmax(answer.float(), dim=1).cpu().numpy(), y, 1.0
    return answer.float()[:, 0].cpu().numpy().astype(np.float64) * std + mean, y, std
