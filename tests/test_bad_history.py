"""Histories nobody would wish for: each is survived, said, and costs a search little against one without history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conformance import past_dataset, record, small_space, toy_score

import nas
from nas.cli import main
from nas.controllers import Explanation, Problem
from nas.controllers.meta import MetaController
from nas.controllers.prior import MOST_LESSONS, MOST_RECORDS, fit
from nas.errors import HistoryError
from nas.metadataset import MetaDataset
from nas.record import Fidelity, Outcome, PastDataset
from nas.space import Choices, SearchSpace

TRIALS, SEEDS = 12, 4
Score = Callable[[Choices], float]
Made = tuple[PastDataset, ...]


def tried(name: str, score: Score, count: int = 40, seed: int = 0, space: SearchSpace | None = None) -> PastDataset:
    space, rng = space or small_space(), np.random.default_rng(seed)
    return past_dataset(space, name, [(c, score(c)) for c in (space.sample(rng) for _ in range(count))])


def steady(choices: Choices) -> float:
    """Noise that is the same in every process."""
    return float(np.random.default_rng([ord(letter) for letter in str(sorted(choices.items()))]).normal())


def renamed(past: PastDataset, number: int) -> PastDataset:
    return replace(past, info=replace(past.info, name=f"{past.info.name} {number}", fingerprint=f"copy {number}"))


def strange() -> PastDataset:
    """Of a space of this name whose operations and decisions nobody knows any more."""
    old = tried("strange", steady)
    choices: Choices = {"a": "teleport", "b": "warp", "colour": "red", "settings.learning_rate": 1e9}
    return replace(
        old,
        records=tuple(replace(r, choices={**choices, "size": r.number}, space_fingerprint="old") for r in old.records),
    )


def mixed() -> PastDataset:
    """Evaluations by several metrics, of which one says the contrary, at several fidelities."""
    old = tried("mixed", toy_score, 60)
    return replace(
        old,
        records=tuple(
            replace(
                r,
                metric=("brier", "error as if it were good", "dollars")[r.number % 3],
                fidelity=Fidelity(1 + r.number % 2, 100, 2),
                outcome=Outcome("complete", score=(r.score or 0.0) * (1.0, -1.0, 1e6)[r.number % 3]),
            )
            for r in old.records
        ),
    )


def failed() -> PastDataset:
    old = tried("failed", toy_score)
    ends = [
        Outcome("diverged"),
        Outcome("oom", "no memory"),
        Outcome("timeout", "too long"),
        Outcome("error", "broken"),
    ]
    return replace(old, records=tuple(replace(r, outcome=ends[r.number % 4]) for r in old.records))


def elsewhere() -> PastDataset:
    return tried("elsewhere", steady, space=small_space("elsewhere"))


HISTORIES: dict[str, tuple[Callable[[], Made], str]] = {
    "one record": (lambda: (tried("one", toy_score, 1),), "fewer than 5 trainings with a score"),
    "one dataset": (lambda: (tried("one", toy_score),), ""),
    "one dataset of noise": (lambda: (tried("noise", steady),), ""),
    "all equal": (lambda: (tried("equal", lambda c: 0.5),), "all trainings scored the same"),
    "nothing but failures": (lambda: (failed(),), "fewer than 5 trainings with a score"),
    "a hundred copies of noise": (
        lambda: tuple(renamed(tried("noise", steady, 12), number) for number in range(100)),
        "a copy of noise 0",
    ),
    "unknown operations": (lambda: (strange(),), ""),
    "an unknown space": (lambda: (elsewhere(),), ""),
    "several metrics": (lambda: (mixed(),), ""),
    "enormous scores": (lambda: (tried("huge", lambda c: 1e300 * toy_score(c)),), ""),
    "junk among good": (
        lambda: (*(tried(f"d{i}", toy_score, seed=i) for i in range(3)), tried("junk", steady, seed=9)),
        "",
    ),
}
HARMLESS = {"one dataset", "several metrics", "enormous scores", "junk among good"}
WORSE, SLACK = 1.25, 0.05  # of regret without history, and luck


def searched(past: Made, seed: int) -> tuple[np.ndarray, Explanation]:
    """Regret of the incumbent after each training of a search, and the account it gives."""
    space = small_space()
    controller = MetaController(Problem(space, seed=seed, past=past), pool=100)
    scores = []
    for number in range(TRIALS):
        (choices,) = controller.ask()
        scores.append(toy_score(choices))
        controller.tell([record(space, choices, scores[-1], number)])
    return 0.5 - np.maximum.accumulate(scores), controller.explain()


@cache
def cold() -> float:
    return float(np.mean([searched((), seed)[0].mean() for seed in range(SEEDS)]))


@pytest.mark.parametrize("name", HISTORIES)
def test_a_bad_history_costs_little_and_says_what_was_not_heard(name: str) -> None:
    make, reason = HISTORIES[name]
    past = make()
    runs = [searched(past, seed) for seed in range(SEEDS)]
    regret, account = float(np.mean([regrets.mean() for regrets, _ in runs])), runs[0][1]
    assert regret <= WORSE * cold() + SLACK, f"{regret:.3f} with history, {cold():.3f} without"
    if name in HARMLESS:
        assert regret < cold()
    assert account.own + sum(account.weights.values()) == pytest.approx(1.0)
    assert str(account)
    if reason:
        assert set(account.ignored.values()) == {reason}
    else:
        assert set(account.weights) | set(account.ignored), "whoever is on record is named"


def forms(score: Score, weeks: int) -> Made:
    """One table that is searched every week, with other rows in part: the last week comes first in the history."""
    made = []
    for week in reversed(range(weeks)):
        past = tried(f"week {week:02d}", score, 12, seed=100 + week)
        info = replace(past.info, sketch=tuple(range(week, week + 64)))
        created = f"2026-01-{week + 1:02d}T00:00:00+00:00"
        made.append(replace(past, info=info, records=tuple(replace(r, created=created) for r in past.records)))
    return tuple(made)


def test_a_table_that_is_searched_every_week_does_not_outvote_all_others() -> None:
    """Three tables say the truth and one the contrary, thirty times: it is one family, of which the latest speak."""
    good = tuple(tried(f"d{i}", toy_score, seed=i) for i in range(3))
    runs = [searched((*good, *forms(lambda c: -toy_score(c), 30)), seed) for seed in range(SEEDS)]
    assert float(np.mean([regrets.mean() for regrets, _ in runs])) < 0.5 * cold()
    ignored = runs[0][1].ignored
    assert len(ignored) == 27
    assert set(ignored.values()) == {"an older form of week 29"}
    assert {name for name in runs[0][1].weights if name.startswith("week")} == {"week 27", "week 28", "week 29"}


def test_the_winner_of_the_latest_form_is_tried_first() -> None:
    """Whatever order a history gives: by fingerprint, which has nothing to do with time."""
    space, weeks = small_space(), forms(toy_score, 2)
    for past in (weeks, weeks[::-1]):
        kin = frozenset(p.info.fingerprint for p in past)
        controller = MetaController(Problem(space, past=past, dataset="this week", kin=kin), pool=50)
        best = max(weeks[0].records, key=lambda r: r.score or 0.0)
        assert controller.ask() == [best.choices]


def test_many_datasets_are_bounded_in_what_they_cost() -> None:
    """Those with most trainings speak; no more records than stated go into one exact process."""
    past = tuple(tried(f"d{i:03d}", toy_score, 6 if i % 2 else 5, seed=i) for i in range(MOST_LESSONS + 20))
    prior = fit(Problem(small_space(), past=past))
    assert prior.hierarchy is not None
    assert len(prior.hierarchy.z) <= MOST_RECORDS
    assert set(prior.ignored.values()) == {f"{MOST_LESSONS} others have more trainings"}
    assert set(prior.ignored) <= {p.info.name for p in past if len(p.records) == 5}
    assert len(prior.lessons) == MOST_LESSONS


def test_a_history_in_the_wrong_direction_is_noticed_and_said() -> None:
    """Every dataset of the past says the contrary of the truth, with one voice, and what they recommend is all equally
    bad: each search finds out by the one training that history would not have chosen."""
    past = tuple(tried(f"d{i}", lambda c: -toy_score(c), seed=i) for i in range(4))
    runs = [searched(past, seed) for seed in range(SEEDS)]
    assert all(regrets[0] > 0.5 for regrets, _ in runs)
    assert all(regrets[-1] < 0.05 for regrets, _ in runs)
    notes = "\n".join(runs[0][1].notes)
    assert "right sign" in notes or "hardly believed" in notes
    turned = [account for _, account in runs if account.turned > 0.5]
    assert turned, "what is believed is history turned round"
    for account in turned:
        assert account.turned <= account.own
        assert f"{account.turned:7.1%}  history turned round" in str(account)
        assert f"{account.turned:.0%} of what is expected" in str(account)
    assert "rank correlation -" in notes
    assert runs[0][1].course[TRIALS] < 0.1 < runs[0][1].course[0]


@pytest.mark.parametrize("value", ["9e999", "-9e999", "'nan'"])
def test_a_score_that_is_no_number_in_a_file_is_one_sentence(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written past the library, as nothing of it can be: into the file itself."""
    path = tmp_path / "history.db"
    past = tried("d", toy_score, 6)
    with MetaDataset.open(path) as store:
        store.add_dataset(past.info)
        store.append(past.records)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE nas_records SET score = {value} WHERE number = 3")
    with pytest.raises(HistoryError) as caught, MetaDataset.open(path) as store:
        MetaController(Problem(small_space(), past=tuple(store.past()))).ask()
    assert "\n" not in str(caught.value)
    assert main(["meta-train", "--history", str(path), "--space", "cell"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("column", ["choices", "architecture", "outcome", "settings"])
def test_a_record_that_is_damaged_is_one_sentence(column: str, tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    past = tried("d", toy_score, 6)
    with MetaDataset.open(path) as store:
        store.add_dataset(past.info)
        store.append(past.records)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE nas_records SET {column} = '[1' WHERE number = 3")
    with MetaDataset.open(path) as store:
        (opened,) = store.past()
        with pytest.raises(HistoryError, match="number 3"):
            _ = [(r.choices, r.architecture, r.outcome, r.settings) for r in opened.records]


def test_a_history_that_changes_while_it_is_read_is_said(tmp_path: Path) -> None:
    with MetaDataset.open(tmp_path / "history.db") as store:
        for name in ("d0", "d1"):
            past = tried(name, toy_score, 6)
            store.add_dataset(past.info)
            store.append([replace(r, search=name) for r in past.records])
        opened = store.past()
        store.forget("d1")
        assert [len(past.records) for past in opened[:1]] == [6]
        with pytest.raises(HistoryError, match="was changed while"):
            _ = opened[1].records
        store.append(
            [replace(record(small_space(), small_space().default(), 1.0), search="later", dataset="fingerprint of d0")]
        )
        assert len(opened[0].records) == 6, "what comes later is not read"


def test_a_pack_of_junk_does_not_stop_a_search(tmp_path: Path) -> None:
    """A real search whose history is nonsense in its own space ends like any other and says whom it ignored."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 3)), rng.integers(0, 2, 80)
    from search_spaces import default_for

    space = default_for(nas.load((X, y)))
    made = [past_dataset(space, "equal", [(space.sample(rng), 1.0) for _ in range(6)])]
    made += [past_dataset(space, "one", [(space.sample(rng), 1.0)])]
    with MetaDataset.open(tmp_path / "junk.db") as store:
        for past in made:
            store.add_dataset(past.info)
            store.append(past.records)
        result = nas.search((X, y), trials=1, history=store)
    assert result.best.score is not None
    assert set(result.explain().ignored) == {"equal", "one"}
    assert result.explain().own == 1.0
