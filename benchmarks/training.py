"""How much faster are candidates trained here than by a plain PyTorch loop, skorch and scikit-learn, and as well?

    python -m benchmarks.training --out FILE.json

One thread; CPU seconds, on a GPU wall seconds between synchronisations; every ratio comes from loops that took turns in
the same run, equal in epochs, batch size, initial weights, optimiser and schedule. ``value`` is the median over turns
of what the other loop needs for a candidate, divided by what ours does; ``spread`` the least and the greatest, ``n``
how many turns.

Ctrl-C ends it at once: the rows that are written stay, and the same command on the same commit goes on with the next.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import chain, conv_net, noise
from benchmarks.loops import one_by_one, ours, plain, sklearn, skorch
from benchmarks.record import circumstances
from benchmarks.rows import Row, operations, row, unmeasured
from benchmarks.searched import searched
from benchmarks.stopped import pruned
from nas.architecture import Architecture
from nas.dataset import Dataset, load
from nas.training import Candidate
from nas.training.faults import device_of
from nas.training.fit import begin
from nas.training.learn import Budget, Training, advance, outputs
from nas.training.recipe import precision
from nas.training.resident import Fold

DEMANDED = (10.0, 12.0, 9.0, 8.0, 5.0, 1.7, 1.0, 0.5, 4.0, 200.0, 4.0)
PARITY = 0.003  # of mean accuracy


# --- cases


def mlp(widths: Sequence[int]) -> Architecture:
    """Returns linear and ReLU for each width."""
    return chain(*[op for width in widths for op in (("linear", {"width": width}), ("relu", {}))])


def table(rows: int = 10_000, columns: int = 32) -> Dataset:
    """Returns normal clouds, four a class, of which a third of the columns says something."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(16, columns)) * (np.arange(columns) < columns // 3)
    kind = rng.integers(0, 16, rows)
    x = (centres[kind] + rng.normal(size=(rows, columns))).astype(np.float32)
    return Dataset("clouds", "tabular", "classification", {"numeric": x}, kind % 4, tuple("abcd"))


def trainings(
    data: Dataset, architectures: Sequence[Architecture], epochs: int, batch: int, seed: int = 0, device: str = "cpu"
) -> list[Training]:
    """Returns a training of each architecture, each on a split and with a seed of its own, ready to begin."""
    splits = data.splits(4, seed)
    folds = [Fold(data, split.train, split.validation, device) for split in splits]
    found = []
    for i, architecture in enumerate(architectures):
        candidate = Candidate(architecture, {"dropout": 0.0})
        found.append(begin(candidate, folds[i % 4], Budget(epochs), seed + i, batch=batch))
    return found


def accuracy(training: Training) -> float:
    """Returns the share of watched rows a network is right about."""
    assert training.watched is not None
    return float((outputs(training.network, training.watched).argmax(dim=1) == training.watched.y).float().mean())


def compared(
    name: str,
    make: Callable[[int], list[Training]],
    other: Callable[[Training], None],
    few: int,
    turns: int,
    demanded: float,
    device: str = "cpu",
) -> Row:
    """Returns how many times as long ``other`` takes for a candidate, timed in turns on ``few`` of them.

    Where that falls short, ``profile`` says which operations take our time in the first epoch of up to 32.
    """
    ratios, apart = [], []
    for turn in range(turns + 1):
        all_of_them, some = make(turn), make(turn)[:few]
        theirs = _seconds(partial(one_by_one, other, some), device) / len(some)
        mine = _seconds(partial(ours, all_of_them), device) / len(all_of_them)
        if turn:  # the first loads
            ratios.append(theirs / mine)
            apart.append((1e3 * theirs, 1e3 * mine))
    found = {
        **row(name, ratios, demanded),
        "milliseconds": [round(float(value), 2) for value in np.median(apart, axis=0)],
    }
    return {**found, "profile": operations(partial(ours, make(0)[:32], 1))} if found["value"] < demanded else found


