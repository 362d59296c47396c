"""Records as Optuna studies: against the records, through Optuna's own API and through the dashboard's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from processes import until

import nas
from nas.architecture import Architecture
from nas.cli import main
from nas.errors import HistoryError
from nas.record import Cost, DatasetInfo, Fidelity, Outcome, Record, SearchInfo
from nas.report import Account
from nas.study import domains_of, study_of

ROOT = Path(__file__).parents[1]
CONSTANT = Architecture.from_json('{"version":1,"nodes":[{"op":"output"}],"edges":[]}')
DATA = DatasetInfo("f" * 64, "flowers", "tabular", "classification", 150, 4, 3)
DOMAINS = {
    "kind": nas.Choice("a", "b", "c"),
    "width": nas.Integer(1, 64, log=True),
    "settings.rate": nas.Float(0.001, 1.0, log=True),
}
SCORES = (-0.9, None, -0.5, -0.4, -0.6)


def record(number: int, score: float | None, purpose="screen", search="s", **changes) -> Record:
    curve = () if score is None else (score - 0.2, score - 0.1, score)
    status, message = ("diverged", "the loss is NaN") if score is None else ("complete", "")
    metrics = {} if score is None else {"brier": -score, "accuracy": 0.75}
    outcome = Outcome(status, message, score, 0.01, metrics, curve, (2, 3), Cost(2.5, 1000, 77))
    choices = {"kind": "ab"[number % 2], "settings.rate": 0.01 * (number + 1)}
    choices |= {"width": 4 + number} if number % 2 else {}
    values = {
        "search": search,
        "number": number,
        "dataset": DATA.fingerprint,
        "space": "mine",
        "space_fingerprint": "0",
        "choices": choices,
        "architecture": CONSTANT,
        "settings": {"rate": 0.01 * (number + 1)},
        "fidelity": Fidelity(3, 100, 2),
        "seed": 0,
        "metric": "brier",
        "outcome": outcome,
        "key": f"{search}{purpose}{number}",
        "engine": "1",
        "created": "2026-11-23T11:00:00+00:00",
        "purpose": purpose,
    }
    return Record(**values | changes)


def records(search="s") -> list[Record]:
    trials = [record(i, score, search=search) for i, score in enumerate(SCORES)]
    return [*trials, record(0, -0.45, "confirm", search, settings=trials[3].settings, choices=trials[3].choices)]


def test_a_study_holds_what_the_records_say():
    study = study_of(records()[::-1], DOMAINS)
    assert study.study_name == "s"
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [trial.value for trial in study.trials] == list(SCORES)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert study.best_trial.number == 3
    for one, trial in zip(records(), study.trials, strict=False):
        assert trial.params == one.choices
        assert trial.distributions == {path: DOMAINS[path].distribution() for path in one.choices}
        assert trial.intermediate_values == dict(enumerate(one.outcome.curve, 1))
        assert trial.duration.total_seconds() == 2.5
        assert trial.datetime_complete.timestamp() == datetime.fromisoformat(one.created).timestamp()
        attributes = trial.user_attrs
        assert {n: attributes[n] for n in one.outcome.metrics} == one.outcome.metrics
        assert (attributes["parameters"], attributes["flops"], attributes["seconds"]) == (77, 1000, 2.5)
        assert attributes["architecture"] == one.architecture.summary()
        assert attributes.get("message") == ("the loss is NaN" if one.score is None else None)
        assert attributes.get("score on fresh splits") == (-0.45 if trial.number == 3 else None)
    assert study.metric_names == ["minus brier"]


def test_less_thorough_trials_are_pruned():
    short = replace(record(1, -0.1), fidelity=Fidelity(1, 100, 2))
    states = [trial.state for trial in study_of([record(0, -0.5), short]).trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED]


def test_a_study_in_a_storage_gains_what_it_lacks(tmp_path):
    storage = f"sqlite:///{tmp_path}/optuna.db"
    assert len(study_of(records()[:1], DOMAINS, storage=storage).trials) == 1
    for _ in range(2):
        study = study_of(records()[:3], DOMAINS, storage=storage)
        assert [trial.value for trial in study.trials] == list(SCORES[:3])
    assert optuna.get_all_study_names(storage) == ["s"]
    assert study_of([], name="empty").trials == []


VALUES = st.one_of(st.booleans(), st.none(), st.text(max_size=3), st.integers(-9, 9), st.floats(-9, 9))


@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_without_the_space_the_values_on_record_are_the_range(chosen):
    kinds = {}  # a decision has values of one kind
    for choices in chosen:
        for path, value in choices.items():
            kinds.setdefault(path, type(value))
    chosen = [{p: v for p, v in choices.items() if type(v) is kinds[p]} for choices in chosen]
    study = study_of([record(i, -0.5, choices=choices) for i, choices in enumerate(chosen)])
    assert [trial.params for trial in study.trials] == chosen


def test_domains_survive_json_and_a_strangers_are_refused():
    again = domains_of(json.loads(json.dumps({path: domain.to_dict() for path, domain in DOMAINS.items()})))
    assert {p: d.to_dict() for p, d in again.items()} == {p: d.to_dict() for p, d in DOMAINS.items()}
    for bad in ({"kind": "choice"}, {"kind": "spell"}, 3, {"kind": "float", "low": "a", "high": "b"}):
        with pytest.raises(HistoryError):
            domains_of({"width": bad})


@pytest.fixture
def history() -> nas.MetaDataset:
    """Two searches in this test's own history."""
    account = Account(decisions={path: domain.to_dict() for path, domain in DOMAINS.items()})
    with nas.MetaDataset.open() as opened:
        opened.add_dataset(DATA)
        for name in ("first", "second"):
            info = SearchInfo(name, DATA.fingerprint, "mine", created="2026-11-23T10:00:00+00:00")
            opened.add_search(replace(info, account=account.to_dict() if name == "first" else {}))
            opened.append(records(name))
        yield opened


