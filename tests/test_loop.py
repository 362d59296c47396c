"""The loop: what is trained once, what is remembered, what is the same again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.dataset import load
from nas.errors import DataError, HistoryError, SearchError
from nas.loop import Search
from nas.metadataset import MetaDataset
from nas.space import Choice, Float, Integer, SearchSpace

ROOT = Path(__file__).parents[1]
PACK = ROOT / "nas" / "knowledge" / "tabular.parquet"
QUICK = nas.Fidelity(epochs=2, rows=60, splits=2)


def small_space() -> SearchSpace:
    space = SearchSpace("small")
    space.add_input("x")
    space.add_node("a", "linear", width=Integer(4, 16))
    space.add_node("b", Choice("relu", "silu", "tanh"))
    space.add_output("y")
    space.add_edge("x", "a")
    space.add_edge("a", "b")
    space.add_edge("b", "y")
    space.add_edge("x", "y", optional=True)
    space.add_setting("learning_rate", Float(0.01, 0.2, log=True))
    return space


def data(seed: int = 0, n: int = 90):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    return X, (X[:, 0] * X[:, 1] + 0.3 * X[:, seed % 4] > 0).astype(int)


def run(tmp_path: Path | None = None, seed: int = 0, **more):
    arguments = {"space": small_space(), "trials": 6, "fidelity": QUICK, "history": tmp_path, "seed": seed} | more
    return nas.search(data(), **arguments)


def trace(result):
    """Everything that must be equal, bit for bit."""
    screened = [
        (r.number, tuple(sorted(r.choices.items())), r.architecture.key, r.score, r.outcome.curve)
        for r in result.records
    ]
    return screened, [(r.architecture.key, r.score, r.outcome.metrics) for r in result.confirmed], result.best.key


def test_a_search_ends_in_a_network_that_predicts(tmp_path):
    result = run(tmp_path / "h.db", trials=4)
    assert [r.number for r in result.records] == [0, 1, 2, 3]
    assert len(result.confirmed) == 3
    assert all(r.purpose == "confirm" and r.fidelity.splits == 4 for r in result.confirmed)
    assert result.best.score is not None
    model = result.model()
    import torch

    probabilities = model(torch.from_numpy(data()[0]))
    assert probabilities.shape == (90, 2)
    assert torch.allclose(probabilities.sum(1), torch.ones(90), atol=1e-5)
    assert len(result.study.trials) == 4
    assert result.study.best_value == max(r.score for r in result.records)


def test_the_same_seed_is_the_same_search_and_another_seed_is_not(tmp_path):
    a = run(None, storage=tmp_path / "a.db")
    b = run(None, storage=tmp_path / "b.db")
    c = run(None, storage=tmp_path / "c.db", seed=1)
    assert trace(a) == trace(b)
    assert trace(a) != trace(c)


@pytest.mark.parametrize("controller", ["meta", "evolution"])
def test_two_copies_of_one_history_give_the_same_search_interrupted_or_not(tmp_path, controller):
    for seed in (1, 2):
        nas.search(data(seed), space=small_space(), trials=6, fidelity=QUICK, history=tmp_path / "a.db", seed=seed)
    for copy in ("b.db", "c.db"):
        shutil.copy(tmp_path / "a.db", tmp_path / copy)
    whole = run(tmp_path / "a.db", controller=controller)
    again = run(tmp_path / "b.db", controller=controller)
    with _search(tmp_path / "c.db", controller) as cut:
        taken = [record for record, _ in zip(cut.run(), range(3), strict=False)]
    assert len(taken) == 3
    # others write to the same history meanwhile: what was known when the search began is what counts
    nas.search(data(3), space=small_space(), trials=6, fidelity=QUICK, history=tmp_path / "c.db", seed=9)
    resumed = run(tmp_path / "c.db", controller=controller)
    assert trace(whole) == trace(again) == trace(resumed)


def _search(history: Path, controller: str = "meta", trials: int = 6) -> Search:
    dataset = load(data())
    return Search(dataset, space=small_space(), trials=trials, fidelity=QUICK, history=history, controller=controller)


def test_every_record_is_committed_before_the_next_is_asked_for(tmp_path):
    with _search(tmp_path / "h.db") as search:
        for count, record in enumerate(search.run(), 1):
            with MetaDataset.open(tmp_path / "h.db", read_only=True) as history:
                kept = history.records(search=search.name)
            assert len(kept) == count
            assert kept[-1] == record


def test_the_same_call_trains_nothing_again_and_more_trials_continue(tmp_path):
    first = run(tmp_path / "h.db", trials=4)
    with MetaDataset.open(tmp_path / "h.db") as history:
        before = history.snapshot()
    second = run(tmp_path / "h.db", trials=4)
    with MetaDataset.open(tmp_path / "h.db") as history:
        assert history.snapshot() == before
    assert trace(first) == trace(second)
    longer = run(tmp_path / "h.db", trials=7)
    assert trace(longer)[0][:4] == trace(first)[0]
    assert len(longer.records) == 7


def test_a_known_evaluation_is_told_and_not_trained_again(tmp_path):
    space = SearchSpace("tiny")
    space.add_input("x")
    space.add_node("a", "linear", width=Choice(4, 8))
    space.add_output("y")
    space.add_edge("x", "a")
    space.add_edge("a", "y")
    first = run(tmp_path / "h.db", space=space, controller="random", trials=5)
    assert len(first.records) == 2  # the space holds no more
    assert "no more than 2" in " ".join(first.notes)
    second = run(tmp_path / "h.db", space=space, controller="evolution", trials=5)
    assert second.records == ()
    assert second.best.key == first.best.key


def test_cold_means_cold_and_is_another_search(tmp_path):
    run(tmp_path / "h.db")
    cold = run(None, storage=tmp_path / "h.db")
    assert len(cold.records) == 6
    assert not cold.explanation.weights


def test_past_datasets_are_named_with_their_weights(tmp_path):
    for seed in (1, 2):
        nas.search(data(seed), space=small_space(), trials=6, fidelity=QUICK, history=tmp_path / "h.db", seed=seed)
    explanation = run(tmp_path / "h.db").explain()
    shares = [*explanation.weights.values(), explanation.own]
    shipped = {past.info.name for past in MetaDataset.open(PACK, read_only=True).past()}
    own = {name: share for name, share in explanation.weights.items() if name not in shipped}
    assert len(own) == 2
    assert all(share > 0 for share in own.values())
    assert {*explanation.weights, *explanation.ignored} == shipped | set(own)  # nobody is passed over in silence
    assert sum(shares) == pytest.approx(1)
    assert str(explanation)


def test_a_name_belongs_to_one_search(tmp_path):
    run(tmp_path / "h.db", name="mine")
    with pytest.raises((SearchError, HistoryError), match="another name"):
        run(tmp_path / "h.db", name="mine", seed=3)


def test_rows_set_aside_are_not_searched_on(tmp_path):
    X, y = data(n=120)
    X[:, 0] = np.arange(120)
    result = nas.search((X, y), space=small_space(), trials=2, fidelity=QUICK, history=tmp_path / "h.db", test=0.25)
    searched, aside = result.dataset.inputs["numeric"][:, 0], result.test.inputs["numeric"][:, 0]
    assert not set(searched) & set(aside)
    assert len(searched) + len(aside) == 120
    assert 0 <= result.test_metrics()["accuracy"] <= 1


def test_test_rows_read_another_way_are_refused(tmp_path):
    X, y = data()
    other = load((X[:, :3], y))
    with pytest.raises(SearchError, match="features differ"):
        nas.search((X, y), space=small_space(), trials=1, fidelity=QUICK, history=tmp_path / "h.db", test=other)


def test_an_interruption_gives_the_best_so_far_and_the_same_call_goes_on(tmp_path):
    from nas.controllers.random import RandomController

    class Interrupted(RandomController):
        told = 0

        def ask(self, count=1):
            if self.told == 3 and not (tmp_path / "again").exists():
                raise KeyboardInterrupt
            return super().ask(count)

        def tell(self, records):
            self.told += len(records)
            super().tell(records)

    first = run(tmp_path / "h.db", controller=Interrupted)
    assert len(first.records) == 3
    assert "the same call goes on" in " ".join(first.notes)
    (tmp_path / "again").touch()
    assert len(run(tmp_path / "h.db", controller=Interrupted).records) == 6


def test_an_interruption_before_the_first_trial_is_no_complaint_about_seconds(tmp_path):
    from nas.controllers.random import RandomController

    class Interrupted(RandomController):
        def ask(self, count=1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "h.db", controller=Interrupted)


def test_failing_candidates_are_outcomes_and_the_search_goes_on(tmp_path):
    result = run(tmp_path / "h.db", space=_broken_space("linear", "broken"), controller="random", trials=6)
    statuses = {r.choices["a"]: r.outcome.status for r in result.records}
    assert statuses == {"linear": "complete", "broken": "error"}
    assert all("backward of broken" in r.outcome.message for r in result.records if r.choices["a"] == "broken")
    with pytest.raises(SearchError, match=r"no candidate could be trained: \d+ of \d+ .*backward of broken"):
        run(tmp_path / "h.db", space=_broken_space("broken"), controller="random", trials=3)


def _broken_space(*names: str) -> SearchSpace:
    def build(shape):
        import torch

        class Broken(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, gradient):
                raise RuntimeError("backward of broken")

        class Module(torch.nn.Module):
            def forward(self, x):
                return Broken.apply(x)

        return Module()

    broken = nas.Operation("broken", 1, build, lambda shape: shape, {})
    space = SearchSpace("faulty", operations=nas.BUILTIN | {"broken": broken})
    space.add_input("x")
    space.add_node("first", "linear", width=Integer(4, 9))
    space.add_node("a", Choice(*names))
    space.add_output("y")
    space.add_edge("x", "first")
    space.add_edge("first", "a")
    space.add_edge("a", "y")
    return space


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"trials": 0}, "trials >= 1"),
        ({"trials": 2.5}, "trials >= 1"),
        ({"seconds": -1}, "seconds > 0"),
        ({"seconds": float("nan")}, "seconds > 0"),
        ({"seed": -1}, "seed >= 0"),
        ({"test": 1.5}, "0 < test < 1"),
        ({"device": "gpu"}, "did you mean 'cuda'"),
        ({"device": "cuda:"}, "must be 'cpu', 'cuda' or 'cuda:1'"),
        ({"device": 1}, "must be 'cpu', 'cuda' or 'cuda:1'"),
        ({"device": "cuda:99"}, "needs a GPU that torch can see"),
        ({"trials": -3}, "trials >= 1"),
        ({"trials": True}, "trials >= 1"),
        ({"seconds": 0}, "seconds > 0"),
        ({"controller": "mata"}, "did you mean 'meta'"),
        ({"space": 3}, "`space` must be a SearchSpace"),
        ({"space": "tabluar"}, "did you mean 'tabular'"),
        ({"fidelity": {"epochs": 2}}, "`fidelity` must be a Fidelity"),
        ({"seconds": "5"}, "`seconds` must be"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(tmp_path, more, sentence):
    with pytest.raises(SearchError) as caught:
        run(tmp_path / "h.db", **more)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nine_rows_are_too_few_to_choose_by(tmp_path):
    few = np.eye(9), np.arange(9) % 2
    with pytest.raises(DataError, match="needs 10 rows to train and to validate on, but 'arrays' has 9; add rows"):
        nas.search(few, trials=1, history=tmp_path / "h.db")
    assert not (tmp_path / "h.db").exists()


def test_suggestions_need_no_training_and_come_from_history(tmp_path):
    nas.search(data(1), space=small_space(), trials=6, fidelity=QUICK, history=tmp_path / "h.db")
    with MetaDataset.open(tmp_path / "h.db") as history:
        before = history.snapshot()
    space = small_space()
    suggested = nas.suggest(data(), k=3, space=space, history=tmp_path / "h.db")
    assert len(suggested) == 3
    assert all(space.contains(s.choices) for s in suggested)
    assert len({s.architecture.key + str(s.settings) for s in suggested}) == 3
    with MetaDataset.open(tmp_path / "h.db") as history:
        assert history.snapshot() == before
    with pytest.raises(SearchError, match="k >= 1"):
        nas.suggest(data(), k=0, history=tmp_path / "h.db")


def test_regression_is_scored_and_compared_in_units_of_the_target(tmp_path):
    X, _ = data()
    y = (1e5 * X[:, 0] + 2e5).astype(np.float32)
    result = nas.search((X, y), space=small_space(), trials=3, fidelity=QUICK, history=tmp_path / "h.db")
    assert result.best.metric == "nrmse"
    assert -3 < result.best.score < 0
    comparison = result.compare()
    assert comparison.metric == "r2"
    assert comparison["linear"].value > 0.99
    assert comparison["linear"].as_good
    assert comparison.advice.startswith("a linear model is")
    assert comparison.advice.endswith("use it")


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from test_loop import run
result = run(__import__("pathlib").Path(sys.argv[1]), trials=8)
print(len(result.records))
"""


