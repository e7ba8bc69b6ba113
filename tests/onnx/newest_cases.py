"""Writes the test cases of the installed onnx package for every operator, at its newest opset: newest_cases.py FOLDER
makes FOLDER/NAME/{model.onnx, test_data_set_0/*.pb}, as Debian's libonnx-testdata has them for opset 17."""
import os
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

warnings.filterwarnings("ignore")


def tensors(values, ports):
    for value, port in zip(values, ports):
        t = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), port.name)
        t.name = port.name
        yield t.SerializeToString()


count = 0
for case in collect_testcases():
    ports = case.model.graph.input, case.model.graph.output
    if any(not p.type.HasField("tensor_type") for kind in ports for p in kind):
        continue  # sequences, maps, optional values
    folder = f"{sys.argv[1]}/{case.name}"
    os.makedirs(f"{folder}/test_data_set_0", exist_ok=True)
    with open(f"{folder}/model.onnx", "wb") as f:
        f.write(case.model.SerializeToString())
    for kind, values, of in zip(("input", "output"), case.data_sets[0], ports):
        for i, data in enumerate(tensors(values, of)):
            with open(f"{folder}/test_data_set_0/{kind}_{i}.pb", "wb") as f:
                f.write(data)
    count += 1
print(count, "cases of opset", onnx.defs.onnx_opset_version())
