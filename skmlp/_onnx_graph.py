"""An ONNX graph that becomes a model of its own."""

from typing import Any

import numpy.typing as npt

from skmlp._onnx_formulas import OPSET, Graph, Value

# What runtimes of the last years read.
IR_VERSION = 10
ROWS = "n_samples"
# Operators besides the common ones, and the version of them that has what we use.
CLASSIC, CLASSIC_OPSET = "ai.onnx.ml", 2


class ProtoGraph(Graph):
    """A graph that becomes a model of its own.

    Parameters
    ----------
    onnx : module
    dtype : dtype
        What it computes in.
    reserved : tuple of str, default=()
        Names of outputs to come, which no input may have.
    """

    def __init__(self, onnx: Any, dtype: npt.DTypeLike, reserved: tuple[str, ...] = ()) -> None:
        super().__init__(onnx, dtype)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._names = {"", *reserved}
        self._is_classic = False

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = self._unused(f"{operator}_{len(self._nodes)}")
        made = self.onnx.helper.make_node(operator, inputs, [name], name, **attributes)
        self._is_classic |= made.domain == CLASSIC
        self._nodes.append(made)
        return name

    def constant(self, array: npt.NDArray[Any]) -> str:
        name = self._unused(f"constant_{len(self._constants)}")
        self._constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def input(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike | None = None) -> Value:
        """Return a new input, of some type (the graph's) and shape for each row.

        If there is something of its name already, it gets underscores behind it.
        """
        name = self._unused(name)
        code = self.code(self.dtype if dtype is None else dtype)
        self._inputs.append(self._described(name, code, shape))
        return Value(self, name)

    def output(
        self, name: str, value: Value, shape: tuple[int, ...], dtype: npt.DTypeLike | None = None
    ) -> None:
        """Make a value an output, of some type (the graph's) and shape for each row."""
        code = self.code(self.dtype if dtype is None else dtype)
        self._nodes.append(self.onnx.helper.make_node("Identity", [value.name], [name], name))
        self._outputs.append(self._described(name, code, shape))

    def model(self, name: str) -> Any:
        """Return the model."""
        helper = self.onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        if self._is_classic:
            opsets.append(helper.make_opsetid(CLASSIC, CLASSIC_OPSET))
        return helper.make_model(
            graph, producer_name="skmlp", opset_imports=opsets, ir_version=IR_VERSION
        )

    def _unused(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _described(self, name: str, code: int, shape: tuple[int, ...]) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, code, [ROWS, *shape])


class InPrecision(Graph):
    """The same graph, in which something is computed in another precision.

    Parameters
    ----------
    graph : Graph
    dtype : dtype
    """

    def __init__(self, graph: Graph, dtype: npt.DTypeLike) -> None:
        super().__init__(graph.onnx, dtype)
        self._graph = graph

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._graph.node(operator, *inputs, **attributes)

    def constant(self, array: npt.NDArray[Any]) -> str:
        return self._graph.constant(array)