def _listen_to_ctrl_c() -> None:
    """A process started in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _get(address: str):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.loads(answer.read())


def test_the_dashboard_serves_the_trials_and_those_that_come(history, monkeypatch):
    pytest.importorskip("optuna_dashboard", exc_type=ImportError)
    command = [sys.executable, "-m", "nas", "dashboard", "--port", "0"]
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ, preexec_fn=_listen_to_ctrl_c
    )
    try:
        line = server.stdout.readline()
        assert line.startswith("2 searches: http://127.0.0.1:")
        address = line.split()[2].removesuffix("/dashboard/")
        studies = {study["study_name"]: study for study in _get(f"{address}/api/studies")["study_summaries"]}
        assert set(studies) == {"first", "second"}
        assert {"key": "dataset", "value": "flowers"} in studies["first"]["user_attrs"]
        detail = f"{address}/api/studies/{studies['first']['study_id']}"
        trials = _get(detail)["trials"]
        assert [trial["state"] for trial in trials] == ["Complete", "Fail", "Complete", "Complete", "Complete"]
        assert [trial.get("values") for trial in trials] == [None if s is None else [s] for s in SCORES]
        assert [point["value"] for point in trials[0]["intermediate_values"]] == pytest.approx([-1.1, -1.0, -0.9])
        ranges = {p["name"]: p["distribution"] for p in trials[1]["params"]}
        assert (ranges["width"]["low"], ranges["width"]["high"], ranges["width"]["log"]) == (1, 64, True)
        history.append([record(5, -0.3, search="first")])  # as another process would
        until(lambda: len(_get(detail)["trials"]) == 6)
        assert _get(detail)["trials"][-1]["values"] == [-0.3]
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
        assert "the records stay" in server.stdout.read()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_mistakes_are_answered_in_one_sentence(history, monkeypatch, capsys):
    pytest.importorskip("optuna_dashboard", exc_type=ImportError)
    for words, sentence in [
        (["third"], "begins 0 of 2"),
        (["--port", "70000"], "--port 0"),
        (["--port", "-1"], "port"),
    ]:
        assert main(["dashboard", *words]) == 2
        assert sentence in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert main(["dashboard", "first"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'nas[dashboard]'" in error
    assert error.count("\n") == 1
