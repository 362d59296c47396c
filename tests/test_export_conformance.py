"""Every exporter against the same demands; the files run in a process that cannot import the project."""

from __future__ import annotations

from conformance_export import ExporterConformance


class TestOnnx(ExporterConformance):
    suffix = ".onnx"
    words = True
    alone = """
sys.modules["torch"] = None
import numpy as np
import onnxruntime

def predictor(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["nas"])
    types = {"tensor(float)": np.float32, "tensor(string)": object, "tensor(uint8)": np.uint8}

    def predict(batch):
        raw = {end.name: np.array(batch[end.name], dtype=types[end.type]) for end in session.get_inputs()}
        *labels, output = session.run(None, raw)
        classes = metadata["schema"]["classes"]
        assert output.dtype == np.float32
        assert not classes or [classes[i] for i in output.argmax(axis=1)] == labels[0].tolist()
        return output.tolist()

    return predict
"""


class TestPt2(ExporterConformance):
    suffix = ".pt2"
    alone = """
import torch

def predictor(path):
    extra = {"nas.json": ""}
    network = torch.export.load(path, extra_files=extra).module()
    types = {"numeric": torch.float32, "categorical": torch.int64, "image": torch.uint8}
    names = json.loads(extra["nas.json"])["inputs"]
    return lambda batch: network(*(torch.tensor(batch[name], dtype=types[name]) for name in names)).tolist()
"""


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
    types = {"numeric": torch.float32, "categorical": torch.int64, "image": torch.uint8}
    return lambda batch: network(*(torch.tensor(rows, dtype=types[name]) for name, rows in batch.items())).tolist()
"""
