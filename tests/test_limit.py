"""``seconds=``: whatever is slow or hangs, the call ends, nothing recorded is lost, and what was found is returned."""

from __future__ import annotations

import signal
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hanging import space_of
from test_loop import data, small_space, trace
from test_running import kept, options

import nas
from nas.errors import SearchError
from nas.loop import Limit, Search
from nas.record import Fidelity

interrupts = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
pytestmark = pytest.mark.timeout(900, method="thread")  # the other method waits for SIGALRM itself


@pytest.fixture(autouse=True)
def told(tmp_path, monkeypatch):
    monkeypatch.setenv("HANGING", str(tmp_path))
    monkeypatch.setattr("nas.loop.place.GRACE", 0.3)


def in_time(search: Search, seconds: float) -> None:
    """Leaves so many seconds, however long the search was prepared on a busy machine."""
    search._limit.end = time.monotonic() + seconds


@interrupts
def test_a_candidate_that_hangs_in_this_process_is_ended_and_the_others_are_the_result(tmp_path):
    (tmp_path / "what").write_text("hang")
    more = options(tmp_path) | {"space": space_of("hanging", "linear"), "trials": 40, "seed": 1}
    with Search(nas.load(data()), seconds=3600, **more) as search:
        records = []
        for record in search.run():
            in_time(search, 3)  # for the next one, which may be the one that hangs
            records.append(record)
        assert time.monotonic() < search._limit.end + 100
        search.finish()
    assert {record.choices["a"] for record in records} == {"linear"}
    assert kept(tmp_path) == len(records) > 0
    assert any("3600 seconds were over after" in note for note in search.notes)
    (tmp_path / "what").write_text("")
    whole = nas.search(data(), **more | {"trials": len(records) + 1})  # it was not to blame
    assert whole.records[-1].choices["a"] == "hanging"
    assert whole.records[-1].status == "complete"


@interrupts
def test_where_all_hang_one_sentence_says_so(tmp_path):
    (tmp_path / "what").write_text("hang")
    with Search(nas.load(data()), seconds=3600, space=space_of("hanging"), trials=3, **options(tmp_path)) as search:
        in_time(search, 2)
        assert not list(search.run())
        with pytest.raises(SearchError, match=r"none was finished in time; allow more"):
            search.finish()
        assert time.monotonic() < search._limit.end + 100
    assert kept(tmp_path) == 0


class Slow:
    """Targets that take minutes to be read."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        time.sleep(300)
        return data()[1]

    def __len__(self) -> int:
        return len(data()[1])


def slow_controller(problem: nas.Problem) -> Any:
    time.sleep(300)


@interrupts
def test_what_is_prepared_counts(tmp_path):
    more = options(tmp_path) | {"space": small_space(), "trials": 1}
    began = time.monotonic()
    with pytest.raises(
        SearchError, match=r"the 1 seconds were over while the data were read, .*; allow more seconds, or"
    ):
        nas.search((data()[0], Slow()), seconds=1, **more)
    given, limit = nas.load(data()), Limit(3600)
    limit.end = time.monotonic() + 1
    with pytest.raises(SearchError, match=r"were over while the search was prepared, .*; allow more seconds, or pass"):
        Search(given, seconds=limit, **more | {"controller": slow_controller})
    assert time.monotonic() - began < 250
    assert len(nas.search(data(), **more).records) == 1


def test_finalists_are_trained_again_while_there_is_time_and_the_notes_say_how_many(tmp_path):
    more = options(tmp_path) | {"space": space_of("hanging"), "trials": 4, "fidelity": Fidelity(3, 60, 1)}
    with Search(nas.load(data()), seconds=3600, **more) as search:
        assert len(list(search.run())) == 4
        (tmp_path / "what").write_text("wait .05")  # a step; some fifty of them confirm one
        in_time(search, 0.5)
        result = search.finish()
        assert time.monotonic() < search._limit.end + 100
    best = max(result.records, key=lambda record: record.score)
    assert (result.best.key, result.confirmed, result.confirmation) == (best.key, (), best)
    assert result.notes[-1] == (
        "3600 seconds were over after 0 of 3 finalists had been trained again on fresh splits: the score is that of "
        "the trials"
    )
    assert result.model() is not None
    (tmp_path / "what").write_text("")
    whole = nas.search(data(), seconds=3600, **more)
    assert len(whole.confirmed) == 3
    assert trace(whole) == trace(nas.search(data(), **more | {"storage": tmp_path / "whole.db"}))
    assert not any("seconds were over" in note for note in whole.notes)


def test_who_was_confirmed_in_time_is_named(tmp_path):
    """The one there was time for, though others may be better."""
    more = options(tmp_path) | {"space": small_space(), "trials": 4, "fidelity": Fidelity(3, 60, 1)}
    with Search(nas.load(data()), **more) as search:
        assert len(list(search.run())) == 4
        worst = min(search.records, key=lambda record: record.score)
        search._finalists.train([worst], float("inf"))
        search._limit = Limit(1e-9)
        result = search.finish()
        assert result.confirmed == ()  # the worst is no finalist
        second = sorted(search.records, key=lambda record: -record.score)[1]
        search._finalists.train([second], float("inf"))
        assert search.finish().best.key == second.key
    assert "after 1 of 3 finalists" in search.notes[-1]


class Stubborn:
    """Asks for the default again and again, and takes its time."""

    def __init__(self, problem: nas.Problem) -> None:
        self.space, self.told = problem.space, 0

    def ask(self, count: int = 1) -> list[Any]:
        time.sleep(1.0 if self.told else 0)
        return [self.space.default()] * count

    def tell(self, records: Any) -> None:
        self.told += len(records)

    def explain(self) -> nas.Explanation:
        return nas.Explanation()


def test_what_is_asked_for_in_vain_takes_time_too(tmp_path):
    """Two hundred repeats would take 200 seconds."""
    more = options(tmp_path) | {"space": small_space(), "trials": 3, "controller": Stubborn}
    with Search(nas.load(data()), seconds=3600, **more) as search:
        for _ in search.run():
            in_time(search, 1)
        assert time.monotonic() < search._limit.end + 100
        assert not search._proposals.exhausted
        assert any("seconds were over after 1 of 3 trials" in note for note in search.notes)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "60", True, 1j])
def test_a_limit_is_a_positive_number(seconds):
    with pytest.raises(SearchError, match="`seconds"):
        Limit(seconds)


@pytest.mark.parametrize("seconds", [np.int64(600), np.float32(600), Fraction(600)])
def test_any_real_number_is_a_limit(seconds):
    assert 500 < Limit(seconds).left <= 600


def test_a_limit_past_every_float_is_none():
    assert nas.search(data(), seconds=10**400, trials=1, history=None, storage=":memory:").records


def test_a_controller_that_proposes_nothing_is_told():
    class Silent:
        def ask(self, count=1):
            return []

        def tell(self, records):
            pass

        def explain(self):
            return nas.Explanation()

    with pytest.raises(SearchError, match="there is none; the controller must propose some"):
        nas.search(data(), trials=1, history=None, storage=":memory:", controller=lambda problem: Silent())


def test_earlier_calls_count():
    limit = Limit(1000.0)
    assert 900 < limit.left <= 1000
    limit.less(400.0)
    assert 500 < limit.left <= 600
    limit.less(4000.0)
    assert limit.left == 0
    assert Limit(None).left == float("inf")
    assert Limit(None).share(0.1) is None
