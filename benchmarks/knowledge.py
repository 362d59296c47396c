"""Does the pack know what to try first on a dataset it has not seen, and is it the meta-features that tell?

``python -m benchmarks.knowledge [--pack PACK.parquet] --out FILE.json``

A tenth of the families at a time is left out: what is known of the others puts the architectures that every dataset was
measured on in order.
First pick, and best of three: regret = (best - picked) / (best - median) of the target's scores, clipped at 4.
Rank correlation: of the order with those scores. Side by side: a random order, the default network alone, the best
average rank over history, the prior, and the prior with meta-features shuffled over datasets. Gains over average rank
are paired by family, with a 95 % bootstrap interval over families.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.build_knowledge import SHARED
from benchmarks.record import write
from nas.controllers import Problem
from nas.controllers.prior import fit
from nas.metadataset import MetaDataset, shipped
from nas.record import PastDataset
from nas.surrogate import normal_scores
from search_spaces import tabular

FOLDS = 10
SHUFFLES = 2
ORDERS = 100  # random ones
CLIP = 4.0
FIRST, THREE, RANKS = "first pick", "best of three", "rank correlation"
SIGNS = {FIRST: -1.0, THREE: -1.0, RANKS: 1.0}  # regret should be low


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, help="another pack than the one shipped")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with MetaDataset.from_pack(options.pack) if options.pack else shipped() as history:
        past = [p for p in history.past() if len(shared(p)) == SHARED]
    results = measure(past)
    print(f"{len(past)} datasets, {len({p.info.family for p in past})} families, {SHARED} architectures each")
    for name, rows in results.items():
        print(name)
        for measure_name, row in rows.items():
            gain = row["gain over average rank"]
            print(
                f"    {measure_name:18s} {row['mean']:6.3f}   "
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
    folds = _folds(families)
    true = [p.info.metafeatures for p in past]
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(past)) for _ in range(SHUFFLES)]
    default = -np.arange(SHARED, dtype=float)  # it is number 0; what follows it means nothing
    orderings = {
        "default network": [np.tile(default, (len(past), 1))],
        "average rank": [np.array([ranks[folds != fold].mean(axis=0) for fold in folds])],
        "prior": [expected(past, folds, true)],
        "prior, shuffled": [expected(past, folds, [true[i] for i in order]) for order in orders],
    }
    found = {name: _mean([_fared(each, scores) for each in several]) for name, several in orderings.items()}
    found["default network"] = {FIRST: found["default network"][FIRST]}
    chance = [_fared(rng.random(scores.shape), scores) for _ in range(ORDERS)]
    found = {"random": _mean(chance), **found}
    baseline = found["average rank"]
    return {
        name: {kind: _row(values, baseline[kind], families, SIGNS[kind]) for kind, values in rows.items()}
        for name, rows in found.items()
    }


def _folds(families: np.ndarray) -> np.ndarray:
    """[t] in which fold each dataset is left out; those of one family in the same."""
    names, family = np.unique(families, return_inverse=True)
    return (np.random.default_rng(0).permutation(len(names)) % FOLDS)[family]


def expected(past: Sequence[PastDataset], folds: np.ndarray, metafeatures: Sequence[Mapping[str, float]]) -> np.ndarray:
    """[t, SHARED] what the prior of the other folds expects of the shared architectures, by number."""
    described = [replace(p, info=replace(p.info, metafeatures=m)) for p, m in zip(past, metafeatures, strict=True)]
    found = np.zeros((len(past), SHARED))
    for fold in np.unique(folds):
        history = tuple(p for p, of in zip(described, folds, strict=True) if of != fold)
        prior = fit(Problem(space=tabular(), past=history))
        for target in np.flatnonzero(folds == fold):
            asked = sorted((r for r in past[target].records if r.number < SHARED), key=lambda r: r.number)
            expectation = prior.towards(metafeatures[target])
            means, _ = expectation.means(prior.columns.encode([r.choices for r in asked]))
            trusted = [b for b in expectation.beliefs if b.trust > 0]
            found[target] = np.sum([b.mass * b.trust * means[b.mean] for b in trusted], axis=0)
    return found


def _fared(expected: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """[t] each, how well an order by what was expected, [t, SHARED], fared."""
    best, median = scores.max(axis=1, keepdims=True), np.median(scores, axis=1, keepdims=True)
    regrets = np.minimum((best - scores) / np.maximum(best - median, 1e-12), CLIP)
    regrets = np.take_along_axis(regrets, np.argsort(-expected, axis=1, kind="stable"), axis=1)
    agree = [float(spearmanr(e, s).statistic) for e, s in zip(expected, scores, strict=True)]
    return {FIRST: regrets[:, 0], THREE: regrets[:, :3].min(axis=1), RANKS: np.array(agree)}


def _mean(several: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {kind: np.mean([each[kind] for each in several], axis=0) for kind in several[0]}


def _row(values: np.ndarray, baseline: np.ndarray, families: np.ndarray, sign: float) -> dict:
    gains = np.array([sign * (values - baseline)[families == name].mean() for name in sorted(set(families))])
    rng = np.random.default_rng(0)
    means = gains[rng.integers(len(gains), size=(10_000, len(gains)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "mean": float(values.mean()),
        "spread": float(values.std(ddof=1)),
        "n": len(values),
        "gain over average rank": {"mean": float(gains.mean()), "low": float(low), "high": float(high)},
    }


if __name__ == "__main__":
    main()
