"""Text tables of two columns of numbers."""

import os
from typing import NamedTuple

import numpy as np

from numbragg.errors import NumbraggError
from numbragg.io.input_file import input_file


class Row(NamedTuple):
    """Two numbers and where they stand in the file, counted from 1."""

    line: int
    first: float
    second: float


class TwoColumns(NamedTuple):
    """A table: its rows, of which there is at least one, and the words before the first, in lower case."""

    rows: list[Row]
    heading: list[str]


def read_two_columns(path: str | os.PathLike[str], columns: str) -> TwoColumns:
    """Read a table of two columns, separated by blanks or commas (specs/30-formats.md, clause 30.52).

    Parameters
    ----------
    path
        Text. Blank lines, what follows ``#``, and lines of words before the first numbers are no rows.
    columns
        What the columns are, for messages.

    Raises
    ------
    NumbraggError
        The file cannot be read, has no rows, or a row does not hold two finite numbers.
    """
    rows: list[Row] = []
    heading: list[str] = []
    text = input_file(path).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        data, _, comment = line.replace(",", " ").partition("#")
        words = data.split()
        if not rows:
            heading += comment.lower().split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            if rows or _is_number(words[0]):
                values = []
            else:
                heading += data.lower().split()
                continue
        if len(values) != 2 or not np.isfinite(values).all():
            raise NumbraggError(f"{path}, line {number}: expected {columns}, found {line.strip()[:60]!r}")
        rows.append(Row(number, *values))
    if not rows:
        raise NumbraggError(f"{path}: no rows of {columns} in the file")
    return TwoColumns(rows, heading)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
