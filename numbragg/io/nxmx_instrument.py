"""Sample, beam and detector of an NXmx file (specs/30-formats.md, 30.76, 30.77 and 30.96)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.nexus import (
    add_field,
    add_group,
    axis_of,
    follow,
    groups_of,
    length_of,
    next_axis,
    offset_of,
    plain,
    text_of,
    unit_of,
)
from numbragg.models.instrument import Instrument
from numbragg.models.panel import Panel

TO_MCSTAS = np.diag([-1.0, 1.0, -1.0])
"""From the imgCIF frame, X along the spindle and Z towards the source, to McStas's; its own inverse."""
PROVENANCE = "/entry/simulation"
PANEL_NAME = "numbragg_name"
THINNEST = 1e-9
"""Metres, written for a sensor without thickness: readers correct for parallax and refuse 0."""
_DETECTOR = "/entry/instrument/detector"
_TO_CORNER = f"{_DETECTOR}/transformations/translation"
_STAY = 1e-6
"""Degrees by which two images of a rotation differ from their usual step at most."""
_SAME = 1e-6
"""Relative, of pixel sizes."""
_WAVELENGTH = {"angstrom": 1.0, "A": 1.0, "nm": 10.0, "m": 1e10}

Vector = npt.NDArray[np.float64]


class Slab(NamedTuple):
    """Where the pixels of a module lie in an image of the file."""

    name: str
    origin: tuple[int, ...]
    size: tuple[int, ...]


def write_sample(entry: Any, instrument: Instrument, count: int) -> None:
    """Write the crystal and the spindle angles of images, in a group of an entry."""
    sample = add_group(entry, "sample", "NXsample")
    sample["name"] = "simulated crystal"
    moves = add_group(sample, "transformations", "NXtransformations")
    # A still has no axis: a reader would take one for a rotation of width 0.
    if not instrument.is_still:
        begins = instrument.phi_start + instrument.osc * np.arange(count)
        axis = {
            "transformation_type": "rotation",
            "vector": TO_MCSTAS @ instrument.spindle_axis,
            "depends_on": ".",
        }
        add_field(moves, "omega", begins, "deg", **axis)
        add_field(moves, "omega_end", begins + instrument.osc, "deg")
        add_field(moves, "omega_increment_set", instrument.osc, "deg")
        sample["depends_on"] = "/entry/sample/transformations/omega"
    else:
        sample["depends_on"] = "."
    if instrument.cell_axes is not None:
        axes = TO_MCSTAS @ instrument.cell_axes.T
        volume = float(np.linalg.det(axes))
        reciprocal = np.array([np.cross(axes[:, i - 2], axes[:, i - 1]) for i in range(3)]) / volume
        lengths = np.linalg.norm(axes, axis=0)
        cosines = [axes[:, i - 2] @ axes[:, i - 1] / lengths[i - 2] / lengths[i - 1] for i in range(3)]
        add_field(sample, "unit_cell", [*lengths, *np.degrees(np.arccos(cosines))])
        # Rows a*, b*, c*, in 1/angstrom and McStas's frame at phi = 0.
        add_field(sample, "ub_matrix", reciprocal.T[None])


def write_instrument(
    entry: Any, instrument: Instrument, kind: np.dtype[np.generic], mask: npt.NDArray[np.uint32] | None
) -> None:
    """Write beam and detector in a group of an entry.

    Parameters
    ----------
    entry
        Where to.
    instrument
        What to write.
    kind
        Number type of the counts.
    mask
        Of the shape of an image in the file, 0 for pixels that were measured; None where all were.
    """
    group = add_group(entry, "instrument", "NXinstrument")
    group["name"] = "numbragg"
    source = add_group(entry, "source", "NXsource")
    source["name"] = "simulated"
    source["probe"] = "x-ray"
    beam = add_group(group, "beam", "NXbeam")
    add_field(beam, "incident_wavelength", instrument.wavelength, "angstrom")
    add_field(beam, "incident_polarization_stokes", [1.0, *_stokes(instrument)])
    if instrument.flux > 0:
        add_field(beam, "total_flux", instrument.flux, "Hz")
    detector = add_group(group, "detector", "NXdetector")
    detector["depends_on"] = _TO_CORNER
    detector["description"] = "simulated area detector"
    detector["type"] = "PIXEL"
    add_field(detector, "distance", instrument.distance * 1e-3, "m")
    if not instrument.panels:
        for name, along in zip(("beam_center_x", "beam_center_y"), instrument.beam_centre, strict=True):
            add_field(detector, name, along / instrument.pixel_size, "pixel")
    for name, value, unit in (
        ("x_pixel_size", instrument.pixel_size * 1e-3, "m"),
        ("y_pixel_size", instrument.pixel_size * 1e-3, "m"),
        ("count_time", instrument.exposure, "s"),
        ("frame_time", instrument.exposure, "s"),
        ("sensor_thickness", max(instrument.thickness * 1e-3, THINNEST), "m"),
    ):
        add_field(detector, name, value, unit)
    detector["sensor_material"] = "Si"
    detector["saturation_value"] = np.int32(instrument.saturation)
    detector["underload_value"] = np.int32(0)
    detector["bit_depth_readout"] = np.int32(8 * kind.itemsize)
    if mask is not None:
        detector.create_dataset("pixel_mask", data=mask, compression="gzip", shuffle=True)
    for key in ("thickness", "attenuation", "gain", "pedestal"):
        detector.attrs[f"numbragg_{key}"] = float(getattr(instrument, key))
    _write_geometry(detector, instrument)


