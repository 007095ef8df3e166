"""Raw float images: single precision, little-endian, no header, slow axis outermost."""

import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write


def write_float(path: str | os.PathLike[str], image: ArrayLike) -> None:
    """Write an image as raw float32.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    image
        Photons per pixel, (slow, fast).

    Raises
    ------
    NumbraggError
        A pixel is beyond single precision (3.4e38), or the file cannot be written.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.30.
    """
    try:
        with np.errstate(over="raise"):
            pixels = np.ascontiguousarray(image, dtype="<f4")
    except FloatingPointError:
        raise NumbraggError(f"cannot write {path}: a pixel is beyond single precision (3.4e38 photons)") from None
    with atomic_write(path) as stream:
        stream.write(pixels.data)


def write_npy(path: str | os.PathLike[str], image: ArrayLike) -> None:
    """Write an image as NumPy's ``.npy``, in its own number type.

    Raises
    ------
    NumbraggError
        The file cannot be written.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.84.
    """
    with atomic_write(path) as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(image), allow_pickle=False)


def read_float(path: str | os.PathLike[str], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Read a raw float32 image.

    Parameters
    ----------
    path
        The file.
    shape
        Pixels (slow, fast); the file does not say.

    Returns
    -------
    ndarray of float32, (slow, fast)

    Raises
    ------
    NumbraggError
        The file cannot be read or does not hold exactly that many pixels.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.30.
    """
    slow, fast = shape
    needed = 4 * slow * fast
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != needed:
                raise NumbraggError(
                    f"{path}: {size} bytes, but a float image of {fast} x {slow} pixels (fast x slow) has {needed}"
                )
            pixels = np.fromfile(stream, dtype="<f4", count=slow * fast)
    except OSError as error:
        raise NumbraggError(f"cannot read {path}: {error.strerror or error}") from error
    return pixels.astype(np.float32, copy=False).reshape(shape)
