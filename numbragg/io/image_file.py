"""An image from a file of any kind that numbragg reads."""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.input_file import first_line, input_file
from numbragg.io.smv import read_smv

_LONGEST_MAGIC = 512
_HDF5, _NUMPY = b"\x89HDF", b"\x93NUMPY"
_OTHER_KINDS = {
    b"\x89PNG": "a PNG",
    b"P5\n": "a PGM",
    b"PK\x03\x04": "a zip",
}


class ImageName(NamedTuple):
    """What a name such as ``series.h5:3:1`` means."""

    path: Path
    image: int | None
    """Number of an image of an NXmx file, from 0; None where the name has none."""
    panel: int | None
    """Number of a panel, from 0; None for all."""


def split_name(path: str | os.PathLike[str]) -> ImageName:
    """Split ``series.h5:3``, ``series.h5:3:1`` or ``image.npy:1`` into file, image and panel (70.11).

    Raises
    ------
    NumbraggError
        The file cannot be read, or has no use for the numbers.
    """
    name, numbers = os.fspath(path), list[int]()
    # A file of the whole name comes first.
    while len(numbers) < 2 and not os.path.exists(name):
        rest, colon, number = name.rpartition(":")
        if not (colon and number.isdecimal() and len(number) < 10):
            break
        name, numbers = rest, [int(number), *numbers]
    source = input_file(path if not numbers else name)
    if not numbers:
        return ImageName(source, None, None)
    with source.open("rb") as stream:
        start = stream.read(_LONGEST_MAGIC)
    if start.startswith(_HDF5):
        return ImageName(source, numbers[0], numbers[1] if len(numbers) > 1 else None)
    if (start.startswith(_NUMPY) or source.suffix.lower() == ".npy") and len(numbers) == 1:
        return ImageName(source, None, numbers[0])
    written = ":".join(map(str, numbers))
    raise NumbraggError(f"{source} has no use for :{written} behind its name (FILE.h5:IMAGE:PANEL, FILE.npy:PANEL)")


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[np.generic]:
    """Read an SMV, CBF, NXmx, NumPy or raw float image (specs/70-compare.md, clauses 70.11 to 70.13).

    Parameters
    ----------
    path
        The file. CBF, HDF5, NumPy's ``.npy`` and SMV are told by their first bytes, the last two also by the suffixes
        .npy and .img; any other file is taken as raw little-endian float32. An NXmx file must hold one image, or its
        name must be followed by ``:`` and the number of one, from 0; another ``:`` and number, or, of an ``.npy`` file,
        the only one, chooses one of several panels.

    Returns
    -------
    ndarray
        (slow, fast), or (panel, slow, fast) of several panels, in the number type of the file. A raw file does not say
        its shape: one-dimensional float32.

    Raises
    ------
    NumbraggError
        The file cannot be read, is truncated, is a kind that is not read here, or holds no pixels.
    """
    try:
        source, image, panel = split_name(path)
        with source.open("rb") as stream:
            start = stream.read(_LONGEST_MAGIC)
        if start.startswith(_HDF5):
            return _one_panel(source, _read_one(source, image), panel)
        if start.startswith(b"###CBF"):
            from numbragg.io.cbf import read_cbf

            return read_cbf(source)[1]
        for magic, kind in _OTHER_KINDS.items():
            if start.startswith(magic):
                raise NumbraggError(f"{source}: {kind} file; give an SMV (.img), CBF, NXmx, .npy or raw float32 image")
        suffix = source.suffix.lower()
        if start.startswith(_NUMPY) or suffix == ".npy":
            return _one_panel(source, _read_npy(source), panel)
        if suffix == ".img" or (start.startswith(b"{") and b"HEADER_BYTES" in start):
            return read_smv(source)[1]
        return _read_raw(source)
    except MemoryError as error:
        raise NumbraggError(f"{path}: more pixels than fit into memory") from error
    except OSError as error:
        raise NumbraggError(f"cannot read {path}: {error.strerror or error}") from error


def _one_panel(source: Path, image: npt.NDArray[np.generic], panel: int | None) -> npt.NDArray[np.generic]:
    if panel is None:
        return image
    count = len(image) if image.ndim == 3 else 1
    if panel >= count:
        raise NumbraggError(f"{source}: panel {panel} asked for, but there are {count}, counted from 0")
    return np.asarray(image[panel]) if image.ndim == 3 else image


def _read_one(source: Path, number: int | None) -> npt.NDArray[np.generic]:
    from numbragg.io.nxmx import count_nxmx_images, read_nxmx

    count = count_nxmx_images(source)
    if number is None and count > 1:
        raise NumbraggError(
            f"{source} holds {count} images: say which one ({source.name}:0 to {source.name}:{count - 1})"
        )
    return read_nxmx(source, number or 0)


def _read_npy(source: Path) -> npt.NDArray[np.generic]:
    try:
        # Old headers are parsed with a warning that means nothing to the reader of a comparison.
        with source.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.lib.format.read_array(stream, allow_pickle=False)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the header is a Python literal, and a damaged one fails in any way that a parser can
        raise NumbraggError(f"{source}: not a readable .npy file: {first_line(error)}") from error
    if pixels.ndim not in (2, 3) or pixels.size == 0 or pixels.dtype.kind not in "biuf":
        raise NumbraggError(f"{source}: not an image (slow, fast) of real numbers but {pixels.dtype} {pixels.shape}")
    return np.asarray(pixels)


def _read_raw(source: Path) -> npt.NDArray[np.generic]:
    size = source.stat().st_size
    if size == 0 or size % 4:
        raise NumbraggError(f"{source}: {size} bytes are no raw float32 image (4 bytes a pixel)")
    return np.fromfile(source, dtype="<f4").astype(np.float32, copy=False)
