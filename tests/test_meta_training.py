"""What history teaches and what that is worth: each family left out, searches played again or made for real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conformance import past_dataset, record, small_space, toy_score
from hypothesis import given
from hypothesis import strategies as st

import nas
from nas.cli import main
from nas.cli.meta import _line
from nas.controllers import Problem
from nas.controllers.meta import MetaController
from nas.controllers.stored import path_of
from nas.dataset import load
from nas.errors import DataError, HistoryError, SearchError
from nas.evaluation import describe
from nas.loop import replay
from nas.loop.replay import CLIP, FEWEST, doubt, held_out, regrets, replayed
from nas.loop.worth import Worth
from nas.metadataset import MetaDataset, shipped
from nas.record import PastDataset, Record
from nas.space import Choices, SearchSpace
from search_spaces import cell, default_for, tabular
from search_spaces.forms import forms
from search_spaces.series import series


def told(
    space: SearchSpace, name: str, sign: float = 1.0, family: str = "", records: int = 24, seed: int = 0
) -> PastDataset:
    """A dataset on which mish, and a middling learning rate, are good; or bad, where the sign is negative."""
    rng = np.random.default_rng(seed)
    tried = [space.sample(rng) for _ in range(records)]
    made = past_dataset(space, name, [(c, sign * score(c)) for c in tried])
    named = tuple(replace(r, search=f"search on {name}", key=f"{name} {r.number}") for r in made.records)
    return PastDataset(replace(made.info, family=family), named)


def score(choices: Choices) -> float:
    own = sum(value == "relu_conv3x3_bn" for value in choices.values())  # of a cell; else none
    return toy_score(choices) + 0.1 * own


def kept(path: Path | str, pasts: Sequence[PastDataset]) -> MetaDataset:
    store = MetaDataset.open(path)
    for past in pasts:
        store.add_dataset(past.info)
        store.append(past.records)
    return store


@pytest.fixture
def history(tmp_path: Path) -> MetaDataset:
    space = small_space()
    return kept(tmp_path / "history.db", [told(space, f"d{i}", seed=i) for i in range(4)])


# ---- replays ---------------------------------------------------------------------------------------------------------


def test_regret_is_that_of_the_definition() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0, 6.0])  # median 2, best 6
    np.testing.assert_allclose(regrets(np.array([1.0, 3.0, 2.0, 6.0]), scores), [1.25, 0.75, 0.75, 0.0])
    assert regrets(np.array([-100.0]), scores)[0] == CLIP


def test_what_others_taught_is_a_start_and_the_own_family_is_left_out() -> None:
    """Two datasets of one family want the contrary of all others: neither may learn it from the other."""
    space = small_space()
    past = [told(space, f"d{i}", seed=i) for i in range(4)]
    turned = [told(space, f"turned {i}", -1.0, "turned", seed=9 + i) for i in range(2)]
    places = held_out([*past, *turned], space)
    assert [len(each) for each in places] == [1, 1, 1, 1, 2]
    agreeing = [tested for each in places[:4] for tested in replayed(past, space, each)]
    assert np.mean([tested.warm[0] for tested in agreeing]) < np.mean([tested.cold[0] for tested in agreeing])
    assert "helped" in {tested.verdict for tested in agreeing}
    against = list(replayed([*past, *turned], space, places[4]))
    assert [tested.name for tested in against] == ["turned 0", "turned 1"]
    assert all(tested.warm[0] > 1.0 for tested in against), "it starts with what is bad there"
    for tested in [*agreeing, *against]:
        for curve in (tested.warm, tested.average, tested.cold):
            assert list(curve) == sorted(curve, reverse=True)


def test_what_is_too_little_or_too_equal_is_not_played() -> None:
    space = small_space()
    few = told(space, "few", records=FEWEST - 2)
    flat = past_dataset(space, "flat", [(space.sample(np.random.default_rng(i)), 1.0) for i in range(FEWEST)])
    elsewhere = told(small_space("another"), "elsewhere")
    assert held_out([few, flat, elsewhere], space) == []
    assert held_out([few, told(space, "fine")], space, ["few"]) == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.data())
def test_regret_falls_and_ends_at_nothing(scores: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(scores))))
    all_scores = np.array(scores)
    found = regrets(all_scores[list(order)], all_scores)
    assert (np.diff(found) <= 0).all()
    assert found[-1] == 0.0
    assert found.max() <= CLIP


# ---- meta-train ------------------------------------------------------------------------------------------------------


def test_what_is_distilled_is_what_a_search_finds(history: MetaDataset) -> None:
    found = nas.meta_train(small_space(), history=history)
    assert (found.datasets, found.trainings, found.elsewhere) == (4, 96, 0)
    problem = Problem(small_space(), past=tuple(history.past()), priors=history.priors)
    assert found.places == (str(path_of(problem)),)
    assert found.worth is not None
    assert found.worth.families == 4
    text, content = str(found), json.loads(json.dumps(found.to_dict()))
    assert "what a dataset is like is taken into account from 20 past datasets on" in text
    assert content["worth"]["regret"]["history"]["1"] < content["worth"]["regret"]["no history"]["1"]
    gain = content["worth"]["gain"]["over no history"]["1"]
    assert gain["low"] <= gain["mean"] <= gain["high"]
    assert sum(content["worth"]["verdicts"].values()) == 4


def test_families_count_alike(history: MetaDataset) -> None:
    """A family of many datasets weighs as much as one of one."""
    found = nas.meta_train(small_space(), history=history).worth
    assert found is not None
    first, *rest = found.tested
    copies = Worth((first, *(replace(each, family="one") for each in rest)))
    expected = (np.array(first.warm) + np.mean([each.warm for each in rest], axis=0)) / 2
    np.testing.assert_allclose(copies.regret("warm"), expected)
    mean, low, high = copies.gain("cold", 1)
    assert low <= mean <= high


def test_one_family_teaches_but_cannot_be_left_out(tmp_path: Path) -> None:
    store = kept(tmp_path / "one.db", [told(small_space(), "only")])
    found = nas.meta_train(small_space(), history=store)
    assert found.datasets == 1
    assert found.worth is None
    with pytest.raises(HistoryError, match="there must be 2 families"):
        list(nas.meta_test(space=small_space(), history=store))


def test_nothing_on_record_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no training on record"):
        nas.meta_train(history=MetaDataset.open(tmp_path / "empty.db"))
    store = kept(tmp_path / "own.db", [told(small_space(), "only")])
    with pytest.raises(HistoryError, match="pass the space it is of, in Python, as `space=`"):
        nas.meta_train(history=store)
    with pytest.raises(SearchError, match="did you mean 'image'"):
        nas.meta_train("images", history=store)


def test_every_space_chosen_for_a_table_is_among_the_forms() -> None:
    known = {form.fingerprint for form in forms("tabular")}
    for numeric in (1, 2, 16, 17, 32, 33, 64, 65, 128, 129, 500):
        for missing, embed in ((True, False), (False, True)):
            assert tabular(numeric=numeric, missing=missing, embed=embed).fingerprint in known
    rng = np.random.default_rng(0)
    for levels, numeric in ((0, 3), (3, 0), (30, 20)):
        columns = {f"n{i}": rng.normal(size=60) for i in range(numeric)}
        columns |= {"c": np.array([f"level {i % levels}" for i in range(60)])} if levels else {}
        for y in (rng.normal(size=60), rng.integers(0, 2, 60).astype(str)):
            found = default_for(load(pd.DataFrame(columns | {"y": y}), target="y"))
            assert found.fingerprint in known


def test_every_space_chosen_for_a_series_is_among_the_forms() -> None:
    known = {form.fingerprint for form in forms("series")}
    for steps in (1, 2, 11, 12, 30, 47, 48, 100, 191, 192, 193, 300, 1000, 2047, 5000):
        assert {series(steps=steps, classification=c).fingerprint for c in (True, False)} <= known


# ---- meta-test -------------------------------------------------------------------------------------------------------


def test_data_is_searched_twice_and_nothing_is_remembered(history: MetaDataset) -> None:
    """Where history knows nothing but these very rows, the two searches are one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    data = load((X, (X[:, 0] > 0).astype(int)))
    own = kept(":memory:", [])
    own.add_dataset(replace(describe(data), name="mine"))
    space = default_for(data)
    tried = [space.sample(rng) for _ in range(6)]
    made = past_dataset(space, "mine", [(c, float(i)) for i, c in enumerate(tried)], fingerprint=data.fingerprint)
    own.append(made.records)
    (found,) = nas.meta_test(data, trials=2, history=own)
    assert found.warm == found.cold
    assert found.verdict == "no difference"
    assert len(found.warm) == 2
    assert len(own) == 6


