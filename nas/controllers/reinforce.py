"""A policy that chooses decision after decision: taught by past records, then improved by REINFORCE (Williams 1992).

The policy is log-linear and autoregressive. Decision j takes value v with probability softmax_v((b_jv + sum_c W_jv,c
x_c) / tau), where x are the 0/1 columns of the decisions taken before; tau is 1 while learning.

1. Before the first training, reward-weighted regression (Peters and Schaal, ICML 2007) on past datasets: of each, the
   records weigh exp(z / SHARPNESS), z their normal scores, and the weights of a dataset sum to 1. The first choice is
   the most likely one.
2. After every training, a few steps of policy gradient on all trainings of this search, the reward of each its normal
   score among them (the baseline, their mean, is 0), held to what history taught by a quadratic penalty.

Long ranges are chosen in 16 intervals, evenly within one. No model of scores belongs here: a policy knows none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from nas.controllers.base import Explanation, Problem, Told, fresh, generator
from nas.controllers.taught import taught
from nas.space import Float, Integer, identity
from nas.surrogate import normal_scores

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from nas.controllers.base import Controller
    from nas.controllers.lesson import Lesson
    from nas.record import Record
    from nas.space import Choices, Identity, SearchSpace, Value
    from nas.space.domain import Domain

INTERVALS = 16  # of a decision whose values are too many to list
SHARPNESS = 0.5  # of the weights of past records: of 256, about a dozen count
RIDGE = 0.003  # on the parameters while history is learned, per column
PULL = 0.3  # of what history taught, while this search is learned
RATE, STEPS = 0.5, 5  # of the policy gradient, after each training
TEMPERATURE = 0.7  # of what is drawn; 1 would be the policy as it was learned
ATTEMPTS = 64  # draws that may repeat before one is made evenly


class ReinforceController:
    """Draws from a policy that past records began and this search's rewards improve; see the module.

    Args:
        problem: Space, seed and history.
        pretrained: Whether past records teach the policy; otherwise it starts even.
    """

    def __init__(self, problem: Problem, pretrained: bool = True) -> None:
        self._problem = problem
        self._pretrained = pretrained
        self._slots = Slots.of(problem.space)
        self._told = Told()

    def ask(self, count: int = 1) -> list[Choices]:
        rng, seen = generator(self._problem, len(self._told)), set(self._told.choices)
        asked: list[Choices] = []
        for number in range(count):
            first = number == len(self._told) == 0 and bool(self._taught[0])
            asked.append(self._draw(seen, rng, 0.0 if first else TEMPERATURE))
            seen.add(identity(asked[-1]))
        return asked

    def tell(self, records: Sequence[Record]) -> None:
        for record in records:
            if self._told.new([record]):
                self._improve()

    def explain(self) -> Explanation:
        """Returns how much of the policy is still history's, in equal shares of the past datasets."""
        taught, ignored = self._taught
        if not taught:
            return Explanation(own=1.0, ignored=ignored, notes=("a policy that this search alone has taught",))
        own = self._moved()
        weights = {lesson.name: (1.0 - own) / len(taught) for lesson in taught}
        note = f"a policy taught by {sum(map(len, taught)):,} past trainings, {own:.0%} of it this search's own by now"
        return Explanation(weights, own, ignored, (note,))

    @cached_property
    def _taught(self) -> tuple[list[Lesson], dict[str, str]]:
        return taught(self._problem, used=self._pretrained)

    @cached_property
    def _start(self) -> np.ndarray:
        """The policy before the first training, [d, 1 + d]: a constant and the columns before."""
        taught, adapt = self._taught[0], self._problem.space.adapt
        X = [self._slots.encode([adapt(choices) for choices in lesson.choices]) for lesson in taught]
        return imitate(self._slots, X, [lesson.scores for lesson in taught])

    @cached_property
    def _policy(self) -> np.ndarray:
        return self._start.copy()

    def _improve(self) -> None:
        """Steps up the gradient of mean_i A_i log p(x_i) - PULL / 2 |theta - start|^2 over what was told."""
        told = [r for r in self._told.records if self._problem.space.contains(r.choices)]
        scores = np.array([-np.inf if r.score is None else r.score for r in told])
        if len(set(scores)) < 2:
            return
        X, A = self._slots.encode([r.choices for r in told]), normal_scores(scores)
        for _ in range(STEPS):
            pull = PULL * (self._policy - self._start)
            self._policy += RATE * (self._slots.gradient(self._policy, X, A / len(A)) - pull)

    def _moved(self) -> float:
        """One minus the correlation of log-probabilities then and now, over random choices; in [0, 1]."""
        rng = np.random.default_rng(self._problem.seed)
        X = self._slots.encode([self._problem.space.sample(rng) for _ in range(100)])
        before, now = (self._slots.likelihood(policy, X) for policy in (self._start, self._policy))
        before, now = before - before.mean(), now - now.mean()
        return float(np.clip(1.0 - before @ now / max(before @ before * (now @ now), 1e-12) ** 0.5, 0.0, 1.0))

    def _draw(self, seen: set[Identity], rng: np.random.Generator, temperature: float) -> Choices:
        """A choice of the policy that is new; at temperature 0 the likeliest value of each decision in turn."""
        space = self._problem.space
        for attempt in range(ATTEMPTS):
            walk = _Walk(self._slots, self._policy, rng, TEMPERATURE if attempt else temperature)
            choices = space.suggest(cast("BaseTrial", walk))
            if identity(choices) not in seen and space.allows(choices):
                return choices
        return fresh(space, seen, rng)


