"""Peaks of an image, and which of two images belong together."""

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.region import roi_slices

PERCENTILE = 99.5
"""Of the pixels: what is brighter may be a peak."""

GATE = 5.0
"""Pixels; peaks further apart are not the same."""

MOST_PEAKS = 100_000
MOST_PAIRS = 10_000_000
_EDGES_AT_A_TIME = 20_000

Image = npt.NDArray[np.float64]
Roi = tuple[int, int, int, int]


def find_peaks(image: Image, percentile: float = PERCENTILE, roi: Roi | None = None) -> npt.NDArray[np.float64]:
    """Find the local maxima of an image that lie above a percentile (specs/70-compare.md, clauses 70.6 and 70.7).

    Parameters
    ----------
    image
        (slow, fast).
    percentile
        0 to 100, of the pixels in the region; pixels with the highest value of the region always lie above.
    roi
        First and last fast, first and last slow pixel, inclusive: peaks outside it are left out, but neighbours outside
        it count, so that a flank cut by the region is no peak.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        Slow and fast position in pixels, sorted. Whole numbers, except for plateaus: their centre of mass.
    """
    from scipy import ndimage

    rows, columns = roi_slices(roi, (image.shape[0], image.shape[1]))
    inside = image[rows, columns]
    top = inside.max()
    if inside.min() == top:
        return np.empty((0, 2))
    level = np.percentile(inside, percentile)
    neighbourhood = ndimage.maximum_filter(image, size=3, mode="constant", cval=-np.inf)
    highest = image == neighbourhood
    # A plateau with a higher neighbour keeps some pixels that see none; they touch an equal pixel that does.
    passed_on = ndimage.maximum_filter(np.where(highest, -np.inf, image), size=3, mode="constant", cval=-np.inf)
    candidates = highest & ((image > level) | (image >= top))
    labels, count = ndimage.label(candidates, structure=np.ones((3, 3)))
    slow, fast = np.nonzero(candidates)
    plateau = labels[slow, fast] - 1
    spoilt = np.bincount(plateau, passed_on[slow, fast] == image[slow, fast], minlength=count) > 0
    size = np.bincount(plateau, minlength=count)
    centres = np.stack([np.bincount(plateau, axis, minlength=count) / size for axis in (slow, fast)], axis=1)
    kept = ~spoilt & (centres >= (rows.start, columns.start)).all(axis=1)
    kept &= (centres <= (rows.stop - 1, columns.stop - 1)).all(axis=1)
    peaks = centres[kept]
    return peaks[np.lexsort(peaks.T[::-1])]


def match_peaks(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], gate: float = GATE
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Match two lists of peaks, one to one (specs/70-compare.md, clause 70.8).

    Parameters
    ----------
    a, b
        Positions (slow, fast), shapes (n, 2) and (m, 2), pixels.
    gate
        Largest distance of a pair, pixels.

    Returns
    -------
    index_a, index_b : ndarray of int
        The pairs: as many as the gate allows and, of these choices, the one with the least sum of squared distances.
        Squares, because then a shift of all peaks is found as a shift.

    Raises
    ------
    NumbraggError
        More than 100 000 peaks in a list, or more than 10 million pairs within the gate.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if max(len(a), len(b)) > MOST_PEAKS:
        raise NumbraggError(f"{max(len(a), len(b))} peaks are too many to match: raise the percentile")
    if a.tolist() > b.tolist():
        # One order for both ways of asking, so that ties are broken alike.
        second, first = match_peaks(b, a, gate)
        return first, second
    i, j, squares = _pairs_within(a, b, gate)
    graph = coo_array((np.ones(len(i)), (i, len(a) + j)), shape=(len(a) + len(b),) * 2)
    cluster = connected_components(graph, directed=False)[1][i]
    order = np.argsort(cluster, kind="stable")
    # The solver's time grows with the square of the peaks, and clusters do not share any: a few thousand at a time.
    starts = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    blocks = np.unique(starts // _EDGES_AT_A_TIME, return_index=True)[1]
    found = [_assign(i[edges], j[edges], squares[edges]) for edges in np.split(order, starts[blocks][1:]) if len(edges)]
    pairs = np.concatenate([np.empty((0, 2), np.intp), *found])
    return pairs[:, 0], pairs[:, 1]


def _pairs_within(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], gate: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """All pairs within the gate and their squared distances."""
    from scipy.spatial import KDTree

    if len(a) == 0 or len(b) == 0:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    trees, reach = (KDTree(a), KDTree(b)), gate * (1.0 + 1e-9)
    if trees[0].count_neighbors(trees[1], reach) > MOST_PAIRS:
        raise NumbraggError(f"more than {MOST_PAIRS} pairs of peaks lie within the gate of {gate:g} px: lower it")
    near = trees[0].sparse_distance_matrix(trees[1], reach, output_type="ndarray")
    i, j = near["i"].astype(np.intp), near["j"].astype(np.intp)
    squares = ((a[i] - b[j]) ** 2).sum(axis=1)
    within = squares <= gate * gate
    return i[within], j[within], squares[within]


def _assign(i: npt.NDArray[np.intp], j: npt.NDArray[np.intp], squares: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Most pairs with the least sum of squares, (n, 2), by the Hungarian method on the pairs that are allowed."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    peaks_a, row = np.unique(i, return_inverse=True)
    peaks_b, column = np.unique(j, return_inverse=True)
    rows = np.arange(len(peaks_a))
    # The method wants every row assigned: each gets a column of its own that costs more than all pairs together. Costs
    # start at 1 because a sparse matrix takes 0 for absent.
    alone = 1.0 + (len(rows) + 1) * (1.0 + squares.max())
    costs = np.concatenate([1.0 + squares, np.full(len(rows), alone)])
    places = (np.concatenate([row, rows]), np.concatenate([column, len(peaks_b) + rows]))
    chosen = min_weight_full_bipartite_matching(csr_array((costs, places), shape=(len(rows), len(peaks_b) + len(rows))))
    paired = chosen[1] < len(peaks_b)
    return np.stack([peaks_a[chosen[0][paired]], peaks_b[chosen[1][paired]]], axis=1)
