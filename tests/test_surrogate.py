"""The surrogate against brute force: dense algebra, finite differences, scikit-learn's Gaussian process, simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal, norm

from nas.controllers.beliefs import ROUGH
from nas.surrogate import (
    Belief,
    Candidates,
    Hierarchy,
    Kernels,
    Observations,
    Smoothness,
    correlation,
    evidence,
    expected_improvement,
    improvement,
    normal_scores,
    posterior,
    squash,
)
from nas.surrogate.hierarchy import NOISIER
from nas.surrogate.kernel import COUNTED
from nas.surrogate.mixture import LOG_SCALES, NOISES, SCALES
from nas.surrogate.smoothness import _objective, _tasks_objective

RNG = np.random.default_rng(0)


def binary(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, d)) < 0.5).astype(float)


def hierarchy(sizes: tuple[int, ...] = (7, 9, 5, 8), group: tuple[int, ...] = (0, 1, 1, 2)) -> Hierarchy:
    C = binary(sum(sizes))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    theta = np.linspace(0.1, 0.6, C.shape[1])
    smoothness = Smoothness(theta, 0.5, 0.3, 0.2)
    return Hierarchy.of(C, RNG.normal(size=len(C)), owner, np.array(group), smoothness)


# ---- kernel, hierarchy -------------------------------------------------------------------------------------------


def test_correlation_is_the_weighted_number_of_disagreements() -> None:
    A, B, theta = binary(4), binary(3, seed=1), np.arange(1.0, 7.0)
    brute = [[np.exp(-sum(theta * np.abs(a - b))) for b in B] for a in A]
    np.testing.assert_allclose(correlation(A, B, theta), brute)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0, 3.0])
def test_some_columns_are_alike_by_how_often_each_value_was_taken(kind: type, others: int, tau: float) -> None:
    """Two decisions of three values each, and ``others``, which are no part of what is counted."""
    A, B, theta = binary(4, 6 + others), binary(9, 6 + others, seed=1), np.arange(1.0, 7.0 + others) / 4
    counts = np.concatenate([np.tile(np.eye(3) / 2, (2, 1)), np.zeros((others, 3))])
    places = np.array([[np.exp(-tau * theta[:6] @ np.abs(a - b)[:6]) for b in B] for a in A])
    counted = np.array([[np.exp(-tau * np.sum((a @ counts - b @ counts) ** 2)) for b in B] for a in A])
    rest = np.array([[np.exp(-tau * theta[6:] @ np.abs(a - b)[6:]) for b in B] for a in A])
    found = Kernels([theta], counts, [tau])(A.astype(kind), B.astype(kind))[0]
    assert found.dtype == kind
    np.testing.assert_allclose(found, ((1 - COUNTED) * places + COUNTED * counted) * rest, rtol=1e-4)
    np.testing.assert_allclose(Kernels([theta], counts[:, :0], [tau])(A, B)[0], correlation(A, B, tau * theta))


def described() -> Hierarchy:
    """The hierarchy, its tasks described by two features."""
    h = hierarchy()
    smoothness = replace(h.smoothness, alike=0.4, weights=np.array([0.7, 0.1]))
    return Hierarchy.of(h.C, h.z, h.owner, h.group, smoothness, RNG.normal(size=(h.tasks, 2)))


def likeness(h: Hierarchy, g: np.ndarray) -> np.ndarray:
    """k_T of tasks with features g [t, p] to those of h, as the formula says."""
    distances = [[h.smoothness.weights @ (a - b) ** 2 for b in h.features] for a in g]
    return np.exp(-np.array(distances))


@pytest.mark.parametrize("make", [hierarchy, described])
def test_expectations_are_the_conditional_means_of_the_joint_gaussian(make: Callable[[], Hierarchy]) -> None:
    """Of a task of which nothing is known, of one with known features, of every past one: from the dense covariance."""
    h, Q = make(), binary(5, seed=2)
    s, p = h.smoothness, h.features.shape[1]
    K, Kq = (correlation(h.C, h.C, s.theta)), (correlation(Q, h.C, s.theta))
    alike, new = s.alike * likeness(h, h.features), RNG.normal(size=p)
    between = s.common + alike + s.own * np.eye(h.tasks)
    A = K * between[np.ix_(h.owner, h.owner)] + (s.noise + 1e-6) * np.eye(len(h.z))
    solved = np.linalg.solve(A, h.z)
    rows = {0: s.common + alike.mean(axis=0), 1: s.common + s.alike * likeness(h, new[None])[0]}
    for told, row in rows.items():
        expected = [(Kq * each[h.owner]) @ solved for each in (row, *between)]
        np.testing.assert_allclose(
            np.concatenate([h.expected(new if told else None)[None], h.each]) @ h.parts(Q), expected, atol=1e-5
        )


@pytest.mark.parametrize("make", [hierarchy, described])
def test_leaving_a_group_out_is_fitting_without_it(make: Callable[[], Hierarchy]) -> None:
    h = make()
    for out in h.left_out:
        rest = h.group[h.owner] != h.group[out.task]
        kept = np.flatnonzero(h.group != h.group[out.task])
        owner = np.searchsorted(kept, h.owner[rest])
        fewer = Hierarchy.of(h.C[rest], h.z[rest], owner, h.group[kept], h.smoothness, h.features[kept])
        parts = fewer.parts(h.C[out.rows])
        np.testing.assert_allclose(out.expected @ out.parts, fewer.expected(h.features[out.task]) @ parts, atol=1e-5)
        np.testing.assert_allclose(h.each[kept] @ out.parts, fewer.each @ parts, atol=1e-5)
        np.testing.assert_allclose(out.shares[kept], fewer.shares(h.features[out.task]))
        assert out.others == len(kept)
        gone = h.group == h.group[out.task]
        assert not out.parts[gone].any()
        assert not out.shares[gone].any()
    assert [out.task for out in h.left_out] == [0, 1, 2, 3]
    assert not list(hierarchy((5,), (0,)).left_out)


def test_features_that_tell_tasks_apart_are_found() -> None:
    """Six records each of twenty tasks of two kinds; the first feature says which kind, the second is noise."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(20), 6)
    C = rng.integers(2, size=(len(owner), 6)).astype(float)
    kind = np.arange(20) % 2
    z = np.where(kind[owner] == 1, 1.0, -1.0) * (2.0 * C[:, 0] - 1.0) + 0.3 * rng.normal(size=len(owner))
    features = np.column_stack([kind - 0.5 + 0.1 * rng.normal(size=20), rng.normal(size=20)])
    plain = Smoothness.fit(C, z, owner, np.full(6, 0.5 / 6))
    found = plain.with_features(C, z, owner, features)
    assert found.weights[0] > 2 * found.weights[1]
    assert found.alike > 2 * found.own
    shuffled = plain.with_features(C, z, owner, features[rng.permutation(20)])
    assert shuffled.alike < shuffled.own


