"""Messages between processes: a JSON object and arrays of float64, as bytes; plain data, never pickled (ours).

A message may come from a process that runs untrusted code: `unpack` checks its size and form, and raises `Malformed`
for whatever is not a message. The reader judges what the numbers mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MAX_HEAD = 256 * 1024  # bytes of the JSON object: the longest program, each of its characters escaped, fits
MAX_ARRAYS, MAX_AXES = 64, 4
MAX_SIDE = 2**40  # of an array, so that no number here is too long to be printed


class Malformed(ValueError):
    """Bytes that are no message."""


class TooLong(ValueError):
    """What does not fit into a message."""


def pack(head: Mapping[str, Any], arrays: Sequence[np.ndarray] = ()) -> bytes:
    """A message: one line of JSON, with the arrays' shapes, then their values as little-endian float64.

    Raises:
        TooLong: where the head is longer than 256 KiB.
    """
    text = json.dumps({"head": head, "shapes": [array.shape for array in arrays]}).encode()
    if len(text) > MAX_HEAD:
        raise TooLong(f"wanted a head of at most {MAX_HEAD} bytes; got {len(text)}")
    return b"\n".join([text, b"".join(np.ascontiguousarray(array, dtype="<f8").tobytes() for array in arrays)])


def unpack(message: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The head and the arrays of a message.

    Raises:
        Malformed: where the bytes are no message; says what was wanted and what came.
    """
    text, found, _ = message[: MAX_HEAD + 1].partition(b"\n")
    if not found:
        raise Malformed(f"wanted a line of at most {MAX_HEAD} bytes first; got {len(message)} bytes without one")
    values = memoryview(message)[len(text) + 1 :]
    try:
        outer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed("wanted JSON in the first line; got other text") from error
    match outer:
        case {"head": dict() as head, "shapes": list() as shapes} if len(shapes) <= MAX_ARRAYS:
            pass
        case _:
            raise Malformed("wanted an object with a head and shapes; got other JSON")
    for shape in shapes:
        sides = shape if isinstance(shape, list) and len(shape) <= MAX_AXES else [None]
        if not all(type(n) is int and 0 <= n <= MAX_SIDE for n in sides):
            raise Malformed("wanted a shape of whole numbers; got something else")
    sizes = [math.prod(shape) for shape in shapes]
    if 8 * sum(sizes) != len(values):
        raise Malformed(f"wanted {8 * sum(sizes)} bytes of values for these shapes; got {len(values)}")
    flat = np.frombuffer(values, dtype="<f8").astype(float)  # a copy: writable, and aligned, on which sums depend
    parts = np.split(flat, np.cumsum(sizes, dtype=int))
    try:
        return head, [part.reshape(shape) for part, shape in zip(parts, shapes, strict=False)]
    except ValueError as error:  # of no elements, and yet too large along the other axes
        raise Malformed("wanted shapes that arrays can have; got others") from error
