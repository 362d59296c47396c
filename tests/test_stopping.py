"""Candidates stopped by the curves of past searches or by Optuna's pruners, in this process and in others."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import pytest
from test_loop import ROOT, _count, data, small_space, trace

import nas
from nas.errors import SearchError
from nas.loop import Search
from nas.loop.stopping import OptunaPruner, complete_curves
from nas.metadataset import shipped
from nas.record import Fidelity

NINE = Fidelity(epochs=9, rows=60, splits=2)


@pytest.fixture(autouse=True)
def nine_epochs(monkeypatch):
    monkeypatch.setattr("nas.loop.running.default_fidelity", lambda dataset: NINE)


def search(place: Path, fidelity: Any = "history", **more: Any) -> nas.Result:
    history = place if fidelity == "history" else None
    fixed = {"space": small_space(), "trials": 9, "controller": "random", "storage": place, "history": history}
    arguments = fixed | more
    return nas.search(data(), fidelity=fidelity, **arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that history stops candidates of, uninterrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.loop.running.default_fidelity", lambda dataset: NINE)
        return search(tmp_path_factory.mktemp("whole") / "h.db")


def lengths(result: nas.Result) -> list[int]:
    return [record.fidelity.epochs for record in result.records]


def test_history_stops_some_and_names_one_that_was_trained_to_the_end(whole, tmp_path):
    assert lengths(whole)[0] == 9  # nothing to be behind of
    assert min(lengths(whole)) < 9
    assert whole.best.fidelity == NINE
    assert all(record.fidelity == replace(NINE, splits=4) for record in whole.confirmed)
    assert not [note for note in whole.notes if "curves" in note]
    never = search(tmp_path / "o.db", fidelity=NINE)
    assert set(lengths(never)) == {9}
    for stopped, record in zip(whole.records, never.records, strict=True):
        assert stopped.choices == record.choices  # the controller draws at random: nothing else differs
        assert stopped.outcome.curve == record.outcome.curve[: len(stopped.outcome.curve)]
        if stopped.fidelity == NINE:
            assert (stopped.score, stopped.key) == (record.score, record.key)
        else:
            assert stopped.score <= record.score
            assert stopped.key != record.key


def test_interrupted_or_killed_it_is_the_same_search(whole, tmp_path):
    with Search(nas.load(data()), space=small_space(), trials=9, controller="random", fidelity="history",
                history=tmp_path / "cut.db") as cut:  # fmt: skip
        for _ in zip(range(5), cut.run(), strict=False):
            pass
    assert trace(search(tmp_path / "cut.db")) == trace(whole)
    history = tmp_path / "killed.db"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(history), str(Path(__file__).parent)], cwd=ROOT)
    while process.poll() is None and _count(history) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert _count(history) >= 3
    assert trace(search(history)) == trace(whole)


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from test_stopping import NINE, search
import nas.loop.running
nas.loop.running.default_fidelity = lambda dataset: NINE
search(__import__("pathlib").Path(sys.argv[1]))
"""


def test_hits_are_what_a_candidate_is_compared_with(whole, tmp_path):
    search(tmp_path / "h.db", fidelity=NINE, name="before")
    again = search(tmp_path / "h.db", trials=11)  # the first nine are known, all of them complete
    assert len(again.records) == 11
    assert not {r.key for r in again.records} & {r.key for r in whole.records if r.fidelity == NINE}
    assert again.best.fidelity == NINE
    assert lengths(again)[0] < 9  # the hits are something to be behind of
    assert trace(search(tmp_path / "h.db", trials=11)) == trace(again)


def test_where_history_has_no_curves_all_are_trained_to_the_end(tmp_path):
    result = search(tmp_path / "h.db", history=None, trials=3)
    assert lengths(result) == [9] * 3
    assert "history holds too few learning curves to stop candidates by: each is trained to the end" in result.notes


def test_workers_stop_candidates_too(tmp_path):
    result = search(tmp_path / "h.db", workers=2, trials=14)
    assert [r.number for r in result.records] == list(range(14))
    assert min(lengths(result)) < max(lengths(result)) == 9
    assert all(len(r.outcome.curve) == r.fidelity.epochs for r in result.records)


