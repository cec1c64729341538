"""The graph of an ONNX model, cut into pieces that can be changed and put together again.

An ONNX file is one protobuf message. Weights are views into it, copied once: when the model is written.

Field numbers are those of <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>.
"""

from __future__ import annotations

import graphlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .protobuf import (
    Field,
    as_integers,
    as_text,
    as_view,
    encode,
    encode_header,
    encode_message,
    fields,
    find,
)

__all__ = ["Graph", "Node", "Shape", "declared_shape", "read_integers"]

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS = 1, 3, 5, 8
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_INT64, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 7, 8, 9
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE = 1, 2, 1, 2
_SHAPE_DIM, _DIM_VALUE, _DIM_PARAM = 1, 1, 2
_FLOAT, _INT64 = 1, 7

_AXIS_NAMES = ("batch", "channels", "height", "width")

Shape = list[int | None]


@dataclass
class Node:
    """One operation: its bytes, and the parts of them that are looked at."""

    raw: memoryview | bytes
    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, raw: memoryview) -> Node:
        """Read a NodeProto."""
        node = cls(raw)
        for number, value in fields(raw):
            if number == _NODE_INPUT:
                node.inputs.append(as_text(value))
            elif number == _NODE_OUTPUT:
                node.outputs.append(as_text(value))
            elif number == _NODE_OPERATOR:
                node.operator = as_text(value)
        return node

    def read_from(self, inputs: list[str]) -> None:
        """Let the operation read other tensors."""
        rest = [(number, value) for number, value in fields(self.raw) if number != _NODE_INPUT]
        self.inputs = inputs
        self.raw = encode_message(*((_NODE_INPUT, name.encode()) for name in inputs), *rest)

    def _attribute(self, name: str) -> memoryview:
        """Return an attribute's message; empty if it is not given."""
        for number, value in fields(self.raw):
            if number == _NODE_ATTRIBUTE and find(as_view(value), _ATTRIBUTE_NAME) == name.encode():
                return as_view(value)
        return memoryview(b"")

    def constant(self) -> Shape:
        """Return the content of a Constant of few int64; nothing for other constants."""
        return read_integers(find(self._attribute("value"), _ATTRIBUTE_TENSOR))

    def integers(self, name: str) -> list[int]:
        """Return an integer attribute's content, one or several."""
        wanted = (_ATTRIBUTE_INT, _ATTRIBUTE_INTS)
        content = [as_integers(value) for number, value in fields(self._attribute(name)) if number in wanted]
        return [integer for part in content for integer in part]