def _write_geometry(detector: Any, instrument: Instrument) -> None:
    """The translation from the sample to the corner of the first pixel, and the modules from there."""
    moves = add_group(detector, "transformations", "NXtransformations")
    length, direction = _in_mcstas(instrument.origin)
    place = {"transformation_type": "translation", "vector": direction, "depends_on": "."}
    add_field(moves, "translation", length, "m", **place)
    if not instrument.panels:
        _write_module(detector, "module", instrument, instrument, 0)
    for number, panel in enumerate(instrument.panels):
        module = _write_module(detector, f"module_{number:03d}", instrument, panel, number)
        module.attrs[PANEL_NAME] = panel.name


def _write_module(detector: Any, name: str, instrument: Instrument, panel: Panel | Instrument, number: int) -> Any:
    module = add_group(detector, name, "NXdetector_module")
    module["data_origin"] = np.array([number * instrument.n_slow, 0], dtype=np.int32)
    module["data_size"] = np.array([instrument.n_slow, instrument.n_fast], dtype=np.int32)
    module["data_stride"] = np.array([1, 1], dtype=np.int32)
    corner = f"{_DETECTOR}/{name}/module_offset"
    length, direction = _in_mcstas(panel.origin - instrument.origin)
    for field, value, vector, depends_on in (
        ("module_offset", length, direction, _TO_CORNER),
        ("fast_pixel_direction", instrument.pixel_size * 1e-3, TO_MCSTAS @ panel.fast_axis, corner),
        ("slow_pixel_direction", instrument.pixel_size * 1e-3, TO_MCSTAS @ panel.slow_axis, corner),
    ):
        attributes = {"transformation_type": "translation", "vector": vector, "offset": np.zeros(3)}
        add_field(module, field, value, "m", **attributes, offset_units="m", depends_on=depends_on)
    return module


def _in_mcstas(shift: Vector) -> tuple[float, Vector]:
    """Length in metres and direction of a shift in mm; some direction where there is none."""
    moved = TO_MCSTAS @ shift * 1e-3
    length = float(np.linalg.norm(moved))
    return length, moved / length if length > 0 else np.array([0.0, 0.0, 1.0])


def _stokes(instrument: Instrument) -> list[float]:
    """S1, S2 and S3 over S0 of linearly polarised light: S1 is 1 along X."""
    x, y, _ = np.cross(instrument.polarization_normal, instrument.beam_direction)
    degree = 2.0 * instrument.polarization_fraction - 1.0
    twice = 2.0 * np.arctan2(y, x)
    return [float(degree * np.cos(twice)), float(degree * np.sin(twice)), 0.0]


def find_modules(file: Any) -> list[Any]:
    """Modules of the detector of a file; none in a data file, which has no detector."""
    detector = _detector(file)
    return [] if detector is None else groups_of(detector, "NXdetector_module")


def _detector(file: Any) -> Any:
    """The detector of a file, or the first of another name; None where there is none."""
    if _DETECTOR in file or "/entry/instrument" not in file:
        return file.get(_DETECTOR)
    return next(iter(groups_of(file["/entry/instrument"], "NXdetector")), None)


def slab_of(module: Any) -> Slab:
    """Where a module lies in an image.

    Raises
    ------
    ValueError
        Numbers that are no place or no size.
    """
    name = module.name.rsplit("/", 1)[1]
    size = tuple(int(count) for count in module["data_size"][()])
    if not 2 <= len(size) <= 3 or min(size) < 1 or set(size[:-2]) - {1}:
        raise ValueError(f"the data_size of {name} is no size of an image ({size})")
    origin = tuple(int(index) for index in module["data_origin"][()]) if "data_origin" in module else (0,) * len(size)
    if len(origin) != len(size) or min(origin) < 0:
        raise ValueError(f"the data_origin of {name} is no place in an image ({origin})")
    return Slab(name, origin, size)


def common_size(modules: Sequence[Slab]) -> tuple[int, int]:
    """Pixels along slow and fast that all modules have.

    Raises
    ------
    NumbraggError
        They differ; with the names of two of them.
    """
    first = modules[0]
    for other in modules[1:]:
        if other.size[-2:] != first.size[-2:]:
            (slow, fast), (other_slow, other_fast) = first.size[-2:], other.size[-2:]
            raise NumbraggError(
                f"the modules {first.name} ({fast} x {slow} pixels) and {other.name} ({other_fast} x {other_slow}) "
                "differ in size; panels of one size are supported"
            )
    return first.size[-2], first.size[-1]


