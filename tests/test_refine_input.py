"""What `numbragg.refine` refuses, freezes and warns of (specs/55-refinement.md)."""

import dataclasses

import numpy as np
import pytest
import refinement_scene as scene

import numbragg

FREE = ["misset", "scale"]


def refused(image=None, **options):
    with pytest.raises(numbragg.NumbraggError) as caught:
        scene.refine(scene.counted(1) if image is None else image, **{"free": FREE, **options})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_image_of_another_shape_is_refused_with_both_shapes():
    """Clause 55.20."""
    message = refused(np.ones((10, 12)))
    assert "(10, 12)" in message
    assert "(250, 256)" in message


@pytest.mark.parametrize("image", [np.full((250, 256), "x"), np.ones((250, 256), complex), np.ones(7)])
def test_what_is_no_image_is_refused(image):
    """Clause 55.20."""
    assert "image" in refused(image)


def test_a_mask_of_another_shape_or_of_everything_is_refused():
    """Clause 55.20."""
    assert "(3, 3)" in refused(mask=np.ones((3, 3), bool))
    assert "masked" in refused(mask=np.zeros((250, 256), bool))
    assert "masked" in refused(np.full((250, 256), np.nan))


def test_an_image_without_spots_is_refused():
    """Clause 55.16."""
    flat = np.random.default_rng(0).poisson(20.0, (250, 256))
    assert "spot" in refused(flat)


def test_boxes_without_spots_are_refused_too_when_they_were_given():
    """Clause 55.16."""
    from numbragg.refinement.shoeboxes import find_shoeboxes

    boxes = find_shoeboxes(scene.truth(), scene.counted(1))
    flat = np.random.default_rng(0).poisson(20.0, (250, 256))
    assert "no spots" in refused(flat, shoeboxes=boxes, experiment=scene.truth())


def test_pixels_that_are_not_finite_are_masked_with_a_warning():
    """Clause 55.20."""
    image = scene.counted(1)
    image[100:110, 100:110] = np.nan
    with pytest.warns(numbragg.NumbraggWarning, match="100 pixels are not finite"):
        result = numbragg.refine(scene.start(), image, free=list(scene.FREE))
    assert max(map(abs, scene.scores(result).values())) < 5.0
    assert np.isfinite(result.pixels.photons).all()


def test_negative_counts_are_refused_by_a_poisson_likelihood_only():
    """Clause 55.20."""
    image = scene.counted(1)
    image[7, 9] = -3.0
    assert "slow 7 fast 9" in refused(image, likelihood="poisson")
    assert scene.refine(image, free=FREE, experiment=scene.truth(), cycles=1).success
    mask = np.ones(image.shape, bool)
    mask[7, 9] = False
    masked = scene.refine(image, free=FREE, experiment=scene.truth(), likelihood="poisson", mask=mask, cycles=1)
    assert masked.success


