"""Choices that an experiment leaves open and its parameters decide (specs/50-gradients.md, 50.42)."""

import dataclasses

from numbragg.lowering.lines import by_line
from numbragg.lowering.lower import choose_oversample
from numbragg.models.experiment import Experiment


def with_choices_made(experiment: Experiment) -> Experiment:
    """Write down the number of sub-pixels and whether to interpolate, so that no parameter switches them."""
    # Where each line of a spectrum has a table, that of the crystal has no say.
    looked_up = by_line(experiment)[0].experiment.crystal
    crystal = dataclasses.replace(experiment.crystal, interpolate=looked_up.interpolates)
    oversample = experiment.oversample or choose_oversample(experiment)
    return dataclasses.replace(experiment, crystal=crystal, oversample=oversample)
