"""Which lessons are likely noise, judged by all of them: how probable it is beforehand is learned (empirical Bayes)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit


def likely_noise(evidence: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Returns [n] which lessons are likelier noise than not.

    Beforehand the log odds of a pattern are a + b log10(examples / their median). Where most are noise, the
    rest must show more of a pattern; where few are, less will do; and where the noise is found among short trainings,
    these must show more than the long ones. a and b make the evidence of all most probable, under Beta(2, 2) for the
    share of patterns among lessons of median length and N(0, 1) for b.

    Args:
        evidence: [n] log p(scores | a task like the others) - log p(scores | noise).
        examples: [n] rows times epochs of a training, above 0.
    """
    if not len(evidence):
        return np.zeros(0, dtype=bool)
    longer = np.log10(examples) - np.median(np.log10(examples))

    def surprise(ab: np.ndarray) -> tuple[float, np.ndarray]:
        odds = ab[0] + ab[1] * longer
        likely = np.logaddexp(0.0, evidence + odds).sum() - np.logaddexp(0.0, odds).sum()
        prior = ab[0] - 2.0 * np.logaddexp(0.0, ab[0]) - 0.5 * ab[1] ** 2
        slope = expit(evidence + odds) - expit(odds)
        return -likely - prior, -np.array([slope.sum() + 1.0 - 2.0 * expit(ab[0]), slope @ longer - ab[1]])

    a, b = minimize(surprise, np.zeros(2), jac=True, method="L-BFGS-B").x
    return np.asarray(evidence + a + b * longer < 0.0)