def _seconds(call: Callable[[], object], device: str = "cpu") -> float:
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def tables(turns: int) -> list[Callable[[], Row]]:
    """Returns the first five cases: perceptrons on tables."""
    digits, clouds = load("digits"), table()
    rng = np.random.default_rng(0)
    shapes = [tuple(rng.choice([32, 64, 96, 128], size=2 + i % 2)) for i in range(128)]
    several = sorted({tuple(map(int, shape)) for shape in shapes})[:36]
    of_36 = [mlp(several[i % len(several)]) for i in range(128)]
    arbitrary = [mlp([int(w) for w in rng.integers(16, 129, size=2)]) for _ in range(64)]
    same = [mlp((64, 64))] * 16

    def case(name: str, make: Callable[[int], list[Training]], few: int, number: int) -> Callable[[], Row]:
        return partial(compared, name, make, skorch if number == 1 else plain, few, turns, DEMANDED[number])

    on_digits = lambda turn: trainings(digits, same, 10, 64, 100 * turn)  # noqa: E731
    on_clouds = lambda turn: trainings(clouds, same, 3, 128, 100 * turn)  # noqa: E731
    many = lambda turn: trainings(digits, of_36, 5, 64, 100 * turn)  # noqa: E731
    unlike = lambda turn: trainings(digits, arbitrary, 5, 64, 100 * turn)  # noqa: E731
    return [
        case("64-64 MLP on digits, 16 replicas, against the plain loop", on_digits, 4, 0),
        case("64-64 MLP on digits, 16 replicas, against skorch", on_digits, 3, 1),
        case("64-64 MLP on 10,000 x 32 numbers, 16 replicas, against the plain loop", on_clouds, 2, 2),
        case(f"128 MLPs of {len(several)} shapes on digits, against the plain loop", many, 12, 3),
        case("64 MLPs of arbitrary widths on digits, against the plain loop", unlike, 12, 4),
    ]


def images(turns: int) -> Row:
    """The sixth case: a network of NAS-Bench-201's layout on the CPU."""
    data = noise(768, 32)
    make = lambda turn: trainings(data, [conv_net(16, 1)], 1, 64, turn)  # noqa: E731
    case = f"NAS-Bench-201 network C=16, N=1, 32 x 32, {precision('image', 'cpu')}, against the plain loop in float32"
    return compared(case, make, plain, 1, turns, DEMANDED[5])


def on_gpu(turns: int, device: str, *, mlps: int = 256, cells: int = 5, rows: int = 4096) -> list[Callable[[], Row]]:
    """Returns the last two cases: many perceptrons side by side, and a large network of NAS-Bench-201's layout."""
    digits, data = load("digits"), noise(rows, 32)
    many = lambda turn: trainings(digits, [mlp((64, 64))] * mlps, 10, 64, 100 * turn, device)  # noqa: E731
    name = f"{mlps} MLPs on {device}, against the plain loop there"

    def of(batch: int) -> Callable[[int], list[Training]]:
        return lambda turn: trainings(data, [conv_net(16, cells)], 1, batch, turn, device)

    def large() -> Row:
        case = f"NAS-Bench-201 network C=16, N={cells}, batches of 64 and 256, on {device}, against the plain loop"
        makes = [of(batch) for batch in (64, 256)]
        both = [compared(f"{case} in float32", make, plain, 1, turns, DEMANDED[10], device) for make in makes]
        ratios = [each["value"] for each in both]
        return {**both[0], "value": min(ratios), "spread": [min(ratios), max(ratios)], "batches": both}

    return [partial(compared, name, many, plain, 4, turns, DEMANDED[9], device), large]


def parity(candidates: int) -> Row:
    """Returns by how much the mean accuracy of ours and of the plain loop differ, with its standard error."""
    digits = load("digits")
    found = []
    for loop in (partial(one_by_one, plain), ours):
        some = trainings(digits, [mlp((64, 64))] * candidates, 10, 64)
        loop(some)
        found.append(np.array([accuracy(training) for training in some]))
    apart = found[1] - found[0]
    return {
        "plain": round(float(found[0].mean()), 5),
        "ours": round(float(found[1].mean()), 5),
        "difference": round(float(apart.mean()), 5),
        "standard_error": round(float(apart.std(ddof=1) / len(apart) ** 0.5), 5),
        "n": len(apart),
        "allowed": PARITY,
    }


