"""Every controller passes the conformance tests; then what is particular to each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import optuna
import pytest
from conformance import ControllerConformance, key, record, small_space, tiny_space, toy_score

from nas.controllers import NAMES, Controller, Problem, create
from nas.controllers.evolution import EvolutionController
from nas.controllers.optuna import ControllerSampler, OptunaController, _weighed, tpe
from nas.controllers.random import RandomController
from nas.errors import SearchError
from nas.space import Choices, SearchSpace


@pytest.fixture(autouse=True)
def _optuna_verbosity() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(level)


class TestRandom(ControllerConformance):
    def make(self, problem: Problem) -> Controller:
        return RandomController(problem)


class TestEvolution(ControllerConformance):
    def make(self, problem: Problem) -> Controller:
        return EvolutionController(problem, population=4, tournament=2)


class TestTPE(ControllerConformance):
    def make(self, problem: Problem) -> Controller:
        return OptunaController(lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=3), problem)


class TestSamplerInstance(ControllerConformance):
    resumable = False

    def make(self, problem: Problem) -> Controller:
        return OptunaController(optuna.samplers.TPESampler(seed=0, n_startup_trials=3), problem)


def run(controller: Controller, space: SearchSpace, trials: int) -> list[float]:
    scores = []
    for number in range(trials):
        (choices,) = controller.ask()
        scores.append(toy_score(choices))
        controller.tell([record(space, choices, scores[-1], number)])
    return scores


# ---- create ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_controller(name: str) -> None:
    assert isinstance(create(name, Problem(tiny_space())), Controller)


def test_classes_functions_and_samplers_make_controllers() -> None:
    problem = Problem(tiny_space())
    assert isinstance(create(RandomController, problem), RandomController)
    assert isinstance(create(lambda p: EvolutionController(p, population=3), problem), EvolutionController)
    assert isinstance(create(optuna.samplers.RandomSampler(seed=0), problem), OptunaController)


def test_unknown_controllers_are_refused_with_a_way_out() -> None:
    problem = Problem(tiny_space())
    with pytest.raises(SearchError, match="did you mean 'evolution'"):
        create("evolutoin", problem)
    with pytest.raises(SearchError, match="pass the class"):
        create(RandomController(problem), problem)  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="ask, tell and explain"):
        create(lambda p: "not a controller", problem)  # type: ignore[arg-type, return-value]


def test_creating_one_loads_no_other() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from nas.controllers import Problem, create; from nas.space import SearchSpace; "
        "s = SearchSpace('s'); s.add_input('x'); s.add_output('y'); s.add_edge('x', 'y'); "
        "create('evolution', Problem(s)).ask(); create('meta', Problem(s)); "
        "print(*(m for m in ('torch', 'sklearn', 'optuna') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# ---- random, evolution -------------------------------------------------------------------------------------------


def test_random_draws_evenly() -> None:
    asked = [RandomController(Problem(tiny_space(), seed=seed)).ask()[0]["a"] for seed in range(600)]
    assert max(Counter(asked).values()) < 260  # of 200 expected each


def test_random_can_leave_a_corner_of_a_large_space() -> None:
    """Draws that mostly repeat must not end in a repeat while one choice is left."""
    space = tiny_space()
    controller = RandomController(Problem(space))
    everything = list(space.enumerate())
    controller.tell([record(space, c, 0.0, i) for i, c in enumerate(everything[:-1])])
    assert controller.ask() == [everything[-1]]


def test_evolution_beats_random_where_scores_have_structure() -> None:
    space = small_space()
    best = {
        kind: np.mean([max(run(kind(Problem(space, seed=seed)), space, 60)) for seed in range(5)])
        for kind in (RandomController, EvolutionController)
    }
    assert best[EvolutionController] > best[RandomController]


def test_the_old_die_however_good() -> None:
    """A population of one is a walk: the child of the last, never of the best."""
    space = small_space()
    controller = EvolutionController(Problem(space), population=1, tournament=1)
    rng = np.random.default_rng(0)
    best, last = space.default(), space.sample(rng)
    controller.tell([record(space, best, 9.0, 0), record(space, last, 0.0, 1)])
    child = controller.ask()[0]
    assert sum(child.get(path) != last.get(path) for path in {**child, **last}) <= 3
    assert any(child[path] != best.get(path) for path in child)


def test_a_population_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="population >= 1"):
        EvolutionController(Problem(tiny_space()), population=0)


# ---- Optuna ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random", "evolution", "tpe"])
def test_a_controller_drives_a_study(name: str) -> None:
    """A study sees exactly the trials of the controller's own loop, conditional decisions included."""
    space = small_space()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = ControllerSampler(create(name, Problem(space, seed=5)), space)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.optimize(lambda trial: toy_score(space.suggest(trial)), n_trials=25)

    controller = create(name, Problem(space, seed=5))
    expected = []
    for number in range(25):
        expected += controller.ask()
        controller.tell([record(space, expected[-1], toy_score(expected[-1]), number)])
    assert [dict(trial.params) for trial in study.trials] == expected
    assert len({frozenset(trial.params) for trial in study.trials}) > 1, "different decisions were active"


