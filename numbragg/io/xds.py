"""Geometry from files of XDS: XDS.INP, XPARM.XDS and GXPARM.XDS (specs/30-formats.md, 30.91 and 30.92)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.input_file import input_file
from numbragg.models.instrument import Instrument

_XPARM_LINES = (
    ("frame, angle, oscillation and rotation axis", 6),
    ("wavelength and beam", 4),
    ("space group and cell", 7),
    ("a axis", 3),
    ("b axis", 3),
    ("c axis", 3),
    ("segments, NX, NY, QX, QY", 5),
    ("ORGX, ORGY, distance", 3),
    ("detector X axis", 3),
    ("detector Y axis", 3),
    ("detector normal", 3),
)
"""What each line behind the title of XPARM.XDS holds, and how many numbers that is."""
_KEYWORD = re.compile(r"([A-Za-z][A-Za-z0-9_/'()-]*)\s*=")
CORNER = 0.5
"""XDS counts the centre of the first pixel as 1."""


def read_xparm(path: str | os.PathLike[str]) -> Instrument:
    """Read XPARM.XDS or GXPARM.XDS.

    Raises
    ------
    NumbraggError
        The file cannot be read, is of another or an older kind, or has several segments.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.91.
    """
    source = input_file(path)
    lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or "XPARM.XDS" not in lines[0]:
        raise NumbraggError(f"{source}, line 1: not XPARM.XDS as XDS writes it since 2010 (title 'XPARM.XDS')")
    rows = [_row(source, lines, number, what, count) for number, (what, count) in enumerate(_XPARM_LINES, start=2)]
    (_, angle, osc, *spindle), (wavelength, *beam), (group, *_), a, b, c, sizes, place, x_axis, y_axis, _ = rows
    segments, nx, ny, qx, qy = sizes
    if segments != 1:
        raise NumbraggError(f"{source}, line 8: the detector has {segments:g} segments; one is supported")
    found = gemmi.find_spacegroup_by_number(int(group)) if group == int(group) and 1 <= group <= 230 else None
    return _instrument(
        source,
        counts=(nx, ny),
        pixel=(qx, qy),
        org=(place[0], place[1]),
        distance=place[2],
        axes=(np.array(x_axis), np.array(y_axis)),
        wavelength=wavelength,
        beam=np.array(beam),
        spindle=np.array(spindle),
        phi_start=angle,
        osc=osc,
        cell_axes=np.array([a, b, c]),
        space_group="P 1" if found is None else found.xhm(),
    )


def read_xds_inp(path: str | os.PathLike[str]) -> Instrument:
    """Read XDS.INP.

    Raises
    ------
    NumbraggError
        The file cannot be read, lacks a keyword, or a value is not what it should be.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.92.
    """
    source = input_file(path)
    values: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(source.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        parts = _KEYWORD.split(line.split("!")[0])
        for key, value in zip(parts[1::2], parts[2::2], strict=True):
            # SEGMENT= and such may come several times; of the geometry's keywords XDS takes the last.
            values[key.upper()] = (number, value)
    if "SEGMENT" in values:
        raise NumbraggError(f"{source}, line {values['SEGMENT'][0]}: a detector of segments is not supported")

    def numbers(key: str, count: int, default: list[float] | None = None) -> list[float]:
        return _keyword(source, values, key, count, default)

    def one(key: str, default: float | None = None) -> float:
        return numbers(key, 1, None if default is None else [default])[0]

    return _instrument(
        source,
        counts=(one("NX"), one("NY")),
        pixel=(one("QX"), one("QY")),
        org=(one("ORGX"), one("ORGY")),
        distance=one("DETECTOR_DISTANCE"),
        axes=(
            np.array(numbers("DIRECTION_OF_DETECTOR_X-AXIS", 3, [1.0, 0.0, 0.0])),
            np.array(numbers("DIRECTION_OF_DETECTOR_Y-AXIS", 3, [0.0, 1.0, 0.0])),
        ),
        wavelength=one("X-RAY_WAVELENGTH"),
        beam=np.array(numbers("INCIDENT_BEAM_DIRECTION", 3, [0.0, 0.0, 1.0])),
        spindle=np.array(numbers("ROTATION_AXIS", 3, [1.0, 0.0, 0.0])),
        phi_start=one("STARTING_ANGLE", 0.0),
        osc=one("OSCILLATION_RANGE", 0.0),
        polarization=(one("FRACTION_OF_POLARIZATION", 0.5), numbers("POLARIZATION_PLANE_NORMAL", 3, [0.0, 1.0, 0.0])),
        sensor=(one("SENSOR_THICKNESS", 0.0), one("SILICON", 0.0)),
    )


def _instrument(
    source: Path,
    *,
    counts: tuple[float, float],
    pixel: tuple[float, float],
    org: tuple[float, float],
    distance: float,
    axes: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    wavelength: float,
    beam: npt.NDArray[np.float64],
    spindle: npt.NDArray[np.float64],
    phi_start: float,
    osc: float,
    polarization: tuple[float, list[float]] = (0.5, [0.0, 1.0, 0.0]),
    sensor: tuple[float, float] = (0.0, 0.0),
    cell_axes: npt.NDArray[np.float64] | None = None,
    space_group: str = "P 1",
) -> Instrument:
    try:
        if not abs(pixel[0] - pixel[1]) <= 1e-6 * abs(pixel[0]):
            raise NumbraggError(f"pixels are not square ({pixel[0]:g} x {pixel[1]:g} mm)")
        fast, slow = (_unit(axis) for axis in axes)
        along = distance * _unit(np.cross(fast, slow))
        return Instrument(
            n_fast=int(counts[0]),
            n_slow=int(counts[1]),
            pixel_size=pixel[0],
            origin=along - (org[0] - CORNER) * pixel[0] * fast - (org[1] - CORNER) * pixel[0] * slow,
            fast_axis=fast,
            slow_axis=slow,
            wavelength=wavelength,
            beam_direction=_unit(beam),
            polarization_fraction=polarization[0],
            polarization_normal=_unit(np.array(polarization[1])),
            spindle_axis=_unit(spindle),
            phi_start=phi_start,
            osc=osc,
            thickness=sensor[0],
            attenuation=sensor[1],
            cell_axes=cell_axes,
            space_group=space_group,
        )
    except NumbraggError as error:
        raise NumbraggError(f"{source}: {error}") from error


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    if not 0.0 < length < np.inf:
        raise NumbraggError("an axis has no direction")
    return np.asarray(vector / length)


def _row(source: Path, lines: list[str], number: int, what: str, count: int) -> list[float]:
    words = lines[number - 1].split() if len(lines) >= number else []
    values = _floats(words[:count])
    if values is None or len(values) < count:
        raise NumbraggError(
            f"{source}, line {number}: expected {what} ({count} numbers), found {' '.join(words)[:60]!r}"
        )
    return values


def _keyword(
    source: Path, values: Mapping[str, tuple[int, str]], key: str, count: int, default: list[float] | None
) -> list[float]:
    if key not in values:
        if default is None:
            raise NumbraggError(f"{source}: the keyword {key}= is missing")
        return default
    number, text = values[key]
    found = _floats(text.split()[:count])
    if found is None or len(found) < count:
        raise NumbraggError(f"{source}, line {number}: {key}= needs {count} numbers, found {text.strip()[:60]!r}")
    return found


def _floats(words: list[str]) -> list[float] | None:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
