"""The pieces of a refinement, one by one (specs/55-refinement.md)."""

from dataclasses import replace

import numpy as np
import pytest
import refinement_scene as scene
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from numbragg.errors import NumbraggError
from numbragg.refinement.conclusion import ROBUST_SLOPES
from numbragg.refinement.data import observe
from numbragg.refinement.likelihood import make_likelihood
from numbragg.refinement.maps import BoundMaps
from numbragg.refinement.observations import BackgroundFit, ImagePixels, gather
from numbragg.refinement.parameters import ParameterSet, free_parameters
from numbragg.refinement.restraints import Restraints
from numbragg.refinement.shoeboxes import find_shoeboxes
from numbragg.refinement.solvers import _compressed, weighted
from numbragg.refinement.symmetry import SYSTEMS, cell_symmetry
from numbragg.refinement.target import Progress, Target

ROUNDING = 1e-12
DIFFERENCE = 1e-5
"""Relative: truncation and cancellation of a difference quotient."""

CELLS = {
    "triclinic": (50.0, 60.0, 70.0, 80.0, 85.0, 95.0),
    "monoclinic": (50.0, 60.0, 70.0, 90.0, 95.0, 90.0),
    "orthorhombic": (50.0, 60.0, 70.0, 90.0, 90.0, 90.0),
    "tetragonal": (50.0, 50.0, 70.0, 90.0, 90.0, 90.0),
    "hexagonal": (50.0, 50.0, 70.0, 90.0, 90.0, 120.0),
    "rhombohedral": (50.0, 50.0, 50.0, 80.0, 80.0, 80.0),
    "cubic": (50.0, 50.0, 50.0, 90.0, 90.0, 90.0),
}


@pytest.mark.parametrize("system", CELLS)
def test_the_system_of_a_cell_is_that_of_its_metric(system):
    """Clause 55.11."""
    assert cell_symmetry(CELLS[system]).system == system


@pytest.mark.parametrize(
    ("group", "system", "free"),
    [
        ("P 1", "triclinic", 6), ("P 21", "monoclinic", 4), ("P 21 21 21", "orthorhombic", 3),
        ("P 41 21 2", "tetragonal", 2), ("P 31 2 1", "trigonal", 2), ("P 61", "hexagonal", 2),
        ("R 3:R", "rhombohedral", 2), ("I 2 3", "cubic", 1), ("19", "orthorhombic", 3),
    ],
)  # fmt: skip
def test_space_groups_give_the_system(group, system, free):
    """Clause 55.11."""
    cell = CELLS["hexagonal" if system == "trigonal" else system]
    found = cell_symmetry(cell, group)
    assert found.system == system
    assert len(found.independent) == free


def test_the_unique_axis_is_that_of_the_cell_or_of_the_setting():
    """Clause 55.11."""
    cell = (50.0, 60.0, 70.0, 90.0, 90.0, 95.0)
    assert "cell.gamma" in cell_symmetry(cell).independent
    assert "cell.gamma" in cell_symmetry(cell, "monoclinic").independent
    assert "cell.gamma" in cell_symmetry(cell, "P 1 1 21").independent
    with pytest.raises(NumbraggError, match=r"cell\.gamma is 95"):
        cell_symmetry(cell, "P 1 21 1")


def test_lower_symmetry_than_the_metric_can_be_asked_for():
    """Clause 55.11."""
    assert len(cell_symmetry(CELLS["cubic"], "triclinic").independent) == 6
    assert set(SYSTEMS) >= set(CELLS)


def make_maps(limits, start=1.3, scale=0.2):
    return BoundMaps(["p"], np.array([start]), np.array([scale]), [limits])


