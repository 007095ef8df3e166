"""The pixels that a refinement looks at, and the background of their boxes (specs/55-refinement.md, 55.20 to 55.24)."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

FLAT = 1e-12
"""Of its length: what is left of a column of the background that the others explain."""


class Observations(NamedTuple):
    """Pixels of the boxes of all images, one image after the other, one box after the other; (P,) but where noted.

    Attributes
    ----------
    image, box, slow, fast : ndarray of int
        Where a pixel lies; boxes are numbered through all images.
    photons : ndarray
        What was measured.
    background : ndarray
        Photons: where the fit of the background starts, or what it is when it is given.
    basis : ndarray
        Columns that the background of a box is a combination of, shape (P, k): 0, 1 (constant) or 3 (plane).
    starts : ndarray of int
        First pixel of each box, and P, shape (B + 1,).
    images : tuple of slice
        Pixels of each image.
    """

    image: Index
    box: Index
    slow: Index
    fast: Index
    photons: Vector
    background: Vector
    basis: Vector
    starts: Index
    images: tuple[slice, ...]

    @property
    def boxes(self) -> int:
        """Number of boxes."""
        return len(self.starts) - 1

    def sum_of_boxes(self, values: Vector) -> Vector:
        """Sum over the pixels of each box, along the last axis."""
        return np.asarray(np.add.reduceat(values, self.starts[:-1], axis=-1))


class ImagePixels(NamedTuple):
    """Used pixels of one image, sorted by box; each of shape (P,)."""

    slow: Index
    fast: Index
    box: Index
    photons: Vector
    background: Vector


def gather(images: Sequence[ImagePixels], columns: int) -> Observations:
    """Put the pixels of several images into one list; ``columns`` of the background are 0, 1 or 3."""
    counts = [len(pixels.slow) for pixels in images]
    ends = np.cumsum([0, *counts])
    box = np.concatenate([_renumbered(pixels.box) for pixels in images])
    image = np.repeat(np.arange(len(images)), counts)
    starts = np.flatnonzero(np.diff(box, prepend=-1) | np.diff(image, prepend=-1))
    number = np.cumsum(np.isin(np.arange(len(box)), starts)) - 1
    slow, fast = (np.concatenate([getattr(pixels, name) for pixels in images]) for name in ("slow", "fast"))
    bounds = np.append(starts, len(box))
    return Observations(
        image=image,
        box=number,
        slow=slow,
        fast=fast,
        photons=np.concatenate([pixels.photons for pixels in images]),
        background=np.concatenate([pixels.background for pixels in images]),
        basis=_basis(slow, fast, number, bounds)[:, :columns],
        starts=bounds,
        images=tuple(slice(first, last) for first, last in itertools.pairwise(ends.tolist())),
    )


def _renumbered(box: Index) -> Index:
    return np.unique(box, return_inverse=True)[1].astype(np.int64)


def _basis(slow: Index, fast: Index, box: Index, starts: Index) -> Vector:
    """Columns 1, slow and fast, the last two from the middle of the box."""
    counts = np.diff(starts)
    columns = [np.ones(len(slow))]
    for axis in (slow, fast):
        middle = np.add.reduceat(axis.astype(float), starts[:-1]) / counts
        columns.append(axis - middle[box])
    return np.stack(columns, axis=1)


class BackgroundFit:
    """Weighted least-squares fits of the background of every box at once.

    The background is linear, so that it need not be refined: of any vector of the pixels, what the background
    explains is taken out (specs/55-refinement.md, 55.22).

    Parameters
    ----------
    observations
        Boxes, and the columns of their background.
    weights
        Of the squared deviations, shape (P,).
    """

    def __init__(self, observations: Observations, weights: Vector) -> None:
        self._observations = observations
        self.root = np.sqrt(weights)
        self._columns = self._orthonormal(observations.basis * self.root[:, None])

    def explained(self, vector: Vector) -> Vector:
        """What the background explains of a vector of weighted pixels, shape (..., P)."""
        result = np.zeros_like(vector)
        for column in self._columns:
            share = self._observations.sum_of_boxes(column * vector)
            result += column * share[..., self._observations.box]
        return result

    def rest(self, vector: Vector) -> Vector:
        """What it does not explain."""
        return vector - self.explained(vector)

    def fit(self, values: Vector) -> Vector:
        """The background nearest to values that are not weighted, shape (P,)."""
        return np.asarray(self.explained(values * self.root) / self.root)

    def _orthonormal(self, columns: Vector) -> list[Vector]:
        """Columns that are orthogonal and of length 1 in every box; 0 in boxes that are too thin for them."""
        observations, found = self._observations, list[Vector]()
        for column in columns.T:
            length = np.sqrt(observations.sum_of_boxes(column**2))
            rest = column.copy()
            # A second pass removes what rounding left in the first.
            for known in [*found, *found]:
                rest -= known * observations.sum_of_boxes(known * rest)[observations.box]
            left = np.sqrt(observations.sum_of_boxes(rest**2))
            inverse = np.divide(1.0, left, out=np.zeros_like(left), where=left > FLAT * length)
            found.append(rest * inverse[observations.box])
        return found