@pytest.mark.parametrize(
    ("free", "parts"),
    [
        (["cel"], ["cel", "did you mean cell?"]),
        (["detector.distnace"], ["did you mean detector.distance?"]),
        (["cell.alpha"], ["cell.alpha", "90", "monoclinic", "triclinic"]),
        (["scale", "beam.fluence"], ["scale", "beam.fluence"]),
        ("cell", ["list of names"]),
        ([], ["no parameter is free"]),
        (["structure_factor[99,0,0]"], ["structure_factor[99,0,0]", "outside"]),
    ],
)
def test_free_parameters_that_make_no_sense_are_refused(free, parts):
    """Clauses 55.10, 55.11."""
    message = refused(free=free)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"bounds": {"misset.x": (30.0, 40.0)}}, ["misset.x", "20.08", "30"]),
        ({"bounds": {"misset.x": (3.0, 3.0)}}, ["misset.x", "no room"]),
        ({"bounds": {"cell.a": (50.0, 60.0)}}, ["cell.a", "not free"]),
        ({"bounds": {"misset.x": 3.0}}, ["misset.x", "two numbers"]),
        ({"restraints": {"cell.a": (50.0, 60.0)}}, ["cell.a", "not free"]),
        ({"restraints": {"misset.x": (50.0, 0.0)}}, ["misset.x", "variance"]),
        ({"restraints": {"misset.x": 1.0}}, ["misset.x", "two numbers"]),
        ({"method": "newton"}, ["newton", "trf"]),
        ({"loss": "hubert"}, ["hubert", "huber"]),
        ({"loss": "huber", "method": "lm"}, ["huber", "lm"]),
        ({"likelihood": "normal"}, ["normal", "gaussian"]),
        ({"likelihood": "poisson", "readout_sigma": 3.0}, ["Poisson", "readout"]),
        ({"readout_sigma": -1.0}, ["readout_sigma"]),
        ({"gain": 0.0}, ["gain"]),
        ({"adc_offset": np.nan}, ["adc_offset"]),
        ({"cycles": 0}, ["cycles"]),
        ({"max_iterations": 0}, ["max_iterations"]),
        ({"symmetry": "tetragonal"}, ["tetragonal", "cell.beta", "94.9"]),
        ({"symmetry": "monoclinc"}, ["did you mean monoclinic?"]),
        ({"background": "flat"}, ["background", "flat"]),
        ({"background": np.ones((3, 3))}, ["(3, 3)"]),
    ],
)
def test_options_that_make_no_sense_are_refused(options, parts):
    """Clauses 55.11, 55.13, 55.20, 55.31, 55.36, 55.37, 55.41."""
    message = refused(**options)
    assert all(part in message for part in parts), message


def test_a_parameter_without_effect_is_frozen_and_named():
    """Clause 55.14."""
    with pytest.warns(numbragg.NumbraggWarning, match=r"crystal\.fudge has no effect"):
        result = numbragg.refine(scene.truth(), scene.counted(1), free=["misset", "scale", "crystal.fudge"], cycles=1)
    assert result.frozen == ("crystal.fudge",)
    assert "crystal.fudge" not in result.values
    assert result.experiment.crystal.fudge == 1.0
    assert "crystal.fudge" in refused(free=["crystal.fudge"])


def test_parameters_that_cannot_be_told_apart_are_named():
    """Clause 55.15: the two-theta axis is the laboratory's -z."""
    pair = {"free": ["misset", "detector.rot_z", "detector.twotheta"], "experiment": scene.truth()}
    message = refused(**pair)
    assert "detector.rot_z and detector.twotheta" in message
    assert "misset" not in message
    held = {"detector.twotheta": (0.0, 1e-6)}
    assert scene.refine(scene.counted(1), restraints=held, cycles=1, **pair).success


def test_a_parameter_without_a_value_is_refused():
    """Clause 55.10."""
    unpolarised = dataclasses.replace(scene.truth(), beam=dataclasses.replace(scene.truth().beam, polarization=None))
    assert "beam.polarization has no value" in refused(experiment=unpolarised, free=["beam.polarization"])


def test_shared_parameters_must_start_alike():
    """Clause 55.12."""
    other = scene.truth().replace({"cell.a": 55.2})
    message = refused([scene.counted(1)] * 2, experiment=[scene.truth(), other], free=["cell", "misset"])
    assert all(part in message for part in ("cell.a", "55.2", "image 1"))


def test_boxes_of_another_image_are_refused():
    """Clause 55.24."""
    from numbragg.refinement.shoeboxes import find_shoeboxes

    boxes = find_shoeboxes(scene.truth(), scene.counted(1))
    moved = dataclasses.replace(boxes, slow=boxes.slow + 200)
    assert "(250, 256)" in refused(shoeboxes=moved)
    assert "shoeboxes" in refused(shoeboxes="all")


def test_as_many_experiments_as_images_are_needed():
    """Clause 55.12."""
    assert "3 experiments for 2 images" in refused([scene.counted(1)] * 2, experiment=[scene.truth()] * 3)
