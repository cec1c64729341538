"""The wire format of Protocol Buffers: a message cut into its fields, and written again.

Nothing is decoded but integers, and nothing is copied: all else is a view of the message's bytes. What ONNX
needs of the format is here, nothing more. See <https://protobuf.dev/programming-guides/encoding/>.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = [
    "Field",
    "as_integers",
    "as_text",
    "as_view",
    "encode",
    "encode_header",
    "encode_integer",
    "encode_message",
    "fields",
    "find",
]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Field = tuple[int, int | memoryview | bytes]
"""A field: its number and its value. Fixed-width fields have the number ``-tag``, to be written as read."""


def fields(message: memoryview | bytes) -> Iterator[tuple[int, int | memoryview]]:
    """Cut a message into its fields, in order.

    Raises
    ------
    ValueError
        It is not a message.
    """
    view = memoryview(message)
    position, end = 0, len(view)
    while position < end:
        tag, position = _read_integer(view, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _read_integer(view, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _read_integer(view, position)
        elif kind in (_FIXED32, _FIXED64):
            number, size = -tag, 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field must have the wire type 0, 1, 2 or 5, but has {kind}")
        if not 0 <= size <= end - position:
            raise ValueError(f"a field must end inside its message, but has {size} bytes")
        yield number, view[position : position + size]
        position += size


def encode(content: Iterable[Field]) -> list[memoryview | bytes]:
    """Write fields as :func:`fields` gives them: pieces to be joined, values not copied."""
    pieces: list[memoryview | bytes] = []
    for number, value in content:
        if isinstance(value, int):
            pieces.append(encode_integer(number << 3) + encode_integer(value))
        elif number < 0:
            pieces += [encode_integer(-number), value]
        else:
            pieces += [encode_header(number, len(value)), value]
    return pieces


def encode_message(*content: Field) -> bytes:
    """Write one small message."""
    return b"".join(encode(content))


def encode_header(number: int, size: int) -> bytes:
    """Write what comes before a field of `size` bytes."""
    return encode_integer(number << 3 | _BYTES) + encode_integer(size)


def encode_integer(value: int) -> bytes:
    """Write a variable-length integer; negative ones in two's complement of 64 bits."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def find(message: memoryview | bytes, *path: int) -> memoryview:
    """Return the first field with this number, and in it the first with the next; empty if there is none."""
    view = memoryview(message)
    for number in path:
        view = next((as_view(value) for found, value in fields(view) if found == number), memoryview(b""))
    return view


def as_view(value: int | memoryview) -> memoryview:
    """Return a field's bytes; ValueError where it holds a number."""
    if isinstance(value, int):
        raise ValueError("a field must hold bytes, but holds a number")
    return value


def as_text(value: int | memoryview) -> str:
    """Return a field's text."""
    return str(as_view(value), "utf-8")


def as_integers(value: int | memoryview) -> list[int]:
    """Return the content of a repeated integer field, whether written one by one or packed."""
    if isinstance(value, int):
        return [value]
    integers, position = [], 0
    while position < len(value):
        integer, position = _read_integer(value, position)
        integers.append(integer)
    return integers


def _read_integer(view: memoryview, position: int) -> tuple[int, int]:
    """Return the integer at `position`, and the position after it."""
    result = 0
    for count in range(10):
        if position + count >= len(view):
            break
        byte = view[position + count]
        result |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return result - (1 << 64) if result >> 63 else result, position + count + 1
    raise ValueError("a number must end inside its message, within ten bytes")