def test_minimising_is_maximising_the_negative() -> None:
    space = small_space()
    seen = []
    for direction, sign in (("maximize", 1), ("minimize", -1)):
        sampler = ControllerSampler(EvolutionController(Problem(space), population=3), space)
        study = optuna.create_study(sampler=sampler, direction=direction)
        study.optimize(lambda trial, sign=sign: sign * toy_score(space.suggest(trial)), n_trials=15)
        seen.append([trial.params for trial in study.trials])
    assert seen[0] == seen[1]


def test_a_study_with_failures_pruned_trials_and_foreign_parameters() -> None:
    space = small_space()
    told: list[float | None] = []

    class Listening(RandomController):
        def tell(self, records):  # type: ignore[no-untyped-def]
            told.extend(r.score for r in records)
            super().tell(records)

    def objective(trial: optuna.Trial) -> float:
        choices = space.suggest(trial)
        trial.suggest_float("of the user's own", 0, 1)
        if trial.number == 1:
            raise RuntimeError("this one fails")
        if trial.number == 2:
            trial.report(0.1, 0)
            raise optuna.TrialPruned
        return toy_score(choices)

    study = optuna.create_study(sampler=ControllerSampler(Listening(Problem(space)), space), direction="maximize")
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # Optuna reports the failing objective
    study.optimize(objective, n_trials=6, catch=(RuntimeError,))
    assert told == [study.trials[0].value, None, None, study.trials[3].value, study.trials[4].value]
    assert len({key({p: v for p, v in t.params.items() if p in space.decisions()}) for t in study.trials}) == 6


def test_a_study_is_continued_and_enqueued_trials_are_told() -> None:
    space = small_space()
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(space.default())
    for _ in range(2):  # two processes, one study
        study.sampler = ControllerSampler(RandomController(Problem(space, seed=1)), space)
        study.optimize(lambda trial: toy_score(space.suggest(trial)), n_trials=5)
    assert study.trials[0].params == space.default()
    whole = RandomController(Problem(space, seed=1))
    whole.tell([record(space, t.params, t.value, t.number) for t in study.trials[:9]])
    assert whole.ask() == [study.trials[9].params]


def test_trials_under_way_are_not_proposed_again() -> None:
    space = small_space()
    study = optuna.create_study(sampler=ControllerSampler(RandomController(Problem(space)), space))
    trials = [study.ask() for _ in range(5)]
    assert len({key(space.suggest(trial)) for trial in trials}) == 5


# ---- several objectives --------------------------------------------------------------------------------------------


def two(choices: Choices) -> tuple[float, float]:
    """What should be large and what should be small: mish is good and dear, a small width is cheap and a little bad."""
    width = float(choices.get("a.width", 16))  # type: ignore[arg-type]
    return toy_score(choices) + 0.2 * np.log(width / 16), width * (2.0 if choices["b"] == "mish" else 1.0)


def covered(values: Sequence[Sequence[float]]) -> float:
    """The area under the front, of scores above -1 and costs below 600."""
    found, last = 0.0, 0.0
    for score, saved in sorted(((s + 1.0, 600.0 - c) for s, c in values if s > -1.0), reverse=True):
        found += score * max(saved - last, 0.0)
        last = max(last, saved)
    return found


