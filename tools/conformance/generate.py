"""Writes ONNX's own operator tests as the folders that `unbraid conformance` reads.

  pip install onnx && python generate.py DIR && unbraid conformance DIR

The package carries the small networks and what came from PyTorch as files; the tests of single operators it makes.
"""
import pathlib
import shutil
import sys

from onnx import TensorProto, defs, numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case import model as models


def message(value, name, kind):
    """A tensor, list, dictionary or optional as ONNX's runner stores it."""
    if isinstance(value, TensorProto):
        return value
    if kind.HasField("map_type"):
        return numpy_helper.from_dict(value, name)
    if kind.HasField("sequence_type"):
        return numpy_helper.from_list(value, name)
    if kind.HasField("optional_type"):
        return numpy_helper.from_optional(value, name)
    return numpy_helper.from_array(value, name)


def write(case, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    graph = case.model.graph
    for k, sets in enumerate(case.data_sets):
        to = folder / f"test_data_set_{k}"
        to.mkdir(exist_ok=True)
        for kind, infos, values in zip(("input", "output"), (graph.input, graph.output), sets):
            for j, (info, value) in enumerate(zip(infos, values)):
                (to / f"{kind}_{j}.pb").write_bytes(message(value, info.name, info.type).SerializeToString())


def main():
    to = pathlib.Path(sys.argv[1])
    for kind in ("pytorch-converted", "pytorch-operator", "simple"):
        shutil.copytree(pathlib.Path(loader.DATA_DIR) / kind, to / kind, dirs_exist_ok=True)
    for case in [*loader.load_model_tests(kind="node"), *models.collect_testcases()]:
        if case.model is not None:
            write(case, to / case.kind / case.name)
    print(f"{sum(1 for _ in to.rglob('model.onnx'))} tests up to opset {defs.onnx_opset_version()} in {to}", file=sys.stderr)


main()
