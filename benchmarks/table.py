"""Measured architectures on several tasks: a file of published measurements as a search space, records and scores.

Here belong the schema, the space its decisions describe, and what was measured as records. Not here: who searches and
how that is judged (``benchmarks.transfer``).

The schema is one ``.npz``, read without pickle:

| key | type | meaning |
|---|---|---|
| ``arch`` | int [n, p] | a row is an architecture, an entry an index into the values of decision j |
| ``decisions`` | JSON text | p decisions in order, ``{"name", "kind", "values", ...}`` |
| ``tasks``, ``families`` | str [T] | names of the tasks; tasks of one family describe the same data |
| ``val`` | float [n, T] | validation score, higher is better, NaN = not measured |
| ``test`` | float [n, T], optional | test score of the same training |

Kinds: ``edge_op`` (operation on the edge ``source`` -> ``target``), ``node_op`` (operation at ``node``), ``node_input``
(which earlier node feeds ``node``; "0" is the input), ``ordinal`` (ordered numbers), ``categorical`` (unordered).
What an operation's name means is not read: each is an operation of its own, also one that is called "none" or "skip".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import DataError
from nas.metadataset import MetaDataset, shipped
from nas.operations import BUILTIN, Operation
from nas.record import DatasetInfo, Fidelity, Outcome, PastDataset, Record
from nas.space import Choice, Choices, Op, SearchSpace, Value, identity
from nas.space.measured import MeasuredSpace

NEEDS = {
    "edge_op": ("source", "target"),
    "node_op": ("node",),
    "node_input": ("node",),
    "ordinal": (),
    "categorical": (),
}
RESERVED = ("identity", "zero", "input", "output")  # what an architecture's normal form takes away
INPUT, DESIGN, OUTPUT = "(input)", "(design)", "(output)"  # our nodes, called as no table calls its own
THOROUGH = Fidelity(epochs=100, rows=1000, splits=1)  # of all records of a table: one fidelity, whatever it was
TOY = Fidelity(epochs=2, rows=100, splits=1)
TOY_RECORDS = 30
CREATED = "2020-01-01T00:00:00+00:00"  # of records that were not made here

Decision = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Table:
    """n choices on T tasks; usually of one space, but what can be chosen may differ from task to task.

    Attributes:
        name: For readers.
        digest: Of the content.
        spaces: Each with those of the choices that are of it, in the order of the rows.
        where: [n] index of the space of each row.
        val: [n, T] higher is better, NaN where not measured.
        test: [n, T] or None.
        infos: [T] name, family and, where known, meta-features of each task.
    """

    name: str
    digest: str
    spaces: tuple[MeasuredSpace, ...]
    where: np.ndarray
    val: np.ndarray
    test: np.ndarray | None
    infos: tuple[DatasetInfo, ...]

    def measured(self, task: int) -> np.ndarray:
        """Returns the rows that were measured on a task."""
        return np.flatnonzero(np.isfinite(self.val[:, task]))

    def record(
        self, search: str, number: int, task: DatasetInfo, row: int, score: float, fidelity: Fidelity = THOROUGH
    ) -> Record:
        """Returns the evaluation of a row as a search would have recorded it."""
        space, choices = self.spaces[self.where[row]], self.choices[row]
        return Record(
            search=search,
            number=number,
            dataset=task.fingerprint,
            space=space.name,
            space_fingerprint=space.fingerprint,
            choices=choices,
            architecture=space.architecture(choices),
            settings=self._settings[row],
            fidelity=fidelity,
            seed=0,
            metric="score",
            outcome=Outcome("complete", score=float(score)),
            key=f"{search}/{number}",
            engine="table",
            created=CREATED,
        )

    def space_for(self, task: int) -> MeasuredSpace:
        """Returns what can be chosen on a task: the choices at ``measured(task)``, in that order."""
        rows = self.measured(task)
        key = rows.tobytes()
        if key not in self._cut:
            space = self.spaces[self.where[rows[0]]]
            places = [space.rows[identity(self.choices[row])] for row in rows]
            self._cut[key] = space if len(places) == len(space.measured) else space.only(places)
        return self._cut[key]

    def toys(self, count: int, rng: np.random.Generator) -> list[PastDataset]:
        """Returns ``count`` searches of two epochs whose scores are random."""
        return [self._toy(f"toy{i}", rng) for i in range(count)]

    def _toy(self, name: str, rng: np.random.Generator) -> PastDataset:
        info = described(name, name)
        rows = rng.choice(len(self.val), size=min(TOY_RECORDS, len(self.val)), replace=False)
        scores = rng.random(len(rows))
        pairs = enumerate(zip(rows, scores, strict=True))
        return PastDataset(info, tuple(self.record(name, i, info, int(row), s, TOY) for i, (row, s) in pairs))

    @cached_property
    def choices(self) -> list[Choices]:
        """[n]"""
        each = [iter(space.measured) for space in self.spaces]
        return [next(each[k]) for k in self.where]

    @cached_property
    def _settings(self) -> list[dict[str, Value]]:
        return [self.spaces[k].settings(c) for k, c in zip(self.where, self.choices, strict=True)]

    @cached_property
    def _cut(self) -> dict[bytes, MeasuredSpace]:
        return {}


def load(path: Path) -> Table:
    """Returns the table of a file.

    Raises:
        DataError: Where the file is not of the schema, or decisions, rows and columns do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise DataError(
            f"a table is an .npz of the schema in benchmarks/table.py, but {path} is not: {error}."
        ) from error
    missing = {"arch", "decisions", "tasks", "families", "val"} - set(content)
    if missing:
        raise DataError(f"a table has arch, decisions, tasks, families and val, but {path} has no {sorted(missing)}.")
    decisions = _decisions(path, content["decisions"])
    arch, tasks, families = content["arch"], content["tasks"], content["families"]
    val, test = (_scores(path, name, content[name]) if name in content else None for name in ("val", "test"))
    assert val is not None
    if not (arch.shape == (len(val), len(decisions)) and val.shape[1:] == tasks.shape == families.shape):
        raise DataError(
            f"arch is [n, p], val [n, T], but {path} has {arch.shape} and {val.shape} for p = {len(decisions)} "
            f"decisions and T = {len(tasks)} tasks."
        )
    sizes = [len(d["values"]) for d in decisions]
    if not np.issubdtype(arch.dtype, np.integer) or (arch < 0).any() or (arch >= sizes).any():
        raise DataError(f"arch holds indices into the values of each decision, but in {path} some are none.")
    if test is not None and test.shape != val.shape:
        raise DataError(f"test is of the shape of val, {val.shape}, but in {path} it is {test.shape}.")
    space, labels = space_of(decisions)
    choices = [{path: names[i] for (path, names), i in zip(labels.items(), row, strict=True)} for row in arch]
    infos = tuple(described(str(t), str(f)) for t, f in zip(tasks, families, strict=True))
    digest = hashlib.sha256(arch.tobytes() + val.tobytes() + str(content["decisions"]).encode()).hexdigest()
    where = np.zeros(len(val), dtype=int)
    return Table(path.stem, digest, (MeasuredSpace(space, choices),), where, val, test, infos)


