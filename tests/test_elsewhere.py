"""History when the space has changed, or is another."""

from __future__ import annotations

import numpy as np
from conformance import grown, past_dataset, small_space, tiny_space, toy_score
from test_prior import favourite, sampled

from nas.controllers import Problem
from nas.controllers.beliefs import EXPECTED
from nas.controllers.elsewhere import MOST_LESSONS, _Asked
from nas.controllers.meta import MetaController
from nas.controllers.prior import fit
from nas.operations import BUILTIN, Operation
from nas.space import Choice, Float, SearchSpace


def test_a_space_that_gained_or_lost_something_keeps_its_history() -> None:
    """With an operation more, one fewer, a wider range and one more setting, what was good still is."""
    old = grown()
    past = tuple(past_dataset(old, f"d{i}", [(c, toy_score(c)) for c in sampled(old, 40, i)]) for i in range(3))
    for new in (grown(activations=("silu", "relu", "mish")), grown(activations=("relu", "mish"), top=1.0)):
        problem = Problem(new, past=past)
        prior = fit(problem)
        assert len(prior.lessons) == 3
        assert not prior.ignored
        assert favourite(problem)["b"] == "mish"


def test_what_another_space_found_out_is_a_start() -> None:
    """Same operations and settings under other decisions: heard, and told apart from what was searched here."""
    old, new = grown("old"), small_space("new")
    past = tuple(past_dataset(old, f"d{i}", [(c, toy_score(c)) for c in sampled(old, 40, i)]) for i in range(2))
    problem = Problem(new, past=past)
    prior = fit(problem)
    assert [lesson.here for lesson in prior.lessons] == [False, False]
    means, _ = prior.towards({}).means(prior.columns.encode(sampled(new, 200)))
    truth = [toy_score(c) for c in sampled(new, 200)]
    assert np.corrcoef(means[EXPECTED], truth)[0, 1] > 0.3
    assert any("other spaces" in note for note in MetaController(problem, pool=40).explain().notes)


def test_operations_of_another_space_are_known_by_the_words_of_their_names() -> None:
    """No operation is shared, but what is best there has a name like one of those that are tried here."""
    names = ("quick_relu", "mish_2d", "quick_tanh")
    own = {name: Operation(name, 1, lambda shape: None, shape=lambda shape: shape) for name in names}
    old = SearchSpace("old", operations=BUILTIN | own)
    old.add_input("x")
    old.add_output("y")
    for source, target in (("x", "first"), ("first", "second")):
        old.add_node(target, Choice(*names))
        old.add_edge(source, target)
    old.add_edge("second", "y")
    past = past_dataset(old, "far", [(c, float(list(c.values()).count("mish_2d"))) for c in old.enumerate()])
    new = small_space("new")
    prior, some = fit(Problem(new, past=(past,))), sampled(new, 200)
    means, _ = prior.towards({}).means(prior.columns.encode(some))
    with_mish = np.array(["mish" in choices.values() for choices in some])
    assert means[EXPECTED][with_mish].mean() > means[EXPECTED][~with_mish].mean() + 0.3


def test_a_space_with_nothing_in_common_is_ignored() -> None:
    other = SearchSpace("other")
    other.add_input("x")
    other.add_output("y")
    other.add_edge("x", "y")
    other.add_setting("weight_decay", Float(0.0, 1.0))
    past = past_dataset(other, "far", [(c, float(i)) for i, c in enumerate(sampled(other, 10))])
    prior = fit(Problem(tiny_space(), past=(past,)))
    assert prior.ignored == {"far": "another search space, with nothing in common"}
    assert prior.hierarchy is None


def test_of_many_datasets_of_other_spaces_those_not_heard_are_told_why() -> None:
    old = grown("old")
    tried = [[(c, toy_score(c)) for c in sampled(old, 30 + (i > 0), i)] for i in range(MOST_LESSONS + 1)]
    past = tuple(past_dataset(old, f"d{i}", each) for i, each in enumerate(tried))
    prior = fit(Problem(small_space("new"), past=past))
    assert prior.ignored == {
        "d0": "another search space: 8 datasets of such, with no less in common, are heard already"
    }


def test_words_of_values_are_something_in_common() -> None:
    """Decisions of other names and values, whose values share a word with those here."""
    asked = _Asked(small_space(), 0)
    assert asked.shared([{"c": "mish_2d"}]) == 1
    assert asked.shared([{"c": "warp_2d"}, {"d": 3.0}]) == 0
    assert asked.shared([{"b": "mish"}]) == 2, "the decision with its value, and the word"


def test_of_other_spaces_those_with_most_in_common_are_heard() -> None:
    """However many trainings the others have."""
    old, other = grown("old"), tiny_space("other")
    large = [
        past_dataset(other, f"d{i}", [(c, float(score)) for c, score in zip(other.enumerate(), scores, strict=True)])
        for i, scores in enumerate(np.random.default_rng(0).normal(size=(MOST_LESSONS, other.size)))
    ]
    own = past_dataset(old, "own", [(c, toy_score(c)) for c in sampled(old, 5)])
    prior = fit(Problem(small_space("new"), past=(*large, own)))
    assert "own" in [lesson.name for lesson in prior.lessons]
    assert len(prior.ignored) == 1


def test_who_has_words_in_common_but_nothing_to_say_keeps_nobody_from_being_heard() -> None:
    """Datasets whose trainings differ in what this space does not have, and one that differs in what it has."""
    new, old = small_space("new"), grown("old")
    odd = grown("odd")
    odd.add_setting("momentum", Float(0.0, 1.0))
    usual, rng = odd.default(), np.random.default_rng(0)
    silent = [
        past_dataset(odd, f"d{i}", [({**usual, "settings.momentum": m}, m) for m in rng.random(12).tolist()])
        for i in range(MOST_LESSONS)
    ]
    own = past_dataset(old, "own", [(c, toy_score(c)) for c in sampled(old, 30)])
    prior = fit(Problem(new, past=(*silent, own)))
    assert [lesson.name for lesson in prior.lessons] == ["own"]
    assert set(prior.ignored.values()) == {"another search space, with nothing in common"}


def test_noise_of_other_spaces_is_not_heard() -> None:
    old, rng = grown("old"), np.random.default_rng(0)
    true = past_dataset(old, "true", [(c, toy_score(c)) for c in sampled(old, 60)])
    junk = [past_dataset(old, f"junk{i}", [(c, float(rng.normal())) for c in sampled(old, 60, i)]) for i in range(3)]
    prior = fit(Problem(small_space("new"), past=(true, *junk)))
    assert [lesson.name for lesson in prior.lessons] == ["true"]
    assert prior.ignored == {f"junk{i}": "another search space, scores without a pattern" for i in range(3)}
