"""Images in HDF5 as the NeXus application definition NXmx lays them out (specs/30-formats.md, 30.75 to 30.79)."""

import math
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
from numbragg.io.nexus import add_group, text_of
from numbragg.io.nxmx_instrument import (
    PROVENANCE,
    TO_MCSTAS,
    Slab,
    common_size,
    find_modules,
    read_instrument,
    slab_of,
    write_instrument,
    write_sample,
)
from numbragg.models.instrument import Instrument
from numbragg.models.provenance import Provenance

__all__ = [
    "TO_MCSTAS",
    "DataFile",
    "count_nxmx_images",
    "read_nxmx",
    "read_nxmx_instrument",
    "read_nxmx_provenance",
    "write_nxmx",
    "write_nxmx_data",
]

Compression = Literal["gzip", "bitshuffle", "none"]
Images = npt.NDArray[np.generic]

DATA = "/entry/data/data"
PANELS = "numbragg_panels"
_INSTALL = "HDF5 files need h5py and hdf5plugin: pip install numbragg[hdf5]"
_EFFORT = 4


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
        Counts, of the shape of the instrument, (slow, fast) or (panel, slow, fast), or of several images with their
        number ahead of it, whole numbers of at most 32 bits; or files of `write_nxmx_data` in the folder of ``path``.
    instrument
        Detector, beam, rotation and crystal, X along the spindle and Z towards the source; image k begins at
        ``phi_start + k * osc``.
    active
        Boolean, of the shape of the instrument: the other pixels were not measured.
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
    Source: ``specs/30-formats.md``, clauses 30.75 to 30.78. In the file several panels lie below each other.
    """
    h5py = _h5py()
    shape = instrument.shape
    in_file = (-1, instrument.n_fast)
    if active is not None and active.shape != shape:
        raise NumbraggError(f"cannot write {path}: the measured pixels have the shape {active.shape}, not {shape}")
    mask = None if active is None or active.all() else np.where(active, 0, 1).astype(np.uint32).reshape(in_file)
    if isinstance(images, np.ndarray):
        stack = _checked(path, images, shape)
        count, kind = len(stack), stack.dtype
    else:
        count = sum(file.n_images for file in images)
        kind = _common_type(path, images)
    with _created(path) as file:
        entry = add_group(file, "entry", "NXentry", default="data")
        entry["definition"] = "NXmx"
        data = add_group(entry, "data", "NXdata", signal="data")
        if isinstance(images, np.ndarray):
            _write_stack(data, stack, compression)
        else:
            _link(h5py, data, images, (count, math.prod(shape[:-1]), shape[-1]), kind)
        write_sample(entry, instrument, count)
        write_instrument(entry, instrument, kind, mask)
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

    Parameters as of `write_nxmx`; ``images`` are (image, slow, fast) or (image, panel, slow, fast).
    """
    stack = _checked(path, images, images.shape[1:] if images.ndim in (3, 4) else images.shape[-2:])
    with _created(path) as file:
        entry = add_group(file, "entry", "NXentry", default="data")
        data = _write_stack(add_group(entry, "data", "NXdata", signal="data"), stack, compression)
        if stack.ndim == 4:
            data.attrs[PANELS] = np.int32(stack.shape[1])
        if provenance is not None:
            _write_provenance(entry, provenance)
    return DataFile(os.fspath(path), len(stack))


