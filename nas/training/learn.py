"""The inner loop: one network, one fold, every epoch of the schedule.

Here belongs what happens from the first batch to the best epoch's weights. Which candidates, splits and budgets there
are belongs to ``fit`` and ``train``, so that another loop (several networks at once, graphs of kernels) can take the
place of ``learn``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.errors import SearchError
from nas.model import Network
from nas.training.faults import DivergedError, OutOfTimeError
from nas.training.optimizer import adamw, set_rate
from nas.training.recipe import Recipe, batch_size, coslog4, derive
from nas.training.resident import Rows

EVALUATION_ELEMENTS = {"cpu": 2**18, "cuda": 2**26}  # of the largest value in one evaluation batch; fits the cache
_ORDER, _DROPOUT = 1, 2  # purposes of seeds; 0 is the initial parameters (nas.training.fit)

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """How a network is judged: the loss it trains on, and the score of its outputs, higher is better."""

    classification: bool
    label_smoothing: float = 0.0

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Returns cross entropy, or the squared error of the standardised target."""
        if self.classification:
            return F.cross_entropy(outputs.float(), y, label_smoothing=self.label_smoothing)
        return F.mse_loss(outputs.float().squeeze(1), y)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Returns minus the mean Brier score, or minus the RMSE over the training target's deviation."""
        if not self.classification:
            return -F.mse_loss(outputs.float().squeeze(1), y).sqrt()
        p = torch.softmax(outputs.float(), dim=1)
        truth = p.gather(1, y.unsqueeze(1)).squeeze(1)
        return -((p * p).sum(dim=1) - 2.0 * truth + 1.0).mean()


@dataclass(frozen=True)
class Budget:
    """How long to train: ``epochs`` of the schedule, until ``deadline``, a reading of ``time.perf_counter``.

    With a ``stop_epoch`` the schedule ends after it and its weights are kept; without one the best epoch's are.
    """

    epochs: int
    stop_epoch: int | None = None
    deadline: float = math.inf

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 1 <= self.last <= self.epochs:
            raise SearchError(
                f"`1 <= stop_epoch <= epochs` must hold, but got epochs={self.epochs}, stop_epoch={self.stop_epoch}."
            )

    @property
    def last(self) -> int:
        """The last epoch that is run, from 1."""
        return self.epochs if self.stop_epoch is None else self.stop_epoch


@dataclass(frozen=True)
class Learned:
    """Validation score after each epoch (none without validation rows), and the epoch kept, from 1."""

    curve: tuple[float, ...]
    best_epoch: int


def learn(
    network: Network,
    training: Rows,
    validation: Rows | None,
    recipe: Recipe,
    task: Task,
    budget: Budget,
    seed: int,
    *,
    bfloat16: bool = False,
) -> Learned:
    """Returns the curve of ``network``, trained in place and left with the best epoch's weights.

    Without validation rows, or with a stop epoch, they are the last epoch's.
    Batches come from one permutation for each (seed, epoch), the rest of an epoch is left out; dropout draws from
    (seed). One number is read back from the device each epoch. A later epoch wins a tie (RealMLP).

    Raises:
        DivergedError: The loss or the score was not finite at the end of an epoch.
        OutOfTimeError: The deadline passed.
    """
    device = training.y.device
    optimizer = adamw(network, recipe)
    size = batch_size(len(training))
    steps = len(training) // size
    best: list[Tensor] = []
    best_epoch, best_score, curve = budget.last, -math.inf, []
    with _random_state(derive(seed, _DROPOUT), device):
        for epoch in range(budget.last):
            order = _permutation(len(training), derive(seed, _ORDER, epoch)).to(device)
            network.train()
            total = torch.zeros((), device=device)
            for i in range(steps):
                if time.perf_counter() > budget.deadline:
                    raise OutOfTimeError(f"the seconds allowed were over in epoch {epoch + 1} of {budget.epochs}.")
                rows = order[i * size : (i + 1) * size]
                set_rate(optimizer, coslog4(epoch * steps + i, budget.epochs * steps))
                total += _step(network, optimizer, training, rows, task, bfloat16)
            score = _finite_score(network, total, validation, task, epoch, bfloat16)
            if validation is not None:
                curve.append(score)
                if budget.stop_epoch is None and score >= best_score:
                    best_epoch, best_score = epoch + 1, score
                    best = _copy_state(network, best)
    if best and best_epoch < budget.last:
        _restore_state(network, best)
    network.eval()
    return Learned(tuple(curve), best_epoch)


def _step(
    network: Network, optimizer: torch.optim.Optimizer, data: Rows, rows: Tensor, task: Task, bfloat16: bool
) -> Tensor:
    """Does one step on ``rows`` and returns its loss, detached."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=bfloat16):
        outputs = network(data.take(rows))
    loss = task.loss(outputs, data.y.index_select(0, rows))
    loss.backward()
    optimizer.step()
    return loss.detach()


def _finite_score(
    network: Network, total: Tensor, validation: Rows | None, task: Task, epoch: int, bfloat16: bool
) -> float:
    """Returns the score on the validation rows (0 without them), DivergedError where it or the loss is not finite."""
    if validation is None:
        score = total * 0.0
    else:
        score = task.score(outputs(network, validation, bfloat16=bfloat16), validation.y) + total * 0.0
    value = float(score)
    if not math.isfinite(value):
        raise DivergedError(f"the loss was not finite in epoch {epoch + 1}; a smaller learning rate may help.")
    return value


def outputs(network: Network, rows: Rows, *, bfloat16: bool = False) -> Tensor:
    """Returns what the network says of all rows, [n, outputs], in evaluation mode and as few batches as fit."""
    largest = max(math.prod(step.joined) for step in network.steps)
    elements = EVALUATION_ELEMENTS.get(rows.y.device.type, 2**22)
    size = max(64, min(16_384, elements // max(largest, 1)))
    network.eval()
    with torch.inference_mode(), torch.autocast(rows.y.device.type, torch.bfloat16, enabled=bfloat16):
        parts = [network(rows.slice(i, i + size)).detach() for i in range(0, len(rows), size)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _permutation(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


@contextmanager
def _random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch inside and leaves the caller's random state as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _state(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


@torch.no_grad()
def _copy_state(network: nn.Module, into: list[Tensor]) -> list[Tensor]:
    if not into:
        return [tensor.detach().clone() for tensor in _state(network)]
    for kept, tensor in zip(into, _state(network), strict=True):
        kept.copy_(tensor)
    return into


@torch.no_grad()
def _restore_state(network: nn.Module, kept: list[Tensor]) -> None:
    for tensor, value in zip(_state(network), kept, strict=True):
        tensor.copy_(value)
