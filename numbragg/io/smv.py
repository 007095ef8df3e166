"""SMV images: a text header in braces, padded with blanks, then raw pixels."""

import os
import re
import warnings
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.atomic import atomic_write

_BLOCK = 512
_LONGEST_HEADER = 1 << 20
_LAYOUT_KEYS = frozenset({"HEADER_BYTES", "DIM", "BYTE_ORDER", "TYPE", "SIZE1", "SIZE2"})
_PIXEL_TYPES = {
    "unsigned_char": "u1",
    "unsigned_short": "u2",
    "short": "i2",
    "signed_short": "i2",
    "unsigned_int": "u4",
    "unsigned_long": "u4",
    "int": "i4",
    "long": "i4",
    "signed_long": "i4",
    "float": "f4",
    "double": "f8",
}
_BYTE_ORDERS = {"little_endian": "<", "big_endian": ">"}


def write_smv(path: str | os.PathLike[str], pixels: NDArray[np.uint16], header: Mapping[str, str]) -> None:
    """Write an SMV image of 16-bit counts.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    pixels
        Uint16, (slow, fast).
    header
        Keywords and values in the order to write. HEADER_BYTES, DIM, BYTE_ORDER, TYPE, SIZE1 and SIZE2 come from the
        pixels, ahead of the others; entries of these names are left out.

    Raises
    ------
    NumbraggError
        The pixels are not uint16 in two dimensions, a keyword or value holds a character that ends it, or the file
        cannot be written.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.20 to 30.23.
    """
    if pixels.ndim == 3:
        raise NumbraggError(f"cannot write {path}: SMV holds one panel; write .h5 (NXmx)")
    if pixels.dtype != np.uint16 or pixels.ndim != 2 or pixels.size == 0:
        raise NumbraggError(f"cannot write {path}: SMV needs uint16 (slow, fast), not {pixels.dtype} {pixels.shape}")
    text = _header_text(path, pixels.shape, header)
    with atomic_write(path) as stream:
        stream.write(text)
        stream.write(np.ascontiguousarray(pixels, dtype="<u2").data)