def test_the_gradient_of_the_fit_of_tasks_is_that_of_its_value() -> None:
    h = described()
    K = correlation(h.C, h.C, h.smoothness.theta)
    at = np.random.default_rng(0).normal(size=7) - 1.0
    assert (
        check_grad(
            lambda p: _tasks_objective(p, K, h.z, h.owner, h.features)[0],
            lambda p: _tasks_objective(p, K, h.z, h.owner, h.features)[1],
            at,
        )
        < 1e-4
    )


def test_the_evidence_of_a_task_is_the_gain_of_the_joint_density_over_noise() -> None:
    h = hierarchy()
    s = h.smoothness
    A = correlation(h.C, h.C, s.theta) * (s.common + s.own * (h.owner[:, None] == h.owner[None]))
    A += (s.noise + 1e-6) * np.eye(len(h.z))
    for task, found in enumerate(h.evidence()):
        own = h.owner == task
        rest = multivariate_normal.logpdf(h.z[~own], cov=A[np.ix_(~own, ~own)])
        joint = [multivariate_normal.logpdf(h.z, cov=A + np.diag(more * own)) for more in NOISIER]
        assert found == pytest.approx(max(joint) - rest - norm.logpdf(h.z[own]).sum())


def test_the_gradient_is_that_of_the_density() -> None:
    from scipy.optimize import check_grad

    h = hierarchy()
    same = (h.owner[:, None] == h.owner[None]).astype(float)
    p = np.concatenate([np.log([0.4, 0.5, 0.1]), [0.3], RNG.normal(0, 0.3, h.C.shape[1])])
    base = np.full(h.C.shape[1], 0.1)
    error = check_grad(
        lambda q: _objective(q, h.C, h.z, same, base)[0], lambda q: _objective(q, h.C, h.z, same, base)[1], p
    )
    assert error < 1e-4


