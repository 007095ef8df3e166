"""Images of a spectrum whose lines see different structure factors."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.lowering.lower import choose_oversample
from numbragg.models.experiment import Experiment
from numbragg.models.sampling import Sampling
from numbragg.models.structure_factors import StructureFactors
from numbragg.simulation import Pixels, simulate


def simulate_colours(
    experiment: Experiment,
    tables: Sequence[StructureFactors],
    *,
    pixels: Pixels = None,
    threads: int | None = None,
) -> npt.NDArray[Any]:
    """Simulate an image with one table of amplitudes for each line of the spectrum.

    Parameters
    ----------
    experiment
        Its beam has a spectrum; the table of its crystal is not used.
    tables
        One for each line, in the order of the spectrum: amplitudes with the f' and f'' of its wavelength.
    pixels, threads
        As of `simulate`.

    Returns
    -------
    ndarray
        Photons per pixel, as of `simulate`.

    Raises
    ------
    NumbraggError
        No spectrum, another number of tables than of lines, or what `simulate` refuses.

    Notes
    -----
    Source: ``specs/10-physics.md``, clause 10.94.
    """
    spectrum = experiment.beam.spectrum
    if spectrum is None:
        raise NumbraggError("simulate_colours: the beam has no spectrum (Beam(spectrum=...))")
    if len(tables) != len(spectrum.weights):
        raise NumbraggError(
            f"simulate_colours: {len(tables)} tables of structure factors for {len(spectrum.weights)} lines; resample "
            "the spectrum, or give one table for each line"
        )
    ratios, shares = spectrum.wavelengths / spectrum.mean, spectrum.weights / spectrum.weights.sum()
    experiment = dataclasses.replace(experiment, oversample=experiment.oversample or choose_oversample(experiment))
    images = (
        simulate(_of_line(experiment, float(ratio), float(share), table), pixels=pixels, threads=threads)
        for ratio, share, table in zip(ratios, shares, tables, strict=True)
        if share > 0
    )
    total = next(images)
    for image in images:
        total += image
    return np.asarray(total)


def _of_line(experiment: Experiment, ratio: float, share: float, table: StructureFactors) -> Experiment:
    beam = dataclasses.replace(
        experiment.beam,
        wavelength=experiment.beam.wavelength * ratio,
        fluence=experiment.beam.fluence * share,
        spectrum=None,
        dispersion=Sampling(),
    )
    return dataclasses.replace(
        experiment, beam=beam, crystal=dataclasses.replace(experiment.crystal, structure_factors=table)
    )
