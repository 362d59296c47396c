"""The inner loop: networks side by side, epoch after epoch, to the best epoch's weights.

Here belongs what happens from the first batch to the last. Which candidates, splits and budgets there are belongs to
``fit`` and ``train``, how a step is taken on many networks at once to ``stack``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.errors import SearchError
from nas.model import Network
from nas.training.augment import Moves
from nas.training.faults import DivergedError, OutOfTimeError
from nas.training.optimizer import Moving
from nas.training.recipe import Recipe, batch_size, coslog4, derive
from nas.training.resident import Rows
from nas.training.stack import Stack, Stacks, can_stack
from nas.training.tape import looked_up

EVALUATION_ELEMENTS = {"cpu": 2**18, "cuda": 2**26}  # of the largest value in one evaluation batch; fits the cache
BATCHES_BYTES = 2**22  # of batches picked at once
_ORDER, _DROPOUT = 1, 2  # purposes of seeds; 0 is the initial parameters (nas.training.fit)


@dataclass(frozen=True)
class Task:
    """How networks are judged: what their outputs lose, and the score of the outputs, higher is better."""

    classification: bool

    def targets(self, y: Tensor, outputs: int, smoothing: float) -> Tensor:
        """Returns what outputs are compared with, [outputs, n]: smoothed classes, or the values."""
        if not self.classification:
            return y.unsqueeze(0)
        targets = torch.full((outputs, len(y)), smoothing / outputs, device=y.device)
        return targets.scatter_(0, y.unsqueeze(0), 1.0 - smoothing + smoothing / outputs)

    def gradient(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Returns the gradient of each network's mean loss with respect to its ``outputs`` [K, b, outputs], alike.

        Cross entropy, or the squared error of the standardised target; ``targets`` are [K, outputs, b], the
        ``weights`` of the rows [K, b], with mean 1 over all training rows. Outputs come before the batch here, because
        a softmax over the last of few numbers is slow.
        """
        found = outputs.float().transpose(1, 2).contiguous()
        if self.classification:
            found = torch.softmax(found, dim=1)
        factor = (1.0 if self.classification else 2.0) / outputs.shape[1]
        found = found.sub_(targets).mul_(factor)
        return (found if weights is None else found.mul_(weights.unsqueeze(1))).transpose(1, 2)

    def score(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Returns minus the (weighted) mean Brier score, or minus the RMSE over the training target's deviation."""
        if not self.classification:
            if weights is None:
                return -F.mse_loss(outputs.float().squeeze(1), y).sqrt()
            return -_mean((outputs.float().squeeze(1) - y) ** 2, weights).sqrt()
        p = torch.softmax(outputs.float(), dim=1)
        truth = p.gather(1, y.unsqueeze(1)).squeeze(1)
        return -_mean((p * p).sum(dim=1) - 2.0 * truth + 1.0, weights)


@dataclass(frozen=True)
class Budget:
    """How long to train: ``epochs`` of the schedule.

    With a ``stop_epoch`` the schedule ends after it and its weights are kept; without one the best epoch's are.
    """

    epochs: int
    stop_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 1 <= self.last <= self.epochs:
            raise SearchError(
                f"`1 <= stop_epoch <= epochs` must hold, but got epochs={self.epochs}, stop_epoch={self.stop_epoch}."
            )

    @property
    def last(self) -> int:
        """The last epoch that is run, from 1."""
        return self.epochs if self.stop_epoch is None else self.stop_epoch


@dataclass(frozen=True, eq=False)
class State:
    """Where a training stands: all that its next epoch depends on besides its inputs.

    epoch: epochs done. curve: validation score after each, empty without watched rows. moving: weights and optimiser.
    random: state of the source of its random bits, empty at first. buffers: of the network. best_epoch: the epoch of
    the best score, 0 where none is looked for; best: parameters and buffers then. failure: why it cannot go on.
    """

    moving: Moving
    buffers: tuple[Tensor, ...]
    epoch: int = 0
    curve: tuple[float, ...] = ()
    random: tuple[Tensor, ...] = ()
    best_epoch: int = 0
    best: tuple[Tensor, ...] = ()
    failure: DivergedError | None = None


class Training:
    """One network on its way to the end of its budget, in whatever company.

    On the CPU what becomes of it is a function of (network, rows, recipe, task, budget, seed) alone: neither the
    networks beside it nor the epochs at which it was set down and taken up again matter.

    Args:
        network: Initialised, on the device of the rows.
        rows: To train on.
        watched: To choose the best epoch on; None keeps the last one, as a stop epoch does.
        recipe: Settings.
        task: Loss and score.
        budget: Epochs.
        seed: Of the order of the batches and of dropout.
        batch: Rows of one step, by default ``batch_size(len(rows))``; all where there are fewer.
        bfloat16: Whether forward passes run under autocast.
        judge: Scores what the network says of the watched rows, higher is better, in place of the task's score.
    """

    def __init__(
        self,
        network: Network,
        rows: Rows,
        watched: Rows | None,
        recipe: Recipe,
        task: Task,
        budget: Budget,
        seed: int,
        *,
        batch: int | None = None,
        bfloat16: bool = False,
        judge: Callable[[Tensor], float] | None = None,
    ) -> None:
        self.network = network
        self.rows = rows
        self.watched = None if budget.stop_epoch is not None else watched
        self.recipe, self.task, self.budget, self.seed, self.bfloat16 = recipe, task, budget, seed, bfloat16
        self.judge = judge
        self.batch = min(batch or batch_size(len(rows)), len(rows))
        aligned = self.batch % 16 == 0 or rows.y.device.type != "cpu"
        self.can_stack = aligned and rows.preprocess is None and can_stack(network)
        self.state = State(Moving.of(network, recipe), tuple(buffer.clone() for buffer in network.buffers()))

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state.failure is not None or self.state.epoch >= self.budget.last

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights ``finish`` gives, from 1."""
        return self.state.best_epoch or self.state.epoch

    @property
    def kind(self) -> tuple[object, ...]:
        """What trainings must share to be trained side by side."""
        return (
            (len(self.rows), self.batch, self.rows.y.device, self.rows.weights is None),
            (self.task, self.budget, self.bfloat16, self.watched is None, self.network.signature.outputs),
            self.state.epoch,
            None if self.can_stack else id(self),
        )

    @property
    def shape(self) -> tuple[object, ...]:
        """What trainings of one kind must share to be rows of one stack."""
        return self.network.architecture.key, tuple(sorted(self.network.signature.inputs.items()))

    def finish(self) -> Network:
        """Returns the network with the best epoch's weights, in evaluation mode."""
        if self.state.best and self.best_epoch < self.state.epoch:
            _copy(self.state.best, tensors_of(self.network))
        return self.network.eval()

    def answer(self, rows: Rows) -> Tensor:
        """Returns what the network of ``finish`` says of rows, [n, outputs], on the threads it was trained on."""
        with _threads(self):
            return outputs(self.finish(), rows)


def advance(trainings: Sequence[Training], epoch: int, deadline: float = math.inf) -> None:
    """Trains all, which are of one ``kind``, to the end of ``epoch`` (from 1); a failure ends one without the others.

    Whatever is raised leaves every state as it was, so that the same can be tried again with fewer at once.

    Raises:
        OutOfTimeError: ``time.perf_counter()`` reached the deadline.
    """
    states = {training: training.state for training in trainings}
    with _threads(trainings[0]):
        while live := [t for t, s in states.items() if s.failure is None and s.epoch < min(epoch, t.budget.last)]:
            states.update(_Run(live, [states[t] for t in live], deadline).until(epoch))
    for training, state in states.items():
        training.state = state


class _Run:
    """Trainings of one kind on their way from one state to another, equal shapes one after another."""

    def __init__(self, trainings: Sequence[Training], states: Sequence[State], deadline: float) -> None:
        shapes: dict[tuple[object, ...], list[int]] = {}
        for i, training in enumerate(trainings):
            shapes.setdefault(training.shape, []).append(i)
        order = [i for alike in shapes.values() for i in alike]
        ends = list(accumulate(map(len, shapes.values()), initial=0))
        self.stacked = [slice(*each) for each in pairwise(ends)]  # the rows of each stack
        self.trainings, self.states = [trainings[i] for i in order], [states[i] for i in order]
        self.deadline = deadline
        self.first = self.trainings[0]
        self.device = self.first.rows.y.device
        self.epoch = states[0].epoch
        self.curves = [list(state.curve) for state in self.states]
        self.best_epochs = [state.best_epoch for state in self.states]
        self.best: list[list[Tensor]] = [[] for _ in states]  # a copy of its own once there is a better one
        self.tensors = [tensors_of(training.network) for training in self.trainings]
        for training, state in zip(self.trainings, self.states, strict=True):
            _copy(state.buffers, list(training.network.buffers()))
        self.side_by_side = Stacks(
            [[t.network for t in self.trainings[rows]] for rows in self.stacked],
            [[t.recipe for t in self.trainings[rows]] for rows in self.stacked],
            [[s.moving for s in self.states[rows]] for rows in self.stacked],
            stacked=self.first.can_stack,
        )
        outputs = self.first.network.signature.outputs
        self.targets = [t.task.targets(t.rows.y, outputs, t.recipe.label_smoothing) for t in self.trainings]
        self.generators = [_generator(t, s) for t, s in zip(self.trainings, self.states, strict=True)]

    def until(self, epoch: int) -> dict[Training, State]:
        """Returns the states at the end of ``epoch``, or of the first one in which a training failed."""
        last = min(epoch, self.first.budget.last)
        failures: list[DivergedError | None] = [None] * len(self.trainings)
        with _global_random(self.first, self.states[0]) as global_random:
            while self.epoch < last and not any(failures):
                with torch.no_grad():
                    self._train()
                self.epoch += 1
                failures = self._judge()
            places = ((stack, row) for stack, rows in enumerate(self.stacked) for row in range(rows.stop - rows.start))
            found = {
                training: replace(self._state(row, place, global_random), failure=failures[row])
                for row, (training, place) in enumerate(zip(self.trainings, places, strict=True))
            }
        self.side_by_side.release()
        return found

    def _state(self, row: int, place: tuple[int, int], global_random: Callable[[], tuple[Tensor, ...]]) -> State:
        training, generators = self.trainings[row], self.generators
        return State(
            self.side_by_side.optimizer.moving(*place),
            tuple(buffer.clone() for buffer in training.network.buffers()),
            self.epoch,
            tuple(self.curves[row]),
            (generators[row].get_state(),) if training.can_stack else global_random(),
            self.best_epochs[row],
            tuple(self.best[row]) or self.states[row].best,
        )

    # ---- one epoch

    def _train(self) -> None:
        """Does every step of the next epoch."""
        first, stacks = self.first, self.side_by_side.stacks
        size, steps = first.batch, len(first.rows) // first.batch
        if not first.can_stack:
            first.network.train()
        orders = [
            _permutation(len(t.rows), derive(t.seed, _ORDER, self.epoch))[: steps * size].to(self.device)
            for t in self.trainings
        ]
        targets = torch.stack([all_.index_select(1, o) for all_, o in zip(self.targets, orders, strict=True)])
        known = [
            t.rows.weights.index_select(0, o)
            for t, o in zip(self.trainings, orders, strict=True)
            if t.rows.weights is not None
        ]
        weights = torch.stack(known) if known else None
        moves = [self._moves(t, steps * size) for t in self.trainings]
        batches = zip(
            *[self._batches(self.trainings[rows], orders[rows], moves[rows]) for rows in self.stacked], strict=True
        )
        for step, views in enumerate(batches):
            if time.perf_counter() > self.deadline:
                epochs = first.budget.epochs
                raise OutOfTimeError(f"the seconds allowed were over in epoch {self.epoch + 1} of {epochs}.")
            some = slice(step * size, (step + 1) * size)
            self._backward(stacks, views, targets[:, :, some], None if weights is None else weights[:, some])
            self.side_by_side.optimizer.step(coslog4(self.epoch * steps + step, first.budget.epochs * steps))

    def _backward(
        self, stacks: Sequence[Stack], views: Sequence[Mapping[str, Tensor]], targets: Tensor, weights: Tensor | None
    ) -> None:
        """Computes the gradients of all on one batch each."""
        answers, backs = [], []
        for stack, rows, view in zip(stacks, self.stacked, views, strict=True):
            stack.draw(self.generators[rows], view)
            with _autocast(self.device, self.first.bfloat16):
                answer, back = stack.forward(view)
            answers.append(answer)
            backs.append(back)
        gradient = self.first.task.gradient(answers[0] if len(answers) == 1 else torch.cat(answers), targets, weights)
        for back, rows in zip(backs, self.stacked, strict=True):
            back(gradient[rows])

    def _moves(self, training: Training, n: int) -> Moves | None:
        """Returns how images are moved in the next epoch."""
        shape = next(iter(training.network.signature.inputs.values()))
        return Moves.draw(training.recipe, n, *shape[-2:], training.seed, self.epoch) if len(shape) == 3 else None

    def _batches(
        self, trainings: Sequence[Training], orders: Sequence[Tensor], moves: Sequence[Moves | None]
    ) -> Iterator[Mapping[str, Tensor]]:
        """Yields the views [K, b, ...] of each step of one stack; those of several steps are picked at once."""
        size, first = self.first.batch, trainings[0].rows
        steps = len(first) // size
        if first.preprocess is not None:
            for start in range(0, steps * size, size):
                views = first.take(orders[0][start : start + size])
                yield {name: _moved(view, moves[0], start).unsqueeze(0) for name, view in views.items()}
            return
        names = looked_up(trainings[0].network) if self.first.can_stack else ()
        sources = [training.rows.with_levels(names) for training in trainings]
        row = sum(tensor[0].numel() * tensor.element_size() for tensor in sources[0].values())
        together = min(steps, max(1, BATCHES_BYTES // max(1, row * size * len(self.trainings))))
        for start in range(0, steps * size, together * size):
            some = [order[start : start + together * size] for order in orders]
            picked = {}
            for name, tensor in sources[0].items():
                picked[name] = tensor.new_empty(len(some), len(some[0]), *tensor.shape[1:])
                for source, order, move, into in zip(sources, some, moves, picked[name], strict=True):
                    torch.index_select(source[name], 0, order, out=into)
                    if move is not None:
                        into.copy_(move.of(start, into))
            for i in range(0, len(some[0]), size):
                yield {name: tensor[:, i : i + size] for name, tensor in picked.items()}

    def _judge(self) -> list[DivergedError | None]:
        """Scores every network; returns what went wrong with each."""
        finite = [f for stack in self.side_by_side.stacks for f in torch.isfinite(stack.lines.u.sum(dim=1)).tolist()]
        failures: list[DivergedError | None] = []
        for row, training in enumerate(self.trainings):
            score = 0.0
            if finite[row] and training.watched is not None:
                answer = outputs(training.network, training.watched, bfloat16=training.bfloat16)
                if training.judge is not None:
                    score = training.judge(answer)
                else:
                    score = float(training.task.score(answer, training.watched.y, training.watched.weights))
            fine = finite[row] and math.isfinite(score)
            what = "score on validation rows" if finite[row] else "loss"
            words = f"the {what} was not finite in epoch {self.epoch}; a smaller learning rate may help."
            failures.append(None if fine else DivergedError(words))
            if fine and training.watched is not None:
                self._note(row, score)
        return failures

    def _note(self, row: int, score: float) -> None:
        """Keeps the weights where the score is the best so far; a later epoch wins a tie (RealMLP)."""
        curve = self.curves[row]
        if not curve or score >= max(curve):
            self.best_epochs[row] = self.epoch
            now = self.tensors[row]
            if self.best[row]:
                _copy(now, self.best[row])
            else:
                self.best[row] = [tensor.detach().clone() for tensor in now]
        curve.append(score)


def outputs(network: Network, rows: Rows, *, bfloat16: bool = False) -> Tensor:
    """Returns what the network says of all rows, [n, outputs], in evaluation mode and as few batches as fit."""
    largest = max(math.prod(step.joined) for step in network.steps)
    elements = EVALUATION_ELEMENTS.get(rows.y.device.type, 2**22)
    size = max(64, min(16_384, elements // max(largest, 1)))
    if network.training:
        network.eval()
    with torch.inference_mode(), _autocast(rows.y.device, bfloat16):
        parts = [network(rows.slice(i, i + size)).detach() for i in range(0, len(rows), size)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()


def _autocast(device: torch.device, bfloat16: bool) -> AbstractContextManager[None]:
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext()


def _moved(view: Tensor, moves: Moves | None, start: int) -> Tensor:
    return view if moves is None else moves.of(start, view)


def _permutation(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _generator(training: Training, state: State) -> torch.Generator:
    """Returns the source of a training's dropout, where its last epoch left it."""
    generator = torch.Generator(training.rows.y.device)
    if state.random and training.can_stack:
        generator.set_state(state.random[0])
    else:
        generator.manual_seed(derive(training.seed, _DROPOUT))
    return generator


@contextmanager
def _global_random(training: Training, state: State) -> Iterator[Callable[[], tuple[Tensor, ...]]]:
    """Seeds torch inside for what is trained alone, and leaves the caller's random state as it was.

    Yields a function that returns the state of torch's sources.
    """
    if training.can_stack:
        yield tuple
        return
    device = training.rows.y.device
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.manual_seed(derive(training.seed, _DROPOUT))
        if state.random:
            torch.set_rng_state(state.random[0])
            if on_cuda:
                torch.cuda.set_rng_state(state.random[1], device)
        yield lambda: (torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if on_cuda else []))


@contextmanager
def _threads(training: Training) -> Iterator[None]:
    """One thread on the CPU for what can be trained side by side, so that no sum depends on how work was divided."""
    before = torch.get_num_threads()
    if not training.can_stack or training.rows.y.device.type != "cpu" or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Returns the parameters and buffers of a network."""
    return [*network.parameters(), *network.buffers()]


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for one, other in zip(source, target, strict=True):
        other.copy_(one)
