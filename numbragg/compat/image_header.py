"""What the headers of ``-img`` and ``-mask`` say about the experiment (specs/30-formats.md, 30.40)."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from numbragg.compat.headers import header_value_by_substring
from numbragg.compat.settings import Settings
from numbragg.errors import NumbraggError
from numbragg.io.smv import read_header_text, read_smv, read_smv_header


@dataclass(frozen=True)
class HeaderValues:
    """Values found in image headers; None is what no header says. Lengths in mm, angles in degrees."""

    n_fast: int | None = None
    n_slow: int | None = None
    pixel: float | None = None
    distance: float | None = None
    close_distance: float | None = None
    wavelength: float | None = None
    xbeam: float | None = None
    ybeam: float | None = None
    orgx: float | None = None
    orgy: float | None = None
    phi: float | None = None
    osc: float | None = None


KEYWORDS: dict[str, tuple[str, ...]] = {
    "n_fast": ("SIZE1",),
    "n_slow": ("SIZE2",),
    "pixel": ("PIXEL_SIZE",),
    "distance": ("DISTANCE",),
    "close_distance": ("CLOSE_DISTANCE",),
    "wavelength": ("WAVELENGTH",),
    "xbeam": ("BEAM_CENTER_X",),
    "ybeam": ("BEAM_CENTER_Y",),
    "orgx": ("XDS_ORGX", "ORGX"),
    "orgy": ("XDS_ORGY", "ORGY"),
    "phi": ("PHI",),
    "osc": ("OSC_RANGE",),
}


def read_headers(settings: Settings) -> tuple[HeaderValues, npt.NDArray[np.bool_] | None]:
    """Header values of ``-mask`` and then ``-img``, which wins, and the mask, (slow, fast), True where simulated."""
    substrings = settings.quirks.q22_header_substrings
    values, mask = HeaderValues(), None
    if settings.given("mask"):
        path = settings.get("mask")
        values = _read(path, substrings)
        mask = read_smv(path)[1] != 0
        if values.ybeam is not None and values.n_slow and values.pixel:
            values = replace(values, ybeam=values.n_slow * values.pixel - values.ybeam)
    if settings.given("img"):
        image = _read(settings.get("img"), substrings)
        changes = {f.name: getattr(image, f.name) for f in fields(image) if getattr(image, f.name) is not None}
        values = replace(values, **changes)
    return values, mask


def _read(path: str, substrings: bool) -> HeaderValues:
    find: Callable[[str], str | None]
    if substrings:
        text = read_header_text(path)

        def find(key: str) -> str | None:
            return header_value_by_substring(text, key)
    else:
        find = read_smv_header(path).get
    found = {}
    for name, keywords in KEYWORDS.items():
        value = next((text for text in map(find, keywords) if text is not None), None)
        if value is not None:
            found[name] = _number(path, keywords[0], value, whole=name in ("n_fast", "n_slow"))
    return HeaderValues(**found)  # type: ignore[arg-type]


def _number(path: str, keyword: str, text: str, *, whole: bool) -> float | int:
    try:
        number = float(text)
        if not np.isfinite(number) or (whole and number != int(number)):
            raise ValueError
    except ValueError:
        raise NumbraggError(f"{path}: {keyword} in the header is not a number ({text})") from None
    return int(number) if whole else number