def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_twice(tmp_path):
    history = tmp_path / "h.db"
    command = [sys.executable, "-c", SCRIPT, str(history), str(Path(__file__).parent)]
    rng = np.random.default_rng(0)
    survived: list[int] = [0]
    for _ in range(3):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        while process.poll() is None and _count(history) <= survived[-1]:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.3)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        survived.append(_count(history))
    assert survived == sorted(survived)
    assert survived[-1] > 0
    killed = run(history, trials=8)
    whole = run(tmp_path / "whole.db", trials=8)
    assert trace(killed) == trace(whole)
    with MetaDataset.open(history) as opened:
        numbers = [(r.purpose, r.number) for r in opened.records(search=killed.name)]
    assert len(numbers) == len(set(numbers)) == 8 + 3


def _count(history: Path) -> int:
    if not history.exists():
        return 0
    try:
        with MetaDataset.open(history, read_only=True) as opened:
            return len(opened)
    except HistoryError:  # not begun yet
        return 0


def test_a_space_that_cannot_take_the_data_is_refused_before_anything_is_stored(tmp_path):
    space = SearchSpace("pictures")
    space.add_input("pixels")
    space.add_output("y")
    space.add_node("a", "linear", width=8)
    space.add_edge("pixels", "a")
    space.add_edge("a", "y")
    place = tmp_path / "h.db"
    with pytest.raises(SearchError, match=r"'pictures' has no architecture for these data: .*'pixels'.*'x'"):
        nas.search((np.eye(40, 3), np.arange(40) % 2), space=space, trials=2, history=None, storage=place)
    with MetaDataset.open(place) as stored:
        assert not stored.searches()
        assert not stored.datasets()


