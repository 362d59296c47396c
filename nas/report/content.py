"""What a report says, as values: which network was found, what it took, what failed. How it looks is ``page``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from nas.metrics import METRICS, display, sign_of
from nas.protocol import FINALISTS
from nas.record import DatasetInfo, Record, SearchInfo
from nas.report.account import Account, candidate


@dataclass(frozen=True)
class Failure:
    """One way to fail: its status and message, and the numbers of the trials it befell."""

    status: str
    message: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Costs:
    """What was spent. seconds: of all trainings, those of the finalists again included; per_trial: smallest, median,
    largest seconds of a trial, None where there was none; device: as recorded, several joined."""

    seconds: float
    confirming: float
    per_trial: tuple[float, float, float] | None
    device: str


@dataclass(frozen=True)
class Content:
    """One search as a report tells it.

    Attributes:
        info: What the history keeps of the search.
        dataset: What it keeps of the dataset, None where that is not known.
        trials: Its screening records by number.
        confirmed: The records of candidates trained again on fresh splits, by number.
        account: What the search says of itself.
    """

    info: SearchInfo
    dataset: DatasetInfo | None
    trials: tuple[Record, ...]
    confirmed: tuple[Record, ...]
    account: Account

    @classmethod
    def of(
        cls, info: SearchInfo, dataset: DatasetInfo | None, records: Sequence[Record], account: Account | None = None
    ) -> Content:
        """Returns the content for the records of one search, in any order; the account is the search's unless given."""
        ordered = sorted(records, key=lambda record: record.number)
        return cls(
            info=info,
            dataset=dataset,
            trials=tuple(r for r in ordered if r.purpose == "screen"),
            confirmed=tuple(r for r in ordered if r.purpose == "confirm"),
            account=Account.from_dict(info.account) if account is None else account,
        )

    @cached_property
    def metric(self) -> str:
        """What the search was scored by; empty where neither a record nor its protocol tells."""
        told = str(self.info.protocol.get("metric", ""))
        return next((record.metric for record in (*self.trials, *self.confirmed)), told)

    @cached_property
    def sign(self) -> int:
        """-1 where the metric is an error that the score is the negative of, else 1."""
        return sign_of(self.metric)

    @cached_property
    def shown(self) -> str:
        """The metric that is shown beside the score: accuracy or r2; empty where the task is not known."""
        return display(self.dataset.task) if self.dataset and self.dataset.task in METRICS else ""

    def value(self, score: float) -> float:
        """Returns a score in the metric's own direction."""
        return self.sign * score

    @cached_property
    def complete(self) -> tuple[Record, ...]:
        """The trials with a score, best first; those stopped early, at less than the full fidelity, are left out."""
        fidelities = {record.fidelity for record in self.trials}
        short = {one for one in fidelities if any(one < other for other in fidelities)}
        scored = [r for r in self.trials if r.score is not None and r.fidelity not in short]
        return tuple(sorted(scored, key=lambda record: (-(record.score or 0.0), record.number)))

    @cached_property
    def finalists(self) -> tuple[tuple[Record | None, Record], ...]:
        """(trial, the same candidate on fresh splits) of each finalist, best on fresh splits first, failures last.

        The trial is None where the candidate was known from an earlier search. Finalists of a time when the search had
        fewer trials, whom others have overtaken since, are left out.
        """
        trials = {candidate(record): record for record in self.trials}
        top = {candidate(record) for record in self.complete[:FINALISTS]}
        pairs = [(trials.get(candidate(c)), c) for c in self.confirmed]
        kept = [(trial, c) for trial, c in pairs if trial is None or candidate(c) in top]
        order = {candidate(record): rank for rank, record in enumerate(self.complete)}
        kept.sort(key=lambda pair: order.get(candidate(pair[1]), -1))
        return tuple(sorted(kept, key=lambda pair: (pair[1].score is None, -(pair[1].score or 0.0))))

    @cached_property
    def found(self) -> Record | None:
        """The record of the network found: on fresh splits where there are some, else the trial's; None if none.

        It is the one the search named, where the account says so, else the best on fresh splits, else the best trial.
        """
        confirmed = [record for record in self.confirmed if record.score is not None]
        named = [r for r in (*confirmed, *self.complete) if candidate(r) == self.account.found]
        ranked = [record for _, record in self.finalists if record.score is not None]
        return next(iter((*named, *ranked, *self.complete)), None)

    @cached_property
    def found_number(self) -> int | None:
        """The number of the trial that found it; None where it was known from an earlier search."""
        if self.found is None:
            return None
        same = [record.number for record in self.trials if candidate(record) == candidate(self.found)]
        return same[0] if same else None

    @cached_property
    def best_so_far(self) -> tuple[tuple[int, float], ...]:
        """(number of the trial, score) of each trial that was better than all before it."""
        steps: list[tuple[int, float]] = []
        for record in sorted(self.complete, key=lambda record: record.number):
            assert record.score is not None
            if not steps or record.score > steps[-1][1]:
                steps.append((record.number, record.score))
        return tuple(steps)

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """The ways in which trainings failed, the commonest first; the finalists' are among them without a number."""
        found: dict[tuple[str, str], list[int]] = {}
        for record in (*self.trials, *self.confirmed):
            if record.score is None:
                numbers = found.setdefault((record.outcome.status, record.outcome.message), [])
                numbers += [record.number] if record.purpose == "screen" else []
        order = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
        return tuple(Failure(status, message, tuple(numbers)) for (status, message), numbers in order)

    @cached_property
    def costs(self) -> Costs:
        """What was spent on it."""
        seconds = [record.outcome.cost.seconds for record in self.trials]
        confirming = sum(record.outcome.cost.seconds for record in self.confirmed)
        devices = sorted({record.outcome.cost.device for record in (*self.trials, *self.confirmed)})
        per_trial = (min(seconds), median(seconds), max(seconds)) if seconds else None
        return Costs(sum(seconds) + confirming, confirming, per_trial, ", ".join(devices))

    def to_dict(self) -> dict[str, Any]:
        """Returns everything a report says as a JSON-ready dict; scores are higher-is-better, numbers begin at 0."""
        return {
            "search": {k: v for k, v in self.info.to_dict().items() if k not in ("space_json", "account")},
            "dataset": self.dataset.to_dict() if self.dataset else None,
            "metric": self.metric,
            "trials": [_row(record) for record in self.trials],
            "best_so_far": [list(step) for step in self.best_so_far],
            "finalists": [
                {"trial": None if trial is None else trial.number, **_row(record)} for trial, record in self.finalists
            ],
            "found": None
            if self.found is None
            else {
                **_row(self.found),
                "trial": self.found_number,
                "purpose": self.found.purpose,
                "graph": self.found.architecture.to_dict(),
            },
            "costs": {
                "seconds": self.costs.seconds,
                "confirming": self.costs.confirming,
                "per_trial": self.costs.per_trial,
                "device": self.costs.device,
            },
            "failures": [{"status": f.status, "message": f.message, "trials": list(f.numbers)} for f in self.failures],
            "account": self.account.to_dict(),
        }


def _row(record: Record) -> dict[str, Any]:
    outcome = record.outcome.to_dict()
    return {
        "number": record.number,
        "architecture": record.architecture.summary(),
        "architecture_key": record.architecture.key,
        "settings": dict(record.settings),
        "fidelity": record.fidelity.to_dict(),
        **outcome,
    }
