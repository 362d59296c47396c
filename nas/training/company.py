"""Candidates in company: which of them are trained side by side, what each is charged, what becomes of failures.

Here belongs everything between a list of candidates and their outcomes, given the folds. Which folds there are belongs
to ``train``, what happens in an epoch to ``learn``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from nas import metrics
from nas.model import Count, count
from nas.operations import Operation
from nas.record import Cost, Outcome
from nas.training.faults import DivergedError, OutOfTimeError, is_out_of_memory
from nas.training.fit import begin
from nas.training.judge import measured, predicted
from nas.training.learn import Budget, Training, advance
from nas.training.memory import (
    Need,
    check_memory,
    forget_peak,
    free_memory,
    need_of,
    peak_memory,
    release_memory,
)
from nas.training.pruner import Pruner
from nas.training.recipe import Candidate, batch_size, derive
from nas.training.resident import Fold

ABREAST = 16  # trainings side by side on the CPU at most
ABREAST_ON_GPU = 1024
NODE_FLOPS = 4_000  # of a row, in the time that calls for a node take (one core, MLPs: shares right within a third)
CACHE_BYTES = 2**25  # what those may touch in a step, so that it stays in the cache
RAISED = (Exception, SystemExit)  # by a candidate: what an operation calls an exit ends nothing but itself
_SPLIT = 10  # purpose of a seed


def split_seed(seed: int, index: int) -> int:
    """Returns the seed with which ``fit`` repeats what ``train(seed=seed)`` does on split ``index``."""
    return derive(seed, _SPLIT, index)


class Evaluation:
    """One candidate on every fold: its trainings, what they cost, and what came of them.

    need: bytes of one of its trainings. memory: those of all of them at once. outcome: None while it is under way.
    """

    def __init__(self, candidate: Candidate, number: int) -> None:
        self.candidate, self.number = candidate, number
        self.forget()

    def forget(self) -> None:
        """Makes it one that has not begun."""
        self.trainings: list[Training] = []
        self.counted, self.need = Count(0, 0, 0), Need(0, 0)
        self.seconds = 0.0
        self.memory = 0
        self.outcome: Outcome | None = None

    @property
    def work(self) -> int:
        """What a step takes in comparison with others beside it: arithmetic, and calls for each node."""
        return self.counted.flops + NODE_FLOPS * len(self.candidate.architecture.nodes)

    @property
    def curve(self) -> tuple[float, ...]:
        """Validation score after each epoch so far, mean over folds."""
        curves = [training.state.curve for training in self.trainings]
        return tuple(float(value) for value in np.mean(curves, axis=0))

    def fail(self, error: Exception | SystemExit) -> None:
        """Ends it with the outcome an exception means, and lets go of its networks."""
        self.outcome = failure(error)
        self.trainings = []

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Charges it the time spent inside; what is raised there is its failure."""
        start = time.perf_counter()
        try:
            yield
        except RAISED as error:
            self.fail(error)
        self.seconds += time.perf_counter() - start


def failure(error: Exception | SystemExit) -> Outcome:
    """Returns the outcome of a candidate that ended in an exception."""
    text = str(error).strip().split("\n")[0]
    if isinstance(error, DivergedError):
        return Outcome("diverged", text)
    if isinstance(error, OutOfTimeError):
        return Outcome("timeout", text)
    if is_out_of_memory(error):
        return Outcome("oom", text or "memory ran out.")
    return Outcome("error", f"{type(error).__name__}: {text or 'no message'}")


@dataclass(frozen=True)
class Busy:
    """What is done next: the candidates by their numbers, and the seconds they may take for it together."""

    who: tuple[int, ...]
    seconds: float


Member: TypeAlias = tuple[Evaluation, Training]


