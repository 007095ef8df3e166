"""Detector and beam of an SMV image, from whichever of its beam centres says it without a convention."""

import math
import os
from collections.abc import Mapping

import numpy as np

from numbragg.errors import NumbraggError
from numbragg.io.smv import read_smv_header
from numbragg.models.instrument import Instrument

NEAR_POINT = ("XDS_ORGX", "XDS_ORGY", "CLOSE_DISTANCE")
BEAM_CENTRES = (
    ("DENZO_Y_BEAM", "DENZO_X_BEAM"),
    ("ADXV_CENTER_X", "ADXV_CENTER_Y"),
    ("BEAM_CENTER_Y", "BEAM_CENTER_X"),
)
"""Keywords along fast and slow, in the order in which they are believed."""


def read_smv_instrument(path: str | os.PathLike[str]) -> Instrument | None:
    """Read detector and beam from the header of an SMV image.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Instrument or None
        X along fast, Y along slow, Z across the detector; the spindle, which the header does not give, along fast. None
        where the header lacks size, pixel, distance, wavelength or beam centre, or has a two-theta angle, whose axis it
        does not give.

    Raises
    ------
    NumbraggError
        The file cannot be read, is not SMV, or has a value that is no number.

    Notes
    -----
    Source: ``specs/75-view.md``, clause 75.11.
    """
    header = read_smv_header(path)
    values = {key: _number(path, key, text) for key, text in header.items() if key in _NUMBERS}
    if any(key not in values for key in _NEEDED) or values.get("TWOTHETA", 0.0) != 0.0:
        return None
    pixel, n_fast, n_slow = values["PIXEL_SIZE"], int(values["SIZE1"]), int(values["SIZE2"])
    beam = np.array([0.0, 0.0, 1.0])
    centre = _beam_centre(values, n_slow * pixel)
    if all(key in values for key in NEAR_POINT):
        x, y, distance = values["XDS_ORGX"], values["XDS_ORGY"], values["CLOSE_DISTANCE"]
        near = (x - 0.5) * pixel, (y - 0.5) * pixel
        if centre is not None:
            # On a tilted detector the beam does not hit the point nearest the sample.
            beam = np.array([centre[0] - near[0], centre[1] - near[1], distance])
            beam = beam / np.linalg.norm(beam)
    elif centre is not None:
        near, distance = centre, values["DISTANCE"]
    else:
        return None
    return Instrument(
        n_fast=n_fast,
        n_slow=n_slow,
        pixel_size=pixel,
        origin=np.array([-near[0], -near[1], abs(distance)]),
        fast_axis=np.array([1.0, 0.0, 0.0]),
        slow_axis=np.array([0.0, 1.0, 0.0]),
        wavelength=values["WAVELENGTH"],
        beam_direction=beam,
        phi_start=values.get("OSC_START", values.get("PHI", 0.0)),
        osc=values.get("OSC_RANGE", 0.0),
        pedestal=values.get("ADC_OFFSET", 0.0),
    )


_NEEDED = ("SIZE1", "SIZE2", "PIXEL_SIZE", "DISTANCE", "WAVELENGTH")
_NUMBERS = {
    *_NEEDED, *NEAR_POINT, *(key for pair in BEAM_CENTRES for key in pair), "TWOTHETA", "PHI", "OSC_START",
    "OSC_RANGE", "ADC_OFFSET",
}  # fmt: skip


def _beam_centre(values: Mapping[str, float], size_slow: float) -> tuple[float, float] | None:
    """Where the beam hits, mm along fast and slow from the corner of the first pixel."""
    for fast, slow in BEAM_CENTRES:
        if fast in values and slow in values:
            return values[fast], size_slow - values[slow] if slow.startswith("ADXV") else values[slow]
    return None


def _number(path: str | os.PathLike[str], key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NumbraggError(f"{path}: {key} in the header is not a number ({text})")
    return value
