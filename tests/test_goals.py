"""Objectives and limits: what they accept, what they keep, and that what is returned keeps them."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas
from nas.errors import SearchError
from nas.goals import Footprint, Goals, _dominates
from nas.loop import Search
from nas.loop.limit import Limit
from nas.space import Choice, Float, Integer, SearchSpace

QUICK = nas.Fidelity(epochs=2, rows=60, splits=2)


def widths() -> SearchSpace:
    space = SearchSpace("widths")
    space.add_input("x")
    space.add_node("a", "linear", width=Integer(4, 4096, log=True))
    space.add_node("b", Choice("relu", "silu"))
    space.add_output("y")
    for source, target in [("x", "a"), ("a", "b"), ("b", "y")]:
        space.add_edge(source, target)
    return space


def few(*widths: int) -> SearchSpace:
    """One layer of a few widths, and a setting."""
    space = SearchSpace("few widths")
    space.add_input("x")
    space.add_node("a", "linear", width=Choice(*widths))
    space.add_output("y")
    space.add_edge("x", "a")
    space.add_edge("a", "y")
    space.add_setting("weight_decay", Choice(0.01, 0.1))
    return space


def data(n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    return X, (X[:, 0] + X[:, 1] > 0).astype(int)


@pytest.mark.parametrize(
    ("size", "latency", "expected"),
    [
        ("200kB", "1ms", (200e3, 1.0)),
        ("1.5 MB", "0.5 ms", (1.5e6, 0.5)),
        (4096, 2, (4096, 2)),
        ("2KiB", "10us", (2048, 0.01)),
        (None, "1s", (None, 1000.0)),
    ],
)
def test_limits_are_read_with_their_units(size, latency, expected):
    goals = Goals.of(("score",), size, latency)
    assert (goals.max_size, goals.max_latency) == (expected[0], pytest.approx(expected[1]))


@pytest.mark.parametrize("bad", ["", "big", "-3kB", "0", "nan", "1 parsec", "1e999", "1.2.3kB", [], True])
def test_limits_that_are_none_are_refused(bad):
    with pytest.raises(SearchError, match=r"`max_size` is a positive number with one of the units .*'200kB'"):
        Goals.of(("score",), bad, None)


@pytest.mark.parametrize(
    ("objectives", "sentence"),
    [
        (("score", "sise"), "did you mean 'size'"),
        (("size",), "begin with 'score'"),
        (("score", "size", "size"), "each other one once"),
        ((), "begin with 'score'"),
    ],
)
def test_objectives_that_are_none_are_refused(objectives, sentence):
    with pytest.raises(SearchError, match=sentence):
        Goals.of(objectives, None, None)


@given(st.tuples(*[st.integers(0, 3)] * 3), st.tuples(*[st.integers(0, 3)] * 3))
def test_domination_is_strict_and_has_one_direction(p, q):
    expected = all(a <= b for a, b in zip(p, q, strict=True)) and any(a < b for a, b in zip(p, q, strict=True))
    assert _dominates(p, q) == expected
    assert not (_dominates(p, q) and _dominates(q, p))


def test_a_footprint_violates_exactly_the_limits_it_exceeds():
    for size, latency in product((99, 100, 101), (0.9, 1.0, 1.1)):
        said = Goals(max_size=100, max_latency=1.0).violation(Footprint(1, size, latency))
        assert bool(said) == (size > 100 or latency > 1.0)
        assert ("max_size" in said) == (size > 100)


@pytest.mark.parametrize("controller", ["meta", "evolution"])
def test_a_returned_network_keeps_its_limit_on_disk(tmp_path, controller):
    limit = 12_000
    result = nas.search(
        data(), space=widths(), trials=3, controller=controller, history=None, fidelity=QUICK, max_size=limit
    )
    assert len(result.records) == 3
    path = tmp_path / "network.onnx"
    result.export(path)
    assert path.stat().st_size <= limit


def test_a_limit_is_kept_to_the_byte(tmp_path):
    space = few(200)
    space.add_setting("learning_rate", Float(0.01, 0.1, log=True))
    options = {"space": space, "trials": 1, "history": None, "fidelity": QUICK}
    size = nas.search(data(), **options).export(tmp_path / "network.onnx").bytes
    for less in (1, 100):  # settings and score, which are not known before it is trained, are in the file too
        with pytest.raises(SearchError, match="bytes are more than max_size"):
            nas.search(data(), max_size=size - less, **options)
    assert nas.search(data(), max_size=size + 100, **options).records


def test_of_an_earlier_search_without_limits_only_what_keeps_them_is_returned(tmp_path):
    space = few(8, 512, 4096)
    options = {"space": space, "trials": 6, "controller": "random", "history": tmp_path / "h.db", "fidelity": QUICK}
    assert len(nas.search(data(), **options).records) == 6
    result = nas.search(data(), max_size="30kB", objectives=("score", "latency"), **options)
    assert 1 <= len(result.front) <= 4
    for record, footprint in result.front:
        assert record.search != result.name  # known from the earlier search
        report = result.choose(record).export(tmp_path / "network.onnx")
        assert report.bytes <= footprint.size <= 30_000


def test_a_latency_is_measured_and_one_nothing_can_keep_is_one_sentence():
    options = {"space": few(8, 16), "trials": 1, "controller": "random", "history": None, "fidelity": QUICK}
    with pytest.raises(
        SearchError, match=r"the fastest of the smallest takes .* ms a row, more than max_latency, 1e-06"
    ):
        nas.search(data(), max_latency="1e-3us", **options)
    assert len(nas.search(data(), max_latency="10s", **options).records) == 1


def test_a_limit_nothing_can_keep_is_one_sentence(tmp_path):
    with pytest.raises(SearchError, match=r"no candidate of \d+ kept the limits: .* bytes .* max_size, 50"):
        nas.search(data(), space=widths(), trials=2, controller="evolution", history=None, max_size=50)


def test_a_latency_nothing_comes_near_is_refused_before_anything_is_stored(tmp_path):
    path = tmp_path / "h.db"
    with pytest.raises(SearchError, match=r"fastest of the smallest takes .* ms a row, .* max_latency, 1e-06"):
        nas.search(data(), space=widths(), trials=2, controller="random", history=path, max_latency=1e-6)
    with nas.MetaDataset.open(path) as history:
        assert not history.searches()


def test_several_objectives_give_the_candidates_that_no_other_beats():
    result = nas.search(
        data(),
        space=widths(),
        trials=8,
        controller="evolution",
        history=None,
        fidelity=QUICK,
        objectives=("score", "parameters"),
    )
    points = {r.number: (-r.score, r.outcome.cost.parameters) for r in result.records}
    best = {
        n
        for n, (s, c) in points.items()
        if not any((s2 <= s and c2 <= c) and (s2, c2) != (s, c) for s2, c2 in points.values())
    }
    assert {record.number for record, _ in result.front} <= best
    assert {points[n] for n in best} == {points[record.number] for record, _ in result.front}
    counts = [footprint.parameters for _, footprint in result.front]
    assert counts == sorted(counts, reverse=True)
    smallest = result.choose(result.front[-1][0])
    assert sum(p.numel() for p in smallest.model().network.parameters()) == counts[-1]
    study = result.study  # by Optuna's conventions
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["minus brier", "parameters"]
    assert {trial.number for trial in study.best_trials} == best
    assert {t.number: (-t.values[0], t.values[1]) for t in study.trials} == points


BOTH = {"space": few(8, 16, 32, 64), "controller": "random", "fidelity": QUICK, "objectives": ("score", "latency")}


def test_what_was_measured_is_on_record(tmp_path):
    options = BOTH | {"trials": 3, "storage": tmp_path / "h.db", "history": None}
    first = nas.search(data(), **options)
    assert first.costs.keys() == {record.architecture.key for record in first.records}
    again = nas.search(data(), **options)
    assert again.costs == first.costs  # timed anew they would differ
    assert [footprint for _, footprint in again.front] == [footprint for _, footprint in first.front]
    more = nas.search(data(), **options | {"trials": 4})
    assert first.costs.items() < more.costs.items()


@pytest.mark.parametrize("cost", ["latency", "parameters"])
def test_candidates_are_measured_in_the_time_there_is_and_the_notes_tell_of_others(tmp_path, cost):
    options = (
        BOTH
        | {"objectives": ("score", cost)}
        | {"trials": 3, "storage": tmp_path / "h.db", "history": None, "name": "short"}
    )
    with Search(nas.load(data()), **options) as search:
        assert len(list(search.run())) == 3
        asked = [search._meter.knows(record.architecture) for record in search.records]
        assert asked == [True] * 3  # before they were trained: it counts as time of the trials
    with Search(nas.load(data()), **options) as search:  # nothing of that is on record before there is a result
        assert len(list(search.run())) == 3
        search._finalists.train(search.records, math.inf)
        search._limit = Limit(1e-9)
        result = search.finish()
        assert (result.front, result.costs) == ((), {})
        shapes = len({record.architecture.key for record in result.records})
        assert f"1e-09 seconds were over before {shapes} candidate" in result.notes[-1]
        assert {trial.state.name for trial in result.study.trials} == {"FAIL"}
        assert not search._histories.storage.search("short").finished
    whole = nas.search(data(), **options)
    assert len(whole.costs) == shapes
    assert len(whole.front) >= 1


def test_a_finished_search_without_footprints_keeps_its_front(tmp_path):
    """As earlier versions recorded it: also where its time is used up, the same call returns the finished result."""
    options = BOTH | {"trials": 3, "storage": tmp_path / "h.db", "history": None, "objectives": ("score", "size")}
    first = nas.search(data(), **options)
    with nas.MetaDataset.open(tmp_path / "h.db") as history:
        (info,) = history.searches()
        account = {name: value for name, value in info.account.items() if name != "footprints"}
        history.add_search(replace(info, account=account))
    with Search(nas.load(data()), **options) as search:
        list(search.run())
        search._limit = Limit(1e-9)
        result = search.finish()
    assert result.costs == first.costs
    assert [record for record, _ in result.front] == [record for record, _ in first.front]
    assert not result.notes


def test_the_next_candidate_is_measured_in_the_time_of_the_trials(tmp_path):
    """Not in what is set aside for the finalists."""
    options = BOTH | {"trials": 3, "storage": tmp_path / "h.db", "history": None, "seconds": 600.0}
    with Search(nas.load(data()), **options) as search:
        trials = search.run()
        assert [next(trials), next(trials)]
        assert 0 < search._meter.took < 60
        search._meter._taken.append(700.0)
        assert not list(trials)
        assert len(search.finish().confirmed) == 2
    assert "600 seconds were over after 2 of 3 trials" in search.notes[0]


def in_rows(*bodies: str, width: int = 32) -> SearchSpace:
    """Two layers, one of a given width, and something behind them."""
    space = SearchSpace("in rows")
    space.add_input("x")
    space.add_node("a", "linear", width=Choice(8, width))
    space.add_node("b", "linear", width=Choice(16, width))
    space.add_node("c", Choice(*bodies))
    space.add_output("y")
    for source, target in [("x", "a"), ("a", "b"), ("b", "c"), ("c", "y")]:
        space.add_edge(source, target)
    return space


@pytest.mark.parametrize("goals", [{"objectives": ("score", "size")}, {"max_latency": "10s"}])
def test_candidates_that_cannot_be_built_end_no_search(goals):
    space = in_rows("relu", "silu", "conv3x3")  # a convolution takes no rows of a table
    options = {"space": space, "trials": 5, "controller": "random", "history": None, "fidelity": QUICK}
    result = nas.search(data(), **options, **goals)
    assert {record.status for record in result.records} == {"complete", "error"}
    assert [note for note in result.notes if "trainings ended as 'error'" in note] == list(result.notes)


def test_candidates_that_no_file_holds_are_refused():
    options = {"space": in_rows("relu", width=30_000), "history": None, "fidelity": QUICK}
    with Search(nas.load(data()), **options, objectives=("score", "size")) as search:
        found = [search._meter.violation(search.space.architecture(c)) for c in search.space.enumerate()]
    assert sorted(map(bool, found)) == [False, False, False, True]
    assert "3,600,960,008 bytes of weights are more than an ONNX file holds" in max(found)


def test_what_was_measured_before_counts_and_measuring_takes_time_again(tmp_path):
    options = BOTH | {"trials": 4, "storage": tmp_path / "h.db", "history": None, "max_latency": "10s"}
    options["space"] = few(8, 16)
    first = nas.search(data(), **options)
    assert len(first.costs) == 2  # the smallest is timed before the search begins, each time anew
    assert nas.search(data(), **options).costs == first.costs
    options = BOTH | {"trials": 1, "storage": tmp_path / "h.db", "history": None, "name": "wide", "space": widths()}
    with Search(nas.load(data()), **options) as search:
        taken = search._meter.seconds()
        list(search.run())
        search.finish()
    with Search(nas.load(data()), **options) as search:
        assert search._meter.seconds() > taken / 100


def test_the_second_interruption_of_the_end_ends_the_search(tmp_path, monkeypatch):
    options = BOTH | {"trials": 3, "history": None, "storage": tmp_path / "h.db"}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with Search(nas.load(data()), **options) as search:
        list(search.run())
        with monkeypatch.context() as patched:
            patched.setattr(search._finalists, "train", interrupted)
            assert search.finish().front
            assert search.interrupted
        search._meter._known.clear()
        monkeypatch.setattr(search._meter, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search.finish()
        search.interrupted = False
        result = search.finish()
        assert (result.front, result.notes[-1][:11]) == ((), "interrupted")
