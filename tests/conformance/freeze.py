"""Write the answers of PyTorch and ONNX to vectors/*.safetensors, and the counts to docs/conformance.md.

`python tests/conformance/freeze.py [family ...]`; needs the extra `conformance`. Inputs of the cases of PyTorch are
drawn again by every test, so that only results and gradients are stored; those of ONNX are stored as well.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance import operators, report
from conformance.frozen import VECTORS
from conformance.operations import OPERATIONS, theirs


def freeze_torch(family):
    import torch

    arrays = {}
    for operation in OPERATIONS:
        if operation.family == family:
            for case, options in operation.cases():
                for name, value in theirs(torch, operation, case, options).items():
                    arrays[f"{case} {name}"] = np.array(value, order="C")
    save(family, arrays, {"made with": f"PyTorch {torch.__version__}"})


def freeze_onnx():
    import onnx
    from onnx.backend.test.case.node import collect_testcases

    collected = collect_testcases(None)
    wanted = {name for names in operators.FAMILIES.values() for name in names}
    cases, arrays, numbers = {}, {}, {}

    def stored(array):
        """Return the number of an array, each of which is stored once: many cases share their inputs."""
        array = np.array(array, order="C")
        number = numbers.setdefault((array.dtype, array.shape, array.tobytes()), str(len(numbers)))
        arrays[number] = array
        return number

    for case in collected:
        nodes = case.model.graph.node if case.model else ()
        if len(nodes) != 1 or nodes[0].op_type not in wanted or "_expanded" in case.name:
            continue
        (node,) = nodes
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        attributes = {key: value.decode() if isinstance(value, bytes) else value for key, value in attributes.items()}
        told = cases[case.name] = {"operator": node.op_type, "attributes": attributes}
        if not operators.skipped(case.name):
            for kind, names, values in zip(
                ("inputs", "outputs"), (node.input, node.output), *case.data_sets, strict=True
            ):
                values = iter(values)
                told[kind] = [stored(next(values)) if name else None for name in names]
    save("onnx", arrays, {"made with": f"ONNX {onnx.__version__}", "cases": json.dumps(cases)})


def save(name, arrays, metadata):
    VECTORS.mkdir(exist_ok=True)
    save_file(arrays, VECTORS / f"{name}.safetensors", metadata)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    families = sorted({operation.family for operation in OPERATIONS})
    for family in sys.argv[1:] or [*families, "onnx"]:
        freeze_onnx() if family == "onnx" else freeze_torch(family)
    report.PAGE.write_text(report.render())
