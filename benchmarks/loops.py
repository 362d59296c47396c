"""The loops that ``benchmarks.training`` compares: a plain PyTorch one, skorch, scikit-learn, and ``nas.training``.

Each trains the networks of trainings that are ready to begin, to their last epoch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from nas.training import Recipe
from nas.training.learn import Training, advance
from nas.training.optimizer import BETAS, VECTORS, fan_ins
from nas.training.recipe import coslog4
from nas.training.resident import Rows


def one_by_one(loop: Callable[[Training], None], some: Sequence[Training]) -> None:
    """Trains each with a loop that trains one."""
    for training in some:
        loop(training)


def groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Returns the groups torch's AdamW needs for the learning rates of ``nas.training``."""
    found: dict[int | None, list[nn.Parameter]] = {}
    parameters = dict(network.named_parameters())
    for name, fan_in in fan_ins(network).items():
        found.setdefault(fan_in, []).append(parameters[name])
    rates = {f: recipe.learning_rate * (VECTORS if f is None else f**-0.5) for f in found}
    decays = {f: 0.0 if f is None else recipe.weight_decay * f**0.5 for f in found}
    return [{"params": found[f], "lr": rates[f], "weight_decay": decays[f]} for f in found]


def plain(training: Training) -> None:
    """Trains as most scripts do: DataLoader, AdamW, a scheduler, the loss read back at every step."""
    network, recipe, task, device = training.network, training.recipe, training.task, training.rows.y.device
    names = list(training.rows.tensors)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as it is by default
    loader = _loader(training.rows, training.batch, shuffle=True)
    optimizer = torch.optim.AdamW(groups(network, recipe), betas=BETAS)
    steps = training.budget.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: coslog4(min(step, steps - 1), steps))
    loss_of: nn.Module = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    if not task.classification:
        loss_of = nn.MSELoss()
    curve = []
    for _ in range(training.budget.last):
        network.train()
        total = 0.0
        for *views, y in loader:
            optimizer.zero_grad()
            answer = network({name: view.to(device) for name, view in zip(names, views, strict=True)})
            loss = loss_of(answer if task.classification else answer[:, 0], y.to(device))
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item()
        if training.watched is not None:
            curve.append(_validated(training, names))
    state = replace(training.state, epoch=training.budget.last, curve=tuple(curve))
    training.state = replace(state, best_epoch=training.budget.last)


def _loader(rows: Rows, batch: int, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    on_host = [tensor.cpu() for tensor in (*rows.tensors.values(), rows.y)]
    return DataLoader(TensorDataset(*on_host), batch, shuffle=shuffle, drop_last=shuffle)


def _validated(training: Training, names: list[str]) -> float:
    assert training.watched is not None
    training.network.eval()
    device = training.rows.y.device
    total, count = 0.0, 0
    with torch.no_grad():
        for *views, y in _loader(training.watched, 256, shuffle=False):
            answer = training.network({name: view.to(device) for name, view in zip(names, views, strict=True)})
            total += training.task.score(answer, y.to(device)).item() * len(y)
            count += len(y)
    return total / count


def ours(trainings: Sequence[Training], epochs: int | None = None) -> None:
    """Trains with ``nas.training``, side by side: 16 on the CPU, all on a GPU; so many epochs, by default all."""
    kinds: dict[tuple[object, ...], list[Training]] = {}
    for training in trainings:
        kinds.setdefault(training.kind, []).append(training)
    for members in kinds.values():
        members.sort(key=lambda training: str(training.shape))  # equal shapes stand together
        together = 16 if members[0].rows.y.device.type == "cpu" else len(members)
        for start in range(0, len(members), together):
            some = members[start : start + together]
            advance(some, epochs or some[0].budget.last)


def skorch(training: Training) -> None:
    """Trains with skorch's classifier, as its documentation does."""
    from skorch import NeuralNetClassifier
    from skorch.dataset import Dataset as Skorched
    from skorch.helper import predefined_split

    assert training.watched is not None
    x, held_out = (rows.tensors["x"].numpy() for rows in (training.rows, training.watched))
    net = NeuralNetClassifier(
        _OneView(training.network),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=0.003,
        max_epochs=training.budget.last,
        batch_size=training.batch,
        iterator_train__shuffle=True,
        iterator_train__drop_last=True,
        train_split=predefined_split(Skorched(held_out, training.watched.y.numpy())),
        verbose=0,
    )
    net.fit(x, training.rows.y.numpy())


class _OneView(nn.Module):
    """A network of one view as skorch wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs."""
        answer: Tensor = self.network({"x": x})
        return answer


def sklearn(training: Training) -> None:
    """Trains scikit-learn's perceptron of two layers of 64."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((64, 64), batch_size=training.batch, max_iter=training.budget.last, n_iter_no_change=10**6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(training.rows.tensors["x"].numpy(), training.rows.y.numpy())
