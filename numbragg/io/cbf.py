"""Images in CBF with a small header, as Pilatus detectors write them (specs/30-formats.md, 30.65 to 30.69)."""

import base64
import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.atomic import atomic_write
from numbragg.io.byte_offset import compress, decompress
from numbragg.io.input_file import input_file
from numbragg.models.instrument import Instrument
from numbragg.models.provenance import Provenance

_SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
_START_OF_DATA = b"\x0c\x1a\x04\xd5"
_PADDING = 4095
_EV_ANGSTROM = 12398.42
_GAIN, _PEDESTAL, _ATTENUATION = "Counts_per_photon", "Pedestal", "Sensor_attenuation"
"""Entries that headers of Pilatus detectors do not have."""
_MODULE, _GAP = (487, 195), (7, 17)
"""Pixels of a Pilatus module and of the gap behind it, fast and slow."""
TILT_SHOWN = 1e-4
"""Radians between an axis and the one that readers assume, above which a warning says so."""
THINNEST = 1e-9
"""Metres, written for a sensor without thickness: readers correct for parallax and refuse 0."""
_LARGEST = np.iinfo(np.int32)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")


def write_cbf(
    path: str | os.PathLike[str],
    pixels: npt.NDArray[np.integer],
    instrument: Instrument,
    provenance: Provenance | None = None,
    *,
    warn: bool = True,
) -> None:
    """Write an image as CBF with a Pilatus header, compressed by byte offsets.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    pixels
        Counts, (slow, fast), whole numbers that fit 32 bits; -1 for a pixel that was not measured.
    instrument
        Detector, beam and rotation, X along the spindle and Z towards the source.
    provenance
        How to simulate the image again.
    warn
        Tell what the header cannot say.

    Raises
    ------
    NumbraggError
        Several panels, pixels that are not such numbers, or a file that cannot be written.

    Warns
    -----
    NumbraggWarning
        The header cannot say how the detector stands: its readers assume fast along the spindle and fast x slow along
        the beam.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.65 to 30.67.
    """
    if pixels.ndim == 3 or instrument.panels:
        raise NumbraggError(f"cannot write {path}: CBF holds one panel; write .h5 (NXmx)")
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype.kind not in "iu":
        raise NumbraggError(f"cannot write {path}: CBF needs whole numbers (slow, fast), not {pixels.dtype}")
    if pixels.min() < _LARGEST.min or pixels.max() > _LARGEST.max:
        raise NumbraggError(f"cannot write {path}: a pixel does not fit 32 bits")
    unsaid = _unsaid(instrument)
    if unsaid and warn:
        text = " and that ".join(unsaid)
        warnings.warn(
            f"{path}: a CBF header cannot say that {text}; give readers the .expt (--expt)", NumbraggWarning, 2
        )
    packed = compress(pixels)
    slow, fast = pixels.shape
    entries = [] if provenance is None else [f"{key.lower()} {value}" for key, value in provenance.entries().items()]
    pilatus = all((size + gap) % (one + gap) == 0 for size, one, gap in zip((fast, slow), _MODULE, _GAP, strict=True))
    contents = "".join(f"# {line}\r\n" for line in [*_header_lines(instrument, pilatus), *entries])
    head = (
        "###CBF: VERSION 1.5, numbragg\r\n\r\n"
        "data_numbragg\r\n\r\n"
        f'_array_data.header_convention "{"PILATUS_1.2" if pilatus else "GENERIC_MINI"}"\r\n'
        f"_array_data.header_contents\r\n;\r\n{contents};\r\n\r\n"
        "_array_data.data\r\n;\r\n"
        f"{_SECTION.decode()}\r\n"
        "Content-Type: application/octet-stream;\r\n"
        '     conversions="x-CBF_BYTE_OFFSET"\r\n'
        "Content-Transfer-Encoding: BINARY\r\n"
        f"X-Binary-Size: {len(packed)}\r\n"
        "X-Binary-ID: 1\r\n"
        'X-Binary-Element-Type: "signed 32-bit integer"\r\n'
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n"
        f"Content-MD5: {_checksum(packed)}\r\n"
        f"X-Binary-Number-of-Elements: {pixels.size}\r\n"
        f"X-Binary-Size-Fastest-Dimension: {fast}\r\n"
        f"X-Binary-Size-Second-Dimension: {slow}\r\n"
        f"X-Binary-Size-Padding: {_PADDING}\r\n\r\n"
    )
    with atomic_write(path) as stream:
        stream.write(head.encode("ascii") + _START_OF_DATA)
        stream.write(packed)
        stream.write(bytes(_PADDING) + b"\r\n" + _SECTION + b"--\r\n;\r\n")


