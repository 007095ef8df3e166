"""The binary dump of the structure-factor table, `Fdump.bin` (specs/30-formats.md, clauses 30.6 and 30.7)."""

import os
import re

import numpy as np

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.input_file import input_file
from numbragg.models.structure_factors import StructureFactors

_HEADER = re.compile(rb"(-?\d{1,9}) (-?\d{1,9}) (-?\d{1,9}) (-?\d{1,9}) (-?\d{1,9}) (-?\d{1,9})\n\f")
_LONGEST_HEADER = 6 * 11 + 2
_VALUE = np.dtype("<f8")


def read_fdump(path: str | os.PathLike[str]) -> StructureFactors:
    """Read a table dumped by numbragg or nanoBragg.c (specs/30-formats.md, clause 30.6).

    Returns
    -------
    StructureFactors
        The table without its padding planes.

    Raises
    ------
    NumbraggError
        The file cannot be read, is not a dump, is truncated or too long, or holds numbers that are not finite.
    """
    source = input_file(path)
    with source.open("rb") as stream:
        header = _HEADER.match(stream.read(_LONGEST_HEADER))
        if header is None:
            raise NumbraggError(f"{source} is not a structure-factor dump: its first line is not six index limits")
        h_min, h_max, k_min, k_max, l_min, l_max = (int(number) for number in header.groups())
        shape = (h_max - h_min + 2, k_max - k_min + 2, l_max - l_min + 2)
        if min(shape) < 2:
            raise NumbraggError(f"{source} is not a structure-factor dump: a highest index is below the lowest")
        expected = header.end() + _VALUE.itemsize * shape[0] * shape[1] * shape[2]
        size = source.stat().st_size
        if size != expected:
            fault = "truncated" if size < expected else "too long"
            raise NumbraggError(f"{source} is {fault}: its header asks for {expected} bytes, it has {size}")
        stream.seek(header.end())
        padded = np.frombuffer(stream.read(), dtype=_VALUE).reshape(shape)
    try:
        values = np.ascontiguousarray(padded[:-1, :-1, :-1], dtype=np.float64)
        return StructureFactors((h_min, k_min, l_min), values)
    except NumbraggError as error:
        raise NumbraggError(f"{source}: {error}") from error


def write_fdump(path: str | os.PathLike[str], structure_factors: StructureFactors, fill: float = 0.0) -> None:
    """Write a table as nanoBragg.c dumps it (specs/30-formats.md, clause 30.7).

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    structure_factors
        The table.
    fill
        Amplitude in the plane of padding at the high end of each axis, in electrons: the default amplitude.

    Raises
    ------
    NumbraggError
        The file cannot be written.
    """
    limits = [
        limit for pair in zip(structure_factors.minimum, structure_factors.maximum, strict=True) for limit in pair
    ]
    padded = np.pad(structure_factors.values, (0, 1), constant_values=fill).astype(_VALUE, order="C", copy=False)
    with atomic_write(path) as stream:
        stream.write(b"%d %d %d %d %d %d\n\f" % tuple(limits))
        stream.write(padded.tobytes())