@dataclass
class Graph:
    """The graph of a model, cut into pieces."""

    around: list[Field] = field(default_factory=list)  # of the model
    nodes: list[Node] = field(default_factory=list)  # each after those it reads from
    inputs: dict[str, memoryview | bytes] = field(default_factory=dict)
    outputs: dict[str, memoryview | bytes] = field(default_factory=dict)
    initializers: dict[str, memoryview | bytes] = field(default_factory=dict)
    rest: list[Field] = field(default_factory=list)

    @classmethod
    def read(cls, model: bytes, outputs: Sequence[str] | None) -> Graph:
        """Cut a model up, keeping only these outputs and what leads to them."""
        graph, content = cls(), find(model, _MODEL_GRAPH)
        if not content:
            raise ValueError("it has no graph")
        graph.around = [(number, value) for number, value in fields(model) if number != _MODEL_GRAPH]
        for number, value in fields(content):
            graph._take(number, value)
        for name in graph.initializers:  # some declare weights as inputs too, which forbids folding them
            graph.inputs.pop(name, None)
        graph.nodes = _in_order(graph.nodes)
        graph._keep(outputs)
        return graph

    def _take(self, number: int, value: int | memoryview) -> None:
        named = {
            _GRAPH_INPUT: self.inputs,
            _GRAPH_OUTPUT: self.outputs,
            _GRAPH_INITIALIZER: self.initializers,
        }
        if number == _GRAPH_NODE:
            self.nodes.append(Node.read(as_view(value)))
        elif number in named:
            name = find(as_view(value), _TENSOR_NAME if number == _GRAPH_INITIALIZER else _VALUE_NAME)
            named[number][as_text(name)] = as_view(value)
        elif number != _GRAPH_VALUE_INFO:  # shapes noted for one size contradict another
            self.rest.append((number, value))

    def _keep(self, outputs: Sequence[str] | None) -> None:
        if outputs is not None:
            if missing := [name for name in outputs if name not in self.outputs]:
                raise ValueError(
                    f"its outputs must include {', '.join(missing)}, but are {', '.join(self.outputs)}"
                )
            self.outputs = {name: self.outputs[name] for name in outputs}
        self.drop_dead_nodes()

    def drop_dead_nodes(self) -> None:
        """Drop nodes and weights that no output needs."""
        live, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if live.intersection(node.outputs):
                live.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self.initializers = {name: tensor for name, tensor in self.initializers.items() if name in live}

    def free_axes(self, axes: Sequence[int]) -> None:
        """Make these axes of four-dimensional inputs and outputs symbolic, each output's by its name."""
        for name, value in self.inputs.items():
            self.inputs[name] = _with_symbols(value, {axis: _AXIS_NAMES[axis] for axis in axes})
        for name, value in self.outputs.items():
            symbols = {axis: f"{name}_{_AXIS_NAMES[axis]}" if axis else _AXIS_NAMES[0] for axis in axes}
            self.outputs[name] = _with_symbols(value, symbols)

    def add_floats(self, name: str, values: Sequence[float]) -> None:
        """Add a weight of one dimension."""
        self.initializers[name] = encode_message(
            (_TENSOR_DIMS, len(values)),
            (_TENSOR_TYPE, _FLOAT),
            (_TENSOR_NAME, name.encode()),
            (_TENSOR_RAW, struct.pack(f"<{len(values)}f", *values)),
        )

    def write(self) -> bytes:
        """Put the model together again."""
        content: list[Field] = [(_GRAPH_NODE, node.raw) for node in self.nodes]
        content += [(_GRAPH_INITIALIZER, tensor) for tensor in self.initializers.values()]
        content += [(_GRAPH_INPUT, value) for value in self.inputs.values()]
        content += [(_GRAPH_OUTPUT, value) for value in self.outputs.values()]
        graph = encode(content + self.rest)
        header = encode_header(_MODEL_GRAPH, sum(len(piece) for piece in graph))
        return b"".join([*encode(self.around), header, *graph])


def _in_order(nodes: Sequence[Node]) -> list[Node]:
    """Sort nodes so that each comes after those it reads from; converters leave some at the end."""
    producers = {name: index for index, node in enumerate(nodes) for name in node.outputs}
    needed = {
        index: [producers[name] for name in node.inputs if name in producers]
        for index, node in enumerate(nodes)
    }
    return [nodes[index] for index in graphlib.TopologicalSorter(needed).static_order()]


def _dims(value: memoryview | bytes) -> list[memoryview]:
    shape = find(value, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE)
    return [as_view(dim) for number, dim in fields(shape) if number == _SHAPE_DIM]


def declared_shape(value: memoryview | bytes) -> Shape:
    """Return the shape in a ValueInfoProto, None for a symbolic axis."""
    lengths = [dict(fields(dim)).get(_DIM_VALUE) for dim in _dims(value)]
    return [length if isinstance(length, int) else None for length in lengths]


def _with_symbols(value: memoryview | bytes, symbols: Mapping[int, str]) -> memoryview | bytes:
    """Write a ValueInfoProto again with these axes of its shape symbolic, if it has four."""
    dims = _dims(value)
    if len(dims) != 4:
        return value
    shape = encode_message(
        *(
            (_SHAPE_DIM, encode_message((_DIM_PARAM, symbols[axis].encode())) if axis in symbols else dim)
            for axis, dim in enumerate(dims)
        )
    )
    tensor = find(value, _VALUE_TYPE, _TYPE_TENSOR)
    kept = [(number, part) for number, part in fields(tensor) if number != _TENSOR_SHAPE]
    typed = encode_message(*kept, (_TENSOR_SHAPE, shape))
    name = find(value, _VALUE_NAME)
    return encode_message((_VALUE_NAME, name), (_VALUE_TYPE, encode_message((_TYPE_TENSOR, typed))))


def read_integers(tensor: memoryview | bytes) -> Shape:
    """Return the content of a small tensor of int64; nothing where it is large or of another type."""
    if len(tensor) > 256:
        return []
    raw, integers, kind = b"", [], 0
    for number, value in fields(tensor):
        if number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_RAW:
            raw = bytes(as_view(value))
        elif number == _TENSOR_INT64:
            integers += as_integers(value)
    return [*integers, *struct.unpack(f"<{len(raw) // 8}q", raw)] if kind == _INT64 else []
