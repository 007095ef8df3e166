"""Structure factors as text: one reflection a line, h k l F (specs/30-formats.md, clauses 30.2 to 30.5)."""

import math
import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.input_file import input_file
from numbragg.models.reflections import Reflections

_ROW = np.dtype([("h", np.int32), ("k", np.int32), ("l", np.int32), ("amplitude", np.float64)])
_NUMBER = r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
_LINE = re.compile(rf"\s*{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}(?:\s.*)?", re.DOTALL)
_LARGEST_INDEX = np.iinfo(np.int32).max
_SHOWN = 40
_CHUNK = 100_000


def read_hkl(path: str | os.PathLike[str]) -> Reflections:
    """Read a text list of amplitudes, columns h k l F (specs/30-formats.md, clauses 30.2 to 30.4).

    Columns are separated by white space and those after the fourth are ignored, as are blank lines and what
    follows a ``#``. Indices are whole numbers (``-7`` or ``3.0``).

    Returns
    -------
    Reflections
        hkl int32 (n, 3) and amplitudes float64 (n,) in the order of the file; no cell and no space group.

    Raises
    ------
    NumbraggError
        The file cannot be read, is not text, holds no reflection, or has a line that is not h k l F.
    """
    source = input_file(path)
    try:
        rows = _read_regular(source)
    except (ValueError, OverflowError, Warning):
        rows = None
    if rows is None or not np.isfinite(rows["amplitude"]).all():
        rows = _read_line_by_line(source)
    if len(rows) == 0:
        raise NumbraggError(f"{source} holds no reflections (expected lines of h k l F)")
    hkl = np.stack([rows["h"], rows["k"], rows["l"]], axis=1)
    return Reflections(hkl, np.ascontiguousarray(rows["amplitude"]))


def write_hkl(path: str | os.PathLike[str], hkl: npt.NDArray[np.integer], amplitudes: npt.NDArray[np.floating]) -> None:
    """Write a text list of amplitudes that reads back bit for bit (specs/30-formats.md, clause 30.5).

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    hkl
        Integer indices, shape (n, 3).
    amplitudes
        Amplitudes, shape (n,); finite.

    Raises
    ------
    NumbraggError
        Shapes that do not agree, no reflection, an amplitude that is not finite, or a file that cannot be written.
    """
    hkl, amplitudes = np.asarray(hkl), np.asarray(amplitudes, dtype=np.float64)
    if hkl.ndim != 2 or hkl.shape[1] != 3 or amplitudes.shape != (len(hkl),):
        raise NumbraggError(f"indices of shape {hkl.shape} and amplitudes of shape {amplitudes.shape} do not agree")
    if len(hkl) == 0 or not np.isfinite(amplitudes).all():
        raise NumbraggError(f"cannot write {path}: there is no reflection, or an amplitude is not finite")
    with atomic_write(path) as stream:
        for start in range(0, len(hkl), _CHUNK):
            rows = zip(hkl[start : start + _CHUNK].tolist(), amplitudes[start : start + _CHUNK].tolist(), strict=True)
            text = "".join(f"{h:4d} {k:4d} {l:4d} {amplitude!r}\n" for (h, k, l), amplitude in rows)
            stream.write(text.encode("ascii"))


def _read_regular(source: Path) -> npt.NDArray[np.void]:
    # NumPy's own parser is fast but cannot name the line, and only warns when an index is not written as an integer.
    with warnings.catch_warnings(), source.open(encoding="utf-8-sig") as stream:
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="loadtxt: input contained no data")
        return np.loadtxt(stream, dtype=_ROW, usecols=(0, 1, 2, 3), ndmin=1)


def _read_line_by_line(source: Path) -> npt.NDArray[np.void]:
    if b"\0" in source.read_bytes():
        raise NumbraggError(f"{source} is not a text file of h k l F")
    with source.open(encoding="utf-8-sig", errors="replace") as stream:
        return np.array(list(_parse_lines(source, stream)), dtype=_ROW)


def _parse_lines(source: Path, lines: Iterable[str]) -> Iterable[tuple[int, int, int, float]]:
    for number, line in enumerate(lines, start=1):
        content = line.split("#", 1)[0]
        if not content.strip():
            continue
        match = _LINE.fullmatch(content)
        values = [float(token) for token in match.groups()] if match else [math.nan]
        if not math.isfinite(values[-1]) or not all(map(_is_index, values[:3])):
            raise NumbraggError(f"{source}, line {number}: expected h k l F, found {_shown(line)}")
        yield int(values[0]), int(values[1]), int(values[2]), values[3]


def _is_index(value: float) -> bool:
    return value.is_integer() and abs(value) <= _LARGEST_INDEX


def _shown(line: str) -> str:
    text = line.strip()
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
