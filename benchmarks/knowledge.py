"""Does the pack know what to try first on a dataset it has not seen, and is it the meta-features that tell?

``python -m benchmarks.knowledge [--pack PACK.parquet] --out FILE.json``

Leave one family out: the prior is built on all other families and picks one of the architectures that every dataset was
measured on; regret = (best - picked) / (best - median) of the target's scores, clipped at 4. Side by side: a random
pick, the default network, the best average rank over history, the prior, and the prior with meta-features shuffled over
datasets. Differences to average rank are paired by family, with a 95 % bootstrap interval over families.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.build_knowledge import SHARED
from benchmarks.record import write
from nas.controllers import Problem
from nas.controllers.prior import fit
from nas.metadataset import MetaDataset, shipped
from nas.record import PastDataset
from nas.surrogate import normal_scores
from search_spaces import tabular

SHUFFLES = 2
CLIP = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, help="another pack than the one shipped")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with MetaDataset.from_pack(options.pack) if options.pack else shipped() as history:
        past = [p for p in history.past() if len(shared(p)) == SHARED]
    results = measure(past)
    print(f"{len(past)} datasets, {len({p.info.family for p in past})} families, {SHARED} architectures each")
    for name, row in results.items():
        gain = row["gain over average rank"]
        print(
            f"{name:28s} regret {row['regret']:.3f}   "
            f"gain {gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
        )
    write(options.out, {"datasets": len(past), "architectures": SHARED, "results": results})


def shared(past: PastDataset) -> dict[int, float]:
    """Score by number of the architectures every dataset was measured on; a failure is the worst."""
    found = {r.number: r.score for r in past.records if r.number < SHARED}
    worst = min((s for s in found.values() if s is not None), default=0.0)
    return {number: worst if score is None else score for number, score in found.items()}


def measure(past: Sequence[PastDataset]) -> dict[str, dict]:
    scores = np.array([[shared(p)[j] for j in range(SHARED)] for p in past])  # [t, SHARED]
    families = np.array([p.info.family for p in past])
    ranks = np.array([normal_scores(row) for row in scores])
    best, median = scores.max(axis=1), np.median(scores, axis=1)
    regrets = np.minimum((best[:, None] - scores) / np.maximum(best - median, 1e-12)[:, None], CLIP)

    def average(target: int, rest: np.ndarray) -> int:
        return int(np.argmax(ranks[rest].mean(axis=0)))

    def prior(metafeatures: Sequence[Mapping[str, float]]) -> Callable[[int, np.ndarray], int]:
        return lambda target, rest: pick(past, target, rest, metafeatures)

    true = [p.info.metafeatures for p in past]
    found = {
        "random": regrets.mean(axis=1),
        "default network": regrets[:, 0],
        "average rank": _regrets(regrets, families, average),
        "prior": _regrets(regrets, families, prior(true)),
    }
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(past)) for _ in range(SHUFFLES)]
    shuffled = [_regrets(regrets, families, prior([true[i] for i in order])) for order in orders]
    found["prior, shuffled"] = np.mean(shuffled, axis=0)
    return {name: _row(values, found["average rank"], families) for name, values in found.items()}


def pick(
    past: Sequence[PastDataset], target: int, rest: np.ndarray, metafeatures: Sequence[Mapping[str, float]]
) -> int:
    """The number of the prior's favourite among the target's shared architectures."""
    from dataclasses import replace

    history = tuple(replace(past[i], info=replace(past[i].info, metafeatures=metafeatures[i])) for i in rest)
    expectation = fit(Problem(space=tabular(), past=history)).towards(metafeatures[target])
    asked = sorted((r for r in past[target].records if r.number < SHARED), key=lambda r: r.number)
    means, _ = expectation.means(expectation.prior.columns.encode([r.choices for r in asked]))
    trusted = [b for b in expectation.beliefs if b.trust > 0]
    return int(np.argmax(sum(b.mass * b.trust * means[b.mean] for b in trusted)))


def _regrets(regrets: np.ndarray, families: np.ndarray, choose: Callable[[int, np.ndarray], int]) -> np.ndarray:
    picked = [choose(t, np.flatnonzero(families != families[t])) for t in range(len(regrets))]
    return regrets[np.arange(len(regrets)), picked]


def _row(values: np.ndarray, baseline: np.ndarray, families: np.ndarray) -> dict:
    names = sorted(set(families))
    gains = np.array([(baseline - values)[families == name].mean() for name in names])
    rng = np.random.default_rng(0)
    means = gains[rng.integers(len(gains), size=(10_000, len(gains)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "regret": float(values.mean()),
        "spread": float(values.std(ddof=1)),
        "n": len(values),
        "gain over average rank": {"mean": float(gains.mean()), "low": float(low), "high": float(high)},
    }


if __name__ == "__main__":
    main()
