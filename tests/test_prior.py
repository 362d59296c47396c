"""What history teaches: lessons, likeness, beliefs, the account of it; and histories nobody would wish for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conformance import grown, key, past_dataset, record, small_space, toy_history, toy_score
from hypothesis import given
from hypothesis import strategies as st

from nas.controllers import Explanation, Problem
from nas.controllers.account import about_likeness
from nas.controllers.beliefs import ROUGH, SCRATCH, TASK, UNTAUGHT, beliefs, kinds
from nas.controllers.lessons import lessons
from nas.controllers.meta import MetaController
from nas.controllers.noise import likely_noise
from nas.controllers.prior import Prior, fit
from nas.controllers.resemblance import FEWEST_DATASETS, Resemblance, placed
from nas.errors import HistoryError
from nas.record import Fidelity, Outcome, PastDataset
from nas.space import Choices, SearchSpace
from nas.surrogate import Kernels, Smoothness


def favourite(problem: Problem) -> Choices:
    return MetaController(problem, pool=60).ask()[0]


def sampled(space: SearchSpace, count: int, seed: int = 0) -> list[Choices]:
    rng = np.random.default_rng(seed)
    return list({key(c): c for c in (space.sample(rng) for _ in range(count))}.values())


# ---- lessons -------------------------------------------------------------------------------------------------------


def test_every_fidelity_and_metric_is_a_lesson_of_its_own() -> None:
    """Short and long trainings of one dataset are ranked apart, and both teach."""
    space = small_space()
    tried = sampled(space, 24)
    records = list(past_dataset(space, "d", [(c, toy_score(c)) for c in tried]).records)
    short = Fidelity(1, 50, 1)
    records = [
        replace(r, fidelity=short, outcome=Outcome("complete", score=9.0 + r.score)) if i % 3 == 0 else r
        for i, r in enumerate(records)
    ]
    records[1] = replace(records[1], metric="other")
    past = PastDataset(past_dataset(space, "d", []).info, tuple(records))
    found, ignored = lessons(Problem(space, past=(past,)))
    assert [lesson.name for lesson in found] == ["d", "d, brier after 1 epochs of 50 rows"]
    assert [len(lesson) for lesson in found] == [15, 8]
    assert len({lesson.group for lesson in found}) == 1
    assert not ignored


def test_who_was_stopped_early_is_no_winner() -> None:
    """One search in which most were stopped: one lesson, its winner trained to the end; so is the next first pick."""
    space = small_space()
    tried = sorted(sampled(space, 24), key=toy_score, reverse=True)
    long, short = Fidelity(9, 100, 2), Fidelity(1, 100, 2)
    records = []
    for i, made in enumerate(past_dataset(space, "d", [(c, toy_score(c)) for c in tried], fingerprint="d").records):
        curve = [made.score - 8.0, *[made.score] * 8]  # all gain 8 after the first epoch
        early = i >= 4
        outcome = Outcome("complete", score=min(curve) if early else made.score, curve=curve[:1] if early else curve)
        records.append(replace(made, fidelity=short if early else long, outcome=outcome))
    past = PastDataset(past_dataset(space, "d", [], fingerprint="d").info, tuple(records))
    (lesson,), ignored = lessons(Problem(space, past=(past,)))
    assert not ignored
    assert lesson.examples == 9 * 100, "rows times epochs of those trained to the end"
    assert list(lesson.choices) == tried
    assert favourite(Problem(space, past=(past,), dataset="d")) == tried[0]


def test_of_several_lessons_of_a_dataset_the_largest_names_the_first_pick() -> None:
    space = small_space()
    tried = sampled(space, 24)
    records = past_dataset(space, "d", [(c, toy_score(c)) for c in tried], fingerprint="d").records
    few = [replace(r, fidelity=Fidelity(1, 50, 1), outcome=Outcome("complete", score=-r.score)) for r in records[:8]]
    past = PastDataset(past_dataset(space, "d", [], fingerprint="d").info, (*records[8:], *few))
    assert favourite(Problem(space, past=(past,), dataset="d")) == max(tried[8:], key=toy_score)


def test_copies_are_heard_once() -> None:
    space = small_space()
    tried = [(c, toy_score(c)) for c in sampled(space, 12)]
    one = past_dataset(space, "copy", tried)
    copies = tuple(replace(one, info=replace(one.info, name=f"copy {i}", fingerprint=f"f{i}")) for i in range(1000))
    found, ignored = lessons(Problem(space, past=copies))
    assert [lesson.name for lesson in found] == ["copy 0"]
    assert set(ignored.values()) == {"a copy of copy 0"}
    assert len(ignored) == 999


@pytest.mark.parametrize("trainings", [30, 60])
def test_scores_without_a_pattern_are_left_out(trainings: int) -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    good = tuple(past_dataset(space, f"good {i}", [(c, toy_score(c)) for c in sampled(space, 40, i)]) for i in range(3))
    junk = tuple(
        past_dataset(space, f"junk {i}", [(c, rng.normal()) for c in sampled(space, trainings, 10 + i)])
        for i in range(3)
    )
    prior = fit(Problem(space, past=(*good, *junk)))
    assert [lesson.name for lesson in prior.lessons] == ["good 0", "good 1", "good 2"]
    assert dict(prior.ignored) == {f"junk {i}": "scores without a pattern" for i in range(3)}


def test_lessons_that_are_noise_by_chance_alone_are_judged_by_the_others() -> None:
    """One by one, 4 of these 16 shuffled lessons would pass, and 3 of the 4 noisy ones would not."""
    space = small_space()
    passed = 0
    for seed in range(2):
        rng = np.random.default_rng(seed)
        shuffled = [[(c, rng.normal()) for c in sampled(space, 40, 10 * seed + i)] for i in range(8)]
        past = tuple(past_dataset(space, f"shuffled {i}", tried) for i, tried in enumerate(shuffled))
        passed += len(fit(Problem(space, past=past)).lessons)
    assert passed <= 1
    rng = np.random.default_rng(2)
    rng.normal(size=8 * 40)
    good = [[(c, toy_score(c)) for c in sampled(space, 40, i)] for i in range(5)]
    size = np.std([score for _, score in good[0]])
    noisy = [[(c, toy_score(c) + 2.5 * size * rng.normal()) for c in sampled(space, 40, 40 + i)] for i in range(4)]
    past = tuple(past_dataset(space, f"search {i}", tried) for i, tried in enumerate([*good, *noisy]))
    assert len(fit(Problem(space, past=past)).lessons) >= 8


def test_noise_among_short_trainings_makes_short_trainings_suspect() -> None:
    """Three of thirty lessons are a little likelier noise: believed as the others are, unless they alone were short."""
    rng = np.random.default_rng(0)
    evidence = np.concatenate([rng.normal(9.0, 3.0, size=27), [-1.0, -1.5, -2.0]])
    long = np.full(30, 1e5)
    assert not likely_noise(evidence, long).any()
    short = np.concatenate([long[:27], [200.0] * 3])
    assert np.flatnonzero(likely_noise(evidence, short)).tolist() == [27, 28, 29]
    assert not likely_noise(evidence, short[::-1]).any(), "what is short and has a pattern is none"
    assert not likely_noise(evidence[:0], long[:0]).any()


@given(st.lists(st.tuples(st.floats(-30, 30), st.floats(1, 1e9)), min_size=1, max_size=8))
def test_what_is_noise_is_what_the_likeliest_prior_says(lessons: list[tuple[float, float]]) -> None:
    """It is what the best a and b of a fine grid say, where these stand out."""
    evidence, examples = np.array(lessons).T
    longer = np.log10(examples) - np.median(np.log10(examples))
    a, b = np.meshgrid(np.linspace(-6, 6, 241), np.linspace(-4, 4, 161), indexing="ij")
    p = 1 / (1 + np.exp(-(a[..., None] + b[..., None] * longer)))
    share = 1 / (1 + np.exp(-a))
    posterior = np.log(p * np.exp(evidence) + 1 - p).sum(-1) + np.log(share * (1 - share)) - b**2 / 2
    best = np.unravel_index(np.argmax(posterior), posterior.shape)
    odds = evidence + a[best] + b[best] * longer
    clear = np.abs(odds) > 0.5
    second = posterior[np.abs(a - a[best]) + np.abs(b - b[best]) > 1.0].max()
    if posterior[best] - second > 0.2:  # one summit
        np.testing.assert_array_equal(likely_noise(evidence, examples)[clear], odds[clear] < 0)


def test_how_much_length_tells_of_noise_is_limited_beforehand() -> None:
    """Verdicts on histories of five lessons of 10 to 100,000 examples are those of a fine grid."""
    a, b = np.meshgrid(np.linspace(-6, 6, 241), np.linspace(-4, 4, 161), indexing="ij")
    rng = np.random.default_rng(0)
    for _ in range(60):
        evidence, longer = rng.normal(0.0, 3.0, 5), np.linspace(-2.0, 2.0, 5)
        odds = a[..., None] + b[..., None] * longer
        p = 1 / (1 + np.exp(-odds))
        prior = -a - 2 * np.log1p(np.exp(-a)) - b**2 / 2
        best = np.argmax(np.log(p * np.exp(evidence) + 1 - p).sum(-1) + prior)
        said = evidence + odds.reshape(-1, 5)[best]
        clear = np.abs(said) > 0.1
        np.testing.assert_array_equal(likely_noise(evidence, 10 ** (3 + longer))[clear], said[clear] < 0)


@pytest.mark.parametrize(
    "scores", [[0.5], [0.5] * 12, [], [1e308, -1e308] * 6, [1e-320 * i for i in range(12)]], ids=str
)
def test_odd_histories_are_survived(scores: list[float]) -> None:
    space = small_space()
    past = past_dataset(space, "odd", list(zip(sampled(space, 12), scores, strict=False)))
    controller = MetaController(Problem(space, past=(past,)), pool=40)
    for number in range(7):
        (choices,) = controller.ask()
        controller.tell([record(space, choices, scores[number % len(scores)] if scores else None, number)])
    account = controller.explain()
    assert account.own + sum(account.weights.values()) == pytest.approx(1.0)


def test_scores_that_are_no_numbers_cannot_be_recorded() -> None:
    for score in (float("nan"), float("inf")):
        with pytest.raises(HistoryError):
            Outcome("complete", score=score)


def test_a_history_in_the_wrong_direction_is_noticed() -> None:
    space = small_space()
    past = tuple(past_dataset(space, f"d{i}", [(c, -toy_score(c)) for c in sampled(space, 60, i)]) for i in range(3))
    controller = MetaController(Problem(space, past=past), pool=200)
    for number in range(10):
        (choices,) = controller.ask()
        controller.tell([record(space, choices, toy_score(choices), number, error=0.0)])
    assert any("right sign" in note for note in controller.explain().notes)


# ---- the same dataset again ------------------------------------------------------------------------------------------


def test_what_history_had_is_told_without_becoming_evidence() -> None:
    """The records of an earlier search on these data, told again as known: the beliefs weigh as before."""
    space = small_space()
    tried = [(c, toy_score(c)) for c in sampled(space, 15)]
    again = past_dataset(space, "mine", tried, fingerprint="new")
    problem = Problem(space, past=(*toy_history(space, 4, 20), again), dataset="new")
    controller = MetaController(problem, pool=60)
    before = controller.explain().own
    controller.tell(again.records[:8])
    assert controller.explain().own == pytest.approx(before)
    assert key(controller.ask()[0]) not in {key(r.choices) for r in again.records[:8]}


# ---- likeness --------------------------------------------------------------------------------------------------------


def kinds_of_data(count: int, seed: int = 0) -> tuple[PastDataset, ...]:
    """Datasets that want mish or tanh, told by one of two meta-features; the other is noise."""
    space, rng = grown(), np.random.default_rng(seed)
    made = []
    for number in range(count):
        kind = number % 2
        scores = [
            (c, float((c["b"] == ("mish" if kind else "tanh")) + 0.2 * rng.normal()))
            for c in sampled(space, 20, number)
        ]
        made.append(
            past_dataset(space, f"d{number}", scores, {"kind": kind + 0.1 * rng.random(), "noise": rng.random()})
        )
    return tuple(made)


@cache
def described() -> Prior:
    return fit(Problem(grown(), past=kinds_of_data(FEWEST_DATASETS)))


def favourite_of(prior: Prior, told: dict[str, float]) -> object:
    return MetaController(Problem(grown(), metafeatures=told), pool=60, prior=prior).ask()[0]["b"]


def test_the_meta_feature_that_tells_is_found_and_used() -> None:
    prior = described()
    assert prior.resemblance is not None
    assert prior.described
    weights = dict(zip(prior.resemblance.names, prior.smoothness.weights, strict=True))
    assert weights["kind"] > 2 * weights["noise"]
    for kind, wanted in ((0.05, "tanh"), (1.05, "mish")):
        assert favourite_of(prior, {"kind": kind, "noise": 0.5}) == wanted


def test_too_few_or_unlike_datasets_leave_the_average() -> None:
    few = fit(Problem(grown(), past=kinds_of_data(FEWEST_DATASETS - 1)))
    assert few.resemblance is None
    prior = described()
    assert prior.resemblance is not None
    for nothing in ({}, {"kind": float("nan")}, {"kind": 10**400}, {"kind": "none"}):
        assert not prior.towards(nothing).described, "nothing is known of the dataset"  # type: ignore[arg-type]
    far = replace(prior, resemblance=replace(prior.resemblance, near=1.1)).towards({"kind": 0.0, "noise": 0.5})
    assert not far.described
    np.testing.assert_array_equal(far.weights, prior.towards({}).weights)
    assert prior.towards({"kind": 0.0}).described, "what tells is known"
    assert not prior.towards({"noise": 0.5}).described, "only what tells little is known"


def likeness(known: list[list[float]]) -> Resemblance:
    """Of past datasets with these meta-features."""
    names = tuple(f"m{j}" for j in range(len(known[0])))
    return Resemblance(names, np.array(known), True, 0.0, 0.1, 0.01)


def scored(found: Resemblance, value: float) -> np.ndarray:
    """Of a dataset with that first meta-feature, which is the only one."""
    features = found.features({"m0": value}, np.ones(1))
    assert features is not None
    return features


def test_of_whom_little_is_known_is_not_described() -> None:
    """However near to others the little may be: the rest, put in the middle, would make it like the median one."""
    found, weights = likeness([[float(i + j) for j in range(40)] for i in range(30)]), np.ones(40)
    some = {f"m{j}": 15.0 for j in range(40)}
    assert found.features(some, weights) is not None
    assert found.features({"m0": 15.0}, weights) is None
    assert found.features(dict(list(some.items())[:20]), weights) is not None
    assert found.features(dict(list(some.items())[:19]), weights) is None
    assert found.features({"m0": 15.0}, np.array([40.0, *weights[1:]])) is not None, "weights count, not names"


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=9, unique=True),
    st.lists(st.floats(allow_nan=False), min_size=2, max_size=9),
)
def test_meta_features_keep_their_order_also_beyond_all_that_is_known(known: list[float], new: list[float]) -> None:
    found = likeness([[value] for value in known])
    values = np.array([scored(found, value) for value in sorted(new) if np.isfinite(value)])
    assert np.isfinite(values**2).all()
    assert (np.diff(values, axis=0) >= 0).all()
    for row, scores_of_past in zip(known, placed(found.known), strict=True):
        np.testing.assert_array_equal(scored(found, row), scores_of_past)


def test_beyond_the_known_a_meta_feature_goes_on_as_steeply_as_within() -> None:
    found = likeness([[float(i)] for i in range(21)])
    low, middle, high, beyond = (scored(found, v) for v in (0.0, 10.0, 20.0, 30.0))
    assert beyond[0] - high[0] == pytest.approx(high[0] - middle[0])
    assert high[0] == pytest.approx(-low[0])


def test_only_what_weighs_clearly_more_is_named() -> None:
    prior = described()
    assert prior.resemblance is not None
    for weights, said in (
        ([1.0, 1.0], ""),
        ([1.5, 1.0], ""),
        ([0.1, 2.0], "it shows most in noise"),
        ([2.0, 0.1], "it shows most in kind"),
    ):
        smoothness = replace(prior.smoothness, weights=np.array(weights))
        text = about_likeness(replace(prior, smoothness=smoothness))
        assert "is used (gain" in text
        assert ("shows most" in text) == bool(said)
        assert text.endswith(said)


def test_meta_features_that_lie_cost_little() -> None:
    """They say that this dataset is of those that want mish; it wants tanh."""
    space, prior = grown(), described()
    told = {"kind": 1.05, "noise": 0.5}

    def regret(problem: Problem, prior: Prior | None) -> float:
        """Mean over a search; the best there is scores 1."""
        controller, best, found = MetaController(problem, pool=60, prior=prior), 0.0, []
        for number in range(20):
            (choices,) = controller.ask()
            rate = float(choices["settings.learning_rate"])  # type: ignore[arg-type]
            score = float(choices["b"] == "tanh") - abs(np.log10(rate) + 2.5) / 2
            best = score if not found else max(best, score)
            found.append(1.0 - best)
            controller.tell([record(space, choices, score, number)])
        return float(np.mean(found))

    assert favourite_of(prior, told) == "mish"
    warm = np.mean([regret(Problem(space, seed, metafeatures=told), prior) for seed in range(3)])
    cold = np.mean([regret(Problem(space, seed), None) for seed in range(3)])
    assert warm <= 1.25 * cold + 0.05


# ---- beliefs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [(), (1,), (0, 2)])
def test_masses_sum_to_one(same: tuple[int, ...]) -> None:
    assert sum(kinds().values()) == pytest.approx(1.0)
    for tasks in (0, 1, 3):
        known = same if tasks == 3 else ()
        assert sum(
            b.mass for b in beliefs(np.full(tasks, 1 / tasks) if tasks else np.zeros(0), {}, known)
        ) == pytest.approx(1.0)


def test_own_trainings_are_believed_with_what_history_taught_of_columns_and_without() -> None:
    prior = described()
    told = {b.name: b for b in prior.towards({}).beliefs}
    x = np.eye(len(prior.columns.paths))[:2]
    for name, theta in ((SCRATCH, prior.smoothness.theta), (UNTAUGHT, Smoothness.usual(prior.columns.base).theta)):
        found = prior.kernels(x, x)[list(told[name].kernels)]
        np.testing.assert_allclose(found, Kernels([theta], prior.columns.counts, ROUGH)(x, x))
    (like,) = {b.kernels for b in prior.towards({}).beliefs if b.name == TASK}
    roughest = Kernels([prior.smoothness.theta], prior.columns.counts, [max(ROUGH)])
    np.testing.assert_allclose(prior.kernels(x, x)[list(like)], roughest(x, x))


def test_history_that_contradicts_itself_is_believed_less() -> None:
    space = small_space()
    agree = [past_dataset(space, f"d{i}", [(c, toy_score(c)) for c in sampled(space, 40, i)]) for i in range(6)]
    turned = [
        past_dataset(space, f"d{i}", [(c, (-1) ** i * toy_score(c)) for c in sampled(space, 40, i)]) for i in range(6)
    ]
    average = [
        sum(v for k, v in fit(Problem(space, past=tuple(p))).masses.items() if k.startswith("history"))
        for p in (agree, turned)
    ]
    assert average[0] > average[1] + 0.05


# ---- the account -----------------------------------------------------------------------------------------------------


def test_the_account_tells_how_history_fared() -> None:
    space = small_space()
    controller = MetaController(Problem(space, past=toy_history(space, 4, 30)), pool=60)
    for number in range(6):
        (choices,) = controller.ask()
        controller.tell([record(space, choices, toy_score(choices), number)])
    told = controller.explain()
    notes = "\n".join(told.notes)
    assert "before the first training" in notes
    assert "rank correlation +" in notes
    assert list(told.course) == [0, 1, 3, 5, 6]
    assert told.course[6] == pytest.approx(sum(told.weights.values()), abs=0.1)
    assert "after 5" in notes
    assert "history's first choice" in notes
    assert "from 20 past datasets on" in notes


def test_those_with_little_to_say_share_a_line() -> None:
    weights = {"loud": 0.5, **{f"quiet {i}": 0.005 for i in range(20)}, "silent": 0.0}
    text = str(Explanation(weights, 0.4, {"old": "another search space"}))
    assert "50.0%  loud" in text
    assert "10.0%  20 datasets with less than 1% each: quiet 0 0.5%" in text
    assert "1 dataset (nothing to say here): silent" in text
    assert all(len(line) <= 110 for line in text.splitlines())


def test_a_dataset_with_several_lessons_is_counted_once() -> None:
    space = small_space()
    (past,) = toy_history(space, 1, 40)
    twofold = replace(past, records=tuple(replace(r, metric=("brier", "auc")[r.number % 2]) for r in past.records))
    notes = MetaController(Problem(space, past=(twofold,)), pool=60).explain().notes
    assert "history: 40 trainings on 1 dataset" in notes


def test_many_datasets_of_which_nothing_is_known_are_not_called_too_few() -> None:
    space = small_space()
    past = tuple(
        replace(each, info=replace(each.info, metafeatures={"rows": 1.0})) for each in toy_history(space, 21, 8)
    )
    notes = "\n".join(MetaController(Problem(space, past=past), pool=60).explain().notes)
    assert "no meta-features that tell them apart" in notes


def test_a_name_breaks_no_line_and_steers_no_terminal() -> None:
    account = Explanation({"loud\n\x1b[31m": 0.5, "quiet\r": 0.005}, 0.495, {"old\x07": "another search space"})
    for text in (account.line, *str(account).splitlines()):
        assert text.isprintable()
    assert len(str(account).splitlines()) == 4


def test_of_a_thousand_names_some_are_given() -> None:
    text = str(Explanation({}, 1.0, {f"copy {i}": "a copy of one" for i in range(1000)}))
    assert "1,000 datasets (ignored: a copy of one): copy 0, " in text
    assert "950 more" in " ".join(text.split())
    assert len(text.splitlines()) < 10


def test_less_than_a_hundredth_is_what_is_printed() -> None:
    text = str(Explanation({"nearly": 0.0098, "little": 0.0094}, 0.9808))
    assert "1.0%  nearly" in text
    assert "1 dataset with less than 1% each: little 0.9%" in text
