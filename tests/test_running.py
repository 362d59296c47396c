"""A search in other processes and in groups: killed and hanging candidates, some stopped early."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from conformance import tiny_space
from hanging import space_of
from processes import alive, needs_proc, until
from test_loop import QUICK, data, run, small_space, trace

import nas
from nas.architecture import Architecture
from nas.errors import HistoryError, SearchError
from nas.evaluation import trainer
from nas.executors import Failed
from nas.goals import Meter
from nas.loop import Search
from nas.loop.place import apart
from nas.metadataset import MetaDataset
from nas.protocol import hyperband as hyperband_rounds
from nas.record import Cost, Fidelity
from nas.training import Busy, Halving


@pytest.fixture(autouse=True)
def told(tmp_path, monkeypatch):
    monkeypatch.setenv("HANGING", str(tmp_path))


def test_several_workers_train_each_candidate_once_and_as_one_would(tmp_path):
    result = run(tmp_path / "h.db", workers=2)
    assert [r.number for r in result.records] == list(range(6))
    assert len({r.key for r in result.records}) == 6
    with Search(nas.load(data()), space=small_space(), fidelity=QUICK, history=None, storage=tmp_path / "o.db") as one:
        train = trainer(one._evaluator.circumstances())
        for record in result.records:
            (outcome,) = train(one._evaluator.group([record.choices]))
            assert (outcome.score, outcome.curve) == (record.score, record.outcome.curve)
    more = run(tmp_path / "h.db", trials=8)  # one worker takes over what two have done
    assert trace(more)[0][:6] == trace(result)[0]
    assert len({r.key for r in more.records}) == 8


@needs_proc
def test_a_worker_that_is_killed_costs_one_candidate(tmp_path):
    (tmp_path / "what").write_text("hang")
    killed: list[int] = []

    def kill() -> None:
        until(lambda: list(tmp_path.glob("pid *")))
        killed.append(int(next(tmp_path.glob("pid *")).name.split()[1]))
        os.kill(killed[0], signal.SIGKILL)
        (tmp_path / "what").write_text("")
        (tmp_path / "let go").touch()  # another one may hang as well

    killer = threading.Thread(target=kill)
    killer.start()
    result = nas.search(data(), space=space_of("hanging", "linear"), trials=6, workers=2, **options(tmp_path))
    killer.join()
    assert killed
    assert [r.number for r in result.records] == list(range(6))
    failed = [r for r in result.records if r.status != "complete"]
    assert [(r.status, r.choices["a"]) for r in failed] == [("error", "hanging")]
    assert "its process was killed by signal 9" in failed[0].outcome.message
    assert any(note.startswith("1 of 6 trainings ended as 'error' (its process was killed") for note in result.notes)
    assert not alive(killed[0])


def options(tmp_path: Path) -> dict[str, Any]:
    return {"controller": "random", "fidelity": QUICK, "history": None, "storage": tmp_path / "h.db"}


def test_a_candidate_that_hangs_is_ended_and_the_search_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.loop.place.GRACE", 0.5)
    (tmp_path / "what").write_text("hang")
    space = space_of("hanging", "linear")
    result = nas.search(data(), space=space, trials=4, candidate_seconds=3, **options(tmp_path))
    ends = {(r.choices["a"], r.status) for r in result.records}
    assert ("hanging", "timeout") in ends
    assert ("linear", "complete") in ends
    assert ("hanging", "complete") not in ends
    assert all("ended after" in r.outcome.message for r in result.records if r.choices["a"] == "hanging")
    assert result.best.choices["a"] == "linear"
    assert any("ended as 'timeout'" in note and "allow more candidate_seconds" in note for note in result.notes)


def test_what_hangs_while_it_is_timed_is_ended_before_the_first_trial(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.loop.place.GRACE", 0.5)
    (tmp_path / "what").write_text("hang")
    with Search(
        nas.load(data()), space=space_of("hanging"), trials=2, candidate_seconds=0.5, **options(tmp_path)
    ) as search:
        assert 0 < search.estimate() < 600
        assert not search.records


def test_without_a_limit_processes_wait_long_but_not_for_ever(tmp_path, monkeypatch):
    """The first may take an hour, later ones ten minutes or twenty times the slowest; here both in small."""
    monkeypatch.setattr("nas.loop.place.GRACE", 0.5)
    monkeypatch.setattr("nas.loop.place.FIRST", 2.0)
    monkeypatch.setattr("nas.loop.place.HANGING", 1.0)
    (tmp_path / "what").write_text("hang")
    result = nas.search(data(), space=space_of("hanging", "linear"), trials=6, workers=2, **options(tmp_path))
    ends = {(r.choices["a"], r.status) for r in result.records}
    assert ends == {("hanging", "timeout"), ("linear", "complete")}
    with Search(nas.load(data()), space=small_space(), trials=1, workers=2, **options(tmp_path)) as search:
        group = search._evaluator.group([search.space.default()])
        patience = search._executor._seconds
        monkeypatch.undo()
        assert patience(group, None) == 3605
        search.records = list(result.records[:1])
        for seconds, allowed in ((1.0, 605), (100.0, 2005)):
            outcome = replace(result.records[0].outcome, cost=Cost(seconds))
            search.records = [replace(result.records[0], outcome=outcome)]
            assert patience(group, None) == allowed
            assert patience(replace(group, stop=3), None) == 5 + 2 * (allowed - 5)
        assert patience(search._evaluator.group([search.space.default()], epochs=2), None) == 65


def kept(folder: Path) -> int:
    if not (folder / "h.db").exists():
        return 0
    try:
        with MetaDataset.open(folder / "h.db", read_only=True) as opened:
            return sum(record.purpose == "screen" for record in opened.records())
    except HistoryError:  # not begun yet
        return 0


def test_what_is_defined_in_a_test_cannot_be_sent(tmp_path):
    wave = nas.Operation("wave", 1, lambda shape: None, shape=lambda shape: shape)
    space = small_space()
    space.operations = nas.BUILTIN | {"wave": wave}
    with pytest.raises(SearchError, match=r"define operations, metrics and pruners in a module.* or use one worker"):
        run(tmp_path / "h.db", space=space, workers=2)
    with MetaDataset.open(tmp_path / "h.db") as stored:
        assert not stored.searches()
    with pytest.raises(SearchError, match="workers >= 1"):
        run(tmp_path / "h.db", workers=0)


NINE = Fidelity(epochs=9, rows=60, splits=2)


def hyperband(folder: Path | None, **more: Any) -> nas.Result:
    arguments = {"space": small_space(), "trials": 17, "fidelity": "hyperband", "history": None, "storage": folder}
    return nas.search(data(), **(arguments | more))


@pytest.fixture
def nine_epochs(monkeypatch):
    monkeypatch.setattr("nas.loop.running.default_fidelity", lambda dataset: NINE)


def test_hyperband_stops_most_early_and_names_one_that_was_trained_to_the_end(tmp_path, nine_epochs):
    result = hyperband(tmp_path / "h.db")
    epochs = [record.fidelity.epochs for record in result.records]
    assert sorted(epochs[:9]) == [1] * 6 + [3] * 2 + [9]
    assert sorted(epochs[9:14]) == [3] * 3 + [9] * 2
    assert epochs[14:] == [9] * 3
    assert all(len(record.outcome.curve) == record.fidelity.epochs for record in result.records)
    assert result.best.fidelity == NINE
    assert all(record.fidelity.epochs == 9 for record in result.confirmed)
    assert len({record.key for record in result.records}) == 17
    first = [r for r in result.records[:9] if r.fidelity.epochs == 1]
    assert max(r.score for r in first) <= min(max(r.outcome.curve[:1]) for r in result.records[:9] if r not in first)


def test_who_went_on_in_hyperband_is_as_one_that_was_never_looked_at(tmp_path, nine_epochs):
    found = hyperband(tmp_path / "h.db", trials=9)
    with Search(nas.load(data()), space=small_space(), fidelity=NINE, history=None, storage=tmp_path / "o.db") as one:
        train = trainer(one._evaluator.circumstances())
        last = next(r for r in found.records if r.fidelity == NINE)
        (outcome,) = train(one._evaluator.group([last.choices]))
        assert (outcome.score, outcome.curve) == (last.score, last.outcome.curve)
        assert one._evaluator.key(last.choices) == last.key


def test_hyperband_interrupted_is_hyperband_continued(tmp_path, nine_epochs):
    whole = hyperband(tmp_path / "whole.db")
    for cut in (5, 12):
        folder = tmp_path / f"{cut}.db"
        more = {"space": small_space(), "trials": 17, "fidelity": "hyperband", "history": None, "storage": folder}
        with Search(nas.load(data()), **more) as search:
            for _ in zip(range(cut), search.run(), strict=False):
                pass
        assert trace(hyperband(folder)) == trace(whole)
    for trials, complete in ((6, 9), (10, 14), (17, 17)):
        grown = hyperband(tmp_path / "grown.db", trials=trials)
        assert len(grown.records) == complete  # a group is never trained in part
    assert trace(grown) == trace(whole)
    few = hyperband(tmp_path / "g.db", trials=6).notes
    assert "Hyperband trains whole groups: 9 trials rather than 6" in few
    assert any(note.startswith("1 of 9 candidates went on to the end, and 3 would be compared") for note in few)
    assert not any("went on to the end" in note for note in grown.notes)


def test_hyperband_cut_short_goes_on_with_those_that_were_under_way(tmp_path, monkeypatch, nine_epochs):
    """Time ends after the first rung: the six that stop there are on record; another call trains the three best."""
    stops = Halving.stops

    def slow(self: Halving, epoch: int, epochs: int, curves: Sequence[Sequence[float]]) -> set[int]:
        time.sleep(max(0.0, search._limit.end + 0.1 - time.monotonic()))
        return stops(self, epoch, epochs, curves)

    more = {"space": small_space(), "trials": 9, "fidelity": "hyperband", "history": None, "controller": "random"}
    whole = hyperband(tmp_path / "whole.db", trials=14, controller="random")
    enough = 2 + 2 * sum(record.outcome.cost.seconds for record in whole.records)  # for a first rung, a share of that
    with monkeypatch.context() as patch:
        patch.setattr(Halving, "stops", slow)
        with Search(nas.load(data()), **more, storage=tmp_path / "cut.db", seconds=1e6) as search:
            search._limit.end = time.monotonic() + enough
            cut = list(search.run())
        result = search.finish()
    assert [record.fidelity.epochs for record in cut] == [1] * 6
    assert "of 6 candidates none went on to the end: the best one was stopped after 1 of 9 epochs" in result.notes
    found = hyperband(tmp_path / "cut.db", trials=14, controller="random")
    assert [r.key for r in found.records[:6]] == [r.key for r in cut]
    assert sorted(r.key for r in found.records) == sorted(r.key for r in whole.records), "as many epochs each"
    assert found.best.key == whole.best.key


def test_no_more_trials_are_advised_where_there_are_none(nine_epochs):
    more = {"space": tiny_space(), "trials": 14, "fidelity": "hyperband", "history": None, "controller": "random"}
    notes = nas.search(data(), **more, storage=":memory:").notes
    assert any(note.startswith("the space holds no more than") for note in notes)
    assert any("went on to the end" in note for note in notes)
    assert not any("more trials" in note for note in notes)


def test_networks_measured_for_a_limit_before_an_earlier_call_ended_are_not_measured_past_the_end(
    tmp_path, monkeypatch
):
    def refuses(self: Meter, architecture: Architecture) -> str:
        measured.append(architecture)
        if slowly:
            time.sleep(0.2)
        return "too slow" if int(architecture.key, 16) % 4 else ""

    measured: list[Architecture] = []
    slowly = False
    monkeypatch.setattr(Meter, "violation", refuses)
    more = {"space": small_space(), "fidelity": QUICK, "history": None, "storage": tmp_path / "h.db"}
    with Search(nas.load(data()), **more, trials=6, controller="random") as search:
        assert len(list(search.run())) == 6
    before, slowly = len(measured), True
    assert before > 12
    measured.clear()
    with Search(nas.load(data()), **more, trials=9, controller="random", seconds=1e6) as search:
        search._limit.end = time.monotonic() + 1
        assert len(list(search.run())) == 6
    assert len(measured) < 8


def test_what_another_search_found_counts_also_when_the_time_is_over(tmp_path):
    """A second search with the same controller asks for what a first one trained."""
    more = {"space": small_space(), "fidelity": QUICK, "history": tmp_path / "h.db"}
    nas.search(data(), **more, trials=3, controller="random", seed=1, name="first")
    with Search(nas.load(data()), **more, trials=6, controller="random", seed=1, name="second") as search:
        assert len(list(search.run())) == 6
        hits = [hit.key for hit in search._proposals.hits]
    assert len(hits) == 3
    with Search(nas.load(data()), **more, trials=9, controller="random", seed=1, name="second", seconds=9) as search:
        search._limit.end = time.monotonic() - 1
        assert len(list(search.run())) == 6
        assert [hit.key for hit in search._proposals.hits] == hits


def test_of_a_group_only_what_is_refused_is_asked_for_again(tmp_path, monkeypatch, nine_epochs):
    """A limit that every other network exceeds: about as many are refused as are trained."""

    def refuses(self: Meter, architecture: Architecture) -> str:
        return "too slow" if int(architecture.key, 16) % 2 else ""

    monkeypatch.setattr(Meter, "violation", refuses)
    more = {"space": small_space(), "trials": 14, "fidelity": "hyperband", "history": None, "controller": "random"}
    with Search(nas.load(data()), **more, storage=tmp_path / "h.db") as search:
        assert len(list(search.run())) == 14
        assert len(search._proposals.refused) < 40
        keys = [record.key for record in search.records]
    with Search(nas.load(data()), **more, storage=tmp_path / "cut.db") as search:
        for _ in zip(range(9), search.run(), strict=False):
            pass
    with Search(nas.load(data()), **more, storage=tmp_path / "cut.db") as search:
        assert [record.key for record in search.run()] == keys


def test_rounds_are_those_of_the_paper():
    """Li et al. 2018, table 1, the columns of R = 9 and eta = 3."""
    rounds = hyperband_rounds(9)
    assert [(b.size, b.rungs) for b in rounds.brackets] == [(9, (1, 3)), (5, (3,)), (1, ()), (1, ()), (1, ())]
    assert [rounds.at(n)[1] for n in (0, 8, 9, 13, 14, 16, 17)] == [9, 1, 5, 1, 1, 1, 9]
    assert [rounds.whole(n) for n in (1, 9, 10, 14, 15, 18)] == [9, 9, 14, 14, 15, 26]
    rules = [rounds.brackets[0].pruner(left) for left in (9, 4, 3, 2, 1)]
    assert [list(rule.rungs(9)) if rule else [] for rule in rules] == [[1, 3], [1, 3], [3], [3], []], "three go on at 1"
    assert rounds.brackets[0].share == pytest.approx((9 * 1 + 3 * 2 + 1 * 6) / (9 * 9))
    assert [b.rungs for b in hyperband_rounds(2).brackets] == [()]


def test_hyperband_in_two_processes_is_hyperband(tmp_path, nine_epochs):
    result = hyperband(tmp_path / "h.db", workers=2, trials=10)
    assert [record.number for record in result.records] == list(range(14))
    assert sorted(record.fidelity.epochs for record in result.records)[:6] == [1] * 6
    assert len({record.key for record in result.records}) == 14


def test_a_group_that_hangs_costs_only_the_one_that_does(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.loop.place.GRACE", 0.5)
    (tmp_path / "what").write_text("hang")
    monkeypatch.setattr("nas.loop.running.default_fidelity", lambda dataset: replace(NINE, epochs=3))
    more = options(tmp_path) | {"fidelity": "hyperband", "space": space_of("hanging", "linear"), "seed": 2}
    result = nas.search(data(), trials=3, candidate_seconds=2, **more)
    statuses = {(r.choices["a"], r.status) for r in result.records}
    assert statuses == {("hanging", "timeout"), ("linear", "complete")}


def test_a_bracket_goes_on_without_the_one_that_hangs(tmp_path, monkeypatch, nine_epochs):
    """Eight of nine, of which three go on after the first rung and one after the second, in one second attempt."""
    monkeypatch.setattr("nas.loop.place.GRACE", 0.5)
    (tmp_path / "what").write_text("once")
    more = options(tmp_path) | {"fidelity": "hyperband", "space": space_of("hanging")}
    started = time.monotonic()
    result = nas.search(data(), trials=9, candidate_seconds=6, **more)
    assert time.monotonic() - started < 9 * 6
    assert [r.status for r in result.records] == ["timeout"] + 8 * ["complete"]
    assert "it was ended after" in result.records[0].outcome.message
    assert sorted(r.fidelity.epochs for r in result.records[1:]) == [1] * 5 + [3] * 2 + [9]
    assert len({r.key for r in result.records}) == 9


def test_who_is_to_blame_is_told_apart_and_the_others_stay_together(tmp_path):
    with Search(nas.load(data()), space=small_space(), fidelity=NINE, history=None, storage=tmp_path / "o.db") as one:
        rng = np.random.default_rng(0)
        group = one._evaluator.group([one.space.sample(rng) for _ in range(5)], Halving(3))
        for who, blamed, sizes in (((2,), [2], [4]), ((0, 1, 4), [], [2, 1, 2]), (None, [], [3, 2])):
            busy = None if who is None else Busy(who, 1.0)
            guilty, others = apart(one._evaluator, group, Failed("died", "", busy=busy))
            assert list(guilty.choices) == [group.choices[n] for n in blamed]
            assert [len(each.choices) for each in others] == sizes
            assert [each.pruner for each in others] == [group.pruner if size > 1 else None for size in sizes]


def test_a_clock_that_is_set_back_changes_nothing(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole.db", trials=4)
    run(tmp_path / "h.db", trials=2)

    class Yesteryear(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) - timedelta(days=800)

    monkeypatch.setattr("nas.evaluation.datetime", Yesteryear)
    again = run(tmp_path / "h.db", trials=4)
    assert trace(again) == trace(whole)
    assert again.records[3].created < again.records[0].created
    assert [trial.number for trial in again.study.trials] == [0, 1, 2, 3]
    with MetaDataset.open(tmp_path / "h.db") as stored:
        assert [r.number for r in stored.records(search=again.name) if r.purpose == "screen"] == [0, 1, 2, 3]


def test_a_search_leaves_one_database_behind(tmp_path, monkeypatch):
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    for folder in (home, temporary):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(home)
    result = nas.search(
        data(), space=small_space(), trials=2, fidelity=QUICK, history=None, storage=home / "h.db", max_size="200kB"
    )
    assert result.best
    assert {path.name for path in home.iterdir()} == {"h.db"}
    assert not list(temporary.iterdir())
    assert (home / "h.db").stat().st_size < 200_000


def test_the_estimate_grows_with_what_is_left_to_do(tmp_path):
    def estimate(**more: Any) -> float:
        arguments = {"space": small_space(), "fidelity": Fidelity(9, 60, 2), "history": None, "controller": "random"}
        with Search(nas.load(data()), storage=tmp_path / "h.db", **(arguments | more)) as search:
            return search.estimate()

    few, many = estimate(trials=1), estimate(trials=400)
    assert 0 < few < many
    assert estimate(trials=400, seconds=1) < many / 2
    with Search(nas.load(data()), space=small_space(), trials=2, fidelity=QUICK, history=tmp_path / "h.db") as search:
        cost = sum(record.outcome.cost.seconds for record in search.run())
    with Search(nas.load(data()), space=small_space(), trials=2, fidelity=QUICK, history=tmp_path / "h.db") as begun:
        assert cost / 2 <= begun.estimate() <= 2 * cost, "twice the splits, perhaps fewer epochs"
    run(tmp_path / "h.db", trials=2)
    with Search(nas.load(data()), space=small_space(), trials=2, fidelity=QUICK, history=tmp_path / "h.db") as done:
        assert done.estimate() == 0


def test_the_one_under_way_when_the_time_is_over_is_given_up_and_trained_by_the_next_call(tmp_path):
    """Each step waits: a training takes a second or more, and what is confirmed as long again."""
    (tmp_path / "what").write_text("wait .02")
    more = options(tmp_path) | {"space": space_of("hanging"), "trials": 3, "fidelity": Fidelity(10, 60, 1)}
    with Search(nas.load(data()), seconds=1e-3, **more) as search:
        assert list(search.run()) == []
        with pytest.raises(SearchError, match=r"in time, .* of 0\.001 seconds of which went into preparing; allow"):
            search.finish()
    assert kept(tmp_path) == 0
    with Search(nas.load(data()), seconds=0.5, **more) as search:
        started = time.monotonic()
        assert list(search.run()) == []  # it would take longer
        assert time.monotonic() - started < 200  # a busy machine loads for long
    (tmp_path / "what").write_text("")
    unhurried = nas.search(data(), **more)
    assert trace(unhurried) == trace(nas.search(data(), **more | {"storage": tmp_path / "whole.db"}))
    assert len(unhurried.records) == 3


def test_time_for_the_confirmation_is_set_aside(tmp_path):
    (tmp_path / "what").write_text("wait .02")
    more = options(tmp_path) | {"space": space_of("hanging"), "trials": 50, "fidelity": Fidelity(3, 60, 1)}
    with Search(nas.load(data()), seconds=4, **more) as search:
        search._limit.end += 3600
        records = []
        for record in search.run():
            if not records:  # however long all was prepared on a busy machine
                started = time.monotonic()
                search._limit.end = started + 4
            records.append(record)
        spent = time.monotonic() - started
        result = search.finish()
    usual = median(record.outcome.cost.seconds for record in records)
    assert 0 < len(records) < 50
    assert spent < 4 - usual  # a finalist takes as long again, or longer
    assert 0 < len(result.confirmed) <= min(3, len(records))
    assert any("4 seconds were over after" in note and "goes on" in note for note in result.notes)


def test_a_candidate_that_hangs_when_the_time_is_over_is_ended_and_leaves_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.loop.place.GRACE", 0.5)
    (tmp_path / "what").write_text("hang")
    with Search(
        nas.load(data()), space=space_of("hanging"), trials=4, workers=2, seconds=2, **options(tmp_path)
    ) as search:
        started = time.monotonic()
        assert list(search.run()) == []
        assert time.monotonic() - started < 300  # without its end it would be an hour
    assert kept(tmp_path) == 0