def identity(candidates: int = 12) -> Row:
    """Returns the share of trainings whose bits are the same alone, in company, promoted and taken up again."""
    digits, rng = load("digits"), np.random.default_rng(0)
    shapes = [mlp([int(w) for w in rng.integers(8, 129, size=2)]) for _ in range(candidates // 4)]
    architectures = [shapes[i // 4] for i in range(candidates)]
    make = lambda: trainings(digits, architectures, 4, 64)  # noqa: E731
    alone, crowd, promoted = make(), make(), make()
    for training in alone:
        advance([training], 4)
    ours(crowd)
    for start in range(0, candidates, 4):
        four = promoted[start : start + 4]
        advance(four, 1)
        advance(four[::-2], 3)
        advance(four[::-2], 4)
        for training in four[::2]:
            advance([training], 4)
    same = [float(_same(one, other)) for others in (crowd, promoted) for one, other in zip(alone, others, strict=True)]
    case = "share with identical bits alone, in company, promoted and taken up again"
    return {**row(case, same, DEMANDED[6]), "value": float(np.mean(same))}


def _same(one: Training, other: Training) -> bool:
    a, b = one.state, other.state
    return a.curve == b.curve and all(
        torch.equal(x, y) for x, y in zip((a.moving.u, *a.best), (b.moving.u, *b.best), strict=True)
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the rows, one a line, and returns 0; goes on where the same command was ended before on this commit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=5, help="of what is compared")
    parser.add_argument("--data", type=Path, help="the table that is searched on, such as adult; none: not measured")
    parser.add_argument("--trials", type=int, default=50, help="of that search")
    parser.add_argument("--device", default="cpu", help="of the last two rows, which a CPU leaves unmeasured")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    about: dict[str, Any] = {**circumstances(), "load": [os.getloadavg()[0]]}
    about, rows = _begun(options.out, about)
    try:
        for found in measured(options, len(rows)):
            rows.append(found)
            about["load"].append(os.getloadavg()[0])  # before and after each row
            print(f"{found['value']!s:>12} (demanded {found['demanded']})  {found['case']}", flush=True)
            _write(options.out, about, rows)
    except KeyboardInterrupt:
        print(f"ended in row {len(rows) + 1}; the same command goes on with it", file=sys.stderr)
        return 130
    about |= {"accuracy": parity(64), "sklearn_milliseconds": _sklearn(options.turns)}
    print(f"mean accuracy: {about['accuracy']}")
    _write(options.out, about, rows)
    return 0


def measured(options: argparse.Namespace, done: int) -> Iterator[Row]:
    """Yields the rows from number ``done`` on, in their order."""
    turns = options.turns
    cases: list[Callable[[], Row]] = [
        *tables(turns),
        partial(images, turns),
        identity,
        partial(pruned, DEMANDED[7]),
        partial(searched, options.data, options.trials, DEMANDED[8])
        if options.data
        else partial(unmeasured, "nas.search", DEMANDED[8]),
    ]
    if options.device != "cpu":
        cases += on_gpu(turns, str(device_of(options.device)))
    else:
        cases.append(partial(unmeasured, "256 MLPs on CUDA", DEMANDED[9]))
        cases.append(partial(unmeasured, "NAS-Bench-201 network C=16, N=5 on CUDA", DEMANDED[10]))
    for case in cases[done:]:
        yield case()


def _begun(path: Path, about: dict[str, Any]) -> tuple[dict[str, Any], list[Row]]:
    """Returns circumstances and rows of a file that the same command began on the same commit."""
    if not path.exists():
        return about, []
    before = json.loads(path.read_text())
    rows = before.pop("rows", [])
    if any(before.get(name) != about[name] for name in ("command", "commit")):
        return about, []
    return {**before, "resumed": [*before.get("resumed", []), about["date"]]}, rows


def _write(path: Path, about: Mapping[str, Any], rows: Sequence[Row]) -> None:
    lines = ",\n".join("  " + json.dumps(each) for each in rows)
    path.write_text(json.dumps(about, indent=1)[:-2] + f',\n "rows": [\n{lines}\n ]\n}}\n')


def _sklearn(turns: int) -> float:
    """Returns the milliseconds scikit-learn's perceptron takes where the first case's replicas are trained."""
    one = trainings(load("digits"), [mlp((64, 64))], 10, 64)[0]
    return round(1e3 * float(np.median([_seconds(lambda: sklearn(one)) for _ in range(turns)])), 1)


if __name__ == "__main__":
    sys.exit(main())
