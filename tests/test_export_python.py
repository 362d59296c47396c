"""Stand-alone Python files: readable, self-contained, refused in a sentence where they cannot be."""

from __future__ import annotations

import ast
import csv
import importlib.util
import io
import subprocess
import sys
from math import pi

import numpy as np
import pandas as pd
import pytest
import torch
from conformance_export import ExporterConformance, chain, expected, exported, model, network, people, table
from torch import nn
from torch.nn import functional

from nas import layers
from nas.dataset import encode_rows
from nas.errors import ExportError
from nas.export import export
from nas.export.python import builder
from nas.export.python.sources import Sources
from nas.operations import BUILTIN, Operation

STRENGTH = 0.5


def imported(path):
    """Returns the module in a file, which lies in a test's own folder."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a folder with the files of "people", "houses" and "pictures"."""
    folder = tmp_path_factory.mktemp("python")
    for name in ("people", "houses", "pictures"):
        for file, content in exported(name, ".py")[0].items():
            (folder / file).write_bytes(content)
    return folder


class TestPython(ExporterConformance):
    suffix = ".py"
    alone = """
sys.path.insert(0, "")
for name in ("safetensors", "onnx", "networkx", "optuna"):
    sys.modules[name] = None
import importlib
import torch

def predictor(path):
    network = importlib.import_module(path.removesuffix(".py")).load()
    types = {"numeric": torch.float32, "categorical": torch.int64, "image": torch.uint8, "series": torch.float32}
    return lambda batch: network(*(torch.tensor(rows, dtype=types[name]) for name, rows in batch.items())).tolist()
"""


