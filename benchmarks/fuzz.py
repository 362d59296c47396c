"""Does any file crash, hang or swell the parsers, or run anything?

``python -m benchmarks.fuzz --out FILE.json [--minutes 10]``

Repeats the property tests of the three parsers (architecture JSON, packs, tables) with new examples for so long, a
third of the time each, in a process of its own that may use no more than ``MEMORY`` bytes of address space. A failure
is reported with the input that caused it; an input that takes longer than ``HANGS`` ends the process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from benchmarks.record import write

TESTS = Path(__file__).parents[1] / "tests"
MEMORY, HANGS = 8 * 2**30, 60  # bytes of addresses (libraries reserve some), seconds
PARSERS = {
    "architecture JSON": (
        "test_export_json",
        (
            "test_graphs_are_architectures_or_one_sentence",
            "test_damaged_text_is_an_architecture_or_one_sentence",
            "test_any_json_is_an_architecture_or_one_sentence",
        ),
        "",
    ),
    "pack": (
        "test_metadataset_fuzz",
        ("test_bytes_of_a_pack_changed_at_random", "test_fields_of_a_pack_changed_at_random"),
        "pack",
    ),
    "table": (
        "test_dataset_fuzz",
        ("test_bytes_of_a_table_changed_at_random", "test_cells_drawn_at_random"),
        "tables",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all three together")
    parser.add_argument("--parser", choices=tuple(PARSERS), help=argparse.SUPPRESS)  # what a process of its own runs
    options = parser.parse_args()
    if options.parser:
        print(json.dumps(fuzz(options.parser, 20.0 * options.minutes)))
        return
    result = {}
    for name in PARSERS:
        result[name] = alone(name, options.minutes)
        print(f"{name}: {result[name]}", flush=True)
    write(options.out, result)


def alone(name: str, minutes: float) -> dict[str, Any]:
    """Fuzzes one parser in a process of its own, and says how that ended."""
    with tempfile.TemporaryDirectory() as folder:
        last = Path(folder) / "last"
        environment = {**os.environ, "NAS_FUZZ_EXAMPLES": "100", "NAS_FUZZ_LAST": str(last)}
        words = [sys.executable, "-m", "benchmarks.fuzz", "--parser", name, "--minutes", str(minutes)]
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode == 0:
            return dict(json.loads(done.stdout.splitlines()[-1]))
        how = "hung" if done.returncode == -signal.SIGALRM else f"ended with exit code {done.returncode}"
        return {"failures": [how], "input": repr(last.read_bytes()[:5000]) if last.exists() else ""}


def fuzz(name: str, seconds: float) -> dict[str, Any]:
    """Repeats the tests of one parser with new examples until the time is over or one fails."""
    from hypothesis import settings

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    settings.register_profile("new", derandomize=False, database=None)
    settings.load_profile("new")
    sys.path.insert(0, str(TESTS))
    module_name, tests, fixture = PARSERS[name]
    module = importlib.import_module(module_name)
    seen: dict[str, Any] = {"inputs": 0, "slowest, CPU s": 0.0, "slowest input": ""}
    module.check = counted(module.check, Path(os.environ["NAS_FUZZ_LAST"]), seen)
    with tempfile.TemporaryDirectory() as folder:
        sound = module.sound(Path(folder)) if fixture else None
    failures: list[str] = []
    began = time.monotonic()
    before = peak()
    while time.monotonic() - began < seconds and not failures:
        for test in tests:
            call = getattr(module, test)
            try:
                call(**({fixture: sound} if fixture in signature(call).parameters else {}))
            except Exception as error:  # whatever a reader of foreign bytes raises is what is looked for
                said = "\n".join([str(error), *getattr(error, "__notes__", ())])
                failures.append(f"{test}: {type(error).__name__}: {said}"[-5000:])
    return {
        **seen,
        "minutes": (time.monotonic() - began) / 60,
        "failures": failures,
        "peak MB before": before,
        "peak MB": peak(),
    }


def counted(check: Callable[[Any], None], last: Path, seen: dict[str, Any]) -> Callable[[Any], None]:
    """Wraps the check of one input: counted, timed, kept in a file while it runs, and killed where it hangs."""

    def check_one(content: Any) -> None:
        last.write_bytes(repr(content).encode("utf-8", "backslashreplace"))
        signal.alarm(HANGS)
        began = time.process_time()
        check(content)
        if (spent := time.process_time() - began) > seen["slowest, CPU s"]:
            seen["slowest, CPU s"], seen["slowest input"] = spent, repr(content)[:1000]
        seen["inputs"] += 1
        signal.alarm(0)

    return check_one


def peak() -> float:
    """Returns the most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
