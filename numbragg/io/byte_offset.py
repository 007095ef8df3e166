"""The byte-offset compression of CBF: differences between neighbours, one byte each where they are small."""

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError

ESCAPE = 0x80
_LARGEST_8, _LARGEST_16, _LARGEST_32 = 0x7F, 0x7FFF, 0x7FFFFFFF
_SIZES = (1, 3, 7, 15)
"""Bytes of a difference: a number of 8 bits, or escapes and a number of 16, 32 or 64."""
_PAYLOADS = ((1, "<i2"), (3, "<i4"), (7, "<i8"))
"""Where the number of a difference of 3, 7 and 15 bytes begins, and its type."""


def compress(pixels: npt.NDArray[np.integer]) -> bytes:
    """Compress whole numbers that fit 32 bits with a sign (specs/30-formats.md, 30.65)."""
    values = np.ravel(pixels).astype(np.int64)
    steps = np.diff(values, prepend=np.int64(0))
    length = np.abs(steps)
    kind = (length > _LARGEST_8).astype(np.int8)
    kind += length > _LARGEST_16
    kind += length > _LARGEST_32
    sizes = np.array(_SIZES, dtype=np.int64)[kind]
    ends = np.cumsum(sizes)
    packed = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    starts = ends - sizes
    small = kind == 0
    packed[starts[small]] = steps[small].astype(np.int8).view(np.uint8)
    packed[starts[~small]] = ESCAPE
    for level, (begin, number) in enumerate(_PAYLOADS, start=1):
        # Each longer form begins with the escape of the shorter one: 0x80, 0x8000, 0x80000000.
        if level > 1:
            packed[starts[kind >= level] + begin - 1] = ESCAPE
        chosen = kind == level
        payload = steps[chosen].astype(number).view(np.uint8).reshape(-1, np.dtype(number).itemsize)
        for byte in range(payload.shape[1]):
            packed[starts[chosen] + begin + byte] = payload[:, byte]
    return packed.tobytes()


def decompress(packed: bytes, count: int) -> npt.NDArray[np.int32]:
    """Undo `compress`.

    Parameters
    ----------
    packed
        The compressed numbers.
    count
        How many there are.

    Raises
    ------
    NumbraggError
        The bytes hold fewer or more numbers, or one beyond 32 bits.
    """
    data = np.frombuffer(packed, dtype=np.uint8)
    starts, kinds = _escapes(data)
    if len(starts) and starts[-1] + _SIZES[kinds[-1]] > len(data):
        raise NumbraggError("the compressed pixels end within a number")
    is_start = np.ones(len(data), dtype=bool)
    for level, size in enumerate(_SIZES[1:], start=1):
        for byte in range(1, size):
            is_start[starts[kinds == level] + byte] = False
    steps = data[is_start].view(np.int8).astype(np.int64)
    if len(steps) != count:
        raise NumbraggError(f"the compressed data hold {len(steps)} pixels in place of {count}")
    place = np.cumsum(is_start) - 1
    for level, (begin, number) in enumerate(_PAYLOADS, start=1):
        chosen = starts[kinds == level]
        width = np.dtype(number).itemsize
        payload = data[chosen[:, None] + begin + np.arange(width)]
        steps[place[chosen]] = np.ascontiguousarray(payload).view(number)[:, 0] if len(chosen) else 0
    values = np.cumsum(steps)
    if count and max(abs(int(values.min())), abs(int(values.max()))) > _LARGEST_32 + 1:
        raise NumbraggError("a compressed pixel is beyond 32 bits")
    return values.astype(np.int32)


def _escapes(data: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the numbers of more than one byte begin, and which of `_SIZES` they have."""
    padded = np.concatenate([data, np.zeros(_SIZES[-1], dtype=np.uint8)])
    candidates = np.flatnonzero(data == ESCAPE)
    longer = (padded[candidates + 1] == 0) & (padded[candidates + 2] == ESCAPE)
    longest = longer & (padded[candidates[:, None] + np.array([3, 4, 5])] == 0).all(axis=1)
    longest &= padded[candidates + 6] == ESCAPE
    kinds = 1 + longer.astype(np.int64) + longest
    # A byte 0x80 within a number is no escape: whether it is one depends on all before it.
    genuine = []
    end = 0
    for index, (start, size) in enumerate(zip(candidates.tolist(), np.array(_SIZES)[kinds].tolist(), strict=True)):
        if start >= end:
            genuine.append(index)
            end = start + size
    chosen = np.array(genuine, dtype=np.int64)
    return candidates[chosen], kinds[chosen]
