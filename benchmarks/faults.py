"""Does a history lose or double anything when the world around it fails?

``python -m benchmarks.faults --out FILE.json [--records 500] [--locked 30] [--only FAULT ...]``

Each fault is injected for real: processes that write at once, a disk that fills up, a folder that may not be written, a
database that another process locks, files that are no histories, a clock that is set back, candidates that fail, two
machines on one PostgreSQL server that is killed. Searches run through the command line. What cannot be injected here
(no root, no server) is said, not passed over.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import faulty
from benchmarks.kill import is_sound, trace
from benchmarks.record import write
from nas.errors import HistoryError
from nas.metadataset import MetaDataset, shipped
from nas.record import Record

WRITERS = 4
TRIALS = ("search", "iris", "--trials", "4", "--controller", "evolution", "--no-compare")
Finding = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=int, default=500, help="of each of four writers")
    parser.add_argument("--only", nargs="+", default=(), metavar="FAULT", help="some of them, by name")
    parser.add_argument("--locked", type=float, default=30.0, help="seconds that another process holds the database")
    options = parser.parse_args()
    faults: dict[str, Callable[[Path], Finding]] = {
        "four writers": lambda folder: together(str(folder / "history.db"), WRITERS, options.records),
        "locked": lambda folder: locked(folder, options.locked),
        "disk full": disk_full,
        "read-only folder": read_only,
        "no histories": strangers,
        "clock set back": clock_set_back,
        "candidates that fail": candidates_that_fail,
        "two machines on PostgreSQL": lambda folder: two_machines(folder, options.records),
    }
    result = {}
    for name, inject in faults.items():
        if options.only and name not in options.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            result[name] = inject(Path(folder))
        print(f"{name}: {result[name]}", flush=True)
    write(options.out, result)


def together(place: str, writers: int, count: int) -> Finding:
    """Processes that append to one history at once."""
    context = get_context("spawn")
    processes = [context.Process(target=append, args=(place, f"writer {i}", count)) for i in range(writers)]
    began = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    seconds = time.monotonic() - began
    with MetaDataset.open(place) as history:
        found = [(record.search, record.number) for record in history.records()]
    expected = {(f"writer {i}", number) for i in range(writers) for number in range(count)}
    return {
        "written": len(expected),
        "lost": len(expected - set(found)),
        "doubled": len(found) - len(set(found)),
        "writers that failed": sum(process.exitcode != 0 for process in processes),
        "seconds": seconds,
        "integrity": is_sound(Path(place)) if "://" not in place else "not SQLite",
    }


def append(place: str, search: str, count: int) -> None:
    """Appends copies of shipped records one by one."""
    with shipped() as source:
        info = source.datasets()[0]
        records = source.records(dataset=info.fingerprint)
    with MetaDataset.open(place) as history:
        history.add_dataset(info)
        for number in range(count):
            history.append([replace(records[number % len(records)], search=search, number=number)])


def locked(folder: Path, seconds: float) -> Finding:
    """A search whose database another process locks, once for less and once for longer than it waits."""
    path = folder / "history.db"
    alone = nas(*TRIALS, "--history", folder / "alone.db")
    MetaDataset.open(path).close()
    result: Finding = {"seconds unlocked": alone["seconds"]}
    for name, held in (("waits", seconds), ("gives up", 1e9)):
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            process = subprocess.Popen(
                command(*TRIALS, "--seed", str(int(held > 1e3)), "--history", path),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            began = time.monotonic()
            with suppress(subprocess.TimeoutExpired):
                process.wait(held if held < 1e3 else 600)
            other.execute("ROLLBACK")
        error = process.communicate()[1]
        result[name] = {"exit code": process.returncode, "said": said(error), "seconds": time.monotonic() - began}
    again = nas(*TRIALS, "--seed", "1", "--history", path)
    return result | {"afterwards": again["exit code"], "integrity": is_sound(path)}


def disk_full(folder: Path) -> Finding:
    """A search on a disk that has no room left, and again once there is."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "nas", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        return {"injected": False, "why": "mounting is not permitted here"}
    try:
        path = disk / "history.db"
        first = nas(*TRIALS, "--history", path)
        with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        before = count(path)
        full = nas(*TRIALS[:2], "--trials", "12", *TRIALS[4:], "--history", path)
        held = count(path)
        (disk / "ballast").unlink()
        sound = is_sound(path)
        after = nas(*TRIALS[:2], "--trials", "12", *TRIALS[4:], "--history", path)
        return {
            "exit codes": [run["exit code"] for run in (first, full, after)],
            "said": full["said"],
            "records before, when full, in the end": [before, held, count(path)],
            "integrity": sound and is_sound(path),
        }
    finally:
        subprocess.run(["umount", disk], check=True)


def read_only(folder: Path) -> Finding:
    """A search whose history lies on a disk that may only be read: named, and as the user's default."""
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "nas", disk], capture_output=True).returncode:
        return {"injected": False, "why": "mounting is not permitted here"}
    try:
        path = disk / "history.db"
        nas(*TRIALS, "--history", path)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        before = path.read_bytes()
        named = nas(*TRIALS, "--seed", "1", "--history", path)
        default = nas(*TRIALS, "--seed", "1", NAS_HISTORY=str(path))
        unchanged = path.read_bytes() == before
        listed = nas("history", "list", "--history", path)
    finally:
        subprocess.run(["umount", disk], check=True)
    note = next((line for line in default["printed"].splitlines() if "cannot be written" in line), "")
    return {
        "named": {"exit code": named["exit code"], "said": named["said"]},
        "default": {"exit code": default["exit code"], "said": note},
        "listed": listed["exit code"],
        "unchanged": unchanged,
    }