@pytest.mark.parametrize("limits", [(-np.inf, np.inf), (1.0, np.inf), (-np.inf, 2.0), (1.0, 2.0)])
@given(u=st.floats(-8.0, 8.0))
def test_maps_keep_bounds_and_know_their_slope(limits, u):
    """Clause 55.13."""
    maps = make_maps(limits)
    value = maps.values(np.array([u]))[0]
    assert limits[0] <= value <= limits[1]
    step = 1e-6
    slope = (maps.values(np.array([u + step])) - maps.values(np.array([u - step])))[0] / (2.0 * step)
    assert maps.slopes(np.array([u]))[0] == pytest.approx(slope, rel=1e-3, abs=1e-7)
    assert maps.values(np.zeros(1))[0] == pytest.approx(1.3, rel=ROUNDING)
    assert maps.slopes(np.zeros(1))[0] == pytest.approx(0.2, rel=ROUNDING)


@pytest.mark.parametrize("limits", [(1.0, np.inf), (-np.inf, 2.0), (1.0, 2.0)])
def test_maps_do_not_overflow(limits):
    """Clause 55.42."""
    maps = make_maps(limits)
    for u in (-1e6, 1e6):
        assert np.isfinite(maps.values(np.array([u]))).all()
        assert np.isfinite(maps.slopes(np.array([u]))).all()


def test_a_start_on_its_bound_is_moved_inside():
    """Clause 55.13."""
    maps = make_maps((1.3, np.inf))
    assert maps.moved[0]
    assert maps.start[0] == pytest.approx(1.32)
    assert not make_maps((1.0, 2.0)).moved[0]


def test_groups_stand_for_what_symmetry_leaves():
    """Clauses 55.10, 55.11 and 55.12."""
    names = [free.name for free in free_parameters([scene.truth()], ["cell", "n_cells", "scale", "cell.a"])]
    assert names == ["cell.a", "cell.b", "cell.c", "cell.beta", "n_cells.a", "n_cells.b", "n_cells.c", "scale"]


def test_free_parameters_move_the_experiments_that_they_should():
    """Clauses 55.11 and 55.12."""
    tetragonal = scene.with_cell(scene.truth(), CELLS["tetragonal"])
    parameters = ParameterSet([tetragonal] * 2, free_parameters([tetragonal] * 2, ["cell", "scale", "misset.x"]))
    assert parameters.names == ["cell.a", "cell.c", "scale[0]", "scale[1]", "misset.x[0]", "misset.x[1]"]
    second = parameters.experiment(1, np.array([51.0, 71.0, 1.0, 2.0, 3.0, 4.0]))
    assert second.crystal.cell == (51.0, 51.0, 71.0, 90.0, 90.0, 90.0)
    assert second.beam.fluence == 2.0 * scene.FLUENCE
    assert second.crystal.misset[0] == 4.0
    jacobian = np.arange(8.0).reshape(4, 2)
    assert parameters.model_names[1] == ["cell.a", "cell.b", "cell.c", "beam.fluence", "misset.x"]
    chained = parameters.chain(1, np.vstack([jacobian, [9.0, 9.0]]))
    assert chained[0].tolist() == (jacobian[0] + jacobian[1]).tolist()
    assert chained[2].tolist() == [0.0, 0.0]
    assert chained[3].tolist() == (scene.FLUENCE * jacobian[3]).tolist()


@pytest.mark.parametrize(
    ("name", "readout"), [("gaussian", 2.0), ("gaussian", 0.0), ("poisson", 0.0), ("least-squares", 1.0)]
)
@pytest.mark.parametrize("mean", [0.003, 0.4, 7.0, 300.0, -2.0])
def test_slopes_of_likelihoods_are_those_of_their_losses(name, readout, mean):
    """Clauses 55.30 to 55.32."""
    likelihood, photons = make_likelihood(name, readout), np.array([3.0])

    def loss(at):
        return float(likelihood.terms(photons, np.asarray(at)).loss[0])

    step = 1e-6 * max(1.0, abs(mean))
    by_difference = (loss([mean + step]) - loss([mean - step])) / (2.0 * step)
    assert likelihood.terms(photons, np.array([mean])).slope[0] == pytest.approx(by_difference, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "readout"), [("gaussian", 2.0), ("gaussian", 0.0), ("poisson", 0.0), ("least-squares", 1.0)]
)
def test_weight_and_spread_are_the_moments_of_the_slope(name, readout):
    """Clauses 55.50, 55.51: mean 0, variance and mean curvature over many draws."""
    generator, mean = np.random.default_rng(0), 6.0
    photons = generator.poisson(mean, 400_000) + generator.normal(0.0, readout, 400_000)
    likelihood = make_likelihood(name, readout)
    terms = likelihood.terms(photons, np.full(photons.shape, mean))
    higher = likelihood.terms(photons, np.full(photons.shape, mean + 1e-4))
    curvature = (higher.slope - terms.slope).mean() / 1e-4
    assert abs(terms.slope.mean()) < 5.0 * terms.slope.std() / np.sqrt(photons.size)
    assert terms.spread[0] == pytest.approx(terms.slope.var(), rel=0.02)
    assert terms.weight[0] == pytest.approx(curvature, rel=0.02)


