"""Lessons as files: only records that changed are read again, and what is kept teaches what reading them would."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import past_dataset, record, small_space, toy_history, toy_score
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.controllers import Problem
from nas.controllers.kept import SUFFIX
from nas.controllers.lesson import Lesson
from nas.controllers.lessons import lessons
from nas.controllers.prior import Prior, fit
from nas.controllers.stored import prior_of, write
from nas.metadataset import MetaDataset
from nas.metadataset.lazy import stored
from nas.metadataset.rows import digest_of_row, row_of
from nas.record import Fidelity, Outcome, PastDataset, Record


def lying(made: Sequence[PastDataset], readable: Sequence[str] = ()) -> tuple[PastDataset, ...]:
    """The same datasets with their records in a database, from which only those of the named ones may be read."""
    records = {past.info.fingerprint: past.records for past in made}
    names = {past.info.fingerprint: past.info.name for past in made}

    def read(fingerprint: str) -> tuple[Record, ...]:
        assert names[fingerprint] in readable, f"the records of {names[fingerprint]} were read"
        return records[fingerprint]

    digests = {name: [digest_of_row(row_of(r)) for r in each] for name, each in records.items()}
    return tuple(stored([past.info for past in made], digests, read))


def grown(past: PastDataset) -> PastDataset:
    """With one record more."""
    space = small_space()
    one = record(space, space.sample(np.random.default_rng(99)), 0.3, 77, dataset=past.info.fingerprint)
    return PastDataset(past.info, (*past.records, replace(one, search="later")))


def various() -> tuple[PastDataset, ...]:
    """Datasets of this space at two fidelities, with a winner that was confirmed, with one that teaches nothing, and
    of an older form of the space; and too few to do without what another space has found out."""
    space, rng = small_space(), np.random.default_rng(0)
    tried = [space.sample(rng) for _ in range(24)]
    first = past_dataset(space, "two", [(c, toy_score(c)) for c in tried], fingerprint="two").records
    short = [replace(r, fidelity=Fidelity(1, 50, 1), outcome=Outcome("complete", score=9.0)) for r in first[:9]]
    short = [replace(r, outcome=Outcome("complete", score=float(-i % 7))) for i, r in enumerate(short)]
    confirmed = replace(first[12], purpose="confirm", number=50)
    two = PastDataset(past_dataset(space, "two", [], fingerprint="two").info, (*first[9:], *short, confirmed))
    flat = past_dataset(space, "flat", [(c, 1.0) for c in tried])
    old = past_dataset(space, "old", [(c, toy_score(c)) for c in tried[:9]])
    old = replace(old, records=tuple(replace(r, choices=dict([*r.choices.items()][1:])) for r in old.records))
    old = replace(old, records=tuple(replace(r, space_fingerprint="older") for r in old.records))
    away = [past_dataset(small_space(f"s{i}"), f"away{i}", [(c, toy_score(c)) for c in tried[i:]]) for i in range(2)]
    return (two, flat, old, *away)


def bits(prior: Prior, folder: Path) -> tuple[bytes, bytes]:
    write(prior, folder / "bits.json")
    return (folder / "bits.json").read_bytes(), (folder / "bits.safetensors").read_bytes()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


# ---- what is read, and what comes of it ------------------------------------------------------------------------------


def test_after_one_record_more_only_its_dataset_is_read(tmp_path: Path) -> None:
    made = toy_history(small_space(), 3, 12)
    problem = Problem(small_space(), past=made, priors=tmp_path)
    fit(problem)
    known = len(files(tmp_path))
    fit(replace(problem, past=lying(made)))
    more = (made[0], grown(made[1]), made[2])
    with pytest.raises(AssertionError, match="the records of old 1 were read"):
        fit(replace(problem, past=lying(more)))
    changed = fit(replace(problem, past=lying(more, ["old 1"])))
    assert bits(changed, tmp_path) == bits(fit(Problem(small_space(), past=more)), tmp_path)
    assert len(files(tmp_path)) == known == 3, "a dataset that grows has one file"
    fit(replace(problem, past=lying(more[1:])))


def test_what_other_spaces_tell_is_kept_too(tmp_path: Path) -> None:
    made = [past for past in various() if past.info.name != "old"]
    problem = Problem(small_space(), past=tuple(made), priors=tmp_path)
    prior = fit(problem)
    assert {lesson.here for lesson in prior.lessons} == {True, False}
    assert bits(fit(replace(problem, past=lying(made))), tmp_path) == bits(prior, tmp_path)


def test_kept_or_not_a_prior_has_the_same_bits(tmp_path: Path) -> None:
    made = lying(various(), [past.info.name for past in various()])  # in the order of a history
    problem = Problem(small_space(), past=made)
    assert any(lesson.named for lesson in lessons(problem)[0])
    assert any(lesson.part for lesson in lessons(problem)[0])
    for prior in (fit(problem), *(fit(replace(problem, priors=tmp_path / "kept")) for _ in range(2))):
        assert bits(prior, tmp_path) == bits(fit(Problem(small_space(), past=made)), tmp_path)
    assert files(tmp_path / "kept")


def test_a_kept_lesson_is_the_one_that_was_made(tmp_path: Path) -> None:
    made = lying(various(), [past.info.name for past in various()])
    problem = Problem(small_space(), past=made, priors=tmp_path)
    for first, again in zip(lessons(problem)[0], lessons(problem)[0], strict=True):
        assert np.array_equal(first.scores, again.scores)
        assert [*map(repr, first.choices)] == [*map(repr, again.choices)], "kinds and order of decisions included"
        assert replace(first, scores=again.scores) == again
        assert first.records == again.records
    assert lessons(problem)[1] == {"flat": "all trainings scored the same"}


def test_a_limited_space_keeps_no_lessons(tmp_path: Path) -> None:
    limited = small_space().within(lambda architecture: True)
    lessons(Problem(limited, past=toy_history(small_space(), 2, 10), priors=tmp_path))
    assert not list(tmp_path.iterdir())


def test_another_space_or_version_is_not_taken_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy_history(small_space(), 1, 10)
    wider = small_space()
    wider.add_setting("weight_decay", wider.decisions()["settings.learning_rate"])
    lessons(Problem(small_space(), past=made, priors=tmp_path))
    lessons(Problem(small_space(), past=lying(made), priors=tmp_path))
    with pytest.raises(AssertionError, match="were read"):
        lessons(Problem(wider, past=lying(made), priors=tmp_path))
    monkeypatch.setattr("nas.controllers.files._code", lambda: "of another version")
    with pytest.raises(AssertionError, match="were read"):
        lessons(Problem(small_space(), past=lying(made), priors=tmp_path))


# ---- the folder ------------------------------------------------------------------------------------------------------


def test_forgetting_a_dataset_removes_what_it_taught(tmp_path: Path) -> None:
    with MetaDataset.open(tmp_path / "history.db") as store:
        for past in toy_history(small_space(), 3, 10):
            store.add_dataset(past.info)
            store.append([replace(r, search=past.info.name) for r in past.records])
        assert store.priors is not None
        problem = Problem(small_space(), past=tuple(store.past()), priors=store.priors)
        prior_of(problem)
        assert len(files(store.priors)) == 3
        store.forget_dataset("fingerprint of old 1")
        assert not list(store.priors.iterdir())
        again, _ = lessons(replace(problem, past=tuple(store.past())))
        assert [lesson.name for lesson in again] == ["old 0", "old 2"]


def test_a_folder_that_cannot_be_written_teaches_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    problem = Problem(small_space(), past=toy_history(small_space(), 2, 10))
    prior = fit(replace(problem, priors=tmp_path / "file" / "priors"))
    assert bits(prior, tmp_path) == bits(fit(problem), tmp_path)


def test_of_too_much_the_latest_used_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy_history(small_space(), 4, 10)
    problem = Problem(small_space(), priors=tmp_path)
    lessons(replace(problem, past=made[:3]))
    sizes = [path.stat().st_size for path in files(tmp_path)]
    for path in files(tmp_path):
        os.utime(path, (0, 0))
    lessons(replace(problem, past=lying(made[1:2])))  # used again
    monkeypatch.setattr("nas.controllers.kept.MOST_BYTES", int(2.5 * max(sizes)))
    lessons(replace(problem, past=made[3:]))
    assert len(files(tmp_path)) == 2
    lessons(replace(problem, past=lying([made[1], made[3]])))


# ---- files that are none ---------------------------------------------------------------------------------------------


MADE = toy_history(small_space(), 2, 8)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    lessons(Problem(small_space(), past=MADE, priors=folder))
    return folder


@pytest.fixture(scope="module")
def before() -> tuple[PastDataset, ...]:
    return lying(MADE)


@given(st.data())
@settings(max_examples=50)
def test_a_byte_changed_anywhere_is_made_again(
    kept: Path, before: tuple[PastDataset, ...], data: st.DataObject
) -> None:
    problem = Problem(small_space(), past=MADE, priors=kept)
    path = data.draw(st.sampled_from(files(kept)))
    whole = path.read_bytes()
    harmed = bytearray(whole)
    harmed[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(harmed)
    with pytest.raises(AssertionError, match="were read"):
        lessons(replace(problem, past=before))
    lessons(problem)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"[" * 100_000, b"0" * 64 + b"\n{}"], ids=repr)
def test_what_is_no_lesson_is_made_again(content: bytes, kept: Path) -> None:
    problem = Problem(small_space(), past=MADE, priors=kept)
    whole = [path.read_bytes() for path in files(kept)]
    one, other = files(kept)
    for foreign in (content, other.read_bytes()[: len(content)], other.read_bytes(), whole[0][:-9]):
        one.write_bytes(foreign)
        lessons(problem)
        assert [path.read_bytes() for path in files(kept)] == whole


HARMS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a part more": lambda w: w.update(code="import os"),
    "a part less": lambda w: w.pop("content"),
    "a time that is a number": lambda w: w.update(created=20260101),
    "a number for a part": lambda w: w.update(part=7),
    "trainings on nothing": lambda w: w.update(examples=0),
    "trainings on too much": lambda w: w.update(examples=10**400),
    "a score less": lambda w: w["scores"].pop(),
    "a score that is none": lambda w: w["scores"].__setitem__(3, math.nan),
    "a score in words": lambda w: w["scores"].__setitem__(3, "0.5"),
    "scores out of order": lambda w: w["scores"].reverse(),
    "no scores": lambda w: w.update(scores=[], choices=[], rows=[]),
    "a choice less": lambda w: w["choices"].pop(),
    "a value less": lambda w: w["choices"][0].pop(),
    "a value more": lambda w: w["choices"][0].append(1),
    "a value that is a list": lambda w: w["choices"][0].__setitem__(1, ["mish"]),
    "a choice without names": lambda w: w["choices"].__setitem__(0, []),
    "names from elsewhere": lambda w: w["choices"][0].__setitem__(0, 5),
    "names from behind": lambda w: w["choices"][0].__setitem__(0, -1),
    "a choice that is a number": lambda w: w["choices"].__setitem__(0, 3),
    "a name that is none": lambda w: w["keys"][0].__setitem__(0, None),
    "a record beyond the last": lambda w: w["rows"].__setitem__(0, 10**30),
    "a record before the first": lambda w: w["rows"].__setitem__(0, -1),
    "a record less": lambda w: w["rows"].pop(),
    "a winner that is a list": lambda w: w.update(named=["mish"]),
    "a winner of lists": lambda w: w.update(named={"b": ["mish"]}),
}


@pytest.mark.parametrize("harm", HARMS)
def test_words_that_make_no_lesson_are_refused(harm: str) -> None:
    (past,) = toy_history(small_space(), 1, 8)
    (lesson,), _ = lessons(Problem(small_space(), past=(past,)))
    words = json.loads(json.dumps(lesson.to_dict()))
    assert repr(replace(Lesson.from_dict(past, words), name=lesson.name, group=lesson.group)) == repr(lesson)
    HARMS[harm](words)
    with pytest.raises((ValueError, KeyError, IndexError, TypeError, AttributeError)):
        Lesson.from_dict(past, words)
