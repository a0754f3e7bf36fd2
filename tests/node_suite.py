#!/usr/bin/env python3
"""Write the node cases of the installed `onnx` package in ONNX's test layout: node_suite.py FOLDER."""

import pathlib
import sys

from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests


def write(folder, case):
    """Write one case: the model, and its first data sets."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"test_data_set_{number}"
        data.mkdir(exist_ok=True)
        graph = case.model.graph
        for kind, values, infos in (("input", inputs, graph.input), ("output", outputs, graph.output)):
            for index, (value, info) in enumerate(zip(values, infos)):
                (data / f"{kind}_{index}.pb").write_bytes(encode(value, info).SerializeToString())


def encode(value, info):
    """A value as the protobuf message of its declared type."""
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    if isinstance(value, TensorProto):
        return value
    return numpy_helper.from_array(value, info.name)


def main():
    target = pathlib.Path(sys.argv[1])
    cases = [case for case in load_model_tests(kind="node") if case.model is not None]
    for case in cases:
        write(target / case.name, case)
    print(f"{len(cases)} cases in {target}")


if __name__ == "__main__":
    main()
