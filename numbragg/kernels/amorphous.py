"""Photons scattered by amorphous layers into the pixels of a list (specs/10-physics.md, 10.88)."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.kernels._jit import kernel, scratch_rows
from numbragg.kernels.pixels import (
    CAPTURE,
    FACTOR,
    QX,
    QY,
    QZ,
    SCRATCH,
    SUM,
    TERM,
    capture_photons,
    place_pixels,
    polarise,
    scatter,
)


class AmorphousParams(NamedTuple):
    """Squared amplitude of all layers together, as a function of |q|/2: a parabola between neighbouring nodes."""

    nodes: npt.NDArray[np.float64]  # (n,): 1/m, rising
    coefficients: npt.NDArray[np.float64]  # ((n+1)*3,): of 1, x, x^2, x from the node before; the first from the first
    scale: Any  # T: r_e^2 * fluence / sources, photons/m^2 times m^2


@kernel
def add_amorphous(first, last, batches, detector, beam, background, image):
    """Add the scattering of amorphous layers, evaluated at the centre of each pixel of batches first to last - 1."""
    scratch = scratch_rows(SCRATCH, image)
    nodes, coefficients = background.nodes, background.coefficients
    last_node = nodes.size
    interval = 0
    for batch in range(first, last):
        start = batches.bounds[batch]
        count = batches.bounds[batch + 1] - start
        place_pixels(scratch, detector, batches.pixels, start, count, 0, 0, 0)
        capture_photons(scratch, detector, count, 0)
        for t in range(count):
            scratch[SUM + t] = 0.0
        for source in range(beam.wavelength.size):
            scatter(scratch, beam, source, count, 0.0)
            if beam.polarized:
                polarise(scratch, beam, source, count)
            else:
                for t in range(count):
                    scratch[TERM + t] = 1.0
            weight = beam.weight[source]
            for t in range(count):
                x, y, z = scratch[QX + t], scratch[QY + t], scratch[QZ + t]
                scratch[QX + t] = 0.5 * np.sqrt(x * x + y * y + z * z)
            for t in range(count):
                stol = scratch[QX + t]
                # Neighbouring pixels lie in the same interval, or nearly.
                while interval < last_node and stol.real >= nodes[interval]:
                    interval += 1
                while interval > 0 and stol.real < nodes[interval - 1]:
                    interval -= 1
                x = stol - nodes[max(interval - 1, 0)]
                row = 3 * interval
                square = coefficients[row] + x * (coefficients[row + 1] + x * coefficients[row + 2])
                scratch[SUM + t] += weight * square * scratch[TERM + t]
        for t in range(count):
            seen = scratch[FACTOR + t] * scratch[CAPTURE + t]
            image[batches.targets[start + t]] += background.scale * scratch[SUM + t] * seen