# --- what the file is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["people", "houses", "pictures"])
def test_a_linter_finds_nothing_and_only_torch_is_imported(name, folder):
    text = (folder / f"{name}.py").read_text()
    command = [
        "ruff",
        "check",
        "--isolated",
        "--line-length=120",
        "--select=F,E,I,B,UP,C4",
        "--output-format=concise",
    ]
    done = subprocess.run(
        [sys.executable, "-m", *command, str(folder / f"{name}.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = {(getattr(node, "module", None) or node.names[0].name).partition(".")[0] for node in imports}
    assert "torch" in roots
    assert roots <= {"torch", *sys.stdlib_module_names}
    calls = {
        node.func.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and hasattr(node.func, "id")
    }
    assert not calls & {"exec", "eval", "compile", "__import__"}


def test_layers_have_names_and_follow_each_other(folder):
    text = (folder / "houses.py").read_text()
    lines = [line.strip() for line in text.splitlines()]
    start = lines.index("self.linear_1 = nn.Linear(6, 16)")
    assert lines[start : start + 3] == [
        "self.linear_1 = nn.Linear(6, 16)",
        "self.mish_2 = nn.Mish()",
        "self.output = nn.Linear(16, 1)",
    ]
    start = lines.index("h1 = self.linear_1(x)")
    assert lines[start : start + 4] == [
        "h1 = self.linear_1(x)",
        "h2 = self.mish_2(h1)",
        "value = self.output(h2)",
        "return value[:, 0] * self.std + self.mean",
    ]
    words = ast.get_docstring(ast.parse(text))
    assert "python houses.py table.csv" in words
    assert "from houses import load, predict" in words
    assert "the value of price" in words


# --- what it predicts -------------------------------------------------------------------------------------------------


def test_rows_by_name_are_read_as_the_library_reads_them(folder):
    predictor, data = model("people")
    frame = people(30, seed=3).drop(columns="income")
    frame.loc[3, "town"] = "Atlantis"
    frame.loc[4, "since"] = pd.NaT
    frame["height"] = frame["height"].astype(str)
    frame.insert(0, "extra", 1)
    truth = expected(predictor, encode_rows(frame, data.schema()))
    module = imported(folder / "people.py")
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    found = module.predict(module.load(), rows)
    assert [list(row) for row in found] == [["prediction", "probability_high", "probability_low"]] * 30
    np.testing.assert_allclose([[row["probability_high"], row["probability_low"]] for row in found], truth, atol=1e-5)
    assert [row["prediction"] for row in found] == [data.classes[code] for code in truth.argmax(axis=1)]
    assert module.predict(module.load(), []) == []
    with pytest.raises(ValueError, match="column 'town' is missing"):
        module.predict(module.load(), [rows[0], {key: 1 for key in rows[0] if key != "town"}])


def test_the_file_is_a_program_for_tables(folder, tmp_path, monkeypatch, capsys):
    predictor, data = model("people")
    frame = people(30, seed=4)
    frame.to_csv(tmp_path / "new.csv", index=False)
    module = imported(folder / "people.py")
    monkeypatch.setattr(sys, "argv", ["people.py", str(tmp_path / "new.csv")])
    module.main()
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    truth = expected(predictor, encode_rows(frame, data.schema()))
    np.testing.assert_allclose([float(row["probability_low"]) for row in found], truth[:, 1], atol=1e-5)
    monkeypatch.setattr(sys, "argv", ["people.py"])
    with pytest.raises(SystemExit, match=r"usage: python people.py table.csv"):
        module.main()


def test_images_are_tensors(folder):
    predictor, data = model("pictures")
    module = imported(folder / "pictures.py")
    found = module.predict(module.load(), torch.from_numpy(data.inputs["image"]))
    truth = expected(predictor, data.inputs)
    np.testing.assert_allclose([row["probability_b"] for row in found], truth[:, 1], atol=1e-5)
    with pytest.raises(ValueError, match="images must be uint8"):
        module.predict(module.load(), torch.zeros(1, 3, 3, 3))


def test_weights_of_another_network_are_refused(folder, tmp_path):
    (tmp_path / "houses.py").write_bytes((folder / "houses.py").read_bytes())
    (tmp_path / "houses.safetensors").write_bytes((folder / "people.safetensors").read_bytes())
    with pytest.raises(ValueError, match="must hold the weights exported together with"):
        imported(tmp_path / "houses.py").load()


def test_the_safetensors_library_reads_the_weights(folder):
    from safetensors.torch import load_file

    own, metadata = imported(folder / "people.py").read_safetensors(folder / "people.safetensors")
    theirs = load_file(folder / "people.safetensors")
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) and own[name].dtype == theirs[name].dtype for name in own)
    assert {"schema", "architecture", "settings", "scores", "fingerprint"} == set(metadata)


# --- operations of one's own ------------------------------------------------------------------------------------------


def scaled(x):
    """Returns x in its own units."""
    return STRENGTH * functional.softplus(x)


class Wave(nn.Module):
    """Waves of a learned length, plus what torch and this file have."""

    def __init__(self, features, size=2):
        super().__init__()
        self.length = nn.Parameter(torch.randn(features, size))
        self.register_buffer("shift", torch.arange(size, dtype=torch.float32))

    def forward(self, x):
        import math

        wave = torch.sin(2 * pi * x.unsqueeze(-1) * self.length + self.shift / math.e)
        return scaled(wave.flatten(1))


def build_wave(shape, size=2):
    return Wave(shape[0], size)


def build_by_loop(shape, size=2):
    parts = nn.Sequential(Wave(shape[0], size))
    for _ in range(size):
        parts.append(nn.Tanh())
    return parts


class Wide(nn.Module):
    def __init__(self, shape: tuple[int, ...], size: int | None = None):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x.repeat(1, self.size)


def wave_shape(shape, size=2):
    return (shape[0] * size,)


class Numb(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.factor = float(np.float32(2))

    def forward(self, x):
        return self.factor * x


def test_operations_of_torch_alone_are_included(tmp_path):
    data = table(categories=0, numbers=2)
    builds = {
        "my wave": build_wave,
        "by loop": build_by_loop,
        "class": Wide,
        "lambda": lambda shape, size: Wave(shape[0], size=size if size > 1 else 7),
    }
    own = {name: Operation(name, 1, build, wave_shape, {"size": 2}) for name, build in builds.items()}
    predictor = network(chain(*((name, {"size": 3}) for name in own), "relu"), data, BUILTIN | own)
    report = export(predictor, data, tmp_path / "waves.py", operations=BUILTIN | own)
    assert report.largest_difference <= 1e-4
    text = (tmp_path / "waves.py").read_text()
    for line in (
        "self.my_wave_1 = Wave(3, 3)",
        "self.by_loop_2 = build_by_loop((9,), size=3)",
        "self.class_3 = Wide((27,), size=3)",
        "self.lambda_4 = Wave(81, size=3)",
        "STRENGTH = 0.5",
        "from torch.nn import functional",
        "pi = 3.141592653589793",
    ):
        assert f"{line}\n" in text
    module = imported(tmp_path / "waves.py")
    raw = torch.from_numpy(data.inputs["numeric"])
    np.testing.assert_allclose(module.load()(raw).detach(), expected(predictor, data.inputs), atol=1e-5)


def closure(factor):
    class Local(nn.Module):
        def forward(self, x):
            return factor * x

    return lambda shape: Local()


class Numeric(nn.Module):
    """Has the name of a class of ours."""

    def __init__(self, shape):
        super().__init__()

    def forward(self, x):
        return x


class Callable:
    def __call__(self, shape):
        return nn.Identity()


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (Numb, "'Numb' uses numpy"),
        (closure(torch.tensor(2.0)), "'factor', a Tensor"),
        (Numeric, "'Numeric' would have two"),
        (Callable(), "a function or class builds it, but a Callable does"),
        (eval("lambda shape: nn.Identity()", {"nn": nn}), "of a lambda cannot be told"),
    ],
    ids=["numpy", "tensor in a closure", "name taken", "object", "no source"],
)
def test_an_operation_that_cannot_stand_alone_is_refused_in_a_sentence(build, reason, tmp_path):
    data = table(categories=0)
    operations = {**BUILTIN, "odd": Operation("odd", 1, build, lambda shape: shape)}
    predictor = network(chain("odd"), data, operations)
    with pytest.raises(ExportError, match=reason) as caught:
        export(predictor, data, tmp_path / "model.py", operations=operations)
    assert "\n" not in str(caught.value)
    assert ".onnx or .pt2" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_operations_that_are_not_given_are_asked_for(tmp_path):
    data = table(categories=0)
    operations = {**BUILTIN, "wave": Operation("wave", 1, build_wave, wave_shape)}
    with pytest.raises(ExportError, match="'wave' is not known"):
        export(network(chain("wave"), data, operations), data, tmp_path / "model.py")


