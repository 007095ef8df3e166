"""Images in HDF5 as the NeXus application definition NXmx lays them out (specs/30-formats.md, 30.75 to 30.79)."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_path
from numbragg.io.input_file import first_line, input_file
from numbragg.models.instrument import Instrument
from numbragg.models.provenance import Provenance

Compression = Literal["gzip", "bitshuffle", "none"]

TO_MCSTAS = np.diag([-1.0, 1.0, -1.0])
"""From the imgCIF frame, X along the spindle and Z towards the source, to McStas's; its own inverse."""
DATA = "/entry/data/data"
PROVENANCE = "/entry/simulation"
THINNEST = 1e-9
"""Metres, written for a sensor without thickness: readers correct for parallax and refuse 0."""
_INSTALL = "HDF5 files need h5py and hdf5plugin: pip install numbragg[hdf5]"
_EFFORT = 4
_STAY = 1e-6
"""Degrees by which two images of a rotation differ from their usual step at most."""


class DataFile(NamedTuple):
    """A file that holds some of the images of a series."""

    path: str
    n_images: int


def write_nxmx(
    path: str | os.PathLike[str],
    images: npt.NDArray[np.integer] | Sequence[DataFile],
    instrument: Instrument,
    *,
    active: npt.NDArray[np.bool_] | None = None,
    compression: Compression = "gzip",
    provenance: Provenance | None = None,
) -> None:
    """Write a master file with the images in it, or with links to files that hold them.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    images
        Counts, (slow, fast) or (image, slow, fast), whole numbers of at most 32 bits; or files of `write_nxmx_data` in
        the folder of ``path``.
    instrument
        Detector, beam, rotation and crystal, X along the spindle and Z towards the source; image k begins at
        ``phi_start + k * osc``.
    active
        Boolean, (slow, fast): the other pixels were not measured.
    compression
        "gzip" (read by every HDF5 library), "bitshuffle" (with LZ4; readers need its plugin) or "none".
    provenance
        How to simulate the images again.

    Raises
    ------
    NumbraggError
        Pixels that are not such numbers, h5py or hdf5plugin not installed, or a file that cannot be written.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.75 to 30.78.
    """
    h5py = _h5py()
    shape = (instrument.n_slow, instrument.n_fast)
    if isinstance(images, np.ndarray):
        stack = _checked(path, images, shape)
        count, kind = len(stack), stack.dtype
    else:
        count = sum(file.n_images for file in images)
        kind = _common_type(path, images)
    with _created(path) as file:
        entry = _group(file, "entry", "NXentry", default="data")
        entry["definition"] = "NXmx"
        data = _group(entry, "data", "NXdata", signal="data")
        if isinstance(images, np.ndarray):
            _write_stack(data, stack, compression)
        else:
            _link(h5py, data, images, (count, *shape), kind)
        _write_sample(entry, instrument, count)
        _write_instrument(entry, instrument, kind, active)
        if provenance is not None:
            _write_provenance(entry, provenance)


def write_nxmx_data(
    path: str | os.PathLike[str],
    images: npt.NDArray[np.integer],
    *,
    compression: Compression = "gzip",
    provenance: Provenance | None = None,
) -> DataFile:
    """Write some images of a series into a file of their own, for `write_nxmx` to link.

    Parameters as of `write_nxmx`; ``images`` has three dimensions.
    """
    stack = _checked(path, images, images.shape[-2:])
    with _created(path) as file:
        entry = _group(file, "entry", "NXentry", default="data")
        _write_stack(_group(entry, "data", "NXdata", signal="data"), stack, compression)
        if provenance is not None:
            _write_provenance(entry, provenance)
    return DataFile(os.fspath(path), len(stack))


def read_nxmx(path: str | os.PathLike[str], image: int | None = None) -> npt.NDArray[np.generic]:
    """Read the images of a file, or one of them.

    Parameters
    ----------
    path
        An NXmx file, or a data file of one.
    image
        Number from 0; None reads all.

    Returns
    -------
    ndarray
        (image, slow, fast), or (slow, fast) for one, in the number type of the file.

    Raises
    ------
    NumbraggError
        The file cannot be read, holds no images of this layout, or has no such image.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.79.
    """
    with _opened(path) as file:
        data = file.get(DATA)
        if data is None or getattr(data, "ndim", 0) not in (2, 3) or data.dtype.kind not in "iuf":
            raise NumbraggError(f"{path}: no images at {DATA}: not an NXmx file")
        _require_parts(path, data)
        if image is None:
            stack = data[()] if data.ndim == 3 else data[()][None]
            return np.asarray(stack)
        count = data.shape[0] if data.ndim == 3 else 1
        if not 0 <= image < count:
            raise NumbraggError(f"{path}: image {image} asked for, but there are {count}, counted from 0")
        return np.asarray(data[image] if data.ndim == 3 else data[()])


