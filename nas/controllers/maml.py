"""A predictor whose initial weights are meta-learned on past datasets (MAML; Finn, Abbeel and Levine, ICML 2017).

MEMBERS networks of two hidden layers map the 0/1 columns of a choice to a number; only its order matters: the loss of
scores y and predictions f is mean log(1 + exp(-(f_i - f_j))) over pairs y_i > y_j (RankNet; Burges et al., ICML 2005).

1. Meta-training, on past datasets: each network meets one at a time, takes INNER gradient steps on a few of its records
   and is judged by the loss on others; initial weights and the step of each layer (Meta-SGD; Li et al. 2017) follow the
   gradient of that, through the steps.
2. On the new dataset: the same steps from the initial weights on all trainings so far, more the more there are. The
   next choice has the largest mean + deviation of the networks, each scaled to the candidates.

Without history, or without meta-training, the weights begin at random and so do the first choices. Predictions for all
choices of a space that can be listed; else for those of history, neighbours of the best, and random ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.base import Explanation, Problem, Told, fresh, generator
from nas.controllers.candidates import WHOLE
from nas.controllers.taught import taught
from nas.encoding import Steps
from nas.space import identity

if TYPE_CHECKING:
    import torch

    from nas.controllers.base import Controller
    from nas.controllers.lesson import Lesson
    from nas.record import Record
    from nas.space import Choices

    Weights = list[torch.Tensor]

MEMBERS, UNITS = 5, 32
META_STEPS, META_RATE = 300, 0.01
SUPPORT, QUERY = (3, 39), 64  # records to learn from, least and most, and to be judged by
INNER, STEP = 5, 1.0  # gradient steps, and how large each is before that is learned
RANDOM_START = 5  # evaluations without a model where there is no history
DRAWN, NEIGHBOURS = 1000, 20  # candidates where a space cannot be listed: at random, and near each of the best three


class MamlController:
    """Adapts networks that past datasets prepared for it, and chooses by their mean and disagreement; see the module.

    Args:
        problem: Space, seed and history.
        meta_trained: Whether the initial weights are learned on history; otherwise they are random.
    """

    def __init__(self, problem: Problem, meta_trained: bool = True) -> None:
        self._problem = problem
        self._meta_trained = meta_trained
        self._told = Told()

    def ask(self, count: int = 1) -> list[Choices]:
        rng, seen = generator(self._problem, len(self._told)), set(self._told.choices)
        choices, X = self._candidates(rng)
        worth = self._worth(X, len(self._told), rng)
        asked: list[Choices] = []
        for row in np.argsort(-worth, kind="stable"):
            if len(asked) == count:
                return asked
            if identity(choices[row]) not in seen and self._problem.space.allows(choices[row]):
                asked.append(dict(choices[row]))
                seen.add(identity(choices[row]))
        while len(asked) < count:
            asked.append(fresh(self._problem.space, seen, rng))
            seen.add(identity(asked[-1]))
        return asked

    def tell(self, records: Sequence[Record]) -> None:
        self._told.new(records)

    def explain(self) -> Explanation:
        """Returns how much of what is predicted the initial weights foretold, in equal shares of the past datasets."""
        taught, ignored = self._taught
        if not taught:
            return Explanation(own=1.0, ignored=ignored, notes=("networks that only this search has taught",))
        _, X = self._candidates(generator(self._problem, len(self._told)))
        before, now = predict(self._start[0], X).mean(axis=0), predict(self._adapted, X).mean(axis=0)
        before, now = before - before.mean(), now - now.mean()
        own = 1.0 - before @ now / max((before @ before) * (now @ now), 1e-12) ** 0.5
        own = float(np.clip(own, 0.0, 1.0))
        note = f"networks prepared on {sum(map(len, taught)):,} past trainings, {own:.0%} this search's own by now"
        return Explanation({lesson.name: (1.0 - own) / len(taught) for lesson in taught}, own, ignored, (note,))

    def predict(self, choices: Sequence[Choices]) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and deviation [q] over the networks; only their order means anything."""
        each = predict(self._adapted, self._columns.encode(choices))
        return each.mean(axis=0), each.std(axis=0)

    @cached_property
    def _taught(self) -> tuple[list[Lesson], dict[str, str]]:
        return taught(self._problem, used=self._meta_trained)

    @cached_property
    def _columns(self) -> Steps:
        return Steps.of(self._problem.space.decisions())

    @cached_property
    def _start(self) -> tuple[Weights, np.ndarray]:
        """Initial weights and steps."""
        tasks = [(self._columns.encode(lesson.choices), lesson.scores) for lesson in self._taught[0]]
        return meta_train(tasks, len(self._columns.paths), self._problem.seed)

    @property
    def _adapted(self) -> Weights:
        """The networks after all that was told; a failure counts as the worst."""
        told = [r for r in self._told.records if self._problem.space.contains(r.choices)]
        y = np.array([-np.inf if r.score is None else r.score for r in told])
        weights, steps = self._start
        if len(set(y)) < 2:
            return weights
        return adapted(weights, steps, self._columns.encode([r.choices for r in told]), y)

    @cached_property
    def _fixed(self) -> tuple[list[Choices], np.ndarray]:
        space = self._problem.space
        if space.size <= WHOLE:
            found = list(space.enumerate())
        else:
            rng = np.random.default_rng([self._problem.seed, 0, 0])
            best = [space.adapt(c) for lesson in self._taught[0] for c in lesson.choices[:10]]
            found = [space.default(), *best, *(space.sample(rng) for _ in range(DRAWN))]
        return found, self._columns.encode(found)

    def _candidates(self, rng: np.random.Generator) -> tuple[list[Choices], np.ndarray]:
        """Choices [m] and their columns [m, d]."""
        found, X = self._fixed
        scored = [r for r in self._told.records if r.score is not None and self._problem.space.contains(r.choices)]
        if self._problem.space.size <= WHOLE or not scored:
            return found, X
        best = sorted(scored, key=lambda r: -(r.score or 0.0))[:3]
        near = [self._problem.space.mutate(dict(r.choices), rng, 1 + i % 2) for r in best for i in range(NEIGHBOURS)]
        return found + near, np.concatenate([X, self._columns.encode(near)])

    def _worth(self, X: np.ndarray, told: int, rng: np.random.Generator) -> np.ndarray:
        """[m] mean + deviation over the networks, each scaled to the candidates; random while nothing is known."""
        if not self._taught[0] and told < RANDOM_START:
            return rng.random(len(X))
        each = predict(self._adapted, X)
        each = (each - each.mean(axis=1, keepdims=True)) / np.maximum(each.std(axis=1, keepdims=True), 1e-9)
        return each.mean(axis=0) + (each.std(axis=0) if told else 0.0) + 1e-9 * rng.random(len(X))


