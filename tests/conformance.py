"""What every implementation of a protocol must pass, also a stranger's: subclass, provide ``make``, run pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from nas.controllers import Controller, Problem
from nas.record import DatasetInfo, Fidelity, Outcome, PastDataset, Record
from nas.space import Choice, Choices, Float, Integer, Op, SearchSpace


def record(
    space: SearchSpace,
    choices: Choices,
    score: float | None,
    number: int = 0,
    dataset: str = "new",
    error: float = 0.01,
) -> Record:
    """Returns a record of ``choices``; without a score it says that the training diverged."""
    outcome = Outcome("diverged") if score is None else Outcome("complete", score=score, standard_error=error)
    return Record(
        search=f"search on {dataset}",
        number=number,
        dataset=dataset,
        space=space.name,
        space_fingerprint=space.fingerprint,
        choices=choices,
        architecture=space.architecture(choices),
        settings=space.settings(choices),
        fidelity=Fidelity(10, 100, 2),
        seed=0,
        metric="brier",
        outcome=outcome,
        key=f"{dataset}/{number}",
        engine="1",
        created="2026-01-01T00:00:00+00:00",
    )


def past_dataset(
    space: SearchSpace,
    name: str,
    tried: Sequence[tuple[Choices, float | None]],
    metafeatures: Mapping[str, float] | None = None,
    fingerprint: str = "",
) -> PastDataset:
    """Returns a past dataset on which ``tried`` was trained."""
    fingerprint = fingerprint or f"fingerprint of {name}"
    info = DatasetInfo(fingerprint, name, "tabular", "classification", 100, 5, 2, metafeatures=metafeatures or {})
    return PastDataset(info, tuple(record(space, c, s, i, fingerprint) for i, (c, s) in enumerate(tried)))


def small_space(name: str = "small") -> SearchSpace:
    """Returns a space with conditional, ordered and unordered decisions and settings."""
    space = SearchSpace(name)
    space.add_input("x")
    space.add_output("y")
    gated = Op("gated_linear", dropout=Float(0.0, 0.5))
    space.add_node("a", Choice("linear", gated, "identity"), width=Integer(16, 256, log=True))
    space.add_node("b", Choice("relu", "mish", "tanh"))
    space.add_edge("x", "a")
    space.add_edge("a", "b")
    space.add_edge("x", "b", optional=True)
    space.add_edge("b", "y")
    space.add_setting("learning_rate", Float(1e-3, 1e-1, log=True))
    return space


def grown(
    name: str = "small", activations: tuple[str, ...] = ("relu", "mish", "tanh"), top: float = 1e-1
) -> SearchSpace:
    """Returns a form of ``small_space`` with other operations or a wider range; with the wider one a setting more."""
    space = SearchSpace(name)
    space.add_input("x")
    space.add_output("y")
    space.add_node("b", Choice(*activations))
    space.add_edge("x", "b")
    space.add_edge("b", "y")
    space.add_setting("learning_rate", Float(1e-3, top, log=True))
    if top > 0.1:
        space.add_setting("dropout", Choice(0.0, 0.1, 0.2))
    return space


def tiny_space(name: str = "tiny") -> SearchSpace:
    """Returns a space of six choices."""
    space = SearchSpace(name)
    space.add_input("x")
    space.add_output("y")
    space.add_node("a", Choice("relu", "mish", "tanh"))
    space.add_edge("x", "a")
    space.add_edge("a", "y")
    space.add_setting("dropout", Choice(0.0, 0.1))
    return space


def key(choices: Choices) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(choices.items()))


def toy_score(choices: Choices) -> float:
    """A score with structure: mish is good, a middling learning rate is better."""
    rate = float(choices.get("settings.learning_rate", 0.01) or 0.01)
    return {"mish": 0.5, "relu": 0.2}.get(str(choices.get("b", choices.get("a"))), 0.0) - abs(np.log10(rate) + 2) / 4


def toy_history(space: SearchSpace, datasets: int = 3, records: int = 12) -> tuple[PastDataset, ...]:
    """Returns past datasets scored by ``toy_score`` on different scales; some trainings diverged."""
    rng = np.random.default_rng(7)
    past = []
    for number in range(datasets):
        tried = [space.sample(rng) for _ in range(records)]
        scores = [10.0**number * toy_score(c) if i != 3 else None for i, c in enumerate(tried)]
        past.append(
            past_dataset(space, f"old {number}", list(zip(tried, scores, strict=True)), {"rows": float(number)})
        )
    return tuple(past)


class ControllerConformance:
    """Every controller passes these: subclass, define ``make``.

    Attributes:
        resumable: False for one that keeps a state besides what it was told, such as an Optuna sampler instance. It is
            then also excused from being a function of the seed.
    """

    resumable = True

    def make(self, problem: Problem) -> Controller:
        raise NotImplementedError("return a controller for the problem")

    @pytest.fixture(params=["no history", "history"])
    def problem(self, request: pytest.FixtureRequest) -> Problem:
        space = small_space()
        past = toy_history(space) if request.param == "history" else ()
        return Problem(space, seed=3, past=past, metafeatures={"rows": 1.0}, dataset="new")

    def run(self, controller: Controller, problem: Problem, trials: int, failing: bool = False) -> list[Record]:
        """Trains one after another and returns the records."""
        records: list[Record] = []
        for number in range(trials):
            (choices,) = controller.ask()
            score = None if failing and number % 3 == 1 else toy_score(choices)
            records.append(record(problem.space, choices, score, number))
            controller.tell(records[-1:])
        return records

    def test_it_is_a_controller(self, problem: Problem) -> None:
        assert isinstance(self.make(problem), Controller)

    def test_what_it_asks_belongs_to_the_space(self, problem: Problem) -> None:
        controller = self.make(problem)
        for rec in self.run(controller, problem, 8):
            assert problem.space.contains(rec.choices)
        assert all(problem.space.contains(choices) for choices in controller.ask(4))

    def test_asking_changes_nothing(self, problem: Problem) -> None:
        one, other = self.make(problem), self.make(problem)
        for trials in (0, 1, 6):
            told = self.run(one, problem, trials)
            other.tell(told)
            first = one.ask(3)
            assert one.ask(3) == first
            assert one.ask(1) == one.ask(1)
            if self.resumable:
                assert other.ask(3) == first, "the other controller was not asked before"

    def test_what_it_returns_is_the_callers(self, problem: Problem) -> None:
        controller = self.make(problem)
        (first,) = controller.ask()
        kept = dict(first)
        first.clear()
        assert controller.ask() == [kept]

    def test_the_seed_decides(self, problem: Problem) -> None:
        if not self.resumable:
            pytest.skip("keeps a state of its own")
        runs = [[r.choices for r in self.run(self.make(problem), problem, 8)] for _ in range(2)]
        assert runs[0] == runs[1]

    def test_replaying_what_was_told_resumes(self, problem: Problem) -> None:
        controller = self.make(problem)
        told = self.run(controller, problem, 8, failing=True)
        wanted = controller.ask(2)
        at_once, one_by_one = self.make(problem), self.make(problem)
        at_once.tell(told)
        for rec in told:
            one_by_one.tell([rec])
        got = at_once.ask(2), one_by_one.ask(2)
        if self.resumable:
            assert got == (wanted, wanted)
        assert all(problem.space.contains(choices) for choices in got[0] + got[1])

    def test_telling_nothing_changes_nothing(self, problem: Problem) -> None:
        controller = self.make(problem)
        first = controller.ask(2)
        controller.tell([])
        assert controller.ask(2) == first

    def test_what_is_told_again_was_said(self, problem: Problem) -> None:
        """A search that goes on may meet evaluations it had: by their key they are the same, and count once."""
        once, again = self.make(problem), self.make(problem)
        told = self.run(once, problem, 7, failing=True)
        again.tell(told[:5])
        again.tell(told[2:5])
        again.tell([told[0], *told[5:], told[6]])
        if self.resumable:
            assert again.ask(3) == once.ask(3)
        assert not {key(c) for c in again.ask(3)} & {key(rec.choices) for rec in told}

    def test_no_repeats(self, problem: Problem) -> None:
        controller = self.make(problem)
        told = {key(rec.choices) for rec in self.run(controller, problem, 10)}
        asked = {key(choices) for choices in controller.ask(6)}
        assert len(told) == 10
        assert len(asked) == 6
        assert not told & asked

    @pytest.mark.parametrize("history", [False, True])
    @pytest.mark.parametrize("batch", [1, 4])
    def test_a_tiny_space_is_exhausted_before_anything_repeats(self, history: bool, batch: int) -> None:
        space = tiny_space()
        controller = self.make(Problem(space, past=toy_history(space) if history else ()))
        seen: list[tuple[tuple[str, object], ...]] = []
        while len(seen) < 6:
            asked = controller.ask(min(batch, 6 - len(seen)))
            controller.tell([record(space, c, toy_score(c), len(seen) + i) for i, c in enumerate(asked)])
            seen += [key(choices) for choices in asked]
        assert len(set(seen)) == 6
        assert len(controller.ask(2)) == 2, "when nothing is left it repeats, and does not hang"
        assert len(self.make(Problem(space)).ask(9)) == 9

    def test_failures_are_survived_and_not_asked_again(self, problem: Problem) -> None:
        controller = self.make(problem)
        told = self.run(controller, problem, 9, failing=True)
        assert len({key(rec.choices) for rec in told}) == 9

    def test_nothing_but_failures(self, problem: Problem) -> None:
        controller = self.make(problem)
        for number in range(5):
            (choices,) = controller.ask()
            controller.tell([record(problem.space, choices, None, number)])
        assert problem.space.contains(controller.ask()[0])

    def test_records_it_did_not_ask_for_count(self, problem: Problem) -> None:
        controller = self.make(problem)
        strangers = [problem.space.sample(np.random.default_rng(seed)) for seed in range(5)]
        controller.tell([record(problem.space, c, toy_score(c), i) for i, c in enumerate(strangers)])
        assert key(controller.ask()[0]) not in {key(choices) for choices in strangers}

    def test_equal_scores_are_survived(self, problem: Problem) -> None:
        controller = self.make(problem)
        for number in range(6):
            (choices,) = controller.ask()
            controller.tell([record(problem.space, choices, 0.5, number, error=0.0)])
        assert problem.space.contains(controller.ask()[0])

    def test_its_account_adds_up(self, problem: Problem) -> None:
        controller = self.make(problem)
        for _ in range(2):
            account = controller.explain()
            total = account.own + sum(account.weights.values())
            assert total == pytest.approx(1.0) or total == 0.0
            assert all(0.0 <= weight <= 1.0 for weight in account.weights.values())
            assert not set(account.weights) & set(account.ignored)
            if not problem.past:
                assert not account.weights
            self.run(controller, problem, 4)
