"""The cell space against the published tables of NAS-Bench-201: how many, how large, which are the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.architecture import Architecture
from nas.encoding import space_free
from search_spaces.cell import NASBENCH201, cell

TABLE = Path(__file__).parents[2] / "shared" / "tables" / "nb201_12epochs.npz"


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    if not TABLE.exists():
        pytest.skip("the table of NAS-Bench-201 is not beside the repository")
    with np.load(TABLE, allow_pickle=False) as file:
        found = {name: file[name] for name in ("arch", "params_m", "flops_m")}
        found["decisions"] = json.loads(str(file["decisions"]))
    return found


def choices_of(table: dict[str, np.ndarray], row: int) -> dict[str, object]:
    decided = zip(table["decisions"], table["arch"][row], strict=True)
    return cell().default() | {d["name"]: NASBENCH201[d["values"][value]] for d, value in decided}


def test_the_space_has_all_cells_once():
    space = cell()
    listed = {tuple(c.items()) for c in space.enumerate(settings=False)}
    assert len(listed) == 15_625
    assert space.size == 15_625 * 4 * 3
    assert set(space.decisions()) == {
        *(f"op_{s}_{t}" for s, t in ("01", "02", "12", "03", "13", "23")),
        "settings.learning_rate",
        "settings.weight_decay",
    }


def test_the_rows_of_the_table_are_choices_of_the_space(table):
    space = cell()
    rows = [tuple(sorted(choices_of(table, row).items())) for row in range(0, 15_625, 25)]
    assert all(space.contains(dict(row)) for row in rows)
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize(("row", "dead"), [(13_291, 0), (9_952, 0), (640, 0), (77, 0), (4_444, 2)])
def test_networks_have_the_published_size(table, row, dead):
    """Parameters and multiplications as published, for 5 cells a stage and the 100 classes of CIFAR-100.

    The benchmark's stem convolution has no bias, ours has one of 16; its FLOPs are multiply-accumulates. It also counts
    ``dead`` 1x1 convolutions, which nothing reaches and which our normal form does not have: per stage c^2 weights and
    2c of the norm, and 16^2 x 32^2 multiplications.
    """
    from nas.model import Signature, count

    architecture = cell(16, 5).architecture(choices_of(table, row))
    found = count(architecture, Signature({"x": (3, 32, 32)}, 100))
    parameters = found.parameters - 16 + dead * 5 * sum(c * c + 2 * c for c in (16, 32, 64))
    assert parameters / 1e6 == pytest.approx(table["params_m"][row], abs=0.0006)
    assert found.flops / 2e6 + dead * 5 * 3 * 16**2 * 32**2 / 1e6 == pytest.approx(table["flops_m"][row], abs=0.006)


def test_equal_cells_give_equal_networks_and_others_do_not(table):
    """Two cells are one network, in any number of places, exactly if the cells alone are isomorphic."""
    rng = np.random.default_rng(0)
    rows = rng.choice(15_625, 80, replace=False).tolist()
    one, many = cell(cells_per_stage=1), cell(channels=8, cells_per_stage=2)
    swapped = {"op_0_1": "op_0_2", "op_0_2": "op_0_1", "op_1_3": "op_2_3", "op_2_3": "op_1_3"}
    keys = set()
    for row in rows:
        choices = choices_of(table, row)
        first, second = (space.architecture(choices).key for space in (one, many))
        assert (first == second) is (one.architecture(choices).inputs == ())  # a constant has no channels
        keys.add((first, second))
        if choices["op_1_2"] == "zero":  # nodes 1 and 2 are then exchangeable
            other = {swapped.get(path, path): value for path, value in choices.items()}
            assert one.architecture(other).key == first
    assert len({first for first, _ in keys}) == len({second for _, second in keys}) == len(keys)


def test_the_default_is_a_residual_chain_that_trains_and_predicts():
    import torch

    from nas.model import Signature, build

    space = cell(channels=4)
    architecture = space.architecture(space.default())
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert space_free(architecture, {})["op.relu_conv3x3_bn"] == pytest.approx(np.log(10))
    network = build(architecture, Signature({"x": (3, 8, 8)}, 5), seed=0)
    out = network({"x": torch.randn(2, 3, 8, 8)})
    assert out.shape == (2, 5)
    out.square().sum().backward()
    assert sum(p.grad is not None for p in network.parameters()) > 10


def test_a_cell_of_zeros_is_a_constant_network():
    space = cell()
    nothing = space.default() | {path: "zero" for path in space.decisions() if path.startswith("op_")}
    assert space.architecture(nothing).edges == ()
