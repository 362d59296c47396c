"""Published measurements as a table of the schema in ``benchmarks/table.py``.

``python -m benchmarks.convert naslib zc_nasbench201.json --space nasbench201 --out FILE.npz``
    What NASLib publishes with NAS-Bench-Suite-Zero (automl/NASLib): {task: {"(op indices)": {"val_accuracy": score}}},
    spaces ``nasbench201`` and ``transbench101_micro``.
``python -m benchmarks.convert latency data/nasbench201 --out FILE.npz``
    Minus the latencies of NAS-Bench-201's cells that HELP publishes (HayeonLee/HELP): ``str_arch2idx.pt`` and a file a
    device in ``latency/``.
``python -m benchmarks.convert csv FILE.csv --decisions l_pre,l_mp,agg --task dataset --score accuracy --out FILE.npz``
    One training a row, as GraphGym aggregates its runs (snap-stanford/GraphGym); repeated ones are averaged. Decisions
    whose values are all numbers are ordinal.

``--families a=one,b=one`` names the families of tasks; each task is its own by default. Nothing read is executed: what
is published as a pickle (NAS-Bench-Graph's ``.bench``, say) has to be written as .csv first.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import load
from nas.errors import DataError, NasError

EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))  # of both cells, in NASLib's order
OPERATIONS = {  # by NASLib's index, called as NAS-Bench-201 and TransNAS-Bench-101 call them
    "nasbench201": ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3"),
    "transbench101_micro": ("skip_connect", "none", "conv3x3", "conv1x1"),
}

Scores = dict[str, dict[tuple[Any, ...], float]]  # task -> row of arch -> score


def main() -> None:
    options = _options()
    try:
        if options.source == "naslib":
            decisions, scores = cells(OPERATIONS[options.space]), naslib(options.path)
        elif options.source == "latency":
            decisions, scores = cells(OPERATIONS["nasbench201"]), latency(options.path)
        else:
            decisions, scores = from_csv(options.path, options.decisions.split(","), options.task, options.score)
        write(options.out, decisions, scores, dict(pair.split("=") for pair in options.families.split(",") if pair))
        table = load(options.out)  # refuses what does not fit together
    except NasError as error:
        raise SystemExit(f"convert: {error}") from error
    print(f"wrote {options.out}: {len(table.val):,} architectures, {len(table.infos)} tasks")


def cells(operations: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the six decisions of a cell of four nodes: the operation on every edge."""
    return [
        {"name": f"op_{a}_{b}", "kind": "edge_op", "source": str(a), "target": str(b), "values": list(operations)}
        for a, b in EDGES
    ]


def naslib(path: Path) -> Scores:
    """Returns the validation accuracies of NAS-Bench-Suite-Zero.

    Raises:
        DataError: Where the file is another.
    """
    try:
        content = json.loads(path.read_text())
        return {
            task: {tuple(ast.literal_eval(arch)): float(known["val_accuracy"]) for arch, known in each.items()}
            for task, each in content.items()
        }
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"NASLib's scores are {{task: {{'(op indices)': {{'val_accuracy': score}}}}}}, but {path} is not such a "
            f"file: {error!r}."
        ) from error


def latency(folder: Path) -> Scores:
    """Returns minus the latencies of every device, by its file's name.

    Raises:
        DataError: Where a file is missing or of another content.
    """
    import torch

    try:
        index = torch.load(folder / "str_arch2idx.pt", weights_only=True)
        rows = {_cell(text): i for text, i in index.items()}
        found: Scores = {}
        for file in sorted((folder / "latency").glob("*.pt")):
            ms = np.asarray(torch.load(file, weights_only=True), dtype=float)
            found[file.stem] = {row: -float(ms[i]) for row, i in rows.items()}
    except Exception as error:  # whatever torch raises about a file that is not its own
        raise DataError(
            f"a folder of HELP has str_arch2idx.pt and latency/DEVICE.pt, but {folder} has not: {error}."
        ) from error
    return found


def _cell(text: str) -> tuple[int, ...]:
    """The operations of ``|op~0|+|op~0|op~1|+...`` by index, in the order of EDGES."""
    names = OPERATIONS["nasbench201"]
    found = {}
    for target, part in enumerate(text.split("+"), 1):
        for word in part.strip("|").split("|"):
            op, source = word.split("~")
            found[int(source), target] = names.index(op)
    return tuple(found[edge] for edge in EDGES)


def from_csv(path: Path, names: Sequence[str], task: str, score: str) -> tuple[list[dict[str, Any]], Scores]:
    """Returns the decisions called ``names`` with the values that occur, and the mean score of each training.

    Raises:
        DataError: Where the file has no such columns or a score is no number.
    """
    try:
        with path.open(newline="") as file:
            lines = list(csv.DictReader(file))
        values = {name: sorted({line[name] for line in lines}, key=_order) for name in names}
        each: dict[str, dict[tuple[int, ...], list[float]]] = {}
        for line in lines:
            row = tuple(values[name].index(line[name]) for name in names)
            each.setdefault(line[task], {}).setdefault(row, []).append(float(line[score]))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"a .csv has a column for each of {[*names, task, score]}, scores as numbers, but {path}: {error!r}."
        ) from error
    decisions = []
    for name, known in values.items():
        ordered = all(_is_number(value) for value in known)
        kept: list[Any] = [float(value) for value in known] if ordered else known
        decisions.append({"name": name, "kind": "ordinal" if ordered else "categorical", "values": kept})
    return decisions, {t: {row: float(np.mean(s)) for row, s in rows.items()} for t, rows in each.items()}


def write(path: Path, decisions: Sequence[Mapping[str, Any]], scores: Scores, families: Mapping[str, str]) -> None:
    """Writes a table; what was not measured is NaN.

    Raises:
        DataError: Where there are no scores.
    """
    if not any(scores.values()):
        raise DataError("a table needs scores, but there are none; look at what was given.")
    rows = sorted({row for each in scores.values() for row in each})
    val = [[each.get(row, np.nan) for each in scores.values()] for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        arch=np.array(rows, dtype=np.int16),
        decisions=json.dumps(list(decisions)),
        tasks=np.array(list(scores)),
        families=np.array([families.get(task, task) for task in scores]),
        val=np.array(val, dtype=np.float32),
    )


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def _order(text: str) -> tuple[float, str]:
    return (float(text), "") if _is_number(text) else (np.inf, text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sources = parser.add_subparsers(dest="source", required=True)
    for name, path in {"naslib": "a .json", "latency": "a folder", "csv": "a .csv"}.items():
        source = sources.add_parser(name)
        source.add_argument("path", type=Path, help=path)
        source.add_argument("--families", default="", help="task=family, by commas; each task its own by default")
        source.add_argument("--out", type=Path, required=True)
        if name == "naslib":
            source.add_argument("--space", choices=OPERATIONS, required=True)
        if name == "csv":
            source.add_argument("--decisions", required=True, help="columns, by commas")
            source.add_argument("--task", required=True, help="column")
            source.add_argument("--score", required=True, help="column, higher is better")
    return parser.parse_args()


if __name__ == "__main__":
    main()
