"""The finalists of a search: trained again on fresh splits, in the time there is.

Here belongs what comes of each; who they are, and which of them is named, is the search's business (``running``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from nas.evaluation import Evaluator, Group
from nas.executors import Executor
from nas.loop.place import outcomes
from nas.metadataset import MetaDataset
from nas.protocol import FINALISTS
from nas.record import Record


class Finalists:
    """Trains finalists again on fresh splits, but for those on record.

    Args:
        evaluator: Of the search.
        executor: Where they are trained.
        storage: Where their records are committed, each as it ends.
        own: Records of the search so far.
    """

    def __init__(self, evaluator: Evaluator, executor: Executor, storage: MetaDataset, own: Sequence[Record]) -> None:
        self._evaluator, self._executor, self._storage = evaluator, executor, storage
        self._known = {record.key: record for record in own if record.purpose == "confirm"}

    def seconds(self, records: Sequence[Record], at_once: int) -> float:
        """Returns what training the best of these again will take about, so many of them at the same time."""
        best = sorted((record for record in records if record.score is not None), key=by_score)[:FINALISTS]
        missing = [record for record in best if self._evaluator.confirmation_key(record) not in self._known]
        return sum(map(self._evaluator.seconds_to_confirm, missing)) / min(at_once, FINALISTS)

    def train(self, finalists: Sequence[Record], until: float) -> None:
        """Trains those again that are not on record.

        Args:
            finalists: Screened records, the best first.
            until: ``time.monotonic()`` at which those under way are given up.
        """
        missing = {key: record for key, record in self._keyed(finalists) if key not in self._known}
        screened: dict[int, Record] = {}

        def groups() -> Iterator[Group]:
            for record in missing.values():
                if time.monotonic() >= until:
                    return
                group = self._evaluator.finalist(record, until=None if until == math.inf else until)
                screened[id(group)] = record
                yield group

        number = 1 + max((record.number for record in self._known.values()), default=-1)
        for group, result in self._executor.run(groups()):
            (outcome,) = outcomes(result, self._evaluator.device)
            if outcome.status == "timeout" and time.monotonic() >= until:
                continue
            record = self._evaluator.confirmed(screened[id(group)], number, outcome)
            self._storage.append([record])
            self._known[record.key] = record
            number += 1

    def confirmed(self, finalists: Sequence[Record]) -> list[tuple[Record, Record]]:
        """Returns (screened, confirmed) records in the order given, without those that were not trained again."""
        return [(record, self._known[key]) for key, record in self._keyed(finalists) if key in self._known]

    def _keyed(self, finalists: Sequence[Record]) -> list[tuple[str, Record]]:
        return [(self._evaluator.confirmation_key(record), record) for record in finalists]


def by_score(record: Record) -> tuple[float, int]:
    """What records that have a score are sorted by: the best first, then the earliest."""
    assert record.score is not None
    return (-record.score, record.number)