# ---- networks: weights are [members, inputs, outputs] and [members, 1, outputs] by turns -----------------------------


def meta_train(tasks: Sequence[tuple[np.ndarray, np.ndarray]], d: int, seed: int) -> tuple[Weights, np.ndarray]:
    """Returns initial weights and the step of each, from tasks (X [n, d], scores [n]); random ones without tasks."""
    import torch

    rng = np.random.default_rng(seed)
    shapes = [(d, UNITS), (1, UNITS), (UNITS, UNITS), (1, UNITS), (UNITS, 1)]
    weights = [
        torch.tensor(
            rng.normal(0.0, (2.0 / rows) ** 0.5 if rows > 1 else 0.0, (MEMBERS, rows, columns)), dtype=torch.float32
        )
        for rows, columns in shapes
    ]
    logs = torch.full((len(shapes),), float(np.log(STEP)))
    if not tasks:
        return weights, np.exp(logs.numpy())
    learned = [*weights, logs]
    for tensor in learned:
        tensor.requires_grad_()
    optimizer = torch.optim.Adam(learned, lr=META_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, META_STEPS)
    for _ in range(META_STEPS):
        n = int(rng.integers(*SUPPORT, endpoint=True))
        drawn = [_split(tasks[int(rng.integers(len(tasks)))], n, rng) for _ in range(MEMBERS)]
        X, y, Q, z = (torch.tensor(np.array(part)) for part in zip(*drawn, strict=True))
        fast = list(weights)
        for _ in range(INNER):
            fast = _stepped(fast, logs.exp(), X, y, graph=True)
        optimizer.zero_grad()
        _loss(_forward(fast, Q), z).backward()
        torch.nn.utils.clip_grad_norm_(learned, 10.0)
        optimizer.step()
        schedule.step()
    return [w.detach() for w in weights], np.exp(logs.detach().numpy())


def adapted(weights: Weights, steps: np.ndarray, X: np.ndarray, y: np.ndarray) -> Weights:
    """Returns the weights after steps on columns X [n, d] and scores y [n]."""
    import torch

    steps_, columns, scores = torch.tensor(steps), torch.tensor(X)[None], torch.tensor(y, dtype=torch.float32)[None]
    for _ in range(INNER + len(y) // 2):
        weights = _stepped([w.detach().requires_grad_() for w in weights], steps_, columns, scores, graph=False)
    return [w.detach() for w in weights]


def predict(weights: Weights, X: np.ndarray) -> np.ndarray:
    """Returns [members, m] what each network predicts for columns X [m, d]."""
    import torch

    with torch.no_grad():
        return _forward(weights, torch.tensor(X)[None]).double().numpy()


def _stepped(weights: Weights, steps: torch.Tensor, X: torch.Tensor, y: torch.Tensor, graph: bool) -> Weights:
    import torch

    slopes = torch.autograd.grad(_loss(_forward(weights, X), y), weights, create_graph=graph)
    return [w - step * slope for w, step, slope in zip(weights, steps, slopes, strict=True)]


def _forward(weights: Weights, X: torch.Tensor) -> torch.Tensor:
    """[members, n] of X [members or 1, n, d]."""
    W1, b1, W2, b2, w3 = weights
    return ((((X @ W1 + b1).relu() @ W2) + b2).relu() @ w3)[..., 0]


def _loss(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The sum over members of the mean logistic loss over pairs in the wrong order; f and y are [members or 1, n]."""
    import torch

    better = (y[:, :, None] > y[:, None, :]).float()
    pairs = torch.nn.functional.softplus(f[:, None, :] - f[:, :, None]) * better
    return (pairs.sum(dim=(1, 2)) / better.sum(dim=(1, 2)).clamp(min=1.0)).sum()


def _split(
    task: tuple[np.ndarray, np.ndarray], n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns n records to learn from and QUERY to be judged by, from different halves of a task; repeats may be."""
    X, z = task
    order = rng.permutation(len(z))
    support, query = rng.choice(order[: len(z) // 2], n), rng.choice(order[len(z) // 2 :], QUERY)
    z = z.astype(np.float32)
    return X[support], z[support], X[query], z[query]


if TYPE_CHECKING:
    _: type[Controller] = MamlController
