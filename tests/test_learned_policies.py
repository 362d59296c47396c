"""The two other ways to learn a controller: a policy taught by records, a predictor prepared by past datasets."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from conformance import ControllerConformance, past_dataset, record, small_space, toy_history, toy_score

from nas.controllers import Controller, Problem, create
from nas.controllers.maml import MamlController, adapted, meta_train, predict
from nas.controllers.reinforce import ReinforceController, Slots, imitate
from nas.record import PastDataset
from nas.space import Choice, Integer, SearchSpace


class TestReinforce(ControllerConformance):
    def make(self, problem: Problem) -> Controller:
        return ReinforceController(problem)


class TestReinforceWithoutHistory(ControllerConformance):
    def make(self, problem: Problem) -> Controller:
        return ReinforceController(problem, pretrained=False)


@pytest.fixture
def _quick_meta_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.controllers.maml.META_STEPS", 50)


@pytest.fixture
def _hardly_meta_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.controllers.maml.META_STEPS", 3)


@pytest.mark.usefixtures("_hardly_meta_trained")
class TestMaml(ControllerConformance):
    def make(self, problem: Problem) -> Controller:
        return MamlController(problem)


class TestMamlWithoutMetaTraining(ControllerConformance):
    def make(self, problem: Problem) -> Controller:
        return MamlController(problem, meta_trained=False)


LEARNED = (ReinforceController, MamlController)


def good_history(space: SearchSpace, datasets: int = 4, records: int = 60) -> tuple[PastDataset, ...]:
    rng = np.random.default_rng(1)
    past = []
    for number in range(datasets):
        tried = [space.sample(rng) for _ in range(records)]
        past.append(past_dataset(space, f"old {number}", [(c, toy_score(c) + 0.05 * rng.normal()) for c in tried]))
    return tuple(past)


@pytest.mark.usefixtures("_quick_meta_training")
@pytest.mark.parametrize("kind", LEARNED)
def test_the_first_choice_is_what_was_good_before(kind: type) -> None:
    space = small_space()
    first = kind(Problem(space, past=good_history(space))).ask()[0]
    assert first["b"] == "mish"
    assert 10**-2.5 < float(first["settings.learning_rate"]) < 10**-1.5


@pytest.mark.parametrize("kind", LEARNED)
def test_without_its_training_history_changes_nothing(kind: type) -> None:
    space = small_space()
    with_history, without = (kind(Problem(space, past=past), False) for past in (good_history(space), ()))
    for number in range(8):
        (choices,) = with_history.ask()
        assert without.ask() == [choices]
        for controller in (with_history, without):
            controller.tell([record(space, choices, toy_score(choices), number)])
    account = with_history.explain()
    assert account.own == 1.0
    assert set(account.ignored.values()) == {"history is not used"}


@pytest.mark.parametrize("kind", LEARNED)
def test_it_learns_from_this_search_alone(kind: type) -> None:
    space = small_space()
    controller = kind(Problem(space, seed=1))
    scores = []
    for number in range(40):
        (choices,) = controller.ask()
        scores.append(toy_score(choices))
        controller.tell([record(space, choices, scores[-1], number)])
    assert np.mean(scores[25:]) > np.mean(scores[:10]) + 0.1


@pytest.mark.usefixtures("_quick_meta_training")
@pytest.mark.parametrize("name", ["reinforce", "maml"])
def test_the_account_names_past_datasets_and_forgets_them(name: str) -> None:
    """What this search says against history grows its own share; other spaces have no say, and that is told."""
    space, other = small_space(), small_space("another")
    elsewhere = past_dataset(
        other, "elsewhere", [(c, toy_score(c)) for c in map(other.sample, [np.random.default_rng(0)] * 8)]
    )
    controller = create(name, Problem(space, past=(*good_history(space), elsewhere)))
    before = controller.explain()
    assert set(before.weights) == {f"old {i}" for i in range(4)}
    assert before.ignored == {"elsewhere": "another search space"}
    assert before.own == pytest.approx(0.0, abs=1e-9)
    rng = np.random.default_rng(3)
    tried = [space.sample(rng) for _ in range(30)]
    controller.tell([record(space, c, -toy_score(c), i) for i, c in enumerate(tried)])
    assert controller.explain().own > 0.1


# ---- the policy ------------------------------------------------------------------------------------------------------


def listed_space() -> SearchSpace:
    space = SearchSpace("listed")
    space.add_input("x")
    space.add_output("y")
    space.add_node(
        "a",
        Choice("relu", "mish"),
    )
    space.add_node("b", Choice("relu", "mish", "tanh"))
    space.add_edge("x", "a")
    space.add_edge("a", "b")
    space.add_edge("b", "y")
    space.add_setting("epochs", Integer(1, 3))
    return space


def test_probabilities_of_all_choices_sum_to_one_and_their_gradient_is_right() -> None:
    space = listed_space()
    slots = Slots.of(space)
    X = slots.encode(list(space.enumerate()))
    assert len(np.unique(X, axis=0)) == len(X) == 18
    rng = np.random.default_rng(0)
    policy = slots.before * rng.normal(size=slots.before.shape)
    assert np.exp(slots.likelihood(policy, X)).sum() == pytest.approx(1.0)
    weights = rng.normal(size=len(X))
    gradient = slots.gradient(policy, X, weights)
    for i, j in product(range(slots.width), range(1 + slots.width)):
        moved = policy.copy()
        moved[i, j] += 1e-6
        slope = weights @ (slots.likelihood(moved, X) - slots.likelihood(policy, X)) / 1e-6
        assert gradient[i, j] == pytest.approx(slope * slots.before[i, j], abs=1e-4)


def test_draws_follow_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often the first choice of a search is x is p(x) of the policy that history taught."""
    monkeypatch.setattr("nas.controllers.reinforce.TEMPERATURE", 1.0)
    space = listed_space()
    rng = np.random.default_rng(0)
    past = (past_dataset(space, "old", [(c, float(rng.normal())) for c in space.enumerate()]),)
    controller = ReinforceController(Problem(space, past=past))
    every = list(space.enumerate())
    expected = np.exp(controller._slots.likelihood(controller._start, controller._slots.encode(every)))
    draws = 2000
    drawn = [controller._draw(set(), np.random.default_rng(i), 1.0) for i in range(draws)]
    found = np.array([drawn.count(c) for c in every]) / draws
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / draws)


