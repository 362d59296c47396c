"""The choice graph: what it counts, lists, samples and refuses, against brute force and against Optuna."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nas.errors import SpaceError
from nas.operations import BUILTIN
from nas.space import Choice, Float, Integer, Op, Repeat, SearchSpace
from search_spaces import image, tabular


def small_space(activation_name: str | None = "activation", times: int = 2, optional: bool = True) -> SearchSpace:
    """A space with every kind of decision: shared, conditional, inherited, optional, chosen, repeated, nested."""
    activation = Choice("relu", "silu", name=activation_name)
    cell = SearchSpace("cell")
    cell.add_input("x")
    cell.add_node("a", Choice("linear", "gated_linear", "identity"))
    cell.add_node("act", activation)
    cell.add_output("y", join=Choice("add", "concat"))
    cell.add_edge("x", "a")
    cell.add_edge("a", "act")
    cell.add_edge("act", "y")
    cell.add_edge("x", "y", optional=optional)
    space = SearchSpace("small")
    space.add_input("x")
    space.add_node("first", Repeat(cell, Integer(1, times)), width=Choice(8, 16))
    space.add_node("second", Choice(Op("linear", width=Choice(4, 8, 16)), "identity", cell), width=4)
    space.add_node("third", activation)
    space.add_output("y")
    space.add_edge("x", "first")
    space.add_edge("first", "second", Choice("identity", "zero"), optional=optional)
    space.add_edge(Choice("x", "first", "second"), "third")
    space.add_edge("third", "y")
    space.add_setting("learning_rate", Choice(0.01, 0.1))
    return space


def tiny_space() -> SearchSpace:
    """Conditional, shared, optional and numeric decisions in 48 choices."""
    space = SearchSpace("tiny")
    space.add_input("x")
    space.add_node("a", Choice(Op("linear", width=Choice(4, 8, 16)), "relu"))
    space.add_output("y", join=Choice("add", "concat"))
    space.add_edge("x", "a")
    space.add_edge("a", "y")
    space.add_edge("x", "y", optional=True)
    space.add_setting("dropout", Integer(0, 2))
    return space


@pytest.mark.parametrize("name", ["activation", None])
@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_size_is_the_number_of_distinct_choices_enumerated(name, optional, times):
    space = small_space(name, times, optional)
    listed = [tuple(sorted(c.items(), key=str)) for c in space.enumerate()]
    assert len(set(listed)) == len(listed) == space.size


def test_size_counts_a_shared_structural_decision_once():
    shared = Choice(Op("linear", width=Choice(2, 4)), "relu", name="both")
    space = SearchSpace("shared")
    space.add_input("x")
    for source, node in (("x", "a"), ("a", "b")):
        space.add_node(node, shared)
        space.add_edge(source, node)
    space.add_output("y")
    space.add_edge("b", "y")
    assert space.size == 3 == len(list(space.enumerate()))


def test_size_is_infinite_with_a_float_and_enumeration_says_so():
    space = tabular()
    assert space.size < math.inf
    space.add_setting("momentum", Float(0.5, 0.9))
    assert space.size == math.inf
    with pytest.raises(SpaceError, match=r"settings\.momentum"):
        list(space.enumerate())


@given(seed=st.integers(0, 2**32), edits=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_what_is_sampled_mutated_and_crossed_is_contained(seed, edits):
    rng = np.random.default_rng(seed)
    for space in (small_space(), tabular(), image()):
        a, b = space.sample(rng), space.sample(rng)
        child = space.cross_over(a, b, rng)
        mutant = space.mutate(a, rng, edits)
        assert all(map(space.contains, (a, b, child, mutant)))
        assert space.architecture(mutant).key == space.architecture(dict(reversed(mutant.items()))).key
        both = {**a, **b}
        assert all(child[p] in (a.get(p), b.get(p)) for p in child if p in a and p in b), (child, both)


def test_the_order_in_which_a_choice_is_written_does_not_count():
    space = small_space()
    a, b = (space.sample(np.random.default_rng(seed)) for seed in (0, 1))
    turned = [dict(reversed(c.items())) for c in (a, b)]
    for seed in range(20):
        first, second = (np.random.default_rng(seed) for _ in range(2))
        assert space.mutate(a, first) == space.mutate(turned[0], second)
        assert space.cross_over(a, b, first) == space.cross_over(*turned, second)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_one_mutation_changes_one_decision_and_what_hangs_on_it(seed):
    rng = np.random.default_rng(seed)
    space = small_space()
    parent = space.sample(rng)
    child = space.mutate(parent, rng)
    changed = [p for p in parent if p in child and parent[p] != child[p]]
    assert len(changed) == 1
    appeared = set(child) ^ set(parent)
    assert all(path.startswith(changed[0].removesuffix(".kept")) or "width" in path for path in appeared)


def test_mutation_and_sampling_reach_every_choice_of_a_small_space():
    rng = np.random.default_rng(0)
    space = tiny_space()
    everything = {tuple(sorted(c.items(), key=str)) for c in space.enumerate()}
    reached, choices = set(), space.default()
    for _ in range(30 * len(everything)):
        choices = space.mutate(choices, rng)
        reached.add(tuple(sorted(choices.items(), key=str)))
    assert reached == everything


def test_contains_refuses_missing_superfluous_and_wrong_values():
    space = small_space()
    good = space.default()
    assert space.contains(good)
    assert not space.contains({**good, "nonsense": 1})
    assert not space.contains({p: v for p, v in good.items() if p != "first.times"})
    assert not space.contains({**good, "first.times": 3})
    assert not space.contains({**good, "first.times": True})
    assert not space.contains({**good, "settings.learning_rate": float("nan")})
    assert not space.contains({**good, "first.a": ["linear"]})
    with pytest.raises(SpaceError, match=r"first\.times.*did you mean|did you mean.*first\.times|must lie in"):
        space.architecture({**good, "first.times": 7})
    with pytest.raises(SpaceError, match=r"did you mean 'first\.times'"):
        space.architecture({**good, "first.time": 1})


def test_a_choice_of_another_space_is_adapted_to_this_one():
    full, numbers = tabular(), tabular(missing=False, categorical=False, classification=False)
    rng = np.random.default_rng(0)
    for _ in range(50):
        wanted = full.sample(rng)
        adapted = numbers.adapt(wanted)
        assert numbers.contains(adapted)
        assert all(adapted[path] == wanted[path] for path in adapted)
        assert numbers.adapt(adapted) == adapted
    narrow = SearchSpace("narrow")
    narrow.add_input("x")
    narrow.add_node("a", "linear", width=Integer(16, 64))
    narrow.add_output("y")
    narrow.add_edge("x", "a")
    narrow.add_edge("a", "y")
    assert narrow.adapt({"a.width": 500}) == {"a.width": 64}
    assert narrow.adapt({"a.width": float("nan")}) == narrow.adapt({"a.width": "wide"}) == narrow.adapt({})
    with_settings = tabular()
    assert with_settings.adapt({"settings.learning_rate": 0.07})["settings.learning_rate"] == 0.08


def test_an_optuna_trial_walks_the_space_and_its_parameters_are_the_choice():
    space = small_space()

    def objective(trial: optuna.Trial) -> float:
        choices = space.suggest(trial)
        assert choices == trial.params
        assert space.contains(choices)
        assert trial.distributions == space.distributions(choices)
        return 0.0

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=50)
    fixed = space.sample(np.random.default_rng(1))
    assert space.suggest(optuna.trial.FixedTrial(fixed)) == fixed


def test_architectures_of_a_choice_are_what_was_drawn():
    space = SearchSpace("chain")
    space.add_input("x")
    space.add_node("a", Repeat(Op("linear", width=Integer(2, 9)), Choice(3)))
    space.add_node("b", "relu")
    space.add_output("y")
    space.add_edge("x", "a")
    space.add_edge("a", "b")
    space.add_edge("b", "y")
    space.add_edge("x", "b", optional=True)
    graph = space.architecture({"a.width": 5, "a.times": 3, "x->b.kept": False}).graph
    assert [graph.nodes[n]["op"] for n in sorted(graph)] == ["input", "linear", "linear", "linear", "relu", "output"]
    assert {tuple(e) for e in graph.edges} == {(i, i + 1) for i in range(5)}
    assert graph.nodes[1]["parameters"] == {"width": 5}
    wide = space.architecture({"a.width": 5, "a.times": 3, "x->b.kept": True})
    assert wide.graph.number_of_edges() == 6
    assert wide != space.architecture({"a.width": 5, "a.times": 3, "x->b.kept": False})


def test_settings_are_no_part_of_the_architecture():
    space = tabular()
    choices = space.default()
    other = {**choices, "settings.learning_rate": 0.2}
    assert space.architecture(choices) == space.architecture(other)
    assert space.settings(other)["learning_rate"] == 0.2


def test_the_fingerprint_follows_content_and_not_defaults_or_identity():
    assert tabular().fingerprint == tabular().fingerprint
    assert tabular().fingerprint != tabular(missing=False).fingerprint
    plain, named = small_space(None), small_space("activation")
    assert plain.fingerprint != named.fingerprint
    changed = tabular()
    changed.add_setting("momentum", Float(0.1, 0.9))
    assert changed.fingerprint != tabular().fingerprint


def test_one_sampled_choice_depends_on_the_seed_alone():
    draws = [tabular().sample(np.random.default_rng(3)) for _ in range(2)]
    assert draws[0] == draws[1]


def test_the_graph_is_a_networkx_graph_and_read_only():
    import networkx as nx

    space = small_space()
    assert nx.is_directed_acyclic_graph(space.graph)
    assert set(space.graph) == {"x", "first", "second", "third", "y"}
    assert set(space.graph.predecessors("third")) == {"x", "first", "second"}
    with pytest.raises(nx.NetworkXError):
        space.graph.add_node("z")


def _with(space_call):
    space = SearchSpace("bad")
    space.add_input("x")
    space.add_node("a", "linear")
    space.add_edge("x", "a")
    space_call(space)


def _nested(**kwargs):
    inner = SearchSpace("inner", **kwargs)
    inner.add_input("x")
    return inner


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda s: s.add_node("b", "linaer"), "did you mean 'linear'"),
        (lambda s: s.add_node("b", Op("linear", widht=3)), "did you mean 'width'"),
        (lambda s: s.add_node("b", "linear", dropout=0.1), "declared by an operation"),
        (lambda s: s.add_node("a", "linear"), "distinct names"),
        (lambda s: s.add_node("a.b", "linear"), "no '.'"),
        (lambda s: s.add_node("b", 7), "SearchSpace, but got 7"),
        (lambda s: s.add_node("b", "linear", join="multiply"), "'multiply'"),
        (lambda s: s.add_node("b", _nested()), "one input, one output"),
        (lambda s: s.add_edge("x", "aa"), "did you mean 'a'"),
        (lambda s: s.add_edge("x", "a"), "joined by one edge"),
        (lambda s: s.add_edge("a", "a"), "no cycle"),
        (lambda s: s.add_edge("a", "x"), "leave inputs"),
        (lambda s: s.sample(np.random.default_rng(0)), "call add_output"),
        (lambda s: (s.add_output("y"), s.add_output("z")), "exactly one output"),
        (lambda s: s.add_setting("learning_rate", 0.1), "with a domain"),
        (lambda s: s.add_node("b", Repeat("linear", 0)), "times >= 1"),
        (lambda s: s.add_node("b", Repeat("linear", Float(1, 2))), "times >= 1"),
        (lambda s: Choice(), "at least one alternative"),
        (lambda s: Choice("a", "a"), "distinct labels"),
        (lambda s: Choice(1.0, float("nan")), "finite"),
        (lambda s: Choice("a", default="b"), "default of a Choice"),
        (lambda s: Choice([1]), "must be a value"),
        (lambda s: Integer(3, 2), "low <= high"),
        (lambda s: Integer(0, 2, log=True), "low >= 1"),
        (lambda s: Integer(1.5, 2), "whole numbers"),
        (lambda s: Float(0, float("inf")), "finite"),
        (lambda s: Float(0, 1, log=True), "low > 0"),
        (lambda s: SearchSpace(""), "needs a name"),
    ],
)
def test_bad_spaces_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(SpaceError, match=None) as caught:
        _with(call)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_nested_space_is_closed_and_cannot_hide_another_operation():
    inner = small_space()
    inner2 = SearchSpace("inner")
    inner2.add_input("x")
    inner2.add_node("w", "wavelet") if "wavelet" in inner2.operations else None
    inner2.add_output("y")
    inner2.add_edge("x", "y")
    outer = SearchSpace("outer")
    outer.add_node("n", inner2)
    with pytest.raises(SpaceError, match="finish it first"):
        inner2.add_node("late", "relu")
    assert inner.operations is not BUILTIN


@given(
    low=st.integers(1, 50),
    width=st.integers(0, 50),
    log=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=80, deadline=None)
def test_domains_stay_inside_and_move(low, width, log, seed):
    rng = np.random.default_rng(seed)
    for domain in (
        Integer(low, low + width, log=log),
        Float(low, low + width, log=log),
        Choice(*range(low, low + width + 1)),
    ):
        value = domain.sample(rng)
        assert domain.contains(value)
        assert 0 <= domain.unit(value) <= 1
        moved = domain.neighbour(value, rng)
        assert domain.contains(moved)
        if width and not isinstance(domain, Float):
            assert moved != value


@example([7e-303, 9e-40])  # whose product is no float
@example([1e308, 1.5e308])  # nor is their sum, or their product
@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_any_bounds_have_a_middle(bounds):
    low, high = sorted(bounds)
    assert low <= Float(low, high).default <= high
    low, high = sorted(abs(bound) or 1.0 for bound in bounds)
    assert low <= Float(low, high, log=True).default <= high


def test_log_integers_are_drawn_log_uniformly():
    rng = np.random.default_rng(0)
    drawn = np.array([Integer(1, 1000, log=True).sample(rng) for _ in range(4000)])
    assert abs(np.mean(drawn <= 31) - 0.5) < 0.06  # half of the logarithmic range


def test_a_space_within_limits_draws_what_is_allowed_and_keeps_its_identity():
    space = small_space()
    wide = {"linear"}

    def allowed(architecture):
        return not any(node.op in wide for node in architecture.nodes)

    limited = space.within(allowed)
    assert limited.fingerprint == space.fingerprint
    rng = np.random.default_rng(0)
    drawn = [limited.sample(rng) for _ in range(30)]
    moved = [limited.mutate(choices, rng) for choices in drawn]
    crossed = [limited.cross_over(a, b, rng) for a, b in zip(drawn, moved, strict=True)]
    assert all(allowed(space.architecture(c)) for c in [*drawn, *moved, *crossed])
    assert any(not allowed(space.architecture(space.sample(rng))) for _ in range(30))
    assert all(space.contains(c) and limited.allows(c) for c in drawn)
