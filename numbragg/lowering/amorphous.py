"""From amorphous layers to what their kernel is given."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from numbragg.kernels.amorphous import AmorphousParams
from numbragg.kernels.params import DetectorParams
from numbragg.lowering.lower import ANGSTROM, AVOGADRO, KernelParams
from numbragg.models.amorphous import AmorphousLayer
from numbragg.models.beam import CLASSICAL_RADIUS_SQUARED
from numbragg.models.experiment import Experiment

CM_PER_MM = 0.1


def lower_background(experiment: Experiment, params: KernelParams) -> tuple[DetectorParams, AmorphousParams]:
    """Lower the amorphous layers of an experiment (specs/10-physics.md, 10.88 to 10.90).

    Parameters
    ----------
    experiment
        With at least one layer.
    params
        Of the same experiment.

    Returns
    -------
    detector
        The detector with whole pixels and its sensor in one layer.
    background
        The layers.
    """
    detector = params.detector._replace(
        oversample=1, layers=1, layer_step=params.detector.layer_step * params.detector.layers
    )
    layers = experiment.background
    nodes, coefficients = squared_amplitudes(layers, [molecules(layer, experiment.beam.size) for layer in layers])
    fluence = CLASSICAL_RADIUS_SQUARED * experiment.beam.fluence / params.beam.wavelength.size
    scale = params.crystal.axes.dtype.type(fluence)
    background = AmorphousParams(
        nodes=nodes / ANGSTROM,
        coefficients=(coefficients * [1.0, ANGSTROM, ANGSTROM**2]).ravel(),
        scale=complex(scale) if params.crystal.axes.dtype.kind == "c" else float(scale),
    )
    return detector, background


def molecules(layer: AmorphousLayer, beam_size: float) -> float:
    """Number of molecules of a layer that a beam of this size (mm) lights."""
    width = beam_size if layer.width is None else layer.width
    volume = layer.thickness * width * width * CM_PER_MM**3
    return volume * layer.density * AVOGADRO / layer.molecular_weight


def squared_amplitudes(
    layers: Sequence[AmorphousLayer], weights: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weighted sum of the squared amplitudes of layers, exactly, as parabolas.

    Returns
    -------
    nodes
        All values of stol of all tables, 1/angstrom, shape (n,).
    coefficients
        Of 1, x and x^2, x being the distance from the node before, shape (n + 1, 3); the first row holds below the
        first node and the last beyond the last, and both are constant.
    """
    nodes = np.unique(np.concatenate([layer.stol for layer in layers]))
    coefficients = np.zeros((len(nodes) + 1, 3))
    for layer, weight in zip(layers, weights, strict=True):
        amplitude = np.interp(nodes, layer.stol, layer.amplitude)
        slope = np.diff(amplitude) / np.diff(nodes)
        coefficients[1:, 0] += weight * amplitude**2
        coefficients[1:-1, 1] += weight * 2.0 * amplitude[:-1] * slope
        coefficients[1:-1, 2] += weight * slope**2
    coefficients[0, 0] = coefficients[1, 0]
    return nodes, coefficients
