"""Records as an Optuna study: the one place where what was recorded becomes trials.

Records are the truth and a study is their view: made when asked for, in memory or in any storage of Optuna, with
learning curves, metrics, costs and failures, so that Optuna's plots and optuna-dashboard show them. Samplers that
search, and controllers inside a study, are ``nas.controllers.optuna``; the server is ``nas.cli.dashboard``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nas.record import Record

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

    from nas.architecture import Value

LOGARITHMIC = 10  # how many times the smallest the largest recorded number must be, to be shown on a logarithmic scale


def study_of(
    records: Sequence[Record],
    distributions: Callable[[dict[str, Value]], Mapping[str, BaseDistribution]] | None = None,
    *,
    name: str | None = None,
    storage: str | BaseStorage | None = None,
) -> optuna.Study:
    """Returns the trials of one search as an Optuna study that maximises the score.

    A trial holds the choices as parameters, the validation score after each epoch as intermediate values, and metrics,
    cost, settings and a summary of the architecture as user attributes; a finalist also its score on fresh splits.
    Complete records are complete trials, failed ones failed; those trained less thoroughly than others of the search
    were stopped early and are pruned.

    Args:
        records: Of one search, in any order; screening and confirmation.
        distributions: What each decision of a choice could have been, as ``SearchSpace.distributions``; without it the
            values on record are the range, which is all that a history knows of a space.
        name: Of the study, by default the search's.
        storage: Where to write it: a storage of Optuna or its URL, in memory unless given. Where a study of that name
            is there already, the trials it lacks are added.
    """
    import optuna

    ordered = sorted(records, key=lambda record: record.number)
    trials = [record for record in ordered if record.purpose == "screen"]
    fidelities = {record.fidelity for record in trials}
    short = {one for one in fidelities if any(one < other for other in fidelities)}
    fresh = {(r.architecture.key, _frozen(r.settings)): r for r in ordered if r.purpose == "confirm"}
    known = distributions or _seen(trials)
    with _quiet():
        study = optuna.create_study(
            storage=storage,
            study_name=name or (ordered[0].search if ordered else None),
            direction="maximize",
            load_if_exists=True,
        )
        there = {trial.user_attrs.get("record") for trial in study.get_trials(deepcopy=False)}
        for record in trials:
            if record.number not in there:
                confirmed = fresh.get((record.architecture.key, _frozen(record.settings)))
                study.add_trial(_trial(record, known, record.fidelity in short, confirmed))
        if trials and not there:
            metric = trials[0].metric
            study.set_user_attr("score", f"minus {metric}" if _is_loss(metric) else metric)
            study.set_user_attr("space", trials[0].space)
            study.set_user_attr("dataset", trials[0].dataset)
    return study


def _trial(
    record: Record,
    distributions: Callable[[dict[str, Value]], Mapping[str, BaseDistribution]],
    short: bool,
    confirmed: Record | None,
) -> optuna.trial.FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState

    outcome, choices = record.outcome, dict(record.choices)
    ended = datetime.fromisoformat(record.created).replace(tzinfo=None)  # Optuna's times have no zone
    state = TrialState.FAIL if record.score is None else TrialState.PRUNED if short else TrialState.COMPLETE
    return FrozenTrial(
        number=record.number,
        trial_id=record.number,
        state=state,
        value=record.score,
        datetime_start=ended - timedelta(seconds=outcome.cost.seconds),
        datetime_complete=ended,
        params=choices,
        distributions=dict(distributions(choices)),
        user_attrs=_attributes(record, confirmed),
        system_attrs={},
        intermediate_values=dict(enumerate(outcome.curve, 1)),
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


def _seen(records: Sequence[Record]) -> Callable[[dict[str, Value]], dict[str, BaseDistribution]]:
    """Returns the distributions of a choice over the values that each decision has on record."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values: dict[str, list[Value]] = {}
    for record in records:
        for path, value in record.choices.items():
            values.setdefault(path, []).append(value)

    def distribution(seen: list[Value]) -> BaseDistribution:
        numbers = [v for v in seen if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(seen):
            return CategoricalDistribution(_distinct(seen))
        low, high = min(numbers), max(numbers)
        log = low > 0 and high >= LOGARITHMIC * low
        if all(isinstance(v, int) for v in numbers):
            return IntDistribution(int(low), int(high), log=log and low >= 1)
        return FloatDistribution(low, high, log=log)

    known = {path: distribution(seen) for path, seen in values.items()}
    return lambda choices: {path: known[path] for path in choices}


def _distinct(values: Iterable[Value]) -> list[Value]:
    """Returns each value once, as type and value, in an order that does not depend on theirs."""
    return [
        value for _, _, value in sorted({(type(v).__name__, repr(v), v) for v in values}, key=lambda item: item[:2])
    ]


def _is_loss(metric: str) -> bool:
    from nas.metrics import METRICS

    return any(signs.get(metric) == -1 for signs in METRICS.values())


def _frozen(settings: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(settings.items()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Optuna's notices of our own study to ourselves; the user's setting returns at once."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
