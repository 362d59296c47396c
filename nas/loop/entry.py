"""``search`` and ``suggest``, the calls a user makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

from nas.dataset import Dataset, load
from nas.evaluation import describe
from nas.loop.arguments import FidelitySpec, MetricSpec, default_space, set_aside, whole
from nas.loop.limit import Limit
from nas.loop.proposals import controller_of
from nas.loop.running import Search
from nas.metadataset.histories import YOURS, Histories, Source
from nas.result import Result

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.controllers import ControllerSpec, Explanation
    from nas.space import Choices, SearchSpace, Value

MOST_SUGGESTIONS = 1_000


@dataclass(frozen=True)
class Suggestion:
    """What would be tried: the choice, the architecture it describes and the training settings."""

    choices: Choices
    architecture: Architecture
    settings: Mapping[str, Value]


def search(
    data: object,
    *,
    target: str | None = None,
    task: str | None = None,
    kind: str | None = None,
    groups: object = None,
    weights: object = None,
    time: object = None,
    validation: object = None,
    test: object = None,
    space: SearchSpace | None = None,
    trials: int = 30,
    seconds: float | None = None,
    controller: ControllerSpec = "meta",
    history: Source = YOURS,
    storage: Source = None,
    name: str | None = None,
    seed: int = 0,
    fidelity: FidelitySpec = None,
    workers: int = 1,
    candidate_seconds: float | None = None,
    metric: MetricSpec = None,
    objectives: Sequence[str] = ("score",),
    max_size: str | float | None = None,
    max_latency: str | float | None = None,
    device: str | None = None,
) -> Result:
    """Searches for a network for ``data`` and returns what was found.

    The same call again returns the finished result; a larger ``trials`` continues it; an interrupted one goes on.
    Ctrl-C ends the trials early and returns the best so far.

    Args:
        data: ``(X, y)`` arrays or lists (tables, images, series), a DataFrame, a ``Dataset``, a path (.csv, .parquet,
            .npz, a folder of images), or the name of a dataset bundled with scikit-learn.
        target: The column to predict, for tables.
        task: ``classification`` or ``regression``; found from the target unless given.
        kind: ``tabular``, ``image`` or ``series``; found from the shape unless given.
        groups: A column, or shape (rows,): rows of one group never stand on both sides of a split.
        weights: A column, or shape (rows,): how much a row counts in losses, scores and errors.
        time: A column, or shape (rows,): validation rows are later than training rows, test rows the last.
        validation: Rows to validate every candidate on, in a form of ``data``; finalists too, whose scores then tell of
            four trainings and not of other rows.
        test: Rows set aside, as a fraction or in a form of ``data``; their score is reported once, from a network that
            never saw them.
        space: The search space; chosen for the data unless given.
        trials: Trainings of new candidates in total, >= 1. What is known already does not count. Hyperband completes
            the group of the last one, so that a search that is continued is as one that was longer from the start.
        seconds: Time for this call, less what trainings of earlier ones took: from reading the data to the result, give
            or take a few seconds; imports, a metric or a controller of your own that is slow, and a history that is
            locked come on top. Trials end in time for the best so far to be trained again on fresh splits, as many
            of them as there is time for, which ``notes`` tell of. Whatever is under way at its end is given up and not
            recorded, so that the same call with more seconds trains it (with several workers perhaps others in its
            place). One that hangs is ended too, five seconds later; in this process only on POSIX systems, in the main
            thread, where nobody else waits for SIGALRM, and unless compiled code never returns: with ``workers=2`` or
            ``candidate_seconds`` always. What is recorded does not depend on the limit, how much of it does: the result
            then depends on the machine's speed.
        controller: ``meta``, ``reinforce``, ``maml``, ``evolution``, ``random``, ``tpe``, a sampler of Optuna, or a
            function of a ``Problem``.
        history: What may be learned from: a path or a database URL (with the shipped knowledge), a ``MetaDataset``
            (alone), ``None`` for a cold search.
        storage: Where this search is recorded; by default in ``history``, or in the user's own where that is no place.
        name: Of the search; by default derived from data, space and protocol.
        seed: Decides splits, initial weights and the controller's draws.
        fidelity: Epochs, rows and splits of an evaluation; chosen for the size of the data unless given. With
            ``"hyperband"`` candidates are trained in groups, and most of a group stop early (Li et al. 2018): each one
            counts as a trial, and is recorded at the epochs it was trained for; from 16 epochs on, up to nine trials
            leave one candidate that was trained to the end, up to 14 three to choose from on fresh splits. With
            ``"history"`` a candidate stops whose chance to become the best is small by the learning curves of past
            searches; with a pruner of Optuna, which is asked after every epoch, one that it stops.
        workers: Candidates trained at the same time, each in a process of its own on one thread. With several, what is
            asked for next depends on which of them ends first: the result is then not the same every time. Operations
            and metrics of your own must be defined in a module, not in the script itself.
        candidate_seconds: What a candidate may take; one that takes longer, also one that hangs, is ended and counts as
            failed. For that even one worker is a process of its own; the result then depends on the machine's speed.
            Those that were trained together with it begin again, together. Without a limit several workers still end
            one that takes 20 times as long as the longest so far and at least ten minutes (the first ones: an hour); in
            this process nothing but ``seconds`` ends one that hangs.
        metric: What is maximised, and chooses the best epoch: a scorer of scikit-learn or its name, such as ``roc_auc``
            or ``neg_mean_absolute_error``, or a function ``(estimator, X, y) -> float``; the Brier score, or the RMSE
            over the target's deviation, is minimised unless it is given.
        objectives: ``score``, and those of ``parameters``, ``size`` and ``latency`` that should be small too: then
            ``result.front`` holds the candidates that no other one beats in all of them. Each is exported before it is
            trained, which takes about a second.
        max_size: Bytes of the exported ONNX file at most, such as ``"200kB"``; larger networks are not trained.
        max_latency: Time at most to predict one row with it on one thread, such as ``"1ms"``, measured; the result then
            depends on the machine's speed.
        device: ``cpu``, ``cuda`` or, of several GPUs, ``cuda:1``; a GPU is used where there is one.

    Raises:
        DataError: If the data cannot be learned from.
        SearchError: If the search cannot start, or no candidate could be trained, in time for example.
    """
    from tqdm import tqdm

    limit = Limit(seconds)
    share = test is None or isinstance(test, Real | Dataset)
    with limit.preparing("the data were read", "fewer rows"):
        dataset = load(
            data,
            target=target,
            task=task,
            kind=kind,
            groups=groups,
            weights=weights,
            time=time,
            validation=validation,
            test=None if share else test,
        )
    running = Search(
        dataset,
        space=space,
        trials=trials,
        seconds=limit,
        controller=controller,
        history=history,
        storage=storage,
        name=name,
        seed=seed,
        fidelity=fidelity,
        workers=workers,
        candidate_seconds=candidate_seconds,
        metric=metric,
        test=test if isinstance(test, Real | Dataset) else None,  # type: ignore[arg-type]
        objectives=objectives,
        max_size=max_size,
        max_latency=max_latency,
        device=device,
    )
    with running, tqdm(total=running.trials, desc=dataset.name, unit="trial", disable=None) as bar:
        for _ in running.run():
            bar.update()
        return running.finish()


def listens_to(data: Dataset, *, history: Source = YOURS, space: SearchSpace | None = None) -> Explanation:
    """Whom a search of ``data`` would listen to before its first training."""
    space, info = space or default_space(data), describe(data)
    with Histories(history, None, read_only=history != YOURS) as histories:
        return controller_of("meta", space, 0, histories.past(), info, histories.priors).explain()


def suggest(
    data: object,
    *,
    k: int = 5,
    target: str | None = None,
    task: str | None = None,
    kind: str | None = None,
    groups: object = None,
    space: SearchSpace | None = None,
    controller: ControllerSpec = "meta",
    history: Source = YOURS,
    seed: int = 0,
) -> list[Suggestion]:
    """What would be tried first on ``data``, from history alone: ``k`` suggestions, best first, nothing trained.

    Args:
        data: As ``search`` takes it; so are ``target``, ``task``, ``kind``, ``groups``, ``space``, ``controller``,
            ``history`` and ``seed``.
        k: How many, from 1 to 1,000; fewer are returned where the space holds no more.

    Raises:
        DataError: If the data cannot be learned from.
        SearchError: If a number is out of range, or there is no such controller.
    """
    k, seed = whole("k", k, 1, MOST_SUGGESTIONS), whole("seed", seed, 0)
    dataset, _ = set_aside(load(data, target=target, task=task, kind=kind, groups=groups), None)
    space = space or default_space(dataset)
    info = describe(dataset)
    with Histories(history, None, read_only=history != YOURS) as histories:
        asked = controller_of(controller, space, seed, histories.past(), info, histories.priors).ask(k)
    found = {str(sorted(c.items())): Suggestion(c, space.architecture(c), space.settings(c)) for c in asked}
    return list(found.values())  # fewer than k where the space holds no more