def count_nxmx_images(path: str | os.PathLike[str]) -> int:
    """Number of images of a file."""
    with _opened(path) as file:
        data = file.get(DATA)
        if data is None:
            raise NumbraggError(f"{path}: no images at {DATA}: not an NXmx file")
        return int(data.shape[0]) if data.ndim == 3 else 1


def read_nxmx_instrument(path: str | os.PathLike[str]) -> Instrument:
    """Read detector, beam and rotation, in the imgCIF frame (specs/30-formats.md, 30.79).

    Raises
    ------
    NumbraggError
        The file cannot be read, is not NXmx, or lacks an entry.
    """
    with _opened(path) as file:
        definition = file.get("/entry/definition")
        if definition is None or _text(definition) != "NXmx":
            raise NumbraggError(f"{path} is not an NXmx file: /entry/definition does not say so")
        try:
            return _read_instrument(file)
        except KeyError as error:
            raise NumbraggError(f"{path}: an entry is missing: {first_line(error)}") from error
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise NumbraggError(f"{path}: an entry is not what it should be: {first_line(error)}") from error


def read_nxmx_provenance(path: str | os.PathLike[str]) -> Provenance | None:
    """Read how to simulate the images again; None where the file does not say."""
    with _opened(path) as file:
        group = file.get(PROVENANCE)
        if group is None:
            return None
        return Provenance.from_entries({key: _text(value) for key, value in group.items() if key.isupper()})


