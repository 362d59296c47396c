"""Reports: the page against the records it is made of, as a browser's parser reads it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from nas.architecture import Architecture
from nas.cli import main
from nas.controllers import Explanation
from nas.errors import HistoryError
from nas.record import Cost, DatasetInfo, Fidelity, Outcome, Record, SearchInfo
from nas.report import Account, Content, Voices, candidate, content_of, versions, write
from nas.report.charts import TICKS, Axis, thinned
from nas.report.page import html

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Tags, attributes, texts and table rows of a page; every tag that is opened must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data


def architecture(width: int = 8, op: str = "linear") -> Architecture:
    graph = nx.DiGraph()
    graph.add_node("x", op="input", parameters={"name": "x"})
    graph.add_node("a", op=op, parameters={"width": width})
    graph.add_node("y", op="output")
    graph.add_edges_from([("x", "a"), ("a", "y")])
    return Architecture.from_graph(graph)


def record(number: int, score: float | None, *, purpose="screen", epochs=20, message="", **changes) -> Record:
    status = "complete" if score is not None else "diverged"
    outcome = Outcome(
        status,
        message,
        score,
        standard_error=None if score is None else 0.0125,
        metrics={} if score is None else {"brier": -score, "accuracy": 0.5 - score / 4},
        curve=tuple((score or -1.5) - 1 / epoch for epoch in range(1, epochs + 1)),
        best_epochs=(3, 4),
        cost=Cost(1.5 + number % 7, 20_000, 12_345 + number, 0),
    )
    values = {
        "search": "s",
        "number": number,
        "dataset": "f" * 64,
        "space": "mine",
        "space_fingerprint": "0",
        "choices": {"width": number + 1},
        "architecture": architecture(number + 1),
        "settings": {"learning_rate": 0.01 * (number + 1), "weight_decay": 0.02},
        "fidelity": Fidelity(epochs, 100, 2),
        "seed": 0,
        "metric": "brier",
        "outcome": outcome,
        "key": f"{purpose}{number}",
        "engine": "1",
        "created": "2026-11-23T11:00:00+00:00",
        "purpose": purpose,
    }
    return Record(**values | changes)


INFO = SearchInfo("s", "f" * 64, "mine", controller="meta", created="2026-11-23T10:00:00+00:00")
DATA = DatasetInfo("f" * 64, "flowers", "tabular", "classification", 150, 4, 3)


def content(records, account: Account | None = None, info: SearchInfo = INFO, data: DatasetInfo = DATA) -> Content:
    return Content.of(info, data, records, account)


def small() -> nas.SearchSpace:
    """One hidden layer of a width, and a learning rate."""
    space = nas.SearchSpace("small")
    space.add_input("x")
    space.add_node("hidden", nas.Op("linear", width=nas.Integer(2, 64, log=True)))
    space.add_node("activation", nas.Choice("relu", "silu"))
    space.add_output("y")
    for source, target in (("x", "hidden"), ("hidden", "activation"), ("activation", "y")):
        space.add_edge(source, target)
    space.add_setting("learning_rate", nas.Float(0.01, 0.1, log=True))
    return space


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A small real search: its result, and where its records are."""
    place = tmp_path_factory.mktemp("history") / "history.db"
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    y = np.where(X[:, 0] + 0.3 * rng.normal(size=90) > 0, "yes", "no")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_HISTORY", str(place))
        fidelity = nas.Fidelity(epochs=3, rows=60, splits=2)
        result = nas.search((X, y), space=small(), trials=4, controller="random", history=None, fidelity=fidelity)
    return result, str(place)


