"""Candidates for their scores: every split of each, failures turned into outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import torch

from nas.errors import SearchError
from nas.operations import BUILTIN, Operation
from nas.record import Fidelity, Outcome
from nas.training.company import Busy, Company
from nas.training.faults import device_of
from nas.training.learn import Budget
from nas.training.optimizer import warm_up
from nas.training.pruner import Pruner
from nas.training.recipe import Candidate, derive
from nas.training.resident import Fold

if TYPE_CHECKING:
    from nas.dataset import Dataset
    from nas.dataset.splits import Split
    from nas.metrics import Metric

RESIDENT_BYTES = 2**28  # of views of a fold that stay on the device between calls
_SUBSAMPLE = 11  # purpose of a seed


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
    pruner: Pruner | None = None,
    metric: Metric | None = None,
    until: float | None = None,
) -> list[Outcome]:
    """Returns the outcome of each candidate, in order; a candidate that fails is an outcome, never an exception.

    A candidate is trained on the first ``fidelity.splits`` splits for ``fidelity.epochs`` epochs on at most
    ``fidelity.rows`` training rows of each (a shuffle by seed decides which; a smaller number takes a part of a
    larger one's). The score is the mean over splits, its standard error comes from all validation rows; rows count as
    much as their weights say, in losses and in scores. The curve, which chooses the best epoch, is of at most
    ``watched_rows`` of them. On the CPU an outcome, its seconds aside, depends on (candidate, data, splits, fidelity,
    seed, metric) alone, not on the others.

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
        pruner: Stops candidates at rungs of the schedule; such an outcome is complete with a shorter curve. Who goes
            on, goes on from where it stands and ends with the bits of a training that was never looked at.
        metric: What the score and the curve are; the default of the task unless given.
        until: ``time.monotonic()`` at which all of them end.
    """
    folds = folds_of(data, splits, fidelity, seed=seed, device=device)
    return train_on(
        folds,
        candidates,
        fidelity.epochs,
        seed=seed,
        operations=operations,
        stop_epoch=stop_epoch,
        seconds=seconds,
        max_memory=max_memory,
        pruner=pruner,
        metric=metric,
        until=until,
    )


def folds_of(
    data: Dataset, splits: Sequence[Split], fidelity: Fidelity, *, seed: int, device: str = "cpu"
) -> list[Fold]:
    """Returns what ``train`` trains on, ready for any number of ``train_on``: preprocessing fitted, data on its device.

    The arguments are those of ``train``.
    """
    place = device_of(device)
    folds = [_fold(data, split, fidelity, seed, i, place) for i, split in enumerate(splits[: fidelity.splits])]
    if len(folds) < fidelity.splits:
        raise SearchError(f"fidelity.splits must be at most the {len(splits)} splits given, but is {fidelity.splits}.")
    for fold in folds:
        fold.preprocess  # noqa: B018  so that no candidate is charged for it
    return folds


def train_on(
    folds: Sequence[Fold],
    candidates: Sequence[Candidate],
    epochs: int,
    *,
    seed: int,
    operations: Mapping[str, Operation] = BUILTIN,
    stop_epoch: int | None = None,
    seconds: float | None = None,
    max_memory: int | None = None,
    pruner: Pruner | None = None,
    metric: Metric | None = None,
    until: float | None = None,
    notice: Callable[[Busy], None] | None = None,
) -> list[Outcome]:
    """Returns the outcome of each candidate on folds that are ready; the other arguments are those of ``train``.

    ``notice`` is told what is done next, before it is.
    """
    if pruner is not None and stop_epoch is not None:
        raise SearchError(f"a pruner needs curves, but {stop_epoch=} keeps none; leave one of them out.")
    with suppress(RuntimeError, AssertionError):  # of a device that is gone: each candidate says so as its outcome
        warm_up(folds[0].device)
    budget, limits = Budget(epochs, stop_epoch), (seconds, max_memory)
    company = Company(folds, budget, seed, operations, *limits, pruner, metric, until, notice)
    outcomes = company.outcomes(candidates)
    for fold in folds:
        fold.trim(RESIDENT_BYTES)
    return outcomes


def _fold(data: Dataset, split: Split, fidelity: Fidelity, seed: int, index: int, device: torch.device) -> Fold:
    rows = training_rows(split, fidelity.rows, seed, index)
    return Fold(data, rows, np.asarray(split.validation), device)


def training_rows(split: Split, most: int, seed: int, index: int) -> np.ndarray:
    """Returns at most ``most`` training rows of split ``index``, sorted; fewer are a part of more."""
    rows = np.asarray(split.train)
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(derive(seed, _SUBSAMPLE, index)).permutation(rows)[:most])
