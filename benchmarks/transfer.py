"""What does a controller make of other datasets' history, and does misleading history harm it? Asked of tables.

``python -m benchmarks.transfer --table FILE.npz --out FILE.json [--controllers a,b,mine.py:Mine]``
``python -m benchmarks.transfer --pack --out FILE.json`` the same on the shipped knowledge

Leave one family out: every task in turn is the target, tasks of other families are the past, each with ``--records``
random (architecture, validation score) records, others for each target and seed (32, and at most 60 evaluations, where
a table has fewer than 200 rows). Of the target nothing is known, its scale included; every evaluation counts.
Regret = (best - incumbent) / (best - median) of the target's validation scores. Records go through a ``MetaDataset``,
controllers are used as a search uses them.

``--corrupt`` permutes the scores within each past task, or turns the sign of all of them, or of half of the tasks;
``--junk N`` adds N searches of two epochs with random scores; ``--history-tasks N`` keeps N past tasks (0: cold);
``--history-table`` takes the past from another table. The schema is in ``benchmarks/table.py``, the figures in
``benchmarks/standing.py``. Each finished run is kept in ``FILE.runs.jsonl``, under a digest of all that decides it (the
controller's sources included), so that an interrupted benchmark goes on and a changed controller is measured again.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import circumstances
from benchmarks.rivals import HISTORY_FREE, RIVALS
from benchmarks.standing import Run, draw, printed, summary
from benchmarks.table import CREATED, Table, load, of_pack
from nas.controllers import NAMES, Controller, Problem, create
from nas.errors import DataError, NasError, SearchError, nearest
from nas.metadataset import MetaDataset
from nas.record import PastDataset, SearchInfo
from nas.space import identity

CORRUPTIONS = ("none", "shuffle", "negate", "half")
SMALL, SMALL_RECORDS, SMALL_EVALUATIONS = 200, 32, 60
SEEDS = 10_000  # no two targets draw alike
SLOW_MS, SLOW_SEEDS = 50.0, 5  # a controller that thinks longer than this at the median is run with fewer seeds
VERSION = 2  # of what a run is; raised where kept runs would no longer be what a new one gives
Factory = Callable[[Problem], Controller]


@dataclass(frozen=True)
class Protocol:
    """What a run depends on beside its controller, its target and its seed; ``history`` is the table of the past."""

    table: Table
    history: Table
    records: int = 256
    evaluations: int = 100
    seeds: int = 5
    corrupt: str = "none"
    junk: int = 0
    history_tasks: int | None = None

    @property
    def small(self) -> Protocol:
        """The same, within what a table of few rows allows."""
        records = SMALL_RECORDS if len(self.history.val) < SMALL else self.records
        evaluations = min(self.evaluations, SMALL_EVALUATIONS) if len(self.table.val) < SMALL else self.evaluations
        return replace(self, records=min(records, self.records), evaluations=evaluations)

    def to_dict(self) -> dict[str, Any]:
        """Returns what decides a run, as JSON."""
        return {
            "version": VERSION,
            "table": self.table.digest,
            "history_table": self.history.digest,
            "records": self.records,
            "evaluations": self.evaluations,
            "corrupt": self.corrupt,
            "junk": self.junk,
            "history_tasks": self.history_tasks,
        }


def main() -> None:
    options = _options()
    try:
        run(options)
    except NasError as error:
        raise SystemExit(f"transfer: {error}") from error


def run(options: argparse.Namespace) -> None:
    """Measures what was asked for and writes it.

    Raises:
        NasError: Where an option or a table is not what it has to be.
    """
    _check(options)
    table = of_pack() if options.pack else load(options.table)
    history = load(options.history_table) if options.history_table else table
    asked = targets(table)
    if not asked:
        raise DataError(
            f"a table needs a task on which some score is better than the median, but {table.name} has none."
        )
    names = options.controllers.split(",") if options.controllers else [*NAMES, *RIVALS]
    controllers = {name.rpartition(":")[2]: factory(name) for name in names}
    protocol = Protocol(
        table, history, options.records, options.evaluations, options.seeds, options.corrupt, options.junk,
        options.history_tasks,
    ).small  # fmt: skip
    runs = measure(protocol, controllers, options.out.with_suffix(".runs.jsonl"))
    result = summary(table, asked, runs, HISTORY_FREE)
    asked_for = protocol.to_dict() | {"seeds": protocol.seeds}
    content = {"table": table.name, "rows": len(table.val), "protocol": asked_for, **result}
    options.out.write_text(json.dumps({**content, "circumstances": circumstances()}, indent=1) + "\n")
    print(printed(result))
    if len(controllers) > 1:
        draw(result, options.out.with_suffix(".svg"))
    print(f"wrote {options.out}")


def _check(options: argparse.Namespace) -> None:
    counts = {"records": 1, "evaluations": 1, "seeds": 1, "junk": 0, "history_tasks": 0}
    for name, least in counts.items():
        value = getattr(options, name)
        if value is not None and value < least:
            raise SearchError(f"--{name.replace('_', '-')} must be at least {least}, but got {value}.")
    if options.out.suffix != ".json":
        raise SearchError(f"--out must be a .json, beside which picture and runs are put, but got {options.out}.")


def measure(
    protocol: Protocol, controllers: Mapping[str, Factory], kept: Path
) -> dict[str, dict[tuple[int, int], Run]]:
    """Returns the run of every controller by (target, seed); those in ``kept`` are not run again.

    Runs are in order of seeds, so that all controllers have met the same targets whenever it is interrupted.
    """
    known = {line["key"]: line for line in _lines(kept)}
    runs: dict[str, dict[tuple[int, int], Run]] = {name: {} for name in controllers}
    sources = {name: source_digest(made) for name, made in controllers.items()}
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a") as file, MetaDataset.open(":memory:") as store:
        for seed in range(protocol.seeds):
            quick = [name for name in controllers if seed < SLOW_SEEDS or thinking(runs[name]) <= SLOW_MS]
            for target in targets(protocol.table):
                past: tuple[PastDataset, ...] | None = None
                for name in quick:
                    made = controllers[name]
                    place = {"target": target, "seed": seed, "controller": name, "source": sources[name]}
                    key = hashlib.sha256(json.dumps(protocol.to_dict() | place, sort_keys=True).encode()).hexdigest()
                    if key not in known:
                        past = past_of(protocol, target, seed, store) if past is None else past
                        run = search(made, protocol, target, seed, past)
                        file.write(json.dumps({"key": key, **place, "rows": run.rows, "ms": run.ms}) + "\n")
                        file.flush()
                        known[key] = {"rows": run.rows, "ms": run.ms}
                    runs[name][target, seed] = Run(known[key]["rows"], known[key]["ms"])
            print(f"seed {seed} done: {', '.join(quick)}", file=sys.stderr, flush=True)
    return runs


def thinking(runs: Mapping[tuple[int, int], Run]) -> float:
    """Returns the median milliseconds an evaluation took a controller in its first seeds."""
    return float(np.median(np.concatenate([run.ms for (_, seed), run in runs.items() if seed < SLOW_SEEDS])))


def targets(table: Table) -> list[int]:
    """The tasks on which regret is defined: something is better than the median."""
    values = [table.val[table.measured(t), t] for t in range(len(table.infos))]
    return [t for t, v in enumerate(values) if len(v) > 1 and v.max() > np.median(v)]


def past_of(protocol: Protocol, target: int, seed: int, store: MetaDataset) -> tuple[PastDataset, ...]:
    """Returns what is known when the target is searched: other families' records, corrupted as asked, and junk.

    They go through ``store``, which is left empty and faster: it remembers architectures it has read.
    """
    source, info = protocol.history, protocol.table.infos[target]
    rng = np.random.default_rng([seed, target])
    others = [t for t, other in enumerate(source.infos) if other.family != info.family and other.name != info.name]
    if protocol.history_tasks is not None:
        others = sorted(int(t) for t in rng.permutation(others)[: protocol.history_tasks])
    turned = set(rng.permutation(others)[: len(others) // 2]) if protocol.corrupt == "half" else set(others)
    for t in others:
        drawn = np.random.default_rng([seed, target, t])  # whatever is done to the scores
        rows = drawn.permutation(source.measured(t))[: protocol.records]
        scores = source.val[rows, t]
        if protocol.corrupt == "shuffle":
            scores = rng.permutation(scores)
        elif protocol.corrupt in ("negate", "half") and t in turned:
            scores = -scores
        _remember(store, source, t, rows, scores)
    past = store.past()
    for search in store.searches():
        store.forget(search.name)
    return (*past, *source.toys(protocol.junk, rng))


def _remember(store: MetaDataset, source: Table, task: int, rows: np.ndarray, scores: np.ndarray) -> None:
    info = source.infos[task]
    store.add_dataset(info)
    name = f"past-{task}"
    store.add_search(SearchInfo(name, info.fingerprint, source.spaces[0].name, created=CREATED))
    pairs = enumerate(zip(rows, scores, strict=True))
    store.append([source.record(name, i, info, int(row), float(score)) for i, (row, score) in pairs])


def search(made: Factory, protocol: Protocol, target: int, seed: int, past: tuple[PastDataset, ...]) -> Run:
    """Returns what a controller evaluates on the target, in order.

    Its time is the processor time of ``ask`` and ``tell``, that of the constructor in the first: on one thread what a
    clock shows on an idle machine.
    """
    table, info = protocol.table, protocol.table.infos[target]
    rows = table.measured(target)
    space = table.space_for(target)
    problem = Problem(
        space=space, seed=SEEDS * target + seed, past=past, metafeatures=info.metafeatures, dataset=info.fingerprint,
        task=info.task, kind=info.kind,
    )  # fmt: skip
    found: list[int] = []
    ms: list[float] = []
    began = time.process_time()
    controller = made(problem)
    for number in range(min(protocol.evaluations, len(rows))):
        (choices,) = controller.ask(1)
        asked = time.process_time()
        row = int(rows[space.rows[identity(choices)]])
        record = table.record("target", number, info, row, table.val[row, target])
        telling = time.process_time()
        controller.tell([record])
        told = time.process_time()
        found.append(row)
        ms.append(round(1e3 * (asked - began + told - telling), 3))
        began = time.process_time()
    return Run(found, ms)


# ---- controllers -----------------------------------------------------------------------------------------------------


def factory(name: str) -> Factory:
    """Returns what makes a controller: a name of the library, a rival's, or ``FILE.py:NAME``.

    Raises:
        SearchError: Where there is no such controller.
    """
    if name in RIVALS:
        return RIVALS[name]
    if name in NAMES:
        return _Named(name)
    path, _, attribute = name.rpartition(":")
    if not Path(path).is_file():
        known = (*NAMES, *RIVALS)
        raise SearchError(
            f"a controller is one of {', '.join(known)} or FILE.py:NAME, but got {name!r};{nearest(name, known)}"
        )
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, attribute, None)):
        raise SearchError(f"{path} must define {attribute}, a class or function of a Problem, but does not.")
    return getattr(module, attribute)


@dataclass(frozen=True)
class _Named:
    """A controller of the library by its name."""

    name: str

    def __call__(self, problem: Problem) -> Controller:
        return create(self.name, problem)


def source_digest(made: Factory) -> str:
    """Returns a digest of what a controller is written in: its file and those of controllers, models and encodings.

    Comments and docstrings do not count, nor what every controller shares (``nas/controllers/base.py``): where a change
    there changes runs, ``VERSION`` is raised.
    """
    name = made.name if isinstance(made, _Named) else ""
    module = _module_of(name) if name else made.__module__
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        module = waiting.pop()
        path = _source(module)
        if module not in found and path is not None:
            tree = ast.parse(path.read_text())
            found[module] = ast.dump(_undocumented(tree))
            waiting += [m for m in _imports(tree) if m.startswith(WATCHED) and m != "nas.controllers.base"]
    return hashlib.sha256(json.dumps([name, sorted(found.items())]).encode()).hexdigest()[:16]


WATCHED = ("nas.controllers.", "nas.surrogate", "nas.encoding", "benchmarks.rivals.")


def _module_of(name: str) -> str:
    return "nas.controllers.optuna" if name == "tpe" else f"nas.controllers.{name}"


def _source(module: str) -> Path | None:
    if module in sys.modules and getattr(sys.modules[module], "__file__", None):
        return Path(str(sys.modules[module].__file__))
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _undocumented(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The finished runs; a last line cut short by an interruption is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, help="an .npz of the schema in benchmarks/table.py")
    source.add_argument("--pack", action="store_true", help="the knowledge shipped with the library")
    parser.add_argument("--history-table", type=Path, help="where the past comes from; the table itself by default")
    parser.add_argument("--controllers", help="names or FILE.py:NAME, by commas; all by default")
    parser.add_argument("--records", type=int, default=256, help="of each past task")
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--corrupt", choices=CORRUPTIONS, default="none")
    parser.add_argument("--junk", type=int, default=0, help="searches of two epochs with random scores in the past")
    parser.add_argument("--history-tasks", type=int, help="past tasks to keep; all by default")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