def strangers(folder: Path) -> Finding:
    """A search told to use files that are no histories, or none this library can read."""
    whole = folder / "whole.db"
    with MetaDataset.open(whole) as history, shipped() as known:
        history.merge(known)
    content = whole.read_bytes()
    (folder / "text.db").write_text("dear diary\n" * 100)
    (folder / "truncated.db").write_bytes(content[: len(content) // 2])
    for name, statement in (
        ("newer", "UPDATE nas_meta SET value = '99' WHERE name = 'schema_version'"),
        ("another application's", "PRAGMA application_id = 7"),
    ):
        shutil.copy(whole, folder / f"{name}.db")
        with closing(sqlite3.connect(folder / f"{name}.db")) as connection:
            connection.execute(statement)
            connection.commit()
    result: Finding = {}
    for name in ("text", "truncated", "newer", "another application's"):
        path = folder / f"{name}.db"
        before = path.read_bytes()
        run = nas(*TRIALS, "--history", path)
        unchanged = path.read_bytes() == before
        result[name] = {"exit code": run["exit code"], "said": run["said"], "unchanged": unchanged}
    return result


def clock_set_back(folder: Path) -> Finding:
    """Records whose times run backwards: what is learned from them, and in which order they come."""
    with shipped() as source:
        info = source.datasets()[0]
        records = source.records(dataset=info.fingerprint)[:20]
    orders, pasts = [], []
    for name, years in (("forth", range(2000, 2020)), ("back", range(2019, 1999, -1))):
        with MetaDataset.open(folder / f"{name}.db") as history:
            history.add_dataset(info)
            for year, record in zip(years, records, strict=True):
                history.append([replace(record, created=f"{year}-01-01T00:00:00+00:00")])
            orders.append([record.number for record in history.records()])
            pasts.append([record.key for past in history.past() for record in past.records])
    found = {"same order": orders[0] == orders[1], "same past": pasts[0] == pasts[1], "records": len(records)}
    return found | {"during a search": search_back_in_time(folder)}


def search_back_in_time(folder: Path) -> Finding:
    """A search that goes on under a clock of 2001 (libfaketime), against the same one under the true clock."""
    if shutil.which("faketime") is None:
        return {"injected": False, "why": "faketime is not installed here"}
    true, back = folder / "true.db", folder / "set back.db"
    more = ("search", "iris", "--trials", "7", "--controller", "evolution", "--no-compare")
    codes = [nas(*TRIALS, "--history", place)["exit code"] for place in (true, back)]
    codes.append(nas(*more, "--history", true)["exit code"])
    words = ["faketime", "2001-01-01 12:00:00", *command(*more, "--history", back)]
    codes.append(subprocess.run(words, capture_output=True).returncode)
    with MetaDataset.open(back, read_only=True) as history:
        oldest = min(record.created for record in history.records())
    return {"exit codes": codes, "oldest record": oldest, "same records": trace(true) == trace(back)}


def candidates_that_fail(folder: Path) -> Finding:
    """Searches among candidates that want too much memory, lose their numbers, raise, hang, or die."""
    result: Finding = {}
    for name, search in (("in one process", faulty.search_here), ("in workers", faulty.search_in_workers)):
        place = folder / f"{name}.db"
        process = get_context("spawn").Process(target=search, args=(str(place),))
        process.start()
        process.join()
        with MetaDataset.open(place, read_only=True) as history:
            records = [record for record in history.records() if record.purpose == "screen"]
        ends = Counter((fault_of(record), record.outcome.status) for record in records)
        ends_said = {" ".join(end): times for end, times in sorted(ends.items())}
        result[name] = {"exit code": process.exitcode, "records": len(records), "ends": ends_said}
    return result


def fault_of(record: Record) -> str:
    """Returns which fault a candidate has, or that it is sound."""
    faults = (dict(node.parameters).get("fault", "broken") for node in record.architecture.nodes if node.op == "faulty")
    return str(next(faults, "sound"))


def two_machines(folder: Path, count: int) -> Finding:
    """Two clients of one PostgreSQL server at once; then the server is killed, and they go on."""
    from tests.store_processes import postgres

    with postgres() as server:
        if server is None:
            return {"injected": False, "why": "PostgreSQL or psycopg is not installed here"}
        result = together(server.url, 2, count)
        with MetaDataset.open(server.url) as history:
            before = len(history)
            server.kill()
            try:
                len(history)
                message = ""
            except HistoryError as error:
                message = str(error)
            server.start()
            result |= {"said when killed": message, "lost when killed": before - len(history)}
        searched = nas(*TRIALS, "--history", server.url)
        return result | {"search through the command line": searched["exit code"]}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "nas", *map(str, words)]


def nas(*words: object, **environment: str) -> Finding:
    """Runs the command line; returns its exit code, what it printed, what it complained of, and the seconds it took."""
    began = time.monotonic()
    done = subprocess.run(command(*words), capture_output=True, text=True, env={**os.environ, **environment})
    seconds = time.monotonic() - began
    return {"exit code": done.returncode, "printed": done.stdout, "said": said(done.stderr), "seconds": seconds}


def said(error: str) -> list[str]:
    """Returns the lines that are for a person, without progress bars."""
    return [line for line in error.splitlines() if line.strip() and "trial" not in line.split("[")[-1]]


def count(path: Path) -> int:
    with MetaDataset.open(path, read_only=True) as history:
        return len(history)


if __name__ == "__main__":
    main()
