"""The loop: ask, train, record, tell; the one place where all rooms meet.

A ``Search`` is prepared from data, runs trial by trial, and ends in a ``Result``. With a budget in trials on one
machine it is a function of (seed, history snapshot, versions): interrupted and called again, it replays what is
recorded and goes on. Nothing is trained, proposed or stored here that another room could do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.dataset import Dataset, load
from nas.errors import SearchError
from nas.evaluation import Evaluator, now
from nas.goals import Goals, Meter
from nas.metadataset.histories import YOURS, Histories, Source
from nas.protocol import FINALISTS, default_fidelity, metric_of
from nas.record import DatasetInfo, Fidelity, PastDataset, Record, SearchInfo, digest_of
from nas.result import Result

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.controllers import Controller, ControllerSpec
    from nas.space import Choices, SearchSpace, Value

MOST_SUGGESTIONS = 1_000
LARGEST_SEED = 2**62  # what follows from a seed still fits into a database's integers
REPEATS = 200  # known or refused candidates asked for in a row before a space counts as exhausted
SIZES = 64  # random architectures that show what sizes a space has


@dataclass(frozen=True)
class Suggestion:
    """What would be tried: the choice, the architecture it describes and the training settings."""

    choices: Choices
    architecture: Architecture
    settings: Mapping[str, Value]


def search(
    data: object,
    *,
    target: str | None = None,
    task: str | None = None,
    groups: object = None,
    space: SearchSpace | None = None,
    trials: int = 30,
    seconds: float | None = None,
    controller: ControllerSpec = "meta",
    history: Source = YOURS,
    storage: Source = None,
    name: str | None = None,
    seed: int = 0,
    fidelity: Fidelity | None = None,
    test: Dataset | float | None = None,
    objectives: Sequence[str] = ("score",),
    max_size: str | float | None = None,
    max_latency: str | float | None = None,
    device: str | None = None,
) -> Result:
    """Searches for a network for ``data`` and returns what was found.

    The same call again returns the finished result; a larger ``trials`` continues it; an interrupted one goes on.
    Ctrl-C ends the trials early and returns the best so far.

    Args:
        data: ``(X, y)`` arrays, a DataFrame, a ``Dataset``, a path (.csv, .parquet, .npz, a folder of images), or the
            name of a dataset bundled with scikit-learn.
        target: The column to predict, for tables.
        task: ``classification`` or ``regression``; found from the target unless given.
        groups: Rows of one group never stand on both sides of a split; shape (rows,).
        space: The search space; chosen for the data unless given.
        trials: Trainings of new candidates in total, >= 1. What is known already does not count.
        seconds: No new trial begins after that time, earlier calls counted in; the result then depends on the machine's
            speed.
        controller: ``meta``, ``random``, ``evolution``, ``tpe``, a sampler of Optuna, or a function of a ``Problem``.
        history: What may be learned from: a path or a database URL (with the shipped knowledge), a ``MetaDataset``
            (alone), ``None`` for a cold search.
        storage: Where this search is recorded; by default in ``history``, or in the user's own where that is no place.
        name: Of the search; by default derived from data, space and protocol.
        seed: Decides splits, initial weights and the controller's draws.
        fidelity: Epochs, rows and splits of an evaluation; chosen for the size of the data unless given.
        test: Rows set aside, as a fraction or a ``Dataset``; their score is reported once, from a network that never
            saw them.
        objectives: ``score``, and those of ``parameters``, ``size`` and ``latency`` that should be small too: then
            ``result.front`` holds the candidates that no other one beats in all of them.
        max_size: Bytes of the exported ONNX file at most, such as ``"200kB"``; larger networks are not trained.
        max_latency: Time at most to predict one row with it on one thread, such as ``"1ms"``, measured; the result then
            depends on the machine's speed.
        device: ``cpu`` or ``cuda``; a GPU is used where there is one.

    Raises:
        DataError: If the data cannot be learned from.
        SearchError: If the search cannot start, or no candidate could be trained.
    """
    from tqdm import tqdm

    dataset = load(data, target=target, task=task, groups=groups)
    running = Search(
        dataset,
        space=space,
        trials=trials,
        seconds=seconds,
        controller=controller,
        history=history,
        storage=storage,
        name=name,
        seed=seed,
        fidelity=fidelity,
        test=test,
        objectives=objectives,
        max_size=max_size,
        max_latency=max_latency,
        device=device,
    )
    with running, tqdm(total=trials, desc=dataset.name, unit="trial", disable=None) as bar:
        for _ in running.run():
            bar.update()
        return running.finish()


def suggest(
    data: object,
    *,
    k: int = 5,
    target: str | None = None,
    task: str | None = None,
    groups: object = None,
    space: SearchSpace | None = None,
    controller: ControllerSpec = "meta",
    history: Source = YOURS,
    seed: int = 0,
) -> list[Suggestion]:
    """What would be tried first on ``data``, from history alone: ``k`` suggestions, best first, nothing trained."""
    k, seed = _whole("k", k, 1, MOST_SUGGESTIONS), _whole("seed", seed, 0)
    dataset = load(data, target=target, task=task, groups=groups)
    space = space or _default_space(dataset)
    info = describe(dataset)
    with Histories(history, None, read_only=history != YOURS) as histories:
        asked = _controller(controller, space, seed, histories.past(), info).ask(k)
    found = {str(sorted(c.items())): Suggestion(c, space.architecture(c), space.settings(c)) for c in asked}
    return list(found.values())  # fewer than k where the space holds no more


class Search:
    """One search over its life: prepared, run trial by trial, finished. The arguments are those of ``search``.

    Attributes:
        dataset: The rows that are searched on; ``test`` the rows set aside, or None.
        name: Of the search in its storage.
        records: What was evaluated so far, in order.
        notes: Sentences for the user about what was decided on the way.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        space: SearchSpace | None = None,
        trials: int = 30,
        seconds: float | None = None,
        controller: ControllerSpec = "meta",
        history: Source = YOURS,
        storage: Source = None,
        name: str | None = None,
        seed: int = 0,
        fidelity: Fidelity | None = None,
        test: Dataset | float | None = None,
        objectives: Sequence[str] = ("score",),
        max_size: str | float | None = None,
        max_latency: str | float | None = None,
        device: str | None = None,
    ) -> None:
        trials, seed = _whole("trials", trials, 1), _whole("seed", seed, 0)
        if isinstance(seconds, int | float) and not seconds > 0:
            raise SearchError(f"`seconds > 0` must hold, but got {seconds=}; leave it out for no limit.")
        from nas.training import Recipe

        _check_types(space, fidelity, seconds)
        self.whole = data
        self.dataset, self.test = _set_aside(data, test)
        self.space = space or _default_space(self.dataset)
        self.trials, self.seconds, self.seed = trials, seconds, seed
        Recipe.of(self.space.settings(self.space.default()))  # refuses a setting that no training knows
        self.goals = Goals.of(objectives, max_size, max_latency)
        self._meter = Meter(self.goals, data, self.space.operations)
        self.fidelity = fidelity or default_fidelity(self.dataset)
        self.device = _device(device)
        self.records: list[Record] = []
        self.hits: list[Record] = []
        self._refused: list[str] = []
        self.notes: list[str] = list(self.dataset.dropped)
        self._spec = controller
        self._done = False
        self._histories = Histories(history, storage)
        try:
            self.notes += [self._histories.storage.notice] if self._histories.storage.notice else []
            self.info = describe(self.dataset, family=data.fingerprint[:16])
            self.name = name or self._default_name(history is None)
            self._evaluator = Evaluator(
                self.name, self.info, self.dataset, self.space, self.fidelity, seed, self.device
            )
            self._evaluator.check()
            self._begin()
        except BaseException:
            self._histories.close()
            raise

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *exception: object) -> None:
        self._histories.close()

    @property
    def storage(self) -> str:
        """Where the search is recorded."""
        return self._histories.storage.place

    @property
    def known(self) -> str:
        """How many past datasets there are to learn from, in words."""
        return self._histories.counted(self.past)

    # ---- the trials --------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Record]:
        """Yields the record of every trial when it is committed; those of an earlier call first.

        The controller is asked again even where the answer is on record, so that a continued search is in the same
        state as one that was never interrupted.
        """
        own = {record.number: record for record in self._own if record.purpose == "screen"}
        known: dict[str, Record] = {}
        repeats, started = 0, time.monotonic()
        before = sum(record.outcome.cost.seconds for record in own.values())
        try:
            while len(self.records) < self.trials and repeats < REPEATS:
                number = len(self.records)
                spent = before + time.monotonic() - started
                if self.seconds is not None and number not in own and spent > self.seconds:
                    break
                self._turn(number)
                choices = self.controller.ask(1)[0]
                key = self._evaluator.key(choices)
                hit = known.get(key) or self._past_keys.get(key)
                recorded = own.get(number)
                if hit is not None and (recorded is None or recorded.key != key):
                    repeats += 1
                    again = replace(hit, choices=choices)
                    self.hits.append(again)
                    self.controller.tell([again])
                    continue
                if (recorded is None or recorded.key != key) and (refusal := self._refusal(choices)):
                    repeats += 1
                    self.controller.tell([self._evaluator.refused(choices, refusal)])
                    continue
                repeats = 0
                record = recorded or self._screen(choices, number)
                known[record.key] = record
                self.records.append(record)
                self.controller.tell([record])
                yield record
        except KeyboardInterrupt:
            self.notes.append(f"interrupted after {len(self.records)} of {self.trials} trials; the same call goes on")
        if self._refused:
            self.notes.append(f"{len(self._refused)} candidates were not trained: {self._refused[-1]}, for example")
        if repeats >= REPEATS and not self._refused:
            self.notes.append(f"the space holds no more than {len(self.records)} different candidates")
        self._done = len(self.records) >= self.trials or repeats >= REPEATS

    def finish(self) -> Result:
        """Trains the finalists again on fresh splits and names the best.

        Raises:
            SearchError: If no candidate could be trained; it names the commonest reason.
        """
        complete = sorted((r for r in [*self.records, *self._hits_once()] if r.score is not None), key=_by_score)
        if not complete:
            raise SearchError(_nothing_trained(self.records, self._refused))
        within = (record for record in complete if not self._meter.violation(record.architecture))
        finalists = list(islice(within, FINALISTS))
        if not finalists:
            raise SearchError(f"no candidate keeps the limits: {self._meter.violation(complete[0].architecture)}.")
        confirmed = [self._confirm(record) for record in finalists]
        scored = [(c.score, r) for r, c in zip(finalists, confirmed, strict=True) if c.score is not None]
        best = max(scored, key=lambda pair: pair[0])[1] if scored else finalists[0]
        if self._done and not self._kept.finished:
            self._histories.storage.add_search(replace(self._kept, finished=now()))
        return Result(
            best=best,
            records=tuple(self.records),
            confirmed=tuple(confirmed),
            dataset=self.dataset,
            whole=self.whole,
            test=self.test,
            space=self.space,
            name=self.name,
            storage=self._histories.storage.place,
            seed=self.seed,
            device=self.device,
            explanation=self.controller.explain(),
            front=self._meter.front(complete) if len(self.goals.objectives) > 1 else (),
            notes=tuple(self.notes),
        )

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
            "metric": metric_of(self.dataset),
            "fidelity": self.fidelity.to_dict(),
            "controller": _spec_name(self._spec),
            "precision": precision(self.dataset.kind, self.device),
            **self.goals.to_dict(),
        }

    def _begin(self) -> None:
        """Opens the search in its storage, or continues it from the history it began with."""
        import json

        storage = self._histories.storage
        begun = storage.search(self.name)
        if begun is not None and _is_nameless(self._spec):
            self.notes.append(f"continues {self.name!r}; if the controller is another one now, pass name=")
        snapshot = self._histories.snapshot(begun.snapshot_last if begun else None)
        info = SearchInfo(
            name=self.name,
            dataset=self.info.fingerprint,
            space=self.space.name,
            space_json=json.dumps(self.space.to_dict(), sort_keys=True),
            protocol=self._protocol(),
            seed=self.seed,
            controller=_spec_name(self._spec),
            snapshot_last=snapshot.last,
            snapshot_digest=snapshot.digest,
            created=now(),
        )
        storage.add_dataset(self.info)
        self._kept = storage.add_search(info)  # refuses a name that belongs to another search
        if self._kept.snapshot_digest != snapshot.digest:
            self.notes.append("the history this search began with has changed since: it goes on, but not as a replay")
        self._own = storage.records(search=self.name)
        past = self._histories.past(snapshot.last, without=self.name)
        records = [r for p in past if p.info.fingerprint == self.info.fingerprint for r in p.records]
        lasting = ("complete", "diverged")  # what failed on another machine may work on this one
        self._past_keys = {r.key: r for r in records if r.purpose == "screen" and r.outcome.status in lasting}
        self.past = past
        space = self.space if self.goals.plain else self.space.within(self._meter.allows)
        self.controller = _controller(self._spec, space, self.seed, past, self.info)

    def _turn(self, number: int) -> None:
        """Tells the meter which trial is next, and what sizes the space has."""
        rng = np.random.default_rng([self.seed, 1])
        self._meter.turn(number, (self.space.architecture(self.space.sample(rng)) for _ in range(SIZES)))

    def _refusal(self, choices: Choices) -> str:
        """Which limit a candidate would exceed, or nothing."""
        reason = self._meter.violation(self.space.architecture(choices))
        self._refused += [reason] if reason else []
        return reason

    def _screen(self, choices: Choices, number: int) -> Record:
        record = self._evaluator.screen(choices, number)
        self._histories.storage.append([record])
        return record

    def _confirm(self, record: Record) -> Record:
        """The finalist on fresh splits, from the storage where it is there already."""
        confirmed = [r for r in self._own if r.purpose == "confirm"]
        key = self._evaluator.confirmation_key(record)
        for old in confirmed:
            if old.key == key:
                return old
        new = self._evaluator.confirm(record, 1 + max((r.number for r in confirmed), default=-1))
        self._histories.storage.append([new])
        self._own = [*self._own, new]
        return new

    def _hits_once(self) -> list[Record]:
        """Known evaluations of other searches on these rows, each once."""
        own = {record.key for record in self.records}
        return list({hit.key: hit for hit in self.hits if hit.key not in own}.values())