def _decisions(path: Path, text: np.ndarray) -> list[Decision]:
    try:
        decisions = json.loads(str(text))
    except json.JSONDecodeError as error:
        raise DataError(f"decisions are a JSON text, but in {path} they are not: {error}.") from error
    if not isinstance(decisions, list) or not decisions:
        raise DataError(f"decisions are a list of at least one, but in {path} they are {str(decisions)[:80]}.")
    for decision in decisions:
        _checked(decision)
    return decisions


def _scores(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.number) or np.isinf(values).any():
        raise DataError(f"{name} holds numbers, NaN where nothing was measured, but in {path} it does not.")
    return values.astype(float)


def of_pack(path: Path | None = None) -> Table:
    """Returns what the shipped knowledge (or a pack at ``path``) holds of the tabular space, meta-features included.

    Which decisions there are depends on the columns of a dataset; its space is found again by fingerprint, and a
    dataset whose space this version no longer makes is left out. A failed training scores as the worst of its dataset.
    """
    with MetaDataset.from_pack(path) if path else shipped() as history:
        past = history.past()
    known = _tabular_spaces()
    past = [p for p in past if all(r.space_fingerprint in known for r in p.records)]
    scores: dict[tuple[str, Any], dict[int, float | None]] = {}
    choices: dict[tuple[str, Any], Choices] = {}
    for task, dataset in enumerate(past):
        for record in dataset.records:
            key = record.space_fingerprint, identity(record.choices)
            choices.setdefault(key, dict(record.choices))
            scores.setdefault(key, {})[task] = record.score
    val = np.full((len(choices), len(past)), np.nan)
    for row, found in enumerate(scores.values()):
        for task, score in found.items():
            val[row, task] = -np.inf if score is None else score
    worst = [min(column[np.isfinite(column)], default=0.0) for column in val.T]
    val = np.where(np.isneginf(val), worst, val)
    prints = list(dict.fromkeys(fingerprint for fingerprint, _ in choices))
    spaces = [MeasuredSpace(known[f], [c for (g, _), c in choices.items() if f == g]) for f in prints]
    where = np.array([prints.index(fingerprint) for fingerprint, _ in choices])
    digest = hashlib.sha256(val.tobytes() + repr(choices).encode()).hexdigest()
    infos = tuple(p.info for p in past)
    return Table(path.stem if path else "pack", digest, tuple(spaces), where, val, None, infos)


def _tabular_spaces() -> dict[str, SearchSpace]:
    """Every space for tables that a dataset can have, by fingerprint."""
    from search_spaces import tabular

    numbers, flags = (0, 1, 17, 33, 65, 129), (False, True)  # of columns: each gives other sizes of embeddings
    found = {}
    for numeric, missing, categorical, embed, classes in product(numbers, flags, flags, flags, flags):
        if numeric or categorical:
            space = tabular(
                numeric=numeric, missing=missing, categorical=categorical, embed=embed, classification=classes
            )
            found[space.fingerprint] = space
    return found