def _h5py() -> Any:
    try:
        import h5py
        import hdf5plugin  # noqa: F401 (registers the filters)
    except ImportError as error:
        raise NumbraggError(_INSTALL) from error
    return h5py


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    h5py = _h5py()
    source = input_file(path)
    try:
        with h5py.File(source, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise NumbraggError(f"cannot read {source} as HDF5: {first_line(error)}") from error


@contextmanager
def _created(path: str | os.PathLike[str]) -> Iterator[Any]:
    h5py = _h5py()
    with atomic_path(path) as temporary:
        try:
            # Reads of the oldest version of the format are the widest, and the bytes do not depend on the clock.
            with h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
                yield file
        except (OSError, RuntimeError) as error:
            raise NumbraggError(f"cannot write {path}: {first_line(error)}") from error


def _checked(path: str | os.PathLike[str], images: npt.NDArray[np.integer], shape: tuple[int, ...]) -> Any:
    stack = images[None] if images.ndim == 2 else images
    if stack.ndim != 3 or stack.size == 0 or stack.dtype.kind not in "iu" or stack.shape[1:] != shape:
        raise NumbraggError(
            f"cannot write {path}: whole numbers of shape (image, {shape[0]}, {shape[1]}) are needed, "
            f"not {images.dtype} {images.shape}"
        )
    if stack.dtype.itemsize > 4:
        # 64-bit counts are refused by common readers.
        narrow: npt.DTypeLike = np.int32 if stack.min() < 0 else np.uint32
        if stack.min() < np.iinfo(narrow).min or stack.max() > np.iinfo(narrow).max:
            raise NumbraggError(f"cannot write {path}: a pixel does not fit 32 bits")
        stack = stack.astype(narrow)
    return np.ascontiguousarray(stack)


def _common_type(path: str | os.PathLike[str], files: Sequence[DataFile]) -> np.dtype[np.generic]:
    if not files:
        raise NumbraggError(f"cannot write {path}: it has no images")
    with _opened(files[0].path) as file:
        kind: np.dtype[np.generic] = file[DATA].dtype
        return kind


def _group(parent: Any, name: str, kind: str, **attributes: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    for key, value in attributes.items():
        group.attrs[key] = value
    return group


def _field(parent: Any, name: str, value: Any, unit: str | None = None, **attributes: Any) -> Any:
    field = parent.create_dataset(name, data=value)
    if unit is not None:
        field.attrs["units"] = unit
    for key, item in attributes.items():
        field.attrs[key] = item
    return field


def _filters(compression: Compression) -> dict[str, Any]:
    if compression == "gzip":
        return {"compression": "gzip", "compression_opts": _EFFORT, "shuffle": True}
    if compression == "bitshuffle":
        import hdf5plugin

        return dict(hdf5plugin.Bitshuffle(cname="lz4"))
    if compression != "none":
        raise NumbraggError(f"compression is one of gzip, bitshuffle, none, not {compression}")
    return {}


def _write_stack(group: Any, stack: npt.NDArray[np.integer], compression: Compression) -> None:
    group.create_dataset("data", data=stack, chunks=(1, *stack.shape[1:]), **_filters(compression))


def _link(h5py: Any, group: Any, files: Sequence[DataFile], shape: tuple[int, ...], kind: np.dtype[np.generic]) -> None:
    # By h5py's lower layer, since the upper one lets HDF5 note the time.
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    whole = h5py.h5s.create_simple(shape)
    first = 0
    for file in files:
        part = (file.n_images, *shape[1:])
        whole.select_hyperslab((first, 0, 0), part)
        name = os.path.basename(file.path).encode("utf-8")
        properties.set_virtual(whole, name, DATA.encode("ascii"), h5py.h5s.create_simple(part))
        first += file.n_images
    whole.select_all()
    h5py.h5d.create(group.id, b"data", h5py.h5t.py_create(kind, logical=True), whole, properties)


def _write_sample(entry: Any, instrument: Instrument, count: int) -> None:
    sample = _group(entry, "sample", "NXsample")
    sample["name"] = "simulated crystal"
    moves = _group(sample, "transformations", "NXtransformations")
    # A still has no axis: a reader would take one for a rotation of width 0.
    if not instrument.is_still:
        begins = instrument.phi_start + instrument.osc * np.arange(count)
        axis = {
            "transformation_type": "rotation",
            "vector": TO_MCSTAS @ instrument.spindle_axis,
            "depends_on": ".",
        }
        _field(moves, "omega", begins, "deg", **axis)
        _field(moves, "omega_end", begins + instrument.osc, "deg")
        _field(moves, "omega_increment_set", instrument.osc, "deg")
        sample["depends_on"] = "/entry/sample/transformations/omega"
    else:
        sample["depends_on"] = "."
    if instrument.cell_axes is not None:
        axes = TO_MCSTAS @ instrument.cell_axes.T
        volume = float(np.linalg.det(axes))
        reciprocal = np.array([np.cross(axes[:, i - 2], axes[:, i - 1]) for i in range(3)]) / volume
        lengths = np.linalg.norm(axes, axis=0)
        cosines = [axes[:, i - 2] @ axes[:, i - 1] / lengths[i - 2] / lengths[i - 1] for i in range(3)]
        _field(sample, "unit_cell", [*lengths, *np.degrees(np.arccos(cosines))])
        # Rows a*, b*, c*, in 1/angstrom and McStas's frame at phi = 0.
        _field(sample, "ub_matrix", reciprocal.T[None])


def _write_instrument(
    entry: Any, instrument: Instrument, kind: np.dtype[np.generic], active: npt.NDArray[np.bool_] | None
) -> None:
    group = _group(entry, "instrument", "NXinstrument")
    group["name"] = "numbragg"
    source = _group(entry, "source", "NXsource")
    source["name"] = "simulated"
    source["probe"] = "x-ray"
    beam = _group(group, "beam", "NXbeam")
    _field(beam, "incident_wavelength", instrument.wavelength, "angstrom")
    _field(beam, "incident_polarization_stokes", [1.0, *_stokes(instrument)])
    if instrument.flux > 0:
        _field(beam, "total_flux", instrument.flux, "Hz")
    detector = _group(group, "detector", "NXdetector")
    detector["depends_on"] = "/entry/instrument/detector/transformations/translation"
    detector["description"] = "simulated area detector"
    detector["type"] = "PIXEL"
    for name, value, unit in (
        ("distance", instrument.distance * 1e-3, "m"),
        ("beam_center_x", instrument.beam_centre[0] / instrument.pixel_size, "pixel"),
        ("beam_center_y", instrument.beam_centre[1] / instrument.pixel_size, "pixel"),
        ("x_pixel_size", instrument.pixel_size * 1e-3, "m"),
        ("y_pixel_size", instrument.pixel_size * 1e-3, "m"),
        ("count_time", instrument.exposure, "s"),
        ("frame_time", instrument.exposure, "s"),
        ("sensor_thickness", max(instrument.thickness * 1e-3, THINNEST), "m"),
    ):
        _field(detector, name, value, unit)
    detector["sensor_material"] = "Si"
    detector["saturation_value"] = np.int32(instrument.saturation)
    detector["underload_value"] = np.int32(0)
    detector["bit_depth_readout"] = np.int32(8 * kind.itemsize)
    if active is not None and not active.all():
        mask = np.where(active, 0, 1).astype(np.uint32)
        detector.create_dataset("pixel_mask", data=mask, compression="gzip", shuffle=True)
    for key in ("thickness", "attenuation", "gain", "pedestal"):
        detector.attrs[f"numbragg_{key}"] = float(getattr(instrument, key))
    _write_geometry(detector, instrument)


def _write_geometry(detector: Any, instrument: Instrument) -> None:
    """The module's axes, and the translation from the sample to the corner of the first pixel."""
    moves = _group(detector, "transformations", "NXtransformations")
    origin = TO_MCSTAS @ instrument.origin * 1e-3
    length = float(np.linalg.norm(origin))
    place = {"transformation_type": "translation", "vector": origin / length, "depends_on": "."}
    _field(moves, "translation", length, "m", **place)
    module = _group(detector, "module", "NXdetector_module")
    module["data_origin"] = np.array([0, 0], dtype=np.int32)
    module["data_size"] = np.array([instrument.n_slow, instrument.n_fast], dtype=np.int32)
    module["data_stride"] = np.array([1, 1], dtype=np.int32)
    corner = "/entry/instrument/detector/module/module_offset"
    for name, value, vector, depends_on in (
        ("module_offset", 0.0, np.array([0.0, 0.0, 1.0]), "/entry/instrument/detector/transformations/translation"),
        ("fast_pixel_direction", instrument.pixel_size * 1e-3, TO_MCSTAS @ instrument.fast_axis, corner),
        ("slow_pixel_direction", instrument.pixel_size * 1e-3, TO_MCSTAS @ instrument.slow_axis, corner),
    ):
        attributes = {"transformation_type": "translation", "vector": vector, "offset": np.zeros(3)}
        _field(module, name, value, "m", **attributes, offset_units="m", depends_on=depends_on)


def _stokes(instrument: Instrument) -> list[float]:
    """S1, S2 and S3 over S0 of linearly polarised light: S1 is 1 along X."""
    x, y, _ = np.cross(instrument.polarization_normal, instrument.beam_direction)
    degree = 2.0 * instrument.polarization_fraction - 1.0
    twice = 2.0 * np.arctan2(y, x)
    return [float(degree * np.cos(twice)), float(degree * np.sin(twice)), 0.0]


def _write_provenance(entry: Any, provenance: Provenance) -> None:
    group = _group(entry, "simulation", "NXprocess")
    group["program"] = "numbragg"
    group["version"] = provenance.version
    for key, value in provenance.entries().items():
        group[key] = value


def _text(field: Any) -> str:
    value = field[()]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _require_parts(path: str | os.PathLike[str], data: Any) -> None:
    """HDF5 fills images whose file is missing with zeros, without a word."""
    if not data.is_virtual:
        return
    for part in data.virtual_sources():
        if not Path(os.fspath(path)).parent.joinpath(part.file_name).is_file():
            raise NumbraggError(f"{path}: the data file {part.file_name} that it links is missing")


def _read_instrument(file: Any) -> Instrument:
    detector, beam = file["/entry/instrument/detector"], file["/entry/instrument/beam"]
    modules = [item for item in detector.values() if item.attrs.get("NX_class") in ("NXdetector_module",)]
    if len(modules) != 1:
        raise NumbraggError(f"{file.filename}: the detector has {len(modules)} modules; one is supported")
    module = modules[0]
    fast, slow = module["fast_pixel_direction"], module["slow_pixel_direction"]
    turn, origin = _chain(file, fast.attrs["depends_on"])
    pixel, other = _length(fast) * 1e3, _length(slow) * 1e3
    if abs(pixel - other) > 1e-6 * pixel:
        raise NumbraggError(f"{file.filename}: pixels are not square ({pixel:g} x {other:g} mm)")
    thickness = float(detector.attrs.get("numbragg_thickness", _length(detector["sensor_thickness"]) * 1e3))
    spindle, start, osc = _rotation(file)
    stokes = (
        np.array(beam["incident_polarization_stokes"][()]) if "incident_polarization_stokes" in beam else np.zeros(4)
    )
    degree, angle = float(np.hypot(stokes[1], stokes[2])), 0.5 * np.arctan2(stokes[2], stokes[1])
    n_slow, n_fast = (int(size) for size in module["data_size"][()][-2:])
    return Instrument(
        n_fast=n_fast,
        n_slow=n_slow,
        pixel_size=pixel,
        origin=TO_MCSTAS @ origin * 1e3,
        fast_axis=TO_MCSTAS @ turn @ fast.attrs["vector"],
        slow_axis=TO_MCSTAS @ turn @ slow.attrs["vector"],
        wavelength=float(np.ravel(beam["incident_wavelength"][()])[0])
        * _WAVELENGTH[_unit(beam["incident_wavelength"])],
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


_WAVELENGTH = {"angstrom": 1.0, "A": 1.0, "nm": 10.0, "m": 1e10}
_LENGTH = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "micron": 1e-6}


def _unit(field: Any) -> str:
    value = field.attrs.get("units", "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _length(field: Any) -> float:
    """A length, in metres."""
    if _unit(field) not in _LENGTH:
        raise ValueError(f"{field.name} has the unit '{_unit(field)}'; known are {', '.join(_LENGTH)}")
    return float(np.ravel(field[()])[0]) * _LENGTH[_unit(field)]


def _axis(field: Any) -> npt.NDArray[np.float64]:
    vector = np.array(field.attrs["vector"], dtype=float)
    return np.asarray(vector / np.linalg.norm(vector))


def _chain(file: Any, path: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rotation and translation, metres, of a chain of transformations."""
    from scipy.spatial.transform import Rotation

    turn, shift = np.eye(3), np.zeros(3)
    seen = set()
    while path not in (".", b"."):
        field = file[path]
        if field.name in seen:
            raise ValueError(f"the axes at {field.name} depend on each other")
        seen.add(field.name)
        offset = np.array(field.attrs.get("offset", np.zeros(3)), dtype=float)
        offset_unit = field.attrs.get("offset_units", "m")
        offset = offset * _LENGTH[offset_unit.decode() if isinstance(offset_unit, bytes) else str(offset_unit)]
        if field.attrs["transformation_type"] in ("rotation", b"rotation"):
            step = Rotation.from_rotvec(np.radians(float(np.ravel(field[()])[0])) * _axis(field)).as_matrix()
            turn, shift = step @ turn, step @ shift + offset
        else:
            shift = shift + (_length(field) * _axis(field) if np.any(field[()]) else 0.0) + offset
        path = _absolute(field, field.attrs.get("depends_on", "."))
    return turn, shift


def _absolute(field: Any, path: Any) -> str:
    """Path of what a field depends on, which may be given relative to its group."""
    text = path.decode() if isinstance(path, bytes) else str(path)
    return text if text.startswith("/") or text == "." else f"{field.parent.name}/{text}"


def _rotation(file: Any) -> tuple[npt.NDArray[np.float64], float, float]:
    """Spindle axis, first angle and width of an image, degrees."""
    path = _text(file["/entry/sample/depends_on"])
    if path == ".":
        return np.array([1.0, 0.0, 0.0]), 0.0, 0.0
    field = file[path]
    while np.size(field[()]) == 1 and field.attrs.get("depends_on", ".") not in (".", b"."):
        # Of several axes the one that moves is meant.
        field = file[_absolute(field, field.attrs["depends_on"])]
    begins = np.ravel(field[()]).astype(float)
    ends = field.parent.get(f"{field.name.rsplit('/', 1)[1]}_end")
    widths = np.ravel(ends[()]) - begins if ends is not None else np.diff(begins)
    width = float(np.median(widths)) if len(widths) else 0.0
    if len(widths) and np.abs(widths - width).max() > _STAY:
        raise ValueError(f"the widths of the images at {field.name} differ")
    return TO_MCSTAS @ _axis(field), float(begins[0]), width


def _read_cell(file: Any) -> npt.NDArray[np.float64] | None:
    if "/entry/sample/ub_matrix" not in file or PROVENANCE not in file:
        return None
    a, b, c = file["/entry/sample/ub_matrix"][()][0].T
    direct = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / (a @ np.cross(b, c))
    return np.asarray(direct @ TO_MCSTAS)
