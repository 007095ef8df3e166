"""What the headers of ``-img`` and ``-mask`` say about the experiment (specs/30-formats.md, 30.40)."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from numbragg.compat.headers import header_value_by_substring
from numbragg.compat.settings import Settings
from numbragg.errors import NumbraggError
from numbragg.io.smv import header_entries, read_header_text, read_smv
from numbragg.models.instrument import Instrument


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
    values, mask = HeaderValues(), None
    if settings.instrument is not None:
        if settings.given("img"):
            raise NumbraggError("-img and --geometry both set the detector: give one of them")
        return _of_instrument(settings.instrument), read_mask(settings.get("mask"))
    if settings.given("mask"):
        path = settings.get("mask")
        values = _read(settings, path)
        mask = read_mask(path)
        if values.ybeam is not None and values.n_slow and values.pixel:
            values = replace(values, ybeam=values.n_slow * values.pixel - values.ybeam)
    if settings.given("img"):
        image = _read(settings, settings.get("img"))
        changes = {f.name: getattr(image, f.name) for f in fields(image) if getattr(image, f.name) is not None}
        values = replace(values, **changes)
    return values, mask


def read_mask(path: str | None) -> npt.NDArray[np.bool_] | None:
    """Pixels of an SMV image that are not 0; None without a file."""
    return None if path is None else np.asarray(read_smv(path)[1] != 0)


def _of_instrument(instrument: Instrument) -> HeaderValues:
    """The beam centre is (fast, slow) from the corner of the first pixel, as `into_laboratory` counts."""
    fast, slow = instrument.beam_centre
    return HeaderValues(
        n_fast=instrument.n_fast,
        n_slow=instrument.n_slow,
        pixel=instrument.pixel_size,
        distance=instrument.distance,
        wavelength=instrument.wavelength,
        xbeam=fast,
        ybeam=slow,
        phi=instrument.phi_start,
        osc=None if instrument.is_still else instrument.osc,
    )


def _read(settings: Settings, path: str) -> HeaderValues:
    text = read_header_text(path)
    exact = dict(header_entries(text))
    by_substring = _texts(lambda key: header_value_by_substring(text, key))
    texts = _texts(exact.get)
    # The near distance wins over the distance, so that a wrong distance beside it changes nothing.
    without_effect = "distance" if "close_distance" in texts else ""
    if settings.quirks.q22_header_substrings:
        texts = by_substring
    elif any(by_substring[name] != texts.get(name) for name in by_substring if name != without_effect):
        settings.note("Q22", f"the header of {path}")
    return HeaderValues(
        **{  # type: ignore[arg-type]
            name: _number(path, KEYWORDS[name][0], value, whole=name in ("n_fast", "n_slow"))
            for name, value in texts.items()
        }
    )


def _texts(find: Callable[[str], str | None]) -> dict[str, str]:
    """Value of each setting for which one of its keywords is found."""
    found = {
        name: next((text for text in map(find, keywords) if text is not None), None)
        for name, keywords in KEYWORDS.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(path: str, keyword: str, text: str, *, whole: bool) -> float | int:
    try:
        number = float(text)
        if not np.isfinite(number) or (whole and number != int(number)):
            raise ValueError
    except ValueError:
        raise NumbraggError(f"{path}: {keyword} in the header is not a number ({text})") from None
    return int(number) if whole else number
