"""Priors as files: what is kept is what would be fitted again, and files that are none harm nobody."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import past_dataset, record, small_space, toy_history, toy_score
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from nas.controllers import Problem, files
from nas.controllers.meta import MetaController
from nas.controllers.prior import Prior, fit
from nas.controllers.resemblance import FEWEST_DATASETS
from nas.controllers.stored import KEPT, digest_of_words, key_of, path_of, prior_of, read, write
from nas.errors import HistoryError, SearchError
from nas.metadataset import MetaDataset
from nas.record import PastDataset
from nas.space import Choices


def described(count: int) -> tuple[PastDataset, ...]:
    """Past datasets with two meta-features, the first of which says what they want."""
    rng = np.random.default_rng(0)
    space, made = small_space(), []
    for number in range(count):
        kind = number % 2
        tried = [space.sample(rng) for _ in range(12)]
        scores = [float((c["b"] == ("mish" if kind else "tanh")) + 0.2 * rng.normal()) for c in tried]
        told = {"kind": kind + 0.1 * rng.random(), "noise": rng.random()}
        made.append(past_dataset(space, f"d{number}", list(zip(tried, scores, strict=True)), told))
    return tuple(made)


@pytest.fixture(scope="module")
def problem() -> Problem:
    told = {"kind": 1.0, "noise": 0.1}
    return Problem(small_space(), past=described(FEWEST_DATASETS), metafeatures=told, seed=2)


@pytest.fixture(scope="module")
def prior(problem: Problem) -> Prior:
    return prior_of(problem)


def searched(problem: Problem, trials: int = 7) -> list[Choices]:
    """What a search asks for, one after another."""
    controller = MetaController(problem, pool=60)
    asked: list[Choices] = []
    for number in range(trials):
        asked += controller.ask()
        controller.tell([record(problem.space, asked[-1], toy_score(asked[-1]), number)])
    return [*asked, *controller.ask(3)]


def same(one: Prior, other: Prior) -> bool:
    X = one.columns.encode([one.lessons[0].winners[0], one.lessons[-1].winners[-1]])
    told = {"kind": 0.7, "noise": 0.4}
    pairs = zip(one.towards(told).means(X), other.towards(told).means(X), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs) and one.lessons == other.lessons and one.masses == other.masses


# ---- kept or fitted, the same ----------------------------------------------------------------------------------------


def test_a_prior_survives_its_files(problem: Problem, prior: Prior, tmp_path: Path) -> None:
    assert prior.described
    write(prior, tmp_path / "prior.json")
    back = read(tmp_path / "prior.json")
    assert same(prior, back)
    assert back.towards({}).beliefs == prior.towards({}).beliefs
    assert back.resemblance is not None
    assert prior.resemblance is not None
    np.testing.assert_array_equal(back.resemblance.known, prior.resemblance.known)
    assert {path.name for path in tmp_path.iterdir()} == {"prior.json", "prior.safetensors"}
    write(read(tmp_path / "prior.json"), tmp_path / "again.json")
    for suffix in (".json", ".safetensors"):
        assert (tmp_path / f"again{suffix}").read_bytes() == (tmp_path / f"prior{suffix}").read_bytes()


def test_a_search_is_the_same_without_with_and_after_a_kept_prior(problem: Problem, tmp_path: Path) -> None:
    without = searched(problem)
    kept = replace(problem, priors=tmp_path / "priors")
    assert searched(kept) == without
    path = path_of(kept)
    assert path is not None
    written = path.stat().st_mtime_ns
    assert searched(kept) == without
    assert path.stat().st_mtime_ns == written, "the second search read it"


def test_a_kept_prior_is_read_in_place_of_the_history(tmp_path: Path) -> None:
    """Opening a prior looks at no record of any other dataset."""
    with MetaDataset.open(tmp_path / "history.db") as store:
        for past in toy_history(small_space(), 4, 20):
            store.add_dataset(past.info)
            store.append([replace(r, search=past.info.name) for r in past.records])
        problem = Problem(small_space(), past=tuple(store.past()), priors=store.priors)
        first = searched(problem)
        again = replace(problem, past=tuple(store.past()), dataset=problem.past[1].info.fingerprint)
        searched(again)
        looked_at = [past.info.name for past in again.past if "records" in past.__dict__]
        assert looked_at == [problem.past[1].info.name]
        assert searched(replace(problem, past=tuple(store.past()))) == first


def test_what_is_kept_changes_with_history_space_and_versions(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = problem.past
    one = past[3]
    other = replace(one.records[2], outcome=replace(one.records[2].outcome, score=0.123))
    elsewhere = replace(one.records[2], choices=one.records[1].choices)
    wider = small_space()
    wider.add_setting("weight_decay", wider.decisions()["settings.learning_rate"])
    changed = [
        problem,
        replace(problem, past=past[:-1]),
        replace(problem, past=past[::-1]),
        *(
            replace(
                problem, past=(*past[:3], PastDataset(one.info, (*one.records[:2], r, *one.records[3:])), *past[4:])
            )
            for r in (other, elsewhere)
        ),
        replace(problem, past=(*past[:3], replace(one, info=replace(one.info, name="renamed")), *past[4:])),
        replace(problem, space=wider),
        replace(problem, space=small_space("another")),
    ]
    keys = [key_of(each) for each in changed]
    assert len(set(keys)) == len(changed)
    assert key_of(replace(problem, seed=7, dataset="d", metafeatures={})) == keys[0]
    monkeypatch.setattr("nas.controllers.files._code", lambda: "of another version")
    assert key_of(problem) != keys[0]


def test_a_history_in_a_file_and_in_memory_teach_under_one_name(tmp_path: Path) -> None:
    made = toy_history(small_space(), 3, 10)
    keys = []
    for place in (":memory:", tmp_path / "history.db"):
        with MetaDataset.open(place) as store:
            for past in made:
                store.add_dataset(past.info)
                store.append([replace(r, search=past.info.name) for r in past.records])
            keys.append(key_of(Problem(small_space(), past=tuple(store.past()))))
    assert keys[0] == keys[1]


def test_a_prior_of_another_space_is_refused() -> None:
    with pytest.raises(SearchError, match="'one'"):
        MetaController(Problem(small_space("other")), prior=fit(Problem(small_space("one"), past=())))


# ---- the folder ------------------------------------------------------------------------------------------------------


def test_only_the_latest_are_kept(prior: Prior, tmp_path: Path) -> None:
    history = toy_history(small_space(), 1, 8)
    for number in range(KEPT + 2):
        renamed = replace(history[0], info=replace(history[0].info, name=f"d{number}"))
        prior_of(Problem(small_space(), past=(renamed,), priors=tmp_path))
    assert len(list(tmp_path.glob("*.json"))) == len(list(tmp_path.glob("*.safetensors"))) == KEPT


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(problem: Problem, prior: Prior, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert same(prior_of(replace(problem, priors=tmp_path / "file" / "priors")), prior)


def test_a_limited_space_keeps_nothing(tmp_path: Path) -> None:
    space = small_space()
    limited = space.within(lambda architecture: True)
    past = toy_history(space, 2, 10)
    prior_of(Problem(limited, past=past, priors=tmp_path))
    assert not list(tmp_path.iterdir())


def test_forgetting_empties_it(tmp_path: Path) -> None:
    """What was learned from a dataset names it and holds its winners: it goes with the dataset."""
    for forget in (lambda s: s.forget("old 1"), lambda s: s.forget_dataset("fingerprint of old 1")):
        with MetaDataset.open(tmp_path / "history.db") as store:
            for past in toy_history(small_space(), 3, 10):
                store.add_dataset(past.info)
                store.append([replace(r, search=past.info.name) for r in past.records])
            assert store.priors is not None
            prior_of(Problem(small_space(), past=tuple(store.past()), priors=store.priors))
            assert any(b"old 1" in path.read_bytes() for path in store.priors.iterdir())
            forget(store)
            assert not list(store.priors.iterdir())


# ---- files that are none ---------------------------------------------------------------------------------------------

Harm = Callable[[dict[str, Any], dict[str, np.ndarray]], object]
HARMS: dict[str, Harm] = {
    "another version": lambda w, a: w.update(format=1),
    "another encoding": lambda w, a: w["columns"].update(encoding="steps/0"),
    "a part more": lambda w, a: w.update(path="../../etc/passwd"),
    "a part less": lambda w, a: w.pop("masses"),
    "an array less": lambda w, a: a.pop("z"),
    "no lessons": lambda w, a: w.update(lessons=[]),
    "a lesson less": lambda w, a: w["lessons"].pop(),
    "a lesson's part more": lambda w, a: w["lessons"][0].update(code="import os"),
    "a winner that is a list": lambda w, a: w["lessons"][0].update(winners=[{"b": ["mish"]}]),
    "no winner": lambda w, a: w["lessons"][0].update(winners=[]),
    "a number for a name": lambda w, a: w["lessons"][0].update(name=7),
    "columns that are none": lambda w, a: w["columns"].update(columns=[[1]]),
    "no space": lambda w, a: w.update(space=None),
    "a negative variance": lambda w, a: w.update(variances=[0.5, -0.3, 0.1]),
    "two variances": lambda w, a: w.update(variances=[0.5, 0.3]),
    "an infinite mass": lambda w, a: w["masses"].update({"history 0": math.inf}),
    "a mass beyond one": lambda w, a: w["masses"].update({"history 0": 10.0**300}),
    "an infinite gain": lambda w, a: w["resemblance"].update(gain=1e999),
    "likeness not used": lambda w, a: w["resemblance"].update(used=False),
    "a negative likeness": lambda w, a: w.update(alike=-0.1),
    "an endless likeness": lambda w, a: w.update(alike=1e300),
    "a negative error": lambda w, a: w["resemblance"].update(error=-1.0),
    "likeness that nobody knows": lambda w, a: w.update(resemblance=None),
    "meta-features of fewer": lambda w, a: a.update(metafeatures=a["metafeatures"][1:]),
    "negative weights": lambda w, a: a.update(weights=-a["weights"] - 1.0),
    "endless weights": lambda w, a: a.update(weights=a["weights"] + 1e300),
    "other meta-features": lambda w, a: w["resemblance"].update(names=["kind"]),
    "columns too wide": lambda w, a: a.update(C=np.zeros((len(a["z"]), 9999), np.uint8)),
    "columns beyond one": lambda w, a: a.update(C=a["C"] + 2),
    "single precision": lambda w, a: a.update(alpha=a["alpha"].astype(np.float32)),
    "scores that are none": lambda w, a: a.update(z=a["z"] * np.nan),
    "infinite weights": lambda w, a: a.update(weights=a["weights"] + np.inf),
    "endless scores": lambda w, a: a.update(z=a["z"] * 1e300),
    "an endless word of records": lambda w, a: a.update(alpha=a["alpha"] * 1e300),
    "one word of a record": lambda w, a: a["alpha"].__setitem__(0, 1e3),
    "another word of records": lambda w, a: a.update(alpha=a["alpha"][::-1]),
    "columns of no weight": lambda w, a: a.update(theta=-a["theta"]),
    "endless columns": lambda w, a: a.update(theta=a["theta"] + 1e300),
    "endless directions": lambda w, a: a.update(directions=a["directions"] * 1e300),
    "owners out of order": lambda w, a: a.update(owner=a["owner"][::-1]),
    "owners from elsewhere": lambda w, a: a.update(owner=a["owner"] + 10**12),
    "fewer groups": lambda w, a: a.update(group=a["group"][:-1]),
    "directions of others": lambda w, a: a.update(directions=a["directions"][:, 1:]),
}


@pytest.fixture(scope="module")
def kept(prior: Prior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "prior.json"
    write(prior, path)
    return path


def rewritten(kept: Path, tmp_path: Path, harm: Harm) -> Path:
    """The files with a harm done, whose digests agree all the same."""
    import hashlib

    words, arrays = json.loads(kept.read_text()), load(kept.with_suffix(".safetensors").read_bytes())
    harm(words, arrays)
    path = tmp_path / "harmed.json"
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    path.with_suffix(".safetensors").write_bytes(content)
    path.write_text(json.dumps(signed(words | {"arrays": hashlib.sha256(content).hexdigest()})))
    return path


def signed(words: dict[str, Any]) -> dict[str, Any]:
    """Words whose digest is right, whatever they say."""
    words.pop("digest", None)
    return words | {"digest": digest_of_words(words)}


def test_files_rewritten_without_harm_are_read(kept: Path, tmp_path: Path, prior: Prior) -> None:
    assert same(read(rewritten(kept, tmp_path, lambda words, arrays: None)), prior)
    nothing = rewritten(kept, tmp_path, lambda words, arrays: words["lessons"][0].update(winners=[{"b": None}]))
    assert read(nothing).lessons[0].winners == ({"b": None},)  # a value that a decision may have


@pytest.mark.parametrize("harm", HARMS)
def test_files_that_do_not_hold_together_are_refused_in_one_sentence(harm: str, kept: Path, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="fit it again") as caught:
        read(rewritten(kept, tmp_path, HARMS[harm]))
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_torn_or_swapped_are_refused(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="beside it"):
        read(tmp_path / "none.json")
    path, arrays = tmp_path / "prior.json", tmp_path / "prior.safetensors"
    text, content = kept.read_bytes(), kept.with_suffix(".safetensors").read_bytes()
    for one, other in ((text[:-9], content), (text, content[:-9]), (b"[" * 100_000, content), (b"7", content)):
        path.write_bytes(one)
        arrays.write_bytes(other)
        with pytest.raises(HistoryError):
            read(path)
    path.write_bytes(text)
    arrays.write_bytes(save({"z": np.zeros(3)}))
    with pytest.raises(HistoryError, match="belong together"):
        read(path)


@given(st.data())
def test_a_byte_changed_anywhere_is_refused_or_harmless(kept: Path, prior: Prior, data: st.DataObject) -> None:
    """Whatever is read after all, for a byte that is the same or a space that became a line, is what was written."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prior.json"
        for suffix in (".json", ".safetensors"):
            path.with_suffix(suffix).write_bytes(kept.with_suffix(suffix).read_bytes())
        harmed = path.with_suffix(data.draw(st.sampled_from([".json", ".safetensors"])))
        content = bytearray(harmed.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        harmed.write_bytes(content)
        try:
            back = read(path)
        except HistoryError:
            return
        assert written(back, Path(folder) / "back.json") == written(prior, Path(folder) / "again.json")


def written(prior: Prior, path: Path) -> tuple[bytes, bytes]:
    """All bits of a prior."""
    write(prior, path)
    return path.read_bytes(), path.with_suffix(".safetensors").read_bytes()


@pytest.mark.parametrize(("word", "other"), [('"settings.learning_rate', '"settings.learning_race'), (": 0.", ": 9.")])
def test_one_letter_or_digit_that_changed_is_noticed(word: str, other: str, kept: Path, tmp_path: Path) -> None:
    """It would still be JSON of the right kinds, and another prior."""
    path = tmp_path / "prior.json"
    path.with_suffix(".safetensors").write_bytes(kept.with_suffix(".safetensors").read_bytes())
    text = kept.read_text()
    assert word in text
    path.write_text(text.replace(word, other, 1))
    with pytest.raises(HistoryError, match="was changed"):
        read(path)


def test_a_huge_array_that_is_only_announced_takes_no_memory(kept: Path, tmp_path: Path) -> None:
    import hashlib
    import struct

    header = json.dumps({"z": {"dtype": "F64", "shape": [10**15], "data_offsets": [0, 8]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(8)
    path = tmp_path / "prior.json"
    path.with_suffix(".safetensors").write_bytes(content)
    words = json.loads(kept.read_text()) | {"arrays": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(signed(words)))
    with pytest.raises(HistoryError, match="makes no prior"):
        read(path)


def test_a_search_fits_again_what_cannot_be_read(problem: Problem, prior: Prior, tmp_path: Path) -> None:
    kept = replace(problem, priors=tmp_path)
    path = path_of(kept)
    assert path is not None
    for content in (b"", b"{}", b'{"format": 1}'):
        path.write_bytes(content)
        assert same(prior_of(kept), prior)
        assert same(read(path), prior), "and keeps what it fitted"


def test_a_pipe_among_the_priors_is_no_file_and_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "prior.json")
    with pytest.raises(ValueError, match="it is no file"):
        files.content(tmp_path / "prior.json")
