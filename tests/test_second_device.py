"""On another device than the CPU what is trained stays there, and comes out as on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.training import precision

SCRIPT = Path(__file__).parent / "second_device.py"


@pytest.fixture(scope="module")
def outcomes():
    """What was trained here and there, by case."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    if "cannot import name '_setup_privateuseone_for_python_backend'" in done.stderr:
        pytest.skip("this version of PyTorch has no backends written in Python")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", ["table", "mixed table", "regression", "images", "series", "batch by batch"])
def test_what_is_trained_elsewhere_comes_out_as_here(outcomes, case):
    here, there = outcomes["here"][case], outcomes["there"][case]
    alone = case in ("images", "series")  # by autograd, where sums are in another order
    close = 0.1 if alone and precision("image", "cpu") == "bfloat16" else 0.02 if alone else 1e-4
    for one, other in zip(here, there, strict=True):
        assert (one["status"], one["device"]) == ("complete", "cpu"), one["message"]
        assert (other["status"], other["device"]) == ("complete", "there:0"), other["message"]
        np.testing.assert_allclose(other["curve"], one["curve"], atol=close)
        assert other["score"] == pytest.approx(one["score"], abs=close)