def read_cbf(path: str | os.PathLike[str]) -> tuple[dict[str, str], npt.NDArray[np.int32]]:
    """Read an image from CBF.

    Returns
    -------
    header
        As from `read_cbf_header`.
    pixels
        Int32, (slow, fast).

    Raises
    ------
    NumbraggError
        The file cannot be read, is not CBF, is truncated or damaged, or is compressed in another way.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.68.
    """
    source = input_file(path)
    data = source.read_bytes()
    text, binary, begin = _sections(source, data)
    if "x-CBF_BYTE_OFFSET" not in binary.get("conversions", "") or "signed 32" not in binary.get(
        "X-Binary-Element-Type", "signed 32"
    ):
        raise NumbraggError(f"{source}: only 32-bit integers compressed by byte offsets are read (x-CBF_BYTE_OFFSET)")
    fast, slow, size = (
        _whole(source, binary, f"X-Binary-Size{part}") for part in ("-Fastest-Dimension", "-Second-Dimension", "")
    )
    packed = data[begin : begin + size]
    if len(packed) < size:
        raise NumbraggError(f"{source}: truncated: {size} bytes of pixels expected, {len(packed)} found")
    if "Content-MD5" in binary and binary["Content-MD5"] != _checksum(packed):
        raise NumbraggError(f"{source}: the pixels do not match their checksum: the file is damaged")
    try:
        pixels = decompress(packed, fast * slow)
    except NumbraggError as error:
        raise NumbraggError(f"{source}: {error}") from error
    return _header_entries(text), pixels.reshape(slow, fast)