def test_restraints_add_what_they_say():
    """Clause 55.37."""
    parameters = free_parameters([scene.truth()], ["cell", "scale"])
    restraints = Restraints(parameters, {"cell.b": (64.0, 0.25), "scale": (1.0, 4.0)})
    values = np.array([free.start for free in parameters])
    expected = 0.5 * (np.log(2 * np.pi * 0.25) + 1.0 / 0.25 + np.log(2 * np.pi * 4.0))
    assert restraints.loss(values) == pytest.approx(expected, rel=ROUNDING)
    assert restraints.slope(values) == pytest.approx(approx_fprime(values, restraints.loss), abs=1e-5)
    assert 0.5 * np.sum(restraints.deviations(values) ** 2) == pytest.approx(2.0)


def random_boxes(columns):
    generator = np.random.default_rng(1)
    slow, fast = (index.ravel() for index in np.indices((6, 7)))
    size = len(slow)
    image = ImagePixels(
        np.concatenate([slow, slow + 20, [40, 40, 40, 40]]),
        np.concatenate([fast, fast + 3, [1, 2, 3, 4]]),
        np.repeat([3, 5, 9], [size, size, 4]),
        generator.normal(size=2 * size + 4),
        np.zeros(2 * size + 4),
    )
    return gather([image, image], columns)


@pytest.mark.parametrize("columns", [0, 1, 3])
def test_what_the_background_explains_is_a_least_squares_fit_in_each_box(columns):
    """Clause 55.22; the last box is one row of pixels, which has no slope along slow."""
    observations = random_boxes(columns)
    weights = np.random.default_rng(2).uniform(0.5, 2.0, len(observations.photons))
    fit = BackgroundFit(observations, weights)
    fitted = fit.fit(observations.photons)
    assert observations.boxes == 6
    for number in range(observations.boxes):
        inside = observations.box == number
        root = np.sqrt(weights[inside])
        columns_here = np.stack([np.ones(inside.sum()), observations.slow[inside], observations.fast[inside]], 1)
        columns_here = columns_here[:, :columns]
        solution = np.linalg.lstsq(columns_here * root[:, None], observations.photons[inside] * root, rcond=None)[0]
        assert fitted[inside] == pytest.approx(columns_here @ solution, abs=1e-12)
    both = np.stack([observations.photons, weights])
    assert fit.rest(both)[1] == pytest.approx(fit.rest(weights), abs=ROUNDING)


def test_compression_keeps_the_problem():
    """Clause 55.41."""
    generator = np.random.default_rng(0)
    residuals, jacobian = generator.normal(size=1000), generator.normal(size=(1000, 5))
    short, thin = _compressed(residuals, jacobian)
    assert short.shape == (6,)
    assert thin.T @ thin == pytest.approx(jacobian.T @ jacobian, rel=1e-12)
    assert thin.T @ short == pytest.approx(jacobian.T @ residuals, rel=1e-12, abs=1e-12)
    assert short @ short == pytest.approx(residuals @ residuals, rel=1e-12)


