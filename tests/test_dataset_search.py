"""What people bring, through the public door: one trial each, from the table to predictions on rows set aside."""

from __future__ import annotations

import numpy as np
import torch

import nas


def found(data, **options):
    return nas.search(data, trials=1, fidelity=nas.Fidelity(2, 400, 1), history=None, name="t", **options)


def messy(n: int = 300):
    import pandas as pd

    rng = np.random.default_rng(0)
    label = np.where(np.arange(n) < 2, "rarest", rng.choice(["a", "b"], n, p=[0.02, 0.98]))
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "amount": [f"$ {v:,.2f}" for v in rng.gamma(1.0, 2000.0, n)],
            "town": rng.choice([f"t{i}" for i in range(40)], n),
            "when": pd.date_range("2023-01-01", periods=n).strftime("%d.%m.%Y"),
            "flag": pd.array(np.where(rng.random(n) < 0.1, None, rng.random(n) < 0.5), dtype="boolean"),
            "ratio": np.where(rng.random(n) < 0.1, np.inf, rng.normal(size=n)),
            "text": [f"a remark of some length about the case number {i}" for i in range(n)],
            "constant": 1,
            "w": rng.integers(0, 3, n),
            "label": label,
        }
    )


def test_a_messy_table_with_weights_and_the_order_of_time():
    frame = messy()
    result = found(frame, target="label", weights="w", time="when", test=0.2)
    assert result.best.score is not None
    assert result.best.outcome.standard_error > 0
    said = " ".join(result.notes)
    for words in ("id", "amount", "when", "ratio", "text", "constant", "weight 0", "in the order of"):
        assert words in said
    assert result.test.time.min() > result.dataset.time.max()
    assert np.isfinite(list(result.test_metrics().values())).all()
    assert result.dataset.schema() == result.test.schema()


def test_given_validation_and_test_rows():
    frame = messy()
    frame.loc[299, "town"] = "never seen"
    parts = {"validation": frame[200:250], "test": frame[250:]}
    result = found(frame[:200], target="label", **parts)
    assert len(result.test) == 50
    assert len(result.dataset) == 250
    assert len(found(nas.load(frame[:200], target="label", **parts)).test) == 50  # without being asked for
    assert set(result.records[0].outcome.best_epochs) <= {1, 2}
    assert np.isfinite(list(result.test_metrics().values())).all()


def test_a_skewed_target_and_groups():
    frame = messy().assign(price=lambda f: np.exp(3 * np.random.default_rng(1).normal(size=len(f))))
    result = found(frame.drop(columns="label"), target="price", groups="town", test=0.2)
    assert not set(result.dataset.groups) & set(result.test.groups)
    assert np.isfinite(result.confirmation.score)


def test_a_hundred_classes_in_a_sparse_matrix():
    from scipy import sparse

    y = np.repeat(np.arange(100), 4)
    X = sparse.csr_matrix((np.ones(400), (np.arange(400), y)), shape=(400, 120))
    result = found(nas.load((X, np.array([f"class {i}" for i in range(100)])[y])))
    assert result.dataset.outputs == 100
    assert result.model()(torch.zeros(2, 120)).shape == (2, 100)