def read_nxmx(path: str | os.PathLike[str], image: int | None = None) -> Images:
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
        (image, slow, fast), or (slow, fast) for one, in the number type of the file; of a file with several modules
        (image, panel, slow, fast) and (panel, slow, fast).

    Raises
    ------
    NumbraggError
        The file cannot be read, holds no images of this layout, or has no such image.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.79 and 30.96.
    """
    with _opened(path) as file, _described(path):
        data = file.get(DATA)
        if data is None or getattr(data, "ndim", 0) not in (2, 3, 4) or data.dtype.kind not in "iuf":
            raise NumbraggError(f"{path}: no images at {DATA}: not an NXmx file")
        _require_parts(path, data)
        modules, below = find_modules(file), int(data.attrs.get(PANELS, 1))
        count = data.shape[0] if data.ndim > 2 else 1
        if image is not None and not 0 <= image < count:
            raise NumbraggError(f"{path}: image {image} asked for, but there are {count}, counted from 0")
        some = slice(None) if image is None else slice(image, image + 1)
        frames = data[some] if data.ndim > 2 else data[()][None]
        if len(modules) > 1:
            frames = _cut(frames, [slab_of(module) for module in modules])
        elif modules and frames.ndim == 4:
            frames = _cut(frames, [slab_of(modules[0])])[:, 0]
        elif below > 1:
            frames = frames.reshape(len(frames), below, -1, frames.shape[-1])
        return np.asarray(frames if image is None else frames[0])


def count_nxmx_images(path: str | os.PathLike[str]) -> int:
    """Number of images of a file."""
    with _opened(path) as file:
        data = file.get(DATA)
        if data is None:
            raise NumbraggError(f"{path}: no images at {DATA}: not an NXmx file")
        return int(data.shape[0]) if data.ndim > 2 else 1


def read_nxmx_instrument(path: str | os.PathLike[str]) -> Instrument:
    """Read detector, beam and rotation, in the imgCIF frame (specs/30-formats.md, 30.79).

    Raises
    ------
    NumbraggError
        The file cannot be read, is not NXmx, lacks an entry, or has modules that differ in size.
    """
    with _opened(path) as file, _described(path):
        definition = file.get("/entry/definition")
        if definition is None or text_of(definition) != "NXmx":
            raise NumbraggError(f"{path} is not an NXmx file: /entry/definition does not say so")
        return read_instrument(file)


def read_nxmx_provenance(path: str | os.PathLike[str]) -> Provenance | None:
    """Read how to simulate the images again; None where the file does not say."""
    with _opened(path) as file:
        group = file.get(PROVENANCE)
        if group is None:
            return None
        return Provenance.from_entries({key: text_of(value) for key, value in group.items() if key.isupper()})


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
def _described(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong with the entries of a file into one line that names the file."""
    try:
        yield
    except NumbraggError as error:
        raise NumbraggError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except KeyError as error:
        raise NumbraggError(f"{path}: an entry is missing: {first_line(error)}") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise NumbraggError(f"{path}: an entry is not what it should be: {first_line(error)}") from error


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
    stack = images[None] if images.ndim == len(shape) else images
    if stack.size == 0 or stack.dtype.kind not in "iu" or stack.shape[1:] != shape or len(shape) < 2:
        wanted = ", ".join(str(size) for size in shape)
        raise NumbraggError(
            f"cannot write {path}: whole numbers of shape (image, {wanted}) are needed, "
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


def _filters(compression: Compression) -> dict[str, Any]:
    if compression == "gzip":
        return {"compression": "gzip", "compression_opts": _EFFORT, "shuffle": True}
    if compression == "bitshuffle":
        import hdf5plugin

        return dict(hdf5plugin.Bitshuffle(cname="lz4"))
    if compression != "none":
        raise NumbraggError(f"compression is one of gzip, bitshuffle, none, not {compression}")
    return {}


def _write_stack(group: Any, stack: npt.NDArray[np.integer], compression: Compression) -> Any:
    slow, fast = stack.shape[-2:]
    return group.create_dataset(
        "data", data=stack.reshape(len(stack), -1, fast), chunks=(1, slow, fast), **_filters(compression)
    )


def _cut(frames: Images, slabs: Sequence[Slab]) -> Images:
    """Cut the panels out of images, (image, panel, slow, fast)."""
    panel = common_size(slabs)
    below = [(number * panel[0], 0) for number in range(len(slabs))]
    if [slab.origin for slab in slabs] == below and frames.shape[1:] == (len(slabs) * panel[0], panel[1]):
        return frames.reshape(len(frames), len(slabs), *panel)
    cut = []
    for slab in slabs:
        ends = [first + size for first, size in zip(slab.origin, slab.size, strict=True)]
        if len(ends) != frames.ndim - 1 or any(end > size for end, size in zip(ends, frames.shape[1:], strict=True)):
            raise NumbraggError(
                f"the module {slab.name}, {slab.size} at {slab.origin}, does not lie in an image of {frames.shape[1:]}"
            )
        place = (slice(None), *(slice(*pair) for pair in zip(slab.origin, ends, strict=True)))
        cut.append(frames[place].reshape(len(frames), *panel))
    return np.stack(cut, axis=1)


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


def _write_provenance(entry: Any, provenance: Provenance) -> None:
    group = add_group(entry, "simulation", "NXprocess")
    group["program"] = "numbragg"
    group["version"] = provenance.version
    for key, value in provenance.entries().items():
        group[key] = value


def _require_parts(path: str | os.PathLike[str], data: Any) -> None:
    """HDF5 fills images whose file is missing with zeros, without a word."""
    if not data.is_virtual:
        return
    for part in data.virtual_sources():
        if not Path(os.fspath(path)).parent.joinpath(part.file_name).is_file():
            raise NumbraggError(f"{path}: the data file {part.file_name} that it links is missing")
