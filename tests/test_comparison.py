"""The comparison: its errors are those of what is independent."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nas.comparison import CONSTANT, FOUND, LINEAR, NO_SEARCH, TREES, Comparison, Contender, Run, compared
from nas.dataset import load
from nas.metrics import find_metric


def test_rows_of_a_group_are_no_evidence_of_their_own():
    rng = np.random.default_rng(0)
    base = load((rng.normal(size=(40, 2)), np.arange(40) % 2), groups=np.arange(40))
    ten_times = base.subset(np.repeat(np.arange(40), 10))
    right = rng.random(40) < 0.8
    rows = []
    for data in (base, ten_times):
        splits = data.splits(4, seed=0)
        said = {
            FOUND: [np.eye(2)[np.where(right[data.groups[s.validation]], data.y[s.validation], 0)] for s in splits],
            LINEAR: [np.full((len(s.validation), 2), 0.5) for s in splits],
        }
        table = compared(data, splits, [Run(name, predictions, 1.0, 1) for name, predictions in said.items()])
        rows.append((table[FOUND], table[LINEAR], len(np.unique(np.concatenate([s.validation for s in splits])))))
    once, often = rows
    assert often[2] > 5 * once[2]
    for contender in (0, 1):
        assert often[contender].error > 0.7 * once[contender].error
    assert often[1].difference_error > 0.7 * once[1].difference_error


def test_an_unknown_error_shows_no_advantage():
    one = Contender("linear", 0.5, float("nan"), 1.0, 1, difference=0.3, difference_error=float("nan"))
    assert one.as_good
    assert not Contender("linear", 0.5, 0.1, 1.0, 1, difference=0.3, difference_error=0.1).as_good
    assert Contender("linear", 0.5, 0.1, 1.0, 1, difference=0.2, difference_error=0.11).as_good


def test_a_row_in_several_validation_parts_counts_once():
    data = load((np.arange(30.0).reshape(-1, 1), np.arange(30) % 2))
    one = data.splits(1, seed=0)
    rng = np.random.default_rng(1)
    predictions = rng.random((len(one[0].validation), 2))
    single = compared(data, one, [Run(FOUND, [predictions], 1.0, 1)])[FOUND]
    double = compared(data, one * 2, [Run(FOUND, [predictions] * 2, 1.0, 1)])[FOUND]
    assert (single.value, single.error) == pytest.approx((double.value, double.error))


def test_contenders_by_a_scorer_have_paired_errors():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    data = load((rng.normal(size=(400, 2)), y))
    splits = data.splits(4, seed=0)
    logit = 1.5 * y + rng.normal(size=400)
    nearly = logit + 0.05 * rng.normal(size=400)
    said = {FOUND: logit, LINEAR: nearly}
    runs = []
    for name, value in said.items():
        p = 1 / (1 + np.exp(-value))
        runs.append(Run(name, [np.stack([1 - p, p], axis=1)[s.validation] for s in splits], 1.0, 1))
    table = compared(data, splits, runs, find_metric("roc_auc", "classification", y, ("a", "b")))
    assert table.metric == "roc_auc"
    assert table[FOUND].value == pytest.approx(
        np.mean([roc_auc_score(y[s.validation], logit[s.validation]) for s in splits])
    )
    assert 0 < table[LINEAR].difference_error < 0.3 * table[LINEAR].error  # nearly the same predictions


@pytest.mark.parametrize(
    ("differences", "advice"),
    [
        ({CONSTANT: (0.01, 0.02)}, "no network is shown to predict better than a constant"),
        (
            {NO_SEARCH: (-0.02, 0.005), LINEAR: (0.0, 0.01)},
            "the default network is better here, by 0.0200 ±0.0050",
        ),
        ({LINEAR: (0.01, 0.02), NO_SEARCH: (0.0, 0.01)}, "a linear model is as good here, within two standard errors"),
        ({TREES: (-0.01, 0.02)}, "boosted trees are as good here, within two standard errors: use them"),
        ({NO_SEARCH: (0.001, 0.02)}, "the default network is as good here as the one found"),
        ({}, "the network found is better than every other row"),
    ],
)
def test_advice_is_what_is_better_or_the_simplest_that_is_not_shown_to_be_worse(differences, advice):
    others = [
        Contender(name, 0.9 - difference, 0.01, 1.0, 10, difference, error)
        for name in (NO_SEARCH, TREES, LINEAR, CONSTANT)
        for difference, error in [differences.get(name, (0.1, 0.01))]
    ]
    table = Comparison("accuracy", (Contender(FOUND, 0.9, 0.01, 1.0, 10, 0.0, 0.0), *others))
    assert table.advice.startswith(advice)
    assert all(c.name in str(table) for c in table.contenders)