def test_a_long_range_is_learned_in_intervals() -> None:
    space = small_space()
    slots = Slots.of(space)
    rng = np.random.default_rng(0)
    tried = [space.sample(rng) for _ in range(300)]
    z = np.array([-abs(np.log10(float(c["settings.learning_rate"])) + 2.5) for c in tried])
    policy = imitate(slots, [slots.encode(tried)], [(z - z.mean()) / z.std()])
    block = slots.blocks["settings.learning_rate"]
    assert abs(int(np.argmax(policy[block, 0])) - 16 * 0.25) <= 2


# ---- the predictor ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_quick_meta_training")
def test_meta_training_lets_few_records_suffice() -> None:
    """Tasks that differ in one sign: after ten records a prepared network orders a new one, another does not."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=24)

    def task(sign: float) -> tuple[np.ndarray, np.ndarray]:
        X = rng.integers(0, 2, (60, 24)).astype(np.float32)
        return X, sign * X @ weights

    def skill(tasks: list[tuple[np.ndarray, np.ndarray]]) -> float:
        start, steps = meta_train(tasks, 24, 0)
        found = []
        for sign in (1.0, -1.0):
            X, y = task(sign)
            learned = adapted(start, steps, X[:10], y[:10])
            found.append(np.corrcoef(predict(learned, X[10:]).mean(axis=0), y[10:])[0, 1])
        return float(np.mean(found))

    prepared, cold = skill([task(sign) for sign in (1.0, -1.0, 1.0, -1.0)]), skill([])
    assert prepared > cold + 0.2


def test_only_the_order_of_scores_matters() -> None:
    space = small_space()
    asked = []
    for scale in (1.0, 1000.0):
        controller = MamlController(Problem(space))
        rng = np.random.default_rng(0)
        tried = [space.sample(rng) for _ in range(12)]
        controller.tell([record(space, c, scale * toy_score(c), i) for i, c in enumerate(tried)])
        asked.append(controller.ask(2))
    assert asked[0] == asked[1]


@pytest.mark.usefixtures("_quick_meta_training")
def test_the_callers_random_numbers_are_left_alone() -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    space = small_space()
    MamlController(Problem(space, past=toy_history(space))).ask()
    assert torch.equal(torch.rand(3), expected)
