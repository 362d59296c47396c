"""A table as people bring it, and what is said of data that cannot be loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nas.dataset import load
from nas.errors import DataError


def error_of(*args: Any, **options: Any) -> str:
    """Returns the one sentence with which ``nas.dataset.load`` refuses these arguments."""
    with pytest.raises(DataError) as caught:
        load(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def frame(n: int = 80) -> Any:
    """Returns a DataFrame of ``n`` rows with a column of every sort: ids, dates, texts, gaps, numbers as texts."""
    import pandas as pd

    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(n) + 100,
            "age": np.where(np.arange(n) % 9 == 0, np.nan, rng.normal(40, 9, n)),
            "sex": rng.choice(["m", "f"], n),
            "when": pd.date_range("2021-03-01", periods=n).strftime("%d.%m.%Y"),
            "at": pd.date_range("2021-03-01", periods=n, freq="7h"),
            "review": [f"a long text about film {i} that nobody will read" for i in range(n)],
            "ticket": [f"T-{i * 7919}" for i in range(n)],
            "constant": 3,
            "empty": [None] * n,
            "alive": np.arange(n) % 3 == 0,
            "price": [str(i / 4) if i != 5 else "n.a." for i in range(n)],
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n), categories=["s", "m", "l"]),
            "ratio": np.where(np.arange(n) == 7, np.inf, rng.normal(size=n)),
            "label": rng.choice(["yes", "no"], n),
        }
    )