def described(name: str, family: str) -> DatasetInfo:
    """Returns a task of which nothing but its name is known."""
    fingerprint = hashlib.sha256(name.encode()).hexdigest()
    return DatasetInfo(fingerprint, name, "tabular", "classification", 0, 0, 0, family)


# ---- decisions as a space --------------------------------------------------------------------------------------------


def space_of(decisions: Sequence[Decision]) -> tuple[SearchSpace, dict[str, tuple[Value, ...]]]:
    """Returns the space of p decisions, and of each, by the path it has there, what its p values are called.

    Ordinal and categorical decisions become parameters of one operation behind the input; what follows reads it.
    Sources that nothing feeds are the input; a node without input or edges reads the node before it. The output joins
    the nodes that nothing is sure to read.
    """
    for d in decisions:
        _checked(d)
    labels = {str(d["name"]): _labels(d) for d in decisions}
    by_kind = {kind: [d for d in decisions if d["kind"] == kind] for kind in NEEDS}
    design = by_kind["ordinal"] + by_kind["categorical"]
    space = SearchSpace(f"table-{_digest(decisions)}", operations=_operations(labels, by_kind, design))
    space.add_input(INPUT)
    start = INPUT
    if design:
        space.add_node(DESIGN, Op(DESIGN, **{d["name"]: _domain(d, labels) for d in design}))
        space.add_edge(INPUT, DESIGN)
        start = DESIGN
    sinks = _graph(space, by_kind, labels, start)
    space.add_output(OUTPUT, join="concat" if len(sinks) > 1 else "add")
    for sink in sinks:
        space.add_edge(sink, OUTPUT)
    return space, labels


def _checked(decision: Decision) -> None:
    d = decision if isinstance(decision, Mapping) else {}
    if d.get("kind") not in NEEDS or any(key not in d for key in ("name", "values", *NEEDS[d["kind"]])):
        raise DataError(f"a decision has name, values and one of the kinds {', '.join(NEEDS)}, but got {decision}.")


def _graph(
    space: SearchSpace, by_kind: Mapping[str, list[Decision]], labels: Mapping[str, tuple[Value, ...]], start: str
) -> list[str]:
    """Adds nodes and edges behind ``start``; returns the nodes that the output joins."""
    edges, ops, feeds = by_kind["edge_op"], by_kind["node_op"], by_kind["node_input"]
    body = {str(d["node"]): _domain(d, labels) for d in ops}
    fed = {str(d["target"]) for d in edges} | {str(d["node"]) for d in feeds}
    mentioned = [name for d in feeds for name in (*d["values"], d["node"])] + [d["node"] for d in ops]
    mentioned += [d[end] for d in edges for end in ("source", "target")]
    names = list(dict.fromkeys(str(name) for name in mentioned))
    last = start
    for name in names:
        space.add_node(name, body.get(name, "identity"))
        if name not in fed:
            space.add_edge(last if name in body else start, name)
            last = name if name in body else last
    for d in feeds:
        space.add_edge(_domain(d, labels), str(d["node"]))
    for d in edges:
        space.add_edge(str(d["source"]), str(d["target"]), _domain(d, labels))
    read = {source for source, _, edge in space.graph.edges(data=True) if edge["source"] is None}
    return [name for name in names if name not in read and (name in fed or name in body)] or [start]


def _labels(decision: Decision) -> tuple[Value, ...]:
    """What the values are called in the space: numbers where ordered, else texts, never one a normal form removes."""
    if decision["kind"] == "ordinal":
        numbers = [float(value) for value in decision["values"]]
        return tuple(int(n) if n.is_integer() else n for n in numbers)
    texts = [str(value) for value in decision["values"]]
    if decision["kind"] in ("edge_op", "node_op"):
        texts = [f"{text}_operation" if text in RESERVED else text for text in texts]
    return tuple(texts)


def _domain(decision: Decision, labels: Mapping[str, tuple[Value, ...]]) -> Choice:
    name = str(decision["name"])
    return Choice(*labels[name], name=name)


def _operations(
    labels: Mapping[str, tuple[Value, ...]], by_kind: Mapping[str, list[Decision]], design: Sequence[Decision]
) -> dict[str, Operation]:
    """Every value of an operation's decision as an operation; none can be built, a table is only looked up."""
    names = [str(v) for kind in ("edge_op", "node_op") for d in by_kind[kind] for v in labels[str(d["name"])]]
    found = {name: Operation(name, 1, _unbuilt, _same) for name in names}
    found[DESIGN] = Operation(DESIGN, 1, _unbuilt, _same, {str(d["name"]): None for d in design})
    return {"identity": BUILTIN["identity"], **found}


def _unbuilt(shape: tuple[int, ...], **parameters: Value) -> Any:
    raise DataError("a table's operations have been measured elsewhere and cannot be built; look the score up.")


def _same(shape: tuple[int, ...], **parameters: Value) -> tuple[int, ...]:
    return shape


def _digest(decisions: Sequence[Decision]) -> str:
    return hashlib.sha256(json.dumps(list(decisions), sort_keys=True).encode()).hexdigest()[:8]
