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
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from nas.controllers.base import Controller, Explanation, Problem, Told, fresh, generator
from nas.errors import SearchError
from nas.record import Fidelity, Outcome, Record
from nas.space import identity

if TYPE_CHECKING:
    from nas.controllers import ControllerSpec
    from nas.space import Choices, Identity, SearchSpace

AUGMENTED = 0.05  # of the sum, so that of two as good in the weakest the better in the others wins
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

    With several objectives every trial follows one number, their augmented Tchebycheff sum with weights of its own,
    drawn at random, so that together they cover the front (ParEGO, Knowles 2006). What was told changes with the
    weights, so each trial asks a controller made anew, without history: that is of scores alone, and whoever believes
    it looks where it expects high ones only.

    Args:
        controller: Told nothing yet, for one objective; or, for any number, what ``create`` makes one of: a name as
            ``"meta"``, or a function of a problem.
        space: The space it was made for.
        seed: Of controllers that are made here, of the weights, and of the parameters that are not the space's.

    Raises:
        SearchError: At the first trial of a study with several objectives, if ``controller`` is one already.
    """

    def __init__(self, controller: Controller | ControllerSpec, space: SearchSpace, seed: int = 0) -> None:
        made = isinstance(controller, Controller) and not isinstance(controller, type)
        self._controller = cast("Controller", controller) if made else None
        self._spec = None if made else cast("ControllerSpec", controller)
        self._space = space
        self._seed = seed
        self._others = RandomSampler(seed=seed)
        self._chosen: dict[int, Choices] = {}  # by number of the trial
        self._told: set[int] = set()
        self._lock = threading.Lock()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        with self._lock:
            trials = study.get_trials(deepcopy=False)
            others = [t.number for t in trials if not t.state.is_finished() and t.number != trial.number]
            running = {identity(self._chosen[number]) for number in others if number in self._chosen}
            finished = [t for t in trials if t.state.is_finished()]
            asked = self._informed(study, finished, trial.number).ask(1 + len(running))
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

    def _informed(self, study: Study, finished: Sequence[FrozenTrial], number: int) -> Controller:
        """A controller that was told what finished."""
        if len(study.directions) > 1:
            if self._spec is None:
                raise SearchError(
                    f"a study with {len(study.directions)} objectives asks a new controller at every trial, but got "
                    'one that is made; pass its name or class, as ControllerSampler("meta", space).'
                )
            weights = np.random.default_rng([self._seed, number]).dirichlet(np.ones(len(study.directions)))
            controller, new = self._made(self._spec), list(finished)
            scores = _weighed(_values(study, finished), weights)
        else:
            if self._controller is None:
                assert self._spec is not None, "it is one or makes one"
                self._controller = self._made(self._spec)
            controller, new = self._controller, [t for t in finished if t.number not in self._told]
            self._told |= {t.number for t in new}
            scores = _values(study, new)[:, 0]
        for trial, score in zip(new, scores.tolist(), strict=True):
            choices = self._choices(trial)
            if choices is not None:
                controller.tell([self._record(study, trial, choices, score)])
        return controller

    def _made(self, spec: ControllerSpec) -> Controller:
        from nas.controllers import create

        return create(spec, Problem(self._space, self._seed))

    def _choices(self, trial: FrozenTrial) -> Choices | None:
        """What was tried: the trial's own parameters (they may have been enqueued), else what was chosen for it."""
        known = self._space.decisions()
        choices = {path: value for path, value in trial.params.items() if path in known}
        return choices if self._space.contains(choices) else self._chosen.get(trial.number)

    def _record(self, study: Study, trial: FrozenTrial, choices: Choices, score: float) -> Record:
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
            if math.isfinite(score)
            else Outcome("error", f"trial {trial.state.name.lower()}"),
            key=f"{study.study_name}/{trial.number}",
            engine="optuna",
            created=(trial.datetime_complete or datetime.now(UTC)).isoformat(),
        )


def _values(study: Study, trials: Sequence[FrozenTrial]) -> np.ndarray:
    """What trials came to [n, objectives], all to be maximised; NaN where one has no finite values."""
    signs = np.array([-1.0 if direction == StudyDirection.MINIMIZE else 1.0 for direction in study.directions])
    found = np.full((len(trials), len(signs)), np.nan)
    for row, trial in enumerate(trials):
        if trial.state == TrialState.COMPLETE and np.isfinite(trial.values).all():
            found[row] = signs * trial.values
    return found


def _weighed(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns one number [n] for several objectives [n, k], to be maximised (Knowles 2006, eq. 2, turned round).

    Each objective is what it lacks of the best, in shares of its range over all.
    """
    if np.isnan(values).all():
        return values[:, 0]
    half = values / 2  # differences are finite
    best = np.nanmax(half, axis=0)
    spread = best - np.nanmin(half, axis=0)
    lacking = weights * (best - half) / np.where(spread > 0, spread, 1.0)
    return np.asarray(-lacking.max(axis=1) - AUGMENTED * lacking.sum(axis=1))


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
