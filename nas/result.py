"""What a search leaves in the user's hands: the best record, the trained network, its export, an account of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from nas.comparison import Comparison, compare
from nas.dataset import Dataset
from nas.errors import SearchError
from nas.metrics import sign_of
from nas.protocol import refit_epochs
from nas.record import Record
from nas.space import SearchSpace

if TYPE_CHECKING:
    import optuna

    from nas.controllers import Explanation
    from nas.export import ExportReport
    from nas.goals import Footprint
    from nas.metrics import Metric
    from nas.model import Predictor
    from nas.training import Trained


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of a search.

    Attributes:
        best: The record of the best candidate: architecture, settings, score with its error, cost.
        records: Every trial, in order.
        confirmed: The finalists' records on fresh splits, in the order of their screening scores.
        dataset: The rows that were searched on; ``test`` those set aside, or None; ``whole`` the data as it was given.
        space: The space that was searched.
        name: Of the search in its history; ``storage`` is where that lies.
        seed: Of the search.
        device: What the candidates were trained on.
        metric: What was maximised, and is compared by where it is a scorer; None for the default of the task.
        explanation: Whom the controller listened to in the end.
        front: With several objectives, the candidates that no other one beats in all of them, best score first, and
            what each costs where it is deployed; empty otherwise.
        objectives: What was wanted: the score, and what should be small besides.
        costs: What should be small, in that order, of each architecture that has a score, by its key.
        notes: Sentences about what was decided on the way.
    """

    best: Record
    records: tuple[Record, ...]
    confirmed: tuple[Record, ...]
    dataset: Dataset
    whole: Dataset
    test: Dataset | None
    space: SearchSpace
    name: str
    storage: str
    seed: int
    device: str
    explanation: Explanation
    front: tuple[tuple[Record, Footprint], ...] = ()
    objectives: tuple[str, ...] = ("score",)
    costs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metric: Metric | None = None

    def __str__(self) -> str:
        best, score = self.best, self.confirmation.score or 0.0
        failed = sum(record.score is None for record in self.records)
        return (
            f"{self.name}: {len(self.records)} trials{f', {failed} failed,' if failed else ''} "
            f"on {self.dataset.describe()}; best is "
            f"{best.architecture.summary()}, {best.metric} {sign_of(best.metric) * score:.4f}"
        )

    __repr__ = __str__

    def choose(self, record: Record) -> Result:
        """The same result for another of its candidates, one of ``front`` for example; nothing is trained yet.

        Raises:
            SearchError: ``record`` is none of this search's.
        """
        if not any(record.key == known.key for known in (*self.records, *(kept for kept, _ in self.front))):
            raise SearchError(f"a candidate of this search can be chosen, but {record.key[:12]!r} is none.")
        return replace(self, best=record)

    @property
    def confirmation(self) -> Record:
        """The best candidate's record on fresh splits, whose score is free of the screening's optimism."""
        same = [
            c for c in self.confirmed if c.architecture == self.best.architecture and c.settings == self.best.settings
        ]
        return same[0] if same and same[0].score is not None else self.best

    def model(self) -> Predictor:
        """The network found, trained on all rows for the median of its best epochs.

        An ``nn.Module`` that takes the raw inputs (numbers with NaN, category codes, uint8 images or series) and
        returns probabilities, shape (rows, classes), or values, shape (rows,).
        """
        return self._refitted.predictor

    def export(self, path: str | PathLike[str]) -> ExportReport:
        """Writes the network to ``path`` (.onnx, .pt2, .py; its architecture: .json, .svg) and checks the file.

        Raises:
            ExportError: The suffix is another, the file cannot be written, or it does not agree with the network.
        """
        from nas.export import ARCHITECTURE_FORMATS, check_suffix, export, export_architecture

        if check_suffix(path) in ARCHITECTURE_FORMATS:  # nothing needs to be trained
            return export_architecture(self.best.architecture, path)
        scores = {"metric": self.best.metric, "score": self.confirmation.score}
        known, settings = self.space.operations, self.best.settings
        return export(self.model(), self.whole, path, settings=settings, scores=scores, operations=known)

    def explain(self) -> Explanation:
        """Which past datasets spoke and with what weight, which were ignored and why; print it."""
        return self.explanation

    def compare(self) -> Comparison:
        """The network found against no search, boosted trees and a linear model, on splits that decided nothing."""
        return self._comparison

    def test_metrics(self) -> dict[str, float]:
        """All standard metrics on the test rows, from a network trained without them; empty without a test part."""
        from nas.metrics import metrics

        if self.test is None:
            return {}
        trained = self._fit(self.dataset)
        scale = self.dataset.moments()[1]
        return metrics(self.test.task, trained.predict(self.test), self.test.y, scale, self.test.weights)

    @property
    def study(self) -> optuna.Study:
        """The trials as an Optuna study in memory, for its plots and tools, with all objectives."""
        from nas.study import study_of

        return study_of(
            (*self.records, *self.confirmed),
            self.space.decisions(),
            name=self.name,
            objectives=self.objectives,
            costs=self.costs,
        )

    def report(self, path: str | PathLike[str]) -> Path:
        """Writes one HTML file that tells this search, and returns its path; nothing is trained for it.

        Raises:
            HistoryError: The file cannot be written.
        """
        from nas.report import of_result, write

        return write(of_result(self), path)

    @cached_property
    def _refitted(self) -> Trained:
        return self._fit(self.whole)

    @cached_property
    def _comparison(self) -> Comparison:
        return compare(self, self.metric)

    def _fit(self, data: Dataset) -> Trained:
        import numpy as np

        from nas.training import Candidate, fit

        epochs, stop = refit_epochs(self.best, len(data))
        return fit(
            Candidate(self.best.architecture, self.best.settings),
            data,
            np.arange(len(data)),
            epochs=epochs,
            seed=self.seed,
            stop_epoch=stop,
            device=self.device,
            operations=self.space.operations,
        )