def read_cbf_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the header of a CBF: the first word of each line and what follows it, without colons and equals signs.

    Raises
    ------
    NumbraggError
        The file cannot be read or is not CBF.
    """
    source = input_file(path)
    return _header_entries(_sections(source, source.read_bytes())[0])


def read_cbf_instrument(path: str | os.PathLike[str]) -> Instrument:
    """Read how the image of a CBF was taken, as its header says (specs/30-formats.md, 30.69).

    Raises
    ------
    NumbraggError
        The file cannot be read, is not CBF, or lacks an entry.
    """
    source = input_file(path)
    text, binary, _ = _sections(source, source.read_bytes())
    header = _header_entries(text)
    fast, slow = (_whole(source, binary, f"X-Binary-Size-{part}-Dimension") for part in ("Fastest", "Second"))
    pixel = _numbers(source, header, "Pixel_size", 2)
    if abs(pixel[0] - pixel[1]) > 1e-6 * pixel[0]:
        raise NumbraggError(f"{source}: pixels are not square ({pixel[0]:g} x {pixel[1]:g} m)")
    edge, distance = 1e3 * pixel[0], 1e3 * _numbers(source, header, "Detector_distance")[0]
    centre = _numbers(source, header, "Beam_xy", 2)
    start, osc = (_numbers(source, header, key)[0] for key in ("Start_angle", "Angle_increment"))
    thickness = _optional(source, header, "Silicon", 0.0)
    return Instrument(
        n_fast=fast,
        n_slow=slow,
        pixel_size=edge,
        origin=np.array([-centre[0] * edge, centre[1] * edge, -distance]),
        fast_axis=np.array([1.0, 0.0, 0.0]),
        slow_axis=np.array([0.0, -1.0, 0.0]),
        wavelength=_numbers(source, header, "Wavelength")[0],
        polarization_fraction=_optional(source, header, "Polarization", 0.5),
        phi_start=start,
        osc=osc,
        exposure=_optional(source, header, "Exposure_period", 1.0),
        thickness=thickness * 1e3 if thickness > THINNEST else 0.0,
        saturation=_optional(source, header, "Count_cutoff", 65534.0),
        flux=_optional(source, header, "Flux", 0.0),
        gain=_optional(source, header, _GAIN, 1.0),
        pedestal=_optional(source, header, _PEDESTAL, 0.0),
        attenuation=_optional(source, header, _ATTENUATION, 0.0),
    )


def read_cbf_provenance(path: str | os.PathLike[str]) -> Provenance | None:
    """Read how to simulate the image of a CBF again; None where the file does not say."""
    return Provenance.from_entries({key.upper(): value for key, value in read_cbf_header(path).items()})


def _unsaid(instrument: Instrument) -> list[str]:
    """What readers of the header will get wrong."""
    axes = {
        "fast is not along the spindle": instrument.fast_axis - np.array([1.0, 0.0, 0.0]),
        "fast x slow does not point along the beam": instrument.slow_axis - np.array([0.0, -1.0, 0.0]),
        "the spindle is not across the beam": instrument.spindle_axis - np.array([1.0, 0.0, 0.0]),
    }
    said = [text for text, difference in axes.items() if np.linalg.norm(difference) > TILT_SHOWN]
    return [*said, *([f"{instrument.pedestal:g} counts were added (-adc)"] if instrument.pedestal else [])]


def _header_lines(instrument: Instrument, pilatus: bool) -> list[str]:
    centre = [f"{value / instrument.pixel_size:.12g}" for value in instrument.beam_centre]
    edge = f"{instrument.pixel_size * 1e3:.12g}e-6 m"
    return [
        f"Detector: {'PILATUS' if pilatus else 'GENERIC'} numbragg, S/N 00-0000",
        # Readers need a time, and a file must not depend on when it was made.
        "1970-01-01T00:00:00.000",
        f"Pixel_size {edge} x {edge}",
        f"Silicon sensor, thickness {max(instrument.thickness * 1e-3, THINNEST):.12g} m",
        f"Exposure_time {instrument.exposure:.12g} s",
        f"Exposure_period {instrument.exposure:.12g} s",
        "Tau = 0 s",
        f"Count_cutoff {instrument.saturation:.0f} counts",
        f"Threshold_setting: {_EV_ANGSTROM / instrument.wavelength / 2:.0f} eV",
        "Gain_setting: not used (vrf = 0.000)",
        "N_excluded_pixels = 0",
        f"Wavelength {instrument.wavelength:.12g} A",
        f"Detector_distance {instrument.distance * 1e-3:.12g} m",
        f"Beam_xy ({', '.join(centre)}) pixels",
        f"Flux {instrument.flux:.12g}",
        "Filter_transmission 1.0000",
        f"Start_angle {instrument.phi_start:.12g} deg.",
        f"Angle_increment {instrument.osc:.12g} deg.",
        f"Polarization {instrument.polarization_fraction:.12g}",
        "Detector_2theta 0.0000 deg.",
        f"{_GAIN} {instrument.gain:.12g}",
        f"{_PEDESTAL} {instrument.pedestal:.12g} counts",
        f"{_ATTENUATION} {instrument.attenuation:.12g} 1/mm",
    ]


def _checksum(packed: bytes) -> str:
    return base64.b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode("ascii")


def _sections(source: Path, data: bytes) -> tuple[str, dict[str, str], int]:
    """Text before the binary section, the entries that describe the latter, and where its data begin."""
    if not data.startswith(b"###CBF"):
        raise NumbraggError(f"{source} is not a CBF file: it does not start with ###CBF")
    at = data.find(_SECTION)
    begin = data.find(_START_OF_DATA, at)
    if at < 0 or begin < 0:
        raise NumbraggError(f"{source}: no binary section: the file is truncated or damaged")
    described = data[at + len(_SECTION) : begin].decode("latin-1")
    lines = re.sub(r"conversions\s*=", "conversions:", described).splitlines()
    pairs = (line.partition(":") for line in lines)
    entries = {name.strip(): value.strip().strip('"') for name, _, value in pairs if value}
    return data[:at].decode("latin-1"), entries, begin + len(_START_OF_DATA)


def _header_entries(text: str) -> dict[str, str]:
    lines = (
        line[1:].replace("=", " ").replace(":", " ").split() for line in text.splitlines() if line.startswith("# ")
    )
    return {words[0]: " ".join(words[1:]) for words in lines if words}


def _whole(source: Path, entries: Mapping[str, str], key: str) -> int:
    value = entries.get(key, "")
    if not re.fullmatch(r"[1-9][0-9]{0,9}", value):
        raise NumbraggError(f"{source}: the binary section needs {key}: <whole number>, found {value or 'nothing'}")
    return int(value)


def _numbers(source: Path, header: Mapping[str, str], key: str, count: int = 1) -> list[float]:
    if key not in header:
        raise NumbraggError(f"{source}: the header does not say {key}")
    found = [float(text) for text in _NUMBER.findall(header[key])]
    if len(found) < count or not np.isfinite(found).all():
        raise NumbraggError(f"{source}: {key} in the header is not a number ({header[key][:40]})")
    return found[:count]


def _optional(source: Path, header: Mapping[str, str], key: str, default: float) -> float:
    return _numbers(source, header, key)[0] if key in header else default
