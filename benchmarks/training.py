"""How much faster are candidates trained here than by a plain PyTorch loop, skorch and scikit-learn, and as well?

    python -m benchmarks.training --out FILE.json

One thread; CPU seconds, on a GPU wall seconds between synchronisations; every ratio comes from loops that took turns in
the same run, equal in epochs, batch size, initial weights, optimiser and schedule. ``value`` is the median over turns
of what the other loop needs for a candidate, divided by what ours does; ``spread`` the least and the greatest, ``n``
how many turns.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import nas
from benchmarks.gpu import chain, conv_net, noise
from benchmarks.record import circumstances
from nas.architecture import Architecture
from nas.dataset import Dataset, load
from nas.metadataset import shipped
from nas.record import Outcome
from nas.training import Candidate, HistoryPruner, Recipe
from nas.training.faults import device_of
from nas.training.fit import begin
from nas.training.learn import Budget, Training, advance, outputs
from nas.training.optimizer import BETAS, VECTORS, fan_ins
from nas.training.recipe import coslog4, precision
from nas.training.resident import Fold, Rows

Row = dict[str, Any]
DEMANDED = (10.0, 12.0, 9.0, 8.0, 5.0, 1.7, 1.0, 0.5, 4.0, 200.0, 4.0)
PARITY = 0.003  # of mean accuracy
FORESEEN = (0.1, 0.2, 0.35, 0.5)  # parts of a schedule


# --- loops


def groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Returns the groups torch's AdamW needs for the learning rates of ``nas.training``."""
    found: dict[int | None, list[nn.Parameter]] = {}
    parameters = dict(network.named_parameters())
    for name, fan_in in fan_ins(network).items():
        found.setdefault(fan_in, []).append(parameters[name])
    rates = {f: recipe.learning_rate * (VECTORS if f is None else f**-0.5) for f in found}
    decays = {f: 0.0 if f is None else recipe.weight_decay * f**0.5 for f in found}
    return [{"params": found[f], "lr": rates[f], "weight_decay": decays[f]} for f in found]


def plain(training: Training) -> None:
    """Trains as most scripts do: DataLoader, AdamW, a scheduler, the loss read back at every step."""
    network, recipe, task, device = training.network, training.recipe, training.task, training.rows.y.device
    names = list(training.rows.tensors)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as it is by default
    loader = _loader(training.rows, training.batch, shuffle=True)
    optimizer = torch.optim.AdamW(groups(network, recipe), betas=BETAS)
    steps = training.budget.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: coslog4(min(step, steps - 1), steps))
    loss_of: nn.Module = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    if not task.classification:
        loss_of = nn.MSELoss()
    curve = []
    for _ in range(training.budget.last):
        network.train()
        total = 0.0
        for *views, y in loader:
            optimizer.zero_grad()
            answer = network({name: view.to(device) for name, view in zip(names, views, strict=True)})
            loss = loss_of(answer if task.classification else answer[:, 0], y.to(device))
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item()
        if training.watched is not None:
            curve.append(_validated(training, names))
    state = replace(training.state, epoch=training.budget.last, curve=tuple(curve))
    training.state = replace(state, best_epoch=training.budget.last)