def read_smv_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the header of an SMV image.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        Keywords and values as they stand there, stripped of blanks; the last of several equal keywords wins.

    Raises
    ------
    NumbraggError
        The file cannot be read or is not SMV.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.24.
    """
    return dict(header_entries(read_header_text(path)))


def read_header_text(path: str | os.PathLike[str]) -> str:
    """Read the header of an SMV image as text, from the opening to the closing brace.

    Raises
    ------
    NumbraggError
        The file cannot be read or is not SMV.
    """
    try:
        with open(path, "rb") as stream:
            return _read_text(path, stream)[0]
    except OSError as error:
        raise NumbraggError(f"cannot read {path}: {error.strerror or error}") from error


def header_entries(text: str) -> list[tuple[str, str]]:
    """Split header text into keywords and values, in order; a line end closes an entry as well as a semicolon."""
    chunks = re.split(r"[;\r\n]", text.strip("{}"))
    pairs = (chunk.partition("=") for chunk in chunks if "=" in chunk)
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def read_smv(path: str | os.PathLike[str]) -> tuple[dict[str, str], NDArray[np.generic]]:
    """Read an SMV image.

    Parameters
    ----------
    path
        The file. A header that runs over its HEADER_BYTES, as nanoBragg writes it, is read with a warning.

    Returns
    -------
    header
        As from `read_smv_header`.
    pixels
        (slow, fast), in the number type that the header names.

    Raises
    ------
    NumbraggError
        The file cannot be read, is not SMV, lacks or garbles SIZE1, SIZE2, TYPE or BYTE_ORDER, or is truncated.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.25 to 30.27.
    """
    try:
        with open(path, "rb") as stream:
            text, declared = _read_text(path, stream)
            header = dict(header_entries(text))
            kind = _pixel_type(path, header)
            fast, slow = (_size(path, header, key) for key in ("SIZE1", "SIZE2"))
            needed = fast * slow * kind.itemsize
            file_size = os.fstat(stream.fileno()).st_size
            start = _data_start(path, stream, len(text), declared, file_size - needed)
            if file_size < start + needed:
                raise NumbraggError(
                    f"{path}: truncated: {fast} x {slow} pixels need {start + needed} bytes, the file has {file_size}"
                )
            stream.seek(start)
            pixels = np.fromfile(stream, dtype=kind, count=fast * slow)
    except OSError as error:
        raise NumbraggError(f"cannot read {path}: {error.strerror or error}") from error
    return header, pixels.astype(kind.newbyteorder("="), copy=False).reshape(slow, fast)


def _header_text(path: str | os.PathLike[str], shape: tuple[int, ...], header: Mapping[str, str]) -> bytes:
    slow, fast = shape
    entries = {"DIM": "2", "BYTE_ORDER": "little_endian", "TYPE": "unsigned_short", "SIZE1": fast, "SIZE2": slow}
    entries |= {name: value for name, value in header.items() if name not in _LAYOUT_KEYS}
    for name, value in entries.items():
        entry = f"{name}={value}"
        if not (entry.isascii() and entry.isprintable()) or re.search("[;{}]", entry) or "=" in name or not name:
            raise NumbraggError(f"cannot write {path}: the SMV header cannot hold the entry {entry!r}")
    body = "".join(f"{name}={value};\n" for name, value in entries.items())
    size = 0
    text = " "
    while len(text) > size:
        size += _BLOCK
        text = f"{{\nHEADER_BYTES={size};\n{body}}}\f"
    return text.ljust(size).encode("ascii")


def _read_text(path: str | os.PathLike[str], stream: BinaryIO) -> tuple[str, int]:
    """Read from the opening to the closing brace, which may lie up to 512 bytes after HEADER_BYTES, and the latter."""
    start = stream.read(_BLOCK)
    declared = re.search(rb"HEADER_BYTES\s*=\s*(\d{1,9})\b", start)
    if not start.startswith(b"{") or declared is None:
        raise NumbraggError(f"{path}: not an SMV image: it does not start with '{{' and HEADER_BYTES=...")
    size = int(declared[1])
    if not 0 < size <= _LONGEST_HEADER:
        raise NumbraggError(f"{path}: HEADER_BYTES={size} is out of range (1 to {_LONGEST_HEADER})")
    block = start + stream.read(size)
    end = block.find(b"}", 0, size + _BLOCK)
    if end < 0:
        raise NumbraggError(f"{path}: the SMV header has no closing brace; the file is truncated or damaged")
    return block[: end + 1].decode("latin-1"), size


def _data_start(path: str | os.PathLike[str], stream: BinaryIO, length: int, declared: int, latest: int) -> int:
    """Find where the pixels start; `latest` is the last offset at which the file still holds all of them."""
    stream.seek(length)
    end = length + (stream.read(1) == b"\f")
    if length > declared or declared < end <= latest:
        warnings.warn(
            f"{path}: the header runs to byte {end} but says HEADER_BYTES={declared}; pixels are read from byte {end}",
            NumbraggWarning,
            stacklevel=3,
        )
        return end
    return declared


def _pixel_type(path: str | os.PathLike[str], header: Mapping[str, str]) -> np.dtype[np.generic]:
    name = header.get("TYPE", "unsigned_short").lower()
    order = header.get("BYTE_ORDER", "little_endian").lower()
    if name not in _PIXEL_TYPES:
        raise NumbraggError(f"{path}: TYPE={name} is unknown; expected one of {', '.join(_PIXEL_TYPES)}")
    if order not in _BYTE_ORDERS:
        raise NumbraggError(f"{path}: BYTE_ORDER={order} is unknown; expected little_endian or big_endian")
    return np.dtype(_BYTE_ORDERS[order] + _PIXEL_TYPES[name])


def _size(path: str | os.PathLike[str], header: Mapping[str, str], key: str) -> int:
    value = header.get(key)
    if value is None or not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise NumbraggError(f"{path}: the SMV header needs {key}=<number of pixels>, found {value or 'nothing'}")
    return int(value)
