"""Does a search survive ``kill -9`` at any moment?

``python -m benchmarks.kill --out FILE.json [--kills 10] [--trials 8]``

Starts a search from the command line, kills it at a random moment, starts it again, and so on; then lets it finish and
compares it, bit for bit, with the same search never interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.record import write
from nas.metadataset import MetaDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        killed, whole = Path(folder) / "killed.db", Path(folder) / "whole.db"
        started = time.monotonic()
        subprocess.run(command(whole, options.trials), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        duration = time.monotonic() - started
        moments = []
        while len(moments) < options.kills:
            seconds = float(rng.uniform(0, duration))
            if not kill(command(killed, options.trials), seconds):  # it had ended: begin anew
                killed.unlink()
                continue
            moments.append(seconds)
            print(f"kill {len(moments)}: after {seconds:.1f} s, {count(killed)} records kept", flush=True)
        subprocess.run(
            command(killed, options.trials), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        result = {
            "kills": options.kills,
            "seconds of each": moments,
            "seconds uninterrupted": duration,
            "records": count(killed),
            "same as uninterrupted": trace(killed) == trace(whole),
            "twice": len(trace(killed)) - len(set(trace(killed))),
            "integrity": sqlite3.connect(killed).execute("pragma integrity_check").fetchone()[0],
        }
    print(result)
    write(options.out, result)


def command(history: Path, trials: int) -> list[str]:
    words = ["search", "iris", "--trials", str(trials), "--history", str(history), "--no-compare"]
    return [sys.executable, "-m", "nas", *words]


def kill(words: list[str], seconds: float) -> bool:
    """Starts a command and kills it after so many seconds; returns whether it was still running."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


def count(path: Path) -> int:
    return len(trace(path)) if path.exists() else 0


def trace(path: Path) -> list[tuple[object, ...]]:
    """What must be the same: place, evaluation and outcome of every record; times are not."""
    with MetaDataset.open(path) as history:
        return sorted((r.purpose, r.number, r.key, r.score, r.outcome.curve) for r in history.records())


if __name__ == "__main__":
    main()