@dataclass(frozen=True)
class Slots:
    """The decisions of a space as blocks of 0/1 columns, in the order in which they are taken.

    Attributes:
        domains, blocks: What each decision may be and its columns, by path.
        width: d, the number of columns.
        before: [d, 1 + d] ones where a column's probability may depend on another (or the constant, first).
    """

    domains: Mapping[str, Domain]
    blocks: Mapping[str, slice]
    width: int
    before: np.ndarray

    @classmethod
    def of(cls, space: SearchSpace) -> Slots:
        domains, blocks, d = space.decisions(), dict[str, slice](), 0
        for path, domain in domains.items():
            size = len(domain.values or ()) if _listed(domain) else INTERVALS
            blocks[path] = slice(d, d + size)
            d += size
        starts = np.repeat([b.start for b in blocks.values()], [b.stop - b.start for b in blocks.values()])
        return cls(domains, blocks, d, (np.arange(1 + d) <= starts[:, None]).astype(float))

    def encode(self, choices: Sequence[Mapping[str, Value]]) -> np.ndarray:
        """Returns [n, d] ones at the values taken; decisions not taken are 0."""
        X = np.zeros((len(choices), self.width))
        for row, taken in zip(X, choices, strict=True):
            for path, value in taken.items():
                row[self.blocks[path].start + _place(self.domains[path], value)] = 1.0
        return X

    def likelihood(self, policy: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Returns log p(x) [n] of choices X [n, d]."""
        return (X * self._log(policy, X)).sum(axis=1)

    def gradient(self, policy: np.ndarray, X: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns d/d policy of sum_i weights_i log p(x_i), [d, 1 + d]."""
        error = X - np.exp(self._log(policy, X))
        for block in self.blocks.values():  # a decision that was not taken has no gradient
            error[:, block] *= weights[:, None] * X[:, block].sum(axis=1, keepdims=True)
        return self.before * (error.T @ np.column_stack([np.ones(len(X)), X]))

    def _log(self, policy: np.ndarray, X: np.ndarray) -> np.ndarray:
        """[n, d] log-probabilities of every value given the decisions before."""
        logits = policy[:, 0] + X @ policy[:, 1:].T
        for block in self.blocks.values():
            some = logits[:, block]
            some -= some.max(axis=1, keepdims=True)
            some -= np.log(np.exp(some).sum(axis=1, keepdims=True))
        return logits


def imitate(slots: Slots, past: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the policy [d, 1 + d] under which the best of past choices [n, d] with scores [n] are likeliest."""
    from scipy.optimize import minimize

    even = np.zeros_like(slots.before)
    if not past:
        return even
    X, each = np.concatenate(past), [np.exp(z / SHARPNESS) for z in scores]
    weights = np.concatenate([w / w.sum() for w in each]) / len(past)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        policy = flat.reshape(even.shape)
        value = weights @ slots.likelihood(policy, X) - 0.5 * RIDGE * (flat**2).sum()
        return -value, (RIDGE * policy - slots.gradient(policy, X, weights)).ravel()

    return minimize(loss, even.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 50}).x.reshape(even.shape)


class _Walk:
    """Answers a space's ``suggest`` as an Optuna trial would, from a policy."""

    def __init__(self, slots: Slots, policy: np.ndarray, rng: np.random.Generator, temperature: float) -> None:
        self._slots, self._policy, self._rng, self._temperature = slots, policy, rng, temperature
        self._x = np.zeros(slots.width)

    def suggest_categorical(self, path: str, choices: Sequence[Value]) -> Value:
        return choices[self._next(path)]

    def suggest_int(self, path: str, low: int, high: int, *, log: bool = False) -> int:
        listed = _listed(self._slots.domains[path])
        return low + self._next(path) if listed else round(self.suggest_float(path, low, high, log=log))

    def suggest_float(self, path: str, low: float, high: float, *, log: bool = False) -> float:
        u = (self._next(path) + self._rng.random()) / (1 if low == high else INTERVALS)
        return float(np.clip(low * (high / low) ** u if log else low + (high - low) * u, low, high))

    def _next(self, path: str) -> int:
        block = self._slots.blocks[path]
        logits = self._policy[block, 0] + self._policy[block, 1:] @ self._x
        if self._temperature:
            logits = logits / self._temperature + self._rng.gumbel(size=len(logits))
        place = int(np.argmax(logits))
        self._x[block.start + place] = 1.0
        return place


def _listed(domain: Domain) -> bool:
    """Whether a decision has a column a value, not one an interval."""
    return not isinstance(domain, Integer | Float) or (domain.values is not None and len(domain.values) <= INTERVALS)


def _place(domain: Domain, value: Value) -> int:
    """The column of a value among those of its decision."""
    if _listed(domain):
        return (domain.values or ()).index(value)
    return min(int(domain.unit(value) * INTERVALS), INTERVALS - 1)


if TYPE_CHECKING:
    _: type[Controller] = ReinforceController
