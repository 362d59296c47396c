"""``nas search``: the first contact. What was listened to, every trial, and the comparison with simpler models."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nas.cli.arguments import TEST_FRACTION, Commands, add_data, history_of, loaded
from nas.cli.text import as_json, heading, settings_text, trial_line
from nas.metrics import sign_of
from nas.readable import counted, in_time

if TYPE_CHECKING:
    from nas.comparison import Comparison
    from nas.export import ExportReport
    from nas.loop import Search
    from nas.record import Record
    from nas.result import Result


def add(commands: Commands) -> None:
    """Declares ``nas search``."""
    command = commands.add_parser("search", help="search for a network for your data")
    add_data(command)
    command.add_argument("--trials", type=int, default=30, help="trainings of new candidates in total (%(default)s)")
    command.add_argument("--seconds", type=float, help="end the search after this time; comparison and export follow")
    command.add_argument("--candidate-seconds", type=float, metavar="S", help="end a candidate that takes longer")
    command.add_argument("--workers", type=int, default=1, help="candidates trained at the same time (%(default)s)")
    command.add_argument(
        "--fidelity",
        choices=("hyperband", "history"),
        help="train in groups and stop most of each early, or stop what has little chance by past learning curves",
    )
    command.add_argument("--metric", metavar="NAME", help="a scorer of scikit-learn to maximise, such as roc_auc")
    command.add_argument(
        "--controller", default="meta", help="meta, reinforce, maml, evolution, random or tpe (%(default)s)"
    )
    command.add_argument(
        "--export", metavar="FILE", help="write the network found (.onnx, .pt2, .py) or its architecture (.json, .svg)"
    )
    command.add_argument("--name", help="of the search in the history")
    command.add_argument("--device", metavar="DEVICE", help="cpu, cuda or cuda:1; a GPU is used where there is one")
    command.add_argument("--max-size", metavar="SIZE", help="of the exported file at most, such as 200kB")
    command.add_argument("--max-latency", metavar="TIME", help="to predict one row at most, such as 1ms")
    command.add_argument("--no-compare", action="store_true", help="leave out the comparison with simpler models")
    command.add_argument("--json", action="store_true", help="print the outcome as JSON, all else to stderr")
    command.set_defaults(run=_search)


def _search(options: argparse.Namespace) -> int:
    if not options.json:
        _run(options)
        return 0
    with redirect_stdout(sys.stderr):
        outcome = _run(options)
    print(as_json(outcome))
    return 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """Searches, says how it goes, and returns the outcome as JSON values."""
    from nas.export import check_suffix
    from nas.loop import Limit, Search

    limit = Limit(options.seconds)
    if options.export:
        check_suffix(options.export)
    started = time.monotonic()
    with limit.preparing("the data were read", "fewer rows"):
        data = loaded(options)
    running = Search(
        data,
        trials=options.trials,
        seconds=limit,
        candidate_seconds=options.candidate_seconds,
        workers=options.workers,
        fidelity=options.fidelity,
        controller=options.controller,
        metric=options.metric,
        history=history_of(options),
        name=options.name,
        seed=options.seed,
        test=TEST_FRACTION,
        max_size=options.max_size,
        max_latency=options.max_latency,
        device=options.device,
    )
    with running:
        noted = len(running.notes)
        print(_opening(running, len(data)))
        _print_notes(running)
        print(running.controller.explain().line, flush=True)
        _print_trials(running)
        _print_notes(running, noted)
        print("training the best again on fresh splits", flush=True)
        noted = len(running.notes)
        result = running.finish()
        _print_notes(running, noted)
    print(result.explain().line)
    print(_found(result), flush=True)
    saved = result.export(options.export) if options.export else None
    comparison = None if options.no_compare else _compared(result)
    metrics = _tested(result)
    seconds = time.monotonic() - started
    _print_end(result, options, f"saved {saved}" if saved else "", seconds)
    return _outcome(result, metrics, comparison, saved, seconds)


def _outcome(
    result: Result,
    metrics: dict[str, float],
    comparison: Comparison | None,
    saved: ExportReport | None,
    seconds: float,
) -> dict[str, Any]:
    """What ``--json`` prints: what was found, the metrics on rows set aside, what was compared, saved and noted."""
    return {
        "search": result.name,
        "history": result.storage,
        "dataset": result.whole.name,
        "trials": len(result.records),
        "best": result.best.to_dict(),
        "confirmed": result.confirmation.to_dict(),
        "test": metrics,
        "comparison": asdict(comparison) | {"advice": comparison.advice} if comparison else None,
        "saved": {**asdict(saved), "path": str(saved.path)} if saved else None,
        "notes": list(result.notes),
        "seconds": seconds,
    }


def _opening(running: Search, rows: int) -> str:
    aside = 0 if running.test is None else len(running.test)
    about = f"about {in_time(running.estimate())} to search"
    return "\n".join(
        [
            f"{running.whole.name}: {running.whole.describe()} | {running.device}, {os.cpu_count()} cores | {about}",
            f"{rows - aside:,} rows to search on, {aside:,} set aside | history {running.storage} ({running.known})",
        ]
    )


def _print_trials(running: Search) -> None:
    """One line a trial, below a progress bar where there is a terminal."""
    from tqdm import tqdm

    warm = any(running.controller.explain().weights.values())
    best: Record | None = None
    with tqdm(total=running.trials, unit="trial", leave=False, disable=None) as bar:
        for record in running.run():
            short = record.fidelity != running.fidelity
            is_best = record.score is not None and not short and (best is None or record.score > (best.score or 0.0))
            best = record if is_best else best
            first = "first guess from history" if warm else "first guess"
            remark = f"stopped after epoch {record.fidelity.epochs}" if short else "best so far" if is_best else ""
            remark = first if record.number == 0 and not short else remark
            with bar.external_write_mode(file=sys.stdout):
                if record.number == 0:
                    print(heading(record))
                print(trial_line(record, remark), flush=True)
            bar.update()


def _print_notes(running: Search, first: int = 0) -> None:
    for note in running.notes[first:]:
        print(f"note: {note}")


def _found(result: Result) -> str:
    best, score = result.best, result.confirmation.score or 0.0
    where = "trial" if any(best.key == r.key for r in result.records) else f"search {best.search!r}, trial"
    value = f"{best.metric} {sign_of(best.metric) * score:.4f}"
    fresh = f"the best of {len(result.confirmed)} on fresh splits" if result.confirmed else "not tried on fresh splits"
    return (
        f"found: {where} {best.number + 1}, {fresh} "
        f"({value}): {best.architecture.summary()}; {settings_text(best.settings)}"
    )


def _compared(result: Result) -> Comparison | None:
    """Prints the comparison with simpler models and returns it."""
    from nas.training import DivergedError

    try:
        found = result.compare()
    except DivergedError as error:
        print(f"note: no comparison, a network diverged on one of its splits ({error})")
        return None
    print(found, flush=True)
    return found


def _tested(result: Result) -> dict[str, float]:
    """Prints the metrics on the rows set aside and returns them."""
    if result.test is None:
        return {}
    metrics = result.test_metrics()
    text = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"on the {len(result.test):,} rows set aside, by a network that never saw them: {text}")
    return metrics


def _print_end(result: Result, options: argparse.Namespace, saved: str, seconds: float) -> None:
    kept = f"{counted(len(result.records), 'trial')} and {counted(len(result.confirmed), 'confirmation')}"
    parts = [saved, f"remembered {kept} as {result.name} in {result.storage}", in_time(seconds)]
    if not options.export:
        parts.append(f"next: {options.command_line} --export model.onnx")
    elif str(options.export).endswith(".onnx"):
        new = {"tabular": "new.csv", "image": "FOLDER", "series": "new.npz"}[result.whole.kind]
        parts.append(f"next: nas predict {options.export} {new}")
    print(" | ".join(part for part in parts if part))
