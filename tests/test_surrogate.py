"""The Gaussian process against scikit-learn's, and the properties a posterior has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from nas.surrogate import GRID, GaussianProcess, Parameters, choose, distances, expected_improvement


def sample(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    return X, np.sin(4 * X[:, 0]) + X[:, 1] + 0.1 * rng.standard_normal(n), rng.uniform(0.01, 0.2, n)


@pytest.mark.parametrize("kernel", ["laplace", "matern"])
@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_posterior_equals_that_of_scikit_learn(kernel: str, constant: float) -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, PairwiseKernel

    X, y, v = sample(40, 3, 0)
    queries = np.random.default_rng(1).random((25, 3))
    p = Parameters(length=0.8, signal=1.3, constant=constant, jitter=0.02)
    # laplacian_kernel is exp(-gamma |x - x'|_1): an implementation of its own
    base = PairwiseKernel(gamma=1 / 0.8, metric="laplacian") if kernel == "laplace" else Matern(0.8, nu=2.5)
    theirs = ConstantKernel(1.3) * base
    theirs = theirs + ConstantKernel(constant) if constant else theirs
    reference = GaussianProcessRegressor(theirs, alpha=v + p.jitter, optimizer=None).fit(X, y)
    mean, deviation = reference.predict(queries, return_std=True)

    ours = GaussianProcess(distances(X, X, kernel), v, p, kernel)
    got_mean, got_deviation = ours.predict(y, distances(X, queries, kernel))
    np.testing.assert_allclose(got_mean, mean, atol=1e-6)
    np.testing.assert_allclose(got_deviation, deviation, atol=1e-6)
    assert float(ours.log_evidence(y)) == pytest.approx(reference.log_marginal_likelihood(), abs=1e-6)


def test_evidence_of_several_columns_is_that_of_each() -> None:
    X, y, v = sample(12, 2, 3)
    gp = GaussianProcess(distances(X, X), v, Parameters())
    several = gp.log_evidence(np.stack([y, 2 * y], axis=1))
    np.testing.assert_allclose(several, [gp.log_evidence(y), gp.log_evidence(2 * y)])


def test_noise_decides_whom_to_believe() -> None:
    D = np.zeros((2, 2))  # the same place observed twice, once exactly
    mean, deviation = GaussianProcess(D, np.array([1e-6, 100.0]), Parameters(jitter=0.0)).predict(
        np.array([1.0, -5.0]), np.zeros((2, 1))
    )
    assert mean[0] == pytest.approx(1.0, abs=1e-3)
    assert deviation[0] < 0.01


def test_far_from_everything_the_prior_returns() -> None:
    X, y, v = sample(10, 2, 5)
    p = Parameters(signal=2.0, constant=0.0)
    mean, deviation = GaussianProcess(distances(X, X), v, p).predict(y, np.full((10, 1), 1e6))
    assert mean[0] == pytest.approx(0.0)
    assert deviation[0] == pytest.approx(np.sqrt(2.0))


def test_no_observations_give_the_prior() -> None:
    gp = GaussianProcess(np.zeros((0, 0)), 0.0, Parameters(signal=1.0, constant=1.0))
    mean, deviation = gp.predict(np.zeros(0), np.zeros((0, 3)))
    assert mean.tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(deviation, np.sqrt(2.0))
    assert float(gp.log_evidence(np.zeros(0))) == 0.0


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 25), seed=st.integers(0, 1000), index=st.integers(0, len(GRID) - 1))
def test_an_observation_never_adds_uncertainty_and_order_does_not_matter(n: int, seed: int, index: int) -> None:
    X, y, v = sample(n, 3, seed)
    queries = np.random.default_rng(seed + 1).random((7, 3))
    p, D, cross = GRID[index], distances(X, X), distances(X, queries)
    mean, deviation = GaussianProcess(D, v, p).predict(y, cross)
    _, fewer = GaussianProcess(D[1:, 1:], v[1:], p).predict(y[1:], cross[1:])
    assert (deviation <= fewer + 1e-9).all()
    order = np.random.default_rng(seed).permutation(n)
    again, _ = GaussianProcess(D[np.ix_(order, order)], v[order], p).predict(y[order], cross[order])
    np.testing.assert_allclose(again, mean, atol=1e-7)


def test_repeated_rows_without_noise_are_survived() -> None:
    gp = GaussianProcess(np.zeros((6, 6)), 0.0, Parameters(jitter=0.0))
    mean, deviation = gp.predict(np.ones(6), np.zeros((6, 1)))
    assert mean[0] == pytest.approx(1.0, abs=1e-3)
    assert np.isfinite(deviation).all()


def test_choose_finds_the_scale_it_was_drawn_from() -> None:
    X = np.random.default_rng(0).random((80, 2)) * 4
    D = distances(X, X, "matern")
    candidates = [Parameters(length, 1.0, 0.0, 0.01) for length in (0.1, 1.0, 10.0)]
    for truth in candidates:
        K = GaussianProcess(D, 0.0, truth, "matern")
        y = K._L @ np.random.default_rng(1).standard_normal(80)
        assert choose(D, y, 0.0, candidates, "matern").parameters == truth


def test_expected_improvement_is_the_integral() -> None:
    for mean, deviation, best in [(0.0, 1.0, 0.5), (1.0, 0.2, 0.3), (-2.0, 0.5, 0.0)]:
        truth, _ = quad(lambda f, m=mean, s=deviation, b=best: (f - b) * norm.pdf(f, m, s), best, mean + 12 * deviation)
        got = expected_improvement(np.array([mean]), np.array([deviation]), best)
        assert got[0] == pytest.approx(max(truth, 0.0), abs=1e-8)


def test_negative_variances_are_refused() -> None:
    with pytest.raises(ValueError, match="length > 0"):
        Parameters(length=0.0)