def test_columns_that_matter_get_short_lengths() -> None:
    C = binary(300)
    owner = np.repeat([0, 1, 2], 100)
    z = 2.0 * C[:, 0] + 0.1 * np.random.default_rng(3).normal(size=300)
    found = Smoothness.fit(C, z - z.mean(), owner, np.full(6, 0.1))
    assert found.theta[0] > 2.0 * found.theta[1:].max()
    assert found.common > found.own


# ---- beliefs -----------------------------------------------------------------------------------------------------


def problem(n: int = 6, m: int = 4, T: int = 3) -> tuple[Observations, Candidates, list[Belief]]:
    X, Q = binary(n), binary(m, seed=5)
    theta = np.full(6, 0.3)
    rng = np.random.default_rng(1)
    both = rng.normal(size=(2, n + m)), rng.normal(size=(T, n + m))
    k = [np.array([correlation(X, Y, tau * theta) for tau in (0.5, 1.0, 2.0)]) for Y in (X, Q)]
    at, asked = Candidates(k[0], both[0][:, :n], both[1][:, :n]), Candidates(k[1], both[0][:, n:], both[1][:, n:])
    seen = Observations(at, rng.normal(size=n), 0.1 * rng.random(n), np.ones(n, dtype=bool))
    beliefs = [
        Belief("average", 0.4, 1.0, 0, False, 0.5, (0, 2)),
        Belief("another", 0.2, 1.0, 1, False, 0.5, (2,)),
        Belief("directions", 0.3, 0.5, 1, True, 0.2, (1,)),
        Belief("scratch", 0.1, 0.0, 0, False, 1.0, (1,)),
    ]
    return seen, asked, beliefs


def dense(belief: Belief, nu: float, v: np.ndarray, k: np.ndarray, D: np.ndarray, E: np.ndarray) -> np.ndarray:
    S = 1.0 + belief.new * k + (D.T @ E if belief.deviations else 0.0)
    return S + np.diag(nu + v) if len(v) else S


def test_weights_are_the_evidence_of_the_dense_gaussians() -> None:
    seen, _, beliefs = problem()
    logs = []
    for belief in beliefs:
        terms = []
        for kernel in belief.kernels:
            for nu, share in NOISES:
                S = dense(belief, nu, share * seen.v, seen.at.k[kernel], seen.at.D, seen.at.D)
                mean = belief.trust * seen.at.means[belief.mean]
                terms += [
                    multivariate_normal.logpdf(seen.z, c * mean, c**2 * S) + log
                    for c, log in zip(SCALES, LOG_SCALES, strict=True)
                ]
        logs.append(np.logaddexp.reduce(terms) - np.log(2 * len(belief.kernels)))
    constant = 0.5 * len(seen) * np.log(2 * np.pi)
    np.testing.assert_allclose(evidence(beliefs, seen), np.array(logs) + constant)
    weights = np.exp(logs) * [b.mass for b in beliefs]
    parts = posterior(beliefs, seen)
    assert sum(p.weight for p in parts) == pytest.approx(1.0)
    for belief, weight in zip(beliefs, weights / weights.sum(), strict=True):
        assert sum(p.weight for p in parts if p.belief is belief) == pytest.approx(weight)


