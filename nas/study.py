"""Records as an Optuna study: the one place where what was recorded becomes trials.

Records are the truth and a study is their view: made when asked for, in memory or in any storage of Optuna, with
learning curves, metrics, costs and failures, so that Optuna's plots and optuna-dashboard show them. Samplers that
search, and controllers inside a study, are ``nas.controllers.optuna``; the server is ``nas.cli.dashboard``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nas.errors import HistoryError
from nas.metrics import sign_of
from nas.record import Record
from nas.space import Choice, Float, Integer
from nas.space.domain import Domain

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

    from nas.architecture import Value

LOGARITHMIC = 10  # how many times the smallest the largest recorded number must be, to be shown on a logarithmic scale


def study_of(
    records: Sequence[Record],
    domains: Mapping[str, Domain] | None = None,
    *,
    name: str | None = None,
    storage: str | BaseStorage | None = None,
    objectives: Sequence[str] = ("score",),
    costs: Mapping[str, Sequence[float]] | None = None,
) -> optuna.Study:
    """Returns the trials of one search as an Optuna study that maximises the score and minimises other objectives.

    A trial holds the choices as parameters, the validation score after each epoch as intermediate values, and metrics,
    cost and a summary of the architecture as user attributes; a finalist also its score on fresh splits. Complete
    records are complete trials, failed ones failed; those trained less thoroughly than others of the search were
    stopped early and are pruned.

    Args:
        records: Of one search, in any order; screening and confirmation.
        domains: What each decision could have been, as ``SearchSpace.decisions``; where a decision is missing, or
            was not kept to, the values on record are the range.
        name: Of the study, by default the search's.
        storage: Where to write it: a storage of Optuna or its URL, in memory unless given. Where a study of that name
            is there already, the trials it lacks are added.
        objectives: The score, and what should be small besides.
        costs: What should be small, in that order, of every architecture that has a score, by its key; one that was
            not measured is a failed trial.
    """
    import optuna
    from optuna.study import StudyDirection

    ordered = sorted(records, key=lambda record: record.number)
    trials = [record for record in ordered if record.purpose == "screen"]
    fidelities = {record.fidelity for record in trials}
    short = {one for one in fidelities if any(one < other for other in fidelities)}
    fresh = {(r.architecture.key, _frozen(r.settings)): r for r in ordered if r.purpose == "confirm"}
    ranges = {path: domain.distribution() for path, domain in _ranges(trials, domains or {}).items()}
    with quiet():
        study = optuna.create_study(
            storage=storage,
            study_name=name or (ordered[0].search if ordered else None),
            directions=[StudyDirection.MAXIMIZE, *(StudyDirection.MINIMIZE for _ in objectives[1:])],
            load_if_exists=True,
        )
        there = {trial.user_attrs.get("record") for trial in study.get_trials(deepcopy=False)}
        for record in trials:
            if record.number not in there:
                confirmed = fresh.get((record.architecture.key, _frozen(record.settings)))
                own = None if len(objectives) == 1 else list((costs or {}).get(record.architecture.key, ()))
                study.add_trial(_trial(record, ranges, record.fidelity in short, confirmed, own))
        if trials and not there:
            metric = trials[0].metric
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([f"minus {metric}" if sign_of(metric) < 0 else metric, *objectives[1:]])
            study.set_user_attr("space", trials[0].space)
    return study


def _trial(
    record: Record,
    ranges: Mapping[str, BaseDistribution],
    short: bool,
    confirmed: Record | None,
    costs: Sequence[float] | None = None,
) -> optuna.trial.FrozenTrial:
    """costs: with several objectives, those besides the score; such trials have no intermediate values."""
    from optuna.trial import FrozenTrial, TrialState

    outcome, choices = record.outcome, dict(record.choices)
    ended = datetime.fromisoformat(record.created).astimezone().replace(tzinfo=None)  # Optuna's are local, without zone
    failed = record.score is None or (costs is not None and not costs)
    state = TrialState.FAIL if failed else TrialState.PRUNED if short else TrialState.COMPLETE
    return FrozenTrial(
        number=record.number,
        trial_id=record.number,
        state=state,
        value=record.score if costs is None else None,
        values=None if not costs or record.score is None else [record.score, *costs],
        datetime_start=ended - timedelta(seconds=outcome.cost.seconds),
        datetime_complete=ended,
        params=choices,
        distributions={path: ranges[path] for path in choices},
        user_attrs=_attributes(record, confirmed),
        system_attrs={},
        intermediate_values=dict(enumerate(outcome.curve, 1)) if costs is None else {},
    )


def _attributes(record: Record, confirmed: Record | None) -> dict[str, Any]:
    outcome = record.outcome
    found: dict[str, Any] = {
        "record": record.number,
        "architecture": record.architecture.summary(),
        **outcome.metrics,
        "seconds": outcome.cost.seconds,
        "parameters": outcome.cost.parameters,
        "flops": outcome.cost.flops,
        "memory": outcome.cost.memory,
        "device": outcome.cost.device,
    }
    if outcome.standard_error is not None:
        found["standard_error"] = outcome.standard_error
    if outcome.best_epochs:
        found["best_epochs"] = list(outcome.best_epochs)
    if record.score is None:
        found |= {"status": outcome.status, "message": outcome.message}
    if confirmed is not None and confirmed.score is not None:
        found["score on fresh splits"] = confirmed.score
    return found


def _ranges(records: Sequence[Record], domains: Mapping[str, Domain]) -> dict[str, Domain]:
    """Returns the domain of every decision that a record takes."""
    values: dict[str, list[Value]] = {}
    for record in records:
        for path, value in record.choices.items():
            values.setdefault(path, []).append(value)
    kept = {path for path, domain in domains.items() if all(map(domain.contains, values.get(path, ())))}
    return {path: domains[path] if path in kept else _seen(seen) for path, seen in values.items()}


def _seen(values: Sequence[Value]) -> Domain:
    """Returns the narrowest domain that holds these values."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        return Choice(*_distinct(values))
    low, high = min(numbers), max(numbers)
    log = low > 0 and high >= LOGARITHMIC * low
    if all(isinstance(v, int) for v in numbers):
        return Integer(int(low), int(high), log=log)
    return Float(low, high, log=log)


def domains_of(decisions: Mapping[str, Any]) -> dict[str, Domain]:
    """Returns domains from what their ``to_dict`` said, by path; HistoryError where that says nothing."""
    try:
        return {path: _domain(dict(data)) for path, data in decisions.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise HistoryError(f"the decisions of a search cannot be read: {error}.") from error


def _domain(data: dict[str, Any]) -> Domain:
    kind = data.pop("kind")
    if kind == "choice":
        return Choice(*data["values"])
    return {"integer": Integer, "float": Float}[kind](**data)


def _distinct(values: Iterable[Value]) -> list[Value]:
    """Returns each value once, in an order that does not depend on theirs."""
    return [
        value for _, _, value in sorted({(type(v).__name__, repr(v), v) for v in values}, key=lambda item: item[:2])
    ]


def _frozen(settings: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(settings.items()))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Optuna's notices of our own studies to ourselves; the user's setting returns at once."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
