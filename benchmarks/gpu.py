"""Does training on this device agree with the CPU, survive a lack of memory, and beat a plain PyTorch loop?

    python -m benchmarks.gpu --out FILE.json

One command, under eight minutes on a CUDA machine; without one it runs a smoke size on the CPU and says that CUDA is
not measured. It needs torch, numpy, networkx and this project, nothing else. The record holds command, commit,
hardware, versions and results; the exit status is 1 where a check fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nas.architecture import Architecture
from nas.dataset import Dataset
from nas.dataset.splits import Split
from nas.model import build
from nas.record import Fidelity, Outcome
from nas.training import Candidate, batch_size, fit, train
from nas.training.resident import Fold

FORWARD_TOLERANCE = {"mlp": 1e-4, "conv": 2e-2}  # largest difference / largest output; convolutions may use TF32
BFLOAT16_TOLERANCE = 0.1  # the same under bfloat16 autocast, whose numbers have 8 significant bits
TRAINING_TOLERANCE = {"mlp": 0.02, "conv": 0.04}  # of the score (minus Brier, -2 to 0): rounding takes other paths

Result = dict[str, Any]


# --- what is trained


def chain(*ops: Any) -> Architecture:
    """Returns a chain of operations, each (name, parameters), from ``x`` to the output."""
    g = nx.DiGraph()
    g.add_node("x", op="input", parameters={"name": "x"})
    last: Any = "x"
    for i, (op, parameters) in enumerate(ops):
        g.add_node(i, op=op, parameters=parameters)
        g.add_edge(last, i)
        last = i
    g.add_node("y", op="output")
    g.add_edge(last, "y")
    return Architecture.from_graph(g)


def mlp(width: int, depth: int = 3) -> Architecture:
    """Returns linear, mish, dropout, ``depth`` times."""
    return chain(*[op for _ in range(depth) for op in (("linear", {"width": width}), ("mish", {}), ("dropout", {}))])


def conv_net(channels: int, cells: int) -> Architecture:
    """Returns a network of NAS-Bench-201's layout: stem, three stages of ``cells`` cells, reductions in between.

    The cell has four nodes: 3x3 convolutions 0-1, 1-2, 2-3, a 1x1 convolution 0-2, a pool 1-3 and the skip 0-3.
    """
    g = nx.DiGraph()
    g.add_node("x", op="input", parameters={"name": "x"})
    g.add_node("stem", op="conv3x3", parameters={"width": channels})
    g.add_edge("x", "stem")
    last = "stem"
    for stage in range(3):
        if stage:
            g.add_node(f"reduce{stage}", op="reduction")
            g.add_edge(last, f"reduce{stage}")
            last = f"reduce{stage}"
        for i in range(cells):
            last = _cell(g, last, f"{stage}.{i}")
    g.add_node("norm", op="batch_norm")
    g.add_node("relu", op="relu")
    g.add_node("y", op="output")
    g.add_edges_from([(last, "norm"), ("norm", "relu"), ("relu", "y")])
    return Architecture.from_graph(g)


def _cell(g: nx.DiGraph, start: str, name: str) -> str:
    nodes = [start, *(f"{name} node {i}" for i in (1, 2, 3))]
    for node in nodes[1:]:
        g.add_node(node, op="identity")
    steps = [(0, 1, "relu_conv3x3_bn"), (1, 2, "relu_conv3x3_bn"), (2, 3, "relu_conv3x3_bn")]
    for source, target, op in [*steps, (0, 2, "relu_conv1x1_bn"), (1, 3, "avg_pool3x3")]:
        edge = f"{name} {op} {source}-{target}"
        g.add_node(edge, op=op)
        g.add_edges_from([(nodes[source], edge), (edge, nodes[target])])
    g.add_edge(nodes[0], nodes[3])
    return nodes[3]


def patterns(kind: str) -> Dataset:
    """Returns noisy copies of ten patterns of 8 x 8, as a table of 64 numbers or as images."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 1797)
    drawn = rng.integers(0, 17, (10, 4, 4)).repeat(2, axis=1).repeat(2, axis=2)
    x = np.clip(drawn.reshape(10, 64)[y] + rng.normal(0.0, 8.0, (len(y), 64)), 0, 16)
    names = tuple(map(str, range(10)))
    if kind == "image":
        pixels = (x * 15).astype(np.uint8).reshape(-1, 8, 8, 1)
        return Dataset("patterns", "image", "classification", {"image": pixels}, y, names)
    return Dataset("patterns", "tabular", "classification", {"numeric": x.astype(np.float32)}, y, names)


