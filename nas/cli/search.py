"""``nas search``: the first contact. What was listened to, every trial, and the comparison with simpler models."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from nas.cli.arguments import TEST_FRACTION, Commands, add_data, history_of
from nas.cli.text import short, size_text, trial_line

if TYPE_CHECKING:
    from nas.comparison import Comparison
    from nas.loop import Search
    from nas.record import Record
    from nas.result import Result


def add(commands: Commands) -> None:
    """Declares ``nas search``."""
    command = commands.add_parser("search", help="search for a network for your data")
    add_data(command)
    command.add_argument("--trials", type=int, default=30, help="trainings of new candidates in total (%(default)s)")
    command.add_argument("--seconds", type=float, help="end the search early after this time")
    command.add_argument("--controller", default="meta", help="meta, random, evolution or tpe (%(default)s)")
    command.add_argument("--export", metavar="FILE", help="write the network found (.onnx, .json)")
    command.add_argument("--name", help="of the search in the history")
    command.add_argument("--device", choices=("cpu", "cuda"))
    command.add_argument("--max-size", metavar="SIZE", help="of the exported file at most, such as 200kB")
    command.add_argument("--max-latency", metavar="TIME", help="to predict one row at most, such as 1ms")
    command.add_argument("--no-compare", action="store_true", help="leave out the comparison with simpler models")
    command.set_defaults(run=_search)


def _search(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from nas.dataset import load
    from nas.export import check_suffix
    from nas.loop import Search

    if options.export:
        check_suffix(options.export)
    started = time.monotonic()
    data = load(options.data, target=options.target, task=options.task)
    running = Search(
        data,
        trials=options.trials,
        seconds=options.seconds,
        controller=options.controller,
        history=history_of(options),
        name=options.name,
        seed=options.seed,
        test=TEST_FRACTION,
        max_size=options.max_size,
        max_latency=options.max_latency,
        device=options.device,
    )
    with running:
        print(_opening(running, len(data)))
        print(running.controller.explain().line, flush=True)
        best: Record | None = None
        with tqdm(total=options.trials, unit="trial", leave=False, disable=None) as bar:
            for record in running.run():
                is_best = record.score is not None and (best is None or record.score > (best.score or 0.0))
                best = record if is_best else best
                with bar.external_write_mode(file=sys.stdout):
                    print(trial_line(record, is_best, bool(running.past)), flush=True)
                bar.update()
        result = running.finish()
    for note in result.notes:
        print(f"note: {note}")
    print(result.explain().line, flush=True)
    saved = f"saved {result.export(options.export)}" if options.export else ""
    if not options.no_compare:
        _print_comparison(result)
    _print_test(result)
    _print_end(result, options, saved, time.monotonic() - started)
    return 0


def _opening(running: Search, rows: int) -> str:
    data = running.whole
    aside = 0 if running.test is None else len(running.test)
    places = f"history {running.storage} ({running.known})"
    where = f"{running.device}, {os.cpu_count()} cores"
    return (
        f"{data.name}: {data.describe()} | {where} | {rows - aside:,} rows to search on, {aside:,} set aside | {places}"
    )


def _print_comparison(result: Result) -> None:
    from nas.training import DivergedError

    try:
        print(_comparison_text(result.compare()), flush=True)
    except DivergedError as error:
        print(f"note: no comparison, a network diverged on one of its splits ({error})")


def _comparison_text(comparison: Comparison) -> str:
    name = {"accuracy": "accuracy", "r2": "R²"}[comparison.metric]
    lines = [f"{'':15s}{name + ', fresh splits':24s}{'one row':>10s}{'size':>10s}   found minus this"]
    for c in comparison.contenders:
        value = f"{short(c.value)} ±{short(c.error)}"
        lines.append(f"{c.name:15s}{value:24s}{c.milliseconds:7.2f} ms{size_text(c.size):>10s}")
        if c.name != "found":
            lines[-1] += f"   {c.difference:+.4f} ±{c.difference_error:.4f}"
        if c.note:
            lines[-1] += f"   ({c.note})"
    return "\n".join([*lines, f"-> {comparison.advice}"])


def _print_test(result: Result) -> None:
    if result.test is None:
        return
    metrics = result.test_metrics()
    text = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"on the {len(result.test):,} rows set aside, by a network that never saw them: {text}")


def _print_end(result: Result, options: argparse.Namespace, saved: str, seconds: float) -> None:
    trainings = len(result.records) + len(result.confirmed)
    parts = [saved, f"remembered {trainings} trainings as {result.name} in {result.storage}", f"{seconds:.0f} s"]
    if not options.export:
        parts.append(f"next: nas search {options.data} --export model.onnx")
    elif str(options.export).endswith(".onnx"):
        parts.append(f"next: nas predict {options.export} new.csv")
    print(" | ".join(part for part in parts if part))
