"""``nas history`` as a person meets it: what each command says, leaves behind, and answers to mistakes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conformance_store import dataset, fill, record, search_info

from nas.cli import main
from nas.metadataset import MetaDataset
from nas.record import Outcome


@pytest.fixture
def mine(tmp_path):
    """The path of a history of three searches (s0, s1, s2), each on a dataset of its own (d0, d1, d2)."""
    path = tmp_path / "mine.db"
    with MetaDataset.open(path) as store:
        fill(store)
    return path


@pytest.fixture
def said(capsys):
    """Runs a command that succeeds and returns what it printed."""

    def run(*words: object) -> str:
        assert main(["history", *map(str, words)]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(capsys):
    """Runs a command that a user can mend and returns its one sentence."""

    def run(*words: object) -> str:
        assert main(["history", *map(str, words)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("nas: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return run


def test_records_without_the_usual_metrics_are_shown(mine, said):
    """A study of Optuna, or a pack made elsewhere, knows the score alone."""
    with MetaDataset.open(mine) as store:
        store.add_dataset(dataset("houses"))
        store.append([replace(record(0, "bare", "houses"), outcome=Outcome("complete", score=-0.25))])
    assert "0.2500 ±.000" in said("show", "bare", "--history", mine)


def test_a_search_is_forgotten_by_how_it_begins(mine, said):
    with MetaDataset.open(mine) as store:
        store.add_dataset(dataset("houses"))
        store.add_search(search_info("houses-1f00aa", "houses"))
        store.append([record(number, "houses-1f00aa", "houses") for number in range(4)])
    out = said("forget", "houses-1", "--history", mine)
    assert "forgot search houses-1f00aa, dataset houses and 4 records" in out
    assert str(mine) in out
    with MetaDataset.open(mine) as store:
        assert [info.name for info in store.searches()] == ["s0", "s1", "s2"]
        assert {past.info.name for past in store.past()} == {"d0", "d1", "d2"}  # what a prior is built from


@pytest.mark.parametrize("word", ["d1", "fingerprint of d1"])
def test_a_dataset_is_forgotten_with_every_search_on_it(mine, said, word):
    with MetaDataset.open(mine) as store:
        store.add_search(search_info("open", "d1"))
    told = json.loads(said("forget", word, "--json", "--history", mine))
    assert told == {"datasets": ["d1"], "searches": ["open", "s1"], "records": 5, "erased": True, "older_copies": []}
    with MetaDataset.open(mine) as store:
        assert [info.name for info in store.searches()] == ["s0", "s2"]


def test_what_is_not_named_clearly_is_not_forgotten(mine, refused, tmp_path):
    with MetaDataset.open(mine) as store:
        store.add_dataset(replace(dataset("d1"), fingerprint="another d1"))
    before = mine.read_bytes()
    assert "'s' means 3 of them: search s0, search s1, search s2" in refused("forget", "s", "--history", mine)
    assert "'d1' means 2 of them: dataset d1" in refused("forget", "d1", "--history", mine)
    assert "did you mean 's0'?" in refused("forget", "s00", "--history", mine)
    assert "means 0 of them" in refused("forget", "", "--history", mine)
    assert mine.read_bytes() == before
    assert "There is no history at" in refused("forget", "s0", "--history", tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_pack_goes_from_one_history_to_another(mine, said, tmp_path):
    pack, other = tmp_path / "pack.parquet", tmp_path / "other.db"
    out = said("export", pack, "--history", mine)
    assert "3 datasets, 3 searches, 15 records" in out
    assert "it reveals: Of each dataset: its name, kind" in out
    assert "No rows, no names of columns" in out
    assert "took 3 datasets, 3 searches, 15 records" in said("import", pack, "--history", other)
    assert "holds all of" in said("import", pack, "--history", other)
    with MetaDataset.open(mine) as first, MetaDataset.open(other) as second:
        assert first.records() == second.records()  # times and engine versions too
        assert first.searches() == second.searches()
    assert json.loads(said("import", pack, "--json", "--history", other))["records"] == 0
    assert json.loads(said("export", pack, "--json", "--history", mine))["records"] == 15


def test_an_anonymous_pack_names_nothing(said, tmp_path):
    mine, pack = tmp_path / "mine.db", tmp_path / "pack.parquet"
    with MetaDataset.open(mine) as store:
        info = replace(dataset("ward7", a=1.0), fingerprint="0123456789abcdef", family="clinic", sketch=(1, 2))
        store.add_dataset(info)
        store.add_search(replace(search_info("ward7-1f00"), dataset=info.fingerprint))
        store.append([record(number, "ward7-1f00", dataset=info.fingerprint) for number in range(3)])
        made = store.records()
    assert "its name as a hash" in said("export", pack, "--anonymous", "--history", mine)
    assert not [word for word in (b"ward7", b"clinic") if word in pack.read_bytes()]
    with MetaDataset.from_pack(pack) as store:
        (found,) = store.datasets()
        assert (found.name, found.sketch, found.metafeatures) == ("0123456789ab", (), {"a": 1.0})
        (search,) = store.searches()
        assert store.records() == [replace(each, search=search.name) for each in made]


def test_histories_are_merged_and_conflicts_told(mine, said, tmp_path):
    other = tmp_path / "other.db"
    with MetaDataset.open(other) as store:
        store.add_dataset(dataset("d0"))
        store.add_search(search_info("s0", "d0", seed=1))
        store.append([record(number, "s0", "d0", score=-0.9) for number in range(3)])
    out = said("merge", f"sqlite:///{other}", "--history", mine)
    assert "took 0 datasets, 1 search, 3 records" in out
    assert f"note: {mine} has another search s0; that of {other} is s0~" in out
    assert "holds all of" in said("merge", other, "--history", mine)
    assert json.loads(said("merge", other, "--json", "--history", mine))["renamed"] == {}


def test_mistakes_with_files_are_one_sentence_and_harm_nothing(mine, refused, tmp_path):
    table = tmp_path / "table.parquet"
    pd.DataFrame({"a": [1, 2]}).to_parquet(table)
    before = table.read_bytes()
    assert "not a pack; it was left as it is" in refused("export", table, "--history", mine)
    assert "not a pack of this library" in refused("import", table, "--history", mine)
    assert table.read_bytes() == before
    assert ".parquet" in refused("export", mine, "--history", mine)
    assert "cannot be written" in refused("export", tmp_path / "no" / "pack.parquet", "--history", mine)
    assert "There is no pack" in refused("import", tmp_path / "none.parquet", "--history", mine)
    assert "There is no history" in refused("merge", tmp_path / "none.db", "--history", mine)
    assert "not a history" in refused("merge", __file__, "--history", mine)
    assert "no history at" in refused("export", tmp_path / "pack.parquet", "--history", tmp_path / "none.db")


def test_a_stand_in_is_not_changed_in_place_of_the_default(refused, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAS_HISTORY", str(tmp_path / "file" / "history.db"))
    with MetaDataset.open(tmp_path / "other.db") as store:
        fill(store)
    assert refused("merge", tmp_path / "other.db")
    assert refused("forget", "s0")
    with MetaDataset.open(tmp_path / "other.db", read_only=True) as store:
        assert "s0" in {search.name for search in store.searches()}


def test_the_audit_says_what_is_covered_and_how_far_data_is(said, tmp_path):
    from nas.dataset import load
    from nas.evaluation import describe

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(400, 4)), columns=list("abcd"))
    frame["y"] = np.where(frame.a > 0, "yes", "no")
    frame.to_csv(tmp_path / "grown.csv", index=False)
    mine, data = tmp_path / "mine.db", load(frame[:380], target="y")
    with MetaDataset.open(mine) as store:
        info = replace(describe(data), name="before")
        store.add_dataset(info)
        store.append([record(number, dataset=info.fingerprint, space="own") for number in range(7)])
    words = ("audit", "--history", mine, "--data", tmp_path / "grown.csv", "--target", "y")
    out = said(*words)
    assert "before holds 9" in out  # about 95 % of the same rows
    assert "400 rows" in out
    assert "a search would begin listening to" in out
    assert "what a dataset is like" in out
    found = json.loads(said(*words, "--json"))
    assert {"name": "own", "datasets": 1, "records": 7} in found["spaces"]
    assert found["families"][f"before {info.fingerprint[:6]}"] == 7
    assert 1 < found["effective"] <= len(found["families"])
    (kin,) = found["near"]["kin"]
    assert kin["share"] == pytest.approx(0.95, abs=0.08)
    assert "before" not in [near["name"] for near in found["near"]["nearest"]]
    assert [near["distance"] for near in found["near"]["nearest"]] == sorted(
        near["distance"] for near in found["near"]["nearest"]
    )
    assert json.loads(said("audit", "--json", "--history", mine))["near"] is None
