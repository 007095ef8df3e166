"""What the long options say of the detector: noise and defects of its images."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from numbragg.compat.build import Job
from numbragg.compat.extras import refuse_mode_c
from numbragg.compat.options import BAD_PIXELS, EFFECTS
from numbragg.errors import NumbraggError
from numbragg.io.bad_pixels import read_bad_pixels
from numbragg.models.effects import DetectorEffects

SIXTEEN_BITS = 65535
SMV_SUFFIXES = ("", ".img", ".smv")

FIELDS = {
    "flicker": "flicker",
    "calibration_error": "calibration_error",
    "calibration_seed": "calibration_seed",
    "psf": "point_spread",
    "psf_fwhm": "fwhm",
    "psf_radius": "radius",
    "gain": "gain",
    "readout_noise": "readout_noise",
    "saturation": "saturation",
}
"""Field of `DetectorEffects` that each option sets."""


def add_options(job: Job, options: Mapping[str, Any]) -> Job:
    """Add to a job the detector effects that its long options ask for (specs/20-command-line.md, 20.54 and 20.55).

    Parameters
    ----------
    job
        As of the flags.
    options
        By key, as of `split_options`; others are ignored.

    Raises
    ------
    NumbraggError
        Options that contradict each other, need another one or mode ``spec``, or name a file that cannot be read.
    """
    given = [option.name for option in EFFECTS if option.key in options]
    if not given:
        return job
    refuse_mode_c(options, given)
    if ("psf" in options) != ("psf_fwhm" in options):
        raise NumbraggError("--psf gaussian|fiber and --psf-fwhm MM belong together: give both")
    if "psf_radius" in options and "psf" not in options:
        raise NumbraggError("--psf-radius needs --psf gaussian|fiber")
    bad = options.get(BAD_PIXELS.key)
    effects = DetectorEffects(
        adc_offset=job.outputs.adc_offset,
        bad_pixels=None if bad is None else read_bad_pixels(bad, job.experiment.detector.shape),
        **{field: options[key] for key, field in FIELDS.items() if key in options},
    )
    _check_range(effects, job.outputs.noise_file, options.get("format"))
    return dataclasses.replace(job, effects=effects)


def _check_range(effects: DetectorEffects, noise_file: str | None, file_format: str | None) -> None:
    if effects.saturation <= SIXTEEN_BITS or noise_file is None:
        return
    if file_format == "smv" or (file_format is None and PurePath(noise_file).suffix.lower() in SMV_SUFFIXES):
        raise NumbraggError(
            f"--saturation {effects.saturation}: an SMV image ({noise_file}) holds counts up to {SIXTEEN_BITS}; "
            "write CBF or NXmx (--format cbf)"
        )
