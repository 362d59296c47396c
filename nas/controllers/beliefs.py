"""Ways of believing history, and how probable each is before a search: learned from history itself.

The kinds are those of the controller study (H2): what all say of a dataset like this one, with small or large
deviations, free or in the directions in which past tasks deviate; one past task alone; nothing. To them comes history
turned upside down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nas.surrogate import Belief, Candidates, Hierarchy, Kernels, LeftOut, Observations, evidence

ROUGH = (0.5, 1.0, 2.0)  # tau of the kernels: first those as history has it, then those as if there were none
EXPECTED, FIRST = 0, 1  # rows of the means: of a new task, of the first past one
TASK, SCRATCH, AGAINST = "like one", "own trainings", "the contrary"
UNTAUGHT = "own trainings, smooth as usual"  # what history taught of the columns may be wrong, too
HISTORY = ((1.0, False, 0.15), (1.0, True, 0.15), (1.0, False, 0.5), (1.0, True, 0.5), (0.5, True, 0.5))  # w, a, r
DIRECTIONS = "directions"  # nothing is expected, but deviations are those of past tasks
MASSES = {"history": 0.58, DIRECTIONS: 0.12, TASK: 0.2, SCRATCH: 0.05, UNTAUGHT: 0.05}
CONTRARY = 0.02
AGAIN = 0.5  # of all mass, where this very dataset was searched before
STRENGTH = 4.0  # families of prior opinion against what history says about itself
DIRECTED = 16  # directions in which tasks deviate, at most
EPISODE = 20  # records of a past task that stand for a search of it
EPISODES = 120  # at most
_TAUGHT, _USUAL = tuple(range(len(ROUGH))), tuple(range(len(ROUGH), 2 * len(ROUGH)))  # places of kernels
_ROUGHEST = _TAUGHT[-1:]


def kinds() -> dict[str, float]:
    """Returns the kinds of belief and their masses before history is asked, summing to 1."""
    names = [f"history {i}" for i in range(len(HISTORY))]
    found = {name: MASSES["history"] / len(names) for name in names}
    return found | {kind: MASSES[kind] for kind in (DIRECTIONS, TASK, SCRATCH, UNTAUGHT)}


def beliefs(shares: np.ndarray, masses: Mapping[str, float], same: Sequence[int] = ()) -> list[Belief]:
    """Returns all beliefs about a dataset; their masses sum to 1.

    Args:
        shares: [T] how likely the dataset is like each past task, summing to 1; without any, only scratch is left.
        masses: By kind, as learned; kinds that are missing are divided among the rest.
        same: Past tasks that are this very dataset.
    """
    if not len(shares):
        return [Belief(SCRATCH, 1.0, 0.0, EXPECTED, False, 1.0, _TAUGHT)]
    found = [Belief(f"history {i}", 1.0, w, EXPECTED, a, r, _TAUGHT) for i, (w, a, r) in enumerate(HISTORY)]
    found.append(Belief(DIRECTIONS, 1.0, 0.0, EXPECTED, True, 0.5, _TAUGHT))
    found += [Belief(TASK, share, 1.0, FIRST + t, False, 0.3, _ROUGHEST) for t, share in enumerate(shares.tolist())]
    found.append(Belief(SCRATCH, 1.0, 0.0, EXPECTED, False, 1.0, _TAUGHT))
    found.append(Belief(UNTAUGHT, 1.0, 0.0, EXPECTED, False, 1.0, _USUAL))
    usual = kinds()
    amounts = [b.mass * masses.get(b.name, usual[b.name]) for b in found]
    total = sum(amounts)
    found = [_with(b, (1.0 - CONTRARY) * amount / total) for b, amount in zip(found, amounts, strict=True)]
    found.append(Belief(AGAINST, CONTRARY, -1.0, EXPECTED, True, 0.5, _TAUGHT))
    if same:
        found = [_with(b, (1.0 - AGAIN) * b.mass) for b in found]
        found += [Belief(TASK, AGAIN / len(same), 1.0, FIRST + t, False, 0.15, _ROUGHEST) for t in same]
    return found


def learned_masses(hierarchy: Hierarchy, directions: np.ndarray, kernels: Kernels, seed: int) -> dict[str, float]:
    """Returns the mass of each kind, summing to 1: each past family in turn is a search of 20 random records.

    Expectation-maximisation over the kinds, with a Dirichlet prior worth ``STRENGTH`` families.
    """
    usual = kinds()
    names = list(usual)
    rows, weights = [], []
    rng = np.random.default_rng([seed, 2])
    left_out = hierarchy.left_out
    times = max(1, min(4, EPISODES // max(len(left_out), 1)))
    for out in left_out[:EPISODES]:
        for _ in range(times):
            rows.append(_episode(hierarchy, directions, kernels, out, names, rng))
            weights.append(1.0 / times / np.sum(hierarchy.group == hierarchy.group[out.task]))
    p0 = np.array([usual[name] for name in names])
    if not rows:
        return dict(zip(names, p0.tolist(), strict=True))
    logs, weight, p = np.array(rows), np.array(weights), p0
    for _ in range(50):
        joint = logs + np.log(p)
        share = np.exp(joint - joint.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        p = (weight @ share + STRENGTH * p0) / (weight.sum() + STRENGTH)
    return dict(zip(names, p.tolist(), strict=True))


def stacked(
    hierarchy: Hierarchy, parts: np.ndarray, expected: np.ndarray, directions: np.ndarray, others: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns ``means`` [1 + T, m] and D [directions, m] of parts [T, m], those of all but ``others`` tasks zero.

    Args:
        expected: [T] of the new task, as ``Hierarchy.expected`` gives it.
    """
    weights = np.concatenate([expected[None], hierarchy.each])
    D = hierarchy.smoothness.own * directions / np.sqrt(others)
    return weights.astype(parts.dtype) @ parts, D.astype(parts.dtype) @ parts


def main_directions(own: np.ndarray) -> np.ndarray:
    """Returns [at most ``DIRECTED``, T] combinations of tasks that keep most of own'own, for deviations own [T, u]."""
    if len(own) <= DIRECTED:
        return np.eye(len(own))
    left, _, _ = np.linalg.svd(own.astype(float), full_matrices=False)
    return left[:, :DIRECTED].T


def _episode(
    hierarchy: Hierarchy,
    directions: np.ndarray,
    kernels: Kernels,
    out: LeftOut,
    names: Sequence[str],
    rng: np.random.Generator,
) -> list[float]:
    """Log evidence of each kind for some records of a task, given what all other families say of them."""
    some = rng.permutation(len(out.rows))[:EPISODE]
    at = out.rows[some]
    means, D = stacked(hierarchy, out.parts[:, some], out.expected, directions, out.others)
    told = [b for b in beliefs(out.shares, {}) if b.name in names and b.mass > 0]
    n = len(at)
    k = kernels(hierarchy.C[at], hierarchy.C[at])
    seen = Observations(Candidates(k, means, D), hierarchy.z[at], np.zeros(n), np.ones(n, dtype=bool))
    logs = evidence(told, seen)
    found = []
    for name in names:
        each = [(b.mass, log) for b, log in zip(told, logs, strict=True) if b.name == name]
        mass = sum(m for m, _ in each)
        found.append(float(np.logaddexp.reduce([log + np.log(m / mass) for m, log in each])))
    return found


def _with(belief: Belief, mass: float) -> Belief:
    return replace(belief, mass=float(mass))