def make_target(likelihood, readout=0.0, background="plane"):
    free = free_parameters([scene.truth()], ["misset", "cell", "n_cells.a", "scale"], bounds={"cell.a": (54.0, 56.0)})
    parameters = ParameterSet([scene.truth()], free)
    maps = BoundMaps(
        parameters.names, parameters.start + 1e-3, np.array([p.scale for p in free]), [p.limits for p in free]
    )
    image = scene.counted(1)
    observations = observe([find_shoeboxes(scene.truth(), image)], [image], background)
    restraints = Restraints(free, {"cell.c": (75.2, 0.01)})
    return Target(parameters, maps, observations, make_likelihood(likelihood, readout), restraints, Progress())


@pytest.mark.parametrize(("likelihood", "readout"), [("gaussian", 1.0), ("poisson", 0.0), ("least-squares", 0.0)])
def test_the_gradient_is_that_of_the_loss_with_the_best_backgrounds(likelihood, readout):
    """Clause 55.22."""
    target = make_target(likelihood, readout)
    u = np.full(len(target.parameters), 0.01)
    _, gradient = target.loss_and_gradient(u)
    step = 1e-5
    unit = np.eye(len(u))
    by_difference = [(target.loss(u + step * row) - target.loss(u - step * row)) / (2 * step) for row in unit]
    assert gradient == pytest.approx(by_difference, rel=1e-4, abs=1e-5 * np.abs(gradient).max())


def test_residuals_and_their_derivatives_belong_together():
    """Clauses 55.22, 55.35 and 55.37."""
    target = make_target("gaussian", 1.0)
    weights = 1.0 / (1.0 + target.observations.photons)
    u = np.full(len(target.parameters), 0.01)
    _, jacobian = weighted(target, u, weights)
    step = 1e-5
    for column, row in zip(jacobian.T, np.eye(len(u)), strict=True):
        ends = [weighted(target, u + sign * step * row, weights)[0] for sign in (1.0, -1.0)]
        difference = (ends[0] - ends[1]) / (2 * step)
        assert np.linalg.norm(column - difference) < DIFFERENCE * np.linalg.norm(column)


def fitted_backgrounds(boxes, background="plane"):
    """Backgrounds of least squares in boxes, at the truth."""
    image = scene.counted(1)
    observations = observe([boxes], [image], background)
    spots = scene.truth_image()[observations.slow, observations.fast]
    fit = BackgroundFit(observations, 1.0 / (1.0 + observations.photons))
    return observations.background + fit.fit(observations.photons - spots - observations.background)


@pytest.mark.parametrize("background", ["plane", "constant"])
def test_backgrounds_do_not_depend_on_what_the_boxes_come_with(background):
    """Clause 55.22: planes that were cut off at 0 are no planes, and would be left in what is fitted."""
    boxes = find_shoeboxes(scene.truth(), scene.counted(1))
    bent = replace(boxes, background=np.maximum(20.0 * (boxes.fast - boxes.limits[boxes.box, 2] - 4.0), 0.0))
    own, other = fitted_backgrounds(boxes, background), fitted_backgrounds(bent, background)
    assert not np.allclose(boxes.background, bent.background)
    assert other == pytest.approx(own, rel=1e-9)


def test_where_no_experiment_exists_the_loss_is_immense():
    """Clause 55.42."""
    target = make_target("gaussian")
    nowhere = np.zeros(len(target.parameters))
    nowhere[target.parameters.names.index("scale")] = np.nan
    assert target.loss(nowhere) == 1e300
    assert target.loss_and_gradient(nowhere)[0] == 1e300
    assert weighted(target, nowhere, np.ones_like(target.observations.photons)) is None


@pytest.mark.parametrize("kind", ROBUST_SLOPES)
def test_slopes_of_robust_losses_are_those_of_scipy(kind):
    """Clause 55.36."""
    from scipy.optimize._lsq.least_squares import IMPLEMENTED_LOSSES

    square = np.array([0.01, 0.3, 0.9, 1.5, 20.0])
    values = np.empty((3, 5))
    IMPLEMENTED_LOSSES[kind](square, values, cost_only=False)
    slope, curvature = ROBUST_SLOPES[kind](square)
    assert slope == pytest.approx(values[1], rel=ROUNDING)
    assert curvature == pytest.approx(values[2], rel=1e-9)
