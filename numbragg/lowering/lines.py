"""A spectrum with a table of structure factors for each line, as one experiment a line."""

import dataclasses
from typing import NamedTuple

from numbragg.lowering.lower import choose_oversample
from numbragg.models.experiment import Experiment
from numbragg.models.sampling import Sampling
from numbragg.models.structure_factors import StructureFactors


class Line(NamedTuple):
    """One line of a spectrum.

    Attributes
    ----------
    experiment : Experiment
        With the wavelength and the fluence of the line alone, and its table.
    factors : dict of str to float
        What a derivative in a parameter of ``experiment`` is multiplied by to be one in that of the whole; 1 for
        parameters that are not in it.
    """

    experiment: Experiment
    factors: dict[str, float]


def by_line(experiment: Experiment) -> tuple[Line, ...]:
    """One experiment for each line of the spectrum that has weight, each with its table; their images add up.

    The automatic number of sub-pixels is that of the whole. Without tables of lines it is the experiment itself.

    Notes
    -----
    Source: ``specs/10-physics.md``, clause 10.94.
    """
    spectrum = experiment.beam.spectrum
    if not experiment.line_factors or spectrum is None:
        return (Line(experiment, {}),)
    ratios, shares = spectrum.wavelengths / spectrum.mean, spectrum.weights / spectrum.weights.sum()
    experiment = dataclasses.replace(experiment, oversample=experiment.oversample or choose_oversample(experiment))
    return tuple(
        _line(experiment, ratio, share, table)
        for ratio, share, table in zip(ratios.tolist(), shares.tolist(), experiment.line_factors, strict=True)
        if share > 0
    )


def _line(experiment: Experiment, ratio: float, share: float, table: StructureFactors) -> Line:
    beam = dataclasses.replace(
        experiment.beam,
        wavelength=experiment.beam.wavelength * ratio,
        fluence=experiment.beam.fluence * share,
        spectrum=None,
        dispersion=Sampling(),
    )
    crystal = dataclasses.replace(experiment.crystal, structure_factors=table)
    alone = dataclasses.replace(experiment, beam=beam, crystal=crystal, line_factors=())
    return Line(alone, {"beam.wavelength": ratio, "beam.fluence": share})
