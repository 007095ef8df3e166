"""From flags to the beam (specs/10-physics.md, 10.30 to 10.36)."""

import warnings

import numpy as np

from numbragg.compat.build_detector import Geometry
from numbragg.compat.image_header import HeaderValues
from numbragg.compat.sampling_rules import sample_range
from numbragg.compat.settings import Settings
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.geometry.rotations import unit
from numbragg.io.sources import read_sources
from numbragg.models.beam import DEFAULT_BEAM_SIZE, DEFAULT_FLUENCE, Beam, SourceTable
from numbragg.models.sampling import Sampling
from numbragg.models.spectrum import Spectrum

EV_ANGSTROM = 12398.42
"""Photon energy times wavelength, eV angstrom."""

DEFAULT_EXPOSURE = 1.0  # s

WHOLE_RADIAN = 1000.0  # mrad
WHOLE_WAVELENGTH = 100.0  # percent
SAME_WAVELENGTH = 1e-6
"""Relative difference of wavelengths that says nothing."""
PARALLEL = 1e-9
"""Sine of an angle that is zero but for rounding."""


def build_beam(settings: Settings, header: HeaderValues, geometry: Geometry) -> Beam:
    """Beam from flags and image headers.

    Raises
    ------
    NumbraggError
        Values that make no beam, or a source table that cannot be read.
    """
    wavelength = _wavelength(settings, header)
    instrument = settings.instrument
    kahn = 0.0 if instrument is None else 2.0 * instrument.polarization_fraction - 1.0
    polarization = None if settings.last("polar", "nopolar") == "nopolar" else settings.get("polar", default=kahn)
    spectrum = settings.extras.spectrum
    if spectrum is not None:
        _tell_about_spectrum(settings, spectrum, wavelength)
    return Beam(
        wavelength=wavelength,
        fluence=_fluence(settings),
        polarization=polarization,
        direction=geometry.beam,
        polarization_axis=geometry.polarization,
        divergence_horizontal=_divergence(settings, "h"),
        divergence_vertical=_divergence(settings, "v"),
        round_divergence=settings.last("round_div", "square_div") != "square_div",
        dispersion=_dispersion(settings),
        sources=_sources(settings, wavelength, geometry),
        size=max(0.0, settings.get("beamsize", default=DEFAULT_BEAM_SIZE)),
        spectrum=spectrum,
    )


def _wavelength(settings: Settings, header: HeaderValues) -> float:
    key = settings.last("lambda", "energy")
    if key is None and settings.extras.spectrum is not None:
        return settings.extras.spectrum.mean
    if key is None:
        return 1.0 if header.wavelength is None else header.wavelength
    value = float(settings.get(key))
    if not value > 0:
        raise NumbraggError(f"-{key} must be above zero, not {value:g}")
    return EV_ANGSTROM / value if key == "energy" else value


def _tell_about_spectrum(settings: Settings, spectrum: Spectrum, wavelength: float) -> None:
    if settings.given("sourcefile"):
        raise NumbraggError("--spectrum and -sourcefile both set the wavelengths: give one of them")
    if settings.given("dispersion", "dispsteps"):
        warnings.warn("--spectrum overrides -dispersion", NumbraggWarning, stacklevel=2)
    if abs(wavelength - spectrum.mean) > SAME_WAVELENGTH * wavelength:
        warnings.warn(
            f"the spectrum, of mean {spectrum.mean:.6g} A, is scaled to the given wavelength of {wavelength:.6g} A",
            NumbraggWarning,
            stacklevel=2,
        )


def _fluence(settings: Settings) -> float:
    fluence = float(settings.get("fluence", default=DEFAULT_FLUENCE))
    flux = settings.get("flux", default=0.0)
    exposure = settings.get("exposure", default=DEFAULT_EXPOSURE)
    size = settings.get("beamsize", default=DEFAULT_BEAM_SIZE)
    if flux == 0.0 or exposure <= 0.0 or size < 0.0:
        return fluence
    if size == 0.0:
        raise NumbraggError("-beamsize 0 with -flux makes the fluence infinite")
    return float(flux * exposure / (size * 1e-3) ** 2)


def _divergence(settings: Settings, axis: str) -> Sampling:
    full = settings.get("divergence", f"{axis}divrange")
    step, count = settings.get(f"{axis}divstep"), settings.get("divsteps", f"{axis}divsteps")
    if full is None and step is None and count is not None and count > 1:
        _refuse_count(settings, f"-{axis}divsteps", f"-{axis}divrange")
    return sample_range(full, step, count, WHOLE_RADIAN)


def _dispersion(settings: Settings) -> Sampling:
    full, count = settings.get("dispersion"), settings.get("dispsteps")
    if full is None and count is not None and count > 1:
        _refuse_count(settings, "-dispsteps", "-dispersion")
    return sample_range(full or 0.0, None, count, WHOLE_WAVELENGTH)


def _refuse_count(settings: Settings, flag: str, needed: str) -> None:
    if not settings.quirks.q16_count_without_range:
        raise NumbraggError(f"{flag} needs a range: give {needed} too")


def _sources(settings: Settings, wavelength: float, geometry: Geometry) -> SourceTable | None:
    if not settings.given("sourcefile"):
        return None
    path = settings.get("sourcefile")
    table = read_sources(path, wavelength, geometry.beam)
    across = np.linalg.norm(np.cross(unit(table.positions), geometry.polarization), axis=1)
    if (across < PARALLEL).any():
        raise NumbraggError(f"{path}: source {int(across.argmin()) + 1} lies along the polarisation axis")
    if not settings.quirks.q06_weights_ignored and np.ptp(table.weights) > 0:
        settings.note("Q06", "weighting sources")
    if settings.given("divergence", "hdivrange", "vdivrange", "dispersion"):
        warnings.warn("-sourcefile overrides divergence and dispersion", NumbraggWarning, stacklevel=2)
    return table