def read_instrument(file: Any) -> Instrument:
    """Read detector, beam and rotation of an open file, in the imgCIF frame."""
    detector, beam, modules = _detector(file), file["/entry/instrument/beam"], find_modules(file)
    if not modules:
        raise NumbraggError("the detector has no module")
    n_slow, n_fast = common_size([slab_of(module) for module in modules])
    pixel = _common_pixel(modules)
    thickness = float(detector.attrs.get("numbragg_thickness", length_of(detector["sensor_thickness"]) * 1e3))
    spindle, start, osc = _rotation(file)
    stokes = (
        np.array(beam["incident_polarization_stokes"][()]) if "incident_polarization_stokes" in beam else np.zeros(4)
    )
    degree, angle = float(np.hypot(stokes[1], stokes[2])), 0.5 * np.arctan2(stokes[2], stokes[1])
    return Instrument.of_panels(
        [_panel(file, module) for module in modules],
        beam_direction=np.array([0.0, 0.0, -1.0]),
        n_fast=n_fast,
        n_slow=n_slow,
        pixel_size=pixel,
        wavelength=float(np.ravel(beam["incident_wavelength"][()])[0])
        * _WAVELENGTH[unit_of(beam["incident_wavelength"])],
        polarization_fraction=(1.0 + degree) / 2.0,
        polarization_normal=np.array([-np.sin(angle), np.cos(angle), 0.0]),
        spindle_axis=spindle,
        phi_start=start,
        osc=osc,
        exposure=float(detector["count_time"][()]) if "count_time" in detector else 1.0,
        thickness=thickness,
        attenuation=float(detector.attrs.get("numbragg_attenuation", 0.0)),
        gain=float(detector.attrs.get("numbragg_gain", 1.0)),
        pedestal=float(detector.attrs.get("numbragg_pedestal", 0.0)),
        saturation=float(detector["saturation_value"][()]) if "saturation_value" in detector else 2.0**31 - 1,
        flux=float(beam["total_flux"][()]) if "total_flux" in beam else 0.0,
        cell_axes=_read_cell(file),
    )


def _panel(file: Any, module: Any) -> Panel:
    fast, slow = module["fast_pixel_direction"], module["slow_pixel_direction"]
    if "depends_on" not in fast.attrs:
        raise KeyError(f"what {fast.name} depends on")
    turn, corner = follow(file, next_axis(fast))
    return Panel(
        origin=TO_MCSTAS @ (corner + turn @ offset_of(fast)) * 1e3,
        fast_axis=TO_MCSTAS @ turn @ fast.attrs["vector"],
        slow_axis=TO_MCSTAS @ turn @ slow.attrs["vector"],
        name=plain(module.attrs.get(PANEL_NAME, module.name.rsplit("/", 1)[1])),
    )


def _common_pixel(modules: Sequence[Any]) -> float:
    """Edge of the pixels that all modules have, mm."""
    first = length_of(modules[0]["fast_pixel_direction"]) * 1e3
    for module in modules:
        name = module.name.rsplit("/", 1)[1]
        fast, slow = (length_of(module[f"{axis}_pixel_direction"]) * 1e3 for axis in ("fast", "slow"))
        if abs(fast - slow) > _SAME * fast:
            raise NumbraggError(f"pixels are not square ({fast:g} x {slow:g} mm in {name})")
        if abs(fast - first) > _SAME * first:
            other = modules[0].name.rsplit("/", 1)[1]
            raise NumbraggError(f"the pixels of {other} ({first:g} mm) and {name} ({fast:g} mm) differ in size")
    return first


def _rotation(file: Any) -> tuple[Vector, float, float]:
    """Spindle axis, first angle and width of an image, degrees."""
    path = text_of(file["/entry/sample/depends_on"])
    if path == ".":
        return np.array([1.0, 0.0, 0.0]), 0.0, 0.0
    field, seen = file[path], set()
    while np.size(field[()]) == 1 and next_axis(field) != ".":
        # Of several axes the one that moves is meant.
        if field.name in seen:
            raise ValueError(f"the axes at {field.name} depend on each other")
        seen.add(field.name)
        field = file[next_axis(field)]
    begins = np.ravel(field[()]).astype(float)
    ends = field.parent.get(f"{field.name.rsplit('/', 1)[1]}_end")
    widths = np.ravel(ends[()]) - begins if ends is not None else np.diff(begins)
    width = float(np.median(widths)) if len(widths) else 0.0
    if len(widths) and np.abs(widths - width).max() > _STAY:
        raise ValueError(f"the widths of the images at {field.name} differ")
    return TO_MCSTAS @ axis_of(field), float(begins[0]), width


def _read_cell(file: Any) -> Vector | None:
    if "/entry/sample/ub_matrix" not in file or PROVENANCE not in file:
        return None
    a, b, c = file["/entry/sample/ub_matrix"][()][0].T
    direct = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / (a @ np.cross(b, c))
    return np.asarray(direct @ TO_MCSTAS)
