"""What the tests of exported files share: datasets, networks, their files made once, and what every exporter passes."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nas.architecture import Architecture
from nas.dataset import Dataset, load
from nas.errors import ExportError
from nas.export import export
from nas.model import Predictor, Signature, build
from nas.operations import BUILTIN, Operation
from nas.preprocess import Preprocess
from nas.training import Candidate, fit

# --- datasets ---------------------------------------------------------------------------------------------------------


def table(task="classification", rows=90, numbers=6, categories=3, scale=1.0, seed=0):
    """Returns a table with gaps in every second number and in every category."""
    rng = np.random.default_rng(seed)
    inputs, levels = {}, ()
    y = rng.normal(size=rows)
    if numbers:
        values = rng.normal(size=(rows, numbers)) * 10.0 ** (np.arange(numbers) % 6)  # units from 1 to 100,000
        y = y + values[:, 0]
        values[:, ::2][rng.random((rows, (numbers + 1) // 2)) < 0.2] = np.nan
        inputs["numeric"] = values.astype(np.float32)
    if categories:
        inputs["categorical"] = rng.integers(-1, 5, size=(rows, categories))
        levels = tuple(tuple("abcde") for _ in range(categories))
    if task == "classification":
        y = np.digitize(y, np.quantile(y, (1 / 3, 2 / 3))).astype(np.int64)
        return Dataset("table", "tabular", task, inputs, y, ("low", "mid", "high"), levels=levels)
    return Dataset("table", "tabular", task, inputs, (scale * y).astype(np.float32), levels=levels)


def pictures(rows=60, height=9, width=7, channels=2):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, size=(rows, height, width, channels), dtype=np.uint8)
    return Dataset("pictures", "image", "classification", {"image": images}, np.arange(rows) % 3, ("a", "b", "c"))


def signals(rows=60, channels=2, steps=11):
    """Returns series with gaps, a third of which end early."""
    rng = np.random.default_rng(2)
    X = rng.normal(3.0, 20.0, size=(rows, channels, steps)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[::3, :, 7:] = np.nan
    return Dataset("signals", "series", "classification", {"series": X}, np.arange(rows) % 3, ("a", "b", "c"))


# --- networks ---------------------------------------------------------------------------------------------------------


def chain(*operations, view="x"):
    """Returns the architecture that applies ``operations``, names or (name, parameters), in turn to one view."""
    return parallel([operations], view=view, meet="identity")


def parallel(branches, view="x", join="concat", meet="tanh", summed=()):
    """Returns the architecture whose branches, as in ``chain``, meet in one node; ``@name`` first starts at a view.

    The branches ``summed`` meet in a convolution first.
    """
    graph = nx.MultiDiGraph()
    graph.add_node("meet", op=meet, join=join)
    if summed:
        graph.add_node("sum", op="conv1x1", join="add")
        graph.add_edge("sum", "meet")
    graph.add_node("out", op="output")
    graph.add_edge("meet", "out")
    for number, branch in enumerate((*branches, *summed)):
        source, branch = (branch[0][1:], branch[1:]) if str(branch[0]).startswith("@") else (view, branch)
        last = f"in {source}"
        graph.add_node(last, op="input", parameters={"name": source})
        for place, step in enumerate(branch):
            name, parameters = (step, {}) if isinstance(step, str) else step
            graph.add_node((number, place), op=name, parameters=parameters)
            graph.add_edge(last, (number, place))
            last = (number, place)
        graph.add_edge(last, "meet" if number < len(branches) else "sum")
    return Architecture.from_graph(graph)


def network(architecture, data, operations=BUILTIN, seed=0):
    """Returns a predictor whose every number is random, as training would leave it (heads are zero at first)."""
    preprocess = Preprocess.fit(data, np.arange(len(data)))
    body = build(architecture, Signature(preprocess.shapes, data.outputs), operations, dropout=0.2, seed=seed)
    scale = {} if data.task == "classification" else {"mean": float(data.y.mean()), "std": float(data.y.std())}
    if body.architecture.inputs:
        preprocess = preprocess.only(body.architecture.inputs)
    predictor = Predictor(preprocess, body, data.task, **scale)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in body.parameters():
            if parameter.dim() < 2 or not parameter.any():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for module in body.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    return predictor


def expected(predictor, raw):
    with torch.inference_mode():
        return predictor.eval()(*(torch.from_numpy(raw[name]) for name in predictor.preprocess.raw)).numpy()


# --- branches that hold every operation -------------------------------------------------------------------------------

TABLE_BRANCHES = (
    ("@numeric", ("periodic_embedding", {"frequencies": 4, "size": 3}), ("linear", {"width": 8}), "mish", "layer_norm"),
    ("@quantile", ("piecewise_linear", {"bins": 4}), ("gated_linear", {"width": 6, "dropout": 0.1}), "batch_norm"),
    ("@categorical", ("category_embedding", {"size": 3}), "feature_scale", "relu", "dropout"),
    ("@missing", "silu"),
    ("@onehot", "selu"),
    ("@x", "gelu", ("dropout", {"p": 0.5})),
    ("@categorical", "flatten", "identity"),
)
IMAGE_BRANCHES = (
    (("conv3x3", {"width": 4}), "batch_norm", "relu", "max_pool2x2", "global_avg_pool"),
    (("conv5x5", {"width": 3, "stride": 2}), "layer_norm", "mish", "flatten"),
    (("conv1x1", {"width": 3}), "feature_scale", "avg_pool3x3", ("max_pool3x3", {"stride": 2})),
    (("separable3x3", {"width": 3, "stride": 2}), ("avg_pool3x3", {"stride": 2})),
    ("relu_conv3x3_bn", ("relu_conv1x1_bn", {"width": 3}), "reduction", "dropout"),
)
SERIES_BRANCHES = (
    (("conv1d", {"width": 4, "kernel": 5, "dilation": 2}), "batch_norm", "silu", "max_pool1d", "global_max_pool"),
    (("separable1d", {"width": 3, "stride": 2}), "layer_norm", ("avg_pool1d", {"size": 3}), "flatten"),
)
SERIES_SUM = (("max_pool1d",), (("conv1d", {"width": 5}), "identity"))  # of different lengths: resized
IMAGE_SUM = (  # images of different sizes and channels, summed: projections and resizing
    (("conv3x3", {"width": 3}),),
    (("conv3x3", {"width": 5, "stride": 2}), "identity"),
    ("max_pool2x2",),
)

# --- what every exporter is tried on, made once -----------------------------------------------------------------------


def people(rows=60, seed=0):
    """Returns a frame with gaps, categories, a date, and the target "income"; its names need escaping."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows).round(1),
            "town": rng.choice(["Ulm", "Köln", 'Bonn, "West"'], rows),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, rows), unit="D"),
            "height": rng.normal(170, 9, rows).round(),
            'a"b\\c': rng.normal(size=rows),
        }
    )
    frame["income"] = np.where(frame.age + rng.normal(0, 5, rows) > 40, "high", "low")
    frame.loc[::7, "age"] = np.nan
    frame.loc[::5, "town"] = None
    return frame