def noise(rows: int, side: int, seed: int = 0) -> Dataset:
    """Returns random images of ten classes: for the time they take."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (rows, side, side, 3)).astype(np.uint8)
    y = rng.integers(0, 10, rows)
    return Dataset("noise", "image", "classification", {"image": pixels}, y, tuple(map(str, range(10))))


# --- checks


def forward_agreement(device: str) -> list[Result]:
    """Compares what the same parameters say on the CPU in float32, on the device, and there in bfloat16."""
    results = []
    for name, data, architecture in (
        ("mlp", patterns("tabular"), mlp(128)),
        ("conv", patterns("image"), conv_net(4, 1)),
    ):
        fold = Fold(data, np.arange(1000), np.arange(1000, len(data)))
        network = build(architecture, fold.signature, seed=0).eval()
        torch.manual_seed(0)
        for head in network.heads.values():  # zero at first, which would hide every difference
            nn.init.normal_(head.get_parameter("weight" if isinstance(head, nn.Linear) else "1.weight"), std=0.3)
        views = fold.rows(("x",), training=False).slice(0, 256)
        with torch.inference_mode():
            expected = network(views)
            network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            there = {view: tensor.to(device) for view, tensor in views.items()}
            found = network(there).cpu()
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                coarse = network(there).float().cpu()
        for precision, answer, most in (
            ("float32", found, FORWARD_TOLERANCE[name]),
            ("bfloat16", coarse, BFLOAT16_TOLERANCE),
        ):
            difference = float((answer - expected).abs().max() / expected.abs().max())
            results.append(
                {
                    "check": f"forward {name} {precision}, {device} against cpu",
                    "largest_difference": difference,
                    "tolerance": most,
                    "passed": bool(difference <= most),
                }
            )
    return results


def training_agreement(device: str, epochs: int) -> list[Result]:
    """Compares the scores of a short training without dropout on the CPU and on the device (images in bfloat16)."""
    results = []
    for name, data, architecture in (
        ("mlp", patterns("tabular"), mlp(64)),
        ("conv", patterns("image"), conv_net(4, 1)),
    ):
        splits, fidelity = data.splits(1, 0), Fidelity(epochs, 1000, 1)
        scores = {}
        for where in ("cpu", device):
            candidate = Candidate(architecture, {"dropout": 0.0})
            scores[where] = _complete(train([candidate], data, splits, fidelity, seed=0, device=where)[0])
        difference = abs(scores["cpu"] - scores[device])
        results.append(
            {
                "check": f"training {name}, {epochs} epochs, {device} against cpu",
                "scores": scores,
                "largest_difference": difference,
                "tolerance": TRAINING_TOLERANCE[name],
                "passed": bool(difference <= TRAINING_TOLERANCE[name]),
            }
        )
    return results


def _complete(outcome: Outcome) -> float:
    if outcome.score is None:
        raise RuntimeError(f"a training that should be fine ended as {outcome.status}: {outcome.message}")
    return outcome.score


def out_of_memory(device: str) -> list[Result]:
    """Trains candidates too large for the device, then one that fits: two outcomes ``oom``, the third complete.

    The first is refused by its count. The second is let through, so that the allocation itself fails: its values (on
    CUDA) or its weights (on the CPU) do not fit.
    """
    large = mlp(1_000_000)
    small = conv_net(4, 1)
    if torch.device(device).type == "cuda":
        data = noise(400, 64)
        total = torch.cuda.get_device_properties(device).total_memory
        rows = batch_size(300)
        width = min(2**16, math.ceil(0.6 * total / (4 * rows * 64 * 64)))  # two such values are too many
        large = chain(*[op for _ in range(4) for op in (("conv1x1", {"width": width}), ("tanh", {}))])
    else:
        data = noise(400, 8)
        large = chain(("flatten", {}), ("linear", {"width": 1_000_000}), ("linear", {"width": 1_000_000}))
    splits, fidelity = [Split(np.arange(300), np.arange(300, 400))], Fidelity(2, 1000, 1)
    before = _allocated(device)
    refused = train([Candidate(large)], data, splits, fidelity, seed=0, device=device)[0]
    failed, fine = train(
        [Candidate(large), Candidate(small)], data, splits, fidelity, seed=0, device=device, max_memory=2**62
    )
    left = _allocated(device) - before
    return [
        {
            "check": f"out of memory on {device}",
            "refused": [refused.status, refused.message],
            "failed": [failed.status, failed.message],
            "next": [fine.status, fine.score],
            "bytes_left_behind": left,
            "passed": (refused.status, failed.status, fine.status) == ("oom", "oom", "complete") and left < 2**26,
        }
    ]


def _allocated(device: str) -> int:
    return torch.cuda.memory_allocated(device) if torch.device(device).type == "cuda" else 0


# --- throughput


def plain_loop(architecture: Architecture, data: Dataset, device: str, epochs: int) -> None:
    """Trains as most scripts do: DataLoader, plain AdamW, float32, the loss read back at every step."""
    fold = Fold(data, np.arange(len(data)), None)
    rows = fold.rows(("x",), training=True)
    network = build(architecture, fold.signature, dropout=0.1, seed=0).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02)
    loader = DataLoader(TensorDataset(rows.tensors["x"], rows.y), batch_size(len(data)), shuffle=True, drop_last=True)
    for _ in range(epochs):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network({"x": x.to(device)}), y.to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()


def resident_loop(architecture: Architecture, data: Dataset, device: str, epochs: int) -> None:
    """Trains with ``nas.training``."""
    fit(Candidate(architecture), data, np.arange(len(data)), epochs=epochs, seed=0, device=device)


def throughput(device: str, *, smoke: bool) -> list[Result]:
    """Times both loops in turn, setting up included, after one run of each that is not counted."""
    cases: list[tuple[str, Architecture, Dataset, int]] = (
        [
            ("mlp 3x32", mlp(32), patterns("tabular"), 2),
            ("conv C4 N1, 8 x 8", conv_net(4, 1), noise(128, 8), 1),
        ]
        if smoke
        else [
            ("mlp 3x128", mlp(128), patterns("tabular"), 10),
            ("conv C16 N1, 32 x 32", conv_net(16, 1), noise(4096, 32), 2),
            ("conv C16 N5, 32 x 32", conv_net(16, 5), noise(4096, 32), 1),
        ]
    )
    results = []
    loops: dict[str, Callable[..., None]] = {"plain": plain_loop, "nas.training": resident_loop}
    for name, architecture, data, epochs in cases:
        seconds: dict[str, list[float]] = {loop: [] for loop in loops}
        for repeat in range(3 if smoke else 6):
            for loop, run in loops.items():
                spent = _timed(partial(run, architecture, data, device, epochs), device)
                if repeat:
                    seconds[loop].append(spent)
        steps = epochs * (len(data) // batch_size(len(data)))
        results.append(_speed(name, device, steps, epochs * len(data), seconds))
    return results


def _timed(call: Callable[[], None], device: str) -> float:
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if on_cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _speed(name: str, device: str, steps: int, rows: int, seconds: dict[str, list[float]]) -> Result:
    medians = {loop: float(np.median(spent)) for loop, spent in seconds.items()}
    ratios = np.array(seconds["plain"]) / np.array(seconds["nas.training"])
    return {
        "throughput": f"{name} on {device}",
        "steps": steps,
        "milliseconds_per_step": {loop: 1e3 * median / steps for loop, median in medians.items()},
        "rows_per_second": {loop: rows / median for loop, median in medians.items()},
        "seconds": seconds,
        "speedup": {"median": float(np.median(ratios)), "least": float(ratios.min()), "most": float(ratios.max())},
    }


# --- record


def surroundings(argv: list[str]) -> Result:
    """Returns command, commit, hardware and versions."""
    cuda = torch.cuda.is_available()
    properties = torch.cuda.get_device_properties(torch.cuda.current_device()) if cuda else None
    return {
        "command": " ".join(["python", "-m", "benchmarks.gpu", *argv]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": properties.name if properties is not None else None,
        "gpu_memory": properties.total_memory if properties is not None else None,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def main(argv: list[str] | None = None) -> int:
    """Runs every question, writes the record and returns 0 if every check passed."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the JSON record goes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--smoke", action="store_true", help="the small size, always taken on the CPU")
    given = parser.parse_args(argv)
    on_cuda = torch.device(given.device).type == "cuda"
    smoke = given.smoke or not on_cuda
    record: Result = {**surroundings(argv), "size": "smoke" if smoke else "full", "checks": [], "throughput": []}
    record["cuda_rows"] = "measured" if on_cuda else "not measured: no CUDA device was used"
    start = time.perf_counter()
    record["checks"] += _shown(forward_agreement(given.device))
    record["checks"] += _shown(training_agreement(given.device, 3 if smoke else 20))
    record["checks"] += _shown(out_of_memory(given.device))
    record["throughput"] += _shown(throughput(given.device, smoke=smoke))
    record["seconds"] = time.perf_counter() - start
    record["passed"] = all(check["passed"] for check in record["checks"])
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"CUDA rows: {record['cuda_rows']}. {record['seconds']:.0f} s. Wrote {given.out}.")
    return 0 if record["passed"] else 1


def _shown(results: list[Result]) -> list[Result]:
    for result in results:
        if "check" in result:
            print("passed" if result["passed"] else "FAILED", "|", result["check"], "|", _numbers(result))
        else:
            per_step = ", ".join(f"{loop} {ms:.2f} ms" for loop, ms in result["milliseconds_per_step"].items())
            speedup = result["speedup"]
            print(
                f"{result['throughput']}: {per_step} a step, {speedup['median']:.2f} times as fast"
                f" ({speedup['least']:.2f} to {speedup['most']:.2f})"
            )
    sys.stdout.flush()
    return results


def _numbers(result: Result) -> str:
    if "largest_difference" in result:
        return f"difference {result['largest_difference']:.2g}, allowed {result['tolerance']:.2g}"
    return f"refused: {result['refused'][0]}, failed: {result['failed'][0]}, next: {result['next'][0]}"


if __name__ == "__main__":
    sys.exit(main())
