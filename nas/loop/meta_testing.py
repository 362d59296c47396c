"""``meta_test``: is a search of this dataset better with history than without? One line a dataset.

Datasets on record are played again (``nas.loop.replay``), each with its family left out of history. Others are searched
for real, twice with the same splits, and nothing of it is remembered; what history has of their own rows is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.dataset import Dataset, load
from nas.errors import DataError, HistoryError, SearchError, nearest
from nas.evaluation import describe
from nas.loop.arguments import check_types, whole
from nas.loop.meta_training import MetaTraining
from nas.loop.replay import FEWEST, Tested, doubt, held_out, regrets, scores_of
from nas.loop.running import Search
from nas.metadataset.histories import YOURS, Histories, Source
from nas.sketch import KIN, kinship

if TYPE_CHECKING:
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
    """Returns an iterator over what history is worth on each dataset, as it becomes known.

    What was passed is checked, and data read, at once; what is on record is played while the iterator is.

    Args:
        datasets: Names of datasets on record, or data as ``nas.search`` takes it, also where too little was tried on
            record to be played again; without any, all on record.
        target: The column to predict, for data that has one.
        task: ``classification`` or ``regression``; found from the target unless given.
        space: For datasets on record, as ``meta_train`` takes it; a ``SearchSpace`` also for other data.
        trials: Of each of the two searches of data that is not on record.
        history: What to learn from, as ``nas.search`` takes it.
        seed: Of real searches.

    Raises:
        DataError: If data cannot be learned from, or nothing bears such a name.
        HistoryError: If no dataset on record can be played again; while iterating.
        SearchError: If a number is out of range, or there is no such space.
    """
    trials, seed = whole("trials", trials, 2), whole("seed", seed, 0)
    if isinstance(space, str):
        from search_spaces.forms import forms

        forms(space)
    else:
        check_types(space, None)
    with Histories(history, None, read_only=history != YOURS) as histories:
        known = {each.info.name for each in histories.past()}
    played = _played([each for each in datasets if isinstance(each, str) and each in known], space, history)
    named = [each for each in datasets if isinstance(each, str) and each in played]
    given = [_loaded(each, known, target, task) for each in datasets if not (isinstance(each, str) and each in played)]
    return _tested(named, given, space, trials, history, seed)


def _played(names: Sequence[str], space: SearchSpace | str | None, history: Source) -> set[str]:
    """Those of the datasets on record of which enough was tried to be played again."""
    if not names:
        return set()
    try:
        training = MetaTraining(space, history)
    except HistoryError:  # nothing was tried in a space that is known by name
        return set()
    with training:
        families = held_out(training.past, training.space, names)
        return {training.past[place].info.name for places in families for place in places}


def _loaded(data: object, known: Collection[str], target: str | None, task: str | None) -> Dataset:
    """The data; a name that nothing bears is perhaps one on record, mistyped."""
    try:
        return load(data, target=target, task=task)
    except DataError as error:
        if isinstance(data, str) and data in known:
            raise DataError(
                f"{data!r} cannot be played again, which takes {FEWEST} candidates on record of the space that is "
                f"tested, some better than the median; and as data: {error}"
            ) from error
        near = nearest(data, known) if isinstance(data, str) and not Path(data).expanduser().exists() else ""
        if not near:
            raise
        raise DataError(f"no dataset on record is named {data!r};{near} Nor is it data: {error}") from error


def _tested(
    named: Sequence[str],
    given: Sequence[Dataset],
    space: SearchSpace | str | None,
    trials: int,
    history: Source,
    seed: int,
) -> Iterator[Tested]:
    with Histories(history, None, read_only=history != YOURS) as histories:
        past, priors = histories.past(), histories.priors
        if named or not given:
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
        if running.interrupted:  # half a search is none to compare
            raise KeyboardInterrupt
    records = [*runs["warm"], *runs["cold"]]
    if all(record.score is None for record in records):
        raise SearchError(f"no candidate could be trained on {data.name!r}; `nas search` says why.")
    everything = np.array([record.score for record in records if record.score is not None])
    curves = {name: regrets(scores_of(run, everything.min()), everything) for name, run in runs.items()}
    place = {record.key: row for row, record in reversed(list(enumerate(records)))}
    found = {name: [place[record.key] for record in run] for name, run in runs.items()}
    return Tested(
        name=data.name,
        family=info.family or data.name,
        candidates=len({record.key for run in runs.values() for record in run}),
        warm=tuple(curves["warm"].tolist()),
        average=(),
        cold=tuple(curves["cold"].tolist()),
        error=doubt(records, [found["warm"]], [found["cold"]]),
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
