"""Does a search survive ``kill -9`` at any moment?

``python -m benchmarks.kill --out FILE.json [--kills 100] [--trials 8] [--controller meta] [--epochs N]``

Starts a search, kills it at a random moment, starts it again, and so on; whenever one comes to its end it is compared,
bit for bit, with the same search never interrupted, and another is begun. Each search is a process of its own, forked
from one that has imported everything, so that no kill falls into 5 s of imports. The database is checked after every
kill. With ``--epochs`` trainings are that short, and more of the kills fall between them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from nas.loop import search
from nas.metadataset import MetaDataset
from nas.record import Fidelity

IMPORTED = (
    *("nas.training", "nas.controllers.meta", "nas.metafeatures", "nas.export", "search_spaces"),
    *("optuna", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.ensemble", "sklearn.linear_model"),
    *("sklearn.gaussian_process", "sklearn.datasets", "sqlalchemy.dialects.sqlite", "torch._dynamo", "tqdm"),
)
Trace = list[tuple[object, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--controller", default="meta")
    parser.add_argument("--epochs", type=int, help="of a training; chosen for the data unless given")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in IMPORTED:
        importlib.import_module(name)
    how: dict[str, Any] = {"trials": options.trials, "controller": options.controller}
    if options.epochs:
        how["fidelity"] = Fidelity(options.epochs, rows=100, splits=2)
    with tempfile.TemporaryDirectory() as folder:
        result = campaign(Path(folder), options.kills, how, np.random.default_rng(options.seed))
    print(result)
    write(options.out, result)


def campaign(folder: Path, kills: int, how: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Returns what became of ``kills`` kills."""
    whole, killed = folder / "whole.db", folder / "killed.db"
    for place in (folder / "first.db", whole):  # the first one also warms the machine up
        started = time.monotonic()
        if end(start(place, how)) != 0:
            raise RuntimeError("the search that nobody interrupts failed")
        duration = time.monotonic() - started
    truth, moments, same, lost, unsound = trace(whole), [], [], 0, 0
    held: Trace = []
    was_killed = False
    while len(moments) < kills or was_killed:
        seconds = float(rng.uniform(0, duration)) if len(moments) < kills else float("inf")
        was_killed = kill(start(killed, how), seconds)
        unsound += not is_sound(killed)
        now = trace(killed) if killed.exists() else []
        lost += len(set(held) - set(now))
        held = now
        if was_killed:
            moments.append(seconds)
            print(f"kill {len(moments)}: after {seconds:.1f} s, {len(held)} records kept", flush=True)
            continue
        same.append(held == truth)
        print(f"search {len(same)} ended, same as uninterrupted: {same[-1]}", flush=True)
        killed.unlink()
        held = []
    return {
        "kills": len(moments),
        "seconds of each": moments,
        "seconds uninterrupted": duration,
        "records of a search": len(truth),
        "searches ended after kills": len(same),
        "same as uninterrupted": sum(same),
        "records lost": lost,
        "integrity checks failed": unsound,
    }


def start(history: Path, how: dict[str, Any]) -> int:
    """Starts a search in a process of its own and returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        search("iris", history=history, **how)
        os._exit(0)
    finally:
        os._exit(1)


def kill(child: int, seconds: float) -> bool:
    """Kills a process after so many seconds; returns whether it was still running.

    Raises:
        RuntimeError: If it failed by itself.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"a search failed by itself with exit code {os.waitstatus_to_exitcode(status)}")
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return end(child) == -signal.SIGKILL


def end(child: int) -> int:
    """Waits for a process and returns its exit code, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_sound(path: Path) -> bool:
    """Returns whether SQLite finds a file whole, if there is one."""
    if not path.exists():
        return True
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def trace(path: Path) -> Trace:
    """What must be the same: place, evaluation and outcome of every record; times are not."""
    with MetaDataset.open(path) as history:
        return sorted((r.purpose, r.number, r.key, r.score, r.outcome.curve) for r in history.records())


if __name__ == "__main__":
    main()
