"""The tiny networks here are written field by field; ONNX Runtime is the judge of what comes out."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safelight.errors import ModelError, ModelNotFound
from safelight.inference import protobuf
from safelight.inference.models import find_model, load_model, model_info
from safelight.inference.onnx_edit import apply_edits
from safelight.inference.protobuf import encode_message as message

onnxruntime = pytest.importorskip("onnxruntime")


def tensor(name: str, array: np.ndarray[Any, Any]) -> bytes:
    kind = {"float32": 1, "int64": 7}[array.dtype.name]
    dims = [(1, length) for length in array.shape]
    return message(*dims, (2, kind), (8, name.encode()), (9, array.tobytes()))


def value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = message(*((1, message((1, length))) for length in shape))
    return message((1, name.encode()), (2, message((1, message((1, 1), (2, dims))))))


def node(operator: str, inputs: str, outputs: str, *attributes: bytes) -> bytes:
    return message(
        *((1, name.replace("_", "").encode()) for name in inputs.split()),
        *((2, name.encode()) for name in outputs.split()),
        (4, operator.encode()),
        *((5, attribute) for attribute in attributes),
    )


def integers(name: str, *content: int) -> bytes:
    return message((1, name.encode()), *((8, number) for number in content), (20, 7))


def text(name: str, content: str) -> bytes:
    return message((1, name.encode()), (4, content.encode()), (20, 3))


def constant(name: str, *content: int) -> bytes:
    array = np.array(content, np.int64)
    return node("Constant", "", name, message((1, b"value"), (5, tensor("", array)), (20, 4)))


def unet(*, late: bool = False, size: int = 64, target: int | None = None) -> bytes:
    """A network that halves and doubles twice, as exporters write it: computed sizes and a side output."""
    random_weights = np.random.default_rng(3).standard_normal((3, 3, 3, 3)).astype(np.float32)
    half = integers("strides", 2, 2), integers("pads", 1, 1, 1, 1), integers("kernel_shape", 3, 3)
    pool = integers("strides", 2, 2), integers("kernel_shape", 2, 2)
    linear = text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")
    nodes = [
        node("Conv", "x weight", "a", *half),
        node("Relu", "a", "b"),
        node("MaxPool", "b", "c", *pool),
        # the size of `b`, as PyTorch exporters spell it
        node("Shape", "b", "bshape"),
        constant("two", 2),
        constant("three", 3),
        constant("zero", 0),
        node("Gather", "bshape two", "bheight"),
        node("Gather", "bshape three", "bwidth"),
        node("Concat", "bheight bwidth", "bsize", message((1, b"axis"), (3, 0), (20, 2))),
        node("Shape", "c", "cshape"),
        node("Slice", "cshape zero two zero", "cstart"),
        node("Concat", "cstart bsize", "csizes", message((1, b"axis"), (3, 0), (20, 2))),
        node("Resize", "c _ _ csizes", "d", *linear),
        node("Add", "b d", "e"),
        # a size that is written down
        constant("full", target or size, target or size),
        node("Shape", "e", "eshape"),
        node("Slice", "eshape zero two zero", "estart"),
        node("Concat", "estart full", "esizes", message((1, b"axis"), (3, 0), (20, 2))),
        node("Resize", "e _ _ esizes", "f", *linear),
        node("Sigmoid", "f", "y"),
        constant("side", size, size),
        node("Concat", "cstart side", "sidesizes", message((1, b"axis"), (3, 0), (20, 2))),
        node("Resize", "c _ _ sidesizes", "aside", *linear),
    ]
    order = nodes[1:] + nodes[:1] if late else nodes
    graph = message(
        *((1, part) for part in order),
        (2, b"unet"),
        (5, tensor("weight", random_weights)),
        (11, value("x", (1, 3, size, size))),
        (11, value("weight", (3, 3, 3, 3))),
        (12, value("y", (1, 3, target or size, target or size))),
        (12, value("aside", (1, 3, size, size))),
        (13, value("b", (1, 3, size // 2, size // 2))),
    )
    return message((1, 8), (2, b"test"), (7, graph), (8, message((1, b""), (2, 15))))


def session(model: bytes | Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def picture(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((1, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("late", [False, True], ids=["sorted", "first-node-last"])
def test_constant_scales_give_the_same_result_and_free_the_size(late: bool) -> None:
    model = unet(late=late)
    edited = session(apply_edits(model, ["constant_resize_scales"]))
    assert [item.shape for item in edited.get_inputs()] == [[1, 3, "height", "width"]]
    assert edited.get_outputs()[0].shape == [1, 3, "y_height", "y_width"]
    before = session(unet()).run(["y", "aside"], {"x": picture(64, 64)})
    after = edited.run(["y", "aside"], {"x": picture(64, 64)})
    for expected, found in zip(before, after, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    for height, width in ((32, 32), (128, 64), (4, 96)):
        y, side = edited.run(["y", "aside"], {"x": picture(height, width)})
        assert y.shape == side.shape == (1, 3, height, width)
        expected = (
            session(unet(size=height)).run(["y"], {"x": picture(height, width)}) if height == width else [y]
        )
        np.testing.assert_allclose(y, expected[0], atol=1e-5)


def test_a_resize_that_is_no_whole_factor_is_refused() -> None:
    with pytest.raises(ModelError, match=r"f must be a whole multiple, but is \[48, 48\] of \[32, 32\]"):
        apply_edits(unet(target=48), ["constant_resize_scales"])


@pytest.mark.parametrize("edit", ["keep_outputs", "constant_resize_scales", "free_input_shape"])
def test_only_the_outputs_asked_for_are_kept(edit: str) -> None:
    model = unet()
    edited = apply_edits(model, [edit], outputs=["aside"])
    opened = session(edited)
    assert [item.name for item in opened.get_outputs()] == ["aside"]
    assert b"Sigmoid" in model and b"Sigmoid" not in edited
    expected = session(model).run(["aside"], {"x": picture(64, 64)})[0]
    np.testing.assert_allclose(opened.run(None, {"x": picture(64, 64)})[0], expected, atol=1e-5)


def test_free_input_shape_frees_the_batch_too() -> None:
    nodes = message(
        (1, node("Relu", "x", "y")), (11, value("x", (10, 3, 32, 32))), (12, value("y", (10, 3, 32, 32)))
    )
    model = message((1, 8), (7, nodes), (8, message((1, b""), (2, 15))))
    opened = session(apply_edits(model, ["free_input_shape"]))
    assert opened.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert opened.run(None, {"x": np.concatenate([picture(5, 7)] * 2)})[0].shape == (2, 3, 5, 7)


def test_weights_are_no_inputs_any_more() -> None:
    assert [item.name for item in session(apply_edits(unet(), ["keep_outputs"])).get_inputs()] == ["x"]
    assert message((11, value("weight", (3, 3, 3, 3)))) not in apply_edits(unet(), ["keep_outputs"])


def test_what_is_no_fitting_model_is_a_model_error() -> None:
    model = unet()
    with pytest.raises(ModelError, match="must include z, but are y, aside"):
        apply_edits(model, ["keep_outputs"], outputs=["z"])
    for content in (b"", b"no model at all", b"\xff" * 40, model[: len(model) // 2]):
        with pytest.raises(ModelError, match="must be an ONNX file fit for"):
            apply_edits(content, ["constant_resize_scales"])


def test_damaged_models_raise_nothing_else() -> None:
    model, dice = unet(), random.Random(5)  # noqa: S311
    for length in range(0, len(model), 7):
        edit_or_refuse(model[:length])
    for _ in range(300):
        damaged = bytearray(model)
        for _ in range(dice.randrange(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        edit_or_refuse(bytes(damaged))


def edit_or_refuse(content: bytes) -> None:
    for edit in ("constant_resize_scales", "free_input_shape", "keep_outputs"):
        with contextlib.suppress(ModelError):
            assert isinstance(apply_edits(content, [edit], outputs=["y"]), bytes)


def test_fields_are_written_as_they_were_read() -> None:
    raw = (
        b"\x08\x96\x01" + b"\x15" + struct.pack("<f", 1.5) + b"\x19" + struct.pack("<d", 2.5) + b"\x22\x02hi"
    )
    raw += b"\x28" + b"\xff" * 9 + b"\x01"
    content = list(protobuf.fields(raw))
    assert content[0] == (1, 150) and content[4] == (5, -1)
    assert b"".join(protobuf.encode(content)) == raw


@pytest.mark.parametrize(
    "raw", [b"\x08", b"\x0a\x05hi", b"\x0b", b"\x08" + b"\xff" * 11, b"\x0a" + b"\xff" * 9 + b"\x01"]
)
def test_broken_messages_are_value_errors(raw: bytes) -> None:
    with pytest.raises(ValueError, match="must"):
        list(protobuf.fields(raw))


# --- the real networks ---


@pytest.fixture
def real_model(request: pytest.FixtureRequest) -> Path:
    try:
        return find_model(request.param)
    except ModelNotFound as error:
        if "models" in os.environ.get("SAFELIGHT_REQUIRE", ""):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("real_model", ["isnet", "u2net"], indirect=True)
def test_a_large_network_is_edited_fast_and_in_little_memory(real_model: Path) -> None:
    model = real_model.read_bytes()
    outputs = model_info(real_model.stem).outputs
    started = time.process_time()
    edited = apply_edits(model, ["constant_resize_scales"], outputs=outputs)
    assert time.process_time() - started < 0.5
    assert 0.99 < len(edited) / len(model) <= 1
    del edited
    tracemalloc.start()
    apply_edits(model, ["constant_resize_scales"], outputs=outputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(model) + (8 << 20)


@pytest.mark.parametrize("real_model", ["isnet"], indirect=True)
def test_isnet_gives_the_same_matte_and_takes_multiples_of_64(real_model: Path) -> None:
    edited = load_model("isnet")
    assert isinstance(edited, bytes)
    feeds = {"input": np.tanh(picture(1024, 1024)) / 2}
    after = session(edited)
    assert [item.name for item in after.get_outputs()] == ["output"]
    expected = session(real_model).run(["output"], feeds)[0]
    assert np.abs(after.run(["output"], feeds)[0] - expected).max() < 1e-3
    assert after.run(["output"], {"input": picture(256, 320)})[0].shape == (1, 1, 256, 320)


@pytest.mark.parametrize("real_model", ["u2netp"], indirect=True)
def test_u2netp_can_be_freed_too(real_model: Path) -> None:
    edited = session(apply_edits(real_model.read_bytes(), ["constant_resize_scales"], outputs=["1959"]))
    feeds = {"input.1": picture(320, 320)}
    expected = session(real_model).run(["1959"], feeds)[0]
    np.testing.assert_allclose(edited.run(["1959"], feeds)[0], expected, atol=1e-5)
    assert edited.run(["1959"], {"input.1": picture(160, 224)})[0].shape == (1, 1, 160, 224)


@pytest.mark.parametrize("real_model", ["centerface"], indirect=True)
def test_centerface_takes_any_multiple_of_32(real_model: Path) -> None:
    info = model_info("centerface")
    edited = load_model("centerface")
    assert isinstance(edited, bytes)
    opened = session(edited)
    batch = np.concatenate([picture(32, 32, seed) * 100 for seed in range(10)])
    expected = session(real_model).run(list(info.outputs), {"input.1": batch})
    one = opened.run(list(info.outputs), {"input.1": batch[:1]})
    for whole, single in zip(expected, one, strict=True):
        np.testing.assert_allclose(single, whole[:1], atol=1e-3, rtol=1e-3)
    assert opened.run(["537"], {"input.1": picture(96, 160)})[0].shape == (1, 1, 24, 40)
