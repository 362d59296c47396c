"""``nas meta-train`` and ``nas meta-test``: what history teaches, and whether it helps where it knows nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from nas.cli.arguments import Commands
from nas.cli.text import as_json, clipped
from nas.readable import counted, short

if TYPE_CHECKING:
    from nas.loop.replay import Tested

T = TypeVar("T")
AFTER = (1, 3, 5, 10)  # evaluations
LINES = 10  # of progress, at most, where there is no terminal


def add(commands: Commands) -> None:
    """Declares the two commands."""
    train = commands.add_parser(
        "meta-train", help="work out what history teaches, keep it for searches, and say what it is worth"
    )
    train.add_argument("--quick", action="store_true", help="leave out what it is worth, which takes minutes")
    test = commands.add_parser(
        "meta-test", help="compare searches with and without history on datasets that history does not know"
    )
    test.add_argument(
        "datasets",
        nargs="*",
        metavar="DATASET",
        help="names of datasets on record, whose trainings are played again with their family left out (all of them), "
        "or data as `nas search` takes it, which is searched twice",
    )
    test.add_argument("--target", help="the column to predict, where data is searched")
    test.add_argument("--task", choices=("classification", "regression"))
    test.add_argument("--trials", type=int, default=10, help="of each of two searches of data (%(default)s)")
    test.add_argument("--seed", type=int, default=0)
    for command, run in ((train, _train), (test, _test)):
        command.add_argument("--history", metavar="PLACE", help="a path or database URL (your own history)")
        command.add_argument("--space", help="tabular, image, series or cell (the one in which most was trained)")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)


def _train(options: argparse.Namespace) -> int:
    from nas.errors import HistoryError
    from nas.loop.meta_training import MetaTraining
    from nas.loop.worth import Worth

    with MetaTraining(options.space, **_history(options)) as training:
        *_, found = _shown(training.distilled(), training.forms, "forms")
        if not options.json:
            print(f"history: {training.counted}\n{found}", flush=True)
        why = ""
        if not options.quick:
            try:
                families = training.families()
                if not options.json:
                    print(f"what it is worth, {counted(len(families), 'family')} left out in turn:", flush=True)
                tested = [
                    each for some in _shown(families, len(families), "families") for each in training.tested(some)
                ]
                found = replace(found, worth=Worth(tuple(tested)))
            except HistoryError as error:
                why = str(error)
    if options.json:
        print(as_json(found.to_dict()))
    elif found.worth is not None:
        print(found.worth)
    elif why:
        print(f"note: what it is worth is not known: {why}")
    return 0


def _test(options: argparse.Namespace) -> int:
    from nas.loop.meta_testing import meta_test

    found = meta_test(
        *options.datasets,
        target=options.target,
        task=options.task,
        space=options.space,
        trials=options.trials,
        seed=options.seed,
        **_history(options),
    )
    tested: list[Tested] = []
    for each in found:
        if not tested and not options.json:
            print(_heading())
        tested.append(each)
        if not options.json:
            print(_line(each), flush=True)
    if options.json:
        print(as_json([each.to_dict() for each in tested]))
    elif len(tested) > 1:
        counts = {word: sum(each.verdict == word for each in tested) for word in ("helped", "harmed", "no difference")}
        print(", ".join(f"{word} {count}" for word, count in counts.items()) + f" of {len(tested)} datasets")
    return 0


def _heading() -> str:
    after = " ".join(map(str, AFTER))
    return f"{'regret after ' + after:28s}  {'without history':24s}  {'with history':24s}  {'history saved':14s}"


def _line(tested: Tested) -> str:
    """One dataset."""
    columns = [f"{clipped(tested.name, 28):28s}"]
    for curve in (tested.cold, tested.warm):
        reached = [short(curve[n - 1], 2) if n <= len(curve) else "-" for n in AFTER]
        columns.append(f"{' '.join(f'{regret:>5s}' for regret in reached):24s}")
    columns.append(f"{f'{tested.gain:+.2f} ±{short(tested.error, 2)}':14s}")
    return "  ".join([*columns, tested.verdict])


def _shown(steps: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """The steps, above a progress bar where there is a terminal; else with a line for each tenth of them."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(steps, total=total, unit=f" {unit}", leave=False)
        return
    print(f"{unit}: 0 of {total}", file=sys.stderr, flush=True)
    for done, step in enumerate(steps, 1):
        if done * LINES // total > (done - 1) * LINES // total:
            print(f"{unit}: {done} of {total}", file=sys.stderr, flush=True)
        yield step


def _history(options: argparse.Namespace) -> dict[str, str]:
    return {} if options.history is None else {"history": options.history}