def test_the_page_says_what_the_records_say(searched, tmp_path, capsys):
    result, place = searched
    out = tmp_path / "report.html"
    assert main(["report", "--history", place, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    page = Page(out.read_text())
    for one in result.records:
        outcome = one.outcome
        (row,) = [row for row in page.rows if len(row) == 8 and row[0] == str(one.number + 1)]
        assert row[1] == f"{outcome.metrics['brier']:.4f} ± {outcome.standard_error:.4f}"
        assert row[3] == f"{outcome.metrics['accuracy']:.4f}"
        assert row[4] == one.architecture.summary()
        assert f"learning_rate {one.settings['learning_rate']:.3g}" in row[5]
        assert row[7] == f"{outcome.cost.seconds:.1f}"
        assert (row[2] == "found") == (
            one.architecture == result.best.architecture and one.settings == result.best.settings
        )
    finalists = [row for row in page.rows if len(row) == 6][1:]
    assert len(finalists) == len(result.confirmed) == 3
    assert finalists[0][1].startswith(f"{-result.confirmation.score:.4f}")
    best = max(c.score for c in result.confirmed)
    assert result.confirmation.score == best
    assert re.search(r"90 rows x 3 numbers, 2 classes", page.text)
    for name, value in result.best.settings.items():
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        assert [name, shown] in page.rows


def test_json_holds_the_same_in_full(searched, capsys):
    result, place = searched
    assert main(["report", result.name[:8], "--history", place, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["score"] for row in said["trials"]] == [one.score for one in result.records]
    assert [row["curve"] for row in said["trials"]] == [list(one.outcome.curve) for one in result.records]
    assert said["found"]["trial"] == result.best.number
    assert said["found"]["score"] == result.confirmation.score
    assert Architecture.from_dict(said["found"]["graph"]) == result.best.architecture
    everything = [*result.records, *result.confirmed]
    assert said["costs"]["seconds"] == pytest.approx(sum(one.outcome.cost.seconds for one in everything))


def test_a_result_reports_as_its_history_does_and_knows_whom_it_listened_to(searched):
    from nas.report import of_result

    result, place = searched
    with nas.MetaDataset.open(place, read_only=True) as history:
        kept = content_of(history, result.name)
    own = of_result(result)
    assert own.found == kept.found
    assert own.best_so_far == kept.best_so_far
    page = Page(html(own, NOON))
    assert all(note in page.text for note in result.explanation.notes)
    assert result.dataset.describe() in page.text
    assert versions()["torch"] in page.text


def hostile() -> Content:
    """A search in which everything that has a name has a bad one."""
    odd = {HOSTILE: HOSTILE, "learning_rate": 0.1}
    records = [
        record(0, -0.5, settings=odd | {"n": 1}, architecture=architecture(3, HOSTILE), space=HOSTILE, engine=HOSTILE),
        record(1, None, settings=odd | {"n": 2}, message=HOSTILE),
        record(0, -0.4, purpose="confirm", settings=odd | {"n": 1}, architecture=architecture(3, HOSTILE)),
    ]
    voices = Voices(((HOSTILE, 0.5),), 0, 0.0, 0.5, ((HOSTILE, 7, (HOSTILE,)),), (HOSTILE,))
    account = Account(
        voices, voices, HOSTILE, (HOSTILE,), HOSTILE, ((HOSTILE, 1, 2, 3.0),), HOSTILE, {HOSTILE: HOSTILE}
    )
    info = SearchInfo(HOSTILE, "f" * 64, HOSTILE, controller=HOSTILE, snapshot_digest=HOSTILE, created=HOSTILE)
    return content(records, account, info, DatasetInfo("f" * 64, HOSTILE, HOSTILE, "classification", 5, 4, 2))


def test_names_are_text_whatever_they_hold():
    page = Page(html(hostile(), NOON))
    assert not {"script", "img", "link", "iframe", "object", "a"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for place in (0, 1):  # heading, message of a failure, settings, notes, ...
        assert page.text.count(HOSTILE) > 10 + place
    assert page.text.strip().startswith(f"{HOSTILE}: search report")


@pytest.mark.parametrize("records", ["hostile", "plain"])
def test_nothing_comes_from_elsewhere(records):
    text = html(hostile() if records == "hostile" else content([record(0, -0.5)]), NOON)
    page = Page(text)
    assert not [(n, v) for n, v in page.attributes if n in ("src", "href", "xlink:href", "srcset", "data", "action")]
    styles = " ".join(
        re.findall(r"<style>(.*?)</style>", text, re.S) + [v or "" for n, v in page.attributes if n == "style"]
    )
    assert "url(" not in styles
    assert "@import" not in styles
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")  # a name, not an address


def test_the_same_records_make_the_same_page_but_for_one_line():
    records = [record(i, -0.5 - 0.01 * i) for i in range(5)]
    one = html(content(records), NOON).splitlines()
    other = html(content(records[::-1]), NOON.replace(year=2027)).splitlines()
    differing = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
    assert differing == [
        ('<p id="written">Written 2026-11-23 12:00 UTC.</p>', '<p id="written">Written 2027-11-23 12:00 UTC.</p>')
    ]


def test_a_search_without_a_trial_or_without_a_success_is_told():
    page = Page(html(content([]), NOON))
    assert "No trial of this search is finished yet." in page.text
    page = Page(html(content([record(i, None, message=f"NaN {i % 2}", epochs=2) for i in range(3)]), NOON))
    assert "all 3 trials so far failed" in page.text
    failures = [row[1:] for row in page.rows if row[0] == "diverged"]
    assert failures == [["NaN 0", "1, 3"], ["NaN 1", "2"]]
    page = Page(html(content([record(0, -0.5, epochs=1)]), NOON))
    assert page.tags["svg"] == 3  # the network, the one trial, its curve of one point
    assert "the splits it was chosen on" in page.text


def test_a_thousand_trials_are_one_file_below_a_megabyte():
    rng = np.random.default_rng(0)
    scores = [None if i % 50 == 7 else -float(v) for i, v in enumerate(rng.uniform(0.1, 0.9, 1000))]
    text = html(content([record(i, s, epochs=100, message="x" * 500) for i, s in enumerate(scores)]), NOON)
    assert len(text.encode()) < 1_000_000
    page = Page(text)
    listed = [row for row in page.rows if len(row) == 8][1:]
    assert [row[0] for row in listed] == [str(i + 1) for i in range(1000)]
    assert "150 of 1,000 trials" in page.text


def test_of_very_many_trials_the_best_are_listed():
    rng = np.random.default_rng(0)
    scores = [-float(v) for v in rng.uniform(0.1, 0.9, 1500)]
    same = architecture()
    records = [record(i, s, epochs=2, architecture=same) for i, s in enumerate(scores)]
    text = html(content(records), NOON)
    assert len(text.encode()) < 1_000_000
    listed = {int(row[0]) - 1 for row in Page(text).rows if len(row) == 8 and row[0].isdigit()}
    assert listed == set(np.argsort(scores)[-1000:])


@given(st.lists(st.one_of(st.none(), st.floats(-2, 0, width=16)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_best_so_far_and_the_network_found_are_the_greatest(scores):
    told = content([record(i, score) for i, score in enumerate(scores)])
    running = -math.inf
    expected = []
    for number, score in enumerate(scores):
        if score is not None and score > running:
            running = score
            expected.append((number, score))
    assert list(told.best_so_far) == expected
    assert told.found_number == (expected[-1][0] if expected else None)


def test_finalists_are_those_of_the_loop():
    trials = [record(i, s) for i, s in enumerate([-0.9, -0.5, -0.4, -0.3, -0.45])]
    # trial 0 was confirmed when the search was young; 2 wins on fresh splits; 4 failed there; one was known before
    fresh = {0: -0.1, 2: -0.35, 3: -0.38, 4: None}
    confirmed = [
        record(i, score, purpose="confirm", architecture=trials[t].architecture, settings=trials[t].settings)
        for i, (t, score) in enumerate(fresh.items())
    ]
    told = content([*confirmed, *trials])
    assert [(trial.number, c.score) for trial, c in told.finalists] == [(2, -0.35), (3, -0.38), (4, None)]
    assert told.found_number == 2
    known = record(9, -0.2, purpose="confirm")
    told = content([*confirmed, *trials, known])
    assert told.found == known
    assert told.found_number is None
    assert "an earlier search" in Page(html(told, NOON)).text


def test_the_network_found_is_the_one_the_search_named():
    trials = [record(i, s) for i, s in enumerate([-0.9, -0.5, -0.4])]
    assert content(trials, Account(found=candidate(trials[1]))).found == trials[1]
    again = record(0, -0.6, purpose="confirm", architecture=trials[1].architecture, settings=trials[1].settings)
    told = content([*trials, again], Account(found=candidate(trials[1])))
    assert (told.found, told.found_number) == (again, 1)
    assert content(trials, Account(found="unknown")).found == trials[2]


def test_several_objectives_show_what_may_be_traded():
    trials = [record(i, s) for i, s in enumerate([-0.25, -0.5])]
    front = ((candidate(trials[0]), 500, 12_000, 0.25), (candidate(trials[1]), 50, 800, 0.1), ("unknown", 5, 80, 0.0))
    page = Page(html(content(trials, Account(front=front)), NOON))
    listed = [[row[0], row[1][:6], *row[3:]] for row in page.rows if row[-1] in ("0.25 ms", "0.1 ms")]
    assert listed == [["1", "0.2500", "500", "12.0 kB", "0.25 ms"], ["2", "0.5000", "50", "800 B", "0.1 ms"]]


def test_errors_are_shown_as_errors_and_other_metrics_as_they_are():
    assert "lower is better" in Page(html(content([record(0, -0.25)]), NOON)).text
    page = Page(html(content([record(0, 0.75, metric="f1_macro")]), NOON))
    assert "f1_macro, higher is better" in page.text
    assert [row[1] for row in page.rows if row[0] == "1"] == ["0.7500 ± 0.0125"]


def test_trials_stopped_early_do_not_win():
    told = content([record(0, -0.1, epochs=5), record(1, -0.5, epochs=20)])
    assert told.found_number == 1
    assert told.best_so_far == ((1, -0.5),)


@given(
    st.dictionaries(st.text(max_size=8), st.floats(0, 1), max_size=80),
    st.dictionaries(st.text(max_size=8), st.sampled_from(["another space", "too few", "<b>"]), max_size=20),
)
@settings(max_examples=30, deadline=None)
def test_an_account_survives_the_history_and_loses_no_share(weights, ignored):
    weights = dict(sorted(weights.items(), key=lambda item: -item[1]))
    explanation = Explanation(weights, 0.25, ignored, ("a note",))
    voices = Voices.of(explanation)
    account = Account(
        None,
        voices,
        "data",
        ("n",),
        "f",
        (("f", 9, 8, 0.5),),
        {"key": (9, 8, 0.5)},
        "cpu",
        versions(),
        {"width": {"kind": "integer", "low": 1, "high": 2}},
    )
    again = Account.from_dict(json.loads(json.dumps(account.to_dict())))
    assert again == account
    assert sum(share for _, share in voices.shares) + voices.others_share == pytest.approx(sum(weights.values()))
    assert sum(count for _, count, _ in voices.ignored) == len(ignored)
    assert Account.from_dict({}) == Account()
    page = Page(html(content([record(0, -0.5)], account), NOON))
    for name, share in voices.shares[:5]:
        if share >= 0.005 and name.strip() and name.isprintable():
            assert [name, f"{100 * share:.1f} %"] in [[row[0], row[-1]] for row in page.rows]


@pytest.mark.parametrize(
    "account",
    [
        {"notes": []},
        Account().to_dict() | {"end": {"own": 1}},
        Account().to_dict() | {"end": 3},
        Account().to_dict() | {"front": [3]},
        Account().to_dict() | {"front": [["f", math.inf, 8, 0.5]]},
        Account().to_dict() | {"footprints": {"key": [9, 8]}},
        Account().to_dict() | {"footprints": {"key": [math.inf, 8, 0.5]}},
    ],
)
def test_a_strangers_account_is_refused_in_one_sentence(account):
    with pytest.raises(HistoryError):
        content([record(0, -0.5)], info=SearchInfo("s", "f", "mine", account=account))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_ticks_are_few_round_and_inside(low, span, log):
    low = abs(low) + 1e-3 if log else low
    axis = Axis.around("x", [low, low + span], log=log)
    ticks = axis.ticks()
    assert len(ticks) <= 2 * TICKS + 2
    assert ticks == sorted(set(ticks))
    assert all(axis.low - 1e-9 * abs(low) <= tick <= axis.high + 1e-9 * abs(axis.high) for tick in ticks)
    assert axis.part(low) < axis.part(low + span) or span < 1e-9 * abs(low)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=300), st.integers(2, 50))
@settings(max_examples=60, deadline=None)
def test_thinned_curves_keep_their_ends(points, most):
    kept = thinned(points, most)
    assert len(kept) == min(len(points), most)
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_mistakes_are_answered_in_one_sentence(searched, tmp_path, monkeypatch, capsys):
    result, place = searched
    monkeypatch.chdir(tmp_path)
    for words, sentence in [
        (["report"], "no search is on record here yet"),
        (["report", "other", "--history", place], "begins 0 of 1"),
        (["report", "--history", place, "--out", "nowhere/report.html"], "a folder that is there"),
    ]:
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("nas: ")
        assert sentence in error
        assert error.count("\n") == 1
    assert main(["report", result.name, "--history", place]) == 0
    assert (tmp_path / f"{result.name}.html").exists()


def test_odd_names_make_files_that_stay_here(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with nas.MetaDataset.open() as history:
        history.add_dataset(DATA)
        history.add_search(SearchInfo("../../etc/<x>", DATA.fingerprint, "mine", created="2026-11-23T10:00:00+00:00"))
    assert main(["report"]) == 0
    (page,) = tmp_path.glob("*.html")
    assert "No trial of this search is finished yet." in page.read_text()
    assert write(content([]), tmp_path / "again.html").exists()
