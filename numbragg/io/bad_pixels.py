"""Lists of pixels that do not work."""

import os

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.input_file import input_file


def read_bad_pixels(path: str | os.PathLike[str], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Read which pixels are bad (specs/30-formats.md, clause 30.54).

    Parameters
    ----------
    path
        Text: on each line a pixel ``fast slow``, or a rectangle ``fast_min fast_max slow_min slow_max`` with both
        ends included, from 0; of several panels after the number of the panel. Blank lines and what follows ``#`` are
        ignored.
    shape
        Of the detector, (slow, fast) or (panel, slow, fast).

    Returns
    -------
    ndarray
        Bool, of that shape: True where a pixel is bad.

    Raises
    ------
    NumbraggError
        The file cannot be read, or a line holds something else or lies off the detector.
    """
    bad = np.zeros(shape, dtype=bool)
    in_front = len(shape) - 2
    expected = "PANEL FAST SLOW or PANEL XMIN XMAX YMIN YMAX" if in_front else "FAST SLOW or XMIN XMAX YMIN YMAX"
    text = input_file(path).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        plain = all(word.isascii() and word.isdigit() and len(word) < 10 for word in words)
        if len(words) not in (2 + in_front, 4 + in_front) or not plain:
            raise NumbraggError(f"{path}, line {number}: expected {expected}, found {line.strip()[:60]!r}")
        numbers = [int(word) for word in words]
        panel, limits = tuple(numbers[:in_front]), numbers[in_front:]
        x_min, x_max, y_min, y_max = limits if len(limits) == 4 else (limits[0], limits[0], limits[1], limits[1])
        inside = x_max < shape[-1] and y_max < shape[-2] and all(own < shape[0] for own in panel)
        if x_min > x_max or y_min > y_max or not inside:
            size = " x ".join(str(count) for count in shape[::-1])
            raise NumbraggError(
                f"{path}, line {number}: {' '.join(words)} does not lie on the detector of {size} pixels "
                f"(fast x slow{' x panel' if in_front else ''})"
            )
        of_panel = bad[panel] if in_front else bad
        of_panel[y_min : y_max + 1, x_min : x_max + 1] = True
    return bad