def driven(
    make: Callable[[], Controller], seed: int, signs: tuple[int, int] = (1, 1), trials: int = 16
) -> optuna.Study:
    space = small_space()
    directions = [("maximize", "minimize"), ("minimize", "maximize")]
    study = optuna.create_study(
        sampler=ControllerSampler(make, space, seed),
        directions=[directions[sign < 0][i] for i, sign in enumerate(signs)],
    )
    study.optimize(
        lambda trial: tuple(sign * value for sign, value in zip(signs, two(space.suggest(trial)), strict=True)),
        n_trials=trials,
    )
    return study


def test_several_objectives_are_covered() -> None:
    found = {
        name: [covered([t.values for t in driven(name, seed).trials]) for seed in range(3)]
        for name in ("meta", "random")
    }
    assert np.mean(found["meta"]) > np.mean(found["random"])


def test_directions_are_what_the_study_says() -> None:
    def make(problem: Problem) -> Controller:
        return EvolutionController(problem, population=3)

    tried = [[t.params for t in driven(make, 0, signs).trials] for signs in ((1, 1), (-1, 1), (1, -1), (-1, -1))]
    assert tried[0] == tried[1] == tried[2] == tried[3]


def test_the_better_in_every_objective_is_the_better_whatever_the_weights() -> None:
    """And what has no values is none."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3)) * (1.0, 1e-9, 1e300)
    values[7] = np.nan
    for weights in rng.dirichlet(np.ones(3), size=20):
        scores = _weighed(values, weights)
        assert list(np.flatnonzero(np.isnan(scores))) == [7]
        for i, j in product(range(40), range(40)):
            if (values[i] > values[j]).all():
                assert scores[i] > scores[j]
    assert np.isnan(_weighed(np.full((2, 3), np.nan), np.ones(3))).all()
    assert np.isfinite(_weighed(np.ones((1, 2)), np.ones(2))).all()


def test_one_controller_for_several_objectives_is_refused_with_a_way_out() -> None:
    space = tiny_space()
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=ControllerSampler(RandomController(Problem(space)), space)
    )
    with pytest.raises(SearchError, match="pass its name or class"):
        space.suggest(study.ask())


def test_a_function_makes_the_controller_of_one_objective_once() -> None:
    space, made = small_space(), []

    def make(problem: Problem) -> Controller:
        made.append(RandomController(problem))
        return made[-1]

    study = optuna.create_study(sampler=ControllerSampler(make, space, seed=3), direction="maximize")
    study.optimize(lambda trial: toy_score(space.suggest(trial)), n_trials=4)
    assert len(made) == 1
    named = optuna.create_study(sampler=ControllerSampler(RandomController, space, seed=3), direction="maximize")
    named.optimize(lambda trial: toy_score(space.suggest(trial)), n_trials=4)
    assert [t.params for t in named.trials] == [t.params for t in study.trials]


def test_a_sampler_sees_every_result_with_its_sign_and_its_failures() -> None:
    space = small_space()
    seen: list[list[tuple[float | None, str]]] = []

    class Watching(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            seen.append([(t.value, t.state.name) for t in study.trials if t.state.is_finished()])

    controller = OptunaController(Watching(seed=0), Problem(space))
    for number, score in enumerate([-0.5, None, 2.0]):
        controller.tell([record(space, controller.ask()[0], score, number)])
    controller.tell([record(space, space.default(), 3.0, 3)])  # one it did not ask for
    controller.ask()
    assert seen[-1] == [(-0.5, "COMPLETE"), (None, "FAIL"), (2.0, "COMPLETE"), (3.0, "COMPLETE")]


def test_our_studies_are_silent_and_the_users_verbosity_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    tpe(Problem(small_space())).ask(3)
    assert capfd.readouterr().err == ""
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_tpe_learns() -> None:
    space = small_space()
    scores = run(tpe(Problem(space, seed=2)), space, 40)
    assert np.mean(scores[20:]) > np.mean(scores[:10])