def houses(rows=200, seed=0):
    """Returns a frame whose target "price" is in dollars, around 200,000."""
    rng = np.random.default_rng(seed)
    rooms, area = rng.integers(1, 9, rows).astype(float), rng.normal(100, 20, rows)
    frame = pd.DataFrame({"rooms": rooms, "area": area, "town": rng.choice(["Aachen", "Bath", "Cork"], rows)})
    frame["price"] = 20_000 * rooms + 1_000 * area + 20_000 * (frame.town == "Bath") + rng.normal(0, 5_000, rows)
    frame.loc[::7, "area"] = np.nan
    return frame


@functools.cache
def model(name):
    """Returns (predictor, data): "people", "pictures" and "signals" hold every operation, "houses" was trained."""
    if name == "people":
        data = load(people(), target="income", name='people """ # \\')
        return network(parallel(TABLE_BRANCHES), data), data
    if name == "signals":
        return network(parallel(SERIES_BRANCHES, summed=SERIES_SUM), signals()), signals()
    if name == "pictures":
        return network(parallel(IMAGE_BRANCHES, summed=IMAGE_SUM), pictures()), pictures()
    data = load(houses(), target="price")
    settings = {"learning_rate": 0.1}
    found = fit(Candidate(chain(("linear", {"width": 16}), "mish"), settings), data, np.arange(200), epochs=20, seed=0)
    return found.predictor, data


@functools.cache
def exported(name, suffix):
    """Returns (files by name, report) of ``model(name)`` in the format of ``suffix``."""
    predictor, data = model(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}{suffix}"
        scores = {"brier": -0.2, "auc": float("nan")}
        report = export(predictor, data, path, settings={"learning_rate": np.float64(0.03)}, scores=scores)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}, report


def batches(data):
    """Returns raw rows of ``data``, as arrays and as lists that JSON takes: one, two, 1000, and one without a value."""
    found = [{key: np.resize(array, (n, *array.shape[1:])) for key, array in data.inputs.items()} for n in (1, 2, 1000)]
    if data.kind != "image":
        nothing = {"numeric": np.nan, "categorical": -1, "series": np.nan}
        found.append({key: np.full_like(array[:1], nothing[key]) for key, array in data.inputs.items()})
    return found


