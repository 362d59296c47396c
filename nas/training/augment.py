"""Images moved a little each time they are seen: shifted at random, and mirrored left to right.

Here belongs what is drawn for an epoch and how a batch is moved by it, in one gather on the device. Which amounts are
allowed belongs to ``recipe``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.training.recipe import Recipe, derive

_MOVES = 3  # purpose of a seed


@dataclass(frozen=True, eq=False)
class Moves:
    """How each image of an epoch is moved, in the order in which they are seen.

    down, right: pixels, int64 [n]; what comes in at an edge repeats it. mirrored: bool [n], before the shift.
    """

    down: Tensor
    right: Tensor
    mirrored: Tensor

    @classmethod
    def draw(cls, recipe: Recipe, n: int, height: int, width: int, seed: int, epoch: int) -> Moves | None:
        """Returns what ``epoch`` of a training with this seed does to ``n`` images, None where it does nothing."""
        if recipe.shift == 0.0 and recipe.flip == 0.0:
            return None
        source = torch.Generator().manual_seed(derive(seed, _MOVES, epoch))
        most = [round(recipe.shift * side) for side in (height, width)]
        down, right = (torch.randint(-m, m + 1, (n,), generator=source) for m in most)
        return cls(down, right, torch.rand(n, generator=source) < recipe.flip)

    def of(self, start: int, images: Tensor) -> Tensor:
        """Returns images [b, channels, height, width], the first of which is number ``start`` of the epoch, moved.

        The answer lies with channels last.
        """
        height, width = images.shape[2:]
        down, right, mirrored = (
            part[start : start + len(images)].to(images.device) for part in (self.down, self.right, self.mirrored)
        )
        rows = (torch.arange(height, device=images.device) - down.unsqueeze(1)).clamp_(0, height - 1)
        columns = (torch.arange(width, device=images.device) - right.unsqueeze(1)).clamp_(0, width - 1)
        columns = torch.where(mirrored.unsqueeze(1), width - 1 - columns, columns)
        numbers = torch.arange(len(images), device=images.device).view(-1, 1, 1)
        return images.permute(0, 2, 3, 1)[numbers, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
