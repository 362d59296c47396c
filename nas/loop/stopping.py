"""What stops a candidate before its end: Hyperband, the learning curves of past searches, or any pruner of Optuna.

Here belongs what a search tells a pruner: the curves it may learn from, then those of this search as they end. The
rules are ``nas.training.pruner``'s, Optuna's and, which candidates Hyperband trains together, ``nas.protocol``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.loop.arguments import HISTORY, HYPERBAND, FidelitySpec, is_nameless, spec_name
from nas.protocol import hyperband, one_by_one
from nas.record import Fidelity, PastDataset, Record

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

    from nas.training import HistoryPruner, Pruner
    from nas.training.pruner import Curve


class Stopping:
    """Which candidates of a search are trained together, and what stops one that is trained alone.

    Attributes:
        rounds: Brackets of Hyperband, or one candidate after the other.
        schedule: A name for it all, empty where every candidate is trained to the end.
        nameless: Whether two different rules of this kind bear one name.
    """

    def __init__(self, spec: FidelitySpec, epochs: int) -> None:
        self._spec = None if isinstance(spec, Fidelity) else spec
        self._epochs = epochs
        self.rounds = (hyperband if self._spec == HYPERBAND else one_by_one)(epochs)
        together = self.rounds.brackets[0].size > 1
        self.schedule = (
            "" if self._spec is None or (self._spec == HYPERBAND and not together) else spec_name(self._spec)
        )
        self.nameless = is_nameless(self._spec or "")
        self._pruner: HistoryPruner | OptunaPruner | None = None

    def learn(self, past: Sequence[PastDataset]) -> str:
        """Makes the rule, from the past where it is made of that; returns what the user should know, if anything."""
        if isinstance(self._spec, str) or self._spec is None:
            if self._spec != HISTORY:
                return ""
            from nas.training import HistoryPruner

            learned = HistoryPruner(complete_curves(past))
            if not learned.knows:
                return "history holds too few learning curves to stop candidates by: each is trained to the end"
            self._pruner = learned
        else:
            self._pruner = OptunaPruner(self._spec)
        return ""

    def pruner(self, number: int, together: int) -> Pruner | None:
        """Returns what looks at the ``together`` candidates that begin with trial ``number``."""
        return self.rounds.at(number)[0].pruner(together) if together > 1 else self._pruner

    def tell(self, records: Sequence[Record]) -> None:
        """Tells the pruner of trainings on these rows that ended, whether they were stopped or not."""
        for record in records:
            if self._pruner is not None and record.score is not None and record.outcome.curve:
                self._pruner.tell(record.outcome.curve, self._epochs)


def complete_curves(past: Sequence[PastDataset]) -> list[list[Curve]]:
    """Returns the curves of what was trained to the end, those together that can be compared with each other."""
    found: dict[object, list[Curve]] = {}
    for each in past:
        screened = [record for record in each.records if record.purpose == "screen" and record.score is not None]
        longest: dict[str, int] = {}
        for record in screened:
            longest[record.search] = max(record.fidelity.epochs, longest.get(record.search, 0))
        for record in screened:
            epochs = record.fidelity.epochs
            if epochs == longest[record.search] == len(record.outcome.curve):
                same = (each.info.fingerprint, record.metric, record.fidelity)
                found.setdefault(same, []).append(record.outcome.curve)
    return list(found.values())


class OptunaPruner:
    """A pruner of Optuna that is asked after every epoch of a candidate.

    It sees a study in memory, made anew for each candidate, of those that ended before it: so it is told the same in
    this process and in any other, interrupted or not. Its trials have no parameters.

    Args:
        pruner: Keeps nothing between calls but what it notes in the study, as all of Optuna's do.
    """

    def __init__(self, pruner: BasePruner) -> None:
        self._pruner = pruner
        self._ended: list[FrozenTrial] = []
        self._watched: _Watched | None = None

    def rungs(self, epochs: int) -> Sequence[int]:
        """Returns the epochs after which candidates are looked at: each but the last."""
        return range(1, epochs)

    def stops(self, epoch: int, epochs: int, curves: Sequence[Curve]) -> set[int]:
        """Returns the candidates that the pruner stops, by their places."""
        return {i for i, curve in enumerate(curves) if self._stops(tuple(curve))}

    def tell(self, curve: Curve, epochs: int) -> None:
        """Takes the curve of a candidate that ended; one shorter than ``epochs`` was stopped."""
        watched, self._watched = _Watched(self._pruner, self._ended), None
        watched.follow(curve)
        self._ended.append(watched.end(whole=len(curve) == epochs))

    def _stops(self, curve: Curve) -> bool:
        if self._watched is None or self._watched.curve != curve[: len(self._watched.curve)]:
            self._watched = _Watched(self._pruner, self._ended)
        return self._watched.follow(curve)


class _Watched:
    """A trial under way beside those that ended. It is asked about after every epoch: some pruners take notes then."""

    def __init__(self, pruner: BasePruner, ended: Sequence[FrozenTrial]) -> None:
        import optuna

        from nas.study import quiet

        with quiet():
            sampler = optuna.samplers.RandomSampler(seed=0)
            self._study = optuna.create_study(study_name="", sampler=sampler, pruner=pruner, direction="maximize")
            self._study.add_trials(ended)
            self._trial = self._study.ask()
        self.curve: Curve = ()

    def follow(self, curve: Curve) -> bool:
        """Reports what is new of its curve; returns whether it stops after the last of it."""
        stop = False
        for epoch in range(len(self.curve), len(curve)):
            self._trial.report(curve[epoch], epoch + 1)
            stop = self._trial.should_prune()
        self.curve = tuple(curve)
        return stop

    def end(self, whole: bool) -> FrozenTrial:
        """Returns it as what ended, with the pruner's notes."""
        from optuna.trial import TrialState

        if whole:
            self._study.tell(self._trial, max(self.curve))
        else:
            self._study.tell(self._trial, state=TrialState.PRUNED)
        return self._study.get_trials()[-1]