@pytest.mark.parametrize("name", ["torch.py", "json.py", "struct.py"])
def test_a_name_that_hides_a_module_is_refused(name, tmp_path):
    with pytest.raises(ExportError, match="hide a module"):
        export(*model("houses"), tmp_path / name)


# --- building calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "call"),
    [
        ("linear", (16,), {"width": 8}, "nn.Linear(16, 8)"),
        ("linear", (16,), {}, "nn.Linear(16, 16)"),
        ("layer_norm", (16,), {}, "nn.LayerNorm(16)"),
        ("layer_norm", (3, 8, 8), {}, "nn.GroupNorm(1, 3)"),
        ("conv3x3", (3, 8, 8), {"width": 5, "stride": 2}, "nn.Conv2d(3, 5, 3, 2, padding=1)"),
        ("reduction", (3, 8, 8), {}, "Reduction((3, 8, 8), 6)"),
        ("gated_linear", (4,), {"dropout": 0.1}, "GatedLinear(4, 4, 0.1)"),
    ],
)
def test_what_is_known_is_worked_out(name, shape, parameters, call):
    sources = Sources()
    assert builder.call(BUILTIN[name].build, shape, parameters, sources) == call
    if not call.startswith("nn."):
        assert call.partition("(")[0] in sources.texts


def test_every_operation_has_a_call_of_its_own():
    shapes = {"category_embedding": (2, 3)} | {name: (4, 8, 8) for name in BUILTIN if "conv" in name or "pool" in name}
    shapes |= dict.fromkeys(("reduction", "separable3x3"), (4, 8, 8))
    for name, operation in BUILTIN.items():
        call = builder.call(operation.build, shapes.get(name, (5,)), {}, Sources())
        made = eval(call, {"nn": nn, **vars(layers)})
        assert type(made) is type(operation.build(shapes.get(name, (5,))))
        assert not call.startswith("_"), call


def test_a_module_used_twice_is_one_module():
    def build(shape):
        layer = nn.Linear(shape[0], shape[0])
        return nn.Sequential(layer, nn.Tanh(), layer)

    sources = Sources()
    assert builder.call(build, (3,), {}, sources) == "build((3,))"
    assert sources.imports == {"nn": "from torch import nn"}


def test_a_relative_path_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    predictor, data = model("houses")
    export(predictor, data, "houses.py")
    assert (tmp_path / "houses.py").exists()