def lines_of(data, raw):
    """Returns raw rows of a table with the words of its categories; every second missing one was never seen before."""
    words = {"": "", **{key: array.tolist() for key, array in raw.items()}}
    if "categorical" in raw:
        unknown = ("", "never seen")
        words["categorical"] = [
            [unknown[row % 2] if code < 0 else level[code] for code, level in zip(codes, data.levels, strict=True)]
            for row, codes in enumerate(raw["categorical"].tolist())
        ]
    return {key: rows for key, rows in words.items() if key}


class ExporterConformance:
    """What holds for every format that predicts.

    A subclass names its ``suffix``, whether it takes ``words`` for categories, and ``alone``: the source of
    ``predictor(path)``, which returns a function from raw arrays by name, as lists, to predictions, as lists.
    """

    suffix: str
    words = False
    alone: str
    names = ("people", "houses", "pictures", "signals")

    @classmethod
    @functools.cache
    def outputs(cls):
        """Returns what a fresh process, which has the files and can import neither the project nor pandas, predicts."""
        with tempfile.TemporaryDirectory() as place:
            folder, given = Path(place), {}
            for name in cls.names:
                for file, content in exported(name, cls.suffix)[0].items():
                    (folder / file).write_bytes(content)
                data = model(name)[1]
                lists = [{key: array.tolist() for key, array in raw.items()} for raw in batches(data)]
                given[name] = [lines_of(data, raw) for raw in batches(data)] if cls.words else lists
            (folder / "rows.json").write_text(json.dumps(given))
            (folder / "alone.py").write_text(ALONE.format(suffix=cls.suffix) + cls.alone + ALONE_TAIL)
            command = [sys.executable, "-I", "-W", "error", "alone.py"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
            return json.loads((folder / "found.json").read_text())

    @pytest.mark.parametrize("name", names)
    def test_a_process_without_the_project_predicts_the_same(self, name):
        predictor, data = model(name)
        raws = batches(data)
        truths = [expected(predictor, raw) for raw in raws]
        allowed = 1e-4 * max(1.0, max(np.abs(truth).max() for truth in truths))
        for truth, found in zip(truths, self.outputs()[name], strict=True):
            assert np.shape(found) == truth.shape
            assert np.abs(np.array(found) - truth).max() <= allowed
        if name == "houses":
            assert 150_000 < truths[2].mean() < 250_000  # dollars, not standard deviations
            assert np.corrcoef(truths[2][:200], data.y)[0, 1] > 0.5

    def test_the_report_says_what_was_written(self):
        files, report = exported("houses", self.suffix)
        assert report.bytes == sum(map(len, files.values()))
        assert f"houses{self.suffix}" in files
        assert report.rows_checked > 1000
        assert 0 <= report.largest_difference <= 1e-4 * 250_000
        assert f"(largest difference {report.largest_difference:.0e}, within tolerance)" in str(report)

    @pytest.mark.parametrize("name", names)
    def test_files_hold_no_path_of_this_machine_and_no_row_of_the_data(self, name):
        content = b"".join(exported(name, self.suffix)[0].values())
        assert str(Path(__file__).parents[1]).encode() not in content
        assert sys.prefix.encode() not in content
        data = model(name)[1]
        rows = data.inputs["numeric" if data.kind == "tabular" else data.kind].reshape(len(data), -1)
        assert not any(row.tobytes() in content for row in rows)

    def test_a_network_that_does_not_agree_leaves_no_file_and_stays_as_it_was(self, tmp_path, capfd):
        data = model("houses")[1]
        operations = {**BUILTIN, "noisy": Operation("noisy", 1, Noisy, lambda shape: shape)}
        predictor = network(chain("noisy"), data, operations).train()
        path = tmp_path / f"model{self.suffix}"
        path.write_bytes(b"older")
        with pytest.raises(ExportError, match="must agree with the network within") as caught:
            export(predictor, data, path, operations=operations)
        assert "\n" not in str(caught.value)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        assert path.read_bytes() == b"older"
        assert all(module.training for module in predictor.modules())
        assert capfd.readouterr() == ("", "")


class Noisy(nn.Module):
    """Random even when it predicts."""

    def __init__(self, shape):
        super().__init__()

    def forward(self, x):
        return x + 0.01 * torch.randn_like(x)


ALONE = """
import sys
for name in ("nas", "search_spaces", "pandas", "sklearn"):
    sys.modules[name] = None  # an import of one of these fails
import json
from pathlib import Path
SUFFIX = {suffix!r}
"""
ALONE_TAIL = """
found = {}
for name, batches in json.loads(Path("rows.json").read_text()).items():
    predict = predictor(name + SUFFIX)
    found[name] = [predict(batch) for batch in batches]
Path("found.json").write_text(json.dumps(found))
"""
