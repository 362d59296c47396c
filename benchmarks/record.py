"""A benchmark's result as a file that says how it came about: command, commit, hardware, versions, date, numbers."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def write(path: Path, result: dict[str, Any]) -> None:
    """Writes ``result`` with its circumstances to ``path`` as JSON."""
    content = {**circumstances(), "result": result}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {path}")


def circumstances() -> dict[str, Any]:
    """Returns what a reader needs to run the same again."""
    module = sys.modules["__main__"].__spec__
    name = module.name if module else Path(sys.argv[0]).name
    return {
        "command": shlex.join(["python", "-m", name, *sys.argv[1:]]),
        "commit": COMMIT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
        "versions": {"python": platform.python_version()}
        | {n: _version(n) for n in ("torch", "numpy", "scikit-learn")},
    }


def _commit() -> str:
    try:
        words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


COMMIT = _commit()  # read when the benchmark starts: a long run may end on a later one
