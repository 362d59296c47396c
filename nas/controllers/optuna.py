"""Optuna in both directions: any Optuna sampler as a controller, and any controller as an Optuna sampler.

Only public names of Optuna are used. A decision of the space is a parameter of the same name, so conditional decisions
are conditional parameters. No search algorithm belongs here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from nas.controllers.base import Explanation, Problem, Told, fresh, generator
from nas.errors import SearchError
from nas.record import Fidelity, Outcome, Record
from nas.space import identity

if TYPE_CHECKING:
    from nas.controllers.base import Controller
    from nas.space import Choices, Identity, SearchSpace

ATTEMPTS = 16  # proposals of a sampler that may repeat before a new choice is drawn at random


class OptunaController:
    """Lets an Optuna sampler choose, on a study in memory.

    Args:
        sampler: A function of a seed that returns a sampler, called for every ask, so that the controller is a function
            of what it was told; or a sampler of one's own. That one keeps its state between asks: a search with it
            continues after an interruption, but not with the draws it would have made.
        problem: Space and seed; history is not read.
    """

    def __init__(self, sampler: BaseSampler | Callable[[int], BaseSampler], problem: Problem) -> None:
        self._problem = problem
        self._sampler = sampler
        self._live = _study(sampler) if isinstance(sampler, BaseSampler) else None
        self._told = Told()
        self._trials: list[FrozenTrial] = []
        self._offered: list[Choices] = []  # by a live sampler since the last tell
        self._pending: dict[Identity, Trial] = {}  # a live sampler's trials without a result

    def ask(self, count: int = 1) -> list[Choices]:
        rng = generator(self._problem, len(self._told))
        seen = self._told.choices | set(self._pending)
        if self._live is not None:
            while len(self._offered) < count:
                self._offered.append(self._next(self._live, seen, rng))
            return [dict(choices) for choices in self._offered[:count]]
        assert not isinstance(self._sampler, BaseSampler)
        study = _study(self._sampler(int(rng.integers(2**31))), self._trials)
        return [self._next(study, seen, rng) for _ in range(count)]

    def tell(self, records: Sequence[Record]) -> None:
        self._offered = self._offered if not records else []
        for record in records:
            choices, new = dict(record.choices), bool(self._told.new([record]))
            trial = create_trial(
                state=TrialState.FAIL if record.score is None else TrialState.COMPLETE,
                value=record.score,
                params=choices,
                distributions=self._problem.space.distributions(choices),
            )
            if new:
                self._trials.append(trial)
            asked = self._pending.pop(identity(choices), None)
            if self._live is not None and asked is not None:
                self._live.tell(asked, record.score, state=trial.state)
            elif self._live is not None and new:
                self._live.add_trial(trial)

    def explain(self) -> Explanation:
        name = type(self._sampler).__name__ if isinstance(self._sampler, BaseSampler) else "TPE"
        return Explanation(own=1.0, notes=(f"Optuna's {name} proposes, from the trainings of this search alone",))

    def _next(self, study: Study, seen: set[Identity], rng: Any) -> Choices:
        """One proposal of the sampler that is not in ``seen``, to which it is added."""
        for _ in range(ATTEMPTS):
            trial = study.ask()
            choices = self._problem.space.suggest(trial)
            key = identity(choices)
            if key not in seen:
                seen.add(key)
                if study is self._live:
                    self._pending[key] = trial
                return choices
            if study is self._live:
                study.tell(trial, state=TrialState.FAIL)
        choices = fresh(self._problem.space, seen, rng)
        seen.add(identity(choices))
        return choices


def tpe(problem: Problem) -> OptunaController:
    """Returns the tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023) with Optuna's defaults."""
    return OptunaController(lambda seed: TPESampler(seed=seed), problem)


class ControllerSampler(BaseSampler):
    """Lets a controller drive an Optuna study: ``study.optimize(lambda trial: objective(space.suggest(trial)))``.

    The controller decides all decisions of a trial together, conditional ones included. Parameters that are not the
    space's are drawn at random. Finished trials, also those of an earlier process, are told in order of number; pruned
    ones as failures. With ``n_jobs > 1`` trials under way are not proposed again.

    Args:
        controller: Told nothing yet.
        space: The space it was made for.
        seed: Of the parameters that are not the space's.
    """

    def __init__(self, controller: Controller, space: SearchSpace, seed: int = 0) -> None:
        self._controller = controller
        self._space = space
        self._others = RandomSampler(seed=seed)
        self._chosen: dict[int, Choices] = {}  # by number of the trial
        self._told: set[int] = set()
        self._lock = threading.Lock()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if len(study.directions) != 1:
            raise SearchError(
                f"a controller follows one objective, but the study has {len(study.directions)}; use one."
            )
        with self._lock:
            running = self._tell_finished(study, trial.number)
            asked = self._controller.ask(1 + len(running))
            self._chosen[trial.number] = next((c for c in asked if identity(c) not in running), asked[0])
        return self._space.distributions(self._chosen[trial.number])

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return dict(self._chosen[trial.number])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._others.reseed_rng()

    def _tell_finished(self, study: Study, number: int) -> set[Identity]:
        """Tells what finished since the last trial; returns what others are training now."""
        running: set[Identity] = set()
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished():
                if trial.number != number and trial.number in self._chosen:
                    running.add(identity(self._chosen[trial.number]))
            elif trial.number not in self._told:
                self._told.add(trial.number)
                choices = self._choices(trial)
                if choices is not None:
                    self._controller.tell([self._record(study, trial, choices)])
        return running

    def _choices(self, trial: FrozenTrial) -> Choices | None:
        """What was tried: the trial's own parameters (they may have been enqueued), else what was chosen for it."""
        known = self._space.decisions()
        choices = {path: value for path, value in trial.params.items() if path in known}
        return choices if self._space.contains(choices) else self._chosen.get(trial.number)

    def _record(self, study: Study, trial: FrozenTrial, choices: Choices) -> Record:
        score = trial.value if trial.state == TrialState.COMPLETE else None
        if score is not None and study.direction == StudyDirection.MINIMIZE:
            score = -score
        finite = score is not None and math.isfinite(score)
        return Record(
            search=study.study_name,
            number=trial.number,
            dataset="an Optuna study",
            space=self._space.name,
            space_fingerprint=self._space.fingerprint,
            choices=choices,
            architecture=self._space.architecture(choices),
            settings=self._space.settings(choices),
            fidelity=Fidelity(1, 1, 1),
            seed=0,
            metric="objective",
            outcome=Outcome("complete", score=score)
            if finite
            else Outcome("error", f"trial {trial.state.name.lower()}"),
            key=f"{study.study_name}/{trial.number}",
            engine="optuna",
            created=(trial.datetime_complete or datetime.now(UTC)).isoformat(),
        )


def _study(sampler: BaseSampler, trials: Sequence[FrozenTrial] = ()) -> Study:
    """Returns a study in memory that maximises and already holds ``trials``."""
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(trials)
    return study


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Optuna's notices of our own studies to ourselves; the user's setting returns at once."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


if TYPE_CHECKING:
    _: Callable[[Problem], Controller] = tpe
