"""Scores at full length: those that stopped early gain what the others gained after that epoch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance import record, small_space

from nas.controllers.curves import at_full_length
from nas.record import Fidelity, Outcome, Record


def of(score: float | None, *curve: float) -> Record:
    space = small_space()
    made = record(space, space.default(), score)
    outcome = Outcome("diverged") if score is None else Outcome("complete", score=score, curve=curve)
    return replace(made, outcome=outcome, fidelity=Fidelity(max(len(curve), 1) if score else 3, 100, 2))


def test_who_stopped_is_expected_to_gain_what_the_others_gained():
    records = [of(-0.2, -0.5, -0.4, -0.2), of(-0.1, -0.4, -0.3, -0.1), of(-0.6, -0.6), of(None), of(-0.5, -0.7, -0.5)]
    scores, doubt = at_full_length(records)
    assert scores[:2] == [-0.2, -0.1]
    assert scores[4] == pytest.approx(-0.5 + 0.2)
    assert scores[2] == pytest.approx(-0.6 + np.mean([0.3, 0.3, 0.4]))  # the last one counts as what it would have been
    assert scores[3] is None
    assert doubt.tolist() == pytest.approx([0, 0, np.var([0.3, 0.3, 0.4]), 0, 0])


def test_where_nobody_went_on_nothing_is_added():
    scores, doubt = at_full_length([of(-0.6, -0.6), of(None)])
    assert scores == [-0.6, None]
    assert doubt[0] == np.inf
    scores, doubt = at_full_length([of(-0.6, -0.6), of(-0.3, -0.5)])
    assert scores == [-0.6, -0.3]
    assert doubt.tolist() == [0, 0]