def describe(dataset: Dataset, family: str = "") -> DatasetInfo:
    """What a history keeps of a dataset: sizes and meta-features, no raw data."""
    from nas.metafeatures import VERSION, metafeatures

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
    )


def _controller(
    spec: ControllerSpec, space: SearchSpace, seed: int, past: tuple[PastDataset, ...], info: DatasetInfo
) -> Controller:
    from nas.controllers import Problem, create

    problem = Problem(
        space=space,
        seed=seed,
        past=past,
        metafeatures=info.metafeatures,
        dataset=info.fingerprint,
        task=info.task,
        kind=info.kind,
    )
    return create(spec, problem)


def _whole(name: str, value: object, least: int, most: int = LARGEST_SEED) -> int:
    """The value as an int, whatever integer type it came in."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise SearchError(f"`{name} >= {least}` must hold for a whole number, but got {name}={value!r}.")
    if int(value) > most:
        raise SearchError(f"`{name} <= {most}` must hold, but got {name}={value!r}; use a smaller number.")
    return int(value)


def _check_types(space: object, fidelity: object, seconds: object) -> None:
    from nas.space import SearchSpace

    expected = (("space", space, SearchSpace), ("fidelity", fidelity, Fidelity), ("seconds", seconds, int | float))
    for name, value, kind in expected:
        if value is not None and not isinstance(value, kind):
            wanted = getattr(kind, "__name__", "number")
            raise SearchError(f"`{name}` must be a {wanted} or left out, but got {value!r}.")


def _default_space(dataset: Dataset) -> SearchSpace:
    from search_spaces import default_for

    return default_for(dataset)


def _set_aside(data: Dataset, test: Dataset | float | None) -> tuple[Dataset, Dataset | None]:
    """The rows to search on and those set aside: the same for every seed, so that no search learns from another's."""
    if test is None:
        return data, None
    if isinstance(test, Dataset):
        ours, theirs = data.schema(), test.schema()
        if differs := [key for key in ours if key != "target" and ours[key] != theirs[key]]:
            raise SearchError(
                f"test rows must be read like the others, but their {', '.join(differs)} differ; "
                "pass test=0.2, or a subset of one loaded Dataset."
            )
        return data, test
    if isinstance(test, bool) or not isinstance(test, int | float) or not 0 < test < 1:
        raise SearchError(f"`0 < test < 1` must hold for the share of rows set aside, but got {test=}.")
    return data.holdout(0, test)


def _device(device: str | None) -> str:
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise SearchError(f"`device` must be 'cpu' or 'cuda', but got {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise SearchError("device 'cuda' needs a GPU that torch can see, and there is none; use device='cpu'.")
    return device


def _spec_name(spec: object) -> str:
    if isinstance(spec, str):
        return spec
    kind = spec if hasattr(spec, "__qualname__") else type(spec)
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_nameless(spec: object) -> bool:
    """Whether two different controllers of this kind bear one name: samplers, lambdas, functions within functions."""
    return not isinstance(spec, str) and ("<" in _spec_name(spec) or not hasattr(spec, "__qualname__"))


def _by_score(record: Record) -> tuple[float, int]:
    assert record.score is not None
    return (-record.score, record.number)


def _nothing_trained(records: list[Record], refused: list[str]) -> str:
    from collections import Counter

    if not records and refused:
        return f"no candidate of {len(refused)} kept the limits: {refused[-1]}, for example; allow more."
    if not records:
        return "a search needs at least one finished trial, but none was finished in time; allow more seconds."
    (status, message), times = Counter((r.outcome.status, r.outcome.message) for r in records).most_common(1)[0]
    return f"no candidate could be trained: {times} of {len(records)} ended as {status!r} ({message or 'no message'})."
