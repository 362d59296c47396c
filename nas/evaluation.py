"""Evaluations of one search: a candidate in, its record out; what identifies an evaluation, and when it is known.

Nothing is stored here, and nothing decided: which candidate is next belongs to the controllers, the order of events to
the loop, training itself to ``nas.training``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import ArchitectureError, SearchError
from nas.protocol import CONFIRM_SPLITS, FRESH, fresh_splits, metric_of, stop_epoch
from nas.record import DatasetInfo, Fidelity, Outcome, Purpose, Record, evaluation_key

if TYPE_CHECKING:
    from nas.dataset import Dataset, Split
    from nas.metrics import Metric
    from nas.model import Signature
    from nas.space import Choices, SearchSpace, Value
    from nas.training import Candidate

TIMED, TIMING = 4, 4.0  # candidates timed before a search, and the seconds after which no further one is
PROBES = 16  # architectures tried on the data's shapes before a space is refused


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

    def key(self, choices: Choices) -> str:
        """Returns what two screenings share exactly if they are the same computation."""
        return self._key(self._candidate(choices), self.fidelity, self.seed)

    def screen(self, choices: Choices, number: int) -> Record:
        """Trains a candidate on the splits that every candidate of this search is trained on."""
        return self._evaluated(choices, number, self._splits, self.fidelity, self.key(choices), "screen")

    def refused(self, choices: Choices, reason: str) -> Record:
        """Returns a failed record for the controller alone: what exceeds a limit is neither trained nor stored."""
        outcome = Outcome("error", reason)
        return self._record(self._candidate(choices), choices, 0, self.fidelity, outcome, self.key(choices), "screen")

    def confirmation_key(self, record: Record) -> str:
        """Returns the key of the confirmation of a screened candidate."""
        return self._key(self._candidate(record.choices), self._thorough, self.seed + FRESH, stop_epoch(record))

    def confirm(self, record: Record, number: int) -> Record:
        """Trains a finalist on fresh splits for the median of its best epochs: no epoch is picked by score."""
        splits = fresh_splits(self.data, self.seed)
        key = self.confirmation_key(record)
        return self._evaluated(record.choices, number, splits, self._thorough, key, "confirm", stop_epoch(record))

    def check(self) -> None:
        """Refuses a space whose architectures cannot take the data, before anything is trained or stored.

        Raises:
            SearchError: If neither the default nor one of ``PROBES`` random architectures can.
        """
        from nas.model import plan

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

    def seconds(self, likely: Sequence[Choices] = ()) -> tuple[float, float]:
        """Returns how long one screening and one confirmation will take about, from short trainings timed now.

        The first of ``likely`` candidates, or random ones, are trained for one and for three epochs; what an epoch
        takes and what a training takes besides follow from the two. Nothing of it is recorded.
        """
        from nas.training import train

        rng = np.random.default_rng(self.seed)
        timed: list[tuple[float, float]] = []  # besides, an epoch
        end = time.perf_counter() + TIMING
        sampled = [] if likely else [self.space.sample(rng) for _ in range(TIMED)]
        for number, choices in enumerate([self.space.default(), *likely[:TIMED], *sampled]):
            spent = []
            for epochs in (1, 3):
                fidelity = replace(self.fidelity, epochs=epochs)
                started = time.perf_counter()
                train(
                    [self._candidate(choices)],
                    self.data,
                    self._splits,
                    fidelity,
                    seed=self.seed,
                    device=self.device,
                    operations=self.space.operations,
                    metric=self.metric,
                )
                spent.append(time.perf_counter() - started)
            epoch = max(0.0, (spent[1] - spent[0]) / 2)
            if number:  # the first one pays for what torch loads once
                timed.append((max(0.0, spent[0] - epoch), epoch))
            if timed and time.perf_counter() > end:
                break
        besides, epoch = np.mean(timed, axis=0)
        screening = besides + epoch * self.fidelity.epochs
        return float(screening), float(screening * CONFIRM_SPLITS / self.fidelity.splits)

    @cached_property
    def signature(self) -> Signature:
        """What a network on the first split maps."""
        from nas.model import Signature
        from nas.preprocess import Preprocess

        return Signature(Preprocess.fit(self.data, self._splits[0].train).shapes, self.data.outputs)

    @cached_property
    def _splits(self) -> list[Split]:
        return self.data.splits(self.fidelity.splits, self.seed)

    @property
    def _thorough(self) -> Fidelity:
        return replace(self.fidelity, splits=CONFIRM_SPLITS)

    def _candidate(self, choices: Mapping[str, Value]) -> Candidate:
        from nas.training import Candidate

        taken = dict(choices)
        return Candidate(self.space.architecture(taken), self.space.settings(taken))

    def _key(self, candidate: Candidate, fidelity: Fidelity, seed: int, stop: int | None = None) -> str:
        from nas.training import ENGINE, precision

        settings = dict(candidate.settings) if stop is None else {**candidate.settings, "stop_epoch": stop}
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

    def _evaluated(
        self,
        choices: Mapping[str, Value],
        number: int,
        splits: list[Split],
        fidelity: Fidelity,
        key: str,
        purpose: Purpose,
        stop: int | None = None,
    ) -> Record:
        from nas.training import train

        candidate = self._candidate(choices)
        outcome = train(
            [candidate],
            self.data,
            splits,
            fidelity,
            seed=self.seed,
            device=self.device,
            operations=self.space.operations,
            stop_epoch=stop,
            metric=self.metric,
        )[0]
        return self._record(candidate, choices, number, fidelity, outcome, key, purpose)

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