def test_of_a_name_with_little_on_record_the_data_is_searched(history: MetaDataset) -> None:
    little = [past_dataset(small_space(), name, [(small_space().default(), 1.0)]) for name in ("wine", "d0")]
    with kept(":memory:", little) as own:
        (found,) = nas.meta_test("wine", trials=2, space=small_space(), history=own)
        assert (found.name, len(found.warm)) == ("wine", 2)
        with pytest.raises(DataError, match="'d0' cannot be played again"):
            nas.meta_test("d0", history=own)  # nor is there anything in a space with a name


def test_an_interrupted_test_of_data_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a search beside a whole one would be a verdict about neither."""
    tell = MetaController.tell

    def interrupted(self: MetaController, records: Sequence[Record]) -> None:
        tell(self, records)
        raise KeyboardInterrupt

    monkeypatch.setattr(MetaController, "tell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(nas.meta_test("wine", trials=3, space=small_space(), history=kept(":memory:", [])))


def test_what_was_passed_is_checked_at_the_call(history: MetaDataset) -> None:
    """Nothing is iterated here."""
    with pytest.raises(SearchError, match="trials >= 2"):
        nas.meta_test(trials=1, history=history)
    with pytest.raises(SearchError, match="did you mean 'cell'"):
        nas.meta_test(space="cel", history=history)
    with pytest.raises(SearchError, match="`space` must be a SearchSpace"):
        nas.meta_test(space=3, history=history)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no dataset on record is named 'd33'; did you mean 'd3'"):
        nas.meta_test("d33", history=history)
    short = past_dataset(small_space(), "short", [(small_space().default(), 1.0)])
    history.add_dataset(short.info)
    history.append(short.records)
    with pytest.raises(DataError, match="'short' cannot be played again, which takes 20 candidates"):
        nas.meta_test("short", "d1", space=small_space(), history=history)
    with pytest.raises(DataError, match="no file, folder or bundled dataset is named 'quite another'"):
        nas.meta_test("quite another", history=history)


# ---- how sure it is --------------------------------------------------------------------------------------------------


def test_the_doubt_is_that_of_the_definition() -> None:
    """One training each, of scores with known errors: the gain's deviation is theirs, in units of best - median."""
    space = small_space()
    tried = [record(space, space.sample(np.random.default_rng(i)), float(i), i, error=0.0) for i in range(101)]
    sure = doubt(tried, [[50], [50]], [[60], [60]])
    assert sure == 0.0, "neither seed nor measurement differs"
    spread = doubt(tried, [[50], [50]], [[50], [70]])
    assert spread == pytest.approx(0.2)  # 20 of the 50 from the median to the best, half of it
    unsure = [
        replace(r, outcome=replace(r.outcome, standard_error=1.0 if r.number in (50, 60) else 0.0)) for r in tried
    ]
    assert doubt(unsure, [[50], [50]], [[60], [60]]) == pytest.approx(2**0.5 / 50, rel=0.2)
    assert doubt(unsure, [[50], [50]], [[50], [50]]) == 0.0, "what both chose cancels"
    assert doubt(tried, [[50, 70]], [[60, 60]]) > 0.0, "one search alone is not sure of its order"


