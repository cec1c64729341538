"""Small edits of ONNX files in memory, without the `onnx` package: 88 MB take a tenth of a second.

Every edit is a function ``(model, *, outputs=None) -> bytes`` named in the `edits` of a catalogue row. With
`outputs` only those outputs of the graph are kept, and only what leads to them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..errors import ModelError
from .onnx_graph import Graph, Node, Shape, declared_shape, read_integers

__all__ = ["apply_edits", "constant_resize_scales", "free_input_shape", "keep_outputs"]


def apply_edits(model: bytes, edits: Sequence[str], *, outputs: Sequence[str] | None = None) -> bytes:
    """Apply the edits called `edits`, in order.

    Parameters
    ----------
    model
        Content of an ONNX file.
    edits
        Names of functions of this module.
    outputs
        Outputs to keep; None keeps all.

    Raises
    ------
    ModelError
        The content is no ONNX file, or not of the kind an edit is for.
    """
    for name in edits:
        try:
            model = _EDITS[name](model, outputs=outputs)
        except (IndexError, KeyError, ValueError, struct.error) as error:
            raise ModelError(f"the model must be an ONNX file fit for {name}, but is not: {error}") from error
    return model


def free_input_shape(model: bytes, *, outputs: Sequence[str] | None = None) -> bytes:
    """Make batch, height and width of the graph's inputs and outputs symbolic.

    For networks with no fixed size inside: CenterFace, declared as (10, 3, 32, 32), takes any multiple of 32.
    """
    graph = Graph.read(model, outputs)
    graph.free_axes((0, 2, 3))
    return graph.write()


def constant_resize_scales(model: bytes, *, outputs: Sequence[str] | None = None) -> bytes:
    """Give every Resize a constant scale instead of a computed size, and free the graph's height and width.

    For U-shaped networks exported at one size (IS-Net, U2-Net). Sizes are traced from the declared input
    through every layer, and each Resize must turn out to be by a whole factor. The network then takes any
    size that halves as often as the declared one: multiples of 64 for IS-Net, of 32 for U2-Net.

    Raises
    ------
    ValueError
        A Resize is not by a whole factor, or its size cannot be traced; :func:`apply_edits` makes it a
        ModelError.
    """
    graph = Graph.read(model, outputs)
    for node, height, width in _trace_resizes(graph):
        name = f"safelight_resize_{height}x{width}"
        graph.add_floats(name, (1.0, 1.0, float(height), float(width)))
        node.read_from([*node.inputs[:2], name])
    graph.drop_dead_nodes()
    graph.free_axes((2, 3))
    return graph.write()


def keep_outputs(model: bytes, *, outputs: Sequence[str] | None = None) -> bytes:
    """Drop the graph's other outputs and what is computed for them alone."""
    return Graph.read(model, outputs).write()


_EDITS: dict[str, Callable[..., bytes]] = {
    edit.__name__: edit for edit in (constant_resize_scales, free_input_shape, keep_outputs)
}


class _Tracer:
    """Follows a picture's size through the layers, and the small integer tensors computed from sizes."""

    def __init__(self, graph: Graph) -> None:
        self.shapes: dict[str, Shape] = {name: declared_shape(value) for name, value in graph.inputs.items()}
        self.values: dict[str, Shape] = {
            name: read_integers(value) for name, value in graph.initializers.items()
        }

    def follow(self, node: Node) -> None:
        """Note what is known of a node's first output."""
        output = node.outputs[0]
        if node.operator in _VALUE_RULES:
            self.values[output] = _VALUE_RULES[node.operator](self, node)
        source = next((self.shapes[name] for name in node.inputs if name in self.shapes), None)
        if source is None or len(source) != 4:
            return
        if node.operator in _SIZE_RULES:
            self.shapes[output] = _SIZE_RULES[node.operator](self, node, source)

    def same_size(self, _: Node, source: Shape) -> Shape:
        return source

    def window_size(self, node: Node, source: Shape) -> Shape:
        """Size after a convolution or a pooling window, as the operators `Conv` and `MaxPool` define it."""
        kernel, strides, dilations = (
            node.integers(name) for name in ("kernel_shape", "strides", "dilations")
        )
        pads, ceiling = node.integers("pads") or [0] * 4, node.integers("ceil_mode") == [1]
        size: Shape = [None, None]
        for axis, length in enumerate(source[2:]):
            window = (dilations[axis] if dilations else 1) * (kernel[axis] - 1) + 1
            stride = strides[axis] if strides else 1
            room = (length or 0) + pads[axis] + pads[axis + 2] - window + (stride - 1 if ceiling else 0)
            size.append(room // stride + 1 if length else None)
        return size

    def resized(self, node: Node, _: Shape) -> Shape:
        sizes = self.values[node.inputs[3]] if len(node.inputs) == 4 else []
        return [None, None, *sizes[2:]] if len(sizes) == 4 else []

    def shape_value(self, node: Node) -> Shape:
        return self.shapes.get(node.inputs[0], [])

    def constant_value(self, node: Node) -> Shape:
        return node.constant()

    def same_value(self, node: Node) -> Shape:
        return self.values.get(node.inputs[0], [])

    def sliced_value(self, node: Node) -> Shape:
        start, end = (self.values[name][0] for name in node.inputs[1:3])
        return self.same_value(node)[start:end]

    def gathered_value(self, node: Node) -> Shape:
        content = self.same_value(node)
        return (
            [content[index] for index in self.values[node.inputs[1]] if index is not None] if content else []
        )

    def joined_value(self, node: Node) -> Shape:
        return [value for name in node.inputs for value in self.values.get(name, [])]


_SIZE_RULES: Mapping[str, Callable[[_Tracer, Node, Shape], Shape]] = {
    **dict.fromkeys(
        ("Add", "BatchNormalization", "Cast", "Concat", "Mul", "Relu", "Sigmoid"), _Tracer.same_size
    ),
    **dict.fromkeys(("Conv", "MaxPool"), _Tracer.window_size),
    "Resize": _Tracer.resized,
}
_VALUE_RULES: Mapping[str, Callable[[_Tracer, Node], Shape]] = {
    "Cast": _Tracer.same_value,
    "Concat": _Tracer.joined_value,
    "Constant": _Tracer.constant_value,
    "Gather": _Tracer.gathered_value,
    "Shape": _Tracer.shape_value,
    "Slice": _Tracer.sliced_value,
    "Unsqueeze": _Tracer.same_value,
}


def _trace_resizes(graph: Graph) -> Iterator[tuple[Node, int, int]]:
    """Give each Resize to a computed size, with its factors in height and width."""
    tracer = _Tracer(graph)
    for node in graph.nodes:
        tracer.follow(node)
        if node.operator == "Resize" and len(node.inputs) == 4:
            before, after = (tracer.shapes.get(name, [])[2:] for name in (node.inputs[0], node.outputs[0]))
            sides = [(start, end) for start, end in zip(before, after, strict=False) if start and end]
            if len(sides) != 2 or any(end % start for start, end in sides):
                raise ValueError(f"{node.outputs[0]} must be a whole multiple, but is {after} of {before}")
            height, width = (end // start for start, end in sides)
            yield node, height, width