def _loader(rows: Rows, batch: int, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    on_host = [tensor.cpu() for tensor in (*rows.tensors.values(), rows.y)]
    return DataLoader(TensorDataset(*on_host), batch, shuffle=shuffle, drop_last=shuffle)


def _validated(training: Training, names: list[str]) -> float:
    assert training.watched is not None
    training.network.eval()
    device = training.rows.y.device
    total, count = 0.0, 0
    with torch.no_grad():
        for *views, y in _loader(training.watched, 256, shuffle=False):
            answer = training.network({name: view.to(device) for name, view in zip(names, views, strict=True)})
            total += training.task.score(answer, y.to(device)).item() * len(y)
            count += len(y)
    return total / count


def ours(trainings: Sequence[Training]) -> None:
    """Trains with ``nas.training``, side by side: 16 on the CPU, all on a GPU."""
    kinds: dict[tuple[object, ...], list[Training]] = {}
    for training in trainings:
        kinds.setdefault(training.kind, []).append(training)
    for members in kinds.values():
        members.sort(key=lambda training: str(training.shape))  # equal shapes stand together
        together = 16 if members[0].rows.y.device.type == "cpu" else len(members)
        for start in range(0, len(members), together):
            some = members[start : start + together]
            advance(some, some[0].budget.last)


def skorch(training: Training) -> None:
    """Trains with skorch's classifier, as its documentation does."""
    from skorch import NeuralNetClassifier
    from skorch.dataset import Dataset as Skorched
    from skorch.helper import predefined_split

    assert training.watched is not None
    x, held_out = (rows.tensors["x"].numpy() for rows in (training.rows, training.watched))
    net = NeuralNetClassifier(
        _OneView(training.network),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=0.003,
        max_epochs=training.budget.last,
        batch_size=training.batch,
        iterator_train__shuffle=True,
        iterator_train__drop_last=True,
        train_split=predefined_split(Skorched(held_out, training.watched.y.numpy())),
        verbose=0,
    )
    net.fit(x, training.rows.y.numpy())


class _OneView(nn.Module):
    """A network of one view as skorch wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs."""
        answer: Tensor = self.network({"x": x})
        return answer


def sklearn(training: Training) -> None:
    """Trains scikit-learn's perceptron of two layers of 64."""
    import warnings

    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((64, 64), batch_size=training.batch, max_iter=training.budget.last, n_iter_no_change=10**6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(training.rows.tensors["x"].numpy(), training.rows.y.numpy())


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


def one_by_one(loop: Callable[[Training], None], some: Sequence[Training]) -> None:
    """Trains each with a loop that trains one."""
    for training in some:
        loop(training)


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
    """Returns how many times as long ``other`` takes for a candidate, timed in turns on ``few`` of them."""
    ratios, apart = [], []
    for turn in range(turns + 1):
        all_of_them, some = make(turn), make(turn)[:few]
        theirs = _seconds(partial(one_by_one, other, some), device) / len(some)
        mine = _seconds(partial(ours, all_of_them), device) / len(all_of_them)
        if turn:  # the first loads
            ratios.append(theirs / mine)
            apart.append((1e3 * theirs, 1e3 * mine))
    return {
        **_row(name, ratios, demanded),
        "milliseconds": [round(float(value), 2) for value in np.median(apart, axis=0)],
    }


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


def _row(name: str, values: Sequence[float], demanded: float) -> Row:
    spread = [round(float(min(values)), 3), round(float(max(values)), 3)]
    return {
        "case": name,
        "value": round(float(np.median(values)), 3),
        "spread": spread,
        "n": len(values),
        "demanded": demanded,
    }


def tables(turns: int) -> Iterator[Row]:
    """Yields the first five cases: perceptrons on tables."""
    digits, clouds = load("digits"), table()
    rng = np.random.default_rng(0)
    shapes = [tuple(rng.choice([32, 64, 96, 128], size=2 + i % 2)) for i in range(128)]
    several = sorted({tuple(map(int, shape)) for shape in shapes})[:36]
    of_36 = [mlp(several[i % len(several)]) for i in range(128)]
    arbitrary = [mlp([int(w) for w in rng.integers(16, 129, size=2)]) for _ in range(64)]
    same = [mlp((64, 64))] * 16
    on_digits = lambda turn: trainings(digits, same, 10, 64, 100 * turn)  # noqa: E731
    case = "64-64 MLP on digits, 16 replicas, against "
    yield compared(f"{case}the plain loop", on_digits, plain, 4, turns, DEMANDED[0])
    yield compared(f"{case}skorch", on_digits, skorch, 3, turns, DEMANDED[1])
    yield compared(
        "64-64 MLP on 10,000 x 32 numbers, 16 replicas, against the plain loop",
        lambda turn: trainings(clouds, same, 3, 128, 100 * turn),
        plain,
        2,
        turns,
        DEMANDED[2],
    )
    yield compared(
        f"128 MLPs of {len(several)} shapes on digits, against the plain loop",
        lambda turn: trainings(digits, of_36, 5, 64, 100 * turn),
        plain,
        12,
        turns,
        DEMANDED[3],
    )
    yield compared(
        "64 MLPs of arbitrary widths on digits, against the plain loop",
        lambda turn: trainings(digits, arbitrary, 5, 64, 100 * turn),
        plain,
        12,
        turns,
        DEMANDED[4],
    )


def images(turns: int) -> list[Row]:
    """The sixth case: a network of NAS-Bench-201's layout on the CPU."""
    data = noise(768, 32)
    make = lambda turn: trainings(data, [conv_net(16, 1)], 1, 64, turn)  # noqa: E731
    case = f"NAS-Bench-201 network C=16, N=1, 32 x 32, {precision('image', 'cpu')}, against the plain loop in float32"
    return [compared(case, make, plain, 1, turns, DEMANDED[5])]


def on_gpu(turns: int, device: str, *, mlps: int = 256, cells: int = 5, rows: int = 4096) -> list[Row]:
    """The last two cases: many perceptrons side by side, and a large network of NAS-Bench-201's layout."""
    digits, data = load("digits"), noise(rows, 32)
    many = lambda turn: trainings(digits, [mlp((64, 64))] * mlps, 10, 64, 100 * turn, device)  # noqa: E731
    large = [
        lambda turn, batch=batch: trainings(data, [conv_net(16, cells)], 1, batch, turn, device) for batch in (64, 256)
    ]
    case = (
        f"NAS-Bench-201 network C=16, N={cells}, batches of 64 and 256, on {device}, against the plain loop in float32"
    )
    both = [compared(case, make, plain, 1, turns, DEMANDED[10], device) for make in large]
    ratios = [row["value"] for row in both]
    return [
        compared(f"{mlps} MLPs on {device}, against the plain loop there", many, plain, 4, turns, DEMANDED[9], device),
        {**both[0], "value": min(ratios), "spread": [min(ratios), max(ratios)], "batches": both},
    ]


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
    row = _row("share with identical bits alone, in company, promoted and taken up again", same, DEMANDED[6])
    return {**row, "value": float(np.mean(same))}


def _same(one: Training, other: Training) -> bool:
    a, b = one.state, other.state
    return a.curve == b.curve and all(
        torch.equal(x, y) for x, y in zip((a.moving.u, *a.best), (b.moving.u, *b.best), strict=True)
    )


def pruned(held_out: int = 20, orders: int = 5) -> Row:
    """Returns the share of epochs a search needs for the same best score when history stops its trainings.

    The trainings of a held-out dataset are gone through in random orders. A search without a pruner does the first
    half. With one, which has learned from all other families, it goes through the same order until its best score is
    that of the half, on through the other half where it stopped the best one. ``_gone_through`` says what else is told.
    """
    with shipped() as history:
        trained = [
            (past.info.family, [record.outcome for record in past.records if len(record.outcome.curve) > 1])
            for past in history.past()
        ]
    rng, found = np.random.default_rng(0), []
    for family, own in trained[:: max(1, len(trained) // held_out)][:held_out]:
        pruner = HistoryPruner([[each.curve for each in some] for other, some in trained if other != family])
        found += [_gone_through(pruner, [own[i] for i in rng.permutation(len(own))]) for _ in range(orders)]
    shares = [each.pop("share") for each in found]
    more = {name: round(float(np.mean([each[name] for each in found])), 3) for name in found[0]}
    name = f"HistoryPruner: share of epochs for the same best score, {held_out} held-out datasets"
    return {**_row(name, shares, DEMANDED[7]), "mean": round(float(np.mean(shares)), 3), **more}


def _gone_through(pruner: HistoryPruner, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns what a pruner does to a search that trains these in order.

    ``share``: of the epochs of the first half without a pruner. ``never``: whether its best score was not reached, and
    ``never within its error``, not even one a standard error below. ``share_of_pool``: of the epochs of all trainings,
    with no regard to what was found; ``same_best``: whether the best of all was among what went on; ``regret``: how far
    its best is below, over the difference of best and median. ``foreseen at``: the share if it were known from that
    part of a schedule on which trainings end above the best so far, and no other went on.
    """
    curves = [each.curve for each in outcomes]
    half, ends, lengths = len(curves) // 2, np.array([max(curve) for curve in curves]), [len(curve) for curve in curves]
    spent, bests = _pruned(pruner, curves)
    best, plain = int(ends[:half].argmax()), sum(lengths[:half])
    there = np.flatnonzero(np.array(bests) >= ends[best])
    return {
        "share": (spent[max(half - 1, there[0])] if len(there) else spent[-1]) / plain,
        "never": not len(there),
        "never within its error": bests[-1] < ends[best] - (outcomes[best].standard_error or 0.0),
        "share_of_pool": spent[-1] / sum(lengths),
        "same_best": bests[-1] == ends.max(),
        "regret": (ends.max() - bests[-1]) / (ends.max() - np.median(ends) + 1e-12),
        **{f"foreseen at {look}": _foreseen(curves[:half], look) / plain for look in FORESEEN},
    }


def _foreseen(curves: Sequence[Sequence[float]], look: float) -> int:
    """Returns the epochs of a search in which only those go on after a look that end above the best before them."""
    bests = np.maximum.accumulate([-np.inf, *map(max, curves)])
    return sum(
        len(curve) if max(curve) > best else math.ceil(look * len(curve))
        for curve, best in zip(curves, bests, strict=False)
    )


def _pruned(pruner: HistoryPruner, curves: Sequence[Sequence[float]]) -> tuple[list[int], list[float]]:
    """Returns the epochs spent and the best score after each training of a search."""
    pruner.restart()
    spent, bests, used = [], [], 0
    for curve in curves:
        epochs = len(curve)
        stop = next((e for e in pruner.rungs(epochs) if pruner.stops(e, epochs, [curve[:e]])), epochs)
        used += stop
        if stop == epochs:
            pruner.tell(curve, epochs)
        assert pruner.best is not None
        spent.append(used)
        bests.append(float(pruner.best[-1]))
    return spent, bests


def searched(data: Path, trials: int) -> Row:
    """Returns how many times as long a search on a table takes with the plain loop as its engine, in wall seconds.

    One search: each time networks are trained, the plain loop trains copies of the same ones in its turn. What the
    search takes with either engine is what it took without the trainings of the other. ``spread`` and ``n`` are of
    the trainings. Ctrl-C ends the trials early, and the row says after how many.
    """
    turns = _Turns()
    with tempfile.TemporaryDirectory() as folder, patch("nas.training.company.advance", turns):
        start, worked = time.perf_counter(), time.process_time()
        result = nas.search(data, trials=trials, history=None, storage=Path(folder) / "history.db", test=0.2)
        whole = np.array([time.perf_counter() - start, time.process_time() - worked])
    ours_, plain_ = np.array(turns.ours), np.array(turns.plain)  # [n, (wall, CPU)]
    seconds = np.array([whole - ours_.sum(axis=0), whole - plain_.sum(axis=0)])  # of the plain loop and of ours
    done = len(result.records)
    row = _row(f"nas.search on {data.stem}, {done} trials, wall time", plain_[:, 0] / ours_[:, 0], DEMANDED[8])
    return {
        **row,
        "value": round(float(seconds[0, 0] / seconds[1, 0]), 3),
        "wall_seconds": seconds[:, 0].round(1).tolist(),
        "cpu_seconds": seconds[:, 1].round(1).tolist(),
        "cpu_ratio": round(float(seconds[0, 1] / seconds[1, 1]), 3),
    }


class _Turns:
    """Trains as ``advance`` does, and copies of the same networks with the plain loop; keeps (wall, CPU) seconds."""

    def __init__(self) -> None:
        self.ours: list[tuple[float, float]] = []
        self.plain: list[tuple[float, float]] = []

    def __call__(self, some: Sequence[Training], epoch: int, deadline: float = math.inf) -> None:
        """Trains all to the end of ``epoch``, which is their last."""
        assert all(training.state.epoch == 0 and epoch == training.budget.last for training in some)
        copies = [copy.copy(training) for training in some]
        for each in copies:
            each.network = copy.deepcopy(each.network)
        start, worked = time.perf_counter(), time.process_time()
        one_by_one(plain, copies)
        between, used = time.perf_counter(), time.process_time()
        advance(some, epoch, deadline)
        self.ours.append((time.perf_counter() - between, time.process_time() - used))
        self.plain.append((between - start, used - worked))


def main(argv: list[str] | None = None) -> int:
    """Writes the rows, one a line, and returns 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=5, help="of what is compared; 0: the search alone")
    parser.add_argument("--data", type=Path, help="the table that is searched on, such as adult; none: not measured")
    parser.add_argument("--trials", type=int, default=50, help="of that search")
    parser.add_argument("--device", default="cpu", help="of the last two rows, which a CPU leaves unmeasured")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    about: dict[str, Any] = {**circumstances(), "load": [os.getloadavg()[0]]}
    rows: list[Row] = []
    for row in measured(options):
        rows.append(row)
        about["load"].append(os.getloadavg()[0])  # before and after each row
        print(f"{row['value']!s:>12} (demanded {row['demanded']})  {row['case']}", flush=True)
        _write(options.out, about, rows)
    if options.turns:
        about |= {"accuracy": parity(64), "sklearn_milliseconds": _sklearn(options.turns)}
        print(f"mean accuracy: {about['accuracy']}")
        _write(options.out, about, rows)
    return 0


def measured(options: argparse.Namespace) -> Iterator[Row]:
    """Yields the rows in their order."""
    if options.turns:
        yield from tables(options.turns)
        yield from images(options.turns)
        yield identity()
        yield pruned()
    yield searched(options.data, options.trials) if options.data else _unmeasured("nas.search", DEMANDED[8])
    if options.device != "cpu":
        yield from on_gpu(options.turns, str(device_of(options.device)))
    else:
        yield _unmeasured("256 MLPs on CUDA", DEMANDED[9])
        yield _unmeasured("NAS-Bench-201 network C=16, N=5 on CUDA", DEMANDED[10])


def _unmeasured(case: str, demanded: float) -> Row:
    return {"case": case, "value": "not measured", "spread": None, "n": 0, "demanded": demanded}


def _write(path: Path, about: Mapping[str, Any], rows: Sequence[Row]) -> None:
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    path.write_text(json.dumps(about, indent=1)[:-2] + f',\n "rows": [\n{lines}\n ]\n}}\n')


def _sklearn(turns: int) -> float:
    """Returns the milliseconds scikit-learn's perceptron takes where the first case's replicas are trained."""
    one = trainings(load("digits"), [mlp((64, 64))], 10, 64)[0]
    return round(1e3 * float(np.median([_seconds(lambda: sklearn(one)) for _ in range(turns)])), 1)


if __name__ == "__main__":
    sys.exit(main())
