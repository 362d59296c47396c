"""Evaluations of one search: a candidate in, its record out; what identifies an evaluation, and when it is known.

Nothing is stored here, and nothing decided: which candidate is next belongs to the controllers, the order of events to
the loop, training itself to ``nas.training``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import ArchitectureError, DataError, SearchError
from nas.protocol import CONFIRM_SPLITS, FRESH, fresh_splits, metric_of, stop_epoch
from nas.record import DatasetInfo, Fidelity, Outcome, Purpose, Record, evaluation_key

if TYPE_CHECKING:
    from nas.dataset import Dataset, Split
    from nas.metrics import Metric
    from nas.model import Signature
    from nas.operations import Operation
    from nas.space import Choices, SearchSpace, Value
    from nas.training import Busy, Candidate, Pruner
    from nas.training.resident import Fold

FARTHEST = 1e17  # deviations: ten thousand of their squares still add up in float32
PROBES = 16  # architectures tried on the data's shapes before a space is refused


@dataclass(frozen=True)
class Group:
    """Candidates that are trained together.

    Attributes:
        choices: Of each.
        candidates: What they describe.
        pruner: Stops some of them early.
        stop: For finalists: the epoch after which they are scored, on fresh splits.
        epochs: Of the schedule, where it is only timed.
        until: ``time.monotonic()`` at which the search is over, None for no limit; it is the same in all processes.
    """

    choices: tuple[Choices, ...]
    candidates: tuple[Candidate, ...]
    pruner: Pruner | None = None
    stop: int | None = None
    epochs: int | None = None
    until: float | None = None


@dataclass(frozen=True, eq=False)
class Circumstances:
    """What trainings depend on besides the candidates: all that another process has to be sent.

    ``seconds`` are what screening a candidate may take, None for no limit.
    """

    data: Dataset
    fidelity: Fidelity
    seed: int
    device: str
    operations: Mapping[str, Operation]
    metric: Metric | None = None
    seconds: float | None = None

    def limit(self, group: Group) -> float | None:
        """Returns the seconds each candidate of a group may take; finalists have more splits to be trained on."""
        return None if self.seconds is None else self.seconds * self.share(group)

    def share(self, group: Group) -> float:
        """Returns how many times the work of a screening each candidate of a group is at most."""
        return 1.0 if group.stop is None else max(1.0, CONFIRM_SPLITS / self.fidelity.splits)


def thorough(fidelity: Fidelity) -> Fidelity:
    """Returns how thoroughly the finalists of a search are trained."""
    return replace(fidelity, splits=CONFIRM_SPLITS)


def trainer(given: Circumstances, notice: Callable[[Busy], None] | None = None) -> Callable[[Group], list[Outcome]]:
    """Returns what trains a group: on the splits every candidate of a search is trained on, finalists on fresh ones.

    ``notice`` is told which candidates of the group are trained next.
    """
    import torch

    from nas.training import folds_of, train_on, warm_up

    warm_up(torch.device(given.device))

    @cache
    def folds(fresh: bool) -> list[Fold]:
        data, seed, fidelity = given.data, given.seed, thorough(given.fidelity) if fresh else given.fidelity
        splits = fresh_splits(data, seed) if fresh else data.splits(fidelity.splits, seed)
        return folds_of(data, splits, fidelity, seed=seed, device=given.device)

    folds(False)  # so that no candidate is charged for it

    def outcomes(group: Group) -> list[Outcome]:
        return train_on(
            folds(group.stop is not None),
            group.candidates,
            group.epochs or given.fidelity.epochs,
            seed=given.seed,
            operations=given.operations,
            stop_epoch=group.stop,
            seconds=given.limit(group),
            pruner=group.pruner,
            metric=given.metric,
            until=group.until,
            notice=notice,
        )

    return outcomes


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Everything an evaluation depends on besides the candidate.

    Attributes:
        search: The name its records carry.
        info: What a history keeps of ``data``.
        data: The rows that are searched on.
        space: Where the choices come from.
        fidelity: How thoroughly a candidate is screened.
        seed: Decides splits and initial weights.
        device: ``cpu`` or ``cuda``.
        metric: What is maximised; the default of the task unless given.
    """

    search: str
    info: DatasetInfo
    data: Dataset
    space: SearchSpace
    fidelity: Fidelity
    seed: int = 0
    device: str = "cpu"
    metric: Metric | None = None

    def key(self, choices: Mapping[str, Value]) -> str:
        """Returns what two screenings share exactly if they are the same computation."""
        return self._key(self._candidate(choices), self.fidelity, self.seed)

    def group(
        self,
        choices: Sequence[Choices],
        pruner: Pruner | None = None,
        *,
        epochs: int | None = None,
        until: float | None = None,
    ) -> Group:
        """Returns candidates as they are trained; with ``epochs`` on a schedule of so many, to be timed."""
        return Group(tuple(choices), tuple(map(self._candidate, choices)), pruner, epochs=epochs, until=until)

    def circumstances(self, seconds: float | None = None) -> Circumstances:
        """Returns what trainings depend on besides; ``seconds`` are what screening a candidate may take."""
        operations = dict(self.space.operations)
        return Circumstances(self.data, self.fidelity, self.seed, self.device, operations, self.metric, seconds)

    def screened(self, choices: Choices, number: int, outcome: Outcome) -> Record:
        """Returns the record of what came of a candidate.

        One that was stopped early is recorded at the epochs it was trained for, under a key of its own: they are the
        first of a longer schedule.
        """
        candidate, epochs = self._candidate(choices), len(outcome.curve)
        if outcome.status != "complete" or not 0 < epochs < self.fidelity.epochs:
            return self._record(candidate, choices, number, self.fidelity, outcome, self.key(choices), "screen")
        short = replace(self.fidelity, epochs=epochs)
        key = self._key(candidate, short, self.seed, schedule=self.fidelity.epochs)
        return self._record(candidate, choices, number, short, outcome, key, "screen")

    def refused(self, choices: Choices, reason: str) -> Record:
        """Returns a failed record for the controller alone: what exceeds a limit is neither trained nor stored."""
        return self.screened(choices, 0, Outcome("error", reason))

    def confirmation_key(self, record: Record) -> str:
        """Returns the key of the confirmation of a screened candidate."""
        stop = stop_epoch(record)
        candidate, fidelity = self._candidate(record.choices), thorough(self.fidelity)
        return self._key(candidate, fidelity, self.seed + FRESH, stop_epoch=stop)

    def finalist(self, record: Record, until: float | None = None) -> Group:
        """Returns a screened candidate as it is confirmed: for the median of its best epochs, none picked by score."""
        return Group((dict(record.choices),), (self._candidate(record.choices),), stop=stop_epoch(record), until=until)

    def seconds_to_confirm(self, record: Record) -> float:
        """Returns what confirming a screened candidate will take about, by what screening it took."""
        share = self.circumstances().share(self.finalist(record))
        return record.outcome.cost.seconds * share * stop_epoch(record) / record.fidelity.epochs

    def confirmed(self, record: Record, number: int, outcome: Outcome) -> Record:
        """Returns the record of what came of a finalist on fresh splits."""
        candidate, key = self._candidate(record.choices), self.confirmation_key(record)
        return self._record(candidate, record.choices, number, thorough(self.fidelity), outcome, key, "confirm")

    def check(self) -> None:
        """Refuses data and spaces that no training could end well with, before anything is trained or stored.

        Raises:
            DataError: If a validation target is too far from those trained on for a score in float32.
            SearchError: If neither the default nor one of ``PROBES`` random architectures can take the data.
        """
        from nas.model import plan

        if self.data.task == "regression":
            self._check_targets()
        rng = np.random.default_rng(self.seed)
        reason: object = None
        for choices in (self.space.default(), *(self.space.sample(rng) for _ in range(PROBES))):
            architecture = self.space.architecture(choices)
            try:
                plan(architecture, self.signature, self.space.operations)
            except ArchitectureError as error:
                reason = reason or error
            else:
                if architecture.inputs:
                    return
                reason = reason or "no input reaches its output; add the edges in between."
        raise SearchError(f"space {self.space.name!r} has no architecture for these data: {reason}")

    def _check_targets(self) -> None:
        from nas.training import training_rows

        for splits in (self._splits, fresh_splits(self.data, self.seed)):
            for index, split in enumerate(splits):
                mean, std = self.data.moments(training_rows(split, self.fidelity.rows, self.seed, index))
                away = np.abs(self.data.y[split.validation].astype(np.float64) - mean) / std
                if away.max() > FARTHEST:
                    raise DataError(
                        f"targets of validation rows must lie within {FARTHEST:g} deviations of those trained on, but "
                        f"one of {self.data.target!r} lies {away.max():.0e} away; leave such rows out."
                    )

    @cached_property
    def signature(self) -> Signature:
        """What a network on the first split maps."""
        from nas.model import Signature
        from nas.preprocess import Preprocess

        return Signature(Preprocess.fit(self.data, self._splits[0].train).shapes, self.data.outputs)

    @cached_property
    def _splits(self) -> list[Split]:
        return self.data.splits(self.fidelity.splits, self.seed)

    def _candidate(self, choices: Mapping[str, Value]) -> Candidate:
        from nas.training import Candidate

        taken = dict(choices)
        return Candidate(self.space.architecture(taken), self.space.settings(taken))

    def _key(self, candidate: Candidate, fidelity: Fidelity, seed: int, **more: int) -> str:
        """The key of an evaluation; ``more`` says how it differs from a training of all epochs, scored at its best."""
        from nas.training import ENGINE, precision

        settings = {**candidate.settings, **more}
        number_format = precision(self.data.kind, self.device)
        return evaluation_key(
            self.info.fingerprint,
            candidate.architecture.key,
            settings,
            fidelity,
            seed,
            number_format,
            ENGINE,
            "" if self.metric is None or self.metric.scorer is None else self.metric.name,
        )

    def _record(
        self,
        candidate: Candidate,
        choices: Mapping[str, Value],
        number: int,
        fidelity: Fidelity,
        outcome: Outcome,
        key: str,
        purpose: Purpose,
    ) -> Record:
        from nas.training import ENGINE

        return Record(
            search=self.search,
            number=number,
            dataset=self.info.fingerprint,
            space=self.space.name,
            space_fingerprint=self.space.fingerprint,
            choices=choices,
            architecture=candidate.architecture,
            settings=candidate.settings,
            fidelity=fidelity,
            seed=self.seed,
            metric=metric_of(self.data) if self.metric is None else self.metric.name,
            outcome=outcome,
            key=key,
            engine=ENGINE,
            created=now(),
            purpose=purpose,
        )


def describe(dataset: Dataset, family: str = "") -> DatasetInfo:
    """What a history keeps of a dataset: sizes, meta-features and hashes of 64 rows, no raw data."""
    from nas.metafeatures import VERSION, metafeatures
    from nas.sketch import sketch

    return DatasetInfo(
        fingerprint=dataset.fingerprint,
        name=dataset.name,
        kind=dataset.kind,
        task=dataset.task,
        rows=len(dataset),
        columns=dataset.columns,
        classes=len(dataset.classes),
        family=dataset.family or family,
        metafeatures=metafeatures(dataset),
        metafeatures_version=VERSION,
        sketch=sketch(dataset),
    )


def now() -> str:
    """Returns the time as records carry it: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
