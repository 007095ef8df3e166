"""From flags to the detector and the directions of the laboratory (specs/10-physics.md, 10.10 to 10.19)."""

import math
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from numbragg.compat.image_header import HeaderValues
from numbragg.compat.sampling_rules import sample_layers
from numbragg.compat.settings import FLAG_NAMES, Settings
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.geometry.conventions import (
    CONVENTIONS,
    Convention,
    Vector,
    beam_centre_to_corner,
    default_beam_centre,
)
from numbragg.geometry.rotations import unit
from numbragg.instruments import into_laboratory, within_detector
from numbragg.lowering.detector_frame import obliquity, place_detector
from numbragg.models.detector import Detector
from numbragg.models.panel import Panel

DEFAULT_SIZE = 102.4  # mm
DEFAULT_PIXEL = 0.1  # mm
DEFAULT_DISTANCE = 100.0  # mm
EDGE_ON = 1e-9
"""Cosine between beam and detector normal below which they are at right angles but for rounding."""

CONVENTION_KEYS = ("adxv", "mosflm", "denzo", "xds", "dials")
VECTOR_KEYS = {
    "beam_vector": "beam",
    "fdet_vector": "fast",
    "sdet_vector": "slow",
    "odet_vector": "normal",
    "twotheta_axis": "twotheta_axis",
    "polar_vector": "polarization",
    "spindle_axis": "spindle",
}
SIZE_KEYS = (
    "pixel", "detpixels", "detpixels_fast", "detpixels_slow", "detsize", "detsize_fast", "detsize_slow",
)  # fmt: skip
ORIGIN_KEYS = ("pix0_vector", "pix0_vector_mm")
BEAM_CENTRE_KEYS = ("xbeam", "ybeam")
NEAR_POINT_KEYS = ("xclose", "yclose", "orgx", "orgy")


class Extent(NamedTuple):
    """Counts and sizes; lengths in mm."""

    n_fast: int
    n_slow: int
    size_fast: float
    size_slow: float
    pixel: float


class Geometry(NamedTuple):
    """The detector, the directions that flags set, and what headers say about the beam centre."""

    detector: Detector
    convention: Convention
    beam: Vector
    polarization: Vector
    spindle: Vector
    xbeam: float  # mm, as the convention counts
    ybeam: float
    size_fast: float  # mm
    size_slow: float


def build_geometry(settings: Settings, header: HeaderValues) -> Geometry:
    """Detector, beam direction, polarisation and spindle axes from flags and image headers.

    Raises
    ------
    NumbraggError
        Values that make no detector.
    """
    extent = _extent(settings, header)
    convention = _convention(settings)
    vectors = _vectors(settings, convention)
    centre = _beam_centre(settings, header, convention, extent)
    depth, thickness, layers, step = _sensor(settings)
    detector = Detector(
        n_fast=extent.n_fast,
        n_slow=extent.n_slow,
        pixel_size=extent.pixel,
        distance=settings.get("distance", default=header.distance or DEFAULT_DISTANCE),
        pivot=centre.pivot,
        beam_fast=centre.fast,
        beam_slow=centre.slow,
        fast_axis=vectors["fast"],
        slow_axis=vectors["slow"],
        normal=vectors["normal"],
        rot_x=settings.get("detector_rotx", default=0.0),
        rot_y=settings.get("detector_roty", default=0.0),
        rot_z=settings.get("detector_rotz", default=0.0),
        twotheta=settings.get("twotheta", default=0.0),
        twotheta_axis=vectors["twotheta_axis"],
        curved=settings.given("curved_det"),
        point_pixel=settings.given("point_pixel"),
        thickness=thickness,
        attenuation_depth=depth,
        layers=layers,
        layer_step=step,
        panels=_panels(settings),
        panel=settings.extras.panel,
    )
    if abs(obliquity(detector, vectors["beam"])) < EDGE_ON:
        raise NumbraggError(
            "the beam runs along the detector plane: check -odet_vector, -beam_vector and -detector_rot*"
        )
    detector = _at_close_distance(settings, header, detector, vectors["beam"])
    detector = _at_origin(settings, detector, vectors["beam"])
    return Geometry(
        detector,
        convention,
        vectors["beam"],
        vectors["polarization"],
        vectors["spindle"],
        centre.xbeam,
        centre.ybeam,
        extent.size_fast,
        extent.size_slow,
    )


def _extent(settings: Settings, header: HeaderValues) -> Extent:
    pixel = settings.get("pixel", default=header.pixel or DEFAULT_PIXEL)
    if not pixel > 0:
        raise NumbraggError(f"-pixel must be above zero, not {pixel:g}")
    counts, sizes = [], []
    for axis, header_count in (("fast", header.n_fast), ("slow", header.n_slow)):
        count = settings.get("detpixels", f"detpixels_{axis}")
        size = settings.get("detsize", f"detsize_{axis}")
        if count is None and size is None:
            count = header_count
        if count is None:
            size = DEFAULT_SIZE if size is None else size
            if not size > 0:
                raise NumbraggError(f"-detsize must be above zero, not {size:g}")
            count = math.ceil(size / pixel - 0.5)
        else:
            size = count * pixel
        if count < 1:
            raise NumbraggError(f"the detector has {count} pixels along {axis}; check -detpixels, -detsize and -pixel")
        counts.append(count)
        sizes.append(size)
    return Extent(counts[0], counts[1], sizes[0], sizes[1], pixel)


