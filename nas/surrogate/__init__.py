"""What is expected of candidates, from arrays alone: past tasks and this search in, mean and deviation out.

Belongs here: the kernel, the hierarchy of past tasks (fitted offline), the mixture of beliefs (closed form, online).
Not here: what a column, a task or a candidate is (``nas.controllers``).

Symbols, the same in all files
    C       [m, d]   columns of candidates, each 0 or 1
    theta   [d]      weight of every column
    k                correlation exp(-tau d), d = sum_c theta_c |C_c - C'_c|, in [0, 1]; online, where several decisions
                     offer the same words, lambda exp(-tau |u - u'|^2) + (1 - lambda) exp(-tau d) of their columns,
                     times exp(-tau d) of all others
    u       [q]      shares of those decisions that took each of q words
    lambda, tau      weight of u; roughness: 1 offline, online a k for each of several
    N, T             records of all past tasks, past tasks; n: evaluations of the running search
    z       [N], [n] normal scores of past records; squashed scores of the running search
    v       [n]      known noise variances of z (squared standard errors)
    owner   [N]      task of each record, 0..T-1; group [T] which tasks describe the same data
    k_task           how alike two tasks are, exp(-sum_j w_j (g_j - g'_j)^2) for their features g [p]
    means   [q, m]   what may be expected of every candidate, one row an expectation
    D       [., m]   how past tasks deviate from what is expected of tasks like them, divided by sqrt(T): a row for
                     each, of many tasks a row for each direction in which most of them deviate
    w, a, r          a belief: trust in its mean, whether deviations are those of past tasks, variance of what is new
    c, nu            scale of z, variance of its noise

Offline, z_i = mu(x_i) + eta(x_i, g_owner) + delta_owner(x_i) + e_i;  mu ~ GP(0, s_mu k), eta ~ GP(0, s_al k k_task)
where tasks are described, delta_t ~ GP(0, s_de k), e ~ N(0, s_n).
Online,  z = c (w mean(x) + f(x) + e);  f ~ GP(0, 1 + a D'D + r k), e ~ N(0, nu + v).
"""

from __future__ import annotations

from nas.surrogate.hierarchy import Hierarchy, LeftOut
from nas.surrogate.kernel import Kernels, correlation
from nas.surrogate.mixture import (
    Belief,
    Candidates,
    Observations,
    Part,
    evidence,
    expected_improvement,
    improvement,
    posterior,
)
from nas.surrogate.scores import normal_scores, squash
from nas.surrogate.smoothness import Smoothness

__all__ = [
    "Belief",
    "Candidates",
    "Hierarchy",
    "Kernels",
    "LeftOut",
    "Observations",
    "Part",
    "Smoothness",
    "correlation",
    "evidence",
    "expected_improvement",
    "improvement",
    "normal_scores",
    "posterior",
    "squash",
]
