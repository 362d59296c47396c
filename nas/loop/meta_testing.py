"""``meta_test``: is a search of this dataset better with history than without? One line a dataset.

Datasets on record are played again (``nas.loop.replay``), each with its family left out of history. Others are searched
for real, twice with the same splits, and nothing of it is remembered; what history has of their own rows is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nas.dataset import Dataset, load
from nas.errors import SearchError
from nas.evaluation import describe
from nas.loop.arguments import whole
from nas.loop.meta_training import MetaTraining
from nas.loop.replay import Tested, regrets
from nas.loop.running import Search
from nas.metadataset.histories import YOURS, Histories, Source
from nas.sketch import KIN, kinship

if TYPE_CHECKING:
    from pathlib import Path

    from nas.controllers import Controller, Problem
    from nas.record import DatasetInfo, PastDataset, Record
    from nas.space import SearchSpace

TRIALS = 10  # of each of the two searches


def meta_test(
    *datasets: object,
    target: str | None = None,
    task: str | None = None,
    space: SearchSpace | str | None = None,
    trials: int = TRIALS,
    history: Source = YOURS,
    seed: int = 0,
) -> Iterator[Tested]:
    """Yields what history is worth on each dataset, as it becomes known.

    Args:
        datasets: Names of datasets on record, or data as ``nas.search`` takes it; without any, all on record.
        target: The column to predict, for data that has one.
        task: ``classification`` or ``regression``; found from the target unless given.
        space: For datasets on record, as ``meta_train`` takes it; a ``SearchSpace`` also for other data.
        trials: Of each of the two searches of data that is not on record.
        history: What to learn from, as ``nas.search`` takes it.
        seed: Of real searches.

    Raises:
        DataError: If data cannot be learned from.
        HistoryError: If no dataset on record can be played again.
    """
    trials, seed = whole("trials", trials, 2), whole("seed", seed, 0)
    with Histories(history, None, read_only=history != YOURS) as histories:
        past, priors = histories.past(), histories.priors
        known = {each.info.name for each in past}
        named = [each for each in datasets if isinstance(each, str) and each in known]
        given = [load(d, target=target, task=task) for d in datasets if not (isinstance(d, str) and d in known)]
        if named or not datasets:
            with MetaTraining(space, history) as training:
                for places in training.families(named):
                    yield from training.tested(places)
        for data in given:
            yield _searched(data, past, priors, None if isinstance(space, str) else space, trials, seed)


def _searched(
    data: Dataset,
    past: Sequence[PastDataset],
    priors: Path | None,
    space: SearchSpace | None,
    trials: int,
    seed: int,
) -> Tested:
    """What two real searches of a dataset find, with what is known of other data and without."""
    info = describe(data)
    others = tuple(each for each in past if not _same(each.info, info))

    def warm(problem: Problem) -> Controller:
        from nas.controllers.meta import MetaController

        return MetaController(replace(problem, past=others, priors=priors))

    runs: dict[str, list[Record]] = {}
    described = False
    for name, controller in (("warm", warm), ("cold", "meta")):
        running = Search(
            data, space=space, controller=controller, history=None, storage=":memory:", trials=trials, seed=seed
        )
        with running:
            described = described or _is_described(running)
            runs[name] = list(running.run())
    scores = [record.score for run in runs.values() for record in run if record.score is not None]
    errors = [r.outcome.standard_error or 0.0 for run in runs.values() for r in run if r.score is not None]
    if not scores:
        raise SearchError(f"no candidate could be trained on {data.name!r}; `nas search` says why.")
    everything = np.array(scores)
    scale = max(everything.max() - np.median(everything), 1e-12)
    curves = {
        name: regrets(np.array([everything.min() if r.score is None else r.score for r in run]), everything)
        for name, run in runs.items()
    }
    return Tested(
        name=data.name,
        family=info.family or data.name,
        candidates=len({record.key for run in runs.values() for record in run}),
        warm=tuple(curves["warm"].tolist()),
        average=(),
        cold=tuple(curves["cold"].tolist()),
        error=float(np.mean(errors) / scale),
        described=described,
    )


def _is_described(running: Search) -> bool:
    from nas.controllers.meta import MetaController

    controller = running.controller
    return isinstance(controller, MetaController) and controller.described


def _same(known: DatasetInfo, info: DatasetInfo) -> bool:
    """Whether a past dataset is this one, its kin, or of its family."""
    of_family = bool(info.family) and known.family == info.family
    return known.fingerprint == info.fingerprint or of_family or kinship(info, known) >= KIN