def _convention(settings: Settings) -> Convention:
    if not settings.quirks.q10_vectors_dropped:
        named = CONVENTIONS[settings.last(*CONVENTION_KEYS) or "mosflm"]
        return named if settings.instrument is None else into_laboratory(settings.instrument, named).convention
    key = settings.last(*CONVENTION_KEYS, *VECTOR_KEYS, *ORIGIN_KEYS) or "mosflm"
    return CONVENTIONS[key if key in CONVENTION_KEYS else "custom"]


def _panels(settings: Settings) -> tuple[Panel, ...]:
    """Panels of a geometry file; what would change their size cannot go with them."""
    instrument = settings.instrument
    if instrument is None or not instrument.panels:
        return ()
    key = settings.last(*SIZE_KEYS)
    if key is not None:
        raise NumbraggError(f"{FLAG_NAMES[key]} does not go with the {len(instrument.panels)} panels of --geometry")
    return within_detector(instrument)


def _vectors(settings: Settings, convention: Convention) -> dict[str, Vector]:
    overridden = convention.name == "custom" or not settings.quirks.q10_vectors_dropped
    vectors = {}
    for key, name in VECTOR_KEYS.items():
        given = settings.values(key) if overridden else None
        vector = getattr(convention, name) if given is None else np.array(given, dtype=float)
        if not vector.any():
            raise NumbraggError(f"-{key} 0 0 0 has no direction")
        raw = name == "twotheta_axis" and settings.quirks.q25_twotheta_axis_length
        vectors[name] = vector if raw else unit(vector)
        if name == "normal" and given is not None and np.sqrt(vector @ vector) != 1.0:
            vectors[name] = unit(np.cross(vectors["fast"], vectors["slow"]))
            warnings.warn("-odet_vector is not of unit length: fast x slow is used", NumbraggWarning, stacklevel=2)
    if not np.any(np.cross(vectors["fast"], vectors["slow"])):
        raise NumbraggError("-fdet_vector and -sdet_vector are parallel: the detector has no plane")
    if not settings.quirks.q10_vectors_dropped and settings.given(*VECTOR_KEYS):
        settings.note("Q10", "a vector flag overriding that vector only")
    return vectors


class BeamCentre(NamedTuple):
    """Where the pivot is, mm from the corner of the first pixel, and the header's beam centre."""

    pivot: Any
    fast: float
    slow: float
    xbeam: float
    ybeam: float


def _beam_centre(settings: Settings, header: HeaderValues, convention: Convention, extent: Extent) -> BeamCentre:
    pivot = _reference_pivot(settings, convention) if settings.quirks.q09_pivot_reset else _pivot(settings, convention)
    if settings.quirks.q08_beam_centre_ignored:
        return _reference_beam_centre(settings, header, convention, extent, pivot)
    _note_beam_centre(settings, convention)
    detector_axes_given = settings.given("fdet_vector", "sdet_vector", "odet_vector")
    mapping = CONVENTIONS["custom"] if detector_axes_given else convention
    near = (None, None) if pivot == "beam" else (header.orgx, header.orgy)
    default = default_beam_centre(mapping, extent.size_fast, extent.size_slow, extent.pixel)
    x = settings.get("xbeam", default=default[0] if header.xbeam is None else header.xbeam)
    y = settings.get("ybeam", default=default[1] if header.ybeam is None else header.ybeam)
    fast, slow = beam_centre_to_corner(mapping, x, y, extent.size_slow, extent.pixel)
    fast = _near_point(settings, "xclose", "orgx", "xbeam", extent.pixel, fast, near[0])
    slow = _near_point(settings, "yclose", "orgy", "ybeam", extent.pixel, slow, near[1])
    return BeamCentre(pivot, fast, slow, *_in_convention(mapping, fast, slow, extent))


def _in_convention(convention: Convention, fast: float, slow: float, extent: Extent) -> tuple[float, float]:
    """(Xbeam, Ybeam), mm, of a point at (fast, slow) from the corner of the first pixel."""
    if convention.beam_centre == "flipped":
        return fast, extent.size_slow - slow
    shift = convention.shift * extent.pixel
    return (slow - shift, fast - shift) if convention.beam_centre == "slow fast" else (fast - shift, slow - shift)


