"""The rooms and who may import whom, read from the sources; what importing the library costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# room -> rooms it may import (nas.errors is free to all); torch: whether it may import torch at its top level
ROOMS: dict[str, tuple[str, bool]] = {
    "errors": ("", False),
    "readable": ("", False),
    "operations": ("layers", False),
    "layers": ("", True),
    "canonical": ("", False),
    "architecture": ("canonical operations", False),
    "space": ("architecture operations", False),
    "encoding": ("architecture space", False),
    "dataset": ("readable", False),
    "metrics": ("", False),
    "metafeatures": ("dataset", False),
    "sketch": ("dataset record", False),
    "baselines": ("dataset metrics", False),
    "record": ("architecture", False),
    "metadataset": ("architecture record sketch", False),
    "preprocess": ("dataset operations", True),
    "model": ("architecture operations layers preprocess", True),
    "training": ("architecture dataset layers metrics model operations preprocess record", True),
    "alarm": ("", False),
    "executors": ("alarm", False),
    "surrogate": ("", False),
    "controllers": ("architecture space encoding record metadataset readable surrogate", False),
    "protocol": ("dataset metrics record training", False),
    "export": (
        "architecture dataset draw layers model operations placed prediction preprocess readable",
        True,
    ),
    "draw": ("architecture", False),
    "placed": ("", False),
    "prediction": ("dataset placed", False),
    "comparison": ("baselines dataset metrics protocol readable record result training", False),
    "result": (
        "comparison controllers dataset export goals metrics model protocol record report space study training",
        False,
    ),
    "evaluation": (
        "architecture dataset metafeatures metrics model preprocess protocol record sketch space training",
        False,
    ),
    "goals": ("architecture dataset export model placed record space training", False),
    "loop": (
        "alarm architecture comparison controllers dataset evaluation executors goals metadataset metrics protocol "
        "record readable report result space sketch study training search_spaces",
        False,
    ),
    "estimator": ("controllers dataset loop metadataset model operations placed preprocess record result space", False),
    "study": ("architecture metrics record space", False),
    "report": ("architecture draw metrics protocol record", False),
    "cli": (
        "comparison dataset evaluation export loop metadataset metrics prediction readable record report result study "
        "training",
        False,
    ),
    "__main__": ("cli", False),
    "search_spaces": ("architecture dataset operations space", False),
}
HEAVY = {"torch", "sklearn", "pandas", "sqlalchemy", "optuna", "pyarrow", "onnx", "onnxruntime", "matplotlib", "scipy"}
ALLOWED_AT_TOP = {  # room -> heavy modules it may import eagerly
    "surrogate": {"scipy"},
    "controllers": {"scipy", "optuna"},  # files that are loaded when such a controller is made
    "export": {"torch", "onnx", "onnxruntime"},
    "estimator": {"sklearn"},
}


def _room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "search_spaces" else parts[1] if len(parts) > 1 else parts[0]


def _files() -> list[Path]:
    return [p for folder in ("nas", "search_spaces") for p in sorted((ROOT / folder).rglob("*.py"))]


def _imports(path: Path) -> list[tuple[str, bool, bool]]:
    """(module, whether at top level, whether only for type checking) of every import of ours or of a heavy module."""
    found = []

    def visit(node: ast.AST, top: bool, typing: bool) -> None:
        for child in ast.iter_child_nodes(node):
            below, only = top, typing
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                below = False
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                only = True
            if isinstance(child, ast.Import):
                found.extend((alias.name, below, only) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: imports are absolute"
                if child.module == "nas":
                    found.extend((f"nas.{alias.name}", below, only) for alias in child.names)
                else:
                    found.append((child.module or "", below, only))
            visit(child, below, only)

    visit(ast.parse(path.read_text()), True, False)
    return found


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_table(path):
    room = _room(path)
    if room == "__init__":
        return  # re-exports public names lazily
    assert room in ROOMS, f"{room} is no room; add it to the table"
    allowed, torch_at_top = ROOMS[room]
    for module, top, typing in _imports(path):
        package, *rest = module.split(".")
        if package in ("nas", "search_spaces") and not typing:
            target = rest[0] if package == "nas" and rest else package
            assert target in {room, "errors", *allowed.split()}, f"{path.name} may not import {module}"
        if package in HEAVY and top and not typing:
            fine = ALLOWED_AT_TOP.get(room, set()) | ({"torch"} if torch_at_top else set())
            assert package in fine or path.name in ("sql.py",), f"{path.name} imports {module} when it is imported"


def test_the_table_has_no_cycle():
    import networkx as nx

    graph = nx.DiGraph((room, other) for room, (others, _) in ROOMS.items() for other in others.split())
    graph.remove_edges_from([("comparison", "result")])  # a type only, checked below
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


def test_the_top_level_is_what_was_agreed():
    names = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")}
    built = {"build", "nas.egg-info", "shared"}
    assert names - built == {"pyproject.toml", "README.md", "LICENSE", "nas", "search_spaces", "benchmarks", "tests"}


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def test_importing_nas_is_quick_and_loads_nothing_heavy():
    code = "import time; t = time.process_time(); import nas, sys; print(time.process_time() - t, *sys.modules)"
    best = min((_python(code).split() for _ in range(3)), key=lambda words: float(words[0]))
    assert float(best[0]) < 0.5
    assert not HEAVY & set(best[1:])


def test_training_needs_torch_numpy_and_networkx_alone():
    blocked = sorted(HEAVY - {"torch"} | {"tqdm", "platformdirs", "safetensors", "jinja2", "PIL"})
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "import nas.training, nas.model, nas.preprocess, nas.dataset, nas.record\nprint('fine')"
    )
    assert _python(code).strip() == "fine"


def test_every_public_name_can_be_had_and_no_module_hides_a_function():
    import nas

    for _ in range(2):
        for name in nas.__all__:
            getattr(nas, name)
        assert callable(nas.search)
        assert callable(nas.suggest)
    assert set(nas.__all__) <= set(dir(nas))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        nas.serach  # noqa: B018