class Company:
    """Trains candidates on folds, many side by side. The arguments are those of ``train``."""

    def __init__(
        self,
        folds: Sequence[Fold],
        budget: Budget,
        seed: int,
        operations: Mapping[str, Operation],
        seconds: float | None = None,
        max_memory: int | None = None,
        pruner: Pruner | None = None,
        metric: metrics.Metric | None = None,
        until: float | None = None,
        notice: Callable[[Busy], None] | None = None,
    ) -> None:
        self.pruner = pruner
        self.notice = notice or (lambda busy: None)
        self.end = math.inf if until is None else time.perf_counter() + until - time.monotonic()
        self.folds, self.budget, self.seed, self.operations = folds, budget, seed, operations
        self.seconds, self.max_memory = math.inf if seconds is None else seconds, max_memory
        self.device = folds[0].device
        data = folds[0].data
        self.metric = metrics.find_metric(metric, data.task, data.y, data.classes, data.weights)

    def outcomes(self, candidates: Sequence[Candidate]) -> list[Outcome]:
        """Returns the outcome of each candidate, in order."""
        evaluations = [Evaluation(candidate, number) for number, candidate in enumerate(candidates)]
        if self.pruner is not None:
            self._train(evaluations)  # all at once: they are compared at each rung
            return [self._costed(evaluation) for evaluation in evaluations]
        by_shape: dict[str, list[Evaluation]] = {}
        for evaluation in evaluations:
            by_shape.setdefault(evaluation.candidate.architecture.key, []).append(evaluation)
        ordered = [evaluation for alike in by_shape.values() for evaluation in alike]
        together = max(1, (ABREAST if self.device.type == "cpu" else ABREAST_ON_GPU) // len(self.folds))
        for start in range(0, len(ordered), together):
            self._train(ordered[start : start + together])
        return [self._costed(evaluation) for evaluation in evaluations]

    def _train(self, evaluations: Sequence[Evaluation]) -> None:
        """Trains evaluations to their ends, or until the pruner stops them.

        Those for whom memory ran out beside others begin again, half of them at a time, down to one alone.
        """
        forget_peak(self.device)
        for evaluation in evaluations:
            self.notice(Busy((evaluation.number,), self.seconds))
            with evaluation.charged():
                self._begin(evaluation)
        begun = [evaluation for evaluation in evaluations if evaluation.outcome is None]
        rungs = [*(self.pruner.rungs(self.budget.epochs) if self.pruner else ()), self.budget.last]
        under_way = list(evaluations)
        for rung in rungs:
            self._advance(under_way, rung)
            under_way = [evaluation for evaluation in under_way if evaluation.outcome is None]
            if rung < self.budget.last and time.perf_counter() >= self.end:
                for evaluation in under_way:  # others may not have got here: they are not compared without them
                    evaluation.fail(OutOfTimeError(f"the seconds allowed were over after epoch {rung}."))
                under_way = []
            if self.pruner is not None and rung < self.budget.last and under_way:
                curves = [evaluation.curve for evaluation in under_way]
                stopped = self.pruner.stops(rung, self.budget.epochs, curves)
                self._judge([evaluation for i, evaluation in enumerate(under_way) if i in stopped])
                under_way = [evaluation for i, evaluation in enumerate(under_way) if i not in stopped]
        self._judge(under_way)
        peak, total = peak_memory(self.device), sum(evaluation.memory for evaluation in begun)
        if peak is not None:
            for evaluation in begun:
                evaluation.memory = peak * evaluation.memory // total
        if crowded := [each for each in evaluations if each.outcome is not None and each.outcome.status == "oom"]:
            release_memory(self.device)
            if len(evaluations) > 1:  # what the others held while they waited may be what was missing
                half = -(-len(crowded) // 2)
                for some in filter(None, (crowded[:half], crowded[half:])):
                    for evaluation in some:
                        evaluation.forget()
                    self._train(some)

    def _judge(self, evaluations: Sequence[Evaluation]) -> None:
        """Gives evaluations that stop here their outcomes."""
        for evaluation in evaluations:
            self.notice(Busy((evaluation.number,), self.seconds - evaluation.seconds))
            with evaluation.charged():
                evaluation.outcome = self._judged(evaluation)
            evaluation.trainings = []

    def _begin(self, evaluation: Evaluation) -> None:
        batch = batch_size(len(self.folds[0].train_rows))
        candidate = evaluation.candidate
        evaluation.counted = count(candidate.architecture, self.folds[0].signature, self.operations, batch=batch)
        evaluation.need = need_of(evaluation.counted, candidate.architecture, self.folds[0], batch)
        abreast = max(1, self._room() // max(1, self._touched(evaluation)))
        evaluation.memory = evaluation.need.of(len(self.folds), abreast)
        check_memory(evaluation.memory, evaluation.counted, self.device, self.max_memory)
        evaluation.trainings = [
            begin(candidate, fold, self.budget, split_seed(self.seed, index), self.operations, metric=self.metric)
            for index, fold in enumerate(self.folds)
        ]
        if not evaluation.trainings[0].can_stack:
            evaluation.memory = evaluation.need.of(len(self.folds), 1)

    def _advance(self, evaluations: Sequence[Evaluation], epoch: int) -> None:
        """Trains every evaluation under way to the end of an epoch, those of one kind side by side."""
        kinds: dict[tuple[object, ...], list[tuple[Evaluation, Training]]] = {}
        for evaluation in evaluations:
            for training in evaluation.trainings:
                if not training.done:
                    kinds.setdefault(training.kind, []).append((evaluation, training))
        for members in kinds.values():
            for some in self._groups(members):
                self._together(some, epoch)

    def _groups(self, members: Sequence[Member]) -> Iterator[list[Member]]:
        """Yields members in groups that fit the cache, or half of a GPU's free memory; equal shapes stand together."""
        most = ABREAST if self.device.type == "cpu" else ABREAST_ON_GPU
        room = self._room()
        group: list[Member] = []
        used = 0
        for member in members:
            needed = self._touched(member[0])
            if group and (len(group) == most or used + needed > room):
                yield group
                group, used = [], 0
            group.append(member)
            used += needed
        if group:
            yield group

    def _room(self) -> int:
        """The bytes that trainings side by side may touch."""
        return CACHE_BYTES if self.device.type == "cpu" else (free_memory(self.device) or 0) // 2

    def _touched(self, evaluation: Evaluation) -> int:
        """Of them, those of one training of an evaluation: of one step in the cache, or all on a GPU."""
        return evaluation.counted.memory if self.device.type == "cpu" else evaluation.need.moving

    def _together(self, members: Sequence[Member], epoch: int) -> None:
        """Trains members side by side; where that fails, in halves, so that a failure has one owner."""
        members = [(evaluation, training) for evaluation, training in members if evaluation.outcome is None]
        if not members:
            return
        owners = [evaluation for evaluation, _ in members]
        shares: dict[Evaluation, float] = {}  # of the time
        work = sum(owner.work for owner in owners)
        for owner in owners:
            shares[owner] = shares.get(owner, 0.0) + owner.work / work
        start = time.perf_counter()
        left = min((self.seconds - owner.seconds) / share for owner, share in shares.items())
        end = min(start + left, self.end)
        self.notice(Busy(tuple(owner.number for owner in shares), end - start))
        error: Exception | SystemExit | None = None
        try:
            advance([training for _, training in members], epoch, end)
        except RAISED as raised:
            error = raised
        spent = time.perf_counter() - start
        for owner, share in shares.items():
            owner.seconds += share * spent
        for owner, training in members:
            if training.state.failure is not None and owner.outcome is None:
                owner.fail(training.state.failure)
        if error is None:
            return
        over = time.perf_counter() >= self.end
        late = [owner for owner in shares if over or owner.seconds >= self.seconds]
        for owner in late if isinstance(error, OutOfTimeError) else shares if len(shares) == 1 else ():
            owner.fail(error)
        no_memory = is_out_of_memory(error)
        del error  # its traceback holds what was in use
        if no_memory:
            release_memory(self.device)
        half = -(-len(members) // 2)
        self._together(members[:half], epoch)
        self._together(members[half:], epoch)

    def _judged(self, evaluation: Evaluation) -> Outcome:
        """Returns the outcome of an evaluation whose trainings have ended: scores over all validation rows."""
        data = self.folds[0].data
        parts: list[metrics.Predicted] = []
        for fold, training in zip(self.folds, evaluation.trainings, strict=True):
            answer = training.answer(fold.rows(fold.views(training.network.architecture), training=False))
            assert fold.validation_rows is not None
            parts.append(predicted(answer, fold, fold.validation_rows))
        score = measured(self.metric, parts)
        if not math.isfinite(score):
            raise DivergedError("the predictions of the best epoch are not finite; a smaller learning rate may help.")
        standard = [metrics.metrics(data.task, p.predictions, p.y, p.scale, p.weights) for p in parts]
        return Outcome(
            "complete",
            score=score,
            standard_error=self.metric.standard_error(parts),
            metrics={name: float(np.mean([each[name] for each in standard])) for name in standard[0]},
            curve=evaluation.curve,
            best_epochs=tuple(training.best_epoch for training in evaluation.trainings),
        )

    def _costed(self, evaluation: Evaluation) -> Outcome:
        counted = evaluation.counted
        assert evaluation.outcome is not None
        cost = Cost(evaluation.seconds, counted.flops, counted.parameters, evaluation.memory, str(self.device))
        return replace(evaluation.outcome, cost=cost)
