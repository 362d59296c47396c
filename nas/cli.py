"""The command line: search, suggest, predict, and a look into the history. It prints; it decides nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nas.errors import NasError
from nas.metrics import display

if TYPE_CHECKING:
    from nas.comparison import Comparison
    from nas.loop import Search
    from nas.record import Record
    from nas.result import Result

TEST_FRACTION = 0.2  # set aside by the command line, scored once


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0 on success, 2 where the user can mend what went wrong, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        code = int(options.run(options) or 0)
        sys.stdout.flush()
        return code
    except NasError as error:
        print(f"nas: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nas: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `nas history list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nas", description="Neural architecture search that remembers.")
    commands = parser.add_subparsers(required=True, metavar="command")

    search = commands.add_parser("search", help="search for a network for your data")
    _data(search)
    search.add_argument("--trials", type=int, default=30, help="trainings of new candidates in total (%(default)s)")
    search.add_argument("--seconds", type=float, help="end the search early after this time")
    search.add_argument("--controller", default="meta", help="meta, random, evolution or tpe (%(default)s)")
    search.add_argument("--export", metavar="FILE", help="write the network found (.onnx, .json)")
    search.add_argument("--name", help="of the search in the history")
    search.add_argument("--device", choices=("cpu", "cuda"))
    search.add_argument("--no-compare", action="store_true", help="leave out the comparison with simpler models")
    search.set_defaults(run=_search)

    suggest = commands.add_parser("suggest", help="what history would try first, without training")
    _data(suggest)
    suggest.add_argument("-k", type=int, default=5, help="how many suggestions (%(default)s)")
    suggest.add_argument("--json", action="store_true", help="print JSON")
    suggest.set_defaults(run=_suggest)

    predict = commands.add_parser("predict", help="predict with an exported network")
    predict.add_argument("model", help="an exported .onnx file")
    predict.add_argument("data", help="a table with the columns of the training data, or a folder of images")
    predict.add_argument("--out", metavar="FILE", help="write a .csv instead of printing")
    predict.set_defaults(run=_predict)

    history = commands.add_parser("history", help="what is remembered").add_subparsers(required=True, metavar="command")
    listed = history.add_parser("list", help="every search")
    shown = history.add_parser("show", help="one search, trial by trial")
    shown.add_argument("search", help="its name, or the beginning of it")
    for command, run in ((listed, _history_list), (shown, _history_show)):
        command.add_argument("--history", metavar="PLACE", help="a path or database URL (your own history)")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
    return parser


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", help=".csv, .parquet, .npz, a folder of images, or digits, iris, wine, ...")
    command.add_argument("--target", help="the column to predict")
    command.add_argument("--task", choices=("classification", "regression"))
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--history", metavar="PLACE", help="learn from this path or URL; 'none' learns from nothing")


def _history_of(options: argparse.Namespace) -> Any:
    from nas.metadataset.histories import YOURS

    return YOURS if options.history is None else None if options.history == "none" else options.history


# ---- search ----------------------------------------------------------------------------------------------------------


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
        history=_history_of(options),
        name=options.name,
        seed=options.seed,
        test=TEST_FRACTION,
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
                    print(_trial_line(record, is_best, bool(running.past)), flush=True)
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


def _trial_line(record: Record, is_best: bool, warm: bool) -> str:
    remark = ""
    if record.score is None:
        remark = f"{record.outcome.status}: {record.outcome.message}"[:60]
    elif record.number == 0:
        remark = "first guess from history" if warm else "first guess"
    elif is_best:
        remark = "best so far"
    score = "failed"
    if record.score is not None:
        name = display("classification" if "accuracy" in record.outcome.metrics else "regression")
        error = record.outcome.standard_error or 0.0
        score = f"{_short(record.outcome.metrics[name])}  {record.metric} {-record.score:.4f} ±{_short(error)}"
    what = record.architecture.summary()
    return f"{record.number + 1:3d}  {score:28s}  {what:58s}  {remark:24s} {record.outcome.cost.seconds:6.1f} s"


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
        value = f"{_short(c.value)} ±{_short(c.error)}"
        lines.append(f"{c.name:15s}{value:24s}{c.milliseconds:7.2f} ms{_size(c.size):>10s}")
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


# ---- the others ------------------------------------------------------------------------------------------------------


def _suggest(options: argparse.Namespace) -> int:
    from nas.loop import suggest

    found = suggest(
        options.data,
        k=options.k,
        target=options.target,
        task=options.task,
        history=_history_of(options),
        seed=options.seed,
    )
    if options.json:
        rows = [
            {"architecture": s.architecture.to_dict(), "settings": dict(s.settings), "choices": s.choices}
            for s in found
        ]
        print(json.dumps(rows, indent=1))
    else:
        for number, s in enumerate(found, 1):
            settings = ", ".join(f"{name} {value}" for name, value in s.settings.items())
            print(f"{number:3d}  {s.architecture.summary():58s}  {settings}")
    return 0


def _predict(options: argparse.Namespace) -> int:
    from nas.prediction import predict_file

    frame = predict_file(options.model, options.data, options.out)
    if options.out:
        print(f"wrote {len(frame):,} predictions to {options.out}")
    else:
        frame.to_csv(sys.stdout, index=False)
    return 0


def _history_list(options: argparse.Namespace) -> int:
    from nas.metadataset import MetaDataset

    with MetaDataset.open(options.history, read_only=options.history is not None) as history:
        infos = {info.fingerprint: info for info in history.datasets()}
        counts = history.counts()
        rows: list[dict[str, str | int]] = [
            {
                "search": s.name,
                "dataset": infos[s.dataset].name if s.dataset in infos else s.dataset[:12],
                "space": s.space,
                "controller": s.controller,
                "records": counts.get(s.name, 0),
                "created": s.created,
                "finished": s.finished,
            }
            for s in history.searches()
        ]
        place = history.place
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print(f"{place}: {len(rows)} searches, {sum(counts.values())} records")
        for row in rows:
            state = "finished" if row["finished"] else "open"
            what = f"{row['search']:32s} {row['space']:10s} {row['controller']:12s}"
            print(f"{what} {row['records']:5d} records  {str(row['created'])[:16]}  {state}")
    return 0


def _history_show(options: argparse.Namespace) -> int:
    from nas.errors import HistoryError, nearest
    from nas.metadataset import MetaDataset

    with MetaDataset.open(options.history, read_only=options.history is not None) as history:
        names = [s.name for s in history.searches()]
        matches = [name for name in names if name.startswith(options.search)]
        if options.search in names:
            matches = [options.search]
        if len(matches) != 1:
            raise HistoryError(
                f"one search must be named, but {options.search!r} begins {len(matches)} of {len(names)};"
                f"{nearest(options.search, names)} `nas history list` shows them."
            )
        records = history.records(search=matches[0])
    if options.json:
        print(json.dumps([record.to_dict() for record in records], indent=1))
    else:
        print(f"{matches[0]}: {len(records)} records")
        for record in records:
            settings = ", ".join(f"{name} {value}" for name, value in record.settings.items())
            print(f"{_trial_line(record, False, False)}  {record.purpose}  {settings}")
    return 0


def _short(value: float) -> str:
    """Three decimals without the leading zero: .981."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