def test_predictions_are_the_dense_conditionals_averaged_over_the_scale() -> None:
    seen, asked, beliefs = problem()
    for belief in beliefs:
        for part in posterior([belief], seen):
            nu = next(
                nu
                for nu, share in NOISES
                if np.isclose(
                    part.L[0, 0] ** 2,
                    dense(belief, nu, share * seen.v, seen.at.k[part.kernel], seen.at.D, seen.at.D)[0, 0],
                )
            )
            share = dict(NOISES)[nu]
            S = dense(belief, nu, share * seen.v, seen.at.k[part.kernel], seen.at.D, seen.at.D)
            k = dense(belief, 0.0, np.zeros(0), asked.k[part.kernel], seen.at.D, asked.D)
            here, there = (belief.trust * side.means[belief.mean] for side in (seen.at, asked))
            p = np.array([multivariate_normal.logpdf(seen.z, c * here, c**2 * S) for c in SCALES]) + LOG_SCALES
            p = np.exp(p - np.logaddexp.reduce(p))
            means = np.array([c * there + k.T @ np.linalg.solve(S, seen.z - c * here) for c in SCALES])
            prior = 1.0 + belief.new + (np.sum(asked.D**2, axis=0) if belief.deviations else 0.0)
            variances = SCALES[:, None] ** 2 * (prior - np.sum(k * np.linalg.solve(S, k), axis=0))
            mean, slope = part.mean(asked, seen)
            np.testing.assert_allclose(mean, p @ means)
            total = p @ (variances + means**2) - (p @ means) ** 2
            np.testing.assert_allclose(part.deviation(asked, seen, slope) ** 2, total, rtol=1e-6)


def test_kernels_are_those_of_each_theta_with_every_tau() -> None:
    A, B = binary(4), binary(9, seed=1)
    thetas, taus = [np.full(6, 0.1), np.arange(6.0) / 4], [0.5, 2.0]
    counts = np.concatenate([np.tile(np.eye(2) / 2, (2, 1)), np.zeros((2, 2))])
    found = Kernels(thetas, counts, taus)
    assert len(found) == 4
    each = [Kernels([theta], counts, [tau])(A, B)[0] for theta in thetas for tau in taus]
    np.testing.assert_array_equal(found(A, B), each)


@pytest.mark.parametrize("tau", ROUGH)
def test_every_roughness_of_a_kernel_that_counts_is_a_covariance(tau: float) -> None:
    """All 256 candidates of a cell, the columns of very different weights: history teaches such."""
    every = np.array(list(product(np.eye(4), repeat=4))).reshape(256, 16)
    rng = np.random.default_rng(0)
    theta = 0.075 * np.exp(1.5 * rng.normal(size=16))
    counts = np.tile(np.eye(4) / 4, (4, 1))
    k, plain = Kernels([theta], counts, [tau, 1.0])(every, every)
    assert np.linalg.eigvalsh(np.sqrt(plain)).min() < -0.05, "a power of it is none"
    assert np.linalg.eigvalsh(k).min() > -1e-9
    z = every @ (theta * rng.normal(size=16))
    z = (z - z.mean()) / z.std()
    at = Candidates(k[None], np.zeros((1, 256)), np.zeros((0, 256)))
    seen = Observations(at, z, np.zeros(256), np.ones(256, dtype=bool))
    for part in posterior([Belief("own", 1.0, 0.0, 0, False, 1.0, (0,))], seen):
        mean, slope = part.mean(at, seen)
        assert np.corrcoef(mean, z)[0, 1] > 0.9
        assert np.isfinite(part.deviation(at, seen, slope)).all()


