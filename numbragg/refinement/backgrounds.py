"""Backgrounds under spots: a plane or a constant through the pixels around each, without what stands out."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["plane", "constant"]
Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

CLIP = 3.5
"""Standard deviations beyond which a pixel is no background."""

ROUNDS = 10
"""The pixels that stand out have settled long before."""

POISSON_SHIFT = 0.375


def standardise(photons: Values, readout_sigma: float | Values) -> Values:
    """Counts on a scale where their noise is about 1, also where they are few (Anscombe's transform).

    Parameters
    ----------
    photons
        Photons, any shape.
    readout_sigma
        Readout noise, photons.
    """
    return np.asarray(2.0 * np.sqrt(np.maximum(photons + POISSON_SHIFT + readout_sigma**2, 0.0)))


def fit_backgrounds(
    image: Values,
    pixels: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    box: npt.NDArray[np.intp],
    around: Flags,
    *,
    kind: Kind,
    readout_sigma: float,
) -> tuple[Values, Flags]:
    """Fit a background to each box.

    Parameters
    ----------
    image
        Photons, (slow, fast).
    pixels
        Slow and fast index of the pixels of all boxes, shape (P,) each.
    box
        Box of each pixel, shape (P,), from 0, none without a pixel of ``around``.
    around
        Pixels that may be background, shape (P,).
    kind
        "plane", linear in slow and fast, or "constant".
    readout_sigma
        Readout noise, photons.

    Returns
    -------
    background
        Photons, not below 0, shape (P,), also under the peaks.
    fitted
        Pixels that the fit was made to, shape (P,).

    Notes
    -----
    Source: ``specs/55-refinement.md``, clauses 55.85 and 55.86.
    """
    slow, fast = pixels
    values = np.where(around, image[slow, fast], 0.0)
    count = int(box.max()) + 1
    background = _medians(np.where(around, values, np.inf), box, np.bincount(box, around, count))[box]
    fitted = around
    for _ in range(ROUNDS):
        expected = np.maximum(background, 0.0)
        score = standardise(values, readout_sigma) - standardise(expected, readout_sigma)
        high = around & (score > CLIP)
        kept = around & (score >= -CLIP) & ~_grown(image.shape, slow, fast, high)
        # A box that has lost nearly all of its pixels keeps them: what is everywhere is background.
        kept |= around & (np.bincount(box, kept, count) < 0.5 * np.bincount(box, around, count))[box]
        variance = expected + readout_sigma**2
        background = _least_squares(values, slow, fast, box, kept, variance, kind)
        if np.array_equal(kept, fitted):
            break
        fitted = kept
    return np.maximum(background, 0.0), fitted


def _medians(values: Values, box: npt.NDArray[np.intp], counts: npt.NDArray[Any]) -> Values:
    """Median of each box; values that do not count are infinite."""
    order = np.lexsort((values, box))
    first = np.searchsorted(box[order], np.arange(len(counts)))
    middle = ((counts - 1) // 2).astype(int), (counts // 2).astype(int)
    ordered = values[order]
    return np.asarray(0.5 * (ordered[first + middle[0]] + ordered[first + middle[1]]))


def _grown(shape: tuple[int, ...], slow: npt.NDArray[np.intp], fast: npt.NDArray[np.intp], high: Flags) -> Flags:
    """High pixels and their neighbours, since the flank of a spot may not stand out by itself."""
    from scipy.ndimage import binary_dilation

    marked = np.zeros(shape, dtype=bool)
    marked[slow[high], fast[high]] = True
    return np.asarray(binary_dilation(marked, np.ones((3, 3), dtype=bool))[slow, fast])


def _least_squares(
    values: Values,
    slow: npt.NDArray[np.intp],
    fast: npt.NDArray[np.intp],
    box: npt.NDArray[np.intp],
    kept: Flags,
    variance: Values,
    kind: Kind,
) -> Values:
    """Planes or constants of least squares through the kept pixels of each box, at all of its pixels."""
    number = np.bincount(box, kept)

    def from_middle(index: npt.NDArray[np.intp]) -> Values:
        return np.asarray(index - (np.bincount(box, np.where(kept, index, 0)) / number)[box])

    columns = [np.ones(len(box))]
    if kind == "plane":
        columns += [from_middle(slow), from_middle(fast)]
    # At least one photon in the box: where there are none the variance is not 0.
    weight = np.where(kept, 1.0 / np.maximum(variance, 1.0 / number[box]), 0.0)
    size = len(columns)
    matrix, right = np.empty((len(number), size, size)), np.empty((len(number), size))
    for i in range(size):
        right[:, i] = np.bincount(box, weight * columns[i] * values)
        for j in range(size):
            matrix[:, i, j] = np.bincount(box, weight * columns[i] * columns[j])
    # Pixels in one row have no slope across it: the pseudo-inverse makes it 0.
    solution = np.einsum("bij,bj->bi", np.linalg.pinv(matrix, hermitian=True), right)
    return np.asarray(np.sum(solution[box] * np.stack(columns, axis=1), axis=1))
