"""Rectangles of pixels, as the flag -roi gives them."""

from numbragg.errors import NumbraggError


def roi_slices(roi: tuple[int, int, int, int] | None, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Turn a region of interest into slices of an image.

    Parameters
    ----------
    roi
        First and last fast, first and last slow pixel, inclusive, as in ``-roi xmin xmax ymin ymax``. None: all pixels.
    shape
        Pixels (slow, fast) of the image.

    Returns
    -------
    slow, fast
        One slice for each axis of the image.

    Raises
    ------
    NumbraggError
        The region is empty or leaves the image.
    """
    rows, columns = shape
    if roi is None:
        return slice(0, rows), slice(0, columns)
    fast_first, fast_last, slow_first, slow_last = roi
    if not (0 <= fast_first <= fast_last < columns and 0 <= slow_first <= slow_last < rows):
        limits = f"0 {columns - 1} 0 {rows - 1}"
        raise NumbraggError(f"the region of interest {' '.join(map(str, roi))} must lie within {limits} (fast, slow)")
    return slice(slow_first, slow_last + 1), slice(fast_first, fast_last + 1)