def test_what_history_had_already_is_no_evidence_for_it() -> None:
    seen, _, beliefs = problem()
    half = Observations(seen.at, seen.z, seen.v, np.arange(len(seen)) % 2 == 0)
    k, means, D = seen.at.k[:, ::2, ::2], seen.at.means[:, ::2], seen.at.D[:, ::2]
    told = Observations(Candidates(k, means, D), seen.z[::2], seen.v[::2], half.counted[::2])
    weights = {(p.belief.name, p.kernel): p.weight for p in posterior(beliefs, told)}
    for part in posterior(beliefs, half):
        assert len(part.by_z) == len(seen), "it is conditioned on all"
    assert {(p.belief.name, p.kernel): p.weight for p in posterior(beliefs, half)} == pytest.approx(weights)


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_the_best_by_exhaustive_improvement_is_found(noise: float) -> None:
    """Only a few candidates are computed exactly; the winner is that of all. What is to be beaten has no noise."""
    n, m = 8, 2000
    rng = np.random.default_rng(2)
    X, Q, theta = binary(n, 14), binary(m, 14, seed=3), rng.random(14)
    means = np.sin(np.concatenate([X, Q]) @ rng.normal(size=14))[None]
    k = [np.array([correlation(X, Y, tau * theta) for tau in (0.5, 1.0)]) for Y in (X, Q)]
    at, asked = Candidates(k[0], means[:, :n], np.zeros((0, n))), Candidates(k[1], means[:, n:], np.zeros((0, m)))
    seen = Observations(at, rng.normal(size=n), noise * rng.random(n), np.ones(n, dtype=bool))
    beliefs = [Belief("a", 0.7, 1.0, 0, False, 0.5, (1,)), Belief("b", 0.3, 0.0, 0, False, 1.0, (0,))]
    parts = posterior(beliefs, seen)
    total = np.zeros(m)
    for part in parts:
        mean, slope = part.mean(asked, seen)
        deviation = np.sqrt(part.deviation(asked, seen, slope) ** 2 + part.nu * part.c_squared)
        luck = dict(NOISES)[part.nu] * seen.v * (part.by_z - part.c * part.by_mean)
        gain = expected_improvement(mean, deviation, (seen.z - luck).max())
        total += part.weight * gain / gain.max()
    found = improvement(parts, seen, asked, np.ones(m, dtype=bool))
    assert np.argmax(found) == np.argmax(total)
    np.testing.assert_allclose(found[found > 0], total[found > 0], atol=0.02)
    assert found.max() == pytest.approx(total.max(), rel=0.05), "parts under a hundredth of the heaviest do not vote"
    taken = np.ones(m, dtype=bool)
    taken[np.argmax(found)] = False
    assert improvement(parts, seen, asked, taken)[np.argmax(found)] == 0.0


def test_expected_improvement_is_that_of_simulation() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.7, 200_000)
    expected = np.maximum(draws - 0.9, 0).mean()
    assert expected_improvement(np.array([0.3]), np.array([0.7]), 0.9)[0] == pytest.approx(expected, rel=0.02)


# ---- scores ------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.floats(0.1, 10), st.floats(-5, 5))
def test_squash_keeps_the_order_and_forgets_scale_and_place(values: list[float], scale: float, place: float) -> None:
    y = np.round(np.array(values), 3)
    z, slope = squash(y)
    assert np.isfinite(z).all()
    assert (slope > 0).all()
    assert (np.diff(z[np.argsort(y)]) >= 0).all()
    if np.ptp(y) > 0:
        np.testing.assert_allclose(squash(scale * y + place)[0], z, atol=1e-6)


def test_the_slope_of_squash_is_its_derivative() -> None:
    """Scores beside the median, so that moving one leaves centre and unit where they are."""
    y = np.array([-50.0, -3.0, 0.0, 0.0, 0.0, 1.0, 2.0])
    for i in (0, 1):
        step = np.where(np.arange(7) == i, 1e-5, 0.0)
        change = (squash(y + step)[0] - squash(y - step)[0])[i] / 2e-5
        assert change == pytest.approx(squash(y)[1][i], rel=1e-5)


def test_normal_scores_share_ties() -> None:
    np.testing.assert_allclose(normal_scores(np.array([3.0, 1.0, 1.0, -np.inf])), norm.ppf([0.875, 0.5, 0.5, 0.125]))
