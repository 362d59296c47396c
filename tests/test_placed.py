"""Folders for a moment: gone with their block, and after a kill with the next one that is needed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from nas.placed import scratch

ROOT = Path(__file__).parents[1]


def test_a_folder_for_a_moment_vanishes_also_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "import os, tempfile; from nas.placed import scratch\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "with scratch() as folder:\n"
        "    (folder / 'network.onnx').write_bytes(b'x')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert (left / "network.onnx").exists()
    (tmp_path / "nas-scratch-of-somebody-else").mkdir()
    with scratch() as folder, scratch() as another:  # one's own are left alone
        assert folder.is_dir()
        assert another.is_dir()
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["nas-scratch-of-somebody-else"]
