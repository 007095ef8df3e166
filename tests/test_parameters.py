"""Named parameters of an experiment (specs/50-gradients.md, 50.2 and 50.3)."""

import dataclasses

import numpy as np
import pytest
from conftest import small_experiment

from numbragg.errors import NumbraggError
from numbragg.lowering.lower import lower, lower_again
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import (
    ACCESS,
    parameter_limits,
    parameter_scale,
    read_parameter,
    reflection_index,
)
from numbragg.models.sampling import Sampling
from numbragg.simulation import simulate

PIXELS = (np.array([0, 3, 7, 11]), np.array([2, 9, 16, 4]))
NEW_VALUES = {"mosaic.spread": 0.3, "phi.range": 2.5, "beam.fluence": 1e20, "beam.polarization": 0.4}


@pytest.mark.parametrize("name", ACCESS)
def test_written_value_is_read_back_and_nothing_else_changes(name):
    """Clause 50.2."""
    spreads = (0.3, 0.5, 0.2) if name.startswith("mosaic.spread_") else None
    experiment = small_experiment(crystal={"mosaic_spreads": spreads})
    value = NEW_VALUES.get(name, 1.0125 * experiment.parameters[name].value + 0.5)
    changed = experiment.replace({name: value})
    assert changed.parameters[name].value == value
    others = {other: entry for other, entry in changed.parameters.items() if other != name}
    assert others == {other: entry for other, entry in experiment.parameters.items() if other != name}


@pytest.mark.parametrize("step", [None, 0.1, 1 / 49])
@pytest.mark.parametrize("count", [1, 3, 7, 49])
def test_writing_back_what_was_read_keeps_every_bit_of_the_image(count, step):
    """Clause 50.2: whether a phi is exactly 0 must not hang on a rounding of the range."""
    experiment = small_experiment(scan={"start": -0.1, "sampling": Sampling(0.7, count, step)})
    same = experiment.replace({name: entry.value for name, entry in experiment.parameters.items()})
    assert same.scan.sampling.spacing == experiment.scan.sampling.spacing
    assert np.array_equal(simulate(same, pixels=PIXELS), simulate(experiment, pixels=PIXELS))


def test_phi_range_moves_the_steps_in_proportion():
    """Clause 50.2."""
    for sampling in (Sampling(2.0, 4), Sampling(3.0, 4, 0.5)):
        scan = small_experiment(scan={"sampling": sampling}).replace({"phi.range": 4.0}).scan
        assert scan.sampling.spacing == 1.0
        assert scan.sampling.count == 4


def test_structure_factor_has_a_name_of_its_own():
    """Clause 50.2."""
    experiment = small_experiment()
    name = "structure_factor[1,-2,3]"
    changed = experiment.replace({name: 123.5})
    assert read_parameter(changed, name) == (123.5, "e")
    before, after = (e.crystal.structure_factors.values for e in (experiment, changed))
    assert (before != after).sum() == 1
    assert name not in experiment.parameters
    assert reflection_index(" structure_factor[1,2,3]") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cell.A", "did you mean cell.a"),
        ("misset_x", "did you mean misset.x"),
        ("structure_factor[1,2]", r"did you mean structure_factor\[h,k,l\]"),
        ("zzzzzz", "see experiment.parameters"),
        ("structure_factor[70,0,0]", "outside the table"),
    ],
)
def test_unknown_name_is_an_error_with_the_nearest_one(name, message):
    """Clause 50.2."""
    for use in (lambda e: e.replace({name: 1.0}), lambda e: read_parameter(e, name)):
        with pytest.raises(NumbraggError, match=message):
            use(small_experiment())


def test_structure_factor_without_a_table_is_an_error():
    with pytest.raises(NumbraggError, match="no table"):
        small_experiment(crystal={"structure_factors": None}).replace({"structure_factor[0,0,1]": 1.0})


@pytest.mark.parametrize("name", ACCESS)
def test_scale_is_above_zero_and_limits_hold_values_that_make_an_experiment(name):
    """Clause 50.3."""
    experiment = small_experiment()
    assert 0.0 < parameter_scale(experiment, name) < np.inf
    for limit in parameter_limits(name):
        if 1e-9 < abs(limit) < 179.0:
            assert isinstance(experiment.replace({name: limit}), Experiment)


@pytest.mark.parametrize("name", ["beam.fluence", "crystal.fudge"])
def test_scale_of_what_multiplies_is_its_value(name):
    """Clause 50.3."""
    assert parameter_scale(small_experiment().replace({name: 0.25}), name) == 0.25


def test_scale_of_a_fluence_of_zero_is_that_of_the_default():
    """Clause 50.3: a step of zero would be no step."""
    beam = dataclasses.replace(small_experiment().beam, fluence=0.0)
    assert parameter_scale(dataclasses.replace(small_experiment(), beam=beam), "beam.fluence") > 1e29


@pytest.mark.parametrize("shape", ["square", "gauss"])
@pytest.mark.parametrize(
    "name", [name for name, (value, _) in small_experiment().parameters.items() if value is not None]
)
def test_lowering_again_is_lowering(name, shape):
    """Clause 50.11: parts that a parameter does not touch are taken over from the lowering before."""
    experiment = small_experiment(crystal={"shape": shape, "mosaic_spread": 0.2, "mosaic_domains": 3}, oversample=2)
    moved = experiment.replace({name: read_parameter(experiment, name).value + 1e-3j})
    again, anew = lower_again(moved, experiment, lower(experiment)), lower(moved)
    assert again[4:] == anew[4:]
    for ours, theirs in zip(again[:4], anew[:4], strict=True):
        for field, of_ours, of_theirs in zip(ours._fields, ours, theirs, strict=True):
            np.testing.assert_array_equal(of_ours, of_theirs, err_msg=field)
            assert np.asarray(of_ours).dtype == np.asarray(of_theirs).dtype, field