def test_within_two_errors_nothing_is_called_harm() -> None:
    tested = replay.Tested("d", "d", 20, (0.5,), (), (0.37,), 0.07, False)
    assert tested.verdict == "no difference"
    assert replace(tested, error=0.06).verdict == "harmed"


# ---- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own history, of cells; what is shipped is of tables."""
    path = tmp_path / "cells.db"
    monkeypatch.setenv("NAS_HISTORY", str(path))
    kept(path, [told(cell(), f"d{i}", seed=i) for i in range(4)]).close()
    return path


def test_the_commands_print_and_keep(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meta-train", "--space", "cell", "--quick"]) == 0
    out, err = capsys.readouterr()
    assert err == "forms: 0 of 1\nforms: 1 of 1\n"
    assert "space cell: 96 trainings on 4 datasets\n" in out
    with shipped() as pack:  # of tables
        assert f"another search space: {len(pack.datasets())} (" in out
    assert f"kept for this space in {cells}.priors" in out
    assert main(["meta-train", "--space", "cell", "--json", "--quick"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [Path(place).exists() for place in content["places"]] == [True]
    assert main(["meta-train", "--space", "cell"]) == 0
    assert "4 families left out in turn" in (out := capsys.readouterr().out)
    assert "harmed on" in out
    assert main(["meta-test", "--space", "cell"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["regret", "d0", "d1", "d2", "d3", "helped"]
    assert main(["meta-test", "d1", "--space", "cell", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["name"] == "d1"
    assert found["verdict"] in lines[2]


def test_what_a_short_search_did_not_reach_is_not_printed() -> None:
    printed = _line(replay.Tested("short", "", 20, (0.25, 0.0), (), (0.5, 0.25), 0.1, False))
    assert printed.split()[:9] == ["short", ".50", "-", "-", "-", ".25", "-", "-", "-"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["meta-test", "d7", "--space", "cell"], "'d7'"),
        (["meta-test", "bike_hourli", "--space", "cell"], "did you mean 'bike_hourly'"),
        (["meta-test", "--space", "cel"], "did you mean 'cell'"),
        (["meta-test", "--space", "image"], "to leave a family out"),
        (["meta-train", "--history", "nowhere.db"], "no history at"),
        (["meta-train", "--spce", "cell"], "--space"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(
    words: list[str], sentence: str, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words)
    except SystemExit as end:
        code = int(str(end.code))
    printed = capsys.readouterr()
    assert code == 2
    assert printed.err.count("\n") == 1
    assert sentence in printed.err
