"""Images moved in training: the vectorised form against one image at a time, repeatable, and for images alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training_company import same
from trainings import blobs, chain, linear, stripes

from nas.dataset.splits import Split
from nas.errors import SearchError
from nas.record import Fidelity
from nas.training import Candidate, Recipe, train
from nas.training import resident as resident_module
from nas.training.augment import Moves
from nas.training.fit import begin
from nas.training.learn import Budget, advance
from nas.training.resident import Fold

DENSE = chain("flatten", linear(24), "relu")
CONVOLUTION = chain(("conv3x3", {"width": 4}), "batch_norm", "relu")


def one_by_one(images: np.ndarray, moves: Moves, start: int) -> np.ndarray:
    """Mirror, pad by edges, crop: each image by itself."""
    found = []
    for i, image in enumerate(images, start):
        down, right = int(moves.down[i]), int(moves.right[i])
        image = image[:, :, ::-1] if moves.mirrored[i] else image
        margin = max(abs(down), abs(right))
        padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
        top, left = margin - down, margin - right
        found.append(padded[:, top : top + image.shape[1], left : left + image.shape[2]])
    return np.stack(found)


@settings(deadline=None, max_examples=40)
@given(
    st.floats(0.0, 0.5), st.floats(0.0, 0.5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 9)
)
def test_a_batch_is_moved_as_each_image_would_be(shift: float, flip: float, h: int, w: int, channels: int, seed: int):
    moves = Moves.draw(Recipe(shift=shift, flip=flip), 20, h, w, seed, epoch=3)
    if moves is None:
        assert shift == flip == 0.0
        return
    images = torch.randn(8, channels, h, w, generator=torch.Generator().manual_seed(seed))
    for layout in (torch.contiguous_format, torch.channels_last):
        found = moves.of(5, images.contiguous(memory_format=layout))
        np.testing.assert_array_equal(found.numpy(), one_by_one(images.numpy(), moves, 5))


def test_amounts_are_what_the_recipe_says():
    moves = Moves.draw(Recipe(shift=0.125, flip=0.5), 4000, 16, 32, 0, epoch=0)
    assert moves is not None
    assert set(moves.down.tolist()) == set(range(-2, 3))
    assert set(moves.right.tolist()) == set(range(-4, 5))
    assert abs(float(moves.mirrored.float().mean()) - 0.5) < 0.03
    again, later = (Moves.draw(Recipe(shift=0.125), 4000, 16, 32, 0, epoch=epoch) for epoch in (0, 1))
    assert again is not None
    assert later is not None
    assert torch.equal(moves.down, again.down)
    assert not torch.equal(moves.down, later.down)
    assert not again.mirrored.any()


@pytest.mark.parametrize("architecture", [DENSE, CONVOLUTION])
def test_a_training_on_moved_images_has_its_own_bits_taken_up_again_and_from_raw_images(architecture, monkeypatch):
    data = stripes()
    make = lambda i, shift=0.25: begin(  # noqa: E731
        Candidate(architecture, {"shift": shift, "flip": 0.5 * i / 4}),
        Fold(data, np.arange(120), np.arange(120, 160)),
        Budget(3),
        i,
        batch=32,
    )
    alone = [make(i) for i in range(4)]
    for each in alone:
        advance([each], 3)
    crowd, still = [make(i) for i in range(4)], make(0, 0.0)
    for epoch in (1, 3):
        for some in [crowd] if crowd[0].can_stack else [[each] for each in crowd]:
            advance(some, epoch)
    advance([still], 3)
    assert all(same(a, b) for a, b in zip(alone, crowd, strict=True))
    assert alone[0].state.curve != still.state.curve
    monkeypatch.setattr(resident_module, "VIEW_BYTES", 0)  # views are computed batch by batch
    raw = make(2)
    advance([raw], 3)
    assert raw.rows.preprocess is not None
    np.testing.assert_allclose(raw.state.curve, alone[2].state.curve, rtol=1e-3)


def test_tables_are_not_moved():
    found = train(
        [Candidate(chain(linear(8)), {"shift": 0.1})],
        blobs(),
        [Split(np.arange(200), np.arange(200, 300))],
        Fidelity(2, 1000, 1),
        seed=0,
    )[0]
    assert found.status == "error"
    assert "images alone are shifted or mirrored, but the data is tabular" in (found.message or "")
    with pytest.raises(SearchError, match="shift"):
        Recipe(shift=0.6)