def test_a_space_whose_output_nothing_reaches_is_refused():
    space = SearchSpace("loose")
    space.add_input("x")
    space.add_output("y")
    space.add_node("a", "linear", width=8)
    space.add_edge("x", "a")
    with pytest.raises(SearchError, match=r"'loose' has no architecture .* no input reaches its output"):
        nas.search(data(), space=space, trials=1, history=None)


def test_the_same_data_grown_by_a_few_rows_starts_from_the_last_winner(tmp_path):
    X, y = data(n=126)
    options = {"space": small_space(), "fidelity": QUICK, "history": tmp_path / "h.db"}
    for seed in (1, 2):  # something else to listen to
        nas.search(data(seed), trials=6, seed=seed, **options)
    before = nas.search((X[:120], y[:120]), trials=6, **options)
    winner = before.best  # on fresh splits, which need not be the best of the screening
    after = nas.search((X, y), trials=3, **options)
    assert len(after.records) == 3
    assert after.records[0].choices == winner.choices
    assert "many of these rows" in str(after.explain())


def test_a_controller_that_is_none_leaves_nothing_behind(tmp_path):
    with pytest.raises(SearchError, match="choose one of them"):
        run(tmp_path / "h.db", controller="bayes")
    with MetaDataset.open(tmp_path / "h.db") as stored:
        assert not stored.searches()