def test_the_pruner_of_optuna_is_obeyed(tmp_path):
    """The rule of its ``MedianPruner``, worked out again from the records."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2)
    result = search(tmp_path / "h.db", fidelity=pruner, trials=12)
    complete: list[tuple[float, ...]] = []
    for record in result.records:
        curve = record.outcome.curve
        behind = [
            epoch
            for epoch in range(2, 9)
            if len(complete) >= 3 and len(curve) >= epoch
            and max(curve[:epoch]) < median(other[epoch - 1] for other in complete)
        ]  # fmt: skip
        assert (behind[:1] or [9]) == [len(curve)]
        if len(curve) == 9:
            complete.append(curve)
    assert 3 < len(complete) < 12
    assert result.best.fidelity == NINE
    states = [trial.state.name for trial in result.study.trials]
    assert states == ["COMPLETE" if length == 9 else "PRUNED" for length in lengths(result)]


def test_a_pruner_that_takes_notes_goes_on_where_it_was_interrupted(tmp_path):
    halving = {"fidelity": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2), "trials": 12}
    result = search(tmp_path / "whole.db", **halving)
    assert len(set(lengths(result))) > 2
    for trials in (4, 7, 12):
        cut = search(tmp_path / "cut.db", **halving | {"trials": trials})
    assert trace(cut) == trace(result)
    assert any("if the pruner is another one now" in note for note in cut.notes)


def test_a_curve_told_is_a_trial_as_it_was_when_it_ran():
    """What a study would hold in which these trials had run one after the other."""
    curves = [(-0.9, -0.5, -0.3), (-0.8, -0.7), (-0.95,), (-0.6, -0.5, -0.1), (-0.7,)]
    told = OptunaPruner(optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2))
    study = optuna.create_study(direction="maximize", pruner=told._pruner)
    for curve in curves:
        trial, stopped = study.ask(), False
        for epoch, value in enumerate(curve, 1):
            trial.report(value, epoch)
            asked = told.stops(epoch, 3, [curve[:epoch]])
            stopped = trial.should_prune()
            assert asked == ({0} if stopped else set())
        state = optuna.trial.TrialState.COMPLETE if len(curve) == 3 else optuna.trial.TrialState.PRUNED
        study.tell(trial, curve[-1] if len(curve) == 3 else None, state=state)
        told.tell(curve, 3)
    notes = [trial.system_attrs for trial in told._ended]
    assert notes == [trial.system_attrs for trial in study.trials]
    assert any(notes)


class Own(optuna.pruners.BasePruner):
    """A pruner of a script's own."""

    def prune(self, study, trial):
        return trial.last_step == 2


def test_a_pruner_of_ones_own_and_what_is_none(tmp_path, monkeypatch):
    result = search(tmp_path / "h.db", fidelity=Own(), trials=2)
    assert lengths(result) == [2, 2]  # all were: the best of them is the result
    assert result.confirmation.score is not None
    monkeypatch.setattr(Own, "__module__", "__main__")
    with pytest.raises(SearchError, match="define operations, metrics and pruners in a module"):
        search(tmp_path / "o.db", fidelity=Own(), trials=2, workers=2)
    for wrong in ("histroy", 3, optuna.pruners.MedianPruner, {"epochs": 2}):
        with pytest.raises(SearchError, match="must be a Fidelity, 'hyperband', 'history', a pruner of Optuna or left"):
            search(tmp_path / "o.db", fidelity=wrong)


def test_curves_that_can_be_compared_stand_together(whole):
    with shipped() as pack:
        past = pack.past()
    curves = complete_curves(past)
    assert sum(map(len, curves)) == sum(r.purpose == "screen" and r.score is not None for p in past for r in p.records)
    one = replace(past[0], records=(*past[0].records[:4], *whole.records))
    first, second = complete_curves([one])
    assert first == [r.outcome.curve for r in past[0].records[:4]]
    assert second == [r.outcome.curve for r in whole.records if r.fidelity == NINE]
    other = [replace(record, metric="accuracy") for record in whole.records]
    assert len(complete_curves([replace(one, records=(*whole.records, *other))])) == 2
