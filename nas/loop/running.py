"""One search over its life: prepared, run trial by trial, finished.

With a budget in trials on one machine it is a function of (seed, history snapshot, versions): interrupted and called
again, it replays what is recorded and goes on.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from nas.dataset import Dataset
from nas.errors import SearchError
from nas.evaluation import Evaluator, Group, describe, now
from nas.executors import Done, Failed, Processes
from nas.goals import Goals, Meter
from nas.loop.arguments import (
    FidelitySpec,
    MetricSpec,
    check_time,
    check_types,
    default_space,
    device_of,
    has_no_name,
    is_nameless,
    metric_for,
    set_aside,
    spec_name,
    whole,
)
from nas.loop.endings import failures, nothing_trained
from nas.loop.estimate import SHARE, TIMED, pace
from nas.loop.finalists import Finalists, by_score
from nas.loop.limit import Limit
from nas.loop.place import apart, outcomes, place_of
from nas.loop.proposals import Proposals, controller_of
from nas.loop.stopping import Stopping
from nas.metadataset.histories import YOURS, Histories, Source
from nas.protocol import FINALISTS, default_fidelity
from nas.readable import counted
from nas.record import Fidelity, PastDataset, Record, SearchInfo, digest_of
from nas.report import Account, account_at_end, account_at_start
from nas.result import Result
from nas.sketch import KIN, kinship

if TYPE_CHECKING:
    from nas.controllers import Controller, ControllerSpec
    from nas.space import Choices, SearchSpace
ASKING, LOADING = 0.1, 4.0  # seconds a controller takes for a choice, and a process until it can train, about
WORKERS = 1024  # processes at most


class Search:
    """One search over its life: prepared, run trial by trial, finished. The arguments are those of ``search``.

    Attributes:
        dataset: The rows that are searched on; ``test`` the rows set aside, or None.
        name: Of the search in its storage.
        metric: What is maximised.
        records: What was evaluated so far, in order.
        notes: Sentences for the user about what was decided on the way.
        interrupted: Whether Ctrl-C ended the trials, or what comes after them.
        controller: What chooses the candidates.
    """

    controller: Controller
    _kept: SearchInfo

    def __init__(
        self,
        data: Dataset,
        *,
        space: SearchSpace | None = None,
        trials: int = 30,
        seconds: float | Limit | None = None,
        controller: ControllerSpec = "meta",
        history: Source = YOURS,
        storage: Source = None,
        name: str | None = None,
        seed: int = 0,
        fidelity: FidelitySpec = None,
        workers: int = 1,
        candidate_seconds: float | None = None,
        metric: MetricSpec = None,
        test: Dataset | float | None = None,
        objectives: Sequence[str] = ("score",),
        max_size: str | float | None = None,
        max_latency: str | float | None = None,
        device: str | None = None,
    ) -> None:
        trials, seed = whole("trials", trials, 1), whole("seed", seed, 0)
        from nas.training import Recipe

        check_types(space, fidelity)
        check_time("candidate_seconds", candidate_seconds)
        self._limit = seconds if isinstance(seconds, Limit) else Limit(seconds)
        self.workers = whole("workers", workers, 1, WORKERS)
        self.whole = data
        self.dataset, self.test = set_aside(data, test)
        self.metric = metric_for(metric, self.dataset)
        self.space = space or default_space(self.dataset)
        self.name, self.seed = name or "", seed
        Recipe.of(self.space.settings(self.space.default()))  # refuses a setting that no training knows
        self.goals = Goals.of(objectives, max_size, max_latency)
        self.fidelity = fidelity if isinstance(fidelity, Fidelity) else default_fidelity(self.dataset)
        self._stopping = Stopping(fidelity, self.fidelity.epochs)
        self.trials = self._stopping.rounds.whole(trials)
        self.device = device_of(device)
        self.records: list[Record] = []
        self.notes: list[str] = list(self.dataset.dropped)
        if self.dataset.given_validation is not None:
            self.notes.append(
                "finalists are confirmed on the validation rows they were chosen on; test rows would tell more"
            )
        if self.trials > trials:
            self.notes.append(f"Hyperband trains whole groups: {self.trials} trials rather than {trials}")
        if self.workers > 1:
            self.notes.append("with several workers the same call may find another network: who ends first is chance")
        self._spec = controller
        self._done = self._late = self.interrupted = False
        self._prepared = 0.0
        self._begun: list[Choices] = []  # of a group that the end of an earlier call cut short
        self._histories = Histories(history, storage)
        try:
            with self._limit.preparing("the search was prepared", "fewer rows" if history is None else "history=None"):
                self._prepare(history is None, candidate_seconds)
        except BaseException:
            self._histories.close()
            raise

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *exception: object) -> None:
        self._executor.__exit__()
        self._histories.close()

    @property
    def storage(self) -> str:
        """Where the search is recorded."""
        return self._histories.storage.place

    @property
    def known(self) -> str:
        """How many past datasets there are to learn from, in words."""
        return self._histories.counted(self.past)

    def estimate(self) -> float:
        """Seconds that the trials and the confirmation of the finalists will take about, those on record aside."""
        screened = [record for record in self._own if record.purpose == "screen" and record.number < self.trials]
        done, at_once = len(screened), min(self.workers, os.cpu_count() or 1)
        if done == self.trials:
            return min(self._finalists.seconds(screened, at_once), self._limit.left)
        likely = self.controller.ask(TIMED) if isinstance(self._spec, str) else []
        paced = pace(self._evaluator, likely, self._executor, self._limit.share(SHARE))
        loading = LOADING if isinstance(self._executor, Processes) else 0.0
        seconds = (
            sum(self._stopping.rounds.at(n)[0].share for n in range(done, self.trials)) * paced.screening / at_once
        )
        seconds += (self.trials - done) * (ASKING + self._meter.seconds())
        seconds += math.ceil(FINALISTS / at_once) * paced.confirmation
        return min(loading + seconds, self._limit.left)

    def _slowest(self) -> float:
        """The most seconds a screening took so far."""
        return max((record.outcome.cost.seconds for record in self.records), default=0.0)

    # ---- the trials --------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Record]:
        """Yields the record of every trial when it is committed; those of an earlier call first.

        Raises:
            KeyboardInterrupt: Where it comes before the first trial has ended; later ones end the trials with a note,
                and what is on record besides is yielded.
        """
        try:
            yield from self._replayed()
            self._prepared = self._limit.gone
            yield from self._trained()
        except KeyboardInterrupt:
            others = [r for r in self._own if r.purpose == "screen" and len(self.records) <= r.number < self.trials]
            self.records += others
            if not self.records:
                raise
            self.interrupted = True
            self.notes.append(
                f"interrupted after {len(self.records)} of {self.trials} trials: the best of them is the result (again "
                "Ctrl-C ends at once); the same call goes on with the others"
            )
            yield from others
        if self._late and len(self.records) < self.trials:
            self.notes.append(
                f"{self._limit.seconds:g} seconds were over after {len(self.records)} of {self.trials} trials; the "
                "same call with more of them goes on"
            )
        if refused := self._proposals.refused:
            self.notes.append(f"{len(refused)} candidates were not trained: {refused[-1]}, for example")
        if self._proposals.exhausted and not refused:
            self.notes.append(f"the space holds no more than {counted(len(self.records), 'different candidate')}")
        self.notes += failures(self.records)
        self._done = len(self.records) >= self.trials or self._proposals.exhausted

    def _replayed(self) -> Iterator[Record]:
        """Yields what is on record.

        The controller is asked again, so that a continued search is in the same state as one that was never
        interrupted: it is told again of what it asked for in vain.
        """
        own = {record.number: record for record in self._own if record.purpose == "screen"}
        self._limit.less(sum(record.outcome.cost.seconds for record in self._own) / self.workers)
        while (number := len(self.records)) in own and number < self.trials:
            size = min(self._stopping.rounds.at(number)[1], self.trials - number)
            group = [own[n] for n in takewhile(own.__contains__, range(number, number + size))]
            keys = {self._evaluator.key(record.choices) for record in group}
            asked = self._asked(number, size, recorded=keys, until=self._limit.end)
            self._begun = [c for c in asked if self._evaluator.key(c) not in keys][: size - len(group)]
            self._tell(group)
            yield from group

    def _trained(self) -> Iterator[Record]:
        """Yields what is trained now, group by group, as results come."""
        again: deque[Group] = deque()
        pending: dict[int, list[str]] = {}  # by id of a group: the keys of its candidates

        def groups() -> Iterator[Group]:
            while again or self.trials > (number := len(self.records) + sum(map(len, pending.values()))):
                until = self._limit.end - self._finalists.seconds(self.records, self.workers) - self._meter.took
                if time.monotonic() > until:
                    self._late = True
                    return
                if again:
                    group: Group | None = again.popleft()
                else:
                    group = self._next_group(number, [key for keys in pending.values() for key in keys], until)
                if group is None:
                    self._late = time.monotonic() >= until
                    return
                group = group if until == math.inf else replace(group, until=until)
                pending[id(group)] = [self._evaluator.key(choices) for choices in group.choices]
                yield group

        while True:
            for group, result in self._executor.run(groups()):
                del pending[id(group)]
                if isinstance(result, Failed) and len(group.choices) > 1:
                    group, others = apart(self._evaluator, group, result)
                    again += others
                if group.choices:
                    yield from self._kept_group(group, result)
            if not again or self._late:
                return

    def _next_group(self, number: int, pending: Sequence[str], until: float) -> Group | None:
        """What is trained as trial ``number`` and those after it, None where space or time is at its end."""
        size = min(self._stopping.rounds.at(number)[1], self.trials - number)
        choices, self._begun = self._begun, []
        choices = choices or self._asked(number, size, pending, until=until)
        return self._evaluator.group(choices, self._stopping.pruner(number, len(choices))) if choices else None

    def _asked(
        self,
        number: int,
        count: int,
        pending: Collection[str] = (),
        recorded: Collection[str] = (),
        until: float = math.inf,
    ) -> list[Choices]:
        """The candidates for trial ``number`` and those after it; what is known of others is told on the way."""
        self._meter.turn(number)
        before = len(self._proposals.hits)
        choices = self._proposals.next(count, pending, recorded, until)
        self._stopping.tell([hit for hit in self._proposals.hits[before:] if hit.search != self.name])
        return choices

    def _tell(self, records: Sequence[Record]) -> None:
        """Passes on what came of candidates."""
        self.records += records
        self._proposals.tell(records)
        self._stopping.tell(records)

    def _kept_group(self, group: Group, result: Done | Failed) -> list[Record]:
        """The records of a group, committed and told; who was under way when the time was over has none."""
        found = list(zip(group.choices, outcomes(result, self.device), strict=False))
        if group.until is not None and time.monotonic() >= group.until:
            self._late = True
            found = [(choices, outcome) for choices, outcome in found if outcome.status != "timeout"]
        records = [
            self._evaluator.screened(choices, number, outcome)
            for number, (choices, outcome) in enumerate(found, len(self.records))
        ]
        self._histories.storage.append(records)
        self._tell(records)
        return records

    def finish(self) -> Result:
        """Trains the finalists again on fresh splits, in the time that is left, and names the best.

        Raises:
            SearchError: If no candidate could be trained; it names the commonest reason.
            KeyboardInterrupt: Where it is the second one; the first ends what is under way with a note.
        """
        complete = sorted((r for r in [*self.records, *self._hits_once()] if r.score is not None), key=by_score)
        whole = [r for r in complete if r.fidelity == self.fidelity]
        if 0 < len(whole) < min(FINALISTS, len(complete)):
            self.notes.append(
                f"{len(whole)} of {len(complete)} candidates went on to the end, and {FINALISTS} would be compared on "
                f"fresh splits{'' if self._proposals.exhausted else '; more trials leave more to choose from'}"
            )
        complete = whole or complete
        if not complete:
            raise SearchError(nothing_trained(self.records, self._proposals.refused, self._limit, self._prepared))
        finalists = list(islice(self._within(complete), FINALISTS))
        if not finalists:
            raise SearchError(f"no candidate keeps the limits: {self._meter.violation(complete[0].architecture)}.")
        confirmed = self._confirmed(finalists)
        scored = [(c.score, r) for r, c in confirmed if c.score is not None]
        best = max(scored, key=lambda pair: pair[0])[1] if scored else finalists[0]
        if not whole:
            self.notes.append(
                f"of {counted(len(complete), 'candidate')} none went on to the end: the best one was stopped after "
                f"{best.fidelity.epochs} of {self.fidelity.epochs} epochs"
            )
        self._measure([*complete, *(record for record in self.records if record.score is not None)])
        known = [record for record in complete if self._meter.knows(record.architecture)]
        result = Result(
            best=best,
            records=tuple(self.records),
            confirmed=tuple(record for _, record in confirmed),
            dataset=self.dataset,
            whole=self.whole,
            test=self.test,
            space=self.space,
            name=self.name,
            storage=self._histories.storage.place,
            seed=self.seed,
            device=self.device,
            metric=self.metric,
            explanation=self.controller.explain(),
            front=self._meter.front(self._within(known)) if len(self.goals.objectives) > 1 else (),
            objectives=self.goals.objectives,
            costs=self._meter.costs(self.records) if len(self.goals.objectives) > 1 else {},
            notes=tuple(self.notes),
        )
        done = self._done and len(confirmed) == len(finalists) and len(known) == len(complete)
        finished = self._kept.finished or (now() if done else "")
        account = account_at_end(result, Account.from_dict(self._kept.account))
        account = replace(account, footprints=self._meter.footprints)
        kept = replace(self._kept, finished=finished, account=account.to_dict())
        self._kept = self._histories.storage.add_search(kept)
        return result

    def _confirmed(self, finalists: Sequence[Record]) -> list[tuple[Record, Record]]:
        """Trains finalists again, and returns (screened, confirmed) records; a note says what kept it from all."""
        why, then = f"{self._limit.seconds or 0:g} seconds were over", ""
        try:
            self._finalists.train(finalists, self._limit.end)
        except KeyboardInterrupt:
            if self.interrupted:
                raise
            self.interrupted = True
            why, then = "interrupted", "; the same call goes on with the others"
        confirmed = self._finalists.confirmed(finalists)
        if len(confirmed) < len(finalists):
            self.notes.append(
                f"{why} after {len(confirmed)} of {len(finalists)} finalists had been trained again on fresh splits"
                f"{'' if confirmed else ': the score is that of the trials'}{then}"
            )
        return confirmed

    def _measure(self, records: Sequence[Record]) -> None:
        """Measures what they cost, where that is asked for and not known, in the time there is; a note tells of others.

        What this call trained was measured before, so these are of earlier ones.
        """
        why, more = f"{self._limit.seconds or 0:g} seconds were over", " with more of them"
        try:
            for record in records:
                if time.monotonic() < self._limit.end or self._kept.finished:  # of which an earlier version kept none
                    self._meter.measure(record.architecture)
        except KeyboardInterrupt:
            if self.interrupted:
                raise
            self.interrupted = True
            why, more = "interrupted", ""
        if missing := {r.architecture.key for r in records if not self._meter.knows(r.architecture)}:
            self.notes.append(
                f"{why} before {counted(len(missing), 'candidate')} known from before had been measured: the front is "
                f"of the others; the same call{more} measures them too"
            )

    def _within(self, records: Sequence[Record]) -> Iterator[Record]:
        """Those that keep the limits: what was trained here was measured before, and need not be as fast again."""
        return (r for r in records if r.search == self.name or not self._meter.violation(r.architecture))

    # ---- inside ------------------------------------------------------------------------------------------------

    def _default_name(self, cold: bool) -> str:
        what = {
            "dataset": self.info.fingerprint,
            "space": self.space.fingerprint,
            "default": self.space.default(),
            "protocol": self._protocol(),
            "seed": self.seed,
            "cold": cold,
        }
        return f"{self.dataset.name}-{digest_of(what)[:8]}"

    def _protocol(self) -> dict[str, Any]:
        from nas.training import precision

        return {
            "metric": self.metric.name,
            "fidelity": self.fidelity.to_dict(),
            "controller": spec_name(self._spec),
            "precision": precision(self.dataset.kind, self.device),
            **({"schedule": self._stopping.schedule} if self._stopping.schedule else {}),
            **self.goals.to_dict(),
        }

    def _begin(self) -> None:
        """Opens the search in its storage, or continues it from the history it began with."""
        import json

        storage = self._histories.storage
        begun = storage.search(self.name)
        nameless = {"controller": is_nameless(self._spec), "metric": has_no_name(self.metric)}
        nameless["pruner"] = self._stopping.nameless
        for what in [what for what, is_so in nameless.items() if is_so and begun is not None]:
            self.notes.append(f"continues {self.name!r}; if the {what} is another one now, pass name=")
        snapshot = self._histories.snapshot(begun.snapshot_last if begun else None)
        past = self.past = self._histories.past(snapshot.last, without=self.name)
        self._tell_kin(past)
        self.notes += filter(None, [self._stopping.learn(past)])
        space = self.space if self.goals.plain else self.space.within(self._meter.allows)
        self.controller = controller_of(
            self._spec, space, self.seed, past, self.info, self._histories.priors
        )  # may refuse: nothing is stored yet
        info = SearchInfo(
            name=self.name,
            dataset=self.info.fingerprint,
            space=self.space.name,
            space_json=json.dumps(self.space.to_dict(), sort_keys=True),
            protocol=self._protocol(),
            seed=self.seed,
            controller=spec_name(self._spec),
            snapshot_last=snapshot.last,
            snapshot_digest=snapshot.digest,
            created=now(),
        )
        storage.add_dataset(self.info)
        self._kept = storage.add_search(info)  # refuses a name that belongs to another search
        self._meter.remember(Account.from_dict(self._kept.account).footprints)
        if self._kept.snapshot_digest != snapshot.digest:
            self.notes.append("the history this search began with has changed since: it goes on, but not as a replay")
        self._own = storage.records(search=self.name)
        records = [r for p in past if p.info.fingerprint == self.info.fingerprint for r in p.records]
        lasting = ("complete", "diverged")  # what failed on another machine may work on this one
        known = {r.key: r for r in records if r.purpose == "screen" and r.status in lasting}
        self._proposals = Proposals(self.controller, self._evaluator, self._meter, known)
        self._finalists = Finalists(self._evaluator, self._executor, storage, self._own)
        if not self._kept.account:
            account = account_at_start(self.controller.explain(), self.dataset, self.space, self.device, self.notes)
            self._kept = storage.add_search(replace(self._kept, account=account.to_dict()))

    def _prepare(self, cold: bool, candidate_seconds: float | None) -> None:
        """Describes the data, checks what could not end well, and opens the search in its storage."""
        self.notes += [self._histories.storage.notice] if self._histories.storage.notice else []
        self.info = describe(self.dataset, family=self.whole.fingerprint[:16])
        self.name = self.name or self._default_name(cold)
        if has_no_name(self.metric):  # nobody else's evaluations are by the same one
            self.metric = replace(self.metric, name=f"{self.metric.name} of {self.name}")
        self._evaluator = Evaluator(
            self.name, self.info, self.dataset, self.space, self.fidelity, self.seed, self.device, self.metric
        )
        self._evaluator.check()
        self._meter = Meter(self.goals, self.whole, self.space, self.metric.name, self.seed)
        self._meter.check()
        self._executor = place_of(self._evaluator, self.workers, candidate_seconds, self._slowest, self._limit.end)
        self._begin()

    def _tell_kin(self, past: Sequence[PastDataset]) -> None:
        others = (p.info for p in past if p.info.fingerprint != self.info.fingerprint)
        if names := sorted({info.name for info in others if kinship(self.info, info) >= KIN}):
            self.notes.append(f"many of these rows have been searched on before, as {', '.join(names)}")

    def _hits_once(self) -> list[Record]:
        """Known evaluations of other searches on these rows, each once."""
        own = {record.key for record in self.records}
        return list({hit.key: hit for hit in self._proposals.hits if hit.key not in own}.values())
