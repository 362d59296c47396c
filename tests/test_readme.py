"""Every code block of README runs, word for word."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.S | re.M)
INSTALLS = "pip install "  # these two are run word for word, in a fresh environment, by .ci/run


def test_readme_has_its_two_commands_and_ten_lines():
    commands = [code.strip() for kind, code in BLOCKS if kind == "bash"]
    assert commands[0] == "pip install . && nas search digits --trials 20 --export model.onnx"
    assert commands[1] == "pip install '.[test]' && pytest"
    first = next(code for kind, code in BLOCKS if kind == "python")
    assert len([line for line in first.splitlines() if line.strip()]) <= 12


def test_the_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for kind, code in BLOCKS:
            if kind == "python":
                exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "wine.onnx").stat().st_size > 0
    assert "largest difference" in printed.getvalue()


@pytest.mark.parametrize(
    "line", [line for kind, code in BLOCKS if kind == "bash" for line in code.splitlines() if INSTALLS not in line]
)
def test_the_commands_run(line, tmp_path):
    words = shlex.split(line)
    assert words[0] == "nas"
    done = subprocess.run([sys.executable, "-m", "nas", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_commands_that_readme_names_exist():
    for module in re.findall(r"python -m (benchmarks\.\w+)", README):
        assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists(), module


def test_the_files_that_readme_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
