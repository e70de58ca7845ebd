"""A short way to write an ONNX graph by hand.

The towers are written node by node rather than traced from torch: the file then holds exactly the
nodes, weight types and names that are meant, and reads the same whichever torch made it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from indexer.arrays import FloatArray

if TYPE_CHECKING:
    import onnx

# Opset 20 is the first with Gelu as one node, IR 9 the version that came with it.
OPSET = 20
IR_VERSION = 9
INT8_MAX = 127.0


def quantised(matrix: FloatArray, *, axis: int) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Return int8 values and the scales along `axis` that make `values * scales` near `matrix`."""
    scales = np.abs(matrix).max(axis=axis, keepdims=True) / INT8_MAX
    scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales


@dataclass(slots=True)
class OnnxGraph:
    """Nodes and constants, in the order in which they were added.

    With `exact`, weights stay float32: what compact storage costs is measured against that.
    """

    exact: bool = False
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        return self.add_split(operator, *inputs, n_outputs=1, **attributes)[0]

    def add_split(
        self, operator: str, *inputs: str, n_outputs: int, **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs and return their names."""
        from onnx import helper

        label = f"{operator}_{len(self.nodes)}"
        outputs = [f"{label}_{k}" for k in range(n_outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, label, **attributes))
        return outputs

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add an array of that type and return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def floats(self, values: npt.ArrayLike) -> str:
        """Add a float32 constant."""
        return self.constant(values, np.float32)

    def integers(self, values: npt.ArrayLike) -> str:
        """Add an int64 constant, the type of shapes and axes."""
        return self.constant(values, np.int64)

    def half_weight(self, values: npt.ArrayLike) -> str:
        """Add a float16 constant behind a cast to float32.

        ONNX Runtime folds the cast when it loads the file, so it costs half the size and no time.
        """
        if self.exact:
            return self.floats(values)
        return self.to_float(self.constant(values, np.float16))

    def int8_weight(self, matrix: FloatArray) -> str:
        """Add a matrix (inputs, outputs) as int8 with a scale per output.

        A cast and a product rather than DequantizeLinear: ONNX Runtime folds these two when it
        loads the file, while it keeps DequantizeLinear for its quantised kernels.
        """
        if self.exact:
            return self.floats(matrix)
        values, scales = quantised(matrix, axis=0)
        return self.add("Mul", self.to_float(self.constant(values, np.int8)), self.floats(scales))

    def int8_rows(self, table: FloatArray, rows: str) -> str:
        """Look up rows of a table that is stored as int8 with a scale per row."""
        if self.exact:
            return self.add("Gather", self.floats(table), rows)
        values, scales = quantised(table, axis=1)
        found = self.to_float(self.add("Gather", self.constant(values, np.int8), rows))
        return self.add("Mul", found, self.add("Gather", self.floats(scales), rows))

    def to_float(self, name: str) -> str:
        """Cast to float32."""
        from onnx import TensorProto

        return self.add("Cast", name, to=TensorProto.FLOAT)

    def model(
        self,
        *,
        inputs: list[onnx.ValueInfoProto],
        features: str,
        feature_dim: int,
        about: str,
    ) -> onnx.ModelProto:
        """Return the checked model, whose one output is `features`, float32 (n, feature_dim)."""
        import onnx
        from onnx import TensorProto, helper

        last = helper.make_node("Identity", [features], ["features"], "features")
        output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", feature_dim])
        graph = helper.make_graph(
            [*self.nodes, last], "tower", inputs, [output], self.constants, doc_string=about
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, producer_name="isophote", opset_imports=opset, ir_version=IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return model
