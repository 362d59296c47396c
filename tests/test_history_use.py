"""What a user was promised of history: settings, likeness, fidelities, objectives; each against a known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance import past_dataset, record, small_space, toy_score

from nas.controllers import Explanation, Problem
from nas.controllers.meta import MetaController
from nas.controllers.prior import Prior, fit
from nas.controllers.resemblance import FEWEST_DATASETS
from nas.record import Fidelity, PastDataset
from nas.space import Choices, SearchSpace


def rate(choices: Choices) -> float:
    return float(choices["settings.learning_rate"])  # type: ignore[arg-type]


def fast(choices: Choices) -> float:
    """Good are mish and a learning rate at the upper end, far from the default."""
    return float(choices["b"] == "mish") - abs(np.log10(rate(choices)) - np.log10(0.08))


def dataset(number: int, told: dict[str, float], wants: str = "mish", count: int = 16) -> PastDataset:
    space, rng = small_space(), np.random.default_rng(number)
    tried = [space.sample(rng) for _ in range(count)]
    return past_dataset(space, f"d{number}", [(c, float(c["b"] == wants) + 0.1 * rng.normal()) for c in tried], told)


def account(problem: Problem, prior: Prior | None = None) -> Explanation:
    return MetaController(problem, pool=60, prior=prior).explain()


def test_settings_are_learned_along_with_architectures() -> None:
    space, rng = small_space(), np.random.default_rng(0)
    assert abs(np.log10(rate(space.default())) - np.log10(0.08)) > 0.5
    past = []
    for number in range(3):
        tried = [space.sample(rng) for _ in range(40)]
        past.append(past_dataset(space, f"d{number}", [(c, fast(c)) for c in tried]))
    (first,) = MetaController(Problem(space, past=tuple(past)), pool=200).ask()
    assert first["b"] == "mish"
    assert 0.05 < rate(first) < 0.1


@pytest.mark.parametrize("seed", [0, 7])  # at 7 noise foretells more than the average, by more than one error
def test_meta_features_that_say_nothing_are_switched_off_and_that_is_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    past = tuple(
        dataset(i, {"noise": float(rng.random()), "more": float(rng.random())}, "mish" if i % 2 else "tanh")
        for i in range(FEWEST_DATASETS + 4)
    )
    told = {"noise": 0.5, "more": 0.5}
    prior = fit(Problem(small_space(), past=past))
    assert prior.resemblance is not None
    assert not prior.described
    expectation = prior.towards(told)
    assert expectation.features is None
    notes = account(Problem(small_space(), past=past, metafeatures=told), prior).notes
    assert any(
        "is not used: it foretold no more than the average of all, or than chance (gain" in note for note in notes
    )


def test_a_dataset_far_from_all_and_a_short_history_fall_back_to_the_average_and_say_so() -> None:
    kinds = [float(i % 2) for i in range(FEWEST_DATASETS + 4)]
    past = tuple(dataset(i, {"kind": kind + 0.01 * i}, "mish" if kind else "tanh") for i, kind in enumerate(kinds))
    near = Problem(small_space(), past=past, metafeatures={"kind": 1.1})
    prior = fit(near)
    assert prior.towards(near.metafeatures).described
    assert any("is used (gain" in note for note in account(near, prior).notes)
    average = prior.towards({}).weights
    for beyond in (3.5, -2.0, 1e308, -1e308):
        far = prior.towards({"kind": beyond})
        np.testing.assert_array_equal(far.weights, average)
        notes = account(replace(near, metafeatures={"kind": beyond}), prior).notes
        assert any("tell most, this one is unlike every past one" in note for note in notes)
    unknown = prior.towards({"another": 1.0})
    np.testing.assert_array_equal(unknown.weights, average)
    assert any(
        "of this one too little is known" in note
        for note in account(replace(near, metafeatures={"another": 1.0}), prior).notes
    )
    few = replace(near, past=past[: FEWEST_DATASETS - 1])
    assert any(f"from {FEWEST_DATASETS} past datasets on" in note for note in account(few).notes)


def test_short_trainings_of_the_past_and_of_the_search_both_teach() -> None:
    """Scores of two epochs lie on another scale; what they rank first is tried first all the same."""
    space, rng = small_space(), np.random.default_rng(1)
    tried = [space.sample(rng) for _ in range(60)]
    made = past_dataset(space, "d", [(c, toy_score(c)) for c in tried])
    short = [
        replace(r, fidelity=Fidelity(2, 50, 1), outcome=replace(r.outcome, score=100.0 + (r.score or 0.0)))
        for r in made.records
    ]
    only_short = replace(made, records=tuple(short))
    both = replace(made, records=(*short[:45], *made.records[45:]))
    for past in (only_short, both):
        controller = MetaController(Problem(space, past=(past,)), pool=100)
        (first,) = controller.ask()
        assert first["b"] == "mish"
        for number, kind in enumerate(("mish", "relu", "tanh")):
            choices = {**first, "b": kind}
            controller.tell([record(space, choices, toy_score(choices), number)])
            quick = record(space, {**choices, "settings.learning_rate": 0.02}, 100.0 + toy_score(choices), 9 + number)
            controller.tell([replace(quick, fidelity=Fidelity(2, 50, 1))])  # worth more only by its scale
        assert controller.ask()[0]["b"] == "mish"


def test_a_space_that_lost_a_setting_or_a_range_keeps_its_history() -> None:
    """What was best lies outside now: the nearest that is left is tried first, and nothing is ignored."""

    def space(top: float, dropout: bool) -> SearchSpace:
        from nas.space import Choice, Float

        made = SearchSpace("ours")
        made.add_input("x")
        made.add_output("y")
        made.add_node("b", Choice("relu", "mish", "tanh"))
        made.add_edge("x", "b")
        made.add_edge("b", "y")
        made.add_setting("learning_rate", Float(1e-3, top, log=True))
        if dropout:
            made.add_setting("dropout", Choice(0.0, 0.2))
        return made

    old, new = space(0.1, True), space(0.02, False)
    rng = np.random.default_rng(0)
    past = []
    for number in range(3):
        tried = [old.sample(rng) for _ in range(40)]
        past.append(
            past_dataset(old, f"d{number}", [(c, fast(c) + 0.3 * float(c["settings.dropout"] == 0.2)) for c in tried])
        )
    problem = Problem(new, past=tuple(past))
    assert fit(problem).ignored == {}
    (first,) = MetaController(problem, pool=200).ask()
    assert new.contains(first)
    assert first["b"] == "mish"
    assert rate(first) > 0.008
