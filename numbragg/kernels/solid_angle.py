"""The solid angle that the pixels of a list subtend."""

from numbragg.kernels._jit import TILE, kernel, scratch_rows
from numbragg.kernels.pixels import FACTOR, SCRATCH, place_pixels


@kernel
def solid_angle(pixels, detector, every_sub_pixel):
    """Sum over pixels, layers and sub-pixels of the solid angle, steradian.

    Without ``every_sub_pixel`` the first sub-pixel of the first layer stands for all of them.
    """
    scratch = scratch_rows(SCRATCH, detector.frame)
    sub_pixels = detector.oversample * detector.oversample
    evaluated = sub_pixels if every_sub_pixel else 1
    layers = detector.layers if every_sub_pixel else 1
    total = 0.0
    for start in range(0, pixels.size, TILE):
        count = min(TILE, pixels.size - start)
        for layer in range(layers):
            for sub in range(evaluated):
                sub_slow = sub // detector.oversample
                sub_fast = sub - sub_slow * detector.oversample
                place_pixels(scratch, detector, pixels, start, count, sub_fast, sub_slow, layer)
                for t in range(count):
                    total += scratch[FACTOR + t].real
    return total * (detector.layers // layers) * (sub_pixels // evaluated)