def _pivot(settings: Settings, convention: Convention) -> str:
    explicit = settings.get("pivot")
    if explicit is not None:
        pivot = str(explicit)
    else:
        key = settings.last(*BEAM_CENTRE_KEYS, *NEAR_POINT_KEYS)
        if key is None:
            return convention.pivot
        pivot = "beam" if key in BEAM_CENTRE_KEYS else "sample"
    if pivot != convention.pivot:
        settings.note("Q09", "the pivot")
    return pivot


def _note_beam_centre(settings: Settings, convention: Convention) -> None:
    ignored = convention.pivot == "sample" and settings.given(*BEAM_CENTRE_KEYS)
    if ignored or settings.given("xclose", "yclose"):
        settings.note("Q08", "the beam centre")


def _near_point(
    settings: Settings, close: str, org: str, beam: str, pixel: float, otherwise: float, header_org: float | None
) -> float:
    key = settings.last(close, org, beam)
    if key == close:
        return float(settings.get(close))
    if key == org:
        return float((settings.get(org) - 0.5) * pixel)
    return (header_org - 0.5) * pixel if key is None and header_org is not None else otherwise


def _reference_beam_centre(
    settings: Settings, header: HeaderValues, convention: Convention, extent: Extent, pivot: str
) -> BeamCentre:
    orgx, orgy = settings.get("orgx", default=header.orgx), settings.get("orgy", default=header.orgy)
    fast = extent.size_fast / 2.0 if orgx is None else (orgx - 0.5) * extent.pixel
    slow = extent.size_slow / 2.0 if orgy is None else (orgy - 0.5) * extent.pixel
    if convention.beam_centre == "fast slow":
        default = (settings.get("xclose", default=fast), settings.get("yclose", default=slow))
    else:
        default = default_beam_centre(convention, extent.size_fast, extent.size_slow, extent.pixel)
    x = settings.get("xbeam", default=default[0] if header.xbeam is None else header.xbeam)
    y = settings.get("ybeam", default=default[1] if header.ybeam is None else header.ybeam)
    if pivot == "beam" or convention.name == "custom":
        fast, slow = beam_centre_to_corner(convention, x, y, extent.size_slow, extent.pixel)
    return BeamCentre(pivot, fast, slow, x, y)


def _reference_pivot(settings: Settings, convention: Convention) -> str:
    if convention.name != "custom":
        return convention.pivot
    sample = (*NEAR_POINT_KEYS, "close_distance", "twotheta")
    key = settings.last(*BEAM_CENTRE_KEYS, "distance", *sample, "pivot")
    if key == "pivot":
        return str(settings.get("pivot"))
    return "sample" if key in sample else "beam"


def _sensor(settings: Settings) -> tuple[float | None, float, int, float]:
    depth, count = settings.get("detector_abs"), settings.get("detector_thicksteps")
    thickness, instrument = settings.get("detector_thick"), settings.instrument
    if instrument is not None and instrument.thickness > 0 and instrument.attenuation > 0:
        thickness = instrument.thickness * 1e3 if thickness is None else thickness
        depth = 1e3 / instrument.attenuation if depth is None else depth
    if thickness is None and count is not None and count > 1 and not settings.quirks.q16_count_without_range:
        raise NumbraggError("-detector_thicksteps needs -detector_thick")
    if depth is not None and math.isinf(depth):
        return None, 0.0, 1, 0.0
    reference = settings.quirks.q04_layer_spacing
    thickness, layers, step = sample_layers(thickness, count, reference_spacing=reference)
    if thickness > 0.0 and layers > 1 and not reference:
        settings.note("Q03", "absorption")
    if thickness > 0.0 and count is not None and not reference:
        settings.note("Q04", "the spacing of sensor layers")
    return (depth or thickness) or None, thickness, layers, step


def _at_close_distance(settings: Settings, header: HeaderValues, detector: Detector, beam: Vector) -> Detector:
    close = settings.get("close_distance")
    if close is None and header.close_distance is not None:
        if settings.quirks.q29_header_near_distance or not settings.given("distance"):
            close = header.close_distance
        else:
            settings.note("Q29", "-distance beside an image header")
    if close is None:
        return detector
    return replace(detector, distance=abs(close / obliquity(detector, beam)))


def _at_origin(settings: Settings, detector: Detector, beam: Vector) -> Detector:
    key = settings.last(*ORIGIN_KEYS)
    if key is None or settings.quirks.q07_origin_ignored:
        return detector
    settings.note("Q07", f"-{key}")
    scale = 1e-3 if key == "pix0_vector_mm" else 1.0
    overridden = [k for k in (*BEAM_CENTRE_KEYS, *NEAR_POINT_KEYS, "distance", "close_distance") if settings.given(k)]
    if overridden:
        warnings.warn(f"-{key} overrides {', '.join(FLAG_NAMES[k] for k in overridden)}", NumbraggWarning, stacklevel=2)
    origin = np.array(settings.values(key), dtype=float) * scale
    placed = replace(detector, origin=origin)
    return replace(placed, distance=float(place_detector(placed, beam).distance) * 1e3)
